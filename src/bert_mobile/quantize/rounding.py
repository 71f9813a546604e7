"""Second-order rounding: the codes of a matrix chosen together, not one by one.

What a rounding Ŵ of W does to the products W·x is tr(ΔW · H · ΔWᵀ) with ΔW = W − Ŵ and H the
covariance of the inputs x; the mean of x is left to the bias (see `sensitivity`). GPTQ (Frantar et
al. 2022, arXiv:2210.17323) rounds column after column and lets the columns still to come make up
for the error so far. What is left is then worked off by coordinate descent: each scale, then each
column of codes in turn takes its best value with all others held (Behdin et al. 2023, QuantEase,
arXiv:2309.01885), so that no sweep makes it worse.

Where we part from GPTQ: scales and zero points are searched before the first column is rounded, in
the blocks of neighbouring columns that `pack` stores. That frees the order of the columns, which
would else have to be that of the blocks: those of the most energetic inputs come first, when there
are the most columns left to make up for them.

Dimensions: R rows, C columns, N = C/block blocks. The work is done on transposed arrays, (C, R), so
that a column lies in one piece.
"""

import numpy as np
from numpy.typing import NDArray

from bert_mobile.quantize.pack import (
    ByteArray,
    FloatArray,
    Layout,
    PackedMatrix,
    assemble,
    half_scales,
    pack_matrix,
    unpack_codes,
    unpack_zeros,
    within_reach,
)

DAMPING = 0.01
"""Part of the mean of H's diagonal that is added to it: directions that the text never drove count
a little too, and H has an inverse."""

SWEEPS = 2
"""Of coordinate descent."""

_ROWS = 2048  # rounded at a time: some 16 MB an array, which a processor's cache nearly holds
_COLUMNS = 64  # whose effect on all the others is applied in one product

Hessian = NDArray[np.float64]


def damped(hessian: NDArray[np.floating]) -> Hessian:
    """Return H (C, C) in float64 with a little more on its diagonal; the identity where H is 0."""
    wide = hessian.astype(np.float64)
    mean = float(np.trace(wide)) / len(wide)
    return wide + (DAMPING * mean or 1.0) * np.eye(len(wide))


def round_second_order(
    matrix: FloatArray, layout: Layout, hessian: Hessian, *, sweeps: int = SWEEPS
) -> PackedMatrix:
    """Round a matrix (R, C) so that products with inputs of covariance `hessian` change least.

    `hessian` (C, C) is symmetric and positive definite (see `damped`). Raises as `pack_matrix`
    does.
    """
    start = pack_matrix(matrix, layout, np.diag(hessian).astype(np.float32))
    order = np.argsort(-np.diag(hessian), kind="stable")
    factor = _inverse_factor(hessian[np.ix_(order, order)])
    matrix, narrow = within_reach(matrix), hessian.astype(np.float32)
    codes, scales = [], []
    for first in range(0, len(matrix), _ROWS):
        rows = slice(first, first + _ROWS)
        block = _Rows(matrix[rows], _part(start, rows))
        block.compensate(order, factor)
        for _ in range(sweeps):
            block.descend(narrow)
        codes.append(block.codes.T)
        scales.append(block.scales.T)
    return assemble(
        np.concatenate(codes), half_scales(np.concatenate(scales)), unpack_zeros(start), layout
    )


def product_error(
    matrix: FloatArray, rounded: FloatArray, hessian: NDArray[np.floating] | None
) -> float:
    """Return tr(ΔW·H·ΔWᵀ) / tr(W·H·Wᵀ), the relative squared error of products; 0 for zeros.

    Without a Hessian that of the matrix itself.
    """
    narrow = None if hessian is None else hessian.astype(np.float32)
    total = _energy(matrix, narrow)
    return _energy(matrix - rounded, narrow) / total if total else 0.0


