"""A fine-tuning that ends in a quantized model: where its layout comes from, and its last step.

OUT/start        the float model quantized as it is (`quantize`): the layout; gone at the end
OUT/quantized    the same layout with the numbers that were learned
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bert_mobile.checkpoint import ancestry, read_weights
from bert_mobile.errors import InputError, RunError
from bert_mobile.files import part_of
from bert_mobile.model.config import REGRESSION, BertConfig
from bert_mobile.model.heads import BertForTask
from bert_mobile.quantize import quantize, read_packed, repack
from bert_mobile.quantize.pack import FloatArray
from bert_mobile.quantize.report import QuantizationReport
from bert_mobile.train.finetune.calibration import write_lines
from bert_mobile.train.finetune.prepared import Prepared
from bert_mobile.train.finetune.settings import FinetuneSettings
from bert_mobile.train.quantized import RoundedNetwork, starting_weights

START, QUANTIZED = "start", "quantized"

_ROOM = 16_000
"""Bytes that the final folder's history is longer than the first one's, and more."""

_TEXT = "calibration.txt"

BEFORE = (START, _TEXT, part_of(Path(START)).name, part_of(Path(_TEXT)).name)
"""What there may be in the folder of a run that ended before it began to train."""


def make_layout(settings: FinetuneSettings, prepared: Prepared, out: Path) -> None:
    """Quantize the float model into `out`.

    Raises `InputError` where it does not fit into the bytes of the settings.
    """
    most = settings.max_bytes or 0
    if most <= _ROOM:
        raise InputError(f"max_bytes is {most:,}, expected more", hint="25_000_000 is usual")
    text = Path(settings.calibration) if settings.calibration else out / _TEXT
    if not settings.calibration:
        write_lines(text, prepared.calibration)
    quantize(prepared.start.folder, out / START, max_bytes=most - _ROOM, calibration=text)


def has_layout(out: Path) -> bool:
    """Tell whether a run has its layout."""
    return _layout(out).is_dir()


def rounded_networks(
    prepared: Prepared, out: Path
) -> tuple[BertForTask, RoundedNetwork, BertForTask]:
    """Return three networks.

    The one that is trained; the same as it answers with rounded weights; and the float model as it
    was, which learns nothing.
    """
    packed, exact = read_packed(_layout(out)), _parent(prepared)
    model, parent = BertForTask(prepared.config), BertForTask(prepared.config)
    model.from_huggingface(_standardised(starting_weights(packed, exact), prepared))
    parent.from_huggingface(_standardised(exact, prepared))
    return (
        model,
        RoundedNetwork(model, packed),
        parent.eval().requires_grad_(requires_grad=False),
    )


def write_quantized(
    settings: FinetuneSettings, prepared: Prepared, out: Path
) -> QuantizationReport | None:
    """Write the quantized model of a finished run, unless that was done; its start goes.

    Raises `RunError` where it has become larger than the settings allow.
    """
    if not (out / START).is_dir():
        return None
    weights = read_weights(out, prepared.config)
    facts: dict[str, Any] = {"parents": ancestry(out), "max_bytes": settings.max_bytes}
    made = repack(out / START, out, weights, out / QUANTIZED, parent=_parent(prepared), facts=facts)
    if made.bytes > (settings.max_bytes or 0):
        raise RunError(
            f"{out / QUANTIZED} has {made.bytes:,} bytes, expected at most {settings.max_bytes:,}",
            hint="allow a few thousand bytes more",
        )
    shutil.rmtree(out / START)
    (out / _TEXT).unlink(missing_ok=True)
    return made


def _standardised(weights: Mapping[str, FloatArray], prepared: Prepared) -> dict[str, FloatArray]:
    """Return weights whose head, if it is for numbers, gives these standardised, as is learned."""
    if prepared.config.problem_type != REGRESSION:
        return dict(weights)
    mean, deviation = (np.float32(each) for each in prepared.scale)
    head = {
        "classifier.weight": weights["classifier.weight"] / deviation,
        "classifier.bias": (weights["classifier.bias"] - mean) / deviation,
    }
    return {**weights, **head}


def _layout(out: Path) -> Path:
    return out / START if (out / START).is_dir() else out / QUANTIZED


def _parent(prepared: Prepared) -> Mapping[str, FloatArray]:
    folder = prepared.start.folder
    return read_weights(folder, BertConfig.read(folder))
