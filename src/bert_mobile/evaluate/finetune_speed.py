"""How fast networks are fine-tuned here, beside the `transformers` Trainer in the same run.

The contestants (`finetune_contestants`) take turns, A B B A …, an epoch each; speed is in examples
a second, the median of the rounds. Their losses of the first examples, without dropout, are
compared before, and their figures on the dev set afterwards, so that nobody wins by computing
something else.
"""

import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from math import sqrt
from typing import Any

from bert_mobile.errors import InputError
from bert_mobile.evaluate.benchmark import SETTLING, TOLERANCE, WARM_UP, versions
from bert_mobile.evaluate.finetune_contestants import FinetuneCourse, compete
from bert_mobile.evaluate.turns import (
    OURS,
    TRAINER,
    Contestant,
    started,
    take_turns,
    this_device,
)
from bert_mobile.tasks.reading import read_task
from bert_mobile.tasks.table import task as task_of
from bert_mobile.train.devices import computing_type, hardware
from bert_mobile.train.finetune import FinetuneSettings

PADDED_TO = 128
"""Tokens that examples are usually padded to."""


@dataclass(frozen=True)
class FinetuneResult:
    """How one contestant fared."""

    name: str
    examples_per_second: float
    """Median of the rounds."""
    slowest: float
    fastest: float
    figures: dict[str, float]
    """Of the dev set after the last round, from 0 to 1."""
    first_loss: float
    """Loss of the first examples in float32, without dropout."""
    seconds: list[float]
    """Of each round."""


@dataclass(frozen=True)
class FinetuneBenchmark:
    """What a run has found."""

    task: str
    data: list[str]
    model: str
    device: str
    precision: str
    batch_size: int
    examples: int
    """Of an epoch."""
    rounds: int
    steps: int
    """Altogether, warm-up included."""
    padded_to: int
    """Tokens of each of the Trainer's sequences."""
    results: list[FinetuneResult]
    """Ours first."""
    ratios: dict[str, float]
    """How many times as fast as each of the others we are."""
    same_computation: bool | None
    """Whether the first losses are within `TOLERANCE`; None without others."""
    accuracy_noise: float
    """One standard error of an accuracy of ours, from the number of dev examples alone."""
    versions: dict[str, str]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return asdict(self)


def finetune_course(
    task: str,
    data: str,
    *,
    model: str = "default",
    examples: int = 4096,
    rounds: int = 3,
    batch_size: int = 32,
    learning_rate: float = 5e-5,
    padded_to: int = PADDED_TO,
    precision: str = "auto",
    seed: int = 1,
) -> FinetuneCourse:
    """Return the course of a task's first examples.

    Raises `InputError` where there is no such task or data, or it has no single label.
    """
    row = task_of(task)
    if row.kind not in ("classify", "pairs"):
        raise InputError(
            f"{row.name} is a task of kind {row.kind}, expected one with a label for each text",
            hint="try sst2",
        )
    for split in ("train", "dev"):
        read_task(row, data, split)
    settings = FinetuneSettings(
        row.kind,
        model=model,
        epochs=rounds,
        batch_size=batch_size,
        learning_rate=learning_rate,
        max_length=padded_to,
        precision=precision,
        seed=seed,
    )
    kind = this_device().type
    count = min(examples, read_task(row, data, "train").examples)
    return FinetuneCourse(
        row.name, data, settings, count, padded_to, rounds, SETTLING[kind], WARM_UP[kind]
    )


def benchmark_finetuning(
    course: FinetuneCourse, *, with_transformers: bool = True
) -> FinetuneBenchmark:
    """Let the contestants run the course in turns, and judge them.

    Raises `RunError` where our own contestant is lost; another one is left out with a note.
    """
    names, notes = [OURS], []
    absent = [name for name in ("transformers", "accelerate") if find_spec(name) is None]
    if with_transformers and absent:
        notes.append(f"no comparison: {absent[0]} is not installed; pip install {absent[0]}")
    elif with_transformers:
        names.append(TRAINER)
    with started(names, course, compete) as there:
        contestants = take_turns(there, course, notes, finish=True)
    return _judged(course, contestants, notes)


def _judged(
    course: FinetuneCourse, contestants: Sequence[Contestant], notes: list[str]
) -> FinetuneBenchmark:
    results = [_result(each, course) for each in contestants]
    ours, *others = results
    apart = [abs(each.first_loss - ours.first_loss) for each in others]
    if apart and max(apart) > TOLERANCE:
        notes.append(f"the first losses are {max(apart):.2g} apart: no fair comparison")
    row, device, settings = task_of(course.task), this_device(), course.settings
    splits = [read_task(row, course.data, split) for split in ("train", "dev")]
    accuracy = ours.figures.get("accuracy", 0.5)
    return FinetuneBenchmark(
        task=course.task,
        data=[split.describe() for split in splits],
        model=settings.model,
        device=hardware(device),
        precision=str(computing_type(settings.precision, device)).removeprefix("torch."),
        batch_size=settings.batch_size,
        examples=course.examples,
        rounds=course.rounds,
        steps=course.length,
        padded_to=course.padded_to,
        results=results,
        ratios={each.name: ours.examples_per_second / each.examples_per_second for each in others},
        same_computation=max(apart) <= TOLERANCE if apart else None,
        accuracy_noise=sqrt(accuracy * (1 - accuracy) / splits[1].examples),
        versions={"python": platform.python_version(), **versions()},
        notes=notes,
    )


def _result(contestant: Contestant, course: FinetuneCourse) -> FinetuneResult:
    examples = course.steps * course.settings.batch_size
    seconds = [each.seconds for each in contestant.rounds]
    speeds = [examples / each for each in seconds]
    return FinetuneResult(
        contestant.name,
        statistics.median(speeds),
        min(speeds),
        max(speeds),
        contestant.figures,
        contestant.first_loss,
        seconds,
    )
