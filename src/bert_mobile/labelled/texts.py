"""Rows of a table → labelled texts: one text or two, with a label, several labels or a number."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from bert_mobile.labelled.columns import Columns
from bert_mobile.labelled.examples import LabelledText
from bert_mobile.labelled.lists import NO_LIST, is_bracketed, written_list
from bert_mobile.labelled.names import plain
from bert_mobile.labelled.places import DataFile, Row

SEPARATORS = ("|", ",")
"""What may part several labels in one string; the first that the sample has is taken."""

UNLABELLED = "delete the row, or leave such rows out with skip_unlabelled (--skip-unlabelled)"

_NOT_A_NUMBER = ("nan", "")

_FLAGS = {"0", "1", "true", "false"}
"""What a list says of all labels in turn, where it does not name those that a text has."""


@dataclass(frozen=True)
class TextRows:
    """How the rows of a table become labelled texts."""

    columns: Columns
    is_number: bool
    """Whether the label is a number to learn, of a regression."""
    needs_labels: bool
    skip_unlabelled: bool
    separator: str | None
    """What parts several labels in one string; None where there is one label."""
    class_names: Sequence[str] | None
    """Names of the classes where labels are their numbers."""

    def examples(self, file: DataFile, rows: Iterable[Row]) -> Iterator[LabelledText]:
        """Yield an example a row; raises `InputError` at the first row that makes none."""
        for line, cells in rows:
            texts = tuple(text_of(file, line, name, cells) for name in self.columns.texts)
            labels = value = None
            if self.is_number:
                value = self._value(file, line, cells)
            else:
                labels = self._labels(file, line, cells)
            if self.needs_labels and labels is None and value is None:
                if self.skip_unlabelled:
                    continue
                raise self._unlabelled(file, line, cells)
            yield LabelledText(line, texts, labels, value)

    def _unlabelled(self, file: DataFile, line: int, cells: Mapping[str, Any]) -> Exception:
        cell = cells.get(self.columns.label or "")
        found = "no label" if cell is None or cell == "" else f"{cell!r} for a label"
        expected = "a number" if self.is_number else "a name or number of a class"
        return file.error(line, self.columns.label, f"{found}, expected {expected}", UNLABELLED)

    def _value(self, file: DataFile, line: int, cells: Mapping[str, Any]) -> float | None:
        cell = cells.get(self.columns.label) if self.columns.label else None
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            return None
        try:
            value = float(cell) if not isinstance(cell, bool) else None
        except (TypeError, ValueError, OverflowError):
            value = None
        if value is None or not isfinite(value):
            raise file.error(
                line,
                self.columns.label,
                f"{cell!r}, expected a finite number",
                "correct or delete the row; classes are learned by classify or pairs",
            )
        return value

    def _labels(
        self, file: DataFile, line: int, cells: Mapping[str, Any]
    ) -> tuple[str, ...] | None:
        cell = cells.get(self.columns.label) if self.columns.label else None
        if self.separator is None:
            name = self._name(file, line, cell)
            return None if name is None else (name,)
        if cell is None:
            return None
        return self._several(file, line, cell, self.separator)

    def _several(self, file: DataFile, line: int, cell: Any, separator: str) -> tuple[str, ...]:
        column = self.columns.label
        found = _listed(cell, separator)
        if found is None:
            raise file.error(line, column, f"{cell[:60]}, expected labels", NO_LIST)
        names = [self._name(file, line, each) for each in found]
        if None in names:
            raise file.error(line, column, f"{cell} has an empty label", "give each label a name")
        different = dict.fromkeys(name for name in names if name is not None)
        if len(different) < len(names) and different.keys() <= _FLAGS:
            raise file.error(
                line,
                column,
                f"{str(cell)[:60]}, expected the names or numbers of its labels",
                "name the labels that the text has, instead of a yes or no to each",
            )
        return tuple(different)

    def _name(self, file: DataFile, line: int, cell: Any) -> str | None:
        """Return a label's name, or None where the cell says that there is none."""
        if self.class_names is not None and isinstance(cell, int):
            return self._class_name(file, line, cell)
        if isinstance(cell, list | dict | bytes):
            hint = "write it as a string or a number"
            if isinstance(cell, list) and self.separator is None:
                hint = "several labels a text are read with several (--several)"
            found = f"{_kind_of(cell)}, expected one label"
            raise file.error(line, self.columns.label, found, hint)
        name = label_name(cell)
        if name.lower() in _NOT_A_NUMBER:
            return None
        refuse_unwritable(file, line, self.columns.label, name)
        if name == "-" and plain(self.columns.label or "") == "goldlabel":
            return None  # SNLI's annotators found no agreement
        return name

    def _class_name(self, file: DataFile, line: int, number: int) -> str | None:
        names = self.class_names or ()
        if number == -1:  # the Hub's mark of a hidden label
            return None
        if not 0 <= number < len(names):
            raise file.error(
                line,
                self.columns.label,
                f"class {number}, expected 0 to {len(names) - 1} ({', '.join(names)})",
                "the file contradicts its own list of classes",
            )
        return names[number]


def _listed(cell: Any, separator: str) -> list[Any] | None:
    """Return the labels in a cell; None where it seems to hold a list and does not."""
    if isinstance(cell, str):
        if is_bracketed(cell):
            return written_list(cell)
        return [part for part in cell.split(separator) if part.strip()]
    return cell if isinstance(cell, list) else [cell]


def _kind_of(cell: list[Any] | dict[str, Any] | bytes) -> str:
    return "bytes" if isinstance(cell, bytes) else f"a JSON {type(cell).__name__}"


def label_name(cell: Any) -> str:
    """Return the name of the class that a cell tells: 1, 1.0 and "1" are the same."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float):
        return f"{cell:.0f}" if cell.is_integer() else str(cell) if isfinite(cell) else ""
    return "" if cell is None else str(cell).strip()


def text_of(file: DataFile, line: int, column: str, cells: Mapping[str, Any]) -> str:
    """Return a text of a row; raises `InputError` where there is none or it is empty."""
    if column not in cells:
        found = ", ".join(cells)
        raise file.error(line, column, f"found {found} alone", "give every record the same keys")
    cell = cells[column]
    if not isinstance(cell, str):
        found = "null" if cell is None else type(cell).__name__
        raise file.error(line, column, f"{found}, expected a text", "write it as a string")
    if not any(letter.isprintable() and not letter.isspace() for letter in cell):
        raise file.error(
            line, column, "an empty text, expected some words", "delete the row or fill it in"
        )
    refuse_unwritable(file, line, column, cell)
    return cell


def refuse_unwritable(file: DataFile, line: int, column: str | None, text: str) -> None:
    r"""Raise `InputError` for what JSON's `\u0000` and `\ud800` become."""
    try:
        text.encode()
        found = "a NUL" if "\0" in text else ""
    except UnicodeEncodeError:
        found = "half a surrogate pair"
    if found:
        raise file.error(line, column, f"{found}, expected Unicode", "delete or repair the row")
