"""The command line of `finetune`: what it says, and how it fails."""

import json

import pytest

from bert_mobile.cli import main
from tests.train.finetune.conftest import reviews


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    monkeypatch.setattr("bert_mobile.train.finetune.command.draw_curve", lambda *_: None)


@pytest.fixture
def run(capsys):
    """Return a function that runs a command: exit status, output, complaints."""

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main([*map(str, words)])
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def quick(reviews_csv, tiny_checkpoint):
    return ["--train", reviews_csv, "--model", tiny_checkpoint, "--epochs", 0.2, "--batch-size", 16]


def test_it_says_what_it_guessed_and_what_to_do_next(run, quick, tmp_path):
    out = tmp_path / "run"
    status, said, talk = run("finetune", "classify", *quick, "--out", out)
    assert status == 0, talk
    assert "text: 'what'" in talk
    assert "label: 'mood'" in talk
    assert "2 labels: negative, positive" in talk
    assert "30 of 300 train examples are held out" in talk
    assert "accuracy" in said
    assert f"  bert-mobile classify 'a text' --model {out}" in said
    assert f"  bert-mobile quantize {out} --out {out}-25mb" in said
    report = json.loads((out / "reports" / "report.json").read_text())
    assert report["examples"] == 30
    assert {each["label"] for each in report["classes"]} == {"negative", "positive"}


def test_json_is_one_document_and_a_sitting_goes_on(run, quick, tmp_path):
    words = ["finetune", "classify", *quick, "--out", tmp_path / "run", "--resume", "auto"]
    status, said, talk = run(*words, "--minutes", 1e-9, "--json")
    assert (status, talk) == (0, "")
    report = json.loads(said)
    assert (report["complete"], report["step"], report["metric"]) == (False, 1, "accuracy")
    status, said, _ = run(*words, "--minutes", 1e-9)
    assert status == 0
    assert "resumed from step 1" in said
    assert "stopped after step 2: go on with the same command and --resume auto" in said
    status, said, _ = run(*words, "--json")
    assert json.loads(said)["complete"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--set", "droput=1"], "'droput' is no field"),
        (["--label", "grade"], "'grade'"),
        (["--max-length", "999"], "max_length is 999, the model has 64 positions"),
        (["--metric", "f7"], "no metric of classify is called 'f7'"),
        (["--dev", "gone.csv"], "gone.csv"),
    ],
)
def test_errors_are_one_line_and_a_hint_before_anything_is_written(
    run, quick, tmp_path, words, error
):
    out = tmp_path / "run"
    status, said, talk = run("finetune", "classify", *quick, *words, "--out", out)
    assert (status, said) == (2, "")
    assert talk.splitlines()[-2].startswith("error: ")
    assert error in talk.splitlines()[-2]
    assert talk.splitlines()[-1].startswith("hint: ")
    assert not (out / "finetune.json").exists()


def test_the_options_of_labelled_files_and_seed_0(run, tiny_checkpoint, tmp_path):
    lines = [f"caf\xe9 {words};{label}" for words, label in reviews(30)]
    (tmp_path / "r.data").write_text("\n".join([*lines, "it was;"]), encoding="latin-1")
    words = ["finetune", "classify", "--train", tmp_path / "r.data", "--model", tiny_checkpoint]
    words += ["--out", tmp_path / "run", "--seed", 0, "--epochs", 0.1, "--form", "csv"]
    status, _, talk = run(*words, "--encoding", "latin-1", "--no-header")
    assert status == 2
    assert talk.splitlines()[-1].endswith("(--skip-unlabelled)")
    read = ["--encoding", "latin-1", "--no-header", "--skip-unlabelled"]
    status, _, talk = run(*words, *read)
    assert status == 0, talk
    assert "semicolon-separated without header" in talk
    record = json.loads((tmp_path / "run" / "finetune.json").read_text())
    assert (record["seed"], record["header"], record["form"]) == (0, False, "csv")
