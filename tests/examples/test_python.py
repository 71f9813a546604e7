"""examples/python beside the package: the same words, labels and scores."""

import subprocess
import sys

import pytest

import bert_mobile
from bert_mobile.hub import resolve
from bert_mobile.model.config import ANSWERS, SEQUENCES, TOKENS
from bert_mobile.quantize import quantize
from tests.examples.conftest import EXAMPLES, module
from tests.page.bare import ALL, without_heads

EXAMPLE = EXAMPLES / "python" / "bert.py"
Bert = module(EXAMPLE).Bert
TEXTS = (
    "The capital of France is [MASK].",
    "[MASK] and [MASK] were born in [MASK].",
    f"{'He went out. ' * 200} Then she opened the [MASK]. {'It was raining. ' * 200}",
)
PAIRS = (
    ("the of and.", None),
    ("in to a!", "the of."),
    ("the " * 90, "of and"),
    ("the " * 80, "of " * 70),
    ("of", "and " * 90),
)


def equal(found, expected, name):
    assert [word for _, word in found] == [each[name] for each in expected]
    assert [score for score, _ in found] == pytest.approx(
        [each["score"] for each in expected], abs=1e-4
    )


@pytest.mark.filterwarnings("ignore::bert_mobile.runtime.text.TruncationWarning")
@pytest.mark.parametrize("text", TEXTS)
def test_gaps_are_filled_as_by_the_package(text):
    expected = bert_mobile.load().fill_mask(text, top_k=8)
    expected = expected if isinstance(expected[0], list) else [expected]
    found = Bert(resolve("default")).fill_mask(text, top_k=8)
    for ours, theirs in zip(found, expected, strict=True):
        equal(ours, theirs, "token_str")


@pytest.mark.filterwarnings("ignore::bert_mobile.runtime.text.TruncationWarning")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_length": 16},
        {"problem_type": "multi_label_classification"},
        {"problem_type": "regression", "labels": ("number",)},
    ],
)
def test_labels_are_the_packages(changes, tiny_task, tmp_path):
    quantize(tiny_task(SEQUENCES, **changes), tmp_path / "small", max_bytes=130_000)
    theirs, ours = bert_mobile.load(tmp_path / "small"), Bert(tmp_path / "small")
    for text, pair in PAIRS:
        expected = theirs.classify(text, pair, top_k=None)
        equal(ours.classify(text, pair), expected, "label")


def test_a_text_without_a_gap_is_told():
    assert module(EXAMPLE).main([str(resolve("default")), "no gap"]) == (
        "error: the text has no [MASK]"
    )


@pytest.mark.parametrize("head", [TOKENS, ANSWERS])
def test_other_heads_are_one_line(head, tiny_task, tmp_path):
    quantize(tiny_task(head), tmp_path / "small", max_bytes=130_000)
    command = [sys.executable, str(EXAMPLE), str(tmp_path / "small"), "the of and."]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: the model, a {head}, fills no gaps\n"


def test_an_encoder_alone_is_one_line(tiny_checkpoint, tmp_path):
    export = pytest.importorskip("bert_mobile.export", reason="needs the extra export").export
    export(without_heads(tiny_checkpoint, tmp_path / "bare", ALL), "onnx", tmp_path / "onnx")
    said = module(EXAMPLE).main([str(tmp_path / "onnx"), "the [MASK]."])
    assert said == "error: the model, a BertForPreTraining, fills no gaps"


def test_a_number_is_no_percentage(tiny_task, tmp_path, capsys):
    folder = tiny_task(SEQUENCES, problem_type="regression", labels=("stars",))
    quantize(folder, tmp_path / "small", max_bytes=130_000)
    assert module(EXAMPLE).main([str(tmp_path / "small"), "the of and."]) is None
    number, label = capsys.readouterr().out.split()
    (expected,) = bert_mobile.load(tmp_path / "small").classify("the of and.")
    assert float(number) == pytest.approx(expected["score"], rel=1e-3)
    assert label == "stars"


def test_it_runs_by_itself():
    script = (
        "import runpy, sys\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as stop:\n    assert stop.code is None, stop.code\n"
        "assert not [name for name in sys.modules if name.startswith('bert_mobile')]\n"
    )
    given = [str(EXAMPLE), str(resolve("default")), TEXTS[0]]
    command = [sys.executable, "-c", f"import sys; sys.argv = {given!r}\n{script}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    words = [line.split()[1] for line in done.stdout.splitlines()]
    assert words == [each["token_str"] for each in bert_mobile.load().fill_mask(TEXTS[0])]
