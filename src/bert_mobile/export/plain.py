"""BERT as plain modules, which the converters that trace PyTorch understand.

The encoder and heads are those of `bert_mobile.model`; what differs is what converters stumble
over. The mask is added to the scores as float32 (a mask of booleans becomes an indexing that they
refuse), positions are looked up rather than cut out of a table, all outputs are computed in one
pass, and the vocabulary product, a `Linear` that shares the word embedding, is a module of its own
for chosen rows. Matrices lie at the names of `model.names`, for others to be put in their place.

Dimensions: B batch, T tokens, M chosen rows, H hidden, V vocabulary, L labels.
"""

import numpy as np
import torch
from torch import Tensor, nn, tanh
from torch.nn import functional

from bert_mobile.export.source import Source
from bert_mobile.model.config import ANSWERS, PRETRAINING, SEQUENCES
from bert_mobile.model.encoder import Embeddings
from bert_mobile.model.heads import BertForPretraining, BertForTask
from bert_mobile.quantize.interface import (
    END_LOGITS,
    HIDDEN,
    LOGITS,
    NEXT_SENTENCE,
    START_LOGITS,
    WORDS_BIAS,
)

_HIDDEN_SCORE = -1e4
"""Added to the scores of padding: its share after softmax is 0, and float16 still holds it."""


class PlainBert(nn.Module):
    """Encoder of a source, and its heads but that of masked tokens, for inference."""

    def __init__(self, source: Source) -> None:
        """Build the network of `source.config` and load `source.weights` into it."""
        super().__init__()
        network = _network(source)
        self.architecture = source.config.architecture
        self.outputs = output_names(source)
        """Names of the tensors that `forward` returns, in its order."""
        self.encoder = network.encoder
        self.encoder.set_submodule("embeddings", _LookedUp(network.encoder.embeddings))
        if NEXT_SENTENCE in self.outputs or self.architecture == SEQUENCES:
            self.pooler = network.pooler
        if isinstance(network, BertForTask):
            self.head = network.head
        elif NEXT_SENTENCE in self.outputs:
            self.next_sentence = network.next_sentence
        self.eval().requires_grad_(requires_grad=False)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> tuple[Tensor, ...]:
        """Read whole numbers (B, T): ids, mask (0 on padding), segments.

        Returns the tensors that `outputs` names, with the shapes of `quantize.graph`.
        """
        padding = 1.0 - attention_mask[:, None, None, :].float()  # B 1 1 T
        hidden = self.encoder.embeddings(input_ids, token_type_ids)  # B T H
        for layer in self.encoder.layers:
            hidden = layer(hidden, padding * _HIDDEN_SCORE)
        if self.architecture == PRETRAINING:
            if NEXT_SENTENCE not in self.outputs:
                return (hidden,)
            return hidden, self.next_sentence(tanh(self.pooler(hidden[:, 0])))
        if self.architecture == SEQUENCES:
            return self.head(tanh(self.pooler(hidden[:, 0]))), hidden
        logits = self.head(hidden)  # B T L
        if self.architecture == ANSWERS:
            return logits[..., 0], logits[..., 1], hidden
        return logits, hidden


class PlainVocabulary(nn.Module):
    """The head of masked tokens, for rows of hidden states."""

    def __init__(self, source: Source) -> None:
        """Build the head of a source that has one; see `has_vocabulary`."""
        super().__init__()
        network = _network(source)
        if not isinstance(network, BertForPretraining):
            raise TypeError(f"a {source.config.architecture} scores no words")
        self.masked_tokens = network.masked_tokens
        self.vocabulary = nn.Linear(source.config.hidden_size, source.config.vocab_size)
        self.vocabulary.weight = network.encoder.embeddings.words.weight
        self.vocabulary.bias = network.masked_tokens.bias
        del self.masked_tokens.bias
        self.eval().requires_grad_(requires_grad=False)

    def forward(self, hidden: Tensor) -> tuple[Tensor]:
        """Score the words for hidden states (M, H): logits (M, V)."""
        head = self.masked_tokens
        return (self.vocabulary(head.norm(functional.gelu(head.dense(hidden)))),)


class _LookedUp(nn.Module):
    """The embeddings with positions looked up, so that their table too may be a packed one."""

    def __init__(self, embeddings: Embeddings) -> None:
        super().__init__()
        self.words, self.positions, self.types = (
            embeddings.words,
            embeddings.positions,
            embeddings.types,
        )
        self.norm = embeddings.norm

    def forward(self, input_ids: Tensor, token_type_ids: Tensor) -> Tensor:
        """Embed whole numbers (B, T) with segments (B, T) → (B, T, H)."""
        order = torch.arange(input_ids.shape[1])
        found = self.words(input_ids) + self.positions(order) + self.types(token_type_ids)
        normal: Tensor = self.norm(found)
        return normal


def _network(source: Source) -> BertForPretraining | BertForTask:
    """Return the network of a source with its weights in it."""
    network: BertForPretraining | BertForTask
    if source.config.architecture == PRETRAINING:
        network = BertForPretraining(source.config)
    else:
        network = BertForTask(source.config)
    writable = {name: np.require(each, requirements="W") for name, each in source.weights.items()}
    network.from_huggingface(writable)  # PyTorch warns of arrays that lie in a read-only file
    return network


def has_vocabulary(source: Source) -> bool:
    """Tell whether a source scores words for masked tokens."""
    return source.config.architecture == PRETRAINING and WORDS_BIAS in source.weights


def output_names(source: Source) -> tuple[str, ...]:
    """Return the outputs that `PlainBert` has of a source, in its order."""
    if source.config.architecture == ANSWERS:
        return START_LOGITS, END_LOGITS, HIDDEN
    if source.config.architecture != PRETRAINING:
        return LOGITS, HIDDEN
    sentences = {"bert.pooler.dense.bias", "cls.seq_relationship.bias"} <= source.weights.keys()
    return (HIDDEN, *((NEXT_SENTENCE,) if sentences else ()))
