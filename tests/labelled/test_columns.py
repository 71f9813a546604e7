"""Columns are named or guessed; a guess is told, and an unclear one refused."""

import random
from pathlib import Path

import pytest

from bert_mobile.errors import InputError
from bert_mobile.labelled import Columns, label_counts, open_labelled

WORDS = "the old sea was calm and a small boat came slowly home at night with many fish".split()


def prose(seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=8))


def table(folder: Path, header: str, make_row, rows: int = 40, name: str = "a.tsv") -> Path:
    lines = ["\t".join(map(str, make_row(i))) for i in range(rows)]
    (folder / name).write_text("\n".join([*filter(None, [header]), *lines]) + "\n")
    return folder / name


@pytest.mark.parametrize(
    ("kind", "header", "make_row", "columns"),
    [
        ("classify", "said\tstars", lambda i: (prose(i), i % 5), Columns(("said",), "stars")),
        ("classify", "x1\tx2", lambda i: ("pn"[i % 2], prose(i)), Columns(("x2",), "x1")),
        ("classify", "", lambda i: ("pn"[i % 2], prose(i)), Columns(("#2",), "#1")),
        ("classify", "", lambda i: (prose(i), 0), Columns(("#1",), "#2")),
        (
            "classify",
            "id\tbody text\tverdict\tnote",
            lambda i: (i, prose(i), "ny"[i % 2], ""),
            Columns(("body text",), "verdict"),
        ),
        (
            "pairs",
            "m\tone\tother\tsame",
            lambda i: (i, prose(i), prose(-i), i % 3),
            Columns(("one", "other"), "same"),
        ),
        (
            "regress",
            "",
            lambda i: (f"{i:04}", i % 7 / 2, prose(i), prose(-i)),
            Columns(("#3", "#4"), "#2"),
        ),
        ("regress", "a\tb", lambda i: (prose(i), i / 8), Columns(("a",), "b")),
        (
            "pairs",
            "Premise\tHypothesis\tlabel",
            lambda i: "xyz",
            Columns(("Premise", "Hypothesis"), "label"),
        ),
        (
            "classify",
            "Review-Text\tSentiment\tid",
            lambda i: (i, "x", i),
            Columns(("Review-Text",), "Sentiment"),
        ),
        (
            "classify",
            "sentence1\tgold_label\tlabel\tsentence",
            lambda i: "abcd",
            Columns(("sentence",), "gold_label"),
        ),
    ],
)
def test_guesses(tmp_path: Path, kind: str, header: str, make_row, columns: Columns) -> None:
    file = open_labelled(table(tmp_path, header, make_row), kind)
    assert file.columns == columns
    assert "guessed by" in file.describe()
    assert "\n" not in file.describe()
    assert len(list(file)) == 40


@pytest.mark.parametrize(
    ("kind", "header", "make_row", "message"),
    [
        ("classify", "u\tv\tw", lambda i: (prose(i), i % 2, i % 3), "label could be in 'v' or 'w'"),
        (
            "classify",
            "u\tv\tw",
            lambda i: (prose(i), prose(-i), i % 3),
            "text could be in 'u' or 'v'",
        ),
        (
            "classify",
            "question\ttext\tlabel",
            lambda i: "abc",
            "text could be in 'question' or 'text'",
        ),
        (
            "pairs",
            "u\tv\tw\tx",
            lambda i: (prose(i), prose(-i), prose(i + 99), i % 2),
            "the two texts could",
        ),
        (
            "pairs",
            "premise\thypothesis\tsentence1\tsentence2\tlabel",
            lambda i: "abcde",
            "could be in 'sentence1' or",
        ),
        ("pairs", "u\tlabel", lambda i: (prose(i), i % 2), "none clearly the two texts"),
        ("regress", "u\tv\tw", lambda i: (prose(i), i % 2, i / 2), "number could be in 'v' or 'w'"),
        (
            "tag",
            "tokens\tner_tags\tpos_tags",
            lambda i: "abc",
            "tags could be in 'ner_tags' or 'pos_tags'",
        ),
        ("answer", "question\tcontext", lambda i: "ab", "none clearly the answers"),
    ],
)
def test_unclear_guesses(tmp_path: Path, kind: str, header: str, make_row, message: str) -> None:
    path = table(tmp_path, header, make_row)
    with pytest.raises(InputError, match=message) as raised:
        open_labelled(path, kind)
    assert "name it with" in raised.value.hint


def test_one_named_column_leaves_the_other_to_be_guessed(tmp_path: Path) -> None:
    path = table(tmp_path, "u\tv\tw", lambda i: (prose(i), prose(-i), i % 3))
    file = open_labelled(path, "classify", text=["#2"])
    assert file.columns == Columns(("v",), "w")
    assert file.describe().endswith("text: 'v' (as named); label: 'w' (guessed by content)")
    file = open_labelled(
        table(tmp_path, "u\tv\tw", lambda i: (prose(i), i % 2, i % 3)), "classify", label="w"
    )
    assert file.columns == Columns(("u",), "w")


