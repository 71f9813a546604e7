"""Weights as kernels without zero points read them: XNNPACK's, in LiteRT and in ExecuTorch.

Those know 4 bits in two's complement, in blocks of 32 or a multiple, with a positive scale each,
and 8 bits with one scale a row. What `quantize` decided is carried over to them so, with q a code,
z its zero point (8 where the layout is symmetric), s its scale, and x what is multiplied:

    2 and 4 bits    s · (q − z) · x = s · (q − 8) · x + s · (8 − z) · x

The first part is theirs; the second needs the sum of the block's activations only, and is added by
two small float products. A negative scale is turned round: s · c = |s| · (−c − 1) + |s|, where
−c − 1 fits into 4 bits whenever c does. Blocks of 8 bits, and those of 16 weights, are rounded a
second time, to 8 bits with one scale a row.

Dimensions: R rows, C columns, N = C/block blocks.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bert_mobile.quantize.pack import (
    FloatArray,
    HalfArray,
    Packed,
    PackedMatrix,
    parts_of,
    unpack_codes,
    unpack_matrix,
    unpack_zeros,
)

_FOUR_BITS = 4
_BLOCKS = (32, 64, 128)  # that those kernels know
_LARGEST = np.float32(127)


@dataclass(frozen=True)
class Nibbles:
    """A matrix (R, C) in 4 bits."""

    codes: NDArray[np.int8]
    """(R, C), from −8 to 7."""
    scales: HalfArray
    """(R, N), not negative."""
    block: int
    shifts: HalfArray | None
    """(R, N): what is added to all weights of a block; None where nothing is."""


@dataclass(frozen=True)
class RowsOfBytes:
    """A matrix (R, C) in 8 bits, a scale for each row (R,)."""

    codes: NDArray[np.int8]
    scales: FloatArray


def is_carried(matrix: PackedMatrix) -> bool:
    """Tell whether a matrix is held as it is, not rounded again."""
    return matrix.layout.bits <= _FOUR_BITS and matrix.layout.block in _BLOCKS


def symmetric(matrix: PackedMatrix) -> Nibbles | RowsOfBytes:
    """Return a packed matrix in such a form, rounded again only where it must be."""
    if not is_carried(matrix):
        return rows_of_bytes(unpack_matrix(matrix))
    bits, columns = matrix.layout.bits, matrix.shape[1]
    middle = 1 << (bits - 1)
    codes = unpack_codes(matrix.codes, bits, columns).astype(np.int8) - np.int8(middle)
    scales, is_negative = np.abs(matrix.scales), matrix.scales < 0
    turned = np.repeat(is_negative, matrix.layout.block, axis=1)
    shifts = matrix.scales.astype(np.float32) * (middle - unpack_zeros(matrix).astype(np.float32))
    shifts += np.where(is_negative, scales, 0)
    halves = shifts.astype(np.float16) if shifts.any() else None
    return Nibbles(np.where(turned, ~codes, codes), scales, matrix.layout.block, halves)


def rows_of_bytes(weight: FloatArray) -> RowsOfBytes:
    """Round each row of a matrix to 127 steps either side of zero."""
    scales = np.abs(weight).max(axis=1) / _LARGEST
    scales = np.where(scales > 0, scales, np.float32(1))
    return RowsOfBytes(np.rint(weight / scales[:, None]).astype(np.int8), scales)


def losses(packed: Mapping[str, Packed]) -> list[str]:
    """Say what of the decisions of `quantize` is not carried over as it was, if anything."""
    anew = {
        name: sum(part.shape[0] for part in parts_of(matrix) if not is_carried(part))
        for name, matrix in packed.items()
    }
    rows, matrices = sum(anew.values()), sum(1 for count in anew.values() if count)
    if not rows:
        return []
    return [
        f"re-rounded: {rows:,} rows of {matrices} matrices, to 8 bits with one scale a row: there "
        "are no blocks of 8 bits, and none of 16 weights"
    ]
