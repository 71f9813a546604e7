"""From logits to answers: pure functions that the runtime and the judges of training share.

Dimensions: N texts, L labels, T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from bert_mobile.model.config import MULTI_LABEL, REGRESSION, BertConfig
from bert_mobile.runtime.windows import Window

FloatArray = NDArray[np.float32]

OUTSIDE = "O"
"""The tag of words that are part of no entity."""

_PREFIXES = ("B-", "I-", "S-", "U-", "E-", "L-")
_BEGIN = ("B-", "S-", "U-")
_END = ("E-", "L-", "S-", "U-")

_SPARE = 4  # candidates for each answer that is asked for: several may name the same words


class LabelScore(TypedDict):
    """One label of a text."""

    label: str
    score: float
    """Its probability; of a regression, the number."""


class Entity(TypedDict):
    """Neighbouring words that are one thing."""

    entity_group: str
    score: float
    word: str
    """The text at that place."""
    start: int
    end: int


class WordTag(TypedDict):
    """One word and its tag."""

    entity: str
    score: float
    word: str
    start: int
    end: int


class Answer(TypedDict):
    """A part of the context; the empty string where there is no answer in it."""

    score: float
    start: int
    end: int
    answer: str


# --- labels of texts ----------------------------------------------------------------------------


def softmax(logits: FloatArray) -> FloatArray:
    """Softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: FloatArray = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities


def sigmoid(logits: FloatArray) -> FloatArray:
    """Sigmoid of each, without overflow."""
    return (np.tanh(logits / 2) / 2 + 0.5).astype(np.float32)


def label_scores(logits: FloatArray, config: BertConfig) -> FloatArray:
    """Return the scores of all labels (N, L): probabilities, or the numbers of a regression.

    Where the problem type is not stated, one label is a probability by itself and several exclude
    each other, as in transformers.
    """
    if config.problem_type == REGRESSION:
        return logits
    if config.problem_type == MULTI_LABEL or len(config.labels) == 1:
        return sigmoid(logits)
    return softmax(logits)


def ranked(
    scores: FloatArray, labels: Sequence[str], top_k: int | None, threshold: float | None
) -> list[LabelScore]:
    """Return labels by their scores (L,), the highest first: `top_k`, or those over a threshold."""
    order = np.argsort(-scores, kind="stable")
    if threshold is not None:
        order = order[scores[order] >= threshold]
    elif top_k is not None:
        order = order[:top_k]
    return [{"label": labels[index], "score": float(scores[index])} for index in order]


# --- tags of words ------------------------------------------------------------------------------


def has_entities(labels: Sequence[str]) -> bool:
    """Tell whether labels mark entities (a BIO scheme, or any with `O`) rather than every word."""
    return OUTSIDE in labels or any(label.startswith(("B-", "I-")) for label in labels)


def entity_spans(tags: Sequence[str], labels: Sequence[str]) -> list[tuple[str, int, int]]:
    """Return name, first word and the word behind the last of each entity in a sentence.

    An entity goes on as long as the name stays the same, unless a tag says that one begins (`B-`),
    so that one may begin with `I-` too, as conlleval and transformers read it. Where all `labels`
    are of the scheme, `S-` and `U-` also begin, `E-`, `L-`, `S-` and `U-` end one.
    """
    whole = all(label == OUTSIDE or label[:2] in _PREFIXES for label in labels)
    scheme = _PREFIXES if whole else _PREFIXES[:2]
    found: list[tuple[str, int, int]] = []
    is_open = False
    for place, tag in enumerate(tags):
        if tag == OUTSIDE:
            is_open = False
            continue
        prefix, name = (tag[:2], tag[2:]) if tag[:2] in scheme else ("", tag)
        if is_open and found[-1][0] == name and prefix not in _BEGIN:
            found[-1] = name, found[-1][1], place + 1
        else:
            found.append((name, place, place + 1))
        is_open = prefix not in _END
    return found


# --- answers in a context -----------------------------------------------------------------------


@dataclass(frozen=True)
class Candidates:
    """What a context may say to a question, with log-probabilities in nats."""

    spans: Sequence[tuple[int, int, float]]
    """First character, the one behind the last, and the log-probability; the best first."""
    none: float
    """Log-probability that there is no answer: the least of all windows."""

    def answers(self, context: str, top_k: int, threshold: float | None) -> list[Answer]:
        """Return the `top_k` best answers.

        With a `threshold` none is among them: first where it is likelier than the best by more than
        that, else behind the best.
        """
        found: list[Answer] = [
            {
                "score": float(np.exp(score)),
                "start": start,
                "end": end,
                "answer": context[start:end],
            }
            for start, end, score in self.spans[:top_k]
        ]
        if threshold is not None:
            nothing: Answer = {
                "score": float(np.exp(self.none)),
                "start": 0,
                "end": 0,
                "answer": "",
            }
            if self.none - self.spans[0][2] > threshold:
                found = [nothing, *found]
            else:
                behind = [answer["score"] >= nothing["score"] for answer in found[1:]]
                found.insert(1 + sum(behind), nothing)
        return found[:top_k]


def answer_candidates(
    windows: Sequence[Window],
    logits: Sequence[tuple[FloatArray, FloatArray]],
    *,
    longest: int,
    top_k: int,
) -> Candidates:
    """Return the best `top_k` spans of a context that was read in `windows`.

    `logits` are start and end (T,) of each window. In each the probabilities are over the pieces of
    the context and `[CLS]`, which stands for no answer; a span has at most `longest` pieces and is
    widened to whole words. Of the same words in several windows the likeliest counts.
    """
    best: dict[tuple[int, int], float] = {}
    none = 0.0
    for window, (start, end) in zip(windows, logits, strict=True):
        starts, ends = _log_probabilities(start, window), _log_probabilities(end, window)
        none = min(none, float(starts[0] + ends[0]))
        for first, last, score in _best_spans(starts[1:], ends[1:], longest, _SPARE * top_k):
            place = window.words[first][0], window.words[last][1]
            best[place] = max(score, best.get(place, -np.inf))
    spans = [(start, end, score) for (start, end), score in best.items()]
    return Candidates(sorted(spans, key=lambda span: (-span[2], span[0]))[:top_k], none)


def _log_probabilities(logits: FloatArray, window: Window) -> NDArray[np.float64]:
    """Return the log-softmax over `[CLS]`, which comes first, and the pieces of the context."""
    part = logits[window.start : window.start + len(window.offsets)]
    chosen = np.concatenate([logits[:1], part]).astype(np.float64)
    shifted = chosen - chosen.max()
    probabilities: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
    return probabilities


def _best_spans(
    starts: NDArray[np.float64], ends: NDArray[np.float64], longest: int, count: int
) -> list[tuple[int, int, float]]:
    """Return the first and last piece and the score of the `count` best spans, the best first."""
    size = len(starts)
    lengths = min(longest, size)
    scores = np.full((lengths, size), -np.inf)  # of the span of 1 + row pieces from column on
    for more in range(lengths):
        scores[more, : size - more] = starts[: size - more] + ends[more:]
    flat = scores.ravel()
    order = np.argpartition(-flat, min(count, flat.size) - 1)[:count]
    chosen = sorted(order.tolist(), key=lambda index: -flat[index])
    return [
        (index % size, index % size + index // size, float(flat[index]))
        for index in chosen
        if np.isfinite(flat[index])
    ]
