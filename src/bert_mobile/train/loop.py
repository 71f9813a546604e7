"""The one training loop.

A purpose (`pretrain`, and those to come) brings a network, batches and a judgement of held-out
data; the loop brings the learning rate, clipping, precision, records, checkpoints, the picture, and
a quiet end when interrupted.
"""

import ctypes
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bert_mobile.errors import RunError
from bert_mobile.progress import Progress, progress
from bert_mobile.train.recipe import Recipe
from bert_mobile.train.record import Metrics
from bert_mobile.train.state import Position

# M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD of mallopt(3)
_GLIBC_PARAMETERS = ((-4, 0), (-1, 2**31 - 1), (-2, 2**26))


@dataclass(frozen=True)
class Loss:
    """What one step's batch cost."""

    total: Tensor
    """Scalar to be minimised."""
    parts: dict[str, Tensor]
    """Scalars worth recording, by name."""
    tokens: int
    """Real tokens in the batch."""


class Purpose(Protocol):
    """What the loop is run for."""

    @property
    def model(self) -> nn.Module:
        """The network to be trained."""

    def loss(self, position: Position) -> Loss:
        """Run the batch that `position` asks for through the network."""

    def evaluate(self) -> dict[str, float]:
        """Judge the network on held-out data; the names are recorded as they are."""

    def save(self, position: Position, optimizer: torch.optim.Optimizer) -> None:
        """Write a checkpoint."""


def train(
    purpose: Purpose,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    position: Position,
    out: Path,
) -> dict[str, Any]:
    """Train from `position` to the end of the recipe's budget and return the last metrics.

    Raises `RunError` where the loss is no number any more, and, after a checkpoint is written,
    where the run is interrupted (SIGINT or SIGTERM).
    """
    _hold_memory()
    metrics, clock = Metrics(out, position.step), _Clock(position.seconds)
    autocast = _autocast(recipe.precision, next(purpose.model.parameters()).device)
    latest: dict[str, Any] = {}
    saved_step = position.step
    with _interruptible() as interrupted, _bar(recipe, position) as bar:
        while (done := fraction_done(recipe, position)) < 1:
            _enter_phase(recipe, position, done)
            losses = _step(purpose, recipe, optimizer, position, done, autocast)
            position.seconds = clock.seconds
            line = {**vars(position), **losses}
            ends = fraction_done(recipe, position) >= 1
            if ends or position.step % recipe.log_every == 0:
                metrics.add(line)
            if ends or position.step % recipe.evaluate_every == 0:
                latest = {**vars(position), **purpose.evaluate()}
                metrics.add(latest)
            if ends or interrupted() or position.step % recipe.save_every == 0:
                position.seconds = clock.seconds
                purpose.save(position, optimizer)
                saved_step = position.step
            _report(bar, recipe, done, position, losses["masked_token_loss"])
            if interrupted() and not ends:
                raise RunError(
                    f"interrupted after step {position.step}; a checkpoint of step "
                    f"{saved_step} is in {out}",
                    hint="go on with the same command and --resume auto",
                )
    return latest or {**vars(position), **purpose.evaluate()}  # resumed when all was done


def fraction_done(recipe: Recipe, position: Position) -> float:
    """Return how much of the budget is spent, 0 to 1 and beyond."""
    if recipe.steps is not None:
        return position.step / recipe.steps
    if recipe.tokens is not None:
        return position.tokens / recipe.tokens
    assert recipe.hours is not None  # noqa: S101 - Recipe has checked that one of three is given
    return position.seconds / 3600 / recipe.hours


