"""How good a network is on the dev examples, whatever runs it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_mobile.judging.data import Encoded
from bert_mobile.labelled import Example, Question, TaggedSentence
from bert_mobile.quantize.interface import END_LOGITS, LOGITS, START_LOGITS
from bert_mobile.runtime.batches import by_length
from bert_mobile.runtime.predict import OUTSIDE, answer_candidates, sigmoid, softmax
from bert_mobile.runtime.sessions import Session
from bert_mobile.runtime.text import TextEncoder
from bert_mobile.tasks.metrics import figures, higher_is_better
from bert_mobile.tasks.reports import Judged
from bert_mobile.tasks.spans import best_threshold

FloatArray = NDArray[np.float32]

BATCH = 64

LONGEST_ANSWER = 30
"""Pieces, as the runtime has it where nothing else is asked for."""


@dataclass(frozen=True)
class Predictions:
    """What a network says of examples."""

    predicted: Any
    """As `tasks.metrics` has it for the kind."""
    probabilities: Any = None
    """As `tasks.reports.Judged` has it."""
    no_answer_threshold: float | None = None
    """What the answers were chosen by; None where every question has one."""


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
    stride: int | None = None
    """Of the windows that contexts are read in."""

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
        return self.figures_of(self.ask(session).predicted)

    def figures_of(self, predicted: Any) -> dict[str, float]:
        """Return every metric of predictions."""
        return figures(self.kind, self.metrics, self.truth, predicted, self.labels or None)

    def rehearse(self) -> None:
        """Judge the truth by itself: what cannot be judged is to be known before training.

        Raises `InputError` for a metric that there is not, or not for these labels, and
        `MissingExtraError` where what it needs is not installed.
        """
        truth = self.truth
        answers = (
            [rights[0] if rights else "" for rights in truth] if self.kind == "answer" else truth
        )
        self.figures_of(answers)

    def judged(self, found: Predictions) -> Judged:
        """Return what reports are written from."""
        truth, predicted = self.truth, found.predicted
        return Judged(self.kind, self.examples, truth, predicted, self.labels, found.probabilities)

    @property
    def truth(self) -> Any:
        """What is right, as `tasks.metrics` has it."""
        if self.kind == "tag":
            return [each.tags for each in self.examples if isinstance(each, TaggedSentence)]
        if self.kind == "answer":
            asked = [each for each in self.examples if isinstance(each, Question)]
            return [tuple(answer.text for answer in each.answers or ()) for each in asked]
        return self.encoded.targets

    def ask(self, session: Session, *, threshold: float | None = None) -> Predictions:
        """Return what a network says.

        `threshold` is from which score on a question is left without answer; None: the best one for
        these examples, where some have no answer.
        """
        if self.kind == "answer":
            return self._answers(session, threshold)
        rows = self._rows(session, LOGITS)
        if self.kind == "tag":
            return self._tags(rows)
        logits = np.stack(rows)  # n L
        if self.kind == "regress":
            return Predictions(logits[:, 0].astype(np.float64))
        if self.several:
            return Predictions((logits > 0).astype(np.int64), sigmoid(logits))
        return Predictions(logits.argmax(-1), softmax(logits).max(-1))

    def _rows(self, session: Session, *outputs: str) -> list[FloatArray]:
        """Return the outputs of every sequence: (L,), or (T, L); several outputs side by side."""
        sequences = self.encoded.sequences
        rows: list[FloatArray] = [np.zeros(0, np.float32)] * len(sequences)
        for places in by_length(sequences.lengths.tolist(), BATCH):
            batch = sequences.batch(places, self.encoder.pad_id)
            values = session.run_several(outputs, batch)
            joined = values[0] if len(values) == 1 else np.stack(values, -1)
            for place, row in zip(places, joined, strict=True):
                rows[place] = row
        return rows

    def _tags(self, rows: Sequence[FloatArray]) -> Predictions:
        """Return a tag for each word; words beyond the limit are outside, or the first label."""
        places, offsets = self.encoded.places, self.encoded.place_offsets
        if places is None or offsets is None:
            raise TypeError("only words have tags")
        beyond = OUTSIDE if OUTSIDE in self.labels else self.labels[0]
        tags, chances = [], []
        for number, (row, example) in enumerate(zip(rows, self.examples, strict=True)):
            if not isinstance(example, TaggedSentence):
                raise TypeError("only sentences have tags")
            logits = row[places[offsets[number] : offsets[number + 1]]]
            cut = len(example.words) - len(logits)
            tags.append([self.labels[label] for label in logits.argmax(-1)] + [beyond] * cut)
            chances.append([*softmax(logits).max(-1).tolist(), *[0.0] * cut])
        return Predictions(tags, chances)

    def _answers(self, session: Session, threshold: float | None) -> Predictions:
        """Return the text of each answer; "" where none is likelier by more than the threshold."""
        windows = self.encoded.windows
        if windows is None:
            raise TypeError("only questions have answers")
        rows = self._rows(session, START_LOGITS, END_LOGITS)
        texts, scores, chances = [], [], []
        for number, example in enumerate(self.examples):
            if not isinstance(example, Question):
                raise TypeError("only questions have answers")
            read = self.encoder.encode_windows(example.question, example.context, self.stride)
            own = rows[windows[number] : windows[number + 1]]
            logits = [(row[:, 0], row[:, 1]) for row in own]
            found = answer_candidates(read, logits, longest=LONGEST_ANSWER, top_k=1)
            start, end, score = found.spans[0]
            texts.append(example.context[start:end])
            scores.append(found.none - score)
            chances.append(float(np.exp(score)))
        if threshold is None and not all(self.truth):
            threshold = best_threshold(self.truth, texts, scores).value
        if threshold is not None:
            texts = [
                "" if score > threshold else text for text, score in zip(texts, scores, strict=True)
            ]
        return Predictions(texts, chances, threshold)
