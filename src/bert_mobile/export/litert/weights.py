"""Weights as LiteRT's kernels read them; products with them, and rows of them.

Dimensions: T rows of activations, R rows of a matrix, C columns, N = C/block blocks.
"""

from dataclasses import dataclass

import numpy as np

from bert_mobile.export.litert.flatbuffer import Subgraph, Tensor
from bert_mobile.export.symmetric import Nibbles, RowsOfBytes, symmetric
from bert_mobile.quantize.pack import FloatArray, HalfArray, PackedMatrix, pack_codes

_FOUR_BITS, _NIBBLE = 4, np.uint8(15)
_KERNEL = {"FULLY_CONNECTED": 12, "EMBEDDING_LOOKUP": 4}  # the first versions that read all this


@dataclass(frozen=True)
class Halves:
    """A float32 weight that is stored in float16."""

    values: HalfArray


Stored = FloatArray | Halves | Nibbles | RowsOfBytes


def stored(weight: FloatArray | PackedMatrix) -> Stored:
    """Return a weight in a form that LiteRT reads."""
    return symmetric(weight) if isinstance(weight, PackedMatrix) else weight


def product(graph: Subgraph, x: Tensor, weight: Stored, name: str, bias: Tensor | None) -> Tensor:
    """Add x · Wᵀ + b: (T, C) to (T, R)."""
    rows = x.shape[0]
    result = _connected(graph, x, matrix(graph, weight, name), bias, row_count(weight))
    if not isinstance(weight, Nibbles) or weight.shifts is None:
        return result
    blocks = weight.scales.shape[1]
    sums = reshape(graph, x, (rows, blocks, weight.block))
    axis = graph.constant("of blocks", np.array([2], np.int32))
    sums = graph.apply("SUM", [sums, axis], (rows, blocks), keepDims=False)
    shifts = _half(graph, f"{name}.shifts", weight.shifts)
    shifted = _connected(graph, sums, shifts, None, row_count(weight))
    return graph.apply(
        "ADD", [result, shifted], (rows, row_count(weight)), fusedActivationFunction=0
    )


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
        packed = pack_codes(weight.codes.view(np.uint8) & _NIBBLE, _FOUR_BITS)
        return graph.blocks_of_nibbles(name, packed, weight.scales, weight.block)
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


def row_count(weight: Stored) -> int:
    """Return how many rows a matrix has."""
    if isinstance(weight, Nibbles | RowsOfBytes):
        return len(weight.codes)
    return len(weight.values if isinstance(weight, Halves) else weight)
