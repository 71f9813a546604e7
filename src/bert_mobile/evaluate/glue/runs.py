"""The work of a benchmark: each run is trained, judged, asked what else there is, and tidied away.

Followers (tasks without training data: MNLI's mismatched set, AX, HANS) are asked of every run of
theirs as soon as it is over, while its weights are there.
"""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bert_mobile import __version__
from bert_mobile.checkpoint import PROVENANCE, WEIGHTS, read_weights
from bert_mobile.errors import InputError, RunError
from bert_mobile.evaluate.asked import Answers, Subject, ask_task, judge, open_subject
from bert_mobile.evaluate.glue.plan import Plan, Planned, Run, test_split
from bert_mobile.evaluate.glue.record import FAILED, FINISHED, Entry, Record, summary
from bert_mobile.evaluate.glue.settings import START, GlueSettings
from bert_mobile.files import atomic_file, read_json
from bert_mobile.model.config import BertConfig
from bert_mobile.model.heads import BertForTask
from bert_mobile.quantize import quantize
from bert_mobile.quantize.report import folder_bytes
from bert_mobile.runtime.text import TextEncoder
from bert_mobile.tasks.reading import Split
from bert_mobile.train import state
from bert_mobile.train.calibration import calibration_lines, write_lines
from bert_mobile.train.devices import hardware
from bert_mobile.train.finetune import Data, FinetuneSettings, finetune
from bert_mobile.train.finetune.prepared import Prepared, prepare
from bert_mobile.train.finetune.session import TorchSession
from bert_mobile.train.loop import DivergedError
from bert_mobile.train.rounded import QUANTIZED
from bert_mobile.train.sitting import Sitting

WHOLE = 0.99
"""Part of a split from which on it counts as all of it: some copies lack a few damaged lines."""

KEEP_ALL, KEEP_BEST, KEEP_NONE = "all", "best", "none"


class OutOfTime(Exception):  # noqa: N818 - no error: the sitting is over
    """The sitting ended before the work did; a checkpoint to go on from is there."""


