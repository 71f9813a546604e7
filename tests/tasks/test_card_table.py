"""The card's table: means as published, marks and notes on what does not compare."""

import pytest

from bert_mobile.tasks.card_table import CARD, COLUMNS, PEERS, Result, card_table, mean, result
from bert_mobile.tasks.reading import Split
from bert_mobile.tasks.table import TASKS

ALL = {name: Result(0.5, "test") for name in COLUMNS}


def row(table, name):
    return dict(zip(table.heads, next(r for r in table.rows if r[0] == name), strict=True))


@pytest.mark.parametrize(
    ("name", "nine", "five"),
    [
        ("the card", "79.1", "76.7"),
        ("MobileBERT (25.3 M)", "78.8", "76.5"),
        ("BERT-base (109 M)", "79.5", "77.2"),
        ("BERT-Medium (41.4 M)", "74.6", "71.0"),
        ("Ettin-32M (32 M)", "–", "80.7ᵈ"),
    ],
)
def test_means_of_published_rows(name, nine, five):
    found = row(card_table({}), name)
    assert (found["Avg"], found["Avg of 5"]) == (nine, five)


def test_columns_are_the_cards():
    table = card_table({})
    assert table.heads[1:10] == (
        "MNLI-m", "MNLI-mm", "QQP", "QNLI", "SST-2", "CoLA", "STS-B", "MRPC", "RTE",
    )  # fmt: skip
    assert table.rows[0] == (
        "the card", "83.9", "82.7", "71.5", "89.9", "92.7", "51.8", "85.0", "88.0", "66.2",
        "79.1", "76.7",
    )  # fmt: skip
    assert len(CARD.figures) == 9


def test_our_row_is_below_and_says_what_it_is():
    ours = ALL | {
        "mnli": Result(0.625, "dev", "6,238 of 9,815"),
        "rte": Result(0.7, "dev"),
    }
    table = card_table({"ours": ours})
    assert table.rows[-1][0] == "ours"
    found = row(table, "ours")
    assert (found["MNLI-m"], found["RTE"], found["CoLA"]) == ("62.5ᵈ*", "70.0ᵈ", "50.0")
    assert found["Avg of 5"] == "54.0ᵈ"
    assert found["Avg"].endswith("ᵈ*")
    assert "ours, MNLI matched: dev set, 6,238 of 9,815" in table.notes


def test_a_mean_needs_all_its_columns():
    ours = {name: ALL[name] for name in ("sst2", "cola")}
    assert mean(ours, COLUMNS) is None
    assert mean(ours, ("sst2", "cola")) == 50
    table = card_table({"ours": ours})
    assert row(table, "ours")["Avg"] == row(table, "ours")["Avg of 5"] == "–"
    assert (
        "ours: no figure of MNLI matched, MNLI mismatched, QQP, QNLI, STS-B, MRPC, RTE"
        in table.notes
    )


def test_results_take_the_cards_figure_and_the_datas_words():
    def split(task, name, number):
        return Split(TASKS[task], name, ("x.tsv",), TASKS[task].layouts[name][number])

    figures = {"pearson_spearman": 0.8, "spearman": 0.7, "pearson": 0.9}
    assert result(split("stsb", "dev", 0), figures) == Result(0.7, "dev", "")
    found = result(split("mnli", "dev", 1), {"accuracy": 0.6}, "started from chance")
    assert found == Result(0.6, "dev", "6,238 of 9,815; started from chance")


def test_markdown_is_rectangular():
    lines = card_table({"ours": ALL}).markdown().splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(PEERS) + 1
    assert len({line.count("|") for line in table}) == 1
    assert sum(line.startswith("- ") for line in lines) == len(PEERS) + 2
