"""What each choice of a layout costs, and the rounding of what was chosen.

A unit is what gets one layout: a matrix, or a quarter of the word embedding. The rows of the word
embedding are cut at an eighth, a quarter and a half of the vocabulary, which WordPiece orders
roughly by frequency, so that rare pieces can be stored in fewer bits than frequent ones.

With calibration text every unit is rounded alone, at 4 bits and, where the budget needs them, at 2
bits, and the network is asked what that costs (`calibrate.Calibrator.loss_increase`); its other
layouts follow by the error of their products. Without text a unit's error is its own.

The mean of what flows into a product is left to its bias: b + ΔW·E[x] takes the systematic part of
the rounding error away, so that rounding need only care for the covariance.

The word embedding serves two uses with one rounding. As output projection the error counts by the
covariance of the masked-token head's input; as look-up by its plain square, the identity. Both fall
on a row as often as the piece occurs, so that one Hessian serves all rows: the sum of the two, each
scaled so that the errors of a 4-bit rounding, weighed by the frequency of the pieces in the text,
stand for the loss that the network shows where that use alone is rounded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer

from bert_mobile.model.config import BertConfig
from bert_mobile.progress import progress
from bert_mobile.quantize.allocate import Choice, Storage, layouts_of, lower_hull, menu, weighed
from bert_mobile.quantize.interface import WORDS, WORDS_BIAS
from bert_mobile.quantize.pack import (
    FloatArray,
    Layout,
    PackedMatrix,
    PackedRows,
    blank_matrix,
    join_rows,
    pack_matrix,
    unpack_matrix,
)
from bert_mobile.quantize.rounding import Hessian, damped, round_second_order

if TYPE_CHECKING:
    from bert_mobile.quantize.calibrate import Calibrator, Moments
    from bert_mobile.quantize.graph import Weights

_CUTS = (8, 4, 2)  # the first eighth of the rows, up to a quarter, up to a half, the rest
_FEWEST_ROWS = 4096  # of a word embedding that is cut

_LONGEST_LOSS = 1.234e15
"""It takes as many characters as any loss in the report: larger ones have an exponent."""

_PROBED = (2, 4)  # bits whose loss is measured; 8 bits follow 4


@dataclass(frozen=True)
class Unit:
    """What gets one layout."""

    name: str
    """Hugging Face's name of the tensor."""
    rows: tuple[int, int] | None = None
    """Its first row and the one behind its last; None: all."""

    def __str__(self) -> str:
        """Return the name, with the rows as Python writes them."""
        return f"{self.name}[{self.rows[0]}:{self.rows[1]}]" if self.rows else self.name

    def of(self, weights: Mapping[str, FloatArray]) -> FloatArray:
        """Return its rows (R, C)."""
        return weights[self.name][slice(*self.rows)] if self.rows else weights[self.name]


@dataclass(frozen=True)
class Sensitivity:
    """What rounding one unit alone did to the answers."""

    unit: str
    bits: int
    block: int
    loss: float
    """Increase, in nats (see `calibrate.Calibrator.loss_increase`)."""