@dataclass
class Worker:
    """Does what a plan says, in a folder, and notes it in the record."""

    plan: Plan
    out: Path
    record: Record
    keep: str = KEEP_BEST
    ends: float | None = None
    """When the sitting ends, as `time.monotonic` tells; None: when all is done."""
    _last: tuple[tuple[str, str], Prepared] | None = None

    @property
    def settings(self) -> GlueSettings:
        """The settings of the plan."""
        return self.plan.settings

    def run(self, planned: Planned, run: Run) -> None:
        """Do what is left to do for one run. Raises `OutOfTime` where the sitting is over."""
        entry = self.record.entry(run)
        if entry is None:
            entry = self._train(planned, run)
            self.record.runs.append(entry)
            self.record.write(self.out, self.plan)
        if entry["status"] == FAILED:
            return
        self._ask_followers(planned, run, entry)
        if self.settings.quantize_each:
            self.quantize(planned, run, entry)
        self.record.write(self.out, self.plan)

    def has_weights(self, run: Run) -> bool:
        """Tell whether the weights of a run are still there."""
        return (self.out / run.place / WEIGHTS).is_file()

    def finish(self, planned: Planned) -> None:
        """Do what is done with the best run of a task: quantize it, predict the test set."""
        best = self.record.best(planned.task.name)
        if best is None:
            return
        run = run_of(best)
        if self.has_weights(run):
            self.quantize(planned, run, best)
            self._predict(planned, run, best)
        self.record.write(self.out, self.plan)

    def tidy(self, name: str) -> None:
        """Delete the weights of a task that are not to be kept."""
        if self.keep == KEEP_ALL:
            return
        found = summary(self.record.runs, name)
        best = run_of(found.best).key if found and self.keep == KEEP_BEST else None
        for entry in self.record.of_task(name):
            run = run_of(entry)
            if run.key != best:
                delete_weights(self.out / run.place)

    # --- training ---------------------------------------------------------------------------------

    def _train(self, planned: Planned, run: Run) -> Entry:
        """Fine-tune; return what is known of the run. Raises `OutOfTime`."""
        sitting, row = self._sitting(), planned.task
        model, started_from = self._start(run)
        settings = self.settings.finetuning(row, run.learning_rate, run.seed, model)
        common = {
            "task": run.task,
            "learning_rate": run.learning_rate,
            "seed": run.seed,
            "started_from": started_from,
            "train": planned.train.describe(),
            "dev": planned.dev.describe(),
            "dev_split": planned.dev.name,
            "hardware": hardware(device()),
            "torch": str(torch.__version__),
            "code": f"bert-mobile {__version__}",
        }
        folder = self.out / run.place
        try:
            report = finetune(
                settings,
                folder,
                resume=True,
                sitting=sitting,
                prepared=self._prepared(planned, settings),
            )
        except DivergedError as error:
            shutil.rmtree(folder / state.CHECKPOINTS, ignore_errors=True)
            return {**common, "status": FAILED, "error": error.message}
        except RunError as error:
            raise RunError(error.message, hint="go on with the same command") from error
        if not report.complete:
            raise OutOfTime
        facts = read_json(folder / PROVENANCE, "a provenance record")["data"]
        return {
            **common,
            "status": FINISHED,
            "figures": report.figures,
            "best_step": report.best_step,
            "steps": report.step,
            "seconds": round(report.seconds, 2),
            **{name: facts[name] for name in ("train_examples", "dev_examples")},
            "parts": parts(planned.train, facts["train_examples"]),
            "dev_parts": parts(planned.dev, facts["dev_examples"]),
            **{name: facts[name] for name in ("train_sha256", "dev_sha256")},
            "followers": {},
        }

    def _sitting(self) -> Sitting:
        """Return what is left of this sitting. Raises `OutOfTime` where nothing is."""
        minutes = None if self.ends is None else (self.ends - time.monotonic()) / 60
        if minutes is not None and minutes <= 0:
            raise OutOfTime
        return Sitting(minutes=minutes)

    def _prepared(self, planned: Planned, settings: FinetuneSettings) -> Prepared:
        """Return the data of a task, read and encoded once for all its runs from one model."""
        key = planned.task.name, settings.model
        if self._last is None or self._last[0] != key:
            row, self._last = planned.task, None
            data = Data(planned.train, planned.dev, planned.labels or None, row.metrics, row.name)
            self._last = key, prepare(settings, data)
        return self._last[1]

    def _start(self, run: Run) -> tuple[str, str | None]:
        """Return the model that a run starts from, and the task whose model that is, if any."""
        if not self.plan.starts_from_mnli(run.task):
            return self.settings.model, None
        best = self.record.best(START)
        if best is None:
            raise InputError(
                "no run of MNLI ended well, expected one for --from-mnli",
                hint="leave --from-mnli out, in a new --out, or lower --learning-rate",
            )
        of_seed = replace(run_of(best), seed=run.seed)
        start = of_seed if self.has_weights(of_seed) else run_of(best)
        if not self.has_weights(start):
            raise InputError(
                f"the weights of MNLI are not in {self.out / start.place} any more, expected them "
                "for --from-mnli",
                hint="take MNLI's runs out of record.json to train it again",
            )
        return str(self.out / start.place), START

    # --- judging ----------------------------------------------------------------------------------

    def _ask_followers(self, planned: Planned, run: Run, entry: Entry) -> None:
        done = entry["followers"]
        missing = [split for split in planned.followers if split.task.name not in done]
        if not missing or not self.has_weights(run):
            return
        subject = in_torch(self.out / run.place, self.settings.precision)
        for split in missing:
            answers = self._asked(subject, split, predict=False)
            entry["followers"][split.task.name] = _found(split, answers)

    def _asked(self, subject: Subject, split: Split, *, predict: bool) -> Answers:
        answers = judge(subject, ask_task(split.task, self.settings.data, split.name))
        if predict:
            write_predictions(self.out, split.task.name, answers)
        return answers

    def quantize(self, planned: Planned, run: Run, entry: Entry) -> None:
        """Quantize a run and judge the very file, unless that was done or is not asked for."""
        most, there = self.settings.max_bytes, entry.get("quantized", {})
        known = there.get("max_bytes"), there.get("qat", False)
        if most is None or known == (most, self.settings.qat) or not self.has_weights(run):
            return
        began = time.monotonic()
        folder = self._learned(planned, run) if self.settings.qat else self._packed(planned, run)
        subject = open_subject(folder)
        answers = judge(subject, ask_task(planned.task, self.settings.data, planned.dev.name))
        entry["quantized"] = {
            "max_bytes": most,
            "qat": self.settings.qat,
            "bytes": folder_bytes(folder),
            "figures": answers.figures,
            "seconds": round(time.monotonic() - began, 2),
            "followers": {
                split.task.name: self._asked(subject, split, predict=False).figures
                for split in planned.followers
            },
        }

    def _packed(self, planned: Planned, run: Run) -> Path:
        """Quantize a run as it is; return the folder."""
        folder = self.out / run.place
        texts = self.out / "runs" / run.task / "calibration.txt"
        if not texts.is_file():
            write_lines(texts, calibration_lines(planned.train, planned.train.examples))
        beside, most = quantized_place(folder), self.settings.max_bytes or 0
        quantize(folder, beside, max_bytes=most, calibration=texts)
        return beside

    def _learned(self, planned: Planned, run: Run) -> Path:
        """Let a run learn to answer with rounded weights; return the folder. Raises `OutOfTime`."""
        sitting, folder = self._sitting(), self.out / run.place
        settings = self.settings.rounding(planned.task, run.seed, str(folder))
        beside = learned_place(folder)
        report = finetune(
            settings,
            beside,
            resume=True,
            sitting=sitting,
            prepared=self._prepared(planned, settings),
        )
        if not report.complete:
            raise OutOfTime
        return beside / QUANTIZED

    def _predict(self, planned: Planned, run: Run, entry: Entry) -> None:
        """Answer the test sets of a task and its followers, and judge where they are labelled."""
        subject: Subject | None = None
        followers = [split.task for split in planned.followers]
        names = [planned.task.name, *(row.name for row in followers if row.submission)]
        for name in names:
            is_own, file = name == planned.task.name, predictions_file(self.out, name)
            split = planned.test if is_own else test_split(name, self.settings.data)
            if split is None or (name in entry.get("predicted", {}) and file.is_file()):
                continue
            subject = subject or in_torch(self.out / run.place, self.settings.precision)
            answers = self._asked(subject, split, predict=True)
            entry.setdefault("predicted", {})[name] = split.describe()
            if is_own and answers.figures:
                entry["test"] = _found(split, answers)


