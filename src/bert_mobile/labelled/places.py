"""Where a labelled file lies, and how an error names a place in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bert_mobile.errors import InputError

Row = tuple[int, Mapping[str, Any]]
"""1-based line, row or record, and cells by column."""

SAMPLE_ROWS = 1000
"""Rows that are looked at before a file is read."""


@dataclass(frozen=True)
class DataFile:
    """One file to read."""

    path: str
    """On a disk, or an address."""
    name: str
    """What messages call it."""
    bytes: int
    """Its size where it lies, compressed or not."""
    kind: str
    """One of `bert_mobile.labelled.kinds.KINDS`."""
    unit: str = "line"
    """What its examples are counted in: `line`, `row` or `record`."""

    def at(self, line: int, column: str | None = None) -> str:
        """Name a place, such as `train.csv, line 7, column 'label'`."""
        place = f"{self.name}, {self.unit} {line}"
        return place if column is None else f"{place}, column {column!r}"

    def error(self, line: int, column: str | None, found: str, hint: str) -> InputError:
        """Return the error for something at a place; `found` says what, and what was expected."""
        return InputError(f"{self.at(line, column)}: {found}", hint=hint)

    def empty(self) -> InputError:
        """Return the error for a file without a single example."""
        return InputError(
            f"{self.name} is empty, expected labelled examples", hint="check what wrote it"
        )
