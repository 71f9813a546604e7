"""The quantized folder: written from a float checkpoint, read back into one.

config.json  tokenizer.json  vocab.txt  tokenizer_config.json
onnx/model_quantized.onnx    the network, see `graph`
quantization.json            bits, bytes and error of every tensor
README.md                    a short card
provenance.json              the float parent's hash and history, SHA-256 of each file above
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bert_mobile.checkpoint import (
    WEIGHTS,
    ancestry,
    expected_shapes,
    made_as,
    read_weights,
    refuse_headless,
    write_checkpoint,
)
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.files import atomic_folder, held_aside, refuse_foreign_folder, sha256
from bert_mobile.judging.figures import Figures
from bert_mobile.model.config import PRETRAINING, BertConfig
from bert_mobile.quantize.allocate import OURS, Storage, allocate, least_bytes
from bert_mobile.quantize.interface import QUANTIZED
from bert_mobile.quantize.pack import FloatArray
from bert_mobile.quantize.picture import write_report
from bert_mobile.quantize.reading import dequantize
from bert_mobile.quantize.report import REPORT, QuantizationReport
from bert_mobile.quantize.sensitivity import (
    Menus,
    Rounder,
    coarsest,
    measure,
    units_of,
)
from bert_mobile.quantize.text import CalibrationText, lines_of
from bert_mobile.quantize.writer import KIND, Writer
from bert_mobile.tokenizer import load_tokenizer

UNPACKED = "unpacked checkpoint"
"""What provenance calls a float checkpoint made from it."""

# A few kilobytes that are not worth rounding: two rows, or the rows of a head of few labels.
_KEPT_FLOAT = (
    "bert.embeddings.token_type_embeddings.weight",
    "cls.seq_relationship.weight",
    "qa_outputs.weight",
)
_FEW_LABELS = 32

_SMALLER = "allow more bytes, or train a smaller size or vocabulary"


class TooFewBytesError(InputError):
    """A model does not fit into the bytes that it may take."""

    least: int
    """Bytes that it does fit into."""

    def __init__(self, message: str, *, hint: str, least: int) -> None:
        super().__init__(message, hint=hint)
        self.least = least

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a worker process raise it in its parent, the number included."""
        return (*super().__reduce__(), {"least": self.least})


def quantize(
    folder: Path,
    out: Path,
    *,
    max_bytes: int = 25_000_000,
    spare: int = 0,
    calibration: Path | None = None,
    storage: Storage = OURS,
    report: Path | None = None,
    judge: Callable[[Sequence[Path]], Sequence[Figures]] | None = None,
) -> QuantizationReport:
    """Write a quantized model of at most `max_bytes` to `out`, from a float checkpoint.

    `max_bytes` bounds all of `out` together, tokenizer and card included, as `du -sb` counts it;
    `spare` of them are left to what will be added to it later. `calibration` is a file of text, a
    line each, a tab between the two texts of a pair: rounding errors are then weighed by what they
    do to the network's answers on it (see `sensitivity`), and 2 bits are considered where 4 do not
    fit: only a recent ONNX Runtime reads them. `storage` leaves out layouts that another runtime
    does not hold, for a model that is to be exported. `report` is a folder for the report with a
    picture of what was measured; `judge` gives the figures of models, for it (see
    `evaluate.figures`).

    Raises `TooFewBytesError` where even the coarsest layout is too large, `InputError` where
    `report` or `calibration` lies inside `out`, `report` holds a model or another program writes to
    `out`, `ArtifactError` where `folder` is no whole float checkpoint, a weight or an answer is not
    finite or `out` holds something else, `RunError` where the disk fills up.
    """
    inputs = [folder] if calibration is None else [folder, calibration]
    refuse_foreign_folder(out, made_as(KIND), inputs=inputs)
    if report is not None:
        _refuse_report(report, out)
    _refuse_quantized(folder)
    config = BertConfig.read(folder)
    tokenizer = load_tokenizer(folder, config.vocab_size)
    weights = _useful(read_weights(folder, config), config)
    if calibration is not None:
        lines_of(calibration)  # which refuses what is no text before anything is done
    facts = _facts(folder, max_bytes, calibration)
    matrices = [name for name, weight in weights.items() if _is_packed(name, weight)]
    units = units_of(weights, matrices, cut=calibration is not None)
    with held_aside(out), atomic_folder(out) as scratch:
        writer = Writer(folder, scratch, config, weights, facts)
        measured = calibration is not None

        def size(held: Storage, budget: int) -> int:
            chosen = coarsest(weights, units, held, measured=measured)
            return writer.draft(chosen, measured=measured, max_bytes=budget) + spare

        storage = _coarse_enough(size, storage, max_bytes, measured=measured)
        before = judge([folder]) if judge is not None else ()  # fails early without its data
        rounder, menus = measure(config, weights, units, tokenizer, calibration, storage)
        facts["measured_on"] = menus.text
        made = _fit(writer, rounder, menus, max_bytes, spare)
    if judge is not None:
        made = replace(made, judged=(*before, *judge([out])))
    if report is not None:
        write_report(report, made)
    return made


