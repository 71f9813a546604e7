"""Quantization-aware training: the network answers with its weights as they will be stored.

The layout is that of a quantized folder: bits, blocks, scales and zero points of every matrix stay
as they were found there. What is trained is a float weight behind each code; going forward it is
rounded to the nearest value that its block can hold, going backward the rounding is passed over
(the straight-through estimator, Bengio et al. 2013, arXiv:1308.3432), except where the value lies
beyond the end of the range.

The float weights begin where the folder's rounding has put them, moved towards their parents' by at
most a quarter of a step: the first step has the quantized folder's answers, and a weight that was
rounded far has less far to go. Moved on to the edge between two codes, so many change with the
first small steps that what was rounded together is undone: of a model of 18 MB the divergence from
its parent, 0.017 nats, grew to 0.08 in 90 steps.

Dimensions: R rows, C columns, N = C/block blocks.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from bert_mobile.model.heads import BertForPretraining, BertForTask
from bert_mobile.model.names import from_huggingface, to_huggingface
from bert_mobile.quantize.pack import (
    FloatArray,
    Packed,
    PackedMatrix,
    PackedRows,
    parts_of,
    unpack_matrix,
    unpack_zeros,
)
from bert_mobile.quantize.repack import inverse

_INSIDE = 0.25
"""Part of a step by which a weight may begin off its code."""

_CHUNK = 1 << 18
"""Weights that a processor rounds at a time, all steps of it in its cache."""


class _Nearest(torch.autograd.Function):
    """Blocks (R, N, block) → the nearest of scale · whole number, from low to high."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        """Round; inputs are the blocks, then scales, inverses, low and high, all (R, N, 1)."""
        blocks = inputs[0]
        rounded, inside = torch.empty_like(blocks), torch.empty_like(blocks, dtype=torch.bool)
        height = len(blocks) if blocks.is_cuda else max(1, _CHUNK // blocks[0].numel())
        for first in range(0, len(blocks), height):
            rows = slice(first, first + height)
            some, scales, inverses, low, high = (each[rows] for each in inputs)
            steps = torch.mul(some, inverses, out=rounded[rows]).round_()
            clipped = torch.clamp(steps, low, high)
            torch.eq(steps, clipped, out=inside[rows])
            torch.mul(clipped, scales, out=rounded[rows])
        ctx.save_for_backward(inside)
        return rounded

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        """Pass the gradient on where the value was not clipped."""
        [inside] = ctx.saved_tensors
        return gradients[0] * inside, None, None, None, None


class _Grid(nn.Module):
    """The values that one matrix can hold."""

    scales: Tensor
    inverses: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, packed: PackedMatrix) -> None:
        super().__init__()
        scales = packed.scales.astype(np.float32)
        zeros = unpack_zeros(packed).astype(np.float32)
        found = {
            "scales": scales,
            "inverses": inverse(packed.scales),
            "low": -zeros,
            "high": packed.layout.top - zeros,
        }
        for name, array in found.items():  # R N 1
            self.register_buffer(name, torch.from_numpy(array[..., None]), persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """Round (R, C)."""
        blocks = weight.view(*self.scales.shape[:2], -1)
        apply: Any = _Nearest.apply  # which torch leaves untyped
        return apply(blocks, self.scales, self.inverses, self.low, self.high).view_as(weight)


class _Grids(nn.Module):
    """The same of a matrix that is cut between its rows."""

    def __init__(self, packed: Packed) -> None:
        super().__init__()
        parts = parts_of(packed)
        self._rows = [part.shape[0] for part in parts]
        self._parts = nn.ModuleList(_Grid(part) for part in parts)

    def forward(self, weight: Tensor) -> Tensor:
        """Round (R, C)."""
        if len(self._rows) == 1:
            return self._parts[0](weight)
        parts = weight.split(self._rows)
        return torch.cat([grid(rows) for grid, rows in zip(self._parts, parts, strict=True)])


class RoundedNetwork(nn.Module):
    """A network that answers with its matrices rounded to the grids of a quantized folder."""

    def __init__(
        self, network: BertForTask | BertForPretraining, packed: Mapping[str, FloatArray | Packed]
    ) -> None:
        """Wrap `network`; `packed` are the folder's tensors by Hugging Face name."""
        super().__init__()
        self.network, self.config = network, network.config
        grids = {
            k: _Grids(v) for k, v in packed.items() if isinstance(v, PackedMatrix | PackedRows)
        }
        shape = self.config.num_hidden_layers, self.config.architecture
        named = from_huggingface(grids, *shape)
        self._names = list(named)
        self._grids = nn.ModuleList(named.values())

    def rounded(self) -> dict[str, Tensor]:
        """Return the rounded matrices, by the network's own names."""
        return {
            name: grid(self.network.get_parameter(name))
            for name, grid in zip(self._names, self._grids, strict=True)
        }

    def forward(self, *batch: Tensor | None) -> Any:
        """Answer a batch as the network does."""
        return functional_call(self.network, self.rounded(), batch)

    @torch.no_grad()
    def to_huggingface(self) -> dict[str, NDArray[np.float32]]:
        """Return copies of the weights as they are stored, float32 by Hugging Face name."""
        shape = self.config.num_hidden_layers, self.config.architecture
        names = to_huggingface(self.rounded(), *shape)
        rounded = {name: tensor.float().cpu().numpy() for name, tensor in names.items()}
        return {**self.network.to_huggingface(), **rounded}


def starting_weights(
    packed: Mapping[str, FloatArray | Packed], parent: Mapping[str, FloatArray]
) -> dict[str, FloatArray]:
    """Return the float weights to begin with, by Hugging Face name: see the module."""
    found = {}
    for name, weight in packed.items():
        if not isinstance(weight, PackedMatrix | PackedRows):
            found[name] = np.array(weight)  # theirs is read-only
            continue
        steps = [
            np.repeat(np.abs(part.scales), part.layout.block, axis=1) for part in parts_of(weight)
        ]
        room = _INSIDE * np.concatenate(steps).astype(np.float32)
        rounded = unpack_matrix(weight)
        found[name] = rounded + np.clip(parent[name] - rounded, -room, room)
    return found
