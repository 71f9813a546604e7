"""Reports: figures of classes, errors in their order, pictures of few and of many labels."""

import builtins
import json
import re

import numpy as np
import pytest

from bert_mobile.errors import InputError, RunError
from bert_mobile.labelled import LabelledText, Question, TaggedSentence
from bert_mobile.tasks.confusion import MOST_LABELS, confusion
from bert_mobile.tasks.reports import Judged, class_figures, confusion_of, write_reports

PNG = b"\x89PNG"


def texts(count):
    return [LabelledText(n + 2, (f"text {n}",), None, None) for n in range(count)]


def rows(path):
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def judged():
    """Six texts, two errors, the second more confident."""
    return Judged(
        "classify",
        texts(6),
        np.array([0, 0, 1, 1, 2, 2]),
        np.array([0, 1, 1, 1, 0, 2]),
        ("bad", "good", "so\tso"),
        np.array([0.9, 0.6, 0.7, 0.8, 0.95, 0.5]),
    )


def test_a_report_is_json_tables_and_a_picture(judged, tmp_path):
    written = write_reports(tmp_path / "reports", judged, "six texts")
    assert sorted(path.name for path in written) == [
        "classes.tsv", "confusion.png", "report.json", "wrong.tsv",
    ]  # fmt: skip
    report = json.loads((tmp_path / "reports" / "report.json").read_text())
    assert (report["examples"], report["errors"]) == (6, 2)
    assert report["most_confused"] == [
        {"expected": "bad", "predicted": "good", "times": 1},
        {"expected": "so\tso", "predicted": "bad", "times": 1},
    ]
    assert report["classes"][1] == {
        "label": "good", "precision": pytest.approx(2 / 3), "recall": 1.0, "f1": 0.8, "examples": 2,
    }  # fmt: skip
    assert (tmp_path / "reports" / "confusion.png").read_bytes().startswith(PNG)


def test_tables_have_a_cell_for_each_head(judged, tmp_path):
    write_reports(tmp_path, judged, "six texts")
    heads, *classes = rows(tmp_path / "classes.tsv")
    assert heads == ["label", "precision", "recall", "f1", "examples"]
    assert classes[0] == ["bad", "0.5000", "0.5000", "0.5000", "2"]
    assert classes[2] == ["so so", "1.0000", "0.5000", "0.6667", "2"]
    assert rows(tmp_path / "wrong.tsv") == [
        ["line", "text", "expected", "predicted", "probability"],
        ["6", "text 4", "so so", "bad", "0.9500"],
        ["3", "text 1", "bad", "good", "0.6000"],
    ]


def test_several_labels_a_text(tmp_path):
    judged = Judged(
        "classify",
        texts(3),
        np.array([[1, 1], [0, 1], [0, 0]]),
        np.array([[1, 1], [1, 0], [0, 1]]),
        ("sad", "loud"),
        np.array([[0.9, 0.8], [0.7, 0.1], [0.2, 0.6]]),
    )
    write_reports(tmp_path, judged, "three texts")
    assert not (tmp_path / "confusion.png").exists()
    assert rows(tmp_path / "wrong.tsv")[1:] == [
        ["3", "text 1", "loud", "sad", "0.9000"],  # surest of its absence
        ["4", "text 2", "(none)", "loud", "0.6000"],
    ]
    assert [each.examples for each in class_figures(judged)] == [1, 2]


def test_entities_are_judged_by_type_and_words_shown_with_neighbours(tmp_path):
    words = tuple("In a long town of the north near the sea lives Ann Lee today .".split())
    truth = [("O",) * 10 + ("O", "B-PER", "I-PER", "O", "O"), ("B-LOC",)]
    found = [("O",) * 10 + ("O", "B-PER", "O", "O", "O"), ("B-LOC",)]
    examples = [TaggedSentence(4, words, truth[0]), TaggedSentence(20, ("Rome",), truth[1])]
    labels = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    judged = Judged("tag", examples, truth, found, labels, [[0.5] * 15, [0.5]])
    assert [(each.label, each.f1, each.examples) for each in class_figures(judged)] == [
        ("LOC", 1, 1), ("PER", 0, 1),
    ]  # fmt: skip
    assert confusion_of(judged).pairs() == [("I-PER", "O", 1)]
    write_reports(tmp_path, judged, "two sentences")
    shown = "… of the north near the sea lives Ann [Lee] today ."
    assert rows(tmp_path / "wrong.tsv")[1:] == [["4", shown, "I-PER", "O", "0.5000"]]


def test_answers_are_wrong_where_none_matches(tmp_path):
    asked = [Question(n, str(n), f"Who {n}?", "He.", None) for n in (1, 2, 3)]
    truth, found = [("the cat", "cat"), (), ("dog", "dog")], ["Cat", "He", ""]
    written = write_reports(tmp_path, Judged("answer", asked, truth, found), "three questions")
    assert [path.name for path in written] == ["report.json", "wrong.tsv"]
    assert rows(tmp_path / "wrong.tsv")[1:] == [
        ["2", "Who 2?", "(no answer)", "He", ""],
        ["3", "Who 3?", "dog", "(no answer)", ""],
    ]


def test_numbers_are_listed_by_their_error(tmp_path):
    judged = Judged("regress", texts(3), np.array([1.0, 2, 3]), np.array([1.5, 2, 0.25]))
    write_reports(tmp_path, judged, "three numbers")
    assert [row[2:4] for row in rows(tmp_path / "wrong.tsv")[1:]] == [["3", "0.25"], ["1", "1.5"]]


def test_pairs_are_shown_together(tmp_path):
    pair = LabelledText(9, ("A  man\n.", "A cat"), None, None)
    write_reports(tmp_path, Judged("pairs", [pair], [0], [1], ("no", "yes")), "one pair")
    assert rows(tmp_path / "wrong.tsv")[1] == ["9", "A man . ‖ A cat", "no", "yes", ""]


def test_many_labels_are_drawn_as_pairs(tmp_path):
    count = MOST_LABELS + 5
    labels = tuple(f"intent ${n}$ {'x' * 40}" for n in range(count))
    truth = np.arange(2 * count) % count
    judged = Judged("classify", texts(2 * count), truth, (truth * 7) % count, labels)
    assert (tmp_path / "confusion.png") in write_reports(tmp_path, judged, "many")
    right = Judged("classify", texts(2 * count), truth, truth, labels)
    assert (tmp_path / "new" / "confusion.png") not in write_reports(tmp_path / "new", right, "m")


def test_nothing_to_report_and_nowhere_to_write(judged, tmp_path):
    with pytest.raises(InputError, match="no example to judge by"):
        write_reports(tmp_path, Judged("classify", [], [], [], ("a", "b")), "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"report.json could not be written"):
        write_reports(tmp_path / "file", judged, "six texts")


def test_confusion_counts_every_example():
    truth, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 0, 2])
    found = confusion(truth, predicted, ("a", "b", "c"))
    assert found.counts.tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 1]]
    assert found.pairs() == [("c", "a", 2), ("a", "b", 1)]


def test_without_matplotlib_there_is_no_picture(judged, tmp_path, monkeypatch):
    imported = builtins.__import__

    def refuse(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.warns(UserWarning, match=re.escape("no picture is drawn: matplotlib is not")):
        written = write_reports(tmp_path, judged, "six texts")
    assert tmp_path / "confusion.png" not in written
