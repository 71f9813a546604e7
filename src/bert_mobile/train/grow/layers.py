"""The layers: heads seated in wider heads, widths padded, what that loses won back by regression.

Dimensions are named in `model.encoder`; `there` is a hidden state of the source, `here` the same of
the target, of which the source's columns come first.
"""

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

from bert_mobile.errors import RunError
from bert_mobile.model.encoder import Attention, Encoder, Layer
from bert_mobile.model.heads import INITIALIZER_RANGE
from bert_mobile.progress import Progress, progress

RIDGE = 5e-2
"""Weight of the penalty on a correction, relative to the features' mean square."""
TINY = 1e-12
"""Least variance of a column that a gain is fitted to: a column may be constant."""


class LayersGrown(NamedTuple):
    """What the layers became."""

    errors: list[float]
    """Relative error of the source's hidden states, before the layers and after each."""
    there: Tensor
    """The source's last hidden states (B, T, H source)."""
    here: Tensor
    """The target's (B, T, H target)."""


def grow_layers(old: Encoder, new: Encoder, there: Tensor, here: Tensor) -> LayersGrown:
    """Fill the target's layers one by one, each fitted on what the ones below really give it.

    `there` (B, T, H source) and `here` (B, T, H target) are what the embeddings give.
    """
    errors = [_error(there, here)]
    additional = len(new.layers) - len(old.layers)
    surveyed = len(old.layers) if additional else 0
    with progress("growing", surveyed + len(new.layers), "layers") as bar:
        copies = _copies(_layers(old), additional, there, bar)
        targets = iter(_layers(new))
        for source, count in zip(_layers(old), copies, strict=True):
            target = next(targets)
            there, here = _grow_layer(source, target, there, here)
            errors.append(_error(there, here))
            bar.advance(note=f"error {errors[-1]}")
            for _ in range(count):
                here = _identity_layer(target, next(targets), here)
                errors.append(_error(there, here))
                bar.advance(note=f"error {errors[-1]}")
    return LayersGrown(errors, there, here)


def correct(matrix: torch.nn.Linear, features: Tensor, wanted: Tensor) -> None:
    """Change `matrix` by ridge regression so that `matrix(features)` nears `wanted`.

    `features` (B, T, F), `wanted` (B, T, H source); the rows of the source's columns only are
    corrected. Raises `RunError` where a number overflows.
    """
    width = wanted.shape[-1]
    residual = (wanted - matrix(features)[..., :width]).flatten(0, 1)
    if not torch.isfinite(residual).all():
        raise RunError(
            "the source's hidden states overflow float32, expected finite numbers",
            hint="its weights are unusually large; take another checkpoint",
        )
    ones = torch.ones(*features.shape[:2], 1)
    inputs = torch.cat([features, ones], dim=-1).flatten(0, 1)  # (B·T, F+1)
    gram = (inputs.T @ inputs).double()
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    change = torch.linalg.solve(gram, (inputs.T @ residual).double()).float()  # (F+1, H source)
    matrix.weight[:width] += change[:-1].T
    matrix.bias[:width] += change[-1]


def fit_norm(norm: torch.nn.LayerNorm, inputs: Tensor, wanted: Tensor) -> None:
    """Fit gains and biases by least squares so that `norm(inputs)` nears `wanted`.

    `inputs` (B, T, H target), `wanted` (B, T, H source or target): columns beyond it are left.
    """
    width = wanted.shape[-1]
    normal = functional.layer_norm(inputs, inputs.shape[-1:], eps=norm.eps)
    normal = normal.flatten(0, 1)[:, :width]
    goal = wanted.flatten(0, 1)
    centred = normal - normal.mean(0)
    gain = (centred * goal).mean(0) / centred.square().mean(0).clamp_min(TINY)
    norm.weight[:width] = gain
    norm.bias[:width] = goal.mean(0) - gain * normal.mean(0)


def _layers(encoder: Encoder) -> list[Layer]:
    return cast("list[Layer]", list(encoder.layers))


def _copies(layers: list[Layer], additional: int, hidden: Tensor, bar: Progress) -> list[int]:
    """Return how many of the additional layers follow each of the source's.

    A post-LayerNorm layer that adds nothing still normalises every token, so the additional ones go
    where the tokens' deviations differ least. `hidden` (B, T, H) is what the embeddings give.
    """
    if not additional:
        return [0] * len(layers)
    spread = []
    for layer in layers:
        hidden = layer(hidden, None)
        deviation = hidden.std(-1)
        spread.append(float(deviation.std() / deviation.mean()))
        bar.advance()
    places = sorted(range(len(spread)), key=lambda index: spread[index])
    return [
        sum(places[number % len(places)] == index for number in range(additional))
        for index in range(len(places))
    ]


def _grow_layer(source: Layer, target: Layer, there: Tensor, here: Tensor) -> tuple[Tensor, Tensor]:
    """Fill one layer; returns the hidden states after it, the source's and the target's."""
    width = there.shape[-1]
    _grow_attention(source.attention, target.attention, there, here)
    grow_norm(source.attention_norm, target.attention_norm)
    wanted = there + source.attention(there, None)
    mixed = target.attention.mixed(here, None)
    correct(target.attention.output, mixed, wanted - here[..., :width])
    there = source.attention_norm(wanted)
    here = target.attention_norm(here + target.attention(here, None))
    widen(source.feed_forward.inner, target.feed_forward.inner)
    widen(source.feed_forward.outer, target.feed_forward.outer)
    grow_norm(source.feed_forward_norm, target.feed_forward_norm)
    wanted = there + source.feed_forward(there)
    inner = functional.gelu(target.feed_forward.inner(here))
    correct(target.feed_forward.outer, inner, wanted - here[..., :width])
    there = source.feed_forward_norm(wanted)
    return there, target.feed_forward_norm(here + target.feed_forward(here))


