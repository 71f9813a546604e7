"""Block-wise 2-, 4- and 8-bit storage of a matrix, byte for byte as ONNX Runtime reads it.

A row is cut into blocks of `block` neighbouring columns. Each block keeps one float16 scale `s`
and, unless the layout is symmetric, one zero point `z`; a weight is stored as the whole number `q`
with

    weight ≈ s · (q − z),   0 ≤ q < 2**bits,   z = 2**(bits − 1) where the layout is symmetric

Codes lie along the row; below 8 bits several share a byte, the earliest in its lowest bits. Zero
points are packed likewise, each row padded to a whole byte. This is the layout that the operators
`MatMulNBits` and `GatherBlockQuantized` share, so a tied embedding can be stored once for both.

Zero points at 4 bits and block 32 cost 3 % more bytes and took 5 % (normal weights) to 13 %
(Student's t, 5 degrees of freedom) off the error; at 8 bits the error is more than ten times
smaller anyway, so that symmetric is the rule there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from bert_mobile.errors import ArtifactError

FloatArray = NDArray[np.float32]
HalfArray = NDArray[np.float16]
ByteArray = NDArray[np.uint8]

# Shrunken ranges that are tried for each block: clipping its few largest weights a little often
# pays in finer steps for all the others. Finer grids gained less than 0.5 % of the error.
_RANGES = {
    2: np.linspace(0.3, 1.05, 16, dtype=np.float32),
    4: np.linspace(0.6, 1.05, 10, dtype=np.float32),
    8: np.ones(1, dtype=np.float32),
}
_CHUNK = 1 << 19  # weights rounded at a time: bounds the scratch memory to some 20 MB
_HALF_MAX = float(np.finfo(np.float16).max)
_LARGEST = _HALF_MAX * 128  # what 8 bits reach with the largest scale
_TINY = np.float32(1e-30)


@dataclass(frozen=True)
class Layout:
    """How the weights of one matrix are stored."""

    bits: int
    """2, 4 or 8 bits a weight."""
    block: int
    """Neighbouring columns that share a scale: 16, 32, 64 or 128."""
    symmetric: bool | None = None
    """Whether zero points are left out; None stands for the rule: at 8 bits only."""
    positive: bool = False
    """Whether scales are kept from being negative, which some kernels do not read."""

    def __post_init__(self) -> None:
        """Refuse what ONNX Runtime's operators do not read; settle on the rule where none is."""
        if self.bits not in _RANGES or self.block not in (16, 32, 64, 128):
            raise ValueError(f"{self} is not stored; bits are 2, 4 or 8, blocks 16, 32, 64 or 128")
        if self.symmetric is None:
            object.__setattr__(self, "symmetric", self.bits == 8)

    @property
    def top(self) -> int:
        """The largest code."""
        return (1 << self.bits) - 1

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Return the bytes that a matrix of this shape takes: codes, scales and zero points."""
        rows, columns = shape
        blocks = columns // self.block
        zero_points = 0 if self.symmetric else (blocks * self.bits + 7) // 8
        return rows * (columns * self.bits // 8 + 2 * blocks + zero_points)


@dataclass(frozen=True)
class PackedMatrix:
    """A matrix of R rows and C columns, packed."""

    codes: ByteArray
    """(R, C·bits/8)."""
    scales: HalfArray
    """(R, C/block)."""
    zero_points: ByteArray | None
    """(R, ⌈C/block·bits/8⌉), packed as codes are; None where the layout is symmetric."""
    layout: Layout

    @property
    def shape(self) -> tuple[int, int]:
        """(R, C) of the matrix that was packed."""
        return self.codes.shape[0], self.codes.shape[1] * 8 // self.layout.bits

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales and zero points together."""
        return self.layout.nbytes(self.shape)


