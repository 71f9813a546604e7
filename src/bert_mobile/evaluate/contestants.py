"""The contestants of `bench pretrain`: our loop and the `transformers` Trainer (see `turns`)."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from bert_mobile.errors import RunError
from bert_mobile.evaluate.turns import NEVER, OURS, Referee, Stopwatch, reporting
from bert_mobile.model.names import TIED
from bert_mobile.train.devices import World, computing_type, hold_memory
from bert_mobile.train.feed import pair_feed
from bert_mobile.train.loop import Loop, Purpose
from bert_mobile.train.objective import NO_TARGET, Objective, PairMicroBatch
from bert_mobile.train.optimizers import make_optimizers
from bert_mobile.train.pretrain import Pretraining
from bert_mobile.train.recipe import Recipe
from bert_mobile.train.schedule import Schedule
from bert_mobile.train.sitting import Sitting
from bert_mobile.train.state import Position

COMPILED_TRAINER = "transformers, compiled"


@dataclass(frozen=True)
class Course:
    """What every contestant runs."""

    recipe: Recipe
    """Of one phase; its budget is longer than the course."""
    rounds: int
    steps: int
    """Timed ones of a round."""
    settling: int
    """Steps at the start of every round that are not timed."""
    warm_up: int
    """Steps before the first round: compilation, and memory asked for the first time."""

    @property
    def length(self) -> int:
        """Steps altogether."""
        return self.warm_up + self.rounds * (self.settling + self.steps)


def compete(name: str, course: Course, connection: Connection) -> None:
    """Run the course as the contestant of that name: what a process of its own is started with."""

    def run(referee: Referee, world: World) -> None:
        if name == OURS:
            run_ours(course, referee, world)
        else:
            run_trainer(course, referee, world, compiled=name == COMPILED_TRAINER)

    reporting(connection, run)


def run_ours(course: Course, referee: Referee, world: World) -> None:
    """Take the steps of `bert-mobile pretrain`, as its loop does between two judgements."""
    hold_memory()
    run = Pretraining(course.recipe, Path(), world, Sitting())
    referee.ready(_our_first_loss(run))
    watch = Stopwatch(course, referee, world.device)
    optimizers = make_optimizers(run.model, course.recipe)
    take_steps(run, course.recipe, optimizers, course.length, watch, world)


def take_steps(
    run: Purpose,
    schedule: Schedule,
    optimizers: Sequence[Optimizer],
    length: int,
    watch: Stopwatch,
    world: World,
) -> None:
    """Take `length` steps of a run of ours, as the loop does between two judgements."""
    position = Position()
    loop = Loop(run, schedule, optimizers, position, world, Sitting())
    with run.feed(position) as feed:
        for _ in range(length):
            loop.step(feed, interrupted=lambda: False)
            if world.device.type == "cpu":
                loop.look()
            loop.look_after(None)
            watch.stepped(position.tokens, feed.waited)


@torch.no_grad()
def _our_first_loss(run: Pretraining) -> float:
    with pair_feed(run.samplers[0], 0, run.world, workers=0) as feed:
        batch: Any = feed.next()[0]
    asked, pairs, _ = batch.counts
    shares = torch.tensor([1 / asked, 1 / pairs], device=run.world.device)
    # A new objective is not compiled: it is run only this once without dropout.
    figures: Tensor = Objective(run.model, run.recipe).eval()(*batch[:-1], shares)
    return float(figures[1] + figures[2])


def run_trainer(course: Course, referee: Referee, world: World, *, compiled: bool) -> None:
    """Take the same steps from the same weights in `transformers`, on batches made before."""
    import transformers

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    # On the processor, our own run gives the very weights and batches that ours has on any device.
    here = World(0, 1, torch.device("cpu"))
    run = Pretraining(course.recipe, Path(), here, Sitting(workers=0))
    with run.feed(Position()) as feed:
        made: list[Any] = [feed.next()[0] for _ in range(course.length)]
    model = their_model(run)
    batches = [huggingface_inputs(batch) for batch in made]
    tokens = [batch.counts[-1] for batch in made]
    del run, made
    referee.ready(_their_first_loss(model.to(world.device), batches[0]))
    watch = Stopwatch(course, referee, world.device)

    class Clock(transformers.TrainerCallback):
        """Tells the stopwatch of every step."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            watch.stepped(sum(tokens[: state.global_step]), None)

    class Trainer(transformers.Trainer):
        """The Trainer itself, which is spared collating rows into batches."""

        def get_train_dataloader(self) -> Any:
            pinned = world.device.type == "cuda"
            loader = DataLoader(_Made(batches), batch_size=None, pin_memory=pinned)
            return self.accelerator.prepare(loader)

    with tempfile.TemporaryDirectory() as scratch:
        arguments = _training_arguments(course, world.device, scratch, compiled=compiled)
        trainer = Trainer(model, arguments, train_dataset=_Made(batches), callbacks=[Clock()])
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()


