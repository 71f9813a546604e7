"""Which columns of a table hold the texts and the labels: named, or guessed and told.

A guess goes by the usual names (`bert_mobile.labelled.names`), else by what the first thousand rows
hold (`bert_mobile.labelled.sample`). Where two columns could be meant, neither is taken.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from bert_mobile.errors import InputError
from bert_mobile.labelled import names
from bert_mobile.labelled.places import DataFile
from bert_mobile.labelled.sample import Sample

TEXT_COUNTS = {"classify": (1,), "pairs": (2,), "regress": (1, 2), "tag": (1,), "answer": (2,)}
"""How many text columns each kind has; of `answer`: the question's and the context's."""

CALLED = {
    "classify": ("text", "label"),
    "pairs": ("two texts", "label"),
    "regress": ("text", "number"),
    "tag": ("words", "tags"),
    "answer": ("question and context", "answers"),
}
"""What messages call the columns of each kind."""


@dataclass(frozen=True)
class Columns:
    """The columns that are read, by name; `#1`, `#2`, … in a file without header."""

    texts: tuple[str, ...]
    label: str | None
    """None where the file has no labels."""


@dataclass(frozen=True)
class Chosen:
    """The columns, and how each was found."""

    columns: Columns
    text_by: str
    label_by: str

    def describe(self, kind: str) -> str:
        """Say it in a few words."""
        text, label = CALLED[kind]
        found = f"{text}: {' and '.join(map(repr, self.columns.texts))} ({self.text_by})"
        if self.columns.label is None:
            return f"{found}; no {label}"
        return f"{found}; {label}: {self.columns.label!r} ({self.label_by})"


NAMED = "as named"
BY_NAME = "guessed by name"
BY_CONTENT = "guessed by content"


@dataclass(frozen=True)
class Chooser:
    """Finds the columns of one kind of examples in a sample of a table."""

    file: DataFile
    sample: Sample
    kind: str
    needs_labels: bool
    alike: bool = False
    """Whether columns are named by another file, not by somebody."""

    def choose(self, text: Sequence[str], label: str | None) -> Chosen:
        """Return the columns, those that are named and guesses for the others.

        Raises `InputError` where a column is missing or a guess is not clear.
        """
        texts = tuple(self.found(name) for name in text)
        labels: tuple[str, ...] = (self.found(label),) if label is not None else ()
        self._refuse_misused(texts, labels)
        text_by = label_by = NAMED
        if not labels and (labels := self._label_by_name(texts)):
            label_by = BY_NAME
        if not texts and (texts := self._texts_by_name(labels)):
            text_by = BY_NAME
        if not labels and self.needs_labels:
            labels = (self._label_by_content(texts),)
            label_by = BY_CONTENT
        if not texts:
            texts = self._texts_by_content(labels)
            text_by = BY_CONTENT
        return Chosen(Columns(texts, labels[0] if labels else None), text_by, label_by)

    def found(self, name: str) -> str:
        """Return the column of that name or place; raises `InputError` where there is none."""
        known = self.sample.names
        if name in known:
            return name
        if names.is_position(name) and int(name[1:]) <= len(known):
            return known[int(name[1:]) - 1]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "name one of those"
        if self.alike:
            hint = "files that are read together need the same columns"
        raise InputError(
            f"{self.file.name}: no column {name!r}, found {', '.join(known)}", hint=hint
        )

    def _refuse_misused(self, texts: tuple[str, ...], labels: tuple[str, ...]) -> None:
        counts = TEXT_COUNTS[self.kind]
        if texts and len(texts) not in counts:
            expected = " or ".join(map(str, counts))
            raise InputError(
                f"{len(texts)} text columns are named ({', '.join(texts)}), expected {expected} "
                f"for {self.kind}",
                hint="two texts are for pairs, or a number to learn of both for regress",
            )
        twins = sorted({name for name in texts + labels if (texts + labels).count(name) > 1})
        if twins:
            raise InputError(
                f"column {twins[0]!r} is named twice, expected different columns",
                hint=f"{self.file.name} has {', '.join(self.sample.names)}",
            )

    def _label_by_name(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        groups = {"regress": names.NUMBERS, "tag": names.TAGS, "answer": (("answers",),)}
        called = CALLED[self.kind][1]
        return self._one_of(groups.get(self.kind, names.LABELS), called, "label", texts)

    def _texts_by_name(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        if self.kind == "answer":
            return self._pair((("question", "context"),), labels)
        if self.kind in {"pairs", "regress"} and (pair := self._pair(names.PAIRS, labels)):
            return pair
        if self.kind == "pairs":
            return ()
        groups = names.TOKENS if self.kind == "tag" else names.TEXTS
        return self._one_of(groups, CALLED[self.kind][0], "text", labels)

    def _one_of(
        self,
        groups: Sequence[Sequence[str]],
        called: str,
        option: str,
        taken: tuple[str, ...],
    ) -> tuple[str, ...]:
        """Return the column whose usual name is in the first group that has any."""
        for group in groups:
            matches = [name for name in self._free(taken) if names.plain(name) in group]
            if len(matches) > 1:
                raise self._unclear(called, option, matches)
            if matches:
                return (matches[0],)
        return ()

    def _pair(self, pairs: Sequence[tuple[str, str]], taken: tuple[str, ...]) -> tuple[str, ...]:
        free = {names.plain(name): name for name in self._free(taken)}
        matches = [pair for pair in pairs if set(pair) <= set(free)]
        if len(matches) > 1:
            found = dict.fromkeys(free[name] for pair in matches for name in pair)
            raise self._unclear("two texts", "text", list(found))
        return tuple(free[name] for name in matches[0]) if matches else ()

    def _label_by_content(self, texts: tuple[str, ...]) -> str:
        free = self._free(texts)
        called = CALLED[self.kind][1]
        if self.kind == "regress":
            found = [name for name in free if self.sample[name].is_measure]
        elif self.kind in {"tag", "answer"}:
            found = []
        else:
            found = self._label_like(free, len(texts))
        if len(found) > 1:
            raise self._unclear(called, "label", found)
        if not found:
            raise self._none_found(called, "label")
        return found[0]

    def _label_like(self, free: Sequence[str], texts: int) -> list[str]:
        """Return the columns of few different short values; of two in all, the likelier."""
        found = [name for name in free if self.sample[name].is_label_like]
        varied = [name for name in found if self.sample[name].distinct > 1]
        if found or len(free) + texts != TEXT_COUNTS[self.kind][0] + 1:
            return varied or found
        shortest = min(free, key=lambda name: self.sample[name].mean_length)
        fewest = min(self.sample[name].distinct for name in free)
        values = self.sample[shortest]
        return [shortest] if values.is_short and values.distinct == fewest else []

    def _texts_by_content(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Return the columns of prose, two where a kind may have two; else the longest."""
        called = CALLED[self.kind][0]
        free = [name for name in self._free(labels) if self.sample[name].is_text]
        if self.kind in {"tag", "answer"}:
            free = []
        prose = [name for name in free if self.sample[name].is_prose]
        counts = TEXT_COUNTS[self.kind]
        for found in (prose, free):
            if len(found) in counts:
                return tuple(found)
        if len(free) < min(counts):
            raise self._none_found(called, "text")
        longest = max(self.sample[name].mean_length for name in free)
        found = [name for name in free if self.sample[name].mean_length > longest / 2]
        if len(found) > 1 or self.kind == "pairs":
            raise self._unclear(called, "text", prose if len(prose) > max(counts) else free)
        return tuple(found)

    def _free(self, taken: tuple[str, ...]) -> list[str]:
        return [name for name in self.sample.names if name not in taken]

    def _unclear(self, called: str, option: str, found: Sequence[str]) -> InputError:
        several = " or ".join(map(repr, found))
        return InputError(
            f"{self.file.name}: the {called} could be in {several}, expected one choice",
            hint=f"name it with {option} (--{option} COLUMN)",
        )

    def _none_found(self, called: str, option: str) -> InputError:
        hint = f"name it with {option} (--{option} COLUMN)"
        if self.kind == "answer":
            hint += (
                ', or give JSON Lines with "question", "context" and "answers", or SQuAD\'s JSON'
            )
        elif self.file.kind in {"csv", "tsv"}:
            hint += "; is the first row no header? say so with header (--no-header)"
        return InputError(
            f"{self.file.name}: found columns {', '.join(self.sample.names)}, none clearly "
            f"the {called}",
            hint=hint,
        )
