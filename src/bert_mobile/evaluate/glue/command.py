"""A benchmark from beginning to end, or from where it stopped.

OUT/record.json     what every run found; alone it is enough to go on from
OUT/table.md        the card's table with our rows
OUT/runs/           a folder for each run: the record of its training, and weights that are kept
OUT/predictions/    of the test sets, by the best run of each task
OUT/submission.zip  the same for the GLUE server
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bert_mobile.errors import ArtifactError
from bert_mobile.evaluate.glue.plan import make_plan
from bert_mobile.evaluate.glue.record import RECORD, Record, read_beside, read_record
from bert_mobile.evaluate.glue.runs import (
    KEEP_BEST,
    OutOfTime,
    Worker,
    predictions_file,
    read_predictions,
)
from bert_mobile.evaluate.glue.settings import START, GlueSettings
from bert_mobile.evaluate.glue.table import TABLE, page, write_page
from bert_mobile.files import held, refuse_foreign_folder, sha256
from bert_mobile.hub import find_model, resolve
from bert_mobile.progress import progress
from bert_mobile.tasks.submission import Predictions, write_submission
from bert_mobile.tasks.table import GLUE, TASKS

SUBMISSION = "submission.zip"


def glue(
    settings: GlueSettings,
    out: Path,
    *,
    name: str = "",
    keep: str = KEEP_BEST,
    beside: Sequence[Path] = (),
    minutes: float | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Run the benchmark, or go on with it; return what `record.json` holds.

    `beside` are records of other models for the same table. `minutes` ends the sitting; the same
    command goes on. Under `complete` the result says whether all is done.

    Raises `InputError` where data is missing, or `out` was begun with other settings or another
    model; `RunError` where a run is interrupted. A run that diverges is noted and left.
    """
    plan = make_plan(settings)
    for path in beside:
        read_record(path)
    refuse_foreign_folder(out, _is_benchmark)
    with held(out):
        record = Record.opened(out, name, settings, _start(settings.model), command)
        others = [read_beside(path, record.name) for path in beside]
        record.write(out, plan)
        ends = None if minutes is None else time.monotonic() + 60 * minutes
        worker = Worker(plan, out, record, keep, ends)
        complete = _work(worker, others)
        value = _written(worker, others)
    return {**value, "complete": complete, "folder": str(out)}


def _work(worker: Worker, others: Sequence[dict[str, Any]]) -> bool:
    """Do all runs, or as many as the sitting has time for; tell whether all are done."""
    plan = worker.plan
    amounts = {each.task.name: each.train.examples for each in plan.tasks}
    total = sum(amounts[run.task] for _, run in plan.all_runs)
    done = sum(amounts[run.task] for _, run in plan.all_runs if worker.record.entry(run))
    with progress("glue", total, "examples", done) as bar:
        for planned in plan.tasks:
            for run in plan.runs(planned):
                is_new = worker.record.entry(run) is None
                try:
                    worker.run(planned, run)
                except OutOfTime:
                    return False
                if is_new:
                    bar.advance(amounts[run.task], f"{run.task}, seed {run.seed}")
            worker.finish(planned)
            _written(worker, others)
            if not (planned.task.name == START and plan.mnli_is_needed):
                worker.tidy(planned.task.name)
    if plan.mnli_is_needed:
        worker.tidy(START)
    return True


def _written(worker: Worker, others: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Write the record, the page and what the server wants, as far as they go."""
    value = worker.record.write(worker.out, worker.plan)
    value["notes"] = [*value["notes"], *_submission(worker.out)]
    write_page(worker.out / TABLE, page(value, others))
    return value


def _submission(out: Path) -> list[str]:
    """Write the zip of the GLUE server where some test set of it was answered; return notes."""
    found: dict[str, Predictions] = {}
    short = []
    for name in GLUE:
        wanted, path = TASKS[name].submission, predictions_file(out, name)
        if wanted is None or not path.is_file():
            continue
        lines = read_predictions(path)
        if len(lines) != wanted.examples:
            short.append(f"{name} ({len(lines):,} of {wanted.examples:,})")
        else:
            is_number = TASKS[name].kind == "regress"
            found[name] = [float(line) for line in lines] if is_number else lines
    if not found:
        return []
    filled = write_submission(out / SUBMISSION, found, fill_missing=True)
    said = [f"submission.zip has one answer throughout for {', '.join(filled)}"] if filled else []
    return said + ([f"not submitted, a part only: {', '.join(short)}"] if short else [])


def _start(name: str) -> dict[str, Any]:
    """Return what tells the model that everything starts from."""
    folder = resolve(name)
    shown = folder.resolve().name if Path(name).is_dir() else name
    return {"model": shown, "sha256": sha256(find_model(folder))}


def _is_benchmark(folder: Path) -> bool:
    """Tell whether a folder holds a benchmark of ours, begun or finished."""
    names = {path.name for path in folder.iterdir()}
    if names <= {".lock", f".{RECORD}.part"}:
        return True
    try:
        read_record(folder / RECORD)
    except ArtifactError:
        return False
    return True