def units_of(weights: Mapping[str, FloatArray], names: list[str], *, cut: bool) -> list[Unit]:
    """Return the units of the matrices `names`; `cut` lets the word embedding be several."""
    found = []
    for name in names:
        count = len(weights[name])
        if cut and name == WORDS and count >= _FEWEST_ROWS:
            edges = [0, *(count // part for part in _CUTS), count]
            found += [Unit(name, rows) for rows in pairwise(edges)]
        else:
            found.append(Unit(name))
    return found


@dataclass(frozen=True)
class Menus:
    """What there is to choose from."""

    choices: Mapping[Unit, Sequence[Choice]] = field(default_factory=dict)
    """The layouts of every unit that are worth it, cheapest first."""
    measured: tuple[Sensitivity, ...] = ()
    """What they were weighed by; nothing where there was no text."""
    text: Mapping[str, Any] | None = None
    """What the text was like."""


class Rounder:
    """Rounds units, each layout once, by what flows into their products where that is known."""

    def __init__(
        self, weights: Mapping[str, FloatArray], calibrator: "Calibrator | None" = None
    ) -> None:
        """Take the moments of what flows into the products from `calibrator`, if there is one."""
        self._weights = weights
        self._moments = calibrator.moments() if calibrator else {}
        self._done: dict[tuple[str, Layout], PackedMatrix] = {}
        self._weighing = {name: each.covariance for name, each in self._moments.items()}
        if calibrator and WORDS in self._moments:
            self._weighing[WORDS] = _mixed(calibrator, weights[WORDS], self._moments[WORDS])

    @property
    def measured(self) -> bool:
        """Whether there was text to measure on."""
        return bool(self._moments)

    def hessian(self, unit: Unit) -> Hessian | None:
        """Return what errors of a unit are weighed by (C, C); None where that is unknown."""
        weighing = self._weighing.get(unit.name)
        return None if weighing is None else damped(weighing)

    def round(self, unit: Unit, layout: Layout) -> PackedMatrix:
        """Return a unit in this layout."""
        key = str(unit), layout
        if key not in self._done:
            matrix, hessian = unit.of(self._weights), self.hessian(unit)
            self._done[key] = (
                pack_matrix(matrix, layout)
                if hessian is None
                else round_second_order(matrix, layout, hessian)
            )
        return self._done[key]

    def corrected_bias(self, name: str, rounded: FloatArray) -> dict[str, FloatArray]:
        """Return the bias of the product with a weight (R, C), by its name, once it is rounded.

        Nothing where the weight is in no product that text was seen to flow into.
        """
        if name not in self._moments:
            return {}
        bias = WORDS_BIAS if name == WORDS else f"{name.removesuffix('.weight')}.bias"
        shift = (self._weights[name] - rounded) @ self._moments[name].mean
        return {bias: self._weights[bias] + shift.astype(np.float32)}

    def stored(self, chosen: Mapping[Unit, Choice]) -> "Weights":
        """Return all weights, those of the chosen units packed and their biases corrected."""
        packed: dict[str, PackedMatrix | PackedRows] = {}
        with progress("quantizing", len(chosen), "matrices") as bar:
            for name, units in groupby(chosen, key=lambda unit: unit.name):
                parts = [self.round(unit, chosen[unit].layout) for unit in units]
                packed[name] = join_rows(parts)
                bar.advance(len(parts), note=name)
        biases: dict[str, FloatArray] = {}
        for name in self._moments.keys() & packed.keys():
            biases |= self.corrected_bias(name, unpack_matrix(packed[name]))
        return {**self._weights, **biases, **packed}


def measure(
    config: BertConfig,
    weights: Mapping[str, FloatArray],
    units: list[Unit],
    tokenizer: Tokenizer,
    text: Path | None,
    storage: Storage,
) -> tuple[Rounder, Menus]:
    """Return what rounds the units, and their menus; by the loss on `text`, if there is one.

    Raises `InputError` where the text cannot be read or is empty, `MissingExtraError` where it is
    to be measured on and the package `onnx` is missing.
    """
    if text is None:
        choices = {
            unit: lower_hull(menu(str(unit), unit.of(weights), None, storage, measured=False))
            for unit in units
        }
        return Rounder(weights), Menus(choices)
    from bert_mobile.quantize.calibrate import Calibrator

    calibrator = Calibrator(config, weights, tokenizer, text)
    rounder = Rounder(weights, calibrator)
    choices, measured = {}, []
    with progress("measuring", len(units), "matrices") as bar:
        for unit in units:
            choices[unit], seen = _menu_by_loss(rounder, calibrator, weights, unit, storage)
            measured += seen
            bar.advance(note=str(unit))
    return rounder, Menus(choices, tuple(measured), calibrator.text.facts())


def coarsest(
    weights: Mapping[str, FloatArray], units: list[Unit], storage: Storage, *, measured: bool
) -> dict[Unit, Choice]:
    """Return the layouts that take the fewest bytes, of those that will be considered.

    Their losses are not known yet: the one that is told takes as many characters as any.
    """
    found = {}
    for unit in units:
        shape = unit.of(weights).shape
        layouts = layouts_of(str(unit), shape[1], storage, measured=measured)
        layout = min(layouts, key=lambda layout: layout.nbytes(shape))
        found[unit] = Choice(layout, layout.nbytes(shape), _LONGEST_LOSS)
    return found


def blank_weights(weights: Mapping[str, FloatArray], chosen: Mapping[Unit, Choice]) -> "Weights":
    """Return weights that take the bytes that the chosen layouts will, all of them zero."""
    blank = {
        name: join_rows(
            [blank_matrix(unit.of(weights).shape, chosen[unit].layout) for unit in units]
        )
        for name, units in groupby(chosen, key=lambda unit: unit.name)
    }
    return {**weights, **blank}


def _menu_by_loss(
    rounder: Rounder,
    calibrator: "Calibrator",
    weights: Mapping[str, FloatArray],
    unit: Unit,
    storage: Storage,
) -> tuple[list[Choice], list[Sensitivity]]:
    """Return the menu of a unit by the loss that its layouts add, and what was measured for it."""
    hessian = rounder.hessian(unit)
    choices = menu(str(unit), unit.of(weights), hessian, storage, measured=True)
    losses = {
        layout: calibrator.loss_increase(_replaced(rounder, weights, unit, layout))
        for layout in _probes(choices)
    }
    seen = [Sensitivity(str(unit), probe.bits, probe.block, loss) for probe, loss in losses.items()]
    return lower_hull(weighed(choices, losses)), seen


def _probes(choices: list[Choice]) -> list[Layout]:
    """Return the layout in the middle of those of 2 bits, if any, and of those of 4 bits."""
    by_bits = [[c for c in choices if c.layout.bits == bits] for bits in _PROBED]
    ordered = [sorted(some, key=lambda choice: choice.nbytes) for some in by_bits]
    return [some[len(some) // 2].layout for some in ordered if some]


def _replaced(
    rounder: Rounder, weights: Mapping[str, FloatArray], unit: Unit, layout: Layout
) -> dict[str, FloatArray]:
    """Return what takes the place of which weights where a unit alone is rounded."""
    whole = unpack_matrix(rounder.round(unit, layout))
    if unit.rows:
        part, whole = whole, weights[unit.name].copy()
        whole[slice(*unit.rows)] = part
    replaced = {unit.name: whole, **rounder.corrected_bias(unit.name, whole)}
    return {**replaced, **_output_words(whole)} if unit.name == WORDS else replaced


def _output_words(matrix: FloatArray) -> dict[str, FloatArray]:
    from bert_mobile.quantize.calibrate import OUTPUT_WORDS

    return {OUTPUT_WORDS: matrix}


def _mixed(calibrator: "Calibrator", words: FloatArray, moments: "Moments") -> FloatArray:
    """Return the Hessian (C, C) of both uses of the word embedding, see above."""
    layout = Layout(4, next(block for block in (64, 32, 16) if words.shape[1] % block == 0))
    rounded = unpack_matrix(pack_matrix(words, layout))
    counts = calibrator.text.counts[: len(words)]
    error = (words - rounded)[: len(counts)] * np.sqrt(counts, dtype=np.float32)[:, None]
    looked_up = float(np.sum(np.square(error), dtype=np.float64))
    projected = float(np.sum((error @ moments.covariance) * error, dtype=np.float64))
    of_look_up = calibrator.loss_increase({WORDS: rounded})
    of_output = calibrator.loss_increase(_output_words(rounded))
    identity = np.eye(words.shape[1], dtype=np.float32)
    return moments.covariance * np.float32(
        of_output / max(projected, 1e-30)
    ) + identity * np.float32(of_look_up / max(looked_up, 1e-30))
