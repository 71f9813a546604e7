"""What a network's outputs mean, by the kind of task: labels, probabilities, numbers.

Words and spans are read off the outputs by `bert_mobile.runtime`, which needs that for its answers.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_mobile.errors import InputError
from bert_mobile.tasks.task import Task

Logits = NDArray[np.floating[Any]]


def chosen(logits: Logits, *, several: bool = False) -> NDArray[np.int64]:
    """Return the labels that logits (…, C) choose.

    One label: its number, (…); `several`: (…, C), 1 where a label is more probable than not.
    """
    return (logits > 0).astype(np.int64) if several else logits.argmax(-1)


def probabilities(logits: Logits, *, several: bool = False) -> NDArray[np.float64]:
    """Return the probability of each label, (…, C): softmax; sigmoids where there are several."""
    wide = logits.astype(np.float64)
    found: NDArray[np.float64]
    if several:
        decay = np.exp(-np.abs(wide))  # never overflows
        found = np.where(wide >= 0, 1, decay) / (1 + decay)
    else:
        powers = np.exp(wide - wide.max(-1, keepdims=True))
        found = powers / powers.sum(-1, keepdims=True)
    return found


def numbers(logits: Logits, value_range: tuple[float, float] | None = None) -> NDArray[np.float64]:
    """Return the numbers that logits (N, 1) are, clipped to the range of the task, (N,)."""
    values = logits[:, 0].astype(np.float64)
    return values if value_range is None else values.clip(*value_range)


def as_labels_of(
    task: Task, predicted: Sequence[int] | NDArray[np.integer[Any]], model_labels: Sequence[str]
) -> NDArray[np.int64]:
    """Return what a model of other labels, or another order of them, says in those of a task.

    `predicted` (N,) counts in `model_labels`. Names are compared in lower case; labels that the
    task folds together become one (HANS). Raises `InputError` where a label of the model has no
    counterpart.
    """
    if task.labels is None:
        raise InputError(f"{task.name} has no labels of its own", hint="compare names instead")
    known = {label.lower(): number for number, label in enumerate(task.labels)}
    places = []
    for label in model_labels:
        name = task.fold.get(label.lower(), label.lower())
        if name not in known:
            expected = ", ".join([*task.labels, *task.fold])
            raise InputError(
                f"the model says {label!r}, expected one of {expected}",
                hint=f"ask a model of {task.trained_as or task.name} that names its labels",
            )
        places.append(known[name])
    found: NDArray[np.int64] = np.asarray(places, dtype=np.int64)[np.asarray(predicted)]
    return found
