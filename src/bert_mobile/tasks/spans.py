"""SQuAD's figures by its official definitions (Rajpurkar et al. 2016 and 2018).

Answers are compared after lower-casing and without punctuation, articles and extra white space. A
question has one or more right answers, the best match counts; `()` means that it has none, and then
only an empty answer is right.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Truths = Sequence[Sequence[str]]
"""For each question the texts of its right answers; empty where it has none."""

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(answer: str) -> str:
    """Return what of an answer is compared."""
    bare = answer.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def exact_match(right: str, answer: str) -> float:
    """Tell (1 or 0) whether two answers are the same after normalisation."""
    return float(normalized(right) == normalized(answer))


def token_f1(right: str, answer: str) -> float:
    """Return F1 of the words that two answers share; of empty answers, whether both are."""
    expected, found = normalized(right).split(), normalized(answer).split()
    if not expected or not found:
        return float(expected == found)
    shared = (Counter(expected) & Counter(found)).total()
    return 2 * shared / (len(expected) + len(found))


def answer_scores(truth: Truths, answers: Sequence[str]) -> tuple[NDArray[np.float64], ...]:
    """Return exact match and F1 of each question, (N,) each."""
    exact, f1 = np.zeros(len(truth)), np.zeros(len(truth))
    for i, (rights, answer) in enumerate(zip(truth, answers, strict=True)):
        possible = [right for right in rights if normalized(right)] or [""]
        exact[i] = max(exact_match(right, answer) for right in possible)
        f1[i] = max(token_f1(right, answer) for right in possible)
    return exact, f1


@dataclass(frozen=True)
class Threshold:
    """From which score on a question is left without answer, and what that gives."""

    value: float
    """A question is answered where its no-answer score is at most this."""
    answer_f1: float
    exact_match: float
    """Both from 0 to 1, over all questions."""


def best_threshold(
    truth: Truths, answers: Sequence[str], no_answer_scores: Sequence[float]
) -> Threshold:
    """Find the threshold with the highest F1; of equals the lowest, which answers least.

    `answers` are the best non-empty spans; `no_answer_scores` say how much more likely no answer
    is, in any unit. Follows the official evaluation of SQuAD 2.0, except that questions of one
    score are answered or left together, as a threshold does. No question at all gives 0.
    """
    scores = np.asarray(no_answer_scores, dtype=np.float64)
    if not len(scores):
        return Threshold(0.0, 0.0, 0.0)
    answered = answer_scores(truth, answers)
    left = answer_scores(truth, [""] * len(scores))
    order = np.argsort(scores, kind="stable")
    steps = scores[order]
    last_of_equals = np.append(steps[1:] != steps[:-1], True)
    exact, f1 = (
        np.concatenate(([0.0], np.cumsum((here - there)[order])[last_of_equals])) + there.sum()
        for here, there in zip(answered, left, strict=True)
    )
    values = np.concatenate(([np.nextafter(steps[0], -np.inf)], steps[last_of_equals]))
    best = int(np.argmax(f1 > f1.max() - 1e-9))
    count = len(scores)
    return Threshold(float(values[best]), float(f1[best] / count), float(exact[best] / count))
