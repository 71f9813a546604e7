"""What `quantize` says about what it made: bytes and error of every tensor, and the short card."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bert_mobile.judging.figures import Figures
from bert_mobile.judging.heads import gives_number
from bert_mobile.model.config import (
    ANSWERS,
    MULTI_LABEL,
    PRETRAINING,
    SEQUENCES,
    TOKENS,
    BertConfig,
)
from bert_mobile.quantize.allocate import Choice
from bert_mobile.quantize.interface import QUANTIZED, WORDS_BIAS
from bert_mobile.quantize.pack import FloatArray, clipped_share, relative_error
from bert_mobile.quantize.sensitivity import Rounder, Sensitivity, Unit

REPORT = "quantization.json"

_LABELS_SHOWN = 20
_DIRECTORY_BYTES = 4096  # what `du -sb` counts for a folder itself on the usual file systems

_HEAD = """\
---
language: en
pipeline_tag: {pipeline}
tags:
- bert
- quantized
- onnx
---
"""

_BARE = "BertModel"  # transformers' class without the masked-token head
_PIPELINES = {
    _BARE: "feature-extraction",
    PRETRAINING: "fill-mask",
    SEQUENCES: "text-classification",
    TOKENS: "token-classification",
    ANSWERS: "question-answering",
}
_USES = {
    _BARE: 'embed(["a text", "another"])',
    PRETRAINING: 'fill_mask("The capital of France is [MASK].")',
    SEQUENCES: 'classify(["a text", "another"])',
    TOKENS: 'tag("A sentence of some words.")',
    ANSWERS: 'answer(question="Where is it?", context="It is in the text.")',
}

# GatherBlockQuantized takes 2 bits since microsoft/onnxruntime#28530 (May 2026).
_TWO_BITS = "; 2 bits need a recent ONNX Runtime (tested with 1.32)"

_CARD = """\
# Quantized BERT

{layers} layers, hidden size {hidden}, vocabulary {vocabulary:,}; packed by bert-mobile into
block-wise 2-, 4- and 8-bit weights, the embedding included and stored once. `{model}` is
{bytes:,} bytes and runs in ONNX Runtime on the CPU.
{answers}
- matrices at {bits}
- mean relative error of a matrix: {error:.2%}; tensor by tensor in `{report}`
- made from `{parent}`, whose weights have SHA-256 `{sha256}`; history in `provenance.json`

```python
import bert_mobile
bert_mobile.load("path/to/this/folder").{use}
```
"""


_WIDEST_SHARE = 0.123456
"""A number that takes as many characters as any that `_share` lets through, but for absurd ones."""


@dataclass(frozen=True)
class TensorReport:
    """How one tensor was stored, or some rows of it."""

    name: str
    """Its Hugging Face name; behind it, the rows, where the tensor was cut."""
    shape: tuple[int, ...]
    """Its dimensions."""
    bits: int
    """2, 4 or 8; 32 where it stayed float32."""
    block: int | None
    """Neighbouring weights that share a scale; None where it stayed float32."""
    bytes: int
    """What it takes in the file."""
    error: float
    """‖W - Ŵ‖ / ‖W‖ in the Frobenius norm."""
    clipped: float = 0.0
    """Part of the weights beyond the range of their block, stored as its end."""
    loss: float | None = None
    """What rounding it alone adds to the loss, in nats, as measured on the calibration text for
    layouts like this one; None where there was no text."""


@dataclass(frozen=True)
class QuantizationReport:
    """What `quantize` made."""

    bytes: int
    """The whole folder, as `du -sb` counts it. The copy in the folder itself leaves it out."""
    model_bytes: int
    """The ONNX file alone."""
    tensors: tuple[TensorReport, ...]
    """Every tensor of the network."""
    measured: tuple[Sensitivity, ...] = ()
    """What rounding each matrix alone did to the answers. The copy in the folder leaves it out."""
    judged: tuple[Figures, ...] = ()
    """The float model and the quantized file, where they were judged. The copy in the folder leaves
    it out."""

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object; what is not known yet is left out."""
        value = asdict(self)
        for key in ("bytes", "measured", "judged"):
            if not value[key]:
                del value[key]
        return value


