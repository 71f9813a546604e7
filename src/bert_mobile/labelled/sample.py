"""What the first rows of a table say about its columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bert_mobile.errors import InputError
from bert_mobile.labelled.lists import is_bracketed
from bert_mobile.labelled.names import is_number
from bert_mobile.labelled.places import DataFile

SHORT = 64
"""Characters of a label at most."""

FEW_WORDS = 4
"""Words of a label at most, on the average of a column."""

PROSE_WORDS = 3
"""Words of a text at least, on the average of a column that is certainly no label."""


@dataclass(frozen=True)
class Values:
    """The cells of one column, empty ones aside."""

    texts: tuple[str, ...]
    rows: int
    """Rows looked at; more than texts where cells are empty."""
    are_plain: bool
    """Whether all cells are strings, numbers or booleans."""

    @cached_property
    def distinct(self) -> int:
        """Different values."""
        return len(set(self.texts))

    @cached_property
    def mean_length(self) -> float:
        """Characters of a value."""
        return sum(map(len, self.texts)) / max(len(self.texts), 1)

    @cached_property
    def mean_words(self) -> float:
        """Words of a value."""
        return sum(len(text.split()) for text in self.texts) / max(len(self.texts), 1)

    @cached_property
    def are_numbers(self) -> bool:
        """Whether every value reads as a number."""
        return bool(self.texts) and all(map(is_number, self.texts))

    @property
    def is_short(self) -> bool:
        """Whether a label could be as long as the longest value."""
        return self.are_plain and max(map(len, self.texts), default=0) <= SHORT

    @property
    def is_label_like(self) -> bool:
        """Whether there is a short value in every row and few different ones."""
        return (
            len(self.texts) == self.rows
            and self.is_short
            and self.mean_words <= FEW_WORDS
            and self.distinct <= self.rows / 2
        )

    @property
    def is_measure(self) -> bool:
        """Whether there is a number in every row, and these do not just count the rows."""
        counts = self.distinct == self.rows and all(text.isdecimal() for text in self.texts)
        return len(self.texts) == self.rows and self.are_numbers and not counts

    @property
    def is_text(self) -> bool:
        """Whether the values may be texts."""
        return self.are_plain and not self.are_numbers and (self.distinct > 1 or self.rows == 1)

    @property
    def is_prose(self) -> bool:
        """Whether the values are texts of several words."""
        return self.is_text and self.mean_words >= PROSE_WORDS


class Sample:
    """The columns of a table, by name."""

    def __init__(self, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        self.names = tuple(names)
        self.rows = rows
        self._values: dict[str, Values] = {}

    def __getitem__(self, name: str) -> Values:
        """Return what a column holds."""
        if name not in self._values:
            cells = [row.get(name) for row in self.rows]
            texts = tuple(text for cell in cells if (text := _text(cell)))
            are_plain = all(isinstance(cell, str | int | float | None) for cell in cells)
            self._values[name] = Values(texts, len(cells), are_plain)
        return self._values[name]


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell).strip()


def refuse_swapped(file: DataFile, sample: Sample, texts: Sequence[str], label: str) -> None:
    """Raise `InputError` where the labels read like texts and a text column like labels."""
    labels = sample[label]
    for name in texts:
        values = sample[name]
        like_label = values.are_numbers or values.is_label_like
        longer = labels.mean_length > values.mean_length
        if like_label and labels.is_prose and not labels.is_label_like and longer:
            raise InputError(
                f"{file.name}: column {name!r} holds values such as {values.texts[0]!r} and column "
                f"{label!r} holds texts, expected it the other way round",
                hint=f"swap them: text {label!r}, label {name!r}",
            )


def refuse_single_words(file: DataFile, sample: Sample, column: str) -> None:
    """Raise `InputError` where a sentence is spread over rows: every one would be of one word."""
    cells = [row.get(column) for row in sample.rows]
    if len(cells) > 1 and all(isinstance(cell, str) and _is_word(cell) for cell in cells):
        raise InputError(
            f"{file.name}: column {column!r} holds a word a row, expected a sentence a row",
            hint="write a word and its tag a line, a blank line after each sentence, as .conll",
        )


def _is_word(cell: str) -> bool:
    return len(cell.split()) == 1 and not is_bracketed(cell)
