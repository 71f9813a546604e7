"""The purpose that the training loop is run for in fine-tuning.

OUT/config.json, model.safetensors, tokenizer files, provenance.json    the best weights
OUT/finetune.json, metrics.jsonl, curve.png, reports/                   the record of the run
OUT/checkpoints/                                                        see `state`; gone at the end
"""

import platform
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import nn
from torch.optim import Optimizer

from bert_mobile import checkpoint
from bert_mobile.files import read_json, write_json
from bert_mobile.judging.heads import gives_number
from bert_mobile.judging.judge import Predictions
from bert_mobile.judging.sequences import Order
from bert_mobile.model.heads import BertForTask
from bert_mobile.tasks.reports import write_reports
from bert_mobile.train import state
from bert_mobile.train.devices import World, hardware
from bert_mobile.train.emissions import Meter
from bert_mobile.train.feed import Feed
from bert_mobile.train.finetune.batches import Batches
from bert_mobile.train.finetune.objective import (
    Losses,
    Objective,
    class_losses,
    class_teaching,
    label_losses,
    label_teaching,
    number_losses,
    number_teaching,
    span_losses,
    span_teaching,
)
from bert_mobile.train.finetune.prepared import Prepared
from bert_mobile.train.finetune.rounded import rounded_networks, rounding_of
from bert_mobile.train.finetune.session import TorchSession
from bert_mobile.train.finetune.settings import Course, FinetuneSettings
from bert_mobile.train.finetune.start import fresh_model
from bert_mobile.train.finetune.teacher import Relations, teacher_logits
from bert_mobile.train.quantized import RoundedNetwork
from bert_mobile.train.sitting import Sitting
from bert_mobile.train.state import Position

REPORTS = "reports"
"""Folder of what `tasks.reports` writes about the dev examples."""

FINE_TUNED = "fine-tuned checkpoint"
"""What provenance calls the result."""

BEST, BEST_WEIGHTS = state.BESIDE


@dataclass(frozen=True)
class FinetuneIdentity(state.Identity):
    """What must be the same for a fine-tuning to be resumed."""

    setting: str
    data: str
    model: str
    teacher: str


@dataclass
class Best:
    """The best weights so far."""

    step: int = 0
    figure: float | None = None
    """Their main figure; None: nothing was judged yet."""
    figures: dict[str, float] | None = None
    looks_since: int = 0
    """Judgements since then without a better one."""
    looked: int = -1
    """Step of the last judgement that counted; -1: there was none."""
    weights: dict[str, NDArray[np.float32]] | None = None
    """By Hugging Face name."""