class _Made(Dataset[dict[str, Tensor]]):
    """Batches that are in memory, in their order."""

    def __init__(self, batches: list[dict[str, Tensor]]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        return self._batches[number]


def their_model(run: Pretraining) -> Any:
    """Return a `transformers.BertForPreTraining` of the same shape, with the same weights."""
    import transformers

    model = transformers.BertForPreTraining(transformers.BertConfig(**run.model.config.to_json()))
    weights = {name: torch.from_numpy(w) for name, w in run.model.to_huggingface().items()}
    missing, unknown = model.load_state_dict(weights, strict=False)
    if unknown or not set(missing) <= TIED.keys():
        raise RunError(
            f"transformers {transformers.__version__} calls the weights otherwise than we do: "
            f"{[*unknown, *missing][0]}",
            hint="pip install another version of transformers, or give --no-transformers",
        )
    return model


def huggingface_inputs(batch: PairMicroBatch) -> dict[str, Tensor]:
    """Return what `BertForPreTraining.forward` is given for our batch; all but the last (B, T)."""
    ids, mask = batch.input_ids, batch.attention_mask
    asked = batch.targets != NO_TARGET
    labels = torch.full((ids.numel(),), NO_TARGET)
    labels[batch.positions[asked]] = batch.targets[asked]
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids) if mask is None else mask.long(),
        "token_type_ids": batch.token_type_ids,
        "labels": labels.view_as(ids),
        "next_sentence_label": batch.is_random,
    }


@torch.no_grad()
def _their_first_loss(model: Any, inputs: dict[str, Tensor]) -> float:
    model.eval()
    moved = {name: each.to(model.device) for name, each in inputs.items()}
    return float(model(**moved).loss)


def _training_arguments(
    course: Course, device: torch.device, scratch: str, *, compiled: bool
) -> Any:
    """Return the Trainer's settings: the recipe's, and its own defaults for all else."""
    import transformers

    recipe = course.recipe
    computed_in = computing_type(recipe.precision, device)
    return transformers.TrainingArguments(
        output_dir=scratch,
        max_steps=course.length,
        per_device_train_batch_size=recipe.phases[0].batch_size,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup_steps,
        weight_decay=recipe.weight_decay,
        adam_beta1=recipe.beta1,
        adam_beta2=recipe.beta2,
        adam_epsilon=recipe.epsilon,
        max_grad_norm=recipe.clip_norm,
        optim="adamw_torch_fused",
        bf16=computed_in == torch.bfloat16,
        fp16=computed_in == torch.float16,
        torch_compile=compiled,
        use_cpu=device.type == "cpu",
        seed=recipe.seed,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def endless(recipe: Recipe, length: int) -> Recipe:
    """Return the recipe with a budget of more than `length` steps and nothing in between."""
    return replace(
        recipe,
        steps=length + 1,
        tokens=None,
        hours=None,
        initialize_from=None,
        evaluate_every=NEVER,
        save_every=NEVER,
    )
