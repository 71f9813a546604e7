"""Weights rounded to nearest, where a width is asked for that `quantize` did not choose.

For all targets alike: which matrices are rounded and in what blocks, what happens to a matrix whose
rows no block divides (8 bits, with one scale a row), what is said of it, and what is refused
because float16 cannot hold it.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from bert_mobile.errors import InputError
from bert_mobile.export.source import Source
from bert_mobile.export.target import INT4, INT8, RE_ROUNDED
from bert_mobile.quantize.pack import FloatArray, Layout, PackedMatrix, pack_matrix

_FEWEST_ROWS = 33  # a head of fewer outputs, or the two rows of segments, stays float
_LARGEST_FLOAT16 = float(np.finfo(np.float16).max)


def is_rounded(weight: FloatArray) -> bool:
    """Tell whether a weight is a matrix that is worth rounding."""
    return weight.ndim == 2 and len(weight) >= _FEWEST_ROWS


def rounded_plainly(
    weights: Mapping[str, FloatArray], bits: int, blocks: Sequence[int]
) -> dict[str, FloatArray | PackedMatrix]:
    """Round the large matrices among `weights`, in the first of the `blocks` that divides a row.

    Those that `undivided` names are left for the target to store in 8 bits with a scale for each
    row, which all of them read.
    """
    return {name: _rounded(weight, bits, blocks) for name, weight in weights.items()}


def undivided(weights: Mapping[str, FloatArray], blocks: Sequence[int]) -> list[str]:
    """Return the names of the large matrices whose rows none of the `blocks` divides."""
    return [
        name
        for name, weight in weights.items()
        if is_rounded(weight) and _block(weight, blocks) is None
    ]


def rounding_notes(source: Source, width: str, blocks: Sequence[int] = ()) -> tuple[str, ...]:
    """Say what `Target.write` has to of int8 and int4; `blocks` are those that int4 is tried in."""
    again = (RE_ROUNDED,) if source.packed and width in (INT8, INT4) else ()
    wider = undivided(source.weights, blocks) if width == INT4 else []
    if not wider:
        return again
    columns = sorted({source.weights[name].shape[1] for name in wider})
    said = (
        f"8 bits, not 4: {len(wider)} matrices, whose rows of {_either(columns)} weights no block "
        f"of {_either(sorted(blocks))} divides"
    )
    return (*again, said)


def refuse_large(name: str, weight: FloatArray, *, steps: float = 1) -> None:
    """Raise `InputError` where float16 would make infinity of a weight.

    Of weights in whole numbers of `steps` either side of zero, it holds the scale only.
    """
    largest, most = float(np.abs(weight).max(initial=0)), steps * _LARGEST_FLOAT16
    if not largest <= most:
        raise InputError(
            f"{name} has a weight of {largest:g}, expected at most {most:g} in float16",
            hint="export with --width float32",
        )


def _block(weight: FloatArray, blocks: Sequence[int]) -> int | None:
    return next((size for size in blocks if weight.shape[-1] % size == 0), None)


def _rounded(weight: FloatArray, bits: int, blocks: Sequence[int]) -> FloatArray | PackedMatrix:
    block = _block(weight, blocks)
    if block is None or not is_rounded(weight):
        return weight
    return pack_matrix(weight, Layout(bits, block))


def _either(numbers: Sequence[int]) -> str:
    return " or ".join(map(str, numbers))
