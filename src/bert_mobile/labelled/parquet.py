"""Rows of Parquet files, with the class names that the Hugging Face Hub keeps in them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bert_mobile.corpus.libraries import library
from bert_mobile.corpus.streams import Stream, open_stream
from bert_mobile.errors import InputError
from bert_mobile.labelled.places import DataFile, Row

ROWS_AT_ONCE = 1000
"""Rows in memory at a time."""

_DAMAGE = (ValueError, NotImplementedError)
"""What pyarrow's ArrowInvalid and ArrowNotImplementedError are."""


@dataclass(frozen=True)
class Parquet:
    """What is in a Parquet file."""

    columns: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]]
    """Names of the classes of columns that hold their numbers, in order."""
    wanted: tuple[str, ...] | None = None
    """Columns to read; None for all."""

    def describe(self) -> str:
        """Say it in a few words."""
        return f"Parquet, {len(self.columns)} columns"

    def only(self, wanted: Sequence[str]) -> "Parquet":
        """Read these columns alone, those of them that there are."""
        return replace(self, wanted=tuple(name for name in wanted if name in self.columns))

    def rows(self, file: DataFile, stream: Stream) -> Iterator[Row]:
        """Yield the rows; raises `InputError` for damage and a file without these columns."""
        table = _opened(file, stream)
        known = table.schema_arrow.names
        wanted = self.wanted or self.columns
        missing = [name for name in wanted if name not in known]
        if missing:
            raise InputError(
                f"{file.name}: no column {missing[0]!r}, found {', '.join(known)}",
                hint="files that are read together need the same columns",
            )
        batches = table.iter_batches(batch_size=ROWS_AT_ONCE, columns=list(wanted))
        number = 0
        for values in _whole(batches, file):
            for value in values:
                number += 1
                yield number, value


def inspect(file: DataFile) -> Parquet:
    """Read the schema. Raises `InputError` where the file is no whole Parquet file."""
    with open_stream(file.path) as stream:
        schema = _opened(file, stream).schema_arrow
        twin = next((name for name in schema.names if schema.names.count(name) > 1), None)
        if twin is not None:
            raise InputError(
                f"{file.name}: two columns are named {twin!r}", hint="rename one of them"
            )
        return Parquet(tuple(schema.names), _classes(schema.metadata or {}))


def _classes(metadata: Mapping[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """Return the names of each `ClassLabel` among the features that the Hub describes."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features")
    except (ValueError, AttributeError):  # somebody else's use of that key
        return {}
    found = {}
    for name, feature in (features or {}).items():
        if names := _class_names(feature):
            found[name] = names
    return found


def _class_names(feature: Any) -> tuple[str, ...]:
    """Return the names of a `ClassLabel`, or of the `ClassLabel` that a list holds."""
    if isinstance(feature, list) and feature:
        return _class_names(feature[0])
    if not isinstance(feature, dict):
        return ()
    if feature.get("_type") == "ClassLabel":
        return tuple(map(str, feature.get("names") or ()))
    return _class_names(feature.get("feature"))


def _opened(file: DataFile, stream: Stream) -> Any:
    parquet = library("pyarrow.parquet")
    try:
        return parquet.ParquetFile(stream.plain, pre_buffer=False, buffer_size=1 << 20)
    except _DAMAGE as error:
        raise _damaged(file, error) from error


def _whole(batches: Iterator[Any], file: DataFile) -> Iterator[list[dict[str, Any]]]:
    while True:
        try:
            batch = next(batches, None)
            rows = batch.to_pylist() if batch is not None else None  # decodes UTF-8
        except _DAMAGE as error:
            raise _damaged(file, error) from error
        if rows is None:
            return
        yield rows


def _damaged(file: DataFile, error: Exception) -> InputError:
    return InputError(
        f"{file.name} cannot be read, expected a whole Parquet file: {error}",
        hint="copy or download the file again",
    )
