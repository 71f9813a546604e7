"""What `quantize` says about what it made: bytes and error of every tensor, and the short card."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bert_mobile.model.config import (
    ANSWERS,
    MULTI_LABEL,
    PRETRAINING,
    REGRESSION,
    SEQUENCES,
    TOKENS,
    BertConfig,
)
from bert_mobile.quantize.interface import QUANTIZED
from bert_mobile.quantize.pack import FloatArray, PackedMatrix, relative_error

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

_PIPELINES = {
    PRETRAINING: "fill-mask",
    SEQUENCES: "text-classification",
    TOKENS: "token-classification",
    ANSWERS: "question-answering",
}
_USES = {
    PRETRAINING: 'fill_mask("The capital of France is [MASK].")',
    SEQUENCES: 'classify(["a text", "another"])',
    TOKENS: 'tag("A sentence of some words.")',
    ANSWERS: 'answer(question="Where is it?", context="It is in the text.")',
}

_CARD = """\
# Quantized BERT

{layers} layers, hidden size {hidden}, vocabulary {vocabulary:,}; packed by bert-mobile into
block-wise 4- and 8-bit weights, the embedding included and stored once. `{model}` is
{bytes:,} bytes and runs in ONNX Runtime on the CPU.
{answers}
- matrices at 4 bits: {four}, at 8 bits: {eight}
- mean relative error of a matrix: {error:.2%}; tensor by tensor in `{report}`
- made from `{parent}`, whose weights have SHA-256 `{sha256}`; history in `provenance.json`

```python
import bert_mobile
bert_mobile.load("path/to/this/folder").{use}
```
"""


@dataclass(frozen=True)
class TensorReport:
    """How one tensor was stored."""

    name: str
    """Its Hugging Face name."""
    shape: tuple[int, ...]
    """Its dimensions."""
    bits: int
    """4 or 8; 32 where it stayed float32."""
    block: int | None
    """Neighbouring weights that share a scale; None where it stayed float32."""
    bytes: int
    """What it takes in the file."""
    error: float
    """‖W - Ŵ‖ / ‖W‖ in the Frobenius norm."""


@dataclass(frozen=True)
class QuantizationReport:
    """What `quantize` made."""

    bytes: int
    """The whole folder, as `du -sb` counts it. The copy in the folder itself leaves it out."""
    model_bytes: int
    """The ONNX file alone."""
    tensors: tuple[TensorReport, ...]
    """Every tensor of the network."""

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object; `bytes` is left out as long as it is 0, unknown."""
        value = asdict(self)
        if not self.bytes:
            del value["bytes"]
        return value


def tensor_report(name: str, weight: FloatArray, stored: FloatArray | PackedMatrix) -> TensorReport:
    """Compare a tensor with what was stored of it."""
    if not isinstance(stored, PackedMatrix):
        return TensorReport(name, weight.shape, 32, None, stored.nbytes, 0.0)
    layout, error = stored.layout, relative_error(weight, stored)
    return TensorReport(name, weight.shape, layout.bits, layout.block, stored.nbytes, error)


def card(
    config: BertConfig, report: QuantizationReport, facts: Mapping[str, Any], parents_card: str
) -> str:
    """Return the card of a quantized model, in the form of the Hugging Face Hub.

    `parents_card` is the float model's: its head (licence, base model, data) holds for both, its
    text follows ours.
    """
    packed = [tensor for tensor in report.tensors if tensor.block is not None]
    pipeline = _PIPELINES[config.architecture]
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
        use=_USES[config.architecture],
        bytes=report.model_bytes,
        four=sum(tensor.bits == 4 for tensor in packed),
        eight=sum(tensor.bits == 8 for tensor in packed),
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
    if config.problem_type == REGRESSION:
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
