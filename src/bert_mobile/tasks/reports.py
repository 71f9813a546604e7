"""Where a model is right and where it is wrong: a table of classes, a picture, a list of errors.

`write_reports` fills a folder with

- `report.json`: how many errors, the figures of each class, the most confused labels;
- `classes.tsv`: precision, recall, F1 and number of examples of each class, or type of entity;
- `wrong.tsv`: line, text, expected, predicted, probability, the most confident errors first;
- `confusion.png`: what is taken for what (see `bert_mobile.tasks.confusion`).

Numbers and answers have no classes: of them there is no table and no picture.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bert_mobile.corpus.libraries import library
from bert_mobile.files import atomic_file, write_json
from bert_mobile.labelled import CLASS_KINDS, Example
from bert_mobile.tasks.confusion import Confusion, confusion, draw
from bert_mobile.tasks.metrics import ENTITY_PARTS, refuse_unequal
from bert_mobile.tasks.mistakes import Wrong, wrong_predictions

REPORT, CLASSES, WRONG, PICTURE = "report.json", "classes.tsv", "wrong.tsv", "confusion.png"

MOST_WRONG = 10_000
"""Errors that are listed; `report.json` has the number of all."""

MOST_CONFUSED = 20
"""Pairs of labels in `report.json`."""


@dataclass(frozen=True)
class Judged:
    """Examples, what is right and what was predicted, as `bert_mobile.tasks.metrics` has them."""

    kind: str
    examples: Sequence[Example]
    truth: Any
    predicted: Any
    labels: tuple[str, ...] = ()
    """In the order of their numbers; none for numbers and answers."""
    probabilities: Any = None
    """Of what was predicted: (N,); a sequence for each sentence; with several labels (N, C), of
    every label. None: not known."""


@dataclass(frozen=True)
class ClassFigures:
    """How well one label or type of entity is told, from 0 to 1."""

    label: str
    precision: float
    recall: float
    f1: float
    examples: int
    """How many there are in truth."""


def write_reports(folder: Path, judged: Judged, title: str) -> tuple[Path, ...]:
    """Write the files into `folder`, which is made where it is missing; return their paths.

    `title` stands above the picture. Raises `MissingExtraError` without scikit-learn, and
    `InputError` where there is nothing to report; without matplotlib there is no picture, and a
    warning.
    """
    refuse_unequal(judged.examples, judged.predicted)
    wrong = wrong_predictions(judged)
    classes = class_figures(judged)
    confused = confusion_of(judged)
    report = {
        "examples": len(judged.examples),
        "errors": len(wrong),
        "classes": [asdict(each) for each in classes],
        "most_confused": [
            {"expected": expected, "predicted": predicted, "times": times}
            for expected, predicted, times in (confused.pairs() if confused else [])[:MOST_CONFUSED]
        ],
    }
    write_json(folder / REPORT, report)
    _write_table(folder / WRONG, Wrong.HEADS, (each.cells() for each in wrong[:MOST_WRONG]))
    written = [folder / REPORT, folder / WRONG]
    if classes:
        heads = ("label", "precision", "recall", "f1", "examples")
        _write_table(folder / CLASSES, heads, map(_cells, classes))
        written.append(folder / CLASSES)
    if confused and (picture := draw(confused, folder / PICTURE, title)):
        written.append(picture)
    return tuple(written)


def class_figures(judged: Judged) -> list[ClassFigures]:
    """Return the figures of each class, in the order of the labels; entities by type."""
    if judged.kind not in CLASS_KINDS:
        return []
    if judged.kind == "tag" and any(label.startswith(ENTITY_PARTS) for label in judged.labels):
        return _entity_figures(judged)
    truth, predicted = _numbers(judged)
    columns = library("sklearn.metrics", "evaluate").precision_recall_fscore_support(
        truth, predicted, labels=np.arange(len(judged.labels)), average=None, zero_division=0.0
    )
    return [
        ClassFigures(label, float(precision), float(recall), float(f1), int(support))
        for label, precision, recall, f1, support in zip(judged.labels, *columns, strict=True)
    ]


def confusion_of(judged: Judged) -> Confusion | None:
    """Return what is taken for what, by text or by word; None where that has no meaning."""
    if judged.kind not in CLASS_KINDS:
        return None
    truth, predicted = _numbers(judged)
    return None if truth.ndim > 1 else confusion(truth, predicted, judged.labels)


def _entity_figures(judged: Judged) -> list[ClassFigures]:
    seqeval = library("seqeval.metrics.sequence_labeling", "evaluate")
    both = [[list(tags) for tags in side] for side in (judged.truth, judged.predicted)]
    found = seqeval.precision_recall_fscore_support(*both, average=None, zero_division=0)
    # of the types that occur, sorted by name
    names = sorted({name for side in both for name, *_ in seqeval.get_entities(side)})
    return [
        ClassFigures(name, float(precision), float(recall), float(f1), int(support))
        for name, precision, recall, f1, support in zip(names, *found, strict=True)
    ]


def _numbers(judged: Judged) -> list[Any]:
    """Return truth and predictions as numbers of labels, words one after the other."""
    sides = (judged.truth, judged.predicted)
    if judged.kind != "tag":
        return [np.asarray(side) for side in sides]
    places = {label: number for number, label in enumerate(judged.labels)}
    return [np.asarray([places[tag] for tags in side for tag in tags], int) for side in sides]


def _cells(figures: ClassFigures) -> tuple[str, ...]:
    shares = (figures.precision, figures.recall, figures.f1)
    return (figures.label, *(f"{share:.4f}" for share in shares), str(figures.examples))


def _write_table(path: Path, heads: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Write tab-separated lines; white space of any kind inside a cell becomes one space."""
    with atomic_file(path) as scratch, scratch.open("w", encoding="utf-8", newline="\n") as file:
        for row in (heads, *rows):
            file.write("\t".join(" ".join(cell.split()) for cell in row) + "\n")