def unpack_checkpoint(folder: Path, out: Path, *, bfloat16: bool = False) -> None:
    """Write a float32 or bfloat16 checkpoint to `out` from the quantized model in `folder`.

    Its weights are the rounded ones: it answers as the quantized model does, up to the rounding of
    activations in ONNX Runtime's kernels. Raises `ArtifactError` where `folder` is damaged or lacks
    one of the heads, or `out` holds something else.
    """
    refuse_foreign_folder(out, made_as(UNPACKED), inputs=[folder])
    config = BertConfig.read(folder)
    weights = dequantize(folder)
    refuse_headless(folder, config, weights)
    facts = {"kind": UNPACKED, "parents": ancestry(folder, QUANTIZED)}
    with atomic_folder(out) as scratch:
        write_checkpoint(scratch, config, weights, folder, facts, bfloat16=bfloat16)


def _refuse_report(report: Path, out: Path) -> None:
    """Raise where a report cannot be written, or would change a model."""
    problem = ""
    if out.resolve() in (report.resolve(), *report.resolve().parents):
        problem = f"lies inside --out {out}, whose bytes it would add to"
    elif report.is_file():
        problem = "is a file, expected a folder to write to"
    elif (report / "config.json").exists():
        problem = f"is the folder of a model, whose {REPORT} it would replace"
    if problem:
        raise InputError(f"--report {report} {problem}", hint="give --report a folder of its own")
    refuse_foreign_folder(report, lambda _: True)  # but not a place that cannot be written to


def _refuse_quantized(folder: Path) -> None:
    if (folder / QUANTIZED).is_file() and not (folder / WEIGHTS).is_file():
        raise ArtifactError(
            f"{folder} is quantized already, expected a float checkpoint",
            hint="quantize the float model that it was made from, anew",
        )


def _coarse_enough(
    size: Callable[[Storage, int], int], storage: Storage, max_bytes: int, *, measured: bool
) -> Storage:
    """Return a storage from 4 bits on, or all of it where its coarsest layouts then do not fit.

    `size` gives the bytes of these where a budget is written down beside them. Raises
    `TooFewBytesError` where nothing fits, before anything is measured.
    """
    for held in (storage.from_bits(4), storage) if measured else (storage,):
        if size(held, max_bytes) <= max_bytes:
            return held
    least = max_bytes
    while (needed := size(held, least)) > least:  # a longer number takes bytes itself
        least = needed
    hint = _SMALLER
    if not measured and storage != storage.from_bits(4):
        hint += "; with --calibration 2 bits a weight are tried as well"
    raise _too_few(max_bytes, least, hint)


def _too_few(max_bytes: int, least: int, hint: str = _SMALLER) -> TooFewBytesError:
    message = f"--max-bytes is {max_bytes:,}, expected at least {least:,} for this model"
    return TooFewBytesError(message, hint=hint, least=least)


def _fit(
    writer: Writer, rounder: Rounder, menus: Menus, max_bytes: int, spare: int
) -> QuantizationReport:
    """Write the best folder that fits.

    The files that describe the weights differ by a few bytes from one choice to the next, so drafts
    are measured, and the budget tightened until one fits. What is written is weighed again: numbers
    may turn out longer than a draft has them. Raises `TooFewBytesError` where not even the cheapest
    choices fit then.
    """
    least, most = least_bytes(menus.choices), max_bytes - spare
    cheapest = allocate(menus.choices, least)
    budget = most - (writer.draft(cheapest, measured=rounder.measured) - least)
    while True:
        chosen = allocate(menus.choices, budget)
        excess = writer.draft(chosen, measured=rounder.measured) - most
        if excess <= 0:
            made = writer.write(chosen, rounder, menus)
            if made.bytes <= most:
                return made
            excess = made.bytes - most
        if budget <= least:
            raise _too_few(max_bytes, max_bytes + excess)
        budget -= excess


def _useful(weights: Mapping[str, FloatArray], config: BertConfig) -> dict[str, FloatArray]:
    """Return the weights in the network's order, without a pooler that no head reads."""
    headless = config.architecture == PRETRAINING and "cls.seq_relationship.weight" not in weights
    return {
        name: weights[name]
        for name in expected_shapes(config)
        if name in weights and not (headless and name.startswith("bert.pooler."))
    }


def _is_packed(name: str, weight: FloatArray) -> bool:
    """Tell whether a weight is a matrix that is worth rounding."""
    if weight.ndim != 2 or name in _KEPT_FLOAT:
        return False
    return name != "classifier.weight" or len(weight) > _FEW_LABELS


def _facts(folder: Path, max_bytes: int, calibration: Path | None) -> dict[str, Any]:
    """Return where the artifact comes from."""
    return {
        "kind": KIND,
        "parents": ancestry(folder),
        "max_bytes": max_bytes,
        "calibration": None if calibration is None else sha256(calibration),
        "measured_on": None if calibration is None else CalibrationText.longest_facts(),
    }