class Finetuning:
    """The purpose the loop is run for here."""

    name, shown = "finetune", "loss"

    def __init__(
        self,
        settings: FinetuneSettings,
        prepared: Prepared,
        out: Path,
        world: World,
        sitting: Sitting,
    ) -> None:
        self.settings, self.prepared, self.out = settings, prepared, out
        self.world, self.sitting = world, sitting
        torch.manual_seed(settings.seed)
        self.rounding = rounding_of(settings, prepared, out) if settings.qat else None
        self.model, self.network, parent = self._networks()
        self.parameters = list(self.model.parameters())
        self.scale = prepared.scale
        objective = self._objective(parent)
        self.figures: Sequence[str] = objective.figures
        self.objective: nn.Module = world.share(objective)
        order = Order(prepared.train.sequences.lengths, settings.batch_size, settings.seed)
        self.course = Course.of(settings, order.steps_per_epoch)
        self._batches = self._source(order)
        self.session = TorchSession(self.network, settings.precision, scale=self.scale)
        self.best = Best()
        self.meter: Meter

    @cached_property
    def identity(self) -> FinetuneIdentity:
        """What must be the same for the run to be resumed."""
        found = self.prepared
        return FinetuneIdentity(
            self.settings.fingerprint, found.digest, found.start.digest, found.teacher_digest
        )

    @property
    def judges_start(self) -> bool:
        """Whether the start may be the best: a model that is rounded, and learns to be."""
        return self.settings.qat

    @property
    def is_settled(self) -> bool:
        """Whether the dev figure has not risen for as long as the settings are patient."""
        patience = self.settings.patience
        return patience is not None and self.best.looks_since >= patience

    def is_complete(self, position: Position) -> bool:
        """Whether no other sitting is to follow."""
        return position.step >= self.course.steps or self.is_settled

    def feed(self, position: Position) -> Feed:
        """Return the batches from `position` on."""
        return Feed(
            self._batches, position.phase_step, self.world, workers=self.sitting.workers or 0
        )

    def evaluate(self, step: int) -> dict[str, float]:
        """Judge by the dev examples; the best weights are kept."""
        found = self.prepared.judge.figures(self.session)
        scheduled = step % self.course.evaluate_every == 0 or step >= self.course.steps
        if scheduled and step > self.best.looked:  # not where only a sitting ends
            self._consider(step, found)
        return {f"dev_{name}": value for name, value in found.items()}

    def save(self, position: Position, optimizers: Sequence[Optimizer]) -> None:
        """Write a checkpoint to go on from, unless the run is over with this step."""
        if self.is_complete(position):
            return
        facts = self.facts(position)
        tokenizer = self.prepared.start.folder
        state.save(
            self.out, position, self.identity, self.model, optimizers, tokenizer, facts,
            beside=self._write_best,
        )  # fmt: skip

    def restore_best(self, folder: Path) -> None:
        """Read the best weights so far from a checkpoint of the run."""
        record = read_json(folder / BEST, "the best judgement of a run")
        weights = load_file(folder / BEST_WEIGHTS) if (folder / BEST_WEIGHTS).is_file() else None
        self.best = Best(**record, weights=weights)

    def shipped(self) -> dict[str, NDArray[np.float32]]:
        """Return the best weights, by Hugging Face name; a regression's give plain numbers."""
        weights = dict(self.best.weights or self.network.to_huggingface())
        if gives_number(self.prepared.config):
            mean, deviation = self.scale
            weights["classifier.weight"] = weights["classifier.weight"] * np.float32(deviation)
            bias = weights["classifier.bias"] * deviation + mean
            weights["classifier.bias"] = bias.astype(np.float32)
        return weights

    def judge_best(self) -> Predictions:
        """Return what the best weights say of the dev examples; the network has them then."""
        if self.best.weights is not None:
            self.model.from_huggingface(self.best.weights)
        return self.prepared.judge.ask(self.session)

    def facts(self, position: Position) -> dict[str, Any]:
        """Return what provenance says of the run as it stands."""
        return {
            "kind": FINE_TUNED,
            "parents": self.prepared.start.parents,
            "teacher": self.prepared.teacher_digest or None,
            "settings": asdict(self.settings),
            "data": self.prepared.facts,
            "figures": {"step": self.best.step, **(self.best.figures or {})},
            "run": {**asdict(self.identity), "position": asdict(position)},
            "emissions": self.meter.read(),
            "hardware": hardware(self.world.device),
            "processes": self.world.size,
            "torch": torch.__version__,
            "python": platform.python_version(),
        }

    def write_result(self, position: Position) -> None:
        """Put the best weights into the run's folder, provenance last; checkpoints go."""
        found, prepared = self.judge_best(), self.prepared
        write_reports(self.out / REPORTS, prepared.judge.judged(found), self.out.name)
        config = prepared.config
        if found.no_answer_threshold is not None:
            config = replace(config, no_answer_threshold=found.no_answer_threshold)
        with state.finished(self.out) as scratch:
            tokenizer, facts = prepared.start.folder, self.facts(position)
            checkpoint.write_checkpoint(scratch, config, self.shipped(), tokenizer, facts)
        for folder in state.saved(self.out):
            shutil.rmtree(folder)

    def _consider(self, step: int, found: dict[str, float]) -> None:
        """Keep the weights where they are the best so far; all processes decide as the first.

        Of equally good ones the latest are kept: few dev examples are soon all right, long before
        the network is sure of its answers.
        """
        judge, best = self.prepared.judge, self.best
        [figure] = self.world.total([found[judge.main] if self.world.is_first else 0.0])
        best.looked = step
        is_better = judge.is_better(figure, best.figure)
        looks_since = 0 if is_better else best.looks_since + 1
        if not is_better and figure != best.figure:
            best.looks_since = looks_since
            return
        weights = {name: array.copy() for name, array in self.network.to_huggingface().items()}
        self.best = Best(step, figure, found, looks_since, step, weights)

    def _write_best(self, folder: Path) -> None:
        record = {name: value for name, value in vars(self.best).items() if name != "weights"}
        write_json(folder / BEST, record)
        if self.best.weights is not None:
            checkpoint.write_tensors(folder / BEST_WEIGHTS, self.best.weights)

    def _networks(
        self,
    ) -> tuple[BertForTask, BertForTask | RoundedNetwork, BertForTask | None]:
        """Return the network that is trained, what answers (the same, or rounded), its parent."""
        device = self.world.device
        if self.rounding is None:
            model = fresh_model(self.prepared.start, self.prepared.config).to(device)
            return model, model, None
        model, network, parent = rounded_networks(self.rounding, self.prepared)
        return model.to(device), network.to(device), parent.to(device)

    def _objective(self, parent: BertForTask | None) -> Objective:
        settings, teacher = self.settings, self.prepared.teacher
        if parent is not None:
            return Objective(
                self.network,
                self._losses(),
                teaching=self._teaching(),
                teacher_weight=settings.teacher_share,
                parent=parent,
            )
        if teacher is None:
            return Objective(self.network, self._losses())
        relations = None
        if settings.relation_weight:
            relations = Relations(self.model, teacher.network(self.world.device))
        return Objective(
            self.network,
            self._losses(),
            teaching=self._teaching(),
            teacher_weight=settings.teacher_share,
            relations=relations,
            relation_weight=settings.relation_weight,
        )

    def _teaching(self) -> Losses:
        if self.settings.kind == "regress":
            return number_teaching
        if self.settings.kind == "answer":
            return span_teaching(self.settings.teacher_temperature)
        make = label_teaching if self.settings.several else class_teaching
        return make(self.settings.teacher_temperature)

    def _losses(self) -> Losses:
        settings, prepared = self.settings, self.prepared
        if settings.kind == "answer":
            return span_losses
        if settings.kind == "regress":
            return number_losses
        if settings.several:
            weights = prepared.positive_weights(settings.class_weights)
            return label_losses(None if weights is None else torch.from_numpy(weights))
        return class_losses(settings.label_smoothing)

    def _teacher_logits(self) -> NDArray[np.float16] | None:
        prepared = self.prepared
        if prepared.teacher is None:
            return None
        device, quiet = self.world.device, not self.world.is_first
        return teacher_logits(
            prepared.teacher, prepared.train, device, self.settings.precision,
            scale=self.scale, quiet=quiet,
        )  # fmt: skip

    def _source(self, order: Order) -> Batches:
        prepared, settings = self.prepared, self.settings
        train = prepared.train
        if settings.kind == "regress":
            train = prepared.standardised()
        return Batches(
            train,
            order,
            self.world,
            pad_id=prepared.judge.encoder.pad_id,
            weights=prepared.class_weights(settings.class_weights),
            teacher=self._teacher_logits(),
            accumulation=self.sitting.accumulation,
        )
