"""A fine-tuning that ends in a quantized model (see `train.rounded`), its head among the rest."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bert_mobile.judging.heads import gives_number
from bert_mobile.model.heads import BertForTask
from bert_mobile.quantize.pack import FloatArray
from bert_mobile.train.finetune.prepared import Prepared
from bert_mobile.train.finetune.settings import FinetuneSettings
from bert_mobile.train.quantized import RoundedNetwork
from bert_mobile.train.rounded import Rounding


def rounding_of(settings: FinetuneSettings, prepared: Prepared, out: Path) -> Rounding:
    """Return the way of a run in `out` to its quantized model."""
    text = Path(settings.calibration) if settings.calibration else None
    return Rounding(prepared.start.folder, out, settings.max_bytes or 0, text)


def calibration_text(settings: FinetuneSettings, prepared: Prepared) -> Path | Sequence[str]:
    """Return what the bits are chosen by."""
    return Path(settings.calibration) if settings.calibration else prepared.calibration


def rounded_networks(
    rounding: Rounding, prepared: Prepared
) -> tuple[BertForTask, RoundedNetwork, BertForTask]:
    """Return three networks.

    The one that is trained; the same as it answers with rounded weights; and the float model as it
    was, which learns nothing.
    """
    model, parent = BertForTask(prepared.config), BertForTask(prepared.config)
    model.from_huggingface(_standardised(rounding.starting_weights(), prepared))
    parent.from_huggingface(_standardised(rounding.exact, prepared))
    return (
        model,
        RoundedNetwork(model, rounding.packed),
        parent.eval().requires_grad_(requires_grad=False),
    )


def _standardised(weights: Mapping[str, FloatArray], prepared: Prepared) -> dict[str, FloatArray]:
    """Return weights whose head, if it is for numbers, gives these standardised, as is learned."""
    if not gives_number(prepared.config):
        return dict(weights)
    mean, deviation = (np.float32(each) for each in prepared.scale)
    head = {
        "classifier.weight": weights["classifier.weight"] / deviation,
        "classifier.bias": (weights["classifier.bias"] - mean) / deviation,
    }
    return {**weights, **head}
