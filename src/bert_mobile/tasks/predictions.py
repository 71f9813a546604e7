"""What the predictions of a model of other labels, or another order of them, mean to a task.

How outputs become predictions is in `bert_mobile.runtime.predict`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_mobile.errors import InputError
from bert_mobile.tasks.task import Task


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
