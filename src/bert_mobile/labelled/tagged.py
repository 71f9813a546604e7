"""Rows of a table → tagged sentences: lists of words and of tags, or strings parted by spaces.

A list may also be written within a string, as pandas writes one into CSV.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bert_mobile.labelled.columns import Columns
from bert_mobile.labelled.examples import TaggedSentence
from bert_mobile.labelled.lists import NO_LIST, is_bracketed, written_list
from bert_mobile.labelled.places import DataFile, Row
from bert_mobile.labelled.texts import UNLABELLED, label_name, refuse_unwritable


@dataclass(frozen=True)
class TaggedRows:
    """How the rows of a table become tagged sentences."""

    columns: Columns
    needs_labels: bool
    skip_unlabelled: bool
    class_names: Sequence[str] | None
    """Names of the tags where the cells hold their numbers."""

    def examples(self, file: DataFile, rows: Iterable[Row]) -> Iterator[TaggedSentence]:
        """Yield a sentence a row; raises `InputError` at the first row that makes none."""
        name = self.columns.texts[0]
        for line, cells in rows:
            words = self._words(file, line, name, cells.get(name))
            tags = self._tags(file, line, cells)
            if tags is None and self.needs_labels:
                if self.skip_unlabelled:
                    continue
                raise file.error(
                    line, self.columns.label, "no tags, expected one a word", UNLABELLED
                )
            if tags is not None:
                refuse_unequal(file, line, self.columns.label, words, tags)
            yield TaggedSentence(line, words, tags)

    def _words(self, file: DataFile, line: int, column: str, cell: Any) -> tuple[str, ...]:
        listed = written_list(cell) if isinstance(cell, str) else None
        is_list = listed is not None and all(isinstance(item, str) for item in listed)
        words = listed if is_list else _parts(cell)  # `[1]` may be a word
        if words is None:
            found = "null" if cell is None else type(cell).__name__
            hint = "write words as a list, or as a string in which spaces part them"
            raise file.error(line, column, f"{found}, expected words", hint)
        if not words:
            raise file.error(line, column, "no words", "delete the row or fill it in")
        for number, word in enumerate(words, start=1):
            if not isinstance(word, str) or not word.strip():
                raise file.error(
                    line,
                    column,
                    f"word {number} is {word!r}, expected some letters",
                    "delete the word and its tag",
                )
        return tuple(words)

    def _tags(self, file: DataFile, line: int, cells: Mapping[str, Any]) -> tuple[str, ...] | None:
        if self.columns.label is None:
            return None
        cell = cells.get(self.columns.label)
        if isinstance(cell, str) and is_bracketed(cell):
            tags = written_list(cell)
            if tags is None:
                found = f"{cell[:60]}, expected tags"
                raise file.error(line, self.columns.label, found, NO_LIST)
        else:
            tags = _parts(cell)
        if cell is not None and tags is None:
            raise file.error(
                line,
                self.columns.label,
                f"{type(cell).__name__}, expected tags",
                "write them as the words are written",
            )
        if not tags:
            return None
        return tuple(self._tag(file, line, n, tag) for n, tag in enumerate(tags, start=1))

    def _tag(self, file: DataFile, line: int, number: int, tag: Any) -> str:
        if self.class_names is not None and isinstance(tag, int):
            name = self.class_names[tag] if 0 <= tag < len(self.class_names) else ""
        else:
            name = label_name(tag) if not isinstance(tag, list | dict | bytes) else ""
        if not name:
            raise file.error(
                line,
                self.columns.label,
                f"tag {number} is {tag!r}, expected a name",
                "give every word a tag, such as O",
            )
        refuse_unwritable(file, line, self.columns.label, name)
        return name


def refuse_unequal(
    file: DataFile, line: int, column: str | None, words: Sequence[str], tags: Sequence[str]
) -> None:
    """Raise `InputError` unless each word has a tag."""
    if len(words) != len(tags):
        raise file.error(
            line,
            column,
            f"{len(tags)} tags for {len(words)} words ({' '.join(words)[:60]}), expected one each",
            "correct or delete the row; a word that holds a space belongs in a list",
        )


def _parts(cell: Any) -> list[Any] | None:
    """Return the items of a list, or what spaces part in a string; None of anything else."""
    if isinstance(cell, str):
        return [part for part in cell.split(" ") if part]
    return cell if isinstance(cell, list) else None
