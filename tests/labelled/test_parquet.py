"""Parquet: columns, lists, and the class names that the Hub keeps in the file."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bert_mobile.errors import InputError
from bert_mobile.labelled import (
    AnswerSpan,
    LabelledText,
    TaggedSentence,
    label_counts,
    open_labelled,
)

CLASSES = {"names": ["neg", "pos"], "_type": "ClassLabel"}
NER = {"names": ["O", "B-PER"], "_type": "ClassLabel"}


def written(
    path: Path, columns: dict[str, list[Any]], features: dict[str, Any] | None = None
) -> Path:
    table = pa.table(columns)
    if features:
        info = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": info})
    pq.write_table(table, path, row_group_size=2)
    return path


def test_class_names_are_those_of_the_file(tmp_path: Path) -> None:
    columns = {"idx": [0, 1, 2], "sentence": ["a b", "c", "d"], "label": [1, 0, 1]}
    path = written(tmp_path / "a.parquet", columns, {"label": CLASSES})
    found = list(open_labelled(path, "classify"))
    assert found[0] == LabelledText(1, ("a b",), ("pos",), None)
    assert [example.line for example in found] == [1, 2, 3]
    assert label_counts(found) == {"neg": 1, "pos": 2}
    plain = written(tmp_path / "b.parquet", columns)
    assert label_counts(open_labelled(plain, "classify")) == {"0": 1, "1": 2}


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (-1, "a.parquet, row 2, column 'label': -1 for a label"),
        (2, r"a.parquet, row 2, column 'label': class 2, expected 0 to 1 \(neg, pos\)"),
        (None, "a.parquet, row 2, column 'label': no label"),
    ],
)
def test_labels_outside_the_classes(tmp_path: Path, label: int | None, message: str) -> None:
    columns = {"sentence": ["a b", "c"], "label": [1, label]}
    path = written(tmp_path / "a.parquet", columns, {"label": CLASSES})
    with pytest.raises(InputError, match=message):
        list(open_labelled(path, "classify"))
    if label != 2:
        hidden = open_labelled(path, "classify", needs_labels=False)
        assert [example.labels for example in hidden] == [("pos",), None]


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (b"neg", "row 1, column 'label': bytes, expected one label"),
        ({"name": "neg"}, "row 1, column 'label': a JSON dict, expected one label"),
    ],
)
def test_labels_of_types_that_have_no_names(tmp_path: Path, label: Any, message: str) -> None:
    path = written(tmp_path / "a.parquet", {"sentence": ["a b", "c"], "label": [label] * 2})
    for several in (False, True):
        with pytest.raises(InputError, match=message) as raised:
            list(open_labelled(path, "classify", several=several))
        assert raised.value.hint == "write it as a string or a number"


def test_a_table_without_rows_is_not_asked_for_a_header(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {"sentence": [], "label": []})
    with pytest.raises(InputError, match=r"has columns \(sentence, label\) and no rows") as raised:
        open_labelled(path, "classify")
    assert raised.value.hint == "check what wrote it"


@pytest.mark.parametrize("form", ["Sequence", "List", "old"])
def test_tags_with_class_names(tmp_path: Path, form: str) -> None:
    feature = [NER] if form == "old" else {"feature": NER, "_type": form}
    columns = {"tokens": [["Eve", "ran"], ["No"]], "ner_tags": [[1, 0], [0]]}
    path = written(tmp_path / "a.parquet", columns, {"ner_tags": feature})
    assert list(open_labelled(path, "tag")) == [
        TaggedSentence(1, ("Eve", "ran"), ("B-PER", "O")),
        TaggedSentence(2, ("No",), ("O",)),
    ]


def test_questions_as_the_hub_keeps_them(tmp_path: Path) -> None:
    columns = {
        "id": ["q1", "q2"],
        "title": ["t", "t"],
        "context": ["He came home.", "He came home."],
        "question": ["Who?", "Why?"],
        "answers": [
            {"text": ["He", "He"], "answer_start": [0, 0]},
            {"text": [], "answer_start": []},
        ],
    }
    first, second = open_labelled(written(tmp_path / "a.parquet", columns), "answer")
    assert (first.id, first.answers) == ("q1", (AnswerSpan("He", 0),))
    assert second.answers == ()


def test_a_parquet_file_without_these_columns(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {"body": ["a b", "c d"], "n": [1, 1]})
    with pytest.raises(InputError, match=r"a\.parquet: no column 'label', found body, n"):
        open_labelled(path, "classify", label="label")
    pq.write_table(pa.Table.from_arrays([pa.array([1])] * 2, names=["a", "a"]), path)
    with pytest.raises(InputError, match=r"a\.parquet: two columns are named 'a'"):
        open_labelled(path, "classify")
    damaged = (written(path, {"text": ["WRONG"], "label": ["x"]}).read_bytes()).replace(
        b"WRONG", b"\xff\xfe\xfd\xfc\xfb"
    )
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"a\.parquet cannot be read, expected a whole Parquet"):
        list(open_labelled(path, "classify"))
