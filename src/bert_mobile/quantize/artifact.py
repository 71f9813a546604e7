"""The quantized folder: written from a float checkpoint, read back into one.

config.json  tokenizer.json  vocab.txt  tokenizer_config.json
onnx/model_quantized.onnx    the network, see `graph`
quantization.json            bits, bytes and error of every tensor
README.md                    a short card
provenance.json              the float parent's hash and history, SHA-256 of each file above
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_mobile.checkpoint import (
    CARD,
    ancestry,
    copy_tokenizer,
    expected_shapes,
    made_as,
    read_weights,
    verify,
    write_checkpoint,
    write_provenance,
)
from bert_mobile.errors import ArtifactError, InputError, MissingExtraError
from bert_mobile.files import atomic_folder, refuse_foreign_folder, sha256, write_json
from bert_mobile.model.config import PRETRAINING, BertConfig
from bert_mobile.progress import progress
from bert_mobile.quantize.allocate import Choice, allocate, least_bytes, menu, weighed
from bert_mobile.quantize.interface import QUANTIZED
from bert_mobile.quantize.pack import FloatArray, Layout, PackedMatrix, pack_matrix, unpack_matrix
from bert_mobile.quantize.report import (
    REPORT,
    QuantizationReport,
    card,
    folder_bytes,
    tensor_report,
)
from bert_mobile.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from bert_mobile.quantize.graph import Weights

KIND, UNPACKED = "quantized model", "unpacked checkpoint"
"""What provenance calls the results."""

# A few kilobytes that are not worth rounding: two rows, or the rows of a head of few labels.
_KEPT_FLOAT = (
    "bert.embeddings.token_type_embeddings.weight",
    "cls.seq_relationship.weight",
    "qa_outputs.weight",
)
_FEW_LABELS = 32


def quantize(
    folder: Path, out: Path, *, max_bytes: int = 25_000_000, calibration: Path | None = None
) -> QuantizationReport:
    """Write a quantized model of at most `max_bytes` to `out`, from a float checkpoint.

    `max_bytes` bounds all of `out` together, tokenizer and card included, as `du -sb` counts it.
    `calibration` is a file of text, a line each: rounding errors are then weighed by what they do
    to the network's answers on it (see `calibrate`). Raises `InputError` where even the coarsest
    layout is too large (it says how many bytes would do), `ArtifactError` where `folder` is no
    whole float checkpoint or `out` holds something else, `RunError` where the disk fills up.
    """
    refuse_foreign_folder(out, made_as(KIND), inputs=[folder])
    config = BertConfig.read(folder)
    weights = _useful(read_weights(folder, config), config)
    energies, menus = _measure(folder, config, weights, calibration)
    done: dict[tuple[str, Layout], PackedMatrix] = {}
    facts = _facts(folder, max_bytes, calibration)
    with atomic_folder(out) as scratch:

        def write(chosen: Mapping[str, Choice]) -> QuantizationReport:
            packed = _packed(weights, energies, chosen, done)
            return _write(folder, scratch, config, weights, packed, facts)

        return _fit(menus, max_bytes, write)


def dequantize(folder: Path) -> dict[str, FloatArray]:
    """Return the float32 weights that a quantized folder stands for, by Hugging Face name.

    Raises `ArtifactError` where the folder is damaged or holds no model of ours.
    """
    shapes = expected_shapes(BertConfig.read(folder))
    model = _read_model(folder)
    from onnx import numpy_helper

    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights: dict[str, FloatArray] = {}
    for name, shape in shapes.items():
        if name in stored:
            weights[name] = stored[name]
        elif f"{name}.codes" in stored:
            codes, scales = stored[f"{name}.codes"], stored[f"{name}.scales"]
            layout = Layout(codes.shape[1] * 8 // shape[1], shape[1] // scales.shape[1])
            packed = PackedMatrix(codes, scales, stored.get(f"{name}.zero_points"), layout)
            weights[name] = unpack_matrix(packed)
    if not weights:
        raise ArtifactError(
            f"{folder / QUANTIZED} holds no tensor of a BERT of the shape in config.json",
            hint="only files that `bert-mobile quantize` wrote can be read back",
        )
    return weights


def unpack_checkpoint(folder: Path, out: Path, *, bfloat16: bool = False) -> None:
    """Write a float32 or bfloat16 checkpoint to `out` from the quantized model in `folder`.

    Its weights are the rounded ones: it answers as the quantized model does, up to the rounding of
    activations in ONNX Runtime's kernels. Raises `ArtifactError` where `folder` is damaged or lacks
    one of the heads, or `out` holds something else.
    """
    refuse_foreign_folder(out, made_as(UNPACKED), inputs=[folder])
    config = BertConfig.read(folder)
    weights = dequantize(folder)
    facts = {"kind": UNPACKED, "parents": ancestry(folder, QUANTIZED)}
    with atomic_folder(out) as scratch:
        write_checkpoint(scratch, config, weights, folder, facts, bfloat16=bfloat16)


def _fit(
    menus: Mapping[str, Sequence[Choice]],
    max_bytes: int,
    write: Callable[[Mapping[str, Choice]], QuantizationReport],
) -> QuantizationReport:
    """Write the smallest folder, which tells what is not matrices; then the best one that fits.

    The files that describe the weights differ by a few bytes from one choice to the next, so what
    was written is measured again, and the budget tightened where it was exceeded.
    """
    least = least_bytes(menus)
    smallest = write(allocate(menus, least))
    if smallest.bytes > max_bytes:
        raise InputError(
            f"--max-bytes is {max_bytes:,}, expected at least {smallest.bytes:,} for this model",
            hint="allow more bytes, or train a smaller size or vocabulary",
        )
    budget = max_bytes - (smallest.bytes - least)
    while True:
        report = write(allocate(menus, budget))
        if report.bytes <= max_bytes:
            return report
        budget -= report.bytes - max_bytes


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


def _measure(
    folder: Path, config: BertConfig, weights: Mapping[str, FloatArray], calibration: Path | None
) -> tuple[dict[str, FloatArray], dict[str, list[Choice]]]:
    """Return how much the input channels of each matrix count, and its menu of layouts."""
    matrices = [name for name, weight in weights.items() if _is_packed(name, weight)]
    if calibration is None:
        return {}, {name: menu(name, weights[name], None) for name in matrices}
    from bert_mobile.quantize.calibrate import Calibrator

    calibrator = Calibrator(config, weights, load_tokenizer(folder), calibration)
    energies = calibrator.channel_energies()
    menus: dict[str, list[Choice]] = {}
    with progress("measuring", len(matrices), "matrices") as bar:
        for name in matrices:
            importance = energies.get(name)
            choices = menu(name, weights[name], importance)
            coarse = pack_matrix(weights[name], choices[0].layout, importance)
            shift = calibrator.output_shift(name, unpack_matrix(coarse))
            menus[name] = weighed(choices, shift)
            bar.advance(note=name)
    return energies, menus


def _packed(
    weights: Mapping[str, FloatArray],
    energies: Mapping[str, FloatArray],
    chosen: Mapping[str, Choice],
    done: dict[tuple[str, Layout], PackedMatrix],
) -> "Weights":
    """Pack each chosen matrix, unless `done` has it from an attempt before."""
    with progress("quantizing", len(chosen), "matrices") as bar:
        for name, choice in chosen.items():
            key = name, choice.layout
            if key not in done:
                done[key] = pack_matrix(weights[name], choice.layout, energies.get(name))
            bar.advance(note=name)
    return {**weights, **{name: done[name, choice.layout] for name, choice in chosen.items()}}


def _write(
    source: Path,
    folder: Path,
    config: BertConfig,
    weights: Mapping[str, FloatArray],
    stored: "Weights",
    facts: Mapping[str, Any],
) -> QuantizationReport:
    """Write all files of the artifact into `folder` and report on them."""
    from bert_mobile.quantize.graph import build_graph

    (folder / QUANTIZED).parent.mkdir(exist_ok=True)
    model_bytes = (folder / QUANTIZED).write_bytes(build_graph(config, stored).SerializeToString())
    tensors = tuple(tensor_report(name, weights[name], stored[name]) for name in weights)
    report = QuantizationReport(0, model_bytes, tensors)
    write_json(folder / "config.json", config.to_json())
    copy_tokenizer(source, folder)
    write_json(folder / REPORT, report.to_json())
    text = card(config, report, facts, _parents_card(source))
    (folder / CARD).write_text(text, encoding="utf-8")
    write_provenance(folder, facts)
    return QuantizationReport(folder_bytes(folder), model_bytes, tensors)


def _parents_card(folder: Path) -> str:
    """Return the card of the float model, if it has one."""
    path = folder / CARD
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _facts(folder: Path, max_bytes: int, calibration: Path | None) -> dict[str, Any]:
    """Return where the artifact comes from."""
    return {
        "kind": KIND,
        "parents": ancestry(folder),
        "max_bytes": max_bytes,
        "calibration": None if calibration is None else sha256(calibration),
    }


def _read_model(folder: Path) -> Any:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise MissingExtraError("onnx", "export") from None
    path = folder / QUANTIZED
    if not path.is_file():
        raise ArtifactError(
            f"{folder} has no {QUANTIZED}, expected a quantized model",
            hint="name the folder that `bert-mobile quantize` wrote",
        )
    verify(folder, [QUANTIZED])
    try:
        return onnx.load_model_from_string(path.read_bytes())
    except DecodeError as error:
        raise ArtifactError(
            f"{path} is no whole ONNX file: {error}", hint="copy it again from its source"
        ) from error
