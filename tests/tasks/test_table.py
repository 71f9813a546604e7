"""The table of tasks: that its rows are sound and that each is found by its name."""

import pytest

from bert_mobile.errors import InputError
from bert_mobile.tasks.table import GLUE, OTHER_NAMES, TASKS, task

NINE = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "mnli-mm", "qnli", "rte")
"""Columns of the card's table."""


def test_rows_are_sound():
    for name, row in TASKS.items():
        assert name == row.name == name.lower()
        assert set(row.layouts) <= set(row.sizes), name
        assert set(row.written.values()) <= set(row.labels or ()), name
        assert ("train" in row.sizes) == (row.trained_as is None), name
        assert row.trained_as is None or TASKS[row.trained_as].labels
        assert set(row.fold.values()) <= set(row.labels or ()), name
        assert (row.value_range is not None) == (row.kind == "regress"), name
        assert row.source.startswith("https://") or row.source.startswith("http://"), name
        assert row.licence, name


def test_what_has_no_dev_set_is_judged_by_its_test_set():
    assert {name for name, row in TASKS.items() if row.judged_split == "test"} == {"ax", "hans"}


def test_parts_of_data_say_how_much_they_are():
    for row in TASKS.values():
        for split, layouts in row.layouts.items():
            for layout in layouts:
                assert layout.examples is None or 0 < layout.examples < row.sizes[split]


def test_the_card_has_nine_columns_whose_mean_is_79():
    cards = [TASKS[name].card for name in NINE]
    assert [card.column for card in cards if card] == [
        "CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI-m", "MNLI-mm", "QNLI", "RTE",
    ]  # fmt: skip
    assert sum(card.percent for card in cards if card) / 9 == pytest.approx(79.08, abs=0.005)
    assert {name for name, row in TASKS.items() if row.card} == set(NINE)
    assert all(card.metric in TASKS[name].metrics for name, card in zip(NINE, cards, strict=True))


def test_eleven_tasks_are_submitted():
    assert [TASKS[name].submission.file for name in GLUE] == [
        "CoLA.tsv", "SST-2.tsv", "MRPC.tsv", "STS-B.tsv", "QQP.tsv", "MNLI-m.tsv", "MNLI-mm.tsv",
        "QNLI.tsv", "RTE.tsv", "WNLI.tsv", "AX.tsv",
    ]  # fmt: skip
    for name in GLUE:
        row = TASKS[name]
        assert row.submission.examples == row.sizes["test"]
        if row.submission.words:
            assert set(row.submission.words) == set(row.labels)
            assert row.submission.filler in row.submission.words.values()
        elif row.labels:
            assert row.submission.filler in row.labels


def test_positive_classes_come_second():
    """GLUE's F1 is of the label 1."""
    assert TASKS["mrpc"].labels[1] == "equivalent"
    assert TASKS["qqp"].labels[1] == "duplicate"


@pytest.mark.parametrize(
    ("called", "name"), [("SST-2", "sst2"), ("RTE", "rte"), ("ner", "conll2003")]
)
def test_names_in_use_are_understood(called, name):
    assert task(called).name == name
    assert set(OTHER_NAMES.values()) <= set(TASKS)


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(
        InputError, match=r"no task is called 'colla', expected one of cola, sst2"
    ) as e:
        task("colla")
    assert e.value.hint == "did you mean cola?"
    with pytest.raises(InputError) as e:
        task("xyz")
    assert e.value.hint == "name one of these"
