"""What was found so far, in one file: `record.json`.

A copy of it in an empty folder is enough to go on with: runs that it lists are not done again.
"""

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bert_mobile import __version__
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.evaluate.glue.plan import Plan, Run
from bert_mobile.evaluate.glue.settings import GlueSettings
from bert_mobile.files import read_json, write_json
from bert_mobile.tasks.metrics import higher_is_better
from bert_mobile.tasks.table import TASKS

RECORD = "record.json"
KIND = "benchmark of tasks"

FINISHED, FAILED = "finished", "failed"

Entry = dict[str, Any]
"""What is known of one run."""


@dataclass
class Record:
    """The runs and what they have in common."""

    name: str
    start: dict[str, Any]
    """Name, SHA-256 and number of parameters of the weights that all start from."""
    settings: dict[str, Any]
    commands: list[str] = field(default_factory=list)
    runs: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def opened(
        cls, out: Path, name: str, settings: GlueSettings, start: dict[str, Any], command: str
    ) -> "Record":
        """Return the record that is in `out`, or a new one.

        Raises `InputError` where it is of other settings or of another model.
        """
        path = out / RECORD
        found = cls(name, start, settings.shared())
        if path.is_file():
            raw = read_record(path)
            _refuse_another(raw, found, path)
            found.name = name or str(raw["name"])
            found.commands, found.runs = list(raw["commands"]), list(raw["runs"])
        found.name = found.name or str(start["model"])
        if command and command not in found.commands:
            found.commands.append(command)
        return found

    def entry(self, run: Run) -> Entry | None:
        """Return what is known of a run."""
        return next((each for each in self.runs if key_of(each) == run.key), None)

    def of_task(self, name: str) -> list[Entry]:
        """Return all runs of a task."""
        return [each for each in self.runs if each["task"] == name]

    def best(self, name: str) -> Entry | None:
        """Return the best run of a task, of its best learning rate."""
        found = summary(self.runs, name)
        return None if found is None else found.best

    def write(self, out: Path, plan: Plan) -> dict[str, Any]:
        """Write `record.json`; return what it holds."""
        value = {
            "kind": KIND,
            "name": self.name,
            "code": f"bert-mobile {__version__}",
            "python": platform.python_version(),
            "start": self.start,
            "settings": self.settings,
            "commands": self.commands,
            "seconds": round(sum(each.get("seconds", 0.0) for each in self.runs), 1),
            "notes": notes(plan),
            "tasks": tasks_of(self.runs),
            "runs": self.runs,
        }
        write_json(out / RECORD, value)
        return value


@dataclass(frozen=True)
class Summary:
    """What the runs of a task say together, at the best learning rate."""

    task: str
    learning_rate: float
    entries: tuple[Entry, ...]
    """The finished runs."""
    failed: int
    best: Entry
    figures: dict[str, list[float]]
    """Metric → lowest, median and highest over the seeds."""

    def to_json(self) -> dict[str, Any]:
        """Return the summary as a JSON object."""
        row, first = TASKS[self.task], self.entries[0]
        about = first["followers"][self.task] if self.task != first["task"] else first
        found: dict[str, Any] = {
            "main_metric": row.main_metric,
            "learning_rate": self.learning_rate,
            "seeds": [each["seed"] for each in self.entries],
            "failed": self.failed,
            "split": about["dev_split"],
            "data": [first["train"], about["dev"]],
            "examples": [first["train_examples"], about["dev_examples"]],
            "disclosed": disclosed(first, about),
            "figures": {
                name: dict(zip(("lowest", "median", "highest"), values, strict=True))
                for name, values in self.figures.items()
            },
            "best_seed": self.best["seed"],
        }
        quantized = quantized_of(self.entries, self.best, self.task)
        if quantized is not None:
            found["quantized"] = quantized
        if about is first and "test" in self.best:
            found["test"] = self.best["test"]
        return found


def summary(runs: Sequence[Entry], trained: str, asked: str | None = None) -> Summary | None:
    """Summarize the runs of a task; `asked` is what its models were judged by, if not it.

    The learning rate is the one of the fewest failures, then of the best median of the main metric
    of the task that was trained. None where no run ended well.
    """
    own, sign = TASKS[trained], 1 if higher_is_better(TASKS[trained].main_metric) else -1
    by_rate: dict[float, list[Entry]] = {}
    for each in runs:
        if each["task"] == trained:
            by_rate.setdefault(each["learning_rate"], []).append(each)
    ranked = []
    for rate, entries in by_rate.items():
        done = [each for each in entries if each["status"] == FINISHED]
        if done:
            middle = median(sign * each["figures"][own.main_metric] for each in done)
            ranked.append((len(done) - len(entries), middle, -rate, done))
    if not ranked:
        return None
    missing, _, rate, done = max(ranked, key=lambda each: each[:3])
    best = max(done, key=lambda each: sign * each["figures"][own.main_metric])
    name = asked or trained
    with_figures = [each for each in done if figures_of(each, name)]
    if not with_figures:
        return None
    values = {
        metric: [figures_of(each, name)[metric] for each in with_figures]
        for metric in figures_of(with_figures[0], name)
    }
    spans = {metric: [min(all_), median(all_), max(all_)] for metric, all_ in values.items()}
    return Summary(name, -rate, tuple(with_figures), -missing, best, spans)


