"""The zip that the GLUE server takes: a file a task, `index<TAB>prediction`, in its own words.

The server judges only whole submissions: eleven files, each with a line for every example of the
unlabelled test set. What a file is called and what stands in it is said by the tasks' rows.
"""

import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bert_mobile.errors import InputError
from bert_mobile.files import atomic_file
from bert_mobile.tasks.table import GLUE, TASKS
from bert_mobile.tasks.task import Submission, Task

HEADER = "index\tprediction"
DECIMALS = 3

_LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The time that the zip gives its files: the same predictions make the same bytes."""

Predictions = Sequence[str | float]
"""Names of labels; numbers for STS-B."""


def write_submission(
    path: Path, predictions: Mapping[str, Predictions], *, fill_missing: bool = False
) -> tuple[str, ...]:
    """Write the zip; return the names of the tasks that were filled in.

    `predictions` are of the test set of each task of `GLUE`, in its order. With `fill_missing`, a
    task that is missing gets one answer for all examples (the most frequent in training), as is
    usual for WNLI; without, it is refused. Raises `InputError` also where the number of predictions
    or one of them is not what the server expects.
    """
    unknown = [name for name in predictions if name not in GLUE]
    if unknown:
        raise InputError(
            f"{unknown[0]!r} is no task of GLUE, expected {', '.join(GLUE)}", hint="leave it out"
        )
    missing = tuple(name for name in GLUE if name not in predictions)
    if missing and not fill_missing:
        raise InputError(
            f"no predictions for {', '.join(missing)}, expected all of GLUE: the server refuses "
            "a part",
            hint="predict them, or have them filled with one answer (fill_missing)",
        )
    with atomic_file(path) as scratch, zipfile.ZipFile(scratch, "w", zipfile.ZIP_DEFLATED) as file:
        for name in GLUE:
            _add(file, TASKS[name], predictions.get(name))
    return missing


def _add(file: zipfile.ZipFile, task: Task, predictions: Predictions | None) -> None:
    wanted = task.submission
    if wanted is None:
        raise LookupError(f"{task.name} is in GLUE and has no submission")
    filled = [wanted.filler] * wanted.examples
    lines = filled if predictions is None else list(_lines(task, wanted, predictions))
    if len(lines) != wanted.examples:
        raise InputError(
            f"{len(lines):,} predictions for {task.name}, the server expects {wanted.examples:,}",
            hint="predict the whole unlabelled test set of GLUE, in its order",
        )
    text = "".join(f"{number}\t{line}\n" for number, line in enumerate(lines))
    entry = zipfile.ZipInfo(wanted.file, _LONG_AGO)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    file.writestr(entry, f"{HEADER}\n{text}")


def _lines(task: Task, wanted: Submission, predictions: Predictions) -> Iterator[str]:
    for number, prediction in enumerate(predictions):
        if task.value_range is not None:
            yield _number(task, number, prediction, task.value_range)
        elif prediction not in (task.labels or ()):
            raise InputError(
                f"{task.name}, prediction {number}: {prediction!r}, expected one of "
                f"{', '.join(task.labels or ())}",
                hint="give names of the task's labels; the server's words are made of them",
            )
        else:
            yield wanted.words[str(prediction)] if wanted.words else str(prediction)


def _number(task: Task, number: int, prediction: str | float, limits: tuple[float, float]) -> str:
    if isinstance(prediction, str) or not math.isfinite(prediction):
        raise InputError(
            f"{task.name}, prediction {number}: {prediction!r}, expected a finite number",
            hint="did the run diverge?",
        )
    return f"{min(max(prediction, limits[0]), limits[1]):.{DECIMALS}f}"
