"""Which matrix gets how many bits, so that a byte goes where it removes the most error.

Every matrix has a menu of layouts, from 4 bits in blocks of 128 up to 8 bits. All start with the
cheapest; then the step up that removes the most squared relative error for each byte it costs is
taken, again and again, while the bytes last. A menu holds the lower convex hull of (bytes, error)
only, so within it each step is worth less a byte than the one before, and taking the best first is
right (Shoham and Gersho 1988, "Efficient bit allocation for an arbitrary set of quantizers").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from bert_mobile.errors import ArtifactError
from bert_mobile.quantize.pack import FloatArray, Layout, pack_matrix, relative_error

# Blocks of 16 took 1.5 times as long in ONNX Runtime's kernel as blocks of 32, for 16 % less error;
# they serve only matrices too narrow for anything else.
_BLOCKS = (128, 64, 32)
_NARROW = 16
_SAMPLED_ROWS = 256


@dataclass(frozen=True)
class Choice:
    """One way to store one matrix."""

    layout: Layout
    """Bits and block."""
    nbytes: int
    """What the matrix then takes."""
    error: float
    """Squared relative error, ‖W - Ŵ‖² / ‖W‖²; where text was given, of the network's outputs."""


def menu(name: str, matrix: FloatArray, importance: FloatArray | None) -> list[Choice]:
    """Return the layouts worth considering for a matrix (R, C), cheapest first.

    Errors are taken on at most 256 rows, evenly spread. Raises `ArtifactError` where no block
    divides C.
    """
    columns = matrix.shape[1]
    blocks = [block for block in _BLOCKS if columns % block == 0] or [_NARROW]
    if columns % blocks[0]:
        raise ArtifactError(
            f"{name} has {columns} columns, expected a multiple of {_NARROW}",
            hint="only models whose widths are multiples of 16 can be quantized",
        )
    sample = matrix[:: max(1, len(matrix) // _SAMPLED_ROWS)]
    choices = []
    for layout in (Layout(bits, block) for bits in (4, 8) for block in blocks):
        error = relative_error(sample, pack_matrix(sample, layout, importance), importance)
        choices.append(Choice(layout, layout.nbytes(matrix.shape), error**2))
    return _lower_hull(choices)


def weighed(choices: Sequence[Choice], coarsest: float) -> list[Choice]:
    """Scale the errors of a menu so that its cheapest choice has the error `coarsest`.

    Errors of different matrices are then comparable by what they do to the network's outputs.
    """
    scale = coarsest / choices[0].error if choices[0].error else 1.0
    return [replace(choice, error=choice.error * scale) for choice in choices]


def least_bytes(menus: Mapping[str, Sequence[Choice]]) -> int:
    """Return what all matrices take at the least."""
    return sum(choices[0].nbytes for choices in menus.values())


def allocate(menus: Mapping[str, Sequence[Choice]], budget: int) -> dict[str, Choice]:
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


def _lower_hull(choices: list[Choice]) -> list[Choice]:
    """Keep the choices on the lower convex hull of (bytes, error), cheapest first."""
    hull: list[Choice] = []
    for choice in sorted(choices, key=lambda choice: (choice.nbytes, choice.error)):
        if hull and choice.error >= hull[-1].error:
            continue
        while len(hull) > 1 and _worth(hull[-2], hull[-1]) <= _worth(hull[-1], choice):
            hull.pop()
        hull.append(choice)
    return hull
