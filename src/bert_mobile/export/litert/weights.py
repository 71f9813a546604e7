"""Weights as LiteRT's kernels read them; products with them, and rows of them.

Dimensions: T rows of activations, R rows of a matrix, C columns, N = C/block blocks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bert_mobile.export.litert.flatbuffer import Subgraph, Tensor
from bert_mobile.quantize.pack import (
    FloatArray,
    HalfArray,
    PackedMatrix,
    pack_codes,
    unpack_codes,
    unpack_matrix,
    unpack_zeros,
)

_FOUR_BITS, _NIBBLE = 4, np.uint8(15)
_ALL, _NONE = np.uint8(255), np.uint8(0)
_BLOCKS = (32, 64, 128)  # that LiteRT's kernels know
_LARGEST_INT8 = np.float32(127)
_KERNEL = {"FULLY_CONNECTED": 12, "EMBEDDING_LOOKUP": 4}  # the first versions that read all this


@dataclass(frozen=True)
class Nibbles:
    """A matrix (R, C) in 4 bits."""

    codes: NDArray[np.uint8]
    """(R, C/2), in two's complement."""
    scales: HalfArray
    """(R, N)."""
    block: int
    shifts: HalfArray | None
    """(R, N): what is added to all weights of a block; None where nothing is."""


@dataclass(frozen=True)
class RowsOfBytes:
    """A matrix (R, C) in 8 bits, a scale for each row (R,)."""

    codes: NDArray[np.int8]
    scales: FloatArray


@dataclass(frozen=True)
class Halves:
    """A float32 weight that is stored in float16."""

    values: HalfArray


Stored = FloatArray | Halves | Nibbles | RowsOfBytes


def is_carried(matrix: PackedMatrix) -> bool:
    """Tell whether LiteRT holds a matrix as it is, not rounded again."""
    return matrix.layout.bits <= _FOUR_BITS and matrix.layout.block in _BLOCKS


def stored(weight: FloatArray | PackedMatrix) -> Stored:
    """Return a weight in a form that LiteRT reads, rounded again only where it must be."""
    if not isinstance(weight, PackedMatrix):
        return weight
    if not is_carried(weight):
        return rows_of_bytes(unpack_matrix(weight))
    bits, columns = weight.layout.bits, weight.shape[1]
    middle = np.uint8(1 << (bits - 1))
    codes = unpack_codes(weight.codes, bits, columns) - middle  # two's complement
    # Scales must be positive: s·c = |s|·(−c − 1) + |s|, and −c − 1 has the bits of c turned round.
    scales, is_negative = np.abs(weight.scales), weight.scales < 0
    codes ^= np.where(np.repeat(is_negative, weight.layout.block, axis=1), _ALL, _NONE)
    shifts = weight.scales.astype(np.float32) * (middle - unpack_zeros(weight).astype(np.float32))
    shifts += np.where(is_negative, scales, 0)
    return Nibbles(
        pack_codes(codes & _NIBBLE, _FOUR_BITS),
        scales,
        weight.layout.block,
        shifts.astype(np.float16) if shifts.any() else None,
    )


def rows_of_bytes(weight: FloatArray) -> RowsOfBytes:
    """Round each row of a matrix to 127 steps either side of zero."""
    scales = np.abs(weight).max(axis=1) / _LARGEST_INT8
    scales = np.where(scales > 0, scales, np.float32(1))
    return RowsOfBytes(np.rint(weight / scales[:, None]).astype(np.int8), scales)


def product(graph: Subgraph, x: Tensor, weight: Stored, name: str, bias: Tensor | None) -> Tensor:
    """Add x · Wᵀ + b: (T, C) to (T, R)."""
    rows = x.shape[0]
    result = _connected(graph, x, matrix(graph, weight, name), bias, _rows(weight))
    if not isinstance(weight, Nibbles) or weight.shifts is None:
        return result
    # s·(q − z) = s·(q − 8) + s·(8 − z): the second part meets the sum of each block only.
    blocks = weight.scales.shape[1]
    sums = reshape(graph, x, (rows, blocks, weight.block))
    axis = graph.constant("of blocks", np.array([2], np.int32))
    sums = graph.apply("SUM", [sums, axis], (rows, blocks), keepDims=False)
    shifts = _half(graph, f"{name}.shifts", weight.shifts)
    shifted = _connected(graph, sums, shifts, None, _rows(weight))
    return graph.apply("ADD", [result, shifted], (rows, _rows(weight)), fusedActivationFunction=0)


def lookup(graph: Subgraph, indices: Tensor, weight: Stored, name: str) -> Tensor:
    """Add the rows at `indices` (T,): (T, C)."""
    table = matrix(graph, weight, name)
    tokens, (_, columns) = indices.shape[0], table.shape
    rows = _looked_up(graph, indices, table)
    if not isinstance(weight, Nibbles) or weight.shifts is None:
        return rows
    blocks = columns // weight.block
    shifts = _looked_up(graph, indices, _half(graph, f"{name}.shifts", weight.shifts))
    spread = reshape(graph, shifts, (tokens, blocks, 1))
    rows = reshape(graph, rows, (tokens, blocks, weight.block))
    rows = graph.apply("ADD", [rows, spread], rows.shape, fusedActivationFunction=0)
    return reshape(graph, rows, (tokens, columns))


def matrix(graph: Subgraph, weight: Stored, name: str) -> Tensor:
    """Return the constant of a weight, without what its zero points shift it by."""
    if isinstance(weight, Nibbles):
        return graph.blocks_of_nibbles(name, weight.codes, weight.scales, weight.block)
    if isinstance(weight, RowsOfBytes):
        return graph.rows_of_bytes(name, weight.codes, weight.scales)
    if isinstance(weight, Halves):
        return _half(graph, name, weight.values)
    return graph.constant(name, weight)


def reshape(graph: Subgraph, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the same numbers in another shape, whose first dimension follows from the others."""
    numbers = np.array((-1, *shape[1:]), np.int32)
    where = graph.constant(f"shape {'x'.join(map(str, numbers))}", numbers)
    return graph.apply("RESHAPE", [x, where], shape, newShape=numbers)


def _connected(
    graph: Subgraph, x: Tensor, weight: Tensor, bias: Tensor | None, rows: int
) -> Tensor:
    return graph.apply(
        "FULLY_CONNECTED", [x, weight, bias], (x.shape[0], rows),
        version=_KERNEL["FULLY_CONNECTED"], keepNumDims=True,
    )  # fmt: skip


def _looked_up(graph: Subgraph, indices: Tensor, table: Tensor) -> Tensor:
    shape = (indices.shape[0], table.shape[1])
    return graph.apply(
        "EMBEDDING_LOOKUP", [indices, table], shape, kind=np.float32,
        version=_KERNEL["EMBEDDING_LOOKUP"],
    )  # fmt: skip


def _half(graph: Subgraph, name: str, values: HalfArray) -> Tensor:
    """Return a constant that is stored in float16, as float32."""
    halves = graph.constant(name, values)
    return graph.apply("DEQUANTIZE", [halves], values.shape, kind=np.float32, version=3)


def _rows(weight: Stored) -> int:
    if isinstance(weight, Nibbles | RowsOfBytes):
        return len(weight.codes)
    return len(weight.values if isinstance(weight, Halves) else weight)