def run_of(entry: Mapping[str, Any]) -> Run:
    """Return the run that an entry of the record is of."""
    return Run(entry["task"], entry["learning_rate"], entry["seed"])


def parts(split: Split, examples: int) -> list[str]:
    """Return what must be said of data that is not the whole, or not the usual."""
    whole, note = split.task.sizes[split.name], split.layout.note
    short = (
        [f"{split.name}: {examples:,} of {whole:,} examples"] if examples < WHOLE * whole else []
    )
    return [*short, note] if note else short


def device() -> torch.device:
    """Return the device that everything runs on."""
    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


def in_torch(folder: Path, precision: str) -> Subject:
    """Open a float checkpoint on the fastest device."""
    config = BertConfig.read(folder)
    network = BertForTask(config)
    network.from_huggingface(read_weights(folder, config))
    session = TorchSession(network.to(device()).eval(), precision)
    return Subject(folder.name, folder, config, TextEncoder(folder, config), session)


def delete_weights(folder: Path) -> None:
    """Delete what is heavy in the folder of a run; its record stays."""
    (folder / WEIGHTS).unlink(missing_ok=True)
    for place in (quantized_place(folder), learned_place(folder)):
        shutil.rmtree(place, ignore_errors=True)


def quantized_place(folder: Path) -> Path:
    """Return where the quantized model of a run is: beside it."""
    return folder.with_name(f"{folder.name}-quantized")


def learned_place(folder: Path) -> Path:
    """Return where a run is that learned to answer with rounded weights: beside it."""
    return folder.with_name(f"{folder.name}-qat")


def predictions_file(out: Path, name: str) -> Path:
    """Return where the predictions of a task's test set are written."""
    return out / "predictions" / f"{name}.tsv"


def write_predictions(out: Path, name: str, answers: Answers) -> None:
    """Write a line for each example: its number from 0, and the answer, tags with spaces."""
    lines = ["index\tprediction"]
    for number, answer in enumerate(answers.named()):
        shown = " ".join(answer) if isinstance(answer, list) else " ".join(str(answer).split())
        lines.append(f"{number}\t{shown}")
    with atomic_file(predictions_file(out, name)) as scratch:
        scratch.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_predictions(path: Path) -> list[str]:
    """Read the answers that `write_predictions` wrote."""
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    return [line.partition("\t")[2] for line in lines]


def _found(split: Split, answers: Answers) -> Entry:
    groups = {"groups": answers.groups} if answers.groups else {}
    return {
        "dev": split.describe(),
        "dev_split": split.name,
        "dev_parts": parts(split, len(answers.judged.examples)),
        "dev_examples": len(answers.judged.examples),
        "figures": answers.figures,
        **groups,
    }
