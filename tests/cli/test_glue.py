"""bert-mobile glue from outside, on tiny tasks."""

import json

import pytest

from tests.cli.test_cli import run  # noqa: F401 - a fixture
from tests.evaluate.tiny_tasks import write_tasks


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("glue")
    write_tasks(folder)
    return folder


@pytest.fixture
def words(data, tiny_checkpoint, tmp_path):
    given = ("--data", data, "--model", tiny_checkpoint, "--out", tmp_path / "out")
    return ("glue", *given, "--epochs", 1, "--batch-size", 16, "--precision", "fp32")


def test_a_table_and_json(run, words, tmp_path):  # noqa: F811
    given = (*words, "--tasks", "cola,sts-b", "--seeds", "1,2", "--learning-rate", "1e-3")
    status, out, _ = run(*given)
    assert status == 0
    heads, *rows, last = out.splitlines()
    assert heads.split()[:6] == ["task", "metric", "median", "lowest", "highest", "seeds"]
    assert [row.split()[0] for row in rows] == ["cola", "stsb"]
    assert last == f"{tmp_path / 'out'}: table.md, record.json, and the predictions of test sets"
    status, out, _ = run(*given, "--json")
    record = json.loads(out)
    assert (status, record["complete"], len(record["runs"])) == (0, True, 4)
    assert len(record["commands"]) == 1


def test_a_sitting_that_ends_says_how_to_go_on(run, words):  # noqa: F811
    words = ["--source" if word == "--data" else word for word in words]  # its other name
    status, out, _ = run(*words, "--tasks", "cola", "--minutes", 1e-9)
    assert status == 0
    assert "stopped: go on with the same command" in out


@pytest.mark.parametrize(
    ("more", "message", "hint"),
    [
        (("--tasks", "colla"), "no task is called 'colla'", "did you mean cola?"),
        (("--tasks", "sst2"), "has no train split of sst2, expected SST-2/train.tsv", "see https"),
        (("--tasks", ","), "names nothing", "bert-mobile glue --help"),
        (("--seeds", "1,x"), "'1,x' is no list of numbers", "bert-mobile glue --help"),
        (("--learning-rate", "fast"), "expected one such as 3e-5,5e-5", "bert-mobile glue --help"),
        (("--quantize-each",), "--quantize-each is given without --max-bytes", "--max-bytes"),
        (("--beside", "nowhere.json"), "nowhere.json does not exist", "check the path"),
    ],
)
def test_errors_are_two_lines(run, words, more, message, hint):  # noqa: F811
    status, out, err = run(*words, *more)
    assert (status, out) == (2, "")
    first, second = err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert second.startswith(f"hint: {hint}")
