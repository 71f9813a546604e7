"""What is taken for what: counts of expected against predicted labels, and the picture of them."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_mobile.files import atomic_file

MOST_LABELS = 25
"""Labels up to which the picture is the whole matrix; of more it shows the most confused pairs."""

COUNTED_LABELS = 12
"""Labels up to which the squares of the matrix have their counts written in."""

MOST_PAIRS = 30
"""Pairs in the other picture."""

DARK = 0.25
"""Part from which on a square is so dark that its count is written in white."""

LETTERS_AN_INCH = 9
"""Of a title."""

LONGEST_LABEL = 32
"""Characters of a label in a picture."""


@dataclass(frozen=True)
class Confusion:
    """How often each label was taken for each."""

    labels: tuple[str, ...]
    counts: NDArray[np.int64]
    """(L, L): a row for each expected label, a column for each predicted one."""

    def pairs(self) -> list[tuple[str, str, int]]:
        """Return the errors: expected, predicted and how often, the most frequent first."""
        wrong = self.counts - np.diag(np.diag(self.counts))
        rows, columns = np.nonzero(wrong)
        order = np.argsort(-wrong[rows, columns], kind="stable")
        return [
            (self.labels[rows[i]], self.labels[columns[i]], int(wrong[rows[i], columns[i]]))
            for i in order
        ]


def confusion(truth: Any, predicted: Any, labels: Sequence[str]) -> Confusion:
    """Count numbers of labels (N,) against each other."""
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, (np.asarray(truth, dtype=int), np.asarray(predicted, dtype=int)), 1)
    return Confusion(tuple(labels), counts)


def draw(found: Confusion, path: Path, title: str) -> Path | None:
    """Draw the matrix, or the most confused pairs where it has too many labels to be read.

    Nothing is drawn, with a warning, where matplotlib is not installed, and nothing where there are
    many labels and no error.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        warnings.warn("no picture is drawn: matplotlib is not installed", stacklevel=2)
        return None
    many = len(found.labels) > MOST_LABELS
    if many and not found.pairs():
        return None
    width, height = _size(found, many=many)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    if many:
        _draw_pairs(axes, found)
    else:
        _draw_matrix(figure, axes, found)
    axes.set_title(fill(_plain(title), int(width * LETTERS_AN_INCH)), pad=12)
    with atomic_file(path) as scratch:
        figure.savefig(scratch, format="png", dpi=110, bbox_inches="tight", pad_inches=0.15)
    return path


def _size(found: Confusion, *, many: bool) -> tuple[float, float]:
    """Return the size of the picture in inches."""
    if many:
        return 9, 1.6 + 0.26 * min(len(found.pairs()), MOST_PAIRS)
    side = 3.0 + 0.42 * len(found.labels)
    return side + 1.2, side


def _draw_matrix(figure: Any, axes: Any, found: Confusion) -> None:
    """Draw a square for each pair; its colour is the part of the expected label's examples.

    The scale is of their square roots, so that few errors are seen beside much that is right.
    """
    from matplotlib.colors import PowerNorm

    totals = found.counts.sum(1, keepdims=True)
    parts = found.counts / np.maximum(totals, 1)
    image = axes.imshow(parts, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
    figure.colorbar(image, ax=axes, label="part of the expected label", shrink=0.8)
    names = [_short(label) for label in found.labels]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="expected")
    if len(names) > COUNTED_LABELS:
        return
    for (row, column), count in np.ndenumerate(found.counts):
        color = "white" if parts[row, column] > DARK else "#333333"
        axes.text(column, row, f"{count:,}", ha="center", va="center", color=color, fontsize=9)


def _draw_pairs(axes: Any, found: Confusion) -> None:
    pairs = found.pairs()
    shown = pairs[:MOST_PAIRS][::-1]
    names = [f"{_short(expected)} → {_short(predicted)}" for expected, predicted, _ in shown]
    bars = axes.barh(range(len(shown)), [count for *_, count in shown], color="#c0392b")
    axes.bar_label(bars, padding=3)
    axes.set_yticks(range(len(shown)), names)
    errors, total = sum(count for *_, count in pairs), int(found.counts.sum())
    axes.set(xlabel=f"times expected → predicted; in all {errors:,} of {total:,} are wrong")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.margins(x=0.08, y=0.01)
    axes.set_axisbelow(True)
    axes.grid(axis="x", alpha=0.3)


def _short(label: str) -> str:
    """Return a label that fits."""
    line = " ".join(label.split())
    cut = line if len(line) <= LONGEST_LABEL else f"{line[: LONGEST_LABEL - 1]}…"
    return _plain(cut)


def _plain(text: str) -> str:
    """Keep matplotlib from reading a formula."""
    return text.replace("$", r"\$")