@pytest.mark.parametrize(
    ("first", "rest", "has_header"),
    [
        ("text\tlabel", "x y z\ta\nx z\tb\nz\ta\n", True),
        ("stmt\tkind", "x y z\ta\nx z\tb\nz\ta\n", True),
        ("x y\ta", "x y z\ta\nx z\tb\nz\ta\n", False),
        ("x y\t7", "x y z\ta\nx z\tb\nz\ta\n", False),
        ("\tc", "x y z\ta\nx z\tb\nz\ta\n", False),
        ("0\t1", "x y z\ta\nx z\tb\nz\ta\n", True),
        ("text\tlabel\t", "x y z\ta\t\nx z\tb\t\nz\ta\t\n", True),
        ("x" * 65 + "\tc", "x y z\ta\nx z\tb\nz\ta\n", False),
        (" text\tlabel ", "text\tb\nx z\tb\nz\ta\n", True),
    ],
)
def test_headers_are_recognised(tmp_path: Path, first: str, rest: str, has_header: bool) -> None:
    (tmp_path / "a.tsv").write_text(f"{first}\n{rest}")
    form = open_labelled(tmp_path / "a.tsv", "classify", text=["#1"], label="#2").form
    assert ("with a header" in form) is has_header
    for header, word in [(True, "with a header"), (False, "without header")]:
        options = {"text": ["#1"], "label": "#2", "header": header}
        assert word in open_labelled(tmp_path / "a.tsv", "classify", **options).form


def test_columns_without_a_name_are_named_by_place(tmp_path: Path) -> None:
    path = table(tmp_path, "\ttext\t\tlabel\t", lambda i: (i, prose(i), "", i % 3, ""))
    file = open_labelled(path, "classify")
    assert file.columns == Columns(("text",), "label")
    assert open_labelled(path, "classify", label="#1").columns == Columns(("text",), "#1")
    train = open_labelled(table(tmp_path, "\tlabel", lambda i: (prose(i), i % 3)), "classify")
    assert train.columns == Columns(("#1",), "label")
    dev = table(tmp_path, "\tlabel", lambda i: (prose(i), i % 3), name="dev.tsv")
    assert len(list(open_labelled(dev, "classify", columns_like=train.columns))) == 40


def test_another_file_with_the_same_columns(tmp_path: Path) -> None:
    train = open_labelled(table(tmp_path, "u\tv", lambda i: (prose(i), i % 3)), "classify")
    dev = table(tmp_path, "v\tid\tu", lambda i: (0, i, "one"), rows=2, name="dev.tsv")
    assert train.columns
    file = open_labelled(dev, "classify", columns_like=train.columns)
    assert [(e.texts, e.labels) for e in file] == [(("one",), ("0",))] * 2
    assert file.describe().endswith("text: 'u' (as named); label: 'v' (as named)")
    test = table(tmp_path, "u", lambda i: ("one",), rows=2, name="test.tsv")
    with pytest.raises(InputError, match=r"test\.tsv: no column 'v', found u"):
        open_labelled(test, "classify", columns_like=train.columns)
    file = open_labelled(test, "classify", columns_like=train.columns, needs_labels=False)
    assert file.columns == Columns(("u",), None)
    assert [e.labels for e in file] == [None, None]


def test_a_file_like_one_without_header_has_none(tmp_path: Path) -> None:
    path = table(tmp_path, "", lambda i: ("text", "label"), rows=2)
    file = open_labelled(path, "classify", columns_like=Columns(("#1",), "#2"))
    assert label_counts(file) == {"label": 2}


@pytest.mark.parametrize(
    ("cells", "labels", "told"),
    [
        (["a|b", "b", ""], [("a", "b"), ("b",), ()], "several labels parted by '|'"),
        (["a, b,a", "b", ""], [("a", "b"), ("b",), ()], "several labels parted by ','"),
        (["a", "b", ""], [("a",), ("b",), ()], "several labels parted by ',' (none has two)"),
        ([["a", "b"], ["b"], []], [("a", "b"), ("b",), ()], "several labels as lists"),
        (["['a', 'b']", '["b"]', "[]"], [("a", "b"), ("b",), ()], "several labels as lists"),
        (["[2, 0]", "[\"it's\",'x']", "[1]"], [("2", "0"), ("it's", "x"), ("1",)], "as lists"),
    ],
)
def test_several_labels(tmp_path: Path, cells: list, labels: list, told: str) -> None:
    import json

    lines = [json.dumps({"text": f"text {i}", "labels": cell}) for i, cell in enumerate(cells)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    file = open_labelled(tmp_path / "a.jsonl", "classify", several=True)
    assert [example.labels for example in file] == labels
    assert file.describe().endswith(told)


def test_labels_of_any_type_have_names(tmp_path: Path) -> None:
    cells = ["1", "1.0", '"1"', '" 1 "', "true", '"x"', "0.5"]
    lines = [f'{{"text": "t {i}", "label": {cell}}}' for i, cell in enumerate(cells)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    file = open_labelled(tmp_path / "a.jsonl", "classify")
    assert label_counts(file) == {"0.5": 1, "1": 4, "true": 1, "x": 1}


def test_numbers_of_classes_are_sorted_by_size(tmp_path: Path) -> None:
    path = table(tmp_path, "text\tlabel", lambda i: (prose(i), i % 12))
    assert list(label_counts(open_labelled(path, "classify"))) == [str(i) for i in range(12)]


def test_rows_that_are_left_out_when_asked(tmp_path: Path) -> None:
    text = "sentence1\tsentence2\tgold_label\na\tb\t-\na\tb\tx\na\nc\td\ty\n"
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(InputError, match="line 2, column 'gold_label': '-' for a label"):
        list(open_labelled(tmp_path / "a.tsv", "pairs", skip_short_rows=True))
    with pytest.raises(InputError, match="line 4, column 'sentence2': 1 fields"):
        list(open_labelled(tmp_path / "a.tsv", "pairs", skip_unlabelled=True))
    options = {"skip_unlabelled": True, "skip_short_rows": True}
    file = open_labelled(tmp_path / "a.tsv", "pairs", **options)
    assert [example.line for example in file] == [3, 5]