@dataclass(frozen=True)
class Part:
    """A layer of the network, or what comes before or after the layers, all tensors together."""

    name: str
    bytes: int
    bits: float
    """Mean bits of a weight, scales and zero points included."""
    error: float
    """Mean relative error of a matrix."""
    clipped: float
    """Part of the packed weights that lie beyond the range of their block."""
    loss: float | None
    """Sum over its matrices."""


def parts(report: QuantizationReport) -> list[Part]:
    """Return the parts of the network, in its order."""
    groups: dict[str, list[TensorReport]] = {}
    for tensor in report.tensors:
        groups.setdefault(_part_of(tensor.name), []).append(tensor)
    return [_part(name, tensors) for name, tensors in groups.items()]


def _part(name: str, tensors: Sequence[TensorReport]) -> Part:
    total = sum(tensor.bytes for tensor in tensors)
    packed = [tensor for tensor in tensors if tensor.block is not None]
    weights = sum(math.prod(tensor.shape) for tensor in packed)
    losses = [tensor.loss for tensor in tensors if tensor.loss is not None]
    clipped = sum(tensor.clipped * math.prod(tensor.shape) for tensor in packed)
    return Part(
        name,
        total,
        8 * total / sum(math.prod(tensor.shape) for tensor in tensors),
        sum(tensor.error for tensor in packed) / len(packed) if packed else 0.0,
        clipped / weights if weights else 0.0,
        sum(losses) if losses else None,
    )


def _part_of(name: str) -> str:
    """Return "embeddings", "layer 0" and so on, or "heads"."""
    if name.startswith("bert.embeddings."):
        return "embeddings"
    if name.startswith("bert.encoder.layer."):
        return f"layer {name.split('.')[3]}"
    return "heads"


def stored_rows(
    weights: Mapping[str, FloatArray], chosen: Mapping[Unit, Choice], rounder: Rounder
) -> tuple[TensorReport, ...]:
    """Compare every tensor with what was stored of it."""

    def row(unit: Unit, choice: Choice) -> TensorReport:
        weight, packed = unit.of(weights), rounder.round(unit, choice.layout)
        return TensorReport(
            str(unit),
            weight.shape,
            choice.layout.bits,
            choice.layout.block,
            choice.nbytes,
            _share(relative_error(weight, packed)),
            _share(clipped_share(weight, packed)),
            _loss(choice.error) if rounder.measured else None,
        )

    return _all_rows(weights, chosen, row)


def draft_rows(
    weights: Mapping[str, FloatArray], chosen: Mapping[Unit, Choice], *, measured: bool
) -> tuple[TensorReport, ...]:
    """Return rows that take as many characters as those that will come, if not a few more."""

    def row(unit: Unit, choice: Choice) -> TensorReport:
        shape, layout = unit.of(weights).shape, choice.layout
        said = _WIDEST_SHARE, _WIDEST_SHARE, _loss(choice.error) if measured else None
        return TensorReport(str(unit), shape, layout.bits, layout.block, choice.nbytes, *said)

    return _all_rows(weights, chosen, row)


def _all_rows(
    weights: Mapping[str, FloatArray],
    chosen: Mapping[Unit, Choice],
    row: Callable[[Unit, Choice], TensorReport],
) -> tuple[TensorReport, ...]:
    """Return the rows of the units in the network's order, and of what stays float32."""
    units: dict[str, list[Unit]] = {}
    for unit in chosen:
        units.setdefault(unit.name, []).append(unit)
    found: list[TensorReport] = []
    for name, weight in weights.items():
        found += [row(unit, chosen[unit]) for unit in units.get(name, [])]
        if name not in units:
            found.append(TensorReport(name, weight.shape, 32, None, weight.nbytes, 0.0))
    return tuple(found)


def _share(value: float) -> float:
    return round(value, 6)


def _loss(value: float) -> float:
    return float(f"{value:.4g}")


