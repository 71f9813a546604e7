"""Records in which one thing is anything at all are read or refused; nothing else comes of them."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bert_mobile.errors import InputError
from bert_mobile.labelled import open_labelled

MISSING = object()
ANYTHING = (None, [], {}, [None], [[]], 1, -1, True, "", "x", {"a": 1}, "\ud800", 10**400, MISSING)

SPAN = {"text": "she", "answer_start": 3}
ASKED = {"id": "1", "question": "he", "answers": [SPAN], "is_impossible": False}
SQUAD = {"version": "1.1", "data": [{"paragraphs": [{"context": "he she it", "qas": [ASKED]}]}]}
HUB = {"question": "he", "context": "he she", "answers": {"text": ["she"], "answer_start": [3]}}


@pytest.mark.parametrize(
    ("name", "kind", "record", "options"),
    [
        ("squad.json", "answer", SQUAD, {}),
        ("rows.jsonl", "answer", HUB, {}),
        ("rows.jsonl", "tag", {"tokens": ["he", "she"], "tags": ["A", "B"]}, {}),
        ("rows.jsonl", "classify", {"text": "he she it", "label": "good"}, {}),
        ("rows.jsonl", "classify", {"text": "he", "label": ["a", "b"]}, {"several": True}),
        ("rows.jsonl", "regress", {"text": "he she it", "label": 1.5}, {}),
    ],
)
def test_anything_anywhere(
    tmp_path: Path, name: str, kind: str, record: Any, options: dict[str, Any]
) -> None:
    path, read, refused = tmp_path / name, 0, []
    for place in places(record):
        for value in ANYTHING:
            changed = with_value(record, place, value)
            records = [record, changed] if name.endswith("l") else [changed]
            path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
            try:
                read += len(list(open_labelled(path, kind, **options)))
            except InputError as error:
                refused.append(error)
    assert read
    assert refused
    for error in refused:
        assert "\n" not in error.message
        assert str(path) in error.message
        assert error.hint


def places(record: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where something is in a record, each as the keys on the way."""
    for key in record if isinstance(record, dict) else range(len(record)):
        yield (*above, key)
        if isinstance(record[key], dict | list):
            yield from places(record[key], (*above, key))


def with_value(record: Any, place: tuple[Any, ...], value: Any) -> Any:
    changed = inside = copy.deepcopy(record)
    for key in place[:-1]:
        inside = inside[key]
    if value is MISSING:
        del inside[place[-1]]
    else:
        inside[place[-1]] = value
    return changed
