"""The wrong predictions of a model, the most confident first."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bert_mobile.labelled import LabelledText, Question, TaggedSentence
from bert_mobile.tasks.spans import answer_scores

if TYPE_CHECKING:
    from bert_mobile.tasks.reports import Judged

NO_ANSWER = "(no answer)"
NOTHING = "(none)"
"""What stands for no label at all where a text may have several."""

BETWEEN_TEXTS = " ‖ "
"""Between the two texts of a pair."""

BESIDE = 8
"""Words shown on each side of a wrongly tagged one."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """One wrong prediction."""

    HEADS: ClassVar[tuple[str, ...]] = ("line", "text", "expected", "predicted", "probability")

    line: int
    """In its file."""
    text: str
    expected: str
    predicted: str
    probability: float | None
    """Of what was predicted; None where it is not known."""

    def cells(self) -> tuple[str, ...]:
        """Return it as a row below `HEADS`."""
        probability = "" if self.probability is None else f"{self.probability:.4f}"
        return str(self.line), self.text, self.expected, self.predicted, probability


def wrong_predictions(judged: "Judged") -> list[Wrong]:
    """Return the errors: of labels and answers the most confident first, of numbers the largest.

    A wrongly tagged word is one error, with its neighbours in sight; an answer is wrong where it
    is no exact match. A number that is not exact is an error, too.
    """
    if judged.kind == "regress":
        return _wrong_numbers(judged)
    found = {"tag": _wrong_tags, "answer": _wrong_answers}.get(judged.kind, _wrong_labels)(judged)
    return sorted(found, key=lambda each: -(each.probability or 0.0))


def _wrong_labels(judged: "Judged") -> Iterator[Wrong]:
    truth, predicted = np.asarray(judged.truth), np.asarray(judged.predicted)
    differs = truth != predicted
    for i in np.flatnonzero(differs.any(1) if truth.ndim > 1 else differs).tolist():
        example = judged.examples[i]
        if not isinstance(example, LabelledText):
            raise TypeError("only texts have labels")
        probability = _probability(judged, i, predicted[i], differs[i])
        names = (_name(judged, truth[i]), _name(judged, predicted[i]))
        yield Wrong(example.line, BETWEEN_TEXTS.join(example.texts), *names, probability)


def _name(judged: "Judged", label: Any) -> str:
    """Return the name of a label's number, or of all that a row of 0 and 1 says."""
    if not np.ndim(label):
        return judged.labels[int(label)]
    return ", ".join(judged.labels[i] for i in np.flatnonzero(label)) or NOTHING


def _probability(judged: "Judged", i: int, predicted: Any, differs: Any) -> float | None:
    """Return that of the prediction; of several labels, that of the surest wrong one."""
    if judged.probabilities is None:
        return None
    if not np.ndim(predicted):
        return float(judged.probabilities[i])
    each = np.asarray(judged.probabilities[i])
    return float(np.where(predicted == 1, each, 1 - each)[differs].max())


def _wrong_tags(judged: "Judged") -> Iterator[Wrong]:
    sides = zip(judged.examples, judged.truth, judged.predicted, strict=True)
    for number, (example, tags, found) in enumerate(sides):
        if not isinstance(example, TaggedSentence):
            raise TypeError("only sentences have tags")
        for place, (expected, predicted) in enumerate(zip(tags, found, strict=True)):
            if expected != predicted:
                sure = judged.probabilities
                probability = None if sure is None else float(sure[number][place])
                text = _in_sight(example.words, place)
                yield Wrong(example.line, text, expected, predicted, probability)


def _in_sight(words: tuple[str, ...], place: int) -> str:
    """Return a word in brackets between its neighbours."""
    first, last = max(place - BESIDE, 0), place + BESIDE + 1
    before, after = words[first:place], words[place + 1 : last]
    cut = ("…",) if first else (), ("…",) if last < len(words) else ()
    return " ".join((*cut[0], *before, f"[{words[place]}]", *after, *cut[1]))


def _wrong_answers(judged: "Judged") -> Iterator[Wrong]:
    exact, _ = answer_scores(judged.truth, judged.predicted)
    for i in np.flatnonzero(exact == 0).tolist():
        example = judged.examples[i]
        if not isinstance(example, Question):
            raise TypeError("only questions have answers")
        expected = " | ".join(dict.fromkeys(judged.truth[i])) or NO_ANSWER
        sure = judged.probabilities
        probability = None if sure is None else float(sure[i])
        predicted = judged.predicted[i] or NO_ANSWER
        yield Wrong(example.line, example.question, expected, predicted, probability)


def _wrong_numbers(judged: "Judged") -> list[Wrong]:
    truth, predicted = np.asarray(judged.truth), np.asarray(judged.predicted)
    off = np.abs(truth - predicted)
    found = []
    for i in np.argsort(-off, kind="stable").tolist():
        example = judged.examples[i]
        if not isinstance(example, LabelledText):
            raise TypeError("only texts have numbers")
        if off[i]:
            text = BETWEEN_TEXTS.join(example.texts)
            found.append(Wrong(example.line, text, f"{truth[i]:g}", f"{predicted[i]:.4g}", None))
    return found