def card(
    config: BertConfig, report: QuantizationReport, facts: Mapping[str, Any], parents_card: str
) -> str:
    """Return the card of a quantized model, in the form of the Hugging Face Hub.

    `parents_card` is the float model's: its head (licence, base model, data) holds for both, its
    text follows ours.
    """
    packed = [tensor for tensor in report.tensors if tensor.block is not None]
    counts = Counter(tensor.bits for tensor in packed)
    bits = ", at ".join(f"{bits} bits: {count}" for bits, count in sorted(counts.items()))
    heads = config.architecture
    if heads == PRETRAINING and not any(t.name == WORDS_BIAS for t in report.tensors):
        heads = _BARE
    pipeline = _PIPELINES[heads]
    head, text = _HEAD.format(pipeline=pipeline), parents_card
    if parents_card.startswith("---\n") and "\n---\n" in parents_card[4:]:
        head, _, text = parents_card[4:].partition("\n---\n")
        if config.architecture != PRETRAINING:  # an encoder's card may have come along
            head = _with_pipeline(head, pipeline)
        head = f"---\n{_merged(head)}---\n"
    ours = _CARD.format(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        vocabulary=config.vocab_size,
        model=QUANTIZED,
        answers=_answers(config),
        use=_USES[heads],
        bytes=report.model_bytes,
        bits=bits + _TWO_BITS if 2 in counts else bits,
        error=sum(tensor.error for tensor in packed) / len(packed),
        report=REPORT,
        parent=facts["parents"][-1]["name"],
        sha256=facts["parents"][-1]["sha256"],
    )
    return f"{head}{ours}\n{text.lstrip()}" if text else head + ours


def _answers(config: BertConfig) -> str:
    """Return the paragraph that says what a model with the head of a task answers."""
    if config.architecture == PRETRAINING:
        return ""
    if config.architecture == ANSWERS:
        none = "" if config.no_answer_threshold is None else ", or that there is none"
        return f"\nIt says where in a text the answer to a question stands{none}.\n"
    several = config.problem_type == MULTI_LABEL
    count = len(config.labels)
    named = ", ".join(f"`{label}`" for label in config.labels[:_LABELS_SHOWN])
    more = f" and {count - _LABELS_SHOWN:,} more (`config.json`)" if count > _LABELS_SHOWN else ""
    if gives_number(config):
        return f"\nIt gives a text, or a pair of texts, a number: {named}.\n"
    what = "each word" if config.architecture == TOKENS else "a text, or a pair of texts,"
    number = "any of" if several else "one of"
    return f"\nIt gives {what} {number} {count:,} labels: {named}{more}.\n"


def _with_pipeline(head: str, pipeline: str) -> str:
    """Return a YAML head that says what the model is for."""
    lines = [line for line in head.splitlines() if not line.startswith("pipeline_tag:")]
    return "\n".join([*lines, f"pipeline_tag: {pipeline}"])


def _merged(head: str) -> str:
    """Return a parent's YAML head with our two tags, without the library that it was for."""
    lines = [line for line in head.splitlines() if not line.startswith("library_name:")]
    found = [number for number, line in enumerate(lines) if line.startswith("tags:")]
    start = found[0] if found else len(lines)
    stop = start + 1
    while stop < len(lines) and lines[stop].lstrip().startswith("- "):
        stop += 1
    inline = "".join(lines[start : start + 1]).removeprefix("tags:").strip().strip("[]")
    items = [
        *inline.split(","),
        *(line.lstrip().removeprefix("- ") for line in lines[start + 1 : stop]),
    ]
    tags = dict.fromkeys(item.strip().strip("'\"") for item in [*items, "quantized", "onnx"])
    lines[start:stop] = ["tags:", *(f"- {tag}" for tag in tags if tag)]
    return "".join(f"{line}\n" for line in lines)


def folder_bytes(folder: Path) -> int:
    """Return the bytes of a folder with all that is in it, as `du -sb` counts them."""
    sizes = (
        _DIRECTORY_BYTES if path.is_dir() else path.stat().st_size for path in folder.rglob("*")
    )
    return _DIRECTORY_BYTES + sum(sizes)
