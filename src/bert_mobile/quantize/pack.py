"""Block-wise 4- and 8-bit storage of a matrix, byte for byte as ONNX Runtime reads it.

A row is cut into blocks of `block` neighbouring columns. Each block keeps one float16 scale `s`,
and at 4 bits also one zero point `z`; a weight is stored as the whole number `q` with

    weight ≈ s · (q − z),   0 ≤ q < 2**bits

Codes lie along the row; at 4 bits two share a byte, the earlier one in the low half. Zero points
are packed likewise, each row padded to a whole byte. This is the layout that the operators
`MatMulNBits` and `GatherBlockQuantized` share, so a tied embedding can be stored once for both.

Why zero points at 4 bits only: at block 32 they cost 3 % more bytes and took 5 % (normal weights)
to 13 % (Student's t, 5 degrees of freedom) off the error; at 8 bits the error is more than ten
times smaller anyway, and the implied zero point of 128 does.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bert_mobile.errors import ArtifactError

FloatArray = NDArray[np.float32]
HalfArray = NDArray[np.float16]
ByteArray = NDArray[np.uint8]

# Shrunken ranges that are tried for each block: clipping its few largest weights a little often
# pays in finer steps for all the others. Finer grids gained less than 0.5 % of the error.
_RANGES = {4: np.linspace(0.6, 1.05, 10, dtype=np.float32), 8: np.ones(1, dtype=np.float32)}
_CHUNK = 1 << 19  # weights rounded at a time: bounds the scratch memory to some 20 MB
_HALF_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Layout:
    """How the weights of one matrix are stored."""

    bits: int
    """4 or 8 bits a weight."""
    block: int
    """Neighbouring columns that share a scale: 16, 32, 64 or 128."""

    def __post_init__(self) -> None:
        """Refuse what ONNX Runtime's operators do not read."""
        if self.bits not in _RANGES or self.block not in (16, 32, 64, 128):
            raise ValueError(f"{self} is not stored; bits are 4 or 8, blocks 16, 32, 64 or 128")

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Return the bytes that a matrix of this shape takes: codes, scales and zero points."""
        rows, columns = shape
        blocks = columns // self.block
        zero_points = (blocks + 1) // 2 if self.bits == 4 else 0
        return rows * (columns * self.bits // 8 + 2 * blocks + zero_points)


@dataclass(frozen=True)
class PackedMatrix:
    """A matrix of R rows and C columns, packed."""

    codes: ByteArray
    """(R, C·bits/8)."""
    scales: HalfArray
    """(R, C/block)."""
    zero_points: ByteArray | None
    """(R, ⌈C/block/2⌉), two to a byte, at 4 bits; None at 8 bits, where every one is 128."""
    layout: Layout

    @property
    def shape(self) -> tuple[int, int]:
        """(R, C) of the matrix that was packed."""
        return self.codes.shape[0], self.codes.shape[1] * 8 // self.layout.bits

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales and zero points together."""
        return self.layout.nbytes(self.shape)


def pack_matrix(
    matrix: FloatArray, layout: Layout, importance: FloatArray | None = None
) -> PackedMatrix:
    """Round a float32 matrix (R, C) to the nearest that `layout` can store.

    For each block the scale with the least squared error is searched; values outside the range are
    clipped, never wrapped. `importance` (C,) weighs the columns of that error, for instance by how
    strongly the input channel is driven. Raises `ArtifactError` on NaN or infinity, `ValueError`
    where C is no multiple of the block.
    """
    rows, columns = matrix.shape
    if columns % layout.block:
        raise ValueError(f"{columns} columns are no multiple of the block of {layout.block}")
    if not np.isfinite(matrix).all():
        raise ArtifactError(
            "a weight is NaN or infinite, expected finite numbers",
            hint="the training diverged; quantize an earlier checkpoint",
        )
    blocks = columns // layout.block
    codes = np.empty((rows, columns), dtype=np.uint8)
    scales = np.empty((rows, blocks), dtype=np.float16)
    zeros = np.empty((rows, blocks), dtype=np.uint8)
    weights = np.ones(columns, np.float32) if importance is None else importance
    weights = weights.reshape(blocks, layout.block)
    for part in _parts(rows, columns):
        x = matrix[part].reshape(-1, blocks, layout.block)
        q, scales[part], zeros[part] = _round_blocks(x, weights, layout.bits)
        codes[part] = q.reshape(-1, columns)
    zero_points = pack_codes(zeros, 4) if layout.bits == 4 else None
    return PackedMatrix(pack_codes(codes, layout.bits), scales, zero_points, layout)


