"""Weights rounded to nearest, where a width is asked for that `quantize` did not choose."""

from collections.abc import Mapping, Sequence

from bert_mobile.quantize.pack import FloatArray, Layout, PackedMatrix, pack_matrix

_FEWEST_ROWS = 33  # a head of fewer outputs, or the two rows of segments, stays float


def is_rounded(weight: FloatArray) -> bool:
    """Tell whether a weight is a matrix that is worth rounding."""
    return weight.ndim == 2 and len(weight) >= _FEWEST_ROWS


def rounded_plainly(
    weights: Mapping[str, FloatArray], bits: int, blocks: Sequence[int]
) -> dict[str, FloatArray | PackedMatrix]:
    """Round the large matrices among `weights`, in the first of the `blocks` that divides a row."""
    return {name: _rounded(weight, bits, blocks) for name, weight in weights.items()}


def _rounded(weight: FloatArray, bits: int, blocks: Sequence[int]) -> FloatArray | PackedMatrix:
    block = next((size for size in blocks if weight.shape[-1] % size == 0), None)
    if block is None or not is_rounded(weight):
        return weight
    return pack_matrix(weight, Layout(bits, block))
