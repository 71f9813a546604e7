"""How good a network is on the dev examples, whatever runs it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_mobile.judging.data import Encoded
from bert_mobile.labelled import Example, Question, TaggedSentence
from bert_mobile.quantize.interface import LOGITS
from bert_mobile.runtime.batches import by_length
from bert_mobile.runtime.sessions import Session
from bert_mobile.runtime.text import TextEncoder
from bert_mobile.tasks.metrics import figures, higher_is_better

BATCH = 64

OUTSIDE = "O"
"""The tag of words that belong to nothing."""


@dataclass(frozen=True)
class Judge:
    """Dev examples, encoded, and what they are judged by."""

    kind: str
    encoded: Encoded
    examples: Sequence[Example]
    labels: tuple[str, ...]
    several: bool
    metrics: tuple[str, ...]
    """Names of `tasks.metrics`; the first is the main one."""
    encoder: TextEncoder

    @property
    def main(self) -> str:
        """The metric that decides which weights are best."""
        return self.metrics[0]

    def is_better(self, one: float, other: float | None) -> bool:
        """Tell whether a main figure is better than another; anything is better than none."""
        if other is None:
            return True
        return one > other if higher_is_better(self.main) else one < other

    def figures(self, session: Session) -> dict[str, float]:
        """Return every metric of a network."""
        return self.figures_of(self.predictions(session))

    def figures_of(self, predicted: Any) -> dict[str, float]:
        """Return every metric of predictions."""
        return figures(self.kind, self.metrics, self.truth, predicted, self.labels or None)

    @property
    def truth(self) -> Any:
        """What is right, as `tasks.metrics` has it."""
        if self.kind == "tag":
            return [each.tags for each in self.examples if isinstance(each, TaggedSentence)]
        if self.kind == "answer":
            asked = [each for each in self.examples if isinstance(each, Question)]
            return [tuple(answer.text for answer in each.answers or ()) for each in asked]
        return self.encoded.targets

    def predictions(self, session: Session) -> Any:
        """Return what a network says, as `tasks.metrics` has it."""
        rows = self._rows(session)
        if self.kind == "tag":
            return self._tags(rows)
        logits = np.stack(rows)  # n L
        if self.kind == "regress":
            return logits[:, 0]
        return (logits > 0).astype(np.uint8) if self.several else logits.argmax(-1)

    def _rows(self, session: Session) -> list[NDArray[np.float32]]:
        """Return the logits of every sequence: (L,), or (T, L) where tokens have some."""
        sequences = self.encoded.sequences
        rows: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(sequences)
        for numbers in by_length(sequences.lengths.tolist(), BATCH):
            batch = sequences.batch(numbers, self.encoder.pad_id)
            for number, row in zip(numbers, session.run(LOGITS, batch), strict=True):
                rows[number] = row
        return rows

    def _tags(self, rows: Sequence[NDArray[np.float32]]) -> list[list[str]]:
        """Return a tag for each word; words beyond the limit are outside, or the first label."""
        places, offsets = self.encoded.places, self.encoded.place_offsets
        if places is None or offsets is None:
            raise TypeError("only words have tags")
        beyond = OUTSIDE if OUTSIDE in self.labels else self.labels[0]
        found = []
        for number, (row, example) in enumerate(zip(rows, self.examples, strict=True)):
            if not isinstance(example, TaggedSentence):
                raise TypeError("only sentences have tags")
            own = places[offsets[number] : offsets[number + 1]]
            tags = [self.labels[label] for label in row[own].argmax(-1)]
            found.append(tags + [beyond] * (len(example.words) - len(tags)))
        return found