class _Rows:
    """Some rows of a matrix while their codes are sought, transposed."""

    def __init__(self, matrix: FloatArray, start: PackedMatrix) -> None:
        self._block, self._top = start.layout.block, start.layout.top
        self._least_scale = 0 if start.layout.positive else -np.inf
        self._target = np.ascontiguousarray(matrix.T)  # C R
        columns = unpack_codes(start.codes, start.layout.bits, matrix.shape[1])
        self.codes: ByteArray = np.ascontiguousarray(columns.T)  # C R
        self.scales: FloatArray = start.scales.T.astype(np.float32)  # N R
        self._zeros: FloatArray = unpack_zeros(start).T.astype(np.float32)  # N R

    def compensate(self, order: NDArray[np.intp], factor: FloatArray) -> None:
        """Round the columns in `order`; those to come make up for each one's error (GPTQ).

        `factor` (C, C) is the upper triangle U with H⁻¹ = Uᵀ·U, rows and columns in that order.
        """
        left = self._target[order]  # C R
        for first in range(0, len(order), _COLUMNS):
            last = min(first + _COLUMNS, len(order))
            errors = np.empty((last - first, left.shape[1]), dtype=np.float32)
            for at in range(first, last):
                rounded = self._nearest(order[at], left[at])
                errors[at - first] = (left[at] - rounded) / factor[at, at]
                left[at + 1 : last] -= factor[at, at + 1 : last, None] * errors[at - first]
            left[last:] -= factor[first:last, last:].T @ errors

    def descend(self, hessian: FloatArray) -> None:
        """Give every scale, then every code its best value with all others held."""
        gradient = hessian @ (self._target - self._values())  # C R, H·ΔWᵀ
        for number in range(len(self.scales)):
            self._refit(number, hessian, gradient)
        for first in range(0, len(self.codes), _COLUMNS):
            columns = slice(first, min(first + _COLUMNS, len(self.codes)))
            moved = self._recode(columns, hessian[columns, columns], gradient[columns].copy())
            gradient -= hessian[:, columns] @ moved

    def _refit(self, number: int, hessian: FloatArray, gradient: FloatArray) -> None:
        """Give one block of every row its least-squares scale."""
        columns = slice(number * self._block, (number + 1) * self._block)
        steps = self.codes[columns] - self._zeros[number]  # block R
        power = np.einsum("cr,cr->r", steps, hessian[columns, columns] @ steps)
        gain = np.einsum("cr,cr->r", steps, gradient[columns]) / np.maximum(power, 1e-30)
        wanted = np.where(power > 0, self.scales[number] + gain, self.scales[number])
        wanted = np.maximum(wanted, self._least_scale)
        scale = half_scales(wanted).astype(np.float32)
        gradient -= hessian[:, columns] @ (steps * (scale - self.scales[number]))
        self.scales[number] = scale

    def _recode(self, columns: slice, hessian: FloatArray, gradient: FloatArray) -> FloatArray:
        """Give each column in turn its best codes; return by how much their values moved."""
        moved = np.empty_like(gradient)
        for at, column in enumerate(range(columns.start, columns.stop)):
            before = self._value(column)
            moved[at] = self._nearest(column, before + gradient[at] / hessian[at, at]) - before
            gradient -= hessian[:, at, None] * moved[at]
        return moved

    def _nearest(self, column: int, wanted: FloatArray) -> FloatArray:
        """Set the codes of a column to the nearest of `wanted` (R,); return their values."""
        scale, zero = self.scales[column // self._block], self._zeros[column // self._block]
        per_step = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
        codes = np.clip(np.rint(wanted * per_step + zero), 0, self._top)
        self.codes[column] = codes
        values: FloatArray = (codes - zero) * scale
        return values

    def _value(self, column: int) -> FloatArray:
        block = column // self._block
        value: FloatArray = (self.codes[column] - self._zeros[block]) * self.scales[block]
        return value

    def _values(self) -> FloatArray:
        blocks = np.arange(len(self.codes)) // self._block
        values: FloatArray = (self.codes - self._zeros[blocks]) * self.scales[blocks]
        return values


def _inverse_factor(hessian: Hessian) -> FloatArray:
    """Return the upper triangle U with H⁻¹ = Uᵀ·U."""
    return np.linalg.cholesky(np.linalg.inv(hessian)).T.astype(np.float32)


def _energy(matrix: FloatArray, hessian: FloatArray | None) -> float:
    driven = matrix if hessian is None else matrix @ hessian
    return float(np.sum(driven * matrix, dtype=np.float64))


def _part(packed: PackedMatrix, rows: slice) -> PackedMatrix:
    zeros = None if packed.zero_points is None else packed.zero_points[rows]
    return PackedMatrix(packed.codes[rows], packed.scales[rows], zeros, packed.layout)