@dataclass(frozen=True)
class PackedRows:
    """A matrix cut between its rows, each part packed in a layout of its own."""

    parts: tuple[PackedMatrix, ...]
    """From the first rows to the last."""

    @property
    def shape(self) -> tuple[int, int]:
        """(R, C) of the whole matrix."""
        return sum(part.shape[0] for part in self.parts), self.parts[0].shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of all parts together."""
        return sum(part.nbytes for part in self.parts)


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
        x = within_reach(matrix[part]).reshape(-1, blocks, layout.block)
        q, scales[part], zeros[part] = _round_blocks(x, weights, layout)
        codes[part] = q.reshape(-1, columns)
    return assemble(codes, scales, zeros, layout)


def within_reach(matrix: FloatArray) -> FloatArray:
    """Clip to what any layout holds, ±8,384,512, so that the squares of errors are finite."""
    return np.clip(matrix, -_LARGEST, _LARGEST)


def assemble(codes: ByteArray, scales: HalfArray, zeros: ByteArray, layout: Layout) -> PackedMatrix:
    """Pack codes (R, C) with scales and zero points (R, C/block) that were found for them."""
    zero_points = None if layout.symmetric else pack_codes(zeros, layout.bits)
    return PackedMatrix(pack_codes(codes, layout.bits), scales, zero_points, layout)


Packed = PackedMatrix | PackedRows
"""A packed matrix, whole or in parts."""


def parts_of(matrix: Packed) -> tuple[PackedMatrix, ...]:
    """Return the parts of a matrix, each of one layout: itself, where it is not cut."""
    return matrix.parts if isinstance(matrix, PackedRows) else (matrix,)


def named_parts(
    weights: Mapping[str, FloatArray | Packed], name: str
) -> list[tuple[str, FloatArray | PackedMatrix]]:
    """Return a weight as the parts that a file stores, each with a name of its own."""
    weight = weights[name]
    if isinstance(weight, PackedRows):
        return [(f"{name}.{number}", part) for number, part in enumerate(weight.parts)]
    return [(name, weight)]


def float_weight(weights: Mapping[str, FloatArray | Packed], name: str) -> FloatArray:
    """Return a weight that is never packed: a bias, a LayerNorm, a tiny matrix."""
    weight = weights[name]
    if isinstance(weight, PackedMatrix | PackedRows):
        raise TypeError(f"{name} is packed, but only what is looked up or multiplied may be")
    return weight


def join_rows(parts: Sequence[PackedMatrix]) -> PackedMatrix | PackedRows:
    """Return one matrix of the rows of all `parts`; neighbours of one layout become one part."""
    joined = [_joined(list(some)) for _, some in groupby(parts, key=lambda part: part.layout)]
    return joined[0] if len(joined) == 1 else PackedRows(tuple(joined))


def _joined(parts: list[PackedMatrix]) -> PackedMatrix:
    zeros = [part.zero_points for part in parts if part.zero_points is not None]
    return PackedMatrix(
        np.concatenate([part.codes for part in parts]),
        np.concatenate([part.scales for part in parts]),
        np.concatenate(zeros) if zeros else None,
        parts[0].layout,
    )


def blank_matrix(shape: tuple[int, ...], layout: Layout) -> PackedMatrix:
    """Return zeros that take the bytes that a matrix of this shape and layout would."""
    rows, columns = shape
    blocks = columns // layout.block
    empty = np.zeros((rows, columns), np.uint8), np.zeros((rows, blocks), np.uint8)
    return assemble(empty[0], empty[1].astype(np.float16), empty[1], layout)


def unpack_matrix(packed: PackedMatrix | PackedRows) -> FloatArray:
    """Return the float32 matrix (R, C) that a packed one stands for, as ONNX Runtime decodes it."""
    if isinstance(packed, PackedRows):
        return np.concatenate([unpack_matrix(part) for part in packed.parts])
    rows, columns = packed.shape
    blocks = columns // packed.layout.block
    codes = unpack_codes(packed.codes, packed.layout.bits, columns)
    matrix = codes.reshape(rows, blocks, -1).astype(np.float32)
    matrix -= unpack_zeros(packed)[..., None]
    matrix *= packed.scales.astype(np.float32)[..., None]
    return matrix.reshape(rows, columns)


def unpack_zeros(packed: PackedMatrix) -> ByteArray:
    """Return the zero point of each block (R, C/block), the implied ones too."""
    bits = packed.layout.bits
    if packed.zero_points is None:
        return np.full(packed.scales.shape, 2 ** (bits - 1), dtype=np.uint8)
    return unpack_codes(packed.zero_points, bits, packed.scales.shape[1])


def pack_codes(codes: ByteArray, bits: int) -> ByteArray:
    """Pack codes (R, C) of 2, 4 or 8 bits into bytes (R, ⌈C·bits/8⌉), the earliest lowest."""
    each = 8 // bits  # codes of a byte
    if codes.shape[1] % each:
        codes = np.pad(codes, ((0, 0), (0, -codes.shape[1] % each)))
    packed = codes[:, 0::each].copy()
    for place in range(1, each):
        packed |= codes[:, place::each] << np.uint8(bits * place)
    return packed


def unpack_codes(packed: ByteArray, bits: int, columns: int) -> ByteArray:
    """Undo `pack_codes`: return the first `columns` codes of each row."""
    codes = _codes_by_byte(bits)[packed].view(np.uint8)
    return codes[:, :columns]


@cache
def _codes_by_byte(bits: int) -> NDArray[np.unsignedinteger]:
    """Return the codes of each byte (256,), side by side as one number: one look-up gets them."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = (np.arange(256, dtype=np.uint8)[:, None] >> shifts) & np.uint8(2**bits - 1)
    return codes.view(f"u{len(shifts)}")[:, 0]


