"""The table of tasks, and a task by its name.

```python
row = task("sst2")
row.metrics, row.labels, row.sizes
```
"""

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType

from bert_mobile.errors import InputError
from bert_mobile.tasks.glue_rows import GLUE_ROWS
from bert_mobile.tasks.other_rows import OTHER_ROWS
from bert_mobile.tasks.task import Task

TASKS: Mapping[str, Task] = MappingProxyType({row.name: row for row in (*GLUE_ROWS, *OTHER_ROWS)})
"""By name; GLUE's first, in the benchmark's order."""

GLUE: tuple[str, ...] = tuple(row.name for row in GLUE_ROWS)
"""Names of GLUE's tasks, its two MNLI sets and its diagnostic set."""

OTHER_NAMES = {
    "sst-2": "sst2", "sts-b": "stsb", "mnli-m": "mnli", "squad1": "squad", "squad_v2": "squad2",
    "ner": "conll2003", "conll": "conll2003", "pos": "ewt-pos", "udpos": "ewt-pos",
    "clinc": "clinc150", "banking": "banking77", "diagnostic": "ax",
}  # fmt: skip
"""What some tasks are also called."""


def task(name: str) -> Task:
    """Return the task of that name; an `InputError` names the nearest where there is none."""
    known = OTHER_NAMES.get(name.lower(), name.lower())
    if known in TASKS:
        return TASKS[known]
    near = get_close_matches(known, [*TASKS, *OTHER_NAMES], n=1)
    raise InputError(
        f"no task is called {name!r}, expected one of {', '.join(TASKS)}",
        hint=f"did you mean {OTHER_NAMES.get(near[0], near[0])}?" if near else "name one of these",
    )
