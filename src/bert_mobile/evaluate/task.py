"""Fine-tuned models judged side by side on a task of the table, or on a stranger's labelled file.

Each is judged as it runs on a phone: the quantized file itself, or the float network in ONNX
Runtime. No torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_mobile.checkpoint import PROVENANCE
from bert_mobile.errors import InputError
from bert_mobile.evaluate.asked import (
    Asked,
    Subject,
    ask_file,
    ask_task,
    judge,
    kind_of,
    open_subject,
)
from bert_mobile.files import read_json
from bert_mobile.labelled.kinds import with_split
from bert_mobile.runtime.forms import PACKED
from bert_mobile.tasks.reports import write_reports
from bert_mobile.tasks.table import task as task_of


@dataclass(frozen=True)
class TaskJudgement:
    """Figures of one model on one split or file."""

    model: str
    """Its name, as it was given."""
    asked: str
    """Name of the task and split, or of the file."""
    kind: str
    data: str
    """A line about what was read."""
    examples: int
    figures: dict[str, float]
    """From 0 to 1, the main one first."""
    groups: dict[str, dict[str, float]]
    """The same of each group, where the task has some."""
    reports: str | None
    """Folder of the reports, if they were asked for."""


def evaluate_on_task(
    models: Sequence[str],
    task: str,
    data: str | Path | None = None,
    *,
    split: str = "dev",
    text: Sequence[str] = (),
    label: str | None = None,
    reports: Path | None = None,
    threads: int | None = None,
    weights: str = PACKED,
    **reading: Any,
) -> list[TaskJudgement]:
    """Judge models (as `bert_mobile.load` takes them) on a task.

    `task` is a name of the table, whose data lies in `data` (a folder, or `hub`), or a labelled
    file, of which `text` and `label` name the columns and `reading` says what its name does not
    (`encoding`, `header`, `form`, `skip_unlabelled` of `labelled.open_labelled`). `reports` is a
    folder to write reports to, with a folder for each model where there are several.

    Raises `InputError` where there is no such task or data, or the data has no truth;
    `ArtifactError` where a model is damaged or has no head for such questions.
    """
    subjects = [open_subject(model, threads=threads, weights=weights) for model in models]
    is_file = is_labelled_file(task)
    _refuse_options(task, data, is_file=is_file, options=bool(text or label or reading))
    known: dict[tuple[str, str | None], Asked] = {}
    found = []
    for subject in subjects:
        kind = kind_of(subject.config, len(text), _trained_as(subject)) if is_file else ""
        key = kind, subject.config.problem_type if is_file else None
        if key not in known:
            known[key] = (
                ask_file(task, subject.config, kind, text=text, label=label, **reading)
                if is_file
                else _asked(task, data or "", split)
            )
        folder = reports / _folder(subject) if reports and len(models) > 1 else reports
        found.append(_judgement(subject, known[key], folder))
    return found


def is_labelled_file(task: str) -> bool:
    """Tell whether what is to be judged on is a file, not the name of a task."""
    return Path(task).is_file() or "/" in task or Path(task).suffix != ""


def _refuse_options(task: str, data: str | Path | None, *, is_file: bool, options: bool) -> None:
    if is_file and "/" not in task and not Path(with_split(task, None)[0]).is_file():
        raise InputError(
            f"{task} is no file, expected a labelled file or the name of a task",
            hint="check the path; the tasks are in the table of bert_mobile.tasks",
        )
    if is_file and data is not None:
        raise InputError(
            f"--data {data} is given beside the file {task}, expected one of them",
            hint="leave --data out",
        )
    if not is_file:
        task_of(task)
        if data is None:
            raise InputError(
                f"{task} needs --data, expected the folder of its data, or hub",
                hint=f"see {task_of(task).source}",
            )
        if options:
            raise InputError(
                f"options of labelled files are given, but the columns of {task} are known",
                hint="leave them out, or name a file with --task",
            )


def _asked(name: str, data: str | Path, split: str) -> Asked:
    row = task_of(name)
    if split not in row.sizes and split == "dev":  # AX and HANS have one split only
        split = row.judged_split
    asked = ask_task(row, data, split)
    if not asked.is_labelled:
        raise InputError(
            f"{asked.said}: there is nothing to judge by, expected labels",
            hint="judge by --split dev; bert-mobile glue predicts test sets for the GLUE server",
        )
    return asked


def _judgement(subject: Subject, asked: Asked, reports: Path | None) -> TaskJudgement:
    answers = judge(subject, asked)
    if reports is not None:
        write_reports(reports, answers.judged, f"{subject.name} on {asked.name}")
    return TaskJudgement(
        subject.name,
        asked.name,
        asked.kind,
        asked.said,
        len(asked.examples),
        answers.figures,
        answers.groups,
        None if reports is None else str(reports),
    )


def _trained_as(subject: Subject) -> str | None:
    """Return the kind that a model of ours was fine-tuned as; None: its provenance is silent."""
    path = subject.folder / PROVENANCE
    if not path.is_file():
        return None
    record = read_json(path, "a provenance record")
    for each in (record, *reversed(record.get("parents", []))):
        kind = each.get("settings", {}).get("kind") if isinstance(each, dict) else None
        if isinstance(kind, str):
            return kind
    return None


def _folder(subject: Subject) -> str:
    return subject.name.strip("/").replace("/", "-") or "model"