def learning_rate(recipe: Recipe, step: int, done: float) -> float:
    """Return the rate of a step: linear warm-up, then linear decay over the budget."""
    warm = (step + 1) / recipe.warmup_steps if recipe.warmup_steps else 1.0
    return recipe.learning_rate * min(1.0, warm) * max(0.0, 1.0 - done)


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return AdamW over `model`; vectors (biases, LayerNorms) do not decay.

    BERT's Adam leaves the bias correction out; PyTorch's has it, which matters in the first steps
    of the warm-up only.
    """
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    betas = (recipe.beta1, recipe.beta2)
    return torch.optim.AdamW(
        groups, lr=recipe.learning_rate, betas=betas, eps=recipe.epsilon, fused=True
    )


def _step(
    purpose: Purpose,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    position: Position,
    done: float,
    autocast: AbstractContextManager[Any],
) -> dict[str, float]:
    """Take one step, move `position` on and return the figures of its batch."""
    began = time.perf_counter()
    torch.manual_seed((recipe.seed << 32) + position.step)  # dropout: a function of the step
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(recipe, position.step, done)
    purpose.model.train()
    with autocast:
        loss = purpose.loss(position)
    optimizer.zero_grad()
    loss.total.backward()
    total = float(loss.total.detach())
    norm = nn.utils.clip_grad_norm_(purpose.model.parameters(), recipe.clip_norm)
    if not torch.isfinite(norm):
        raise RunError(
            f"the loss is {total} and the gradient's norm {float(norm)} at step {position.step}",
            hint="begin a new run with initialize_from = the last checkpoint, and a lower "
            "learning_rate or precision fp32",
        )
    optimizer.step()
    position.step += 1
    position.phase_step += 1
    position.tokens += loss.tokens
    return {
        "loss": total,
        **{name: float(part) for name, part in loss.parts.items()},
        "learning_rate": optimizer.param_groups[0]["lr"],
        "gradient_norm": float(norm),
        "tokens_per_second": loss.tokens / (time.perf_counter() - began),
    }


def _enter_phase(recipe: Recipe, position: Position, done: float) -> None:
    """Move `position` to the phase that this part of the budget belongs to."""
    ends = 0.0
    for index, phase in enumerate(recipe.phases):
        ends += phase.share
        if done < ends - 1e-9 or index == len(recipe.phases) - 1:
            if index > position.phase:
                position.phase, position.phase_step = index, 0
            return


def _autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context that the forward pass runs in."""
    bf16 = precision == "bf16" or (precision == "auto" and _multiplies_bf16(device))
    return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()


def _multiplies_bf16(device: torch.device) -> bool:
    """Tell whether bf16 products are native; emulated ones are many times slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _hold_memory() -> None:
    """Tell glibc never to hand freed memory back to the system.

    A step frees and asks for the same hundreds of megabytes again, and page faults on fresh memory
    took a quarter of its time on a processor where we measured it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in _GLIBC_PARAMETERS:
            mallopt(parameter, value)


class _Clock:
    """Counts the seconds of this sitting on top of those before."""

    def __init__(self, before: float) -> None:
        self._zero = time.monotonic() - before

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._zero


@contextmanager
def _interruptible() -> Iterator[Any]:
    """Yield a function that tells whether SIGINT or SIGTERM came; a second one stops at once."""
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    try:
        before = {each: signal.signal(each, note) for each in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: the caller handles signals
        before = {}
    try:
        yield lambda: bool(came)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _bar(recipe: Recipe, position: Position) -> AbstractContextManager[Progress]:
    """Return a bar in tokens where the budget is in tokens, else in steps or seconds."""
    if recipe.tokens is not None:
        return progress("pretrain", recipe.tokens, "tokens", position.tokens)
    if recipe.steps is not None:
        return progress("pretrain", recipe.steps, "steps", position.step)
    return progress("pretrain", (recipe.hours or 0) * 3600, "s", position.seconds)


def _report(bar: Progress, recipe: Recipe, done: float, position: Position, loss: float) -> None:
    total = recipe.steps or recipe.tokens or (recipe.hours or 0) * 3600
    rate = position.tokens / max(position.seconds, 1e-9)
    bar.advance(
        (fraction_done(recipe, position) - done) * total, f"loss {loss:.3f}, {rate:,.0f} tokens/s"
    )
