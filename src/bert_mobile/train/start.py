"""Where fine-tuning begins: the encoder of any BERT under the fresh head of a task."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bert_mobile.checkpoint import WEIGHTS, read_weights
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.hub import find_model
from bert_mobile.model.config import SEQUENCES, TASKS, BertConfig
from bert_mobile.model.heads import BertForTask
from bert_mobile.quantize.interface import WORDS

POOLER, HEAD = "pooler", "head"
"""The parts of a `BertForTask` that may stay fresh."""

_SAME = (
    "num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size",
    "max_position_embeddings", "type_vocab_size", "layer_norm_eps",
)  # fmt: skip


def load_encoder(model: BertForTask, folder: Path, *, reuse_head: bool = False) -> tuple[str, ...]:
    """Load the encoder, and the pooler where both have one, of any BERT; the head stays fresh.

    `folder` is a checkpoint of ours or of transformers: pre-trained, a bare encoder, or fine-tuned
    for any task; or a quantized model of ours, of which the rounded weights are taken. Returns the
    parts that stay fresh, of `POOLER` and `HEAD`. With `reuse_head` the head is loaded too, which
    must be for the same labels in the same order. Raises `ArtifactError` where the folder is
    damaged, `InputError` where its encoder has another shape or its head other labels.
    """
    config = BertConfig.read(folder)
    for name in _SAME:
        theirs, ours = getattr(config, name), getattr(model.config, name)
        if theirs != ours:
            raise InputError(
                f"{folder} has {name} {theirs}, the network to fine-tune has {ours}",
                hint="take the shape from the folder's config.json",
            )
    if reuse_head:
        _check_head(folder, config, model.config)
    stored = _stored(folder, config)
    wanted = model.to_huggingface()
    parts = ("bert.", "classifier.", "qa_outputs.") if reuse_head else ("bert.",)
    taken = {k: w for k, w in stored.items() if k in wanted and k.startswith(parts)}
    model.from_huggingface(taken)
    fresh = [] if "bert.pooler.dense.weight" in taken or not model.config.has_pooler else [POOLER]
    return (*fresh, *([] if reuse_head else [HEAD]))


def _stored(folder: Path, config: BertConfig) -> dict[str, NDArray[np.float32]]:
    """Return the weights of a folder, float or quantized, by Hugging Face name."""
    if (folder / WEIGHTS).is_file():
        return read_weights(folder, config, skip_foreign_heads=True)
    find_model(folder)
    from bert_mobile.quantize import dequantize

    weights = dequantize(folder)
    if WORDS not in weights:
        raise ArtifactError(
            f"{folder} lacks {WORDS}, expected a whole encoder", hint="make it anew"
        )
    return {name: np.array(array) for name, array in weights.items()}  # theirs are read-only


def _check_head(folder: Path, theirs: BertConfig, ours: BertConfig) -> None:
    """Raise `InputError` unless both heads answer the same."""
    if theirs.architecture != ours.architecture or theirs.architecture not in TASKS:
        raise InputError(
            f"{folder} is a {theirs.architecture}, expected {ours.architecture} to take its head",
            hint="start with a fresh head",
        )
    if theirs.labels != ours.labels:
        raise InputError(
            f"{folder} has the labels {_few(theirs.labels)}, the data {_few(ours.labels)}",
            hint="start with a fresh head",
        )
    if theirs.architecture == SEQUENCES and theirs.problem_type != ours.problem_type:
        raise InputError(
            f"{folder} has the problem_type {theirs.problem_type}, the data {ours.problem_type}",
            hint="start with a fresh head",
        )


def _few(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:5]) + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")
