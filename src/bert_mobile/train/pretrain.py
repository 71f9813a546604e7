"""Pre-training: masked tokens and next sentences, from a built corpus to a checkpoint folder.

OUT/config.json, model.safetensors, tokenizer files, provenance.json    the finished model
OUT/recipe.json, metrics.jsonl, curve.png                               the record of the run
OUT/start/, quantized/                                                  see `rounded`
OUT/checkpoints/                                                        see `state`
"""

import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from bert_mobile import checkpoint
from bert_mobile.carbon import EmissionSettings, settings_from_environment
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.examples import Batch, Corpus, PairSampler
from bert_mobile.files import (
    held,
    read_json,
    refuse_foreign_folder,
    sha256,
    write_json,
)
from bert_mobile.model.config import BertConfig
from bert_mobile.model.heads import BertForPretraining
from bert_mobile.train import state
from bert_mobile.train.devices import World, autocast, hardware, joined_world, local_processes
from bert_mobile.train.emissions import Meter
from bert_mobile.train.feed import Feed, pair_feed
from bert_mobile.train.loop import train
from bert_mobile.train.objective import Objective
from bert_mobile.train.optimizers import averaged_weights, make_optimizers
from bert_mobile.train.parent import begin_rounding, read_parent, rounded_networks
from bert_mobile.train.quantized import RoundedNetwork
from bert_mobile.train.recipe import Recipe
from bert_mobile.train.record import draw_curve
from bert_mobile.train.rounded import BEFORE, Rounding
from bert_mobile.train.schedule import fraction_done
from bert_mobile.train.sitting import Sitting
from bert_mobile.train.state import Position, RoundedIdentity, RunIdentity

EVALUATION_SEED = 0
"""The held-out batches are the same for every run on a corpus."""

RECIPE = "recipe.json"

SECONDS_BETWEEN_PICTURES = 60
"""A picture takes longer than a checkpoint of a small network."""


@dataclass(frozen=True)
class PretrainReport:
    """How a run ended."""

    folder: Path
    resumed_from: int | None
    """Step of the checkpoint that the run went on from."""
    metrics: dict[str, Any]
    """The last line of the record: counters and held-out figures."""
    curve: Path | None
    """The picture; None where matplotlib is missing."""
    quantized_bytes: int | None = None
    """Size of `folder`/quantized; None where the run is to end in none, or is not over."""
    rank: int = 0
    """Which process of the run tells this: only the first has written anything."""

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        curve = None if self.curve is None else str(self.curve)
        return {**asdict(self), "folder": str(self.folder), "curve": curve}


def pretrain(
    recipe: Recipe, out: Path, *, resume: bool | Path = False, sitting: Sitting | None = None
) -> PretrainReport:
    """Run a recipe, or go on with it, and leave a checkpoint that transformers reads in `out`.

    `resume` is whether to go on from the last good checkpoint in `out`, or the folder of weights
    that another sitting of the same run left elsewhere. Under `torchrun`, every process calls this,
    and the first one writes. Raises `InputError` where `out` holds a run already and `resume` is
    not true, or the recipe, corpus and starting checkpoint do not fit together; `RunError` where
    the run cannot go on.
    """
    refuse_foreign_folder(
        out, _is_run, inputs=[Path(p) for p in (recipe.corpus, recipe.initialize_from) if p]
    )
    begun_before = state.saved(out) if isinstance(resume, Path) else (out / RECIPE).exists()
    if resume is not True and begun_before:
        raise InputError(
            f"{out} holds a run already", hint="go on with --resume auto, or give a new --out"
        )
    settings = settings_from_environment()
    with joined_world() as world:
        run = Pretraining(recipe, out, world, sitting or Sitting())
        optimizers = make_optimizers(run.model, recipe)
        begun = run.begin(optimizers, resume=resume, settings=settings)
        position = begun.position if begun else Position()
        resumed_from = position.step if begun else None
        state.refuse_apart(world, position)
        if not world.is_first:
            metrics = run.train(optimizers, position)
            return PretrainReport(out, resumed_from, metrics, None, rank=world.rank)
        with held(out / state.CHECKPOINTS):
            write_json(out / RECIPE, asdict(recipe))
            state.tidy(out, position.step)
            with run.meter:
                if isinstance(resume, Path):  # from here on, --resume auto goes on from it
                    run.save(position, optimizers)
                metrics = run.train(optimizers, position)
                with averaged_weights(optimizers):
                    size = run.finish(metrics, position)
    return PretrainReport(out, resumed_from, metrics, run.draw(), size)


