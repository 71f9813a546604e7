"""bert-mobile grow, from outside."""

import json
import shutil

import pytest

from bert_mobile.cli import main
from bert_mobile.variants import VARIANTS, Variant

NANO = Variant("nano", 3, 64, 4, 128, 1, "for tests")


@pytest.fixture
def run(capsys, monkeypatch, tiny_corpus, tiny_tokenizer):
    """Return a function that runs the command: status, output, errors."""
    from bert_mobile.cli.making import grow

    monkeypatch.setitem(VARIANTS, NANO.name, NANO)
    choice = next(option for option in grow.params if option.name == "variant").type
    monkeypatch.setattr(choice, "choices", [*choice.choices, NANO.name])
    given = ["--variant", "nano", "--tokenizer", tiny_tokenizer, "--corpus", tiny_corpus]

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main(["grow", *map(str, words), *map(str, given)])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


def test_as_a_table_and_as_json(run, tiny_checkpoint, tmp_path):
    words = [tiny_checkpoint, "--out", tmp_path / "grown"]
    status, out, err = run(*words)
    assert (status, err) == (0, "")  # no bar where there is no terminal
    assert "heads carried over: pooler, masked tokens, next sentence\n206 of 206 pieces" in out
    assert [line.split()[0] for line in out.splitlines()[3:]] == ["0", "1", "2", "3"]
    status, out, err = run(*words, "--json")
    assert (status, err) == (0, "")
    report = json.loads(out)
    assert report["heads"] == ["pooler", "masked_tokens", "next_sentence"]
    assert len(report["hidden_state_error"]) == 4


def test_a_source_that_is_no_bert_is_two_lines(run, tiny_checkpoint, tmp_path):
    source = shutil.copytree(tiny_checkpoint, tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "model_type": "roberta"}))
    status, out, err = run(source, "--out", tmp_path / "grown")
    assert (status, out) == (2, "")
    error, hint = err.splitlines()
    assert error.endswith("says model_type is 'roberta', expected 'bert'")
    assert hint == "hint: only plain BERT checkpoints can be read"
