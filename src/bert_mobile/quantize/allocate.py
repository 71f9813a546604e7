"""Which matrix gets how many bits, so that a byte goes where it removes the most error.

Every matrix has a menu of layouts, from the coarsest up to 8 bits. All start with the cheapest;
then the step up that removes the most loss for each byte it costs is taken, again and again, while
the bytes last. A menu holds the lower convex hull of (bytes, loss) only, so within it each step is
worth less a byte than the one before, and taking the best first is right (Shoham and Gersho 1988,
"Efficient bit allocation for an arbitrary set of quantizers").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bert_mobile.errors import ArtifactError
from bert_mobile.quantize.pack import FloatArray, Layout, pack_matrix, unpack_matrix, within_reach
from bert_mobile.quantize.rounding import product_error

Key = TypeVar("Key")
"""What names a matrix."""

_NARROW = 16  # a block
_WITHOUT_TEXT = 4  # the fewest bits where nothing is measured
_SAMPLED_ROWS = 256
_UNSEEN = 1e-9  # nats of a relative error of 1


@dataclass(frozen=True)
class Storage:
    """Which layouts a runtime holds as they are."""

    bits: tuple[int, ...] = (2, 4, 8)
    blocks: tuple[int, ...] = (128, 64, 32)
    zero_points: bool = True
    negative_scales: bool = True

    def from_bits(self, fewest: int) -> "Storage":
        """Return the same without what has fewer bits."""
        return replace(self, bits=tuple(bits for bits in self.bits if bits >= fewest))

    def of(self, bits: int, block: int) -> list[Layout]:
        """Return its layouts of so many bits, the smaller first."""
        if bits == 8:  # where zero points are not worth their bytes, see `pack`
            return [Layout(bits, block)]
        bare = Layout(bits, block, symmetric=True, positive=not self.negative_scales)
        return [bare, Layout(bits, block, symmetric=False)] if self.zero_points else [bare]


OURS = Storage()
"""What ONNX Runtime reads."""


@dataclass(frozen=True)
class Choice:
    """One way to store one matrix."""

    layout: Layout
    """Bits and block."""
    nbytes: int
    """What the matrix then takes."""
    error: float
    """What it costs: without text ‖W - Ŵ‖² / ‖W‖²; with it, first the squared relative error of the
    product, then the loss that it adds, in nats (see `sensitivity`)."""


def layouts_of(name: str, columns: int, storage: Storage, *, measured: bool) -> list[Layout]:
    """Return the layouts worth considering for a matrix of so many columns.

    Without text (`measured` is false) all blocks of 4 bits have zero points, if those are held, and
    there are no 2 bits: what those destroy, and what zero points are worth, is seen in the answers
    only. Blocks of 16 run slower than blocks of 32 for little less error, at 2 bits four times
    slower in ONNX Runtime 1.32; they serve only matrices too narrow for anything else. Raises
    `ArtifactError` where no block divides the columns.
    """
    blocks = [block for block in storage.blocks if columns % block == 0] or [_NARROW]
    if columns % blocks[0]:
        raise ArtifactError(
            f"{name} has {columns} columns, expected a multiple of {_NARROW}",
            hint="only models whose widths are multiples of 16 can be quantized",
        )
    if not measured:
        bits_held = storage.from_bits(_WITHOUT_TEXT).bits
        return [storage.of(bits, block)[-1] for bits in bits_held for block in blocks]
    return [each for bits in storage.bits for block in blocks for each in storage.of(bits, block)]


def menu(
    name: str,
    matrix: FloatArray,
    hessian: NDArray[np.float64] | None,
    storage: Storage,
    *,
    measured: bool,
) -> list[Choice]:
    """Return all layouts worth considering for a matrix (R, C), with the error of each.

    Errors are those of plain rounding on at most 256 rows, evenly spread; with `hessian` (C, C)
    those of products with inputs of that covariance. Raises as `layouts_of` does.
    """
    sample = within_reach(matrix[:: -(-len(matrix) // _SAMPLED_ROWS)])
    weights = None if hessian is None else np.diag(hessian).astype(np.float32)
    choices = []
    for layout in layouts_of(name, matrix.shape[1], storage, measured=measured):
        rounded = unpack_matrix(pack_matrix(sample, layout, weights))
        error = product_error(sample, rounded, hessian)
        choices.append(Choice(layout, layout.nbytes(matrix.shape), error))
    return choices


def weighed(choices: Sequence[Choice], losses: Mapping[Layout, float]) -> list[Choice]:
    """Turn the errors of a menu into losses, given the loss that some of its layouts caused.

    Small errors of one kind add loss in proportion to their square, which `error` is. A layout is
    scaled by the measured one of as many bits, else of the next lower bits that were measured: the
    coarser, the less is proportion to be trusted. Where no loss was seen, as of pieces that a few
    lines do not use, one too small to be seen stands for it: bytes that are left over are spent.
    """
    measured = {choice.layout: choice for choice in choices if choice.layout in losses}
    found = []
    for choice in choices:
        like = max(
            (layout for layout in measured if layout.bits <= choice.layout.bits),
            key=lambda layout: layout.bits,
        )
        scale = losses[like] / measured[like].error if measured[like].error else 0.0
        found.append(replace(choice, error=choice.error * max(scale, _UNSEEN)))
    return found


def least_bytes(menus: Mapping[Any, Sequence[Choice]]) -> int:
    """Return what all matrices take at the least."""
    return sum(choices[0].nbytes for choices in menus.values())


def allocate(menus: Mapping[Key, Sequence[Choice]], budget: int) -> dict[Key, Choice]:
    """Choose one layout for every matrix, of at most `budget` bytes together.

    Where the budget does not even pay the cheapest layouts, those are returned.
    """
    chosen = {name: choices[0] for name, choices in menus.items()}
    left = budget - least_bytes(menus)
    steps = [(old, new, name) for name, choices in menus.items() for old, new in pairwise(choices)]
    for old, new, name in sorted(steps, key=lambda step: -_worth(step[0], step[1])):
        cost = new.nbytes - old.nbytes
        if chosen[name] is old and cost <= left:
            chosen[name] = new
            left -= cost
    return chosen


def _worth(old: Choice, new: Choice) -> float:
    """Error removed by a byte."""
    return (old.error - new.error) / (new.nbytes - old.nbytes)


def lower_hull(choices: Sequence[Choice]) -> list[Choice]:
    """Keep the choices on the lower convex hull of (bytes, error), cheapest first."""
    hull: list[Choice] = []
    for choice in sorted(choices, key=lambda choice: (choice.nbytes, choice.error)):
        if hull and choice.error >= hull[-1].error:
            continue
        while len(hull) > 1 and _worth(hull[-2], hull[-1]) <= _worth(hull[-1], choice):
            hull.pop()
        hull.append(choice)
    return hull