def unpack_matrix(packed: PackedMatrix) -> FloatArray:
    """Return the float32 matrix (R, C) that a packed one stands for, as ONNX Runtime decodes it."""
    rows, columns = packed.shape
    bits, block = packed.layout.bits, packed.layout.block
    blocks = columns // block
    codes = unpack_codes(packed.codes, bits, columns).reshape(rows, blocks, block)
    if packed.zero_points is None:
        zeros = np.full((rows, blocks), 128, dtype=np.uint8)
    else:
        zeros = unpack_codes(packed.zero_points, 4, blocks)
    matrix = codes.astype(np.float32)
    matrix -= zeros[..., None]
    matrix *= packed.scales.astype(np.float32)[..., None]
    return matrix.reshape(rows, columns)


def pack_codes(codes: ByteArray, bits: int) -> ByteArray:
    """Pack codes (R, C) of 4 or 8 bits into bytes (R, ⌈C·bits/8⌉), the earlier in the low half."""
    if bits == 8:
        return codes
    if codes.shape[1] % 2:
        codes = np.pad(codes, ((0, 0), (0, 1)))
    return codes[:, 0::2] | (codes[:, 1::2] << np.uint8(4))


def unpack_codes(packed: ByteArray, bits: int, columns: int) -> ByteArray:
    """Undo `pack_codes`: return the first `columns` codes of each row."""
    if bits == 8:
        return packed
    halves = np.stack([packed & np.uint8(0x0F), packed >> np.uint8(4)], axis=-1)
    return halves.reshape(packed.shape[0], -1)[:, :columns]


def relative_error(
    matrix: FloatArray, packed: PackedMatrix, importance: FloatArray | None = None
) -> float:
    """Return ‖W − Ŵ‖ / ‖W‖ in the Frobenius norm, 0 for a matrix of zeros.

    With `importance` (C,), the mean square of each input channel, it is instead the relative error
    that the rounding causes in the product with such inputs.
    """
    weights = 1.0 if importance is None else importance
    total = float(np.sum(np.square(matrix) * weights, dtype=np.float64))
    error = float(np.sum(np.square(matrix - unpack_matrix(packed)) * weights, dtype=np.float64))
    return (error / total) ** 0.5 if total else 0.0


def _parts(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, _CHUNK // columns)
    for start in range(0, rows, step):
        yield slice(start, start + step)


def _round_blocks(
    x: FloatArray, weights: FloatArray, bits: int
) -> tuple[ByteArray, HalfArray, ByteArray]:
    """Round blocks x (R, N, block), with weights (N, block), to codes, scales and zero points.

    Each candidate range gives a zero point and codes; the scale is then the least-squares one for
    those codes, rounded to float16 before the error is taken.
    """
    best = np.full(x.shape[:2], np.inf, dtype=np.float32)  # R N
    codes = np.zeros(x.shape, dtype=np.uint8)  # R N block
    scales = np.zeros(x.shape[:2], dtype=np.float16)
    zeros = np.zeros(x.shape[:2], dtype=np.uint8)
    for shrink in _RANGES[bits]:
        step, zero = _grid(x, shrink, bits)
        q = np.clip(np.rint(x / step[..., None]) + zero[..., None], 0, 2**bits - 1)
        centred = q - zero[..., None]
        power = np.einsum("rnb,rnb,nb->rn", centred, centred, weights)
        fitted = np.einsum("rnb,rnb,nb->rn", centred, x, weights) / np.maximum(power, 1e-30)
        scale = np.clip(np.where(power > 0, fitted, step), -_HALF_MAX, _HALF_MAX).astype(np.float16)
        residual = x - centred * scale.astype(np.float32)[..., None]
        error = np.einsum("rnb,rnb,nb->rn", residual, residual, weights)
        better = error < best
        best[better], scales[better], zeros[better] = error[better], scale[better], zero[better]
        codes[better] = q[better]
    return codes, scales, zeros


def _grid(x: FloatArray, shrink: np.float32, bits: int) -> tuple[FloatArray, FloatArray]:
    """Return step and zero point of each block (R, N) for a range shrunk about its middle.

    Zero always stays within the range. At 8 bits the range is symmetric, since no zero point is
    stored.
    """
    tiny = np.float32(1e-30)
    if bits == 8:
        step = np.abs(x).max(axis=-1) * shrink / np.float32(127)
        return np.maximum(step, tiny), np.full(x.shape[:2], 128, dtype=np.float32)
    low = np.minimum(x.min(axis=-1), 0)
    high = np.maximum(x.max(axis=-1), 0)
    top = np.float32(2**bits - 1)
    step = np.maximum((high - low) * shrink / top, tiny)
    zero = np.clip(np.rint(top / 2 - (low + high) / 2 / step), 0, top)
    return step, zero
