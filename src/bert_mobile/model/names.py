"""The one table of names: ours on the left, Hugging Face's on the right.

Checkpoints on disk carry Hugging Face's names, so that transformers reads them unchanged; the
network in memory carries ours. `{i}` stands for the layer's number. The output projection of the
masked-language-model head is the word embedding itself and is stored once, under the embedding's
name.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from bert_mobile.errors import ArtifactError
from bert_mobile.model.config import ANSWERS, PRETRAINING, SEQUENCES, TOKENS

Tensor = TypeVar("Tensor")

_EMBEDDINGS = {
    "encoder.embeddings.words.weight": "bert.embeddings.word_embeddings.weight",
    "encoder.embeddings.positions.weight": "bert.embeddings.position_embeddings.weight",
    "encoder.embeddings.types.weight": "bert.embeddings.token_type_embeddings.weight",
    "encoder.embeddings.norm.weight": "bert.embeddings.LayerNorm.weight",
    "encoder.embeddings.norm.bias": "bert.embeddings.LayerNorm.bias",
}
_LAYER = {
    f"encoder.layers.{{i}}.{ours}.{kind}": f"bert.encoder.layer.{{i}}.{theirs}.{kind}"
    for ours, theirs in {
        "attention.query": "attention.self.query",
        "attention.key": "attention.self.key",
        "attention.value": "attention.self.value",
        "attention.output": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "feed_forward.inner": "intermediate.dense",
        "feed_forward.outer": "output.dense",
        "feed_forward_norm": "output.LayerNorm",
    }.items()
    for kind in ("weight", "bias")
}
_POOLER = {
    "pooler.weight": "bert.pooler.dense.weight",
    "pooler.bias": "bert.pooler.dense.bias",
}
_PRETRAINING = {
    "masked_tokens.dense.weight": "cls.predictions.transform.dense.weight",
    "masked_tokens.dense.bias": "cls.predictions.transform.dense.bias",
    "masked_tokens.norm.weight": "cls.predictions.transform.LayerNorm.weight",
    "masked_tokens.norm.bias": "cls.predictions.transform.LayerNorm.bias",
    "masked_tokens.bias": "cls.predictions.bias",
    "next_sentence.weight": "cls.seq_relationship.weight",
    "next_sentence.bias": "cls.seq_relationship.bias",
}
_CLASSIFIER = {"head.weight": "classifier.weight", "head.bias": "classifier.bias"}
_HEADS = {
    PRETRAINING: {**_POOLER, **_PRETRAINING},
    SEQUENCES: {**_POOLER, **_CLASSIFIER},
    TOKENS: _CLASSIFIER,
    ANSWERS: {"head.weight": "qa_outputs.weight", "head.bias": "qa_outputs.bias"},
}

TIED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
"""Hugging Face names that are second names of another tensor, with the name we keep."""

_IGNORED = ("bert.embeddings.position_ids",)


def huggingface_names(num_hidden_layers: int, architecture: str = PRETRAINING) -> dict[str, str]:
    """Return the whole table for a network of so many layers: our name → Hugging Face's.

    `architecture` is transformers' class of it, which decides on the heads (see `config`).
    """
    layers = {
        ours.replace("{i}", str(i)): theirs.replace("{i}", str(i))
        for i in range(num_hidden_layers)
        for ours, theirs in _LAYER.items()
    }
    return {**_EMBEDDINGS, **layers, **_HEADS[architecture]}


def to_huggingface(
    state: Mapping[str, Tensor], num_hidden_layers: int, architecture: str = PRETRAINING
) -> dict[str, Tensor]:
    """Rename every tensor of a state dict of ours; raises `ArtifactError` on an unknown name."""
    return _renamed(state, huggingface_names(num_hidden_layers, architecture))


def from_huggingface(
    state: Mapping[str, Tensor], num_hidden_layers: int, architecture: str = PRETRAINING
) -> dict[str, Tensor]:
    """Rename every tensor of a Hugging Face state dict; second names of tied tensors are left out.

    Raises `ArtifactError` on a name that is not in the table: nothing is dropped in silence.
    """
    names = huggingface_names(num_hidden_layers, architecture)
    table = {theirs: ours for ours, theirs in names.items()}
    return _renamed(canonical(state), table)


def canonical(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict under today's Hugging Face names.

    Brings together what published files call the same thing: the prefix-less names of a bare
    `BertModel`, the LayerNorm names `gamma` and `beta`, second names of tied tensors, and a buffer
    of position numbers that holds nothing learned.
    """
    bare = not any(name.startswith("bert.") for name in state)
    modern = {_modern(name, bare): tensor for name, tensor in state.items()}
    return {k: v for k, v in modern.items() if k not in TIED and k not in _IGNORED}


def _modern(name: str, bare: bool) -> str:
    if bare and not name.startswith("cls."):
        name = f"bert.{name}"
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
        "LayerNorm.beta", "LayerNorm.bias"
    )


def _renamed(state: Mapping[str, Tensor], table: Mapping[str, str]) -> dict[str, Tensor]:
    unknown = _first_few(name for name in state if name not in table)
    if unknown:
        raise ArtifactError(
            f"the weights hold {unknown}, which a BERT of this shape does not have",
            hint="check that config.json and the weights belong together",
        )
    return {table[name]: tensor for name, tensor in state.items()}


def _first_few(names: Iterable[str], limit: int = 3) -> str:
    found = sorted(names)
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(found[:limit]) + more
