"""The network to grow from: read from its folder, and refused where nothing good can come of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordPiece

from bert_mobile.checkpoint import WEIGHTS, read_weights
from bert_mobile.errors import ArtifactError
from bert_mobile.model.config import PRETRAINING, BertConfig
from bert_mobile.model.heads import BertForPretraining
from bert_mobile.model.names import from_huggingface
from bert_mobile.quantize.interface import QUANTIZED
from bert_mobile.tokenizer import id_count, load_tokenizer

POOLER, MASKED_TOKENS, NEXT_SENTENCE = "pooler", "masked_tokens", "next_sentence"
"""The heads, by their names in `BertForPretraining`."""

_MADE_FLOAT = {
    QUANTIZED: "make it a float checkpoint first: bert-mobile convert SOURCE --out DIR",
    "pytorch_model.bin": "pickles are never read; let transformers write safetensors: "
    "AutoModelForPreTraining.from_pretrained(SOURCE).save_pretrained(DIR)",
}
"""What to do about a folder that holds its weights in another form only."""


@dataclass(frozen=True)
class Source:
    """A trained BERT, checked."""

    config: BertConfig
    tokenizer: Tokenizer
    network: BertForPretraining
    heads: tuple[str, ...]
    """Those that it has, of `POOLER`, `MASKED_TOKENS` and `NEXT_SENTENCE`."""


def read_source(folder: Path) -> Source:
    """Read a BERT that we or transformers wrote; heads of other tasks are left out with a warning.

    Raises `ArtifactError` where the folder holds another kind of network or tokenizer, the two do
    not belong together, or a weight is no finite number.
    """
    config = BertConfig.read(folder).with_task(PRETRAINING)
    tokenizer = load_tokenizer(folder)
    _check_tokenizer(folder, tokenizer, config)
    _check_form(folder)
    weights = read_weights(folder, config, skip_foreign_heads=True)
    network = BertForPretraining(config).eval()
    network.from_huggingface(weights)
    return Source(config, tokenizer, network, _heads(weights, config))


def _heads(weights: Mapping[str, NDArray[np.float32]], config: BertConfig) -> tuple[str, ...]:
    """Name the heads in the weights; a next-sentence head says nothing without its pooler."""
    parts = {name.partition(".")[0] for name in from_huggingface(weights, config.num_hidden_layers)}
    found = [head for head in (POOLER, MASKED_TOKENS, NEXT_SENTENCE) if head in parts]
    return tuple(head for head in found if head != NEXT_SENTENCE or POOLER in found)


def _check_tokenizer(folder: Path, tokenizer: Tokenizer, config: BertConfig) -> None:
    if not isinstance(tokenizer.model, WordPiece):
        raise ArtifactError(
            f"{folder} has a tokenizer of the kind {type(tokenizer.model).__name__}, expected "
            "WordPiece",
            hint="only BERTs with BERT's own kind of vocabulary can be grown",
        )
    if id_count(tokenizer) > config.vocab_size:
        raise ArtifactError(
            f"{folder} has a tokenizer of {id_count(tokenizer)} pieces, its network has rows for "
            f"{config.vocab_size}",
            hint="use the tokenizer that the model was trained with",
        )


def _check_form(folder: Path) -> None:
    if (folder / WEIGHTS).is_file():
        return
    for name, hint in _MADE_FLOAT.items():
        if (folder / name).is_file():
            raise ArtifactError(f"{folder} holds {name}, expected {WEIGHTS}", hint=hint)
