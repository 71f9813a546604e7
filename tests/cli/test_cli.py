"""The command line from outside: help, errors, streams, and the whole road on tiny data."""

import io
import json
import os
import subprocess
import sys

import click
import pytest

from bert_mobile import cli as package
from bert_mobile.cli import COMMANDS, main
from bert_mobile.errors import InputError, RunError
from bert_mobile.quantize.report import folder_bytes
from bert_mobile.variants import VARIANTS


@pytest.fixture
def run(capsys, monkeypatch):
    """Return a function that runs a command line in this process: status, output, errors."""

    def run(*words, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


def all_commands(commands, before=()):
    """Return the words of every command, those inside groups too."""
    found = []
    for command in commands:
        words = (*before, command.name)
        found.append(words)
        if isinstance(command, click.Group):
            found += all_commands(command.commands.values(), words)
    return found


@pytest.fixture
def failing(monkeypatch):
    """Return a function that makes `bert-mobile models` fail with an error."""

    def failing(error):
        def fail():
            raise error

        commands = {**package.cli.commands, "models": click.command("models")(fail)}
        monkeypatch.setattr(package.cli, "commands", commands)

    return failing


# --- help ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [(), *all_commands(COMMANDS)], ids=" ".join)
def test_every_help_page_has_an_example_of_its_command(run, words):
    status, out, err = run(*words, "--help")
    assert (status, err) == (0, "")
    example = out[out.index("Example:") :]
    assert " ".join(["bert-mobile", *words]) in example


def test_help_loads_nothing_heavy():
    code = """
import sys
from bert_mobile.cli import main
for words in (["--help"], ["pretrain", "--help"], ["fill-mask", "--help"], ["models"]):
    try:
        main(words)
    except SystemExit as ended:
        assert ended.code == 0
heavy = {"torch", "onnxruntime", "numpy", "tokenizers", "transformers"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_models_as_a_table_and_as_json(run):
    status, out, _ = run("models")
    assert status == 0
    assert all(f"\n{name} " in out for name in VARIANTS)
    assert "36,644,864" in out
    status, out, _ = run("models", "--json")
    rows = json.loads(out)
    assert [row["name"] for row in rows] == list(VARIANTS)
    assert [row["parameters"] for row in rows] == [v.parameters for v in VARIANTS.values()]


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "status"), [(InputError, 2), (RunError, 1)])
def test_an_error_is_two_lines_and_a_status(run, failing, error, status):
    failing(error("one thing,\nanother was expected", hint="do that"))
    assert run("models") == (status, "", "error: one thing, another was expected\nhint: do that\n")


def test_debug_shows_the_traceback(failing):
    failing(InputError("found", hint="do that"))
    with pytest.raises(InputError):
        main(["--debug", "models"])


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("nonsense", "No such command 'nonsense'", "bert-mobile --help"),
        ("fill-mask", "Missing argument", "bert-mobile fill-mask --help"),
        ("fill-mask x --top-k 0", "0 is not in the range", "bert-mobile fill-mask --help"),
        ("quantize d --out o --max-bytes 2MB", "no number of bytes", "bert-mobile quantize --help"),
        ("models --jsno", "No such option", "bert-mobile models --help"),
        ("pretrain nowhere.toml", "nowhere.toml cannot be read", "give a recipe file"),
        ("fill-mask x --model nowhere", "is no folder", "check the path"),
    ],
)
def test_wrong_usage_and_input(run, line, message, hint):
    status, out, err = run(*line.split())
    assert (status, out) == (2, "")
    first, second = err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert second.startswith(f"hint: {hint}")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, click.Abort])
def test_ctrl_c(run, failing, stop):
    failing(stop())
    status, out, err = run("models")
    assert (status, out) == (130, "")
    assert err.lstrip("\n").startswith("error: interrupted\nhint: ")


def test_a_reader_that_goes_away_ends_the_command_quietly():
    code = "from bert_mobile.cli import main; main(['models', '--json'])"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_an_output_that_cannot_be_written_is_named(run, tiny_texts, tmp_path):
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / "tokenizer"
    status, _, err = run("tokenizer", "train", tiny_texts, "--out", out, "--vocab-size", 100)
    assert status == 1
    assert err.startswith(f"error: {out} could not be written: ")
    assert (tmp_path / "file").read_text() == "in the way"


# --- answers ------------------------------------------------------------------------------------


def test_fill_mask_from_arguments_and_from_standard_input(run, tiny_checkpoint):
    texts = ["the [MASK] is here", "we [MASK] the [MASK]"]
    options = ["--model", tiny_checkpoint, "--top-k", 2, "--json"]
    status, out, err = run("fill-mask", *texts, *options)
    assert (status, err) == (0, "")
    single, double = map(json.loads, out.splitlines())
    assert [word["sequence"].count("[MASK]") for word in single] == [0, 0]
    assert [len(words) for words in double] == [2, 2]
    lines = "\n".join(texts).encode()
    assert run("fill-mask", "-", *options, stdin=lines) == (0, out, "")


def test_a_blank_line_is_refused_so_that_answers_stay_beside_their_lines(run, tiny_checkpoint):
    status, out, err = run(
        "embed", "-", "--model", tiny_checkpoint, stdin=b"the man\n\nthe state\n"
    )
    assert (status, out) == (2, "")
    assert err.startswith("error: line 2 of standard input is blank")


def test_no_command_at_all_shows_the_help(run):
    status, out, err = run()
    assert (status, err) == (0, "")
    assert out.startswith("Usage: bert-mobile")


def test_one_text_and_targets_as_a_table(run, tiny_checkpoint):
    words = ["fill-mask", "the [MASK] is", "--model", tiny_checkpoint, "--targets", "man, time"]
    status, out, err = run(*words)
    assert (status, err) == (0, "")
    assert out.startswith("the [MASK] is\n")
    assert {line.split()[-1] for line in out.splitlines()[1:]} == {"man", "time"}


def test_the_other_questions(run, tiny_checkpoint):
    options = ["--model", tiny_checkpoint, "--json"]
    _, out, _ = run("next-sentence", "he came", "she went", *options)
    probability = json.loads(out)["probability"]
    assert 0 < probability < 1
    _, out, _ = run("next-sentence", "-", "-", *options, stdin=b"he came\tshe went\n")
    assert json.loads(out)["probability"] == pytest.approx(probability)
    _, out, _ = run("embed", "he came", "she went", *options)
    assert [len(json.loads(line)) for line in out.splitlines()] == [64, 64]
    _, out, _ = run("score", "he came", *options)
    assert json.loads(out)["score"] < 0


def test_pairs_need_their_tab(run, tiny_checkpoint):
    words = ["next-sentence", "-", "-", "--model", tiny_checkpoint]
    status, _, err = run(*words, stdin=b"no tab here\n")
    assert status == 2
    assert "a line has 1 fields, expected A, a tab and B" in err


def test_bytes_that_are_no_utf8_are_an_error_of_the_input(run, tiny_checkpoint):
    stdin = b"the [MASK] \xff\xfe\n"
    status, out, err = run("fill-mask", "-", "--model", tiny_checkpoint, stdin=stdin)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 2


def test_a_closed_standard_input_is_no_traceback(tiny_checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SystemExit) as ended:
        main(["embed", "-", "--model", str(tiny_checkpoint)])
    assert ended.value.code == 2
    assert "error: standard input is closed, expected texts from it\n" in capsys.readouterr().err


def test_evaluate_as_a_table(run, tiny_checkpoint, tiny_corpus):
    given = ["--data", tiny_corpus, "--pairs", 4, "--sentences", 0, "--threads", 1]
    status, out, err = run("evaluate", tiny_checkpoint, tiny_checkpoint, *given)
    assert (status, err) == (0, "")
    heads, one, other, blank, _, counts = out.splitlines()
    assert heads.split()[:5] == ["held", "out", "model", "loss", "perplexity"]
    assert one.split()[:4] == ["corpus", "·", "all", str(tiny_checkpoint)]
    assert other.split() == one.split()[3:]
    assert one.endswith("–")
    assert (blank, counts.split()[:3]) == ("", ["corpus", "·", "all"])


def test_evaluate_tells_what_is_wrong_in_two_lines(run, tiny_checkpoint, tmp_path):
    (tmp_path / "text.txt").write_text("")
    status, out, err = run("evaluate", tiny_checkpoint, "--data", tmp_path / "text.txt")
    assert (status, out) == (2, "")
    assert [line.split(":")[0] for line in err.splitlines()] == ["error", "hint"]


def test_quantize_prints_parts_figures_and_the_whole(run, tiny_checkpoint, tiny_corpus, tmp_path):
    out = tmp_path / "out"
    words = ("quantize", tiny_checkpoint, "--max-bytes", "130_000", "--out", out)
    asked = ("--evaluate", "mlm", "--data", tiny_corpus, "--pairs", 16)
    status, printed, err = run(*words, *asked, "--report", tmp_path / "report")
    assert (status, err) == (0, "")
    parts, figures, whole = printed.split("\n\n")
    names = [line.split("  ")[0] for line in parts.splitlines()]
    assert names == ["part", "embeddings", "layer 0", "layer 1", "heads", "other files"]
    assert figures.splitlines()[0].split("  ")[0] == "corpus, 16 examples"
    assert [line.split("  ")[0] for line in figures.splitlines()[1:]] == [
        "top 1 accuracy", "masked token loss", "next sentence accuracy",
    ]  # fmt: skip
    assert whole == f"{out}: {folder_bytes(out):,} bytes of at most 130,000\n"
    assert (tmp_path / "report" / "sensitivity.png").is_file()
    report = json.loads((tmp_path / "report" / "quantization.json").read_text())
    before, after = (dict(each["figures"]) for each in report["judged"])
    given = ["evaluate", tiny_checkpoint, out, "--data", tiny_corpus, "--pairs", 16]
    _, printed, _ = run(*given, "--sentences", 0, "--json")
    for figures, judged in zip((before, after), json.loads(printed), strict=True):
        assert figures == {name: judged["groups"][0][name] for name in figures}
    assert before["masked_token_loss"] != after["masked_token_loss"]
    assert "judged" not in json.loads((out / "quantization.json").read_text())


def test_quantize_prints_every_tensor_where_that_is_asked_for(run, tiny_checkpoint, tmp_path):
    words = ("quantize", tiny_checkpoint, "--max-bytes", "130_000", "--out", tmp_path / "out")
    status, printed, _ = run(*words, "--tensors")
    tensors, _, _ = printed.split("\n\n")
    heads = "tensor shape bits block bytes relative error clipped loss".split()
    assert (status, tensors.splitlines()[0].split()) == (0, heads)
    assert "bert.encoder.layer.1.output.dense.weight" in tensors


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--data", "texts"), "--data is for --evaluate only"),
        (("--evaluate", "cola", "--pairs", 3), "--pairs is for --evaluate mlm only"),
        (("--evaluate", "mlm"), "there is no text to judge by"),
        (("--evaluate", "mlm", "--data", "/nowhere"), "/nowhere does not exist"),
    ],
)
def test_what_quantize_is_to_judge_by_must_be_whole(run, tiny_checkpoint, tmp_path, more, message):
    status, out, err = run("quantize", tiny_checkpoint, "--out", tmp_path / "out", *more)
    assert (status, out) == (2, "")
    assert message in err.splitlines()[0]
    assert not (tmp_path / "out").exists()


# --- the whole road -----------------------------------------------------------------------------

RECIPE = """
variant = "micro"
corpus = "from the command line"
steps = 4
warmup_steps = 1
evaluation_batches = 1
[[phases]]
share = 1.0
sequence_length = 32
batch_size = 4
"""


@pytest.mark.slow
def test_from_text_to_answers(run, tiny_texts, tmp_path):
    """Each command reads what the one before wrote."""

    def done(*words):
        status, out, err = run(*words, "--json")
        assert status == 0, err
        return json.loads(out)

    tokenizer, corpus, float_model, small = (
        tmp_path / name for name in ("tokenizer", "corpus", "run", "small")
    )
    made = done("tokenizer", "train", tiny_texts, "--out", tokenizer, "--vocab-size", 120)
    assert made["vocabulary_size"] == 120
    built = done("corpus", "build", tiny_texts, "--out", corpus, "--tokenizer", tokenizer)
    assert built["splits"]["train"]["documents"] > 150
    encoded = done("corpus", "tokenize", corpus, "--tokenizer", tokenizer)
    assert encoded["pieces"] == {k: v["tokens"] for k, v in built["splits"].items()}
    (tmp_path / "recipe.toml").write_text(RECIPE)
    trained = done("pretrain", tmp_path / "recipe.toml", "--corpus", corpus, "--out", float_model)
    assert trained["metrics"]["step"] == 4
    packed = done("quantize", float_model, "--max-bytes", "2_000_000", "--out", small)
    assert packed["bytes"] <= 2_000_000
    for model in (float_model, small):
        answers = done("fill-mask", "the [MASK] of the", "--model", model)
        assert len(answers) == 5
    given = ["--data", corpus, "--data", tiny_texts, "--pairs", 16, "--sentences", 4]
    (one, raw), (other, _) = (
        each["groups"] for each in done("evaluate", float_model, small, *given)
    )
    assert abs(one["masked_token_loss"] - other["masked_token_loss"]) < 0.1
    assert (raw["data"], raw["kind"]) == (tiny_texts.name, "all")
