"""AdamW, Muon, the learning rate over a run, and the moving average of the weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from bert_mobile.train.schedule import Optimization, Schedule

AVERAGE = "average"
"""Name of a weight's moving average among the optimizer's state of it."""

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration of K. Jordan's Muon (2024), chosen for speed: singular
values end between about 0.7 and 1.2."""
NEWTON_SCHULZ_STEPS = 5
MUON_MOMENTUM = 0.95
MUON_SCALE = 0.2
"""Root mean square of an update, that of AdamW's in practice (Liu et al. 2025, arXiv:2502.16982):
one learning rate then serves both."""


def learning_rate(schedule: Schedule, step: int, done: float, rewarmed_at: int = 0) -> float:
    """Return the rate of a step: linear warm-up, plateau, linear decay to the end of the budget.

    `rewarmed_at` is the step from which the run went on with weights alone, 0 if it did not.
    """
    warm = _ramp(step + 1, schedule.warmup_steps)
    if rewarmed_at:
        warm = min(warm, _ramp(step - rewarmed_at + 1, schedule.rewarm_steps))
    left = max(0.0, 1.0 - done) / schedule.decay_share
    return schedule.learning_rate * warm * min(1.0, left)


def _ramp(step: int, length: int) -> float:
    return min(1.0, step / length) if length else 1.0


def make_optimizers(model: nn.Module, settings: Optimization) -> list[Optimizer]:
    """Return AdamW over `model`, or Muon over the layers' matrices and AdamW over the rest.

    Vectors (biases, LayerNorms) do not decay. BERT's Adam leaves the bias correction out; PyTorch's
    has it, which matters in the first steps of the warm-up only.
    """
    muon = settings.optimizer == "muon"
    named = list(model.named_parameters())
    hidden = [p for name, p in named if muon and "layers." in name and p.dim() == 2]
    taken = set(map(id, hidden))
    others = [p for _, p in named if id(p) not in taken]
    groups = [
        {"params": [p for p in others if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in others if p.dim() <= 1], "weight_decay": 0.0},
    ]
    betas = (settings.beta1, settings.beta2)
    optimizers: list[Optimizer] = [
        AdamW(groups, lr=settings.learning_rate, betas=betas, eps=settings.epsilon, fused=True)
    ]
    if hidden:
        optimizers.append(Muon(hidden, settings.learning_rate, settings.weight_decay))
    if settings.average_decay:
        for optimizer in optimizers:
            optimizer.register_step_post_hook(_averaging(settings.average_decay))
    return optimizers


class Muon(Optimizer):
    """Momentum whose singular values are all made about 1 (K. Jordan 2024, Nesterov's variant).

    Matrices of one shape are orthogonalised as one batch: a tenth of the kernel launches of
    `torch.optim.Muon`, which also computes in bfloat16 where that is emulated and slow.
    """

    def __init__(self, params: Sequence[Tensor], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Update every matrix (rows, columns) that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for alike in by_shape.values():
                self._update(alike, group["lr"], group["weight_decay"])

    def _update(self, alike: list[Tensor], rate: float, weight_decay: float) -> None:
        gradients = [p.grad for p in alike if p.grad is not None]
        for parameter in alike:
            if "momentum" not in self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        momenta = [self.state[parameter]["momentum"] for parameter in alike]
        torch._foreach_lerp_(momenta, gradients, 1 - MUON_MOMENTUM)
        ahead = torch._foreach_lerp(gradients, momenta, MUON_MOMENTUM)
        updates = orthogonalized(torch.stack(list(ahead)))  # (n, rows, columns)
        scale = MUON_SCALE * max(alike[0].shape) ** 0.5
        torch._foreach_mul_(alike, 1 - rate * weight_decay)
        torch._foreach_add_(alike, list(updates), alpha=-rate * scale)


def orthogonalized(matrices: Tensor) -> Tensor:
    """Bring the singular values of (n, rows, columns) near 1 by Newton-Schulz iteration."""
    a, b, c = NEWTON_SCHULZ
    half = matrices.is_cuda and torch.cuda.is_bf16_supported(including_emulation=False)
    x = matrices.bfloat16() if half else matrices
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


@contextmanager
def averaged_weights(optimizers: Sequence[Optimizer]) -> Iterator[None]:
    """Let the model have its averaged weights, where there are any, inside the block."""
    pairs = [
        (parameter, state[AVERAGE])
        for optimizer in optimizers
        for parameter, state in optimizer.state.items()
        if AVERAGE in state
    ]
    before = [parameter.detach().clone() for parameter, _ in pairs]
    with torch.no_grad():
        for parameter, average in pairs:
            parameter.copy_(average)
        try:
            yield
        finally:
            for (parameter, _), weights in zip(pairs, before, strict=True):
                parameter.copy_(weights)


def _averaging(decay: float) -> Any:
    """Return what an optimizer does after each step; the average begins as the first weights."""

    @torch.no_grad()
    def average(optimizer: Optimizer, *_: Any) -> None:
        weights = [p for group in optimizer.param_groups for p in group["params"]]
        moved = [p for p in weights if p in optimizer.state]
        for parameter in moved:
            optimizer.state[parameter].setdefault(AVERAGE, parameter.detach().clone())
        averages = [optimizer.state[parameter][AVERAGE] for parameter in moved]
        torch._foreach_lerp_(averages, moved, 1 - decay)

    return average
