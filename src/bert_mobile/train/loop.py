"""The one training loop.

A purpose (`pretrain`, `finetune`) brings a network, batches and a judgement of held-out data; the
loop brings the learning rate, clipping, precision, several devices, records, checkpoints, an early
end where the purpose asks for one, and a quiet end when interrupted.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from bert_mobile.errors import RunError
from bert_mobile.progress import Progress, progress
from bert_mobile.train.devices import (
    World,
    autocast,
    hold_memory,
    lost_process_explained,
    scales_loss,
)
from bert_mobile.train.feed import Feed, MicroBatch
from bert_mobile.train.optimizers import averaged_weights, learning_rate
from bert_mobile.train.record import Metrics
from bert_mobile.train.schedule import Schedule, fraction_done, phase_at
from bert_mobile.train.sitting import Clock, Sitting, interruptible
from bert_mobile.train.state import Position

MOST_SKIPPED = 100
"""Steps in a row that float16 may lose to overflow: its scale halves with each, from 65,536."""

GRADIENT_NORM = "gradient_norm"
"""Name of the figure that every step has, whatever its purpose."""


class DivergedError(RunError):
    """The loss is no number any more: the recipe's doing, not the machine's."""


class Purpose(Protocol):
    """What the loop is run for."""

    @property
    def name(self) -> str:
        """What the progress bar calls it."""

    @property
    def figures(self) -> Sequence[str]:
        """Names of what the objective returns: the loss to be minimised, then its parts."""

    @property
    def shown(self) -> str:
        """The figure that is shown beside the progress bar."""

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        """All that is trained."""

    @property
    def objective(self) -> nn.Module:
        """Micro-batch → its figures, perhaps compiled, perhaps shared over processes.

        It is given all fields of a micro-batch but its counts, and what one of each thing counted
        weighs: the inverse of their number in the whole batch of all processes.
        """

    @property
    def judges_start(self) -> bool:
        """Whether the network is worth judging before its first step."""

    @property
    def is_settled(self) -> bool:
        """Whether the judgements so far say that more training gains nothing."""

    def feed(self, position: Position) -> Feed:
        """Return the batches from `position` to the end of its phase."""

    def evaluate(self, step: int) -> dict[str, float]:
        """Judge the network after `step` steps; the names are recorded as they are."""

    def save(self, position: Position, optimizers: Sequence[Optimizer]) -> None:
        """Write a checkpoint."""


def train(
    purpose: Purpose,
    schedule: Schedule,
    optimizers: Sequence[Optimizer],
    position: Position,
    out: Path,
    world: World,
    sitting: Sitting,
) -> dict[str, Any]:
    """Train from `position` to the end of the budget or the sitting; return the last metrics.

    Raises `RunError` where the loss is no number any more, another process is lost, and, after a
    checkpoint is written, where the run is interrupted (SIGINT or SIGTERM).
    """
    hold_memory()
    loop = Loop(purpose, schedule, optimizers, position, world, sitting)
    metrics = Metrics(out, position.step) if world.is_first else None
    with interruptible() as interrupted, _bar(loop) as bar:
        if purpose.judges_start and not position.step:
            loop.judge(metrics)
        while not loop.is_over:
            loop.enter_phase()
            with purpose.feed(position) as feed:
                phase = position.phase
                while not loop.is_over and loop.phase == phase:
                    before = loop.done
                    loop.step(feed, interrupted)
                    if world.device.type == "cpu":
                        loop.look()
                    _report(bar, loop, before)
                    loop.look_after(metrics)
                    if loop.interrupted:
                        _say_interrupted(loop, out)
    return loop.latest or {**_counters(position), **loop.judged()}  # resumed when all was done


class Loop:
    """The state of one sitting: what `train` drives, and `evaluate.benchmark` times.

    Losses stay on the device until they are wanted, so that a GPU never waits for the program: they
    are looked at before anything is written, on a processor at once.
    """

    def __init__(
        self,
        purpose: Purpose,
        schedule: Schedule,
        optimizers: Sequence[Optimizer],
        position: Position,
        world: World,
        sitting: Sitting,
    ) -> None:
        self.purpose, self.schedule, self.optimizers = purpose, schedule, optimizers
        self.position, self.world, self.sitting = position, world, sitting
        self.latest: dict[str, Any] = {}
        """The last judgement of held-out data."""
        self.last: dict[str, float] = {}
        """Figures of the last step that was looked at."""
        self.saved_step = position.step
        self.interrupted = False
        self._autocast = autocast(schedule.precision, world.device)
        self._scaler = torch.amp.GradScaler(
            world.device.type, enabled=scales_loss(schedule.precision, world.device)
        )
        if position.loss_scale:
            self._scaler.load_state_dict(position.loss_scale)
        self._clock = Clock(position.seconds)
        self._began = position.seconds
        self._pending: list[Tensor] = []
        self._skipped = 0
        self._waited = 0.0
        self._mark = (time.perf_counter(), position.tokens, 0.0)

    @property
    def done(self) -> float:
        """How much of the budget is spent, 0 to 1."""
        return fraction_done(self.schedule, self.position)

    @property
    def phase(self) -> int:
        """The phase of the next step."""
        return max(self.position.phase, phase_at(self.schedule, self.done))

    @property
    def is_over(self) -> bool:
        """Whether the budget or the sitting is spent, or the purpose has all it can get."""
        return self.is_complete or self._sitting_is_over

    @property
    def is_complete(self) -> bool:
        """Whether no other sitting is to follow."""
        return self.done >= 1 or self.purpose.is_settled

    @property
    def _sitting_is_over(self) -> bool:
        minutes = self.sitting.minutes
        return minutes is not None and self.position.seconds - self._began >= 60 * minutes

    def enter_phase(self) -> None:
        """Move on to the phase that this part of the budget belongs to."""
        if self.phase > self.position.phase:
            self.position.phase, self.position.phase_step = self.phase, 0

    def step(self, feed: Feed, interrupted: Callable[[], bool]) -> None:
        """Take one step and move `position` on."""
        schedule, position, world = self.schedule, self.position, self.world
        # Dropout is a function of the step, and of the process.
        torch.manual_seed((schedule.seed << 32) + (world.rank << 24) + position.step)
        rate = learning_rate(schedule, position.step, self.done, position.rewarmed_at)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        before = feed.waited
        batches = feed.next()
        waited = feed.waited - before
        seconds = self._clock.seconds if world.is_first else 0.0
        own = [*map(sum, zip(*(each.counts for each in batches), strict=True))]
        *counts, stops, seconds = world.total([*own, float(interrupted()), seconds])
        figures = self._backward(batches, counts)
        norm = self._update()
        self._pending.append(torch.cat([figures, norm.reshape(1)]))
        position.step += 1
        position.phase_step += 1
        position.tokens += int(counts[-1])
        position.seconds = seconds
        # Several processes stop after the same step: the one after the signal.
        self.interrupted = stops > 0 or (world.size == 1 and interrupted())
        self.last["learning_rate"] = rate
        self._waited += waited

    def look_after(self, metrics: Metrics | None) -> None:
        """Record, judge and save where it is time to."""
        schedule, step = self.schedule, self.position.step
        logs = self.is_over or step % schedule.log_every == 0
        judges = self.is_over or step % schedule.evaluate_every == 0
        saves = self.is_over or self.interrupted or step % schedule.save_every == 0
        if logs or judges or saves:
            self.look()
        if metrics and logs:
            metrics.add({**_counters(self.position), **self.last})
        if judges:
            self.judge(metrics)
        if saves:
            self.position.loss_scale = self._scaler.state_dict()
            if self.world.is_first:  # whose clock is not that of the others: theirs have agreed
                here = replace(self.position, seconds=self._clock.seconds)
                self.purpose.save(here, self.optimizers)
            self.saved_step = step
            self.world.total([0.0])  # nobody leaves while the first one writes
        if judges or saves:
            self._mark = (time.perf_counter(), self.position.tokens, self._waited)

    def judge(self, metrics: Metrics | None) -> None:
        """Judge held-out data, and record it."""
        self.latest = {**_counters(self.position), **self.judged()}
        if metrics:
            metrics.add(self.latest)

    def look(self) -> None:
        """Fetch the figures of all steps since the last look.

        Raises `DivergedError` naming the first step of which they are no numbers.
        """
        if not self._pending:
            return
        found = torch.stack(self._pending).tolist()
        self._pending.clear()
        width = len(
            self.purpose.figures
        )  # a process's losses are its part of the whole; the norm is shared
        sums = self.world.total([value for row in found for value in row[:width]])
        rows = [[*sums[i * width : (i + 1) * width], row[-1]] for i, row in enumerate(found)]
        for step, row in enumerate(rows, self.position.step - len(rows)):
            self._refuse_divergence(step, row)
        then, tokens, waited = self._mark
        now = time.perf_counter()
        names = (*self.purpose.figures, GRADIENT_NORM)
        self.last |= dict(zip(names, rows[-1], strict=True))
        self.last["tokens_per_second"] = (self.position.tokens - tokens) / (now - then)
        self.last["waiting_for_data"] = (self._waited - waited) / (now - then)
        self._mark = (now, self.position.tokens, self._waited)

    def _refuse_divergence(self, step: int, row: Sequence[float]) -> None:
        """Raise `DivergedError` where the figures of a step are no numbers.

        An infinite norm only makes the scaler of float16 losses skip the step, and scale less; but
        not for ever.
        """
        finite = [math.isfinite(value) for value in row]
        self._skipped = 0 if finite[-1] else self._skipped + 1
        if finite[0] and (
            finite[-1] or (self._scaler.is_enabled() and self._skipped < MOST_SKIPPED)
        ):
            return
        last = f"the last checkpoint is of step {self.saved_step}"
        raise DivergedError(
            f"the loss is {row[0]} and the gradient's norm {row[-1]} at step {step}; "
            f"{last if self.saved_step else 'no checkpoint was saved yet'}",
            hint="begin a new run with a lower learning_rate or precision fp32, from the last "
            "checkpoint if there is one",
        )

    def judged(self) -> dict[str, float]:
        """Return the figures of the held-out data, of the averaged weights where there are any."""
        with averaged_weights(self.optimizers):
            return self.purpose.evaluate(self.position.step)

    def _backward(self, batches: list[MicroBatch], counts: Sequence[float]) -> Tensor:
        """Add up the gradients of all micro-batches; return their figures, added up too."""
        objective = self.purpose.objective.train()
        shares = torch.tensor([1 / count if count else 1.0 for count in counts[:-1]])
        if self.world.device.type == "cuda":  # not to wait for the GPU, as a plain copy would
            shares = shares.pin_memory().to(self.world.device, non_blocking=True)
        figures = torch.zeros(len(self.purpose.figures), device=self.world.device)
        for index, batch in enumerate(batches):
            with self._communicating(is_last=index == len(batches) - 1):
                with self._autocast:
                    found = objective(*batch[:-1], shares)
                # Processes' gradients are averaged, where the shares want them added up.
                self._scaler.scale(found[0] * self.world.size).backward()
            figures += found.detach()
        return figures

    @contextmanager
    def _communicating(self, *, is_last: bool) -> Iterator[None]:
        """Exchange gradients with the other processes, if any, after the last micro-batch only."""
        objective = self.purpose.objective
        if not isinstance(objective, DistributedDataParallel):
            yield
            return
        with nullcontext() if is_last else objective.no_sync(), lost_process_explained():
            yield

    def _update(self) -> Tensor:
        """Clip and apply the gradients; return their norm before clipping."""
        for optimizer in self.optimizers:
            self._scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(self.purpose.parameters, self.schedule.clip_norm)
        # The scaler judges each optimizer's gradients alone, where the clipping has joined them.
        scaled = self._scaler.is_enabled()
        whole = not scaled or len(self.optimizers) == 1 or bool(norm.isfinite())
        for optimizer in self.optimizers:
            if whole:
                self._scaler.step(optimizer)
            optimizer.zero_grad()
        self._scaler.update()
        return norm.detach()


def _counters(position: Position) -> dict[str, Any]:
    counters = ("step", "phase", "phase_step", "tokens", "seconds")
    return {name: getattr(position, name) for name in counters}


def _say_interrupted(loop: Loop, out: Path) -> None:
    if not loop.is_complete:
        raise RunError(
            f"interrupted after step {loop.position.step}; a checkpoint of step "
            f"{loop.saved_step} is in {out}",
            hint="go on with the same command and --resume auto",
        )


def _bar(loop: Loop) -> AbstractContextManager[Progress]:
    """Return a bar in tokens where the budget is in tokens, else in steps or seconds."""
    schedule, position, name = loop.schedule, loop.position, loop.purpose.name
    if not loop.world.is_first:
        return nullcontext(Progress())
    if schedule.tokens is not None:
        return progress(name, schedule.tokens, "tokens", position.tokens)
    if schedule.steps is not None:
        return progress(name, schedule.steps, "steps", position.step)
    return progress(name, (schedule.hours or 0) * 3600, "s", position.seconds)


def _report(bar: Progress, loop: Loop, before: float) -> None:
    schedule, position = loop.schedule, loop.position
    total = schedule.steps or schedule.tokens or (schedule.hours or 0) * 3600
    rate = position.tokens / max(position.seconds, 1e-9)
    loss = loop.last.get(loop.purpose.shown)
    said = "" if loss is None else f"loss {loss:.3f}, "
    bar.advance((loop.done - before) * total, f"{said}{rate:,.0f} tokens/s")
