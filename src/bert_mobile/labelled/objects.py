"""Rows of JSON Lines and JSON files: objects, or lists such as `[text, label]`.

A JSON file is a list of rows, an object of split → list of rows, or an object whose "data" is the
list. It is read whole; JSON Lines is streamed.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from bert_mobile.corpus.streams import Stream, open_stream
from bert_mobile.errors import InputError
from bert_mobile.labelled.lines import numbered_lines, undecodable
from bert_mobile.labelled.names import numbered
from bert_mobile.labelled.places import SAMPLE_ROWS, DataFile, Row

LARGEST_DOCUMENT = 2**30
"""Bytes of a JSON file, which is in memory as a whole."""


@dataclass(frozen=True)
class Objects:
    """What is in a JSON or JSON Lines file."""

    columns: tuple[str, ...]
    encoding: str
    split: str | None
    """Of a JSON file that has several."""

    def describe(self) -> str:
        """Say it in a few words."""
        split = f" of split {self.split!r}" if self.split else ""
        return f"JSON records{split}, {len(self.columns)} keys"

    def rows(self, file: DataFile, stream: Stream) -> Iterator[Row]:
        """Yield the rows; raises `InputError` at the first that is no JSON object or list."""
        return _rows(file, stream, self.encoding, self.split)


def inspect(file: DataFile, encoding: str, split: str | None) -> Objects:
    """Find out which keys the first records have. Raises `InputError` where there are none."""
    columns: dict[str, None] = {}
    with open_stream(file.path) as stream:
        for _, cells in islice(_rows(file, stream, encoding, split), SAMPLE_ROWS):
            columns |= dict.fromkeys(cells)
    if not columns:
        raise file.empty()
    return Objects(tuple(columns), encoding, split)


def _rows(file: DataFile, stream: Stream, encoding: str, split: str | None) -> Iterator[Row]:
    values = (
        _lines(file, stream, encoding)
        if file.kind == "jsonl"
        else enumerate(_records(file, read_document(file, stream, encoding), split), start=1)
    )
    for line, value in values:
        if isinstance(value, dict):
            yield line, value
        elif isinstance(value, list) and not (value and isinstance(value[0], dict)):
            yield line, dict(zip(numbered(len(value)), value, strict=True))
        else:
            found = "list of objects" if isinstance(value, list) else type(value).__name__
            raise file.error(
                line,
                None,
                f"a JSON {found}, expected one record: an object, or a list of its cells",
                'write {"text": "...", "label": "..."}; a list of such is to be named .json',
            )


def _lines(file: DataFile, stream: Stream, encoding: str) -> Iterator[tuple[int, Any]]:
    for number, line in numbered_lines(stream.plain, file, encoding):
        if line.strip():
            yield number, _loaded(line, file, number)


def read_document(file: DataFile, stream: Stream, encoding: str) -> Any:
    """Return what a JSON file holds. Raises `InputError` where it is none or too large."""
    data = stream.plain.read(LARGEST_DOCUMENT + 1)
    if len(data) > LARGEST_DOCUMENT:
        raise InputError(
            f"{file.name} is over {LARGEST_DOCUMENT // 2**30} GB of JSON in one document",
            hint="write one record a line and name it .jsonl: that is streamed",
        )
    if not data.strip():
        raise file.empty()
    try:
        text = data.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = data.count(b"\n", 0, start) + 1
        raise InputError(
            f"{file.name}, line {line}: {undecodable(encoding, error)}",
            hint="convert the file, or say what it is with encoding (--encoding): cp1252, …",
        ) from None
    return _loaded(text, file, None)


def _loaded(text: str, file: DataFile, line: int | None) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        at = file.at(line) if line else file.name
        raise InputError(
            f"{at}: no valid JSON: {error}",
            hint="repair or delete it; copy the file again where it was cut off",
        ) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"an object has the key {twin!r} twice")
    return found


def _records(file: DataFile, document: Any, split: str | None) -> Sequence[Any]:
    if isinstance(document, dict) and not split and isinstance(document.get("data"), list):
        document = document["data"]
    if isinstance(document, list) and not split:
        return document
    splits = _splits(document)
    if not splits:
        found = f"a JSON {type(document).__name__}" + (" without splits" if split else "")
        raise InputError(
            f"{file.name}: {found}, expected a list of records or an object of split → list",
            hint='write [{"text": "...", "label": "..."}, …]',
        )
    if split is None and len(splits) == 1:
        return next(iter(splits.values()))
    if split is None or split not in splits:
        found = f"no split {split!r}" if split else "several splits"
        raise InputError(
            f"{file.name}: {found}, expected one of {', '.join(splits)}",
            hint=f"name it behind a colon: {file.name}:{next(iter(splits))}",
        )
    return splits[split]


def _splits(document: Any) -> Mapping[str, list[Any]]:
    """Return the lists of records in an object of split → list; nothing of any other document."""
    if not isinstance(document, dict):
        return {}
    lists = {name: value for name, value in document.items() if isinstance(value, list)}
    rows = (row for value in lists.values() for row in value)
    return lists if all(isinstance(row, dict | list) for row in rows) else {}