class Pretraining:
    """The purpose the loop is run for here."""

    name, shown = "pretrain", "masked_token_loss"
    judges_start, is_settled = False, False  # there is always more to learn

    def __init__(self, recipe: Recipe, out: Path, world: World, sitting: Sitting) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.out, self.world, self.sitting = recipe, out, world, sitting
        self.tokenizer = Path(recipe.corpus)
        corpus = Corpus(self.tokenizer, "train")
        self.model = BertForPretraining(_shape(recipe, corpus)).to(world.device)
        self.parents: list[dict[str, Any]] = []
        self.parameters = list(self.model.parameters())
        self.samplers = [_sampler(recipe, index, corpus) for index in range(len(recipe.phases))]
        self._check_batches()
        self.held_out = _held_out(recipe)
        self.rounding: Rounding | None = None
        if recipe.qat:
            self.rounding = begin_rounding(recipe, self.model.config, corpus, out, world)
        self.identity = self._identity()
        self.network, parent = self._networks()
        objective = Objective(self.network, recipe, parent)
        self.figures: Sequence[str] = objective.figures
        # On processors the matrix products are nearly all there is. Rounding was never compiled.
        if world.device.type == "cuda" and self.rounding is None:
            objective.compile(dynamic=False)  # each phase has one shape
        self.objective: nn.Module = world.share(objective)
        self.meter: Meter
        self._drawn = time.monotonic()

    def train(self, optimizers: Sequence[Optimizer], position: Position) -> dict[str, Any]:
        """Run the loop to the end of the sitting and return the last metrics."""
        return train(self, self.recipe, optimizers, position, self.out, self.world, self.sitting)

    def begin(
        self, optimizers: Sequence[Optimizer], *, resume: bool | Path, settings: EmissionSettings
    ) -> state.Resumed | None:
        """Load what the run goes on from, or else what the recipe starts it from."""
        if isinstance(resume, Path):
            begun: state.Resumed | None = state.go_on_from(resume, self.identity, self.model)
        else:
            found = resume and state.resume(self.out, self.identity, self.model, optimizers)
            begun = found or None
        record: dict[str, Any] = {}
        if begun:
            record = read_json(begun.folder / checkpoint.PROVENANCE, "a provenance record")
        self.parents = record.get("parents", []) if begun else self._start()
        on_cuda = self.world.device.type == "cuda"
        self.meter = Meter(
            settings,
            hardware=hardware(self.world.device),
            devices=self.world.size * (1 if on_cuda else torch.get_num_threads()),
            devices_here=local_processes() if on_cuda else None,
            before=record.get("emissions"),
        )
        return begun

    def draw(self) -> Path | None:
        """Draw the curve of the run so far; None where matplotlib is missing."""
        return draw_curve(self.out, f"{self.recipe.variant}, {self.out.name}")

    def feed(self, position: Position) -> Feed:
        """Return the batches of the phase from `position` on."""
        return pair_feed(
            self.samplers[position.phase],
            position.phase_step,
            self.world,
            accumulation=self.sitting.accumulation,
            workers=self.sitting.workers,
        )

    @torch.no_grad()
    def evaluate(self, step: int) -> dict[str, float]:  # noqa: ARG002 - the same at any step
        """Return loss and accuracies on the held-out split, masked at BERT's 15 % in every run."""
        if self.held_out is None:
            return {}
        self.network.eval()
        sums = np.zeros(5)  # loss, right, asked; pairs right, pairs
        for number in range(self.world.rank, self.recipe.evaluation_batches, self.world.size):
            with autocast(self.recipe.precision, self.world.device):
                logits, labels, told, is_random = self._forward(self.held_out.batch(number))
            loss = functional.cross_entropy(logits.float(), labels, reduction="sum")
            right = (logits.argmax(-1) == labels).sum()
            pairs_right = (told.argmax(-1) == is_random).sum()
            sums += [float(loss), int(right), len(labels), int(pairs_right), len(is_random)]
        loss_sum, right_sum, asked, pairs_right_sum, pairs = self.world.total(sums.tolist())
        return {
            "held_out_masked_token_loss": loss_sum / asked,
            "held_out_masked_token_accuracy": right_sum / asked,
            "held_out_next_sentence_accuracy": pairs_right_sum / pairs,
        }

    def save(self, position: Position, optimizers: Sequence[Optimizer]) -> None:
        """Write a checkpoint of the run."""
        facts = self._facts({"step": position.step}, position)
        state.save(self.out, position, self.identity, self.model, optimizers, self.tokenizer, facts)
        if time.monotonic() - self._drawn > SECONDS_BETWEEN_PICTURES:
            self.draw()
            self._drawn = time.monotonic()

    def finish(self, metrics: dict[str, Any], position: Position) -> int | None:
        """Put the model, as it answers, into the run's folder itself, provenance last.

        At the end of a run with rounded weights comes the quantized one; returns its bytes.
        """
        with state.finished(self.out) as scratch:
            weights, facts = self.network.to_huggingface(), self._facts(metrics, position)
            checkpoint.write_checkpoint(scratch, self.model.config, weights, self.tokenizer, facts)
        if self.rounding is None or fraction_done(self.recipe, position) < 1:
            return None
        return self.rounding.finish()

    def _identity(self) -> RunIdentity:
        manifest = sha256(self.tokenizer / "manifest.json")
        if self.rounding is None:
            return RunIdentity(self.recipe.fingerprint, manifest)
        parent = sha256(self.rounding.parent / checkpoint.WEIGHTS)
        return RoundedIdentity(self.recipe.fingerprint, manifest, parent)

    def _networks(self) -> tuple[BertForPretraining | RoundedNetwork, BertForPretraining | None]:
        """Return what answers, the network that is trained or the same rounded, and its parent."""
        if self.rounding is None:
            return self.model, None
        network, parent = rounded_networks(self.rounding, self.model)
        return network.to(self.world.device), parent.to(self.world.device)

    def _start(self) -> list[dict[str, Any]]:
        """Load the starting checkpoint, if any, and return what provenance says of it."""
        if self.recipe.initialize_from is None:
            return []
        if self.rounding is None:
            self.model.from_huggingface(read_parent(self.recipe, self.model.config))
        else:
            self.model.from_huggingface(self.rounding.starting_weights())
        return checkpoint.ancestry(Path(self.recipe.initialize_from))

    def _forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Run a batch: logits (M, V), targets (M,), next-sentence logits (B, 2), labels (B,)."""
        mask = None if batch.attention_mask.all() else self._tensor(batch.attention_mask)
        output = self.network(
            self._tensor(batch.input_ids),
            mask,
            self._tensor(batch.token_type_ids),
            self._tensor(batch.positions),
        )
        targets, is_random = self._tensor(batch.targets), self._tensor(batch.is_random)
        return output.masked_tokens, targets, output.next_sentence, is_random

    def _tensor(self, array: np.ndarray[Any, Any]) -> Tensor:
        return torch.from_numpy(array).to(self.world.device)

    def _check_batches(self) -> None:
        parts = self.world.size * self.sitting.accumulation
        for phase, sampler in zip(self.recipe.phases, self.samplers, strict=True):
            if sampler.windows < phase.batch_size:
                raise InputError(
                    f"{self.recipe.corpus} has {sampler.windows} examples of "
                    f"{phase.sequence_length} tokens, fewer than a batch of {phase.batch_size}",
                    hint="build the corpus of more text, or choose a smaller batch_size",
                )
            if phase.batch_size % parts:
                raise InputError(
                    f"batch_size {phase.batch_size} is no multiple of {self.world.size} device(s) "
                    f"times {self.sitting.accumulation} micro-batch(es)",
                    hint="choose numbers that share the batch evenly",
                )

    def _facts(self, figures: dict[str, Any], position: Position) -> dict[str, Any]:
        return {
            "kind": "pre-trained checkpoint",
            "parents": self.parents,
            "recipe": asdict(self.recipe),
            "corpus": {"manifest_sha256": self.identity.corpus},
            "figures": figures,
            "run": {**asdict(self.identity), "position": asdict(position)},
            "emissions": self.meter.read(),
            "hardware": hardware(self.world.device),
            "processes": self.world.size,
            "accumulation": self.sitting.accumulation,
            "torch": torch.__version__,
            "python": platform.python_version(),
        }


def _is_run(folder: Path) -> bool:
    """Tell whether a folder holds a run of ours, finished or not, or killed as it began."""
    there = {path.name for path in folder.iterdir()}
    if there <= {state.CHECKPOINTS, f".{RECIPE}.part", *BEFORE} and not state.saved(folder):
        return True
    try:
        return {"variant", "phases"} <= read_json(folder / RECIPE, "a recipe").keys()
    except ArtifactError:
        return False


def _shape(recipe: Recipe, corpus: Corpus) -> BertConfig:
    config = BertConfig.of_variant(
        recipe.variant,
        vocab_size=corpus.vocabulary_size,
        hidden_dropout_prob=recipe.dropout,
        attention_probs_dropout_prob=recipe.dropout,
    )
    asked = recipe.evaluation_sequence_length or 0
    longest = max(asked, *(phase.sequence_length for phase in recipe.phases))
    if longest > config.max_position_embeddings:
        raise InputError(
            f"sequence_length {longest} is longer than the {config.max_position_embeddings} "
            "positions of the model",
            hint="choose shorter sequences",
        )
    return config


def _sampler(recipe: Recipe, index: int, corpus: Corpus) -> PairSampler:
    phase = recipe.phases[index]
    return PairSampler(
        corpus,
        seed=recipe.seed * 1000 + index,
        sequence_length=phase.sequence_length,
        batch_size=phase.batch_size,
        masking_rate=phase.masking_rate,
        ask_all=phase.objective == "all",
    )


def _held_out(recipe: Recipe) -> PairSampler | None:
    """Return the sampler of the held-out split; None where the corpus is too small to have one."""
    corpus = Corpus(Path(recipe.corpus), "held_out")
    if len(corpus.documents) < 3:
        return None
    longest = max(phase.sequence_length for phase in recipe.phases)
    sampler = PairSampler(
        corpus,
        seed=EVALUATION_SEED,
        sequence_length=recipe.evaluation_sequence_length or longest,
        batch_size=1,
    )
    smallest = min(phase.batch_size for phase in recipe.phases)
    sampler.batch_size = min(recipe.evaluation_batch_size or smallest, sampler.windows)
    return sampler