def clipped_share(matrix: FloatArray, packed: PackedMatrix) -> float:
    """Return the part of the weights that lie beyond the range of their block.

    Those are stored as the end of the range; half a step beyond it is still rounding.
    """
    blocks = packed.scales.shape[1]
    scales = packed.scales.astype(np.float32)[..., None]
    x = matrix.reshape(len(matrix), blocks, -1) / np.where(scales == 0, np.inf, scales)
    x += unpack_zeros(packed)[..., None]
    return float(np.mean((x < -0.5) | (x > packed.layout.top + 0.5)))


def relative_error(
    matrix: FloatArray, packed: PackedMatrix, importance: FloatArray | None = None
) -> float:
    """Return ‖W − Ŵ‖ / ‖W‖ in the Frobenius norm, 0 for a matrix of zeros.

    With `importance` (C,), the mean square of each input channel, it is instead the relative error
    that the rounding causes in the product with such inputs.
    """
    weights = 1.0 if importance is None else importance
    whole, rounded = matrix.astype(np.float64), unpack_matrix(packed)
    total = float(np.sum(np.square(whole) * weights))
    error = float(np.sum(np.square(whole - rounded) * weights))
    return (error / total) ** 0.5 if total else 0.0


def _parts(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, _CHUNK // columns)
    for start in range(0, rows, step):
        yield slice(start, start + step)


def _round_blocks(
    x: FloatArray, weights: FloatArray, layout: Layout
) -> tuple[ByteArray, HalfArray, ByteArray]:
    """Round blocks x (R, N, block), with weights (N, block), to codes, scales and zero points.

    Each candidate range gives a zero point and codes; the scale is then the least-squares one for
    those codes, rounded to float16 before the error is taken.
    """
    best = np.full(x.shape[:2], np.inf, dtype=np.float32)  # R N
    codes = np.zeros(x.shape, dtype=np.uint8)  # R N block
    scales = np.zeros(x.shape[:2], dtype=np.float16)
    zeros = np.zeros(x.shape[:2], dtype=np.uint8)
    for step, zero in _grids(x, layout):
        q = np.clip(np.rint(x / step[..., None]) + zero[..., None], 0, layout.top)
        centred = q - zero[..., None]
        power = np.einsum("rnb,rnb,nb->rn", centred, centred, weights)
        fitted = np.einsum("rnb,rnb,nb->rn", centred, x, weights) / np.maximum(power, 1e-30)
        scale = half_scales(np.where(power > 0, fitted, step))
        residual = x - centred * scale.astype(np.float32)[..., None]
        error = np.einsum("rnb,rnb,nb->rn", residual, residual, weights)
        better = error < best
        best[better], scales[better], zeros[better] = error[better], scale[better], zero[better]
        codes[better] = q[better]
    return codes, scales, zeros


def half_scales(scales: FloatArray) -> HalfArray:
    """Return scales in float16; those too large for it become its largest number."""
    return np.clip(scales, -_HALF_MAX, _HALF_MAX).astype(np.float16)


def _grids(x: FloatArray, layout: Layout) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Yield candidate steps and zero points of each block (R, N), for ranges more or less shrunk.

    Zero always stays within the range. A symmetric range has one code more below zero than above
    it, so below 8 bits a negative step, which turns it round, is tried as well.
    """
    for shrink in _RANGES[layout.bits]:
        if not layout.symmetric:
            yield _shifted_grid(x, shrink, layout.top)
            continue
        largest = np.abs(x).max(axis=-1) * shrink
        zero = np.full(x.shape[:2], 2 ** (layout.bits - 1), dtype=np.float32)
        if layout.bits == 8:
            yield np.maximum(largest / np.float32(127), _TINY), zero
            continue
        step = np.maximum(largest / zero, _TINY)
        yield step, zero
        if not layout.positive:
            yield -step, zero


def _shifted_grid(x: FloatArray, shrink: np.float32, top: int) -> tuple[FloatArray, FloatArray]:
    """Return step and zero point of each block (R, N) for a range shrunk about its middle."""
    low = np.minimum(x.min(axis=-1), 0)
    high = np.maximum(x.max(axis=-1), 0)
    step = np.maximum((high - low) * shrink / np.float32(top), _TINY)
    zero = np.clip(np.rint(np.float32(top) / 2 - (low + high) / 2 / step), 0, top)
    return step, zero
