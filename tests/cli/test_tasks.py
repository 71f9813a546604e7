"""classify, tag and answer from outside, on tiny models."""

import json

import pytest

from bert_mobile.model.config import ANSWERS, SEQUENCES, TOKENS
from tests.cli.test_cli import run  # noqa: F401 - a fixture

TEXTS = ["the old man", "we see it"]


def test_classify(run, tiny_task):  # noqa: F811
    options = ["--model", tiny_task(SEQUENCES)]
    status, out, err = run("classify", *TEXTS, *options, "--json")
    assert (status, err) == (0, "")
    answers = [json.loads(line) for line in out.splitlines()]
    assert all(each["label"] in ("neg", "neutral", "pos") for each in answers)
    stdin = "\n".join(TEXTS).encode()
    assert run("classify", "-", *options, "--json", stdin=stdin) == (0, out, "")
    _, out, _ = run("classify", TEXTS[0], *options, "--top-k", 3)
    first, *rows = out.splitlines()
    assert first == TEXTS[0]
    assert rows[0].split()[1] == answers[0]["label"]
    assert len(rows) == 3
    assert all(row.split()[0].endswith("%") for row in rows)


def test_classify_pairs(run, tiny_task):  # noqa: F811
    options = ["--model", tiny_task(SEQUENCES), "--pairs"]
    status, out, err = run("classify", "-", *options, "--json", stdin=b"the man\twe see\n")
    assert (status, err) == (0, "")
    assert run("classify", "the man\twe see", *options, "--json") == (0, out, "")
    status, _, err = run("classify", "no tab", *options)
    assert (status, err.splitlines()[0]) == (
        2,
        "error: a line has 1 fields, expected A, a tab and B",
    )


def test_a_number_and_a_threshold(run, tiny_task):  # noqa: F811
    model = tiny_task(SEQUENCES, labels=("stars",), problem_type="regression")
    _, out, _ = run("classify", TEXTS[0], "--model", model)
    number, label = out.splitlines()[1].split()
    assert (float(number), label) == (pytest.approx(float(number)), "stars")
    model = tiny_task(SEQUENCES, problem_type="multi_label_classification")
    _, out, _ = run("classify", TEXTS[0], "--model", model, "--threshold", 0, "--json")
    assert len(json.loads(out)) == 3


def test_tags_are_shown_in_the_text(run, tiny_task):  # noqa: F811
    options = ["--model", tiny_task(TOKENS)]
    status, out, err = run("tag", *TEXTS, *options, "--json")
    assert (status, err) == (0, "")
    entities = [json.loads(line) for line in out.splitlines()]
    assert entities[0]
    _, out, _ = run("tag", TEXTS[0], *options)
    each = entities[0][0]
    assert f"[{each['word']} {each['entity_group']}]" in out
    _, out, _ = run("tag", TEXTS[0], *options, "--per-word")
    assert [word.split("/")[0] for word in out.split()] == TEXTS[0].split()


def test_answer(run, tiny_task, tmp_path):  # noqa: F811
    options = ["--model", tiny_task(ANSWERS)]
    context = "the old man and the state of the world"
    (tmp_path / "context.txt").write_text(context, encoding="utf-8")
    status, out, err = run("answer", "who?", "--context", context, *options, "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert context[found["start"] : found["end"]] == found["answer"]
    file = f"@{tmp_path / 'context.txt'}"
    assert run("answer", "who?", "--context", file, *options, "--json")[1] == out
    piped = run("answer", "who?", "--context", "-", *options, "--json", stdin=context.encode())
    assert piped[1] == out
    asked = run("answer", "-", "--context", context, *options, "--json", stdin=b"who?\nwho?\n")
    assert asked[1] == out * 2
    _, shown, _ = run("answer", "who?", "--context", context, *options, "--top-k", 2)
    assert shown.startswith("who?\n")
    assert found["answer"] in shown
    assert len(shown.splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["answer", "who?"], "Missing option '--context'"),
        (["answer", "-", "--context", "-"], "question and context are both `-`"),
        (["answer", "who?", "--context", "@nowhere.txt"], "nowhere.txt cannot be read as UTF-8"),
        (["answer", "who?", "--context", ""], "the context is empty"),
        (["tag", ""], "is a BertForQuestionAnswering, expected a BertForTokenClassification"),
        (["classify", "x", "--top-k", "0"], "0 is not in the range"),
    ],
)
def test_wrong_usage(run, tiny_task, words, message):  # noqa: F811
    status, out, err = run(*words, "--model", tiny_task(ANSWERS))
    assert (status, out) == (2, "")
    assert message in err.splitlines()[0]