def _grow_attention(source: Attention, target: Attention, there: Tensor, here: Tensor) -> None:
    """Place the source's heads into the target's wider, perhaps fewer, heads."""
    patterns, strength = _head_statistics(source, there)
    wide, narrow = here.shape[-1] // target.heads, there.shape[-1] // source.heads
    for part in (target.query, target.key, target.value, target.output):
        part.weight.normal_(std=INITIALIZER_RANGE)
        part.bias.zero_()
    target.key.weight.zero_()  # new halves of keys are zero: scores do not change yet
    target.output.weight.zero_()
    for slot, heads in enumerate(_seating(patterns, strength, target.heads, wide // narrow)):
        for seat, head in enumerate(heads):
            there_rows = slice(head * narrow, (head + 1) * narrow)
            begin = slot * wide + seat * narrow
            here_rows = slice(begin, begin + narrow)
            _place(source.value, target.value, there_rows, here_rows)
            columns = target.output.weight[: there.shape[-1]]
            columns[:, here_rows] = source.output.weight[:, there_rows]
            if seat == 0:
                _place(source.query, target.query, there_rows, here_rows, (wide / narrow) ** 0.5)
                _place(source.key, target.key, there_rows, here_rows)
    target.output.bias[: there.shape[-1]] = source.output.bias


def _head_statistics(attention: Attention, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Return how alike the heads attend (N, N), and how much each moves the output (N,)."""
    width = hidden.shape[-1] // attention.heads

    def split(projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (attention.heads, width)).transpose(1, 2)  # (B, N, T, D)

    sample = hidden[: math.ceil(len(hidden) / 4)]
    query, key = split(attention.query(sample)), split(attention.key(sample))
    looks = (query @ key.transpose(-1, -2) / width**0.5).softmax(-1)  # (B, N, T, T)
    roots = looks.sqrt().transpose(0, 1).flatten(1)  # (N, B·T·T)
    mixed = looks @ split(attention.value(sample))  # (B, N, T, D)
    columns = attention.output.weight.unflatten(1, (attention.heads, width))  # (H, N, D)
    moved = torch.einsum("bntd,hnd->bnth", mixed, columns)
    return roots @ roots.T, moved.square().sum((0, 2, 3))


def _seating(similar: Tensor, strength: Tensor, slots: int, seats: int) -> list[list[int]]:
    """Return the source heads in each target head: the first attends, all give values."""
    order = strength.argsort(descending=True).tolist()
    seating = [[head] for head in order[:slots]]
    for head in order[slots:]:
        free = [heads for heads in seating if len(heads) < seats]
        if not free:
            break
        max(free, key=lambda heads: float(similar[head, heads[0]])).append(head)
    return seating


def _identity_layer(below: Layer, target: Layer, hidden: Tensor) -> Tensor:
    """Make `target` a copy of `below` that hands `hidden` on unchanged; returns its output."""
    target.load_state_dict(below.state_dict())
    for matrix in (target.attention.output, target.feed_forward.outer):
        matrix.weight.zero_()
        matrix.bias.zero_()
    for norm in (target.attention_norm, target.feed_forward_norm):
        fit_norm(norm, hidden, hidden)
        hidden = norm(hidden)
    return hidden


def grow_norm(source: torch.nn.LayerNorm, target: torch.nn.LayerNorm) -> None:
    """Copy a LayerNorm, its gain shrunk to what the wider input's smaller deviation asks for."""
    width = len(source.weight)
    narrower = (width / len(target.weight)) ** 0.5
    # A gain of 1 would let the new columns grow from layer to layer until they drown the others.
    target.weight.fill_(float(source.weight.mean()) * narrower)
    target.bias.zero_()
    target.weight[:width] = source.weight * narrower
    target.bias[:width] = source.bias


def widen(source: torch.nn.Linear, target: torch.nn.Linear) -> None:
    """Copy a matrix into the corner of a larger one: new inputs read with noise, none written."""
    rows, columns = source.weight.shape
    target.weight.normal_(std=INITIALIZER_RANGE)
    target.weight[:rows, :columns] = source.weight
    if target.out_features > rows and target.in_features >= target.out_features:
        target.weight[rows:] = 0  # writes to the residual stream
    target.bias.zero_()
    target.bias[:rows] = source.bias


def _place(
    source: torch.nn.Linear, target: torch.nn.Linear, old: slice, new: slice, scale: float = 1.0
) -> None:
    """Copy rows of a projection, the source's input columns only."""
    width = source.in_features
    noise = torch.randn(new.stop - new.start, target.in_features - width) * INITIALIZER_RANGE
    target.weight[new, :width] = source.weight[old] * scale
    target.weight[new, width:] = noise
    target.bias[new] = source.bias[old] * scale


def _error(there: Tensor, here: Tensor) -> float:
    """Relative error of the source's part of the hidden states."""
    difference = here[..., : there.shape[-1]] - there
    return round(float(difference.norm() / there.norm()), 4)
