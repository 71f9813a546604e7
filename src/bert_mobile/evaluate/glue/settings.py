"""What can be chosen of a run of the benchmark, checked before anything starts."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from bert_mobile.errors import InputError
from bert_mobile.tasks.table import GLUE, task
from bert_mobile.tasks.task import Task
from bert_mobile.train.finetune import FinetuneSettings
from bert_mobile.train.recipe import settings_of

LEARNING_RATES = (5e-5,)
SEEDS = (1, 2, 3)

QAT_EPOCHS = 1.0
"""Of learning to answer with rounded weights."""

START, FROM_START = "mnli", ("rte", "mrpc", "stsb")
"""The task that small ones may start from, and these."""

WNLI = "wnli"

USUAL_TASKS = tuple(name for name in GLUE if name != WNLI)
"""WNLI is left out, as in the card's table and most papers: see the note of its row."""

_MAY_GROW = (
    "data", "model", "tasks", "learning_rates", "seeds", "max_bytes", "quantize_each", "qat",
)  # fmt: skip
"""What may differ from the run that is gone on with: there is more to do, or it lies elsewhere."""


@dataclass(frozen=True)
class GlueSettings:
    """One shared setting for all tasks."""

    data: str
    """Folder of the data, or `hub`."""
    model: str = "default"
    """What to start from: `default`, a folder, or a name on the Hub."""
    tasks: tuple[str, ...] = ()
    """Names of tasks; none: GLUE's that are there, without WNLI."""
    learning_rates: tuple[float, ...] = LEARNING_RATES
    """Each is tried with all seeds; the one of the best median is reported."""
    seeds: tuple[int, ...] = SEEDS
    from_mnli: bool = False
    """Whether RTE, MRPC and STS-B start from MNLI's model of the same seed."""
    max_bytes: int | None = None
    """Bytes of the quantized models; None: nothing is quantized."""
    quantize_each: bool = False
    """Whether every run is quantized, not only the best of each task."""
    qat: bool = False
    """Whether the quantized models learn for an epoch to answer with rounded weights."""
    epochs: float = 3.0
    batch_size: int = 32
    max_length: int | None = None
    """Tokens of the longest sequence; None: 128, and 384 for answers."""
    precision: str = "auto"
    more: tuple[str, ...] = ()
    """Other settings of every fine-tuning, NAME=VALUE."""

    def __post_init__(self) -> None:
        """Refuse contradictions; each message names the option."""
        rows = self.chosen()
        _refuse_twice("tasks", [row.name for row in rows])
        _refuse_twice("seeds", self.seeds)
        _refuse_twice("learning_rate", self.learning_rates)
        if not self.seeds or not self.learning_rates:
            raise InputError(
                "there is no seed or no learning rate, expected at least one of each",
                hint="leave the option out",
            )
        for each in rows:
            self.finetuning(each, self.learning_rates[0], self.seeds[0], self.model)
        for name in ("quantize_each", "qat"):
            if getattr(self, name) and self.max_bytes is None:
                option = f"--{name.replace('_', '-')}"
                raise InputError(
                    f"{option} is given without --max-bytes, expected a number of bytes",
                    hint="--max-bytes 25_000_000",
                )
        if self.from_mnli and START not in {row.name for row in rows}:
            raise InputError(
                f"--from-mnli needs {START} among the tasks, which are {', '.join(self.tasks)}",
                hint=f"add {START} to --tasks",
            )

    def chosen(self) -> tuple[Task, ...]:
        """Return the rows of the tasks that are named, or the usual ones."""
        return tuple(task(name) for name in self.tasks or USUAL_TASKS)

    def finetuning(
        self, row: Task, learning_rate: float, seed: int, model: str
    ) -> FinetuneSettings:
        """Return the settings of one run. Raises `InputError` naming what is wrong with them."""
        given = {
            "kind": row.kind,
            "model": model,
            "learning_rate": learning_rate,
            "seed": seed,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "precision": self.precision,
        }
        if self.max_length is not None:
            given["max_length"] = self.max_length
        return settings_of(FinetuneSettings, given, self.more)

    def rounding(self, row: Task, seed: int, model: str) -> FinetuneSettings:
        """Return the settings by which a model of a run learns to answer with rounded weights."""
        usual = self.finetuning(row, FinetuneSettings.learning_rate, seed, model)
        return replace(usual, qat=True, max_bytes=self.max_bytes, epochs=QAT_EPOCHS)

    def shared(self) -> dict[str, Any]:
        """Return what must be the same for runs to stand in one table."""
        found = {name: value for name, value in asdict(self).items() if name not in _MAY_GROW}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()}


def _refuse_twice(name: str, values: Sequence[Any]) -> None:
    twice = [value for value in values if list(values).count(value) > 1]
    if twice:
        raise InputError(f"{name} has {twice[0]} twice", hint="name each once")
