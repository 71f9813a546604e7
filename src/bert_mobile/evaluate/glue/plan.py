"""Which runs a benchmark consists of, and that their data is there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bert_mobile.errors import InputError
from bert_mobile.evaluate.glue.settings import FROM_START, START, GlueSettings
from bert_mobile.tasks.reading import Split, labels_of, read_task, splits_of
from bert_mobile.tasks.table import TASKS
from bert_mobile.tasks.task import Task


@dataclass(frozen=True)
class Planned:
    """A task that models are trained for."""

    task: Task
    train: Split
    dev: Split
    test: Split | None
    labels: tuple[str, ...]
    followers: tuple[Split, ...]
    """What the trained model is asked besides: a split of each task without training data."""


@dataclass(frozen=True)
class Run:
    """One fine-tuning."""

    task: str
    learning_rate: float
    seed: int

    @property
    def key(self) -> tuple[str, float, int]:
        """What tells it from the others."""
        return self.task, self.learning_rate, self.seed

    @property
    def place(self) -> Path:
        """Its folder, in that of the benchmark."""
        return Path("runs") / self.task / f"lr-{self.learning_rate:g}-seed-{self.seed}"


@dataclass(frozen=True)
class Plan:
    """Everything there is to do, in order."""

    settings: GlueSettings
    tasks: tuple[Planned, ...]
    absent: tuple[str, ...]
    """Tasks that were not asked for by name, and whose data is not there."""

    def runs(self, planned: Planned) -> Iterator[Run]:
        """Yield the runs of a task."""
        for rate in self.settings.learning_rates:
            for seed in self.settings.seeds:
                yield Run(planned.task.name, rate, seed)

    @property
    def all_runs(self) -> list[tuple[Planned, Run]]:
        """Every run with its task."""
        return [(each, run) for each in self.tasks for run in self.runs(each)]

    def starts_from_mnli(self, name: str) -> bool:
        """Tell whether runs of a task start from MNLI's."""
        return self.settings.from_mnli and name in FROM_START

    @property
    def mnli_is_needed(self) -> bool:
        """Whether other tasks start from MNLI's weights."""
        return any(self.starts_from_mnli(each.task.name) for each in self.tasks)


def make_plan(settings: GlueSettings) -> Plan:
    """Find the data of all tasks.

    Raises `InputError` naming the files that were looked for, of a task that was asked for by name;
    others are left out.
    """
    asked = settings.chosen()
    tasks: list[Planned] = []
    absent: list[str] = []
    trained = [row for row in asked if row.trained_as is None]
    for row in sorted(trained, key=lambda row: settings.from_mnli and row.name != START):
        followers = [each for each in asked if each.trained_as == row.name]
        try:
            tasks.append(_planned(row, followers, settings, absent))
        except InputError:
            if settings.tasks:
                raise
            absent.append(row.name)
    plan = Plan(settings, tuple(tasks), tuple(absent))
    _refuse_nothing(plan, asked)
    return plan


def _refuse_nothing(plan: Plan, asked: Sequence[Task]) -> None:
    """Raise `InputError` where what other tasks need is missing, or everything is."""
    settings, there = plan.settings, {each.task.name for each in plan.tasks}
    if not there:
        raise InputError(
            f"{settings.data} has the data of none of the tasks",
            hint="name the folder that holds CoLA, SST-2, …, or give --data hub",
        )
    lost = [row for row in asked if row.trained_as and row.trained_as not in there]
    if lost and settings.tasks:
        raise InputError(
            f"{lost[0].name} is asked of the model of {lost[0].trained_as}, which is not among the "
            "tasks",
            hint=f"add {lost[0].trained_as} to --tasks",
        )
    if plan.mnli_is_needed and START not in there:
        raise InputError(
            f"{settings.data} has no data of MNLI, expected it for --from-mnli",
            hint="leave --from-mnli out",
        )


def _planned(
    row: Task, followers: list[Task], settings: GlueSettings, absent: list[str]
) -> Planned:
    data = settings.data
    train, dev = (read_task(row, data, split) for split in ("train", "dev"))
    test = read_task(row, data, "test") if "test" in splits_of(row, data) else None
    asked = []
    for each in followers:
        split = follower_split(each, data)
        if split is not None:
            asked.append(split)
        elif settings.tasks:
            read_task(each, data, next(iter(each.sizes)))  # says what was looked for
            raise InputError(
                f"{each.name} is there without labels only", hint="leave it out of --tasks"
            )
        else:
            absent.append(each.name)
    return Planned(row, train, dev, test, labels_of(row, data), tuple(asked))


def follower_split(row: Task, data: str) -> Split | None:
    """Return the split that a task without training data is judged by, if it is there."""
    for split in ("dev", "test"):
        if split in splits_of(row, data):
            found = read_task(row, data, split)
            if found.is_labelled:
                return found
    return None


def test_split(name: str, data: str) -> Split | None:
    """Return the test split of a task, if it is there."""
    row = TASKS[name]
    return read_task(row, data, "test") if "test" in splits_of(row, data) else None