def figures_of(entry: Entry, name: str) -> dict[str, float]:
    """Return the figures of a run on its own dev set, or on that of a follower."""
    if name == entry["task"]:
        return dict(entry["figures"])
    return dict(entry["followers"].get(name, {}).get("figures", {}))


def quantized_of(entries: Sequence[Entry], best: Entry, name: str) -> dict[str, Any] | None:
    """Return what quantizing did to the figures of a task: of all runs the median, or of one run.

    All count where all were quantized; else the best one, if it was, else the first that was. The
    figures of the same runs as float models stand beside. None where no run was quantized.
    """
    there = [each for each in entries if _quantized_figures(each, name)]
    if not there:
        return None
    chosen = there if len(there) == len(entries) else [best if best in there else there[0]]
    return {
        "seeds": [each["seed"] for each in chosen],
        "bytes": max(each["quantized"]["bytes"] for each in chosen),
        "qat": any(each["quantized"].get("qat") for each in chosen),
        "figures": _medians([_quantized_figures(each, name) for each in chosen]),
        "float_figures": _medians([figures_of(each, name) for each in chosen]),
    }


def _quantized_figures(entry: Entry, name: str) -> dict[str, float]:
    found = entry.get("quantized", {})
    own = (
        found.get("figures", {}) if name == entry["task"] else found.get("followers", {}).get(name)
    )
    return dict(own or {})


def _medians(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {metric: median(each[metric] for each in figures) for metric in figures[0]}


def disclosed(entry: Entry, about: Mapping[str, Any]) -> str:
    """Return what keeps the figures of a run from being compared; "" where nothing does."""
    said = [*entry["parts"], *about["dev_parts"]]
    if entry.get("started_from"):
        said.append(f"started from the model of {TASKS[entry['started_from']].name.upper()}")
    return "; ".join(dict.fromkeys(said))


def followers_of(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield the tasks that models of another task were asked."""
    yield from dict.fromkeys(name for each in entries for name in each.get("followers", {}))


def notes(plan: Plan) -> list[str]:
    """Return what must be said of the tasks of a plan."""
    said = [f"not there: {', '.join(plan.absent)}"] if plan.absent else []
    if not plan.settings.tasks:
        said.append("wnli: left out, as in the card; its majority is what most papers answer")
    return said + [f"{each.task.name}: {each.task.note}" for each in plan.tasks if each.task.note]


def tasks_of(runs: Sequence[Entry]) -> dict[str, Any]:
    """Return what runs say together, by the task that was trained or asked."""
    tasks = {}
    for name in dict.fromkeys(each["task"] for each in runs):
        own = [each for each in runs if each["task"] == name]
        for asked in (name, *followers_of(own)):
            found = summary(runs, name, asked)
            if found is not None:
                tasks[asked] = found.to_json()
    return tasks


def read_beside(path: Path, name: str) -> dict[str, Any]:
    """Read another model's record for the table of the model of that name.

    Raises `InputError` where both have one name.
    """
    raw = read_record(path)
    if raw["name"] == name:
        raise InputError(
            f"{path} is of {name} as well, expected another model",
            hint="give one of them a --name of its own",
        )
    return {**raw, "tasks": tasks_of(raw["runs"])}


def key_of(entry: Entry) -> tuple[str, float, int]:
    """Return what tells a run from the others."""
    return entry["task"], entry["learning_rate"], entry["seed"]


def read_record(path: Path) -> dict[str, Any]:
    """Read a record; raises `ArtifactError` where the file is none."""
    raw = read_json(path, "the record of a benchmark")
    if raw.get("kind") != KIND or not isinstance(raw.get("runs"), list):
        raise ArtifactError(
            f"{path} is no record of a benchmark",
            hint="name the record.json that `bert-mobile glue` wrote",
        )
    return raw


def _refuse_another(raw: Mapping[str, Any], now: Record, path: Path) -> None:
    before = raw["start"]["sha256"]
    if before != now.start["sha256"]:
        raise InputError(
            f"{path} is of the model {raw['start']['model']} ({before[:12]}…), not of "
            f"{now.start['model']} ({now.start['sha256'][:12]}…)",
            hint="give a new --out",
        )
    for name, value in now.settings.items():
        if raw["settings"].get(name) != value:
            raise InputError(
                f"{path} was begun with {name} {raw['settings'].get(name)}, not {value}",
                hint="go on with the same settings, or give a new --out; tasks, seeds and learning "
                "rates may be added",
            )
