"""The heads on top of the encoder: pre-training's two in one network, and a task's one in another.

Dimensions are named in `encoder`; here also M, the number of masked tokens in the batch, and L, the
number of labels.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bert_mobile.model.config import ANSWERS, SEQUENCES, TASKS, BertConfig
from bert_mobile.model.encoder import Encoder
from bert_mobile.model.names import from_huggingface, to_huggingface

INITIALIZER_RANGE = 0.02
"""Standard deviation of fresh weights (google-research/bert, `modeling.py`)."""


class MaskedTokens(nn.Module):
    """The masked-language-model head; its output projection is the word embedding, passed in."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, hidden: Tensor, words: Tensor) -> Tensor:
        """Map (…, H) and the embedding table (V, H) → logits (…, V)."""
        transformed = self.norm(functional.gelu(self.dense(hidden)))
        return functional.linear(transformed, words, self.bias)


class PretrainingOutput(NamedTuple):
    """What the network says of a batch."""

    masked_tokens: Tensor
    """Logits over the vocabulary: (M, V) at the asked positions, or (B, T, V) everywhere."""
    next_sentence: Tensor
    """Logits (B, 2); class 0: B follows A, class 1: B is from elsewhere."""


class _Network(nn.Module):
    """An encoder with heads, and its names in the world outside."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)

    def to_huggingface(self) -> dict[str, NDArray[np.float32]]:
        """Return copies of the weights, float32 by Hugging Face name, tied tensors once."""
        shape = self.config.num_hidden_layers, self.config.architecture
        state = to_huggingface(self.state_dict(), *shape)
        return {
            name: tensor.detach().float().cpu().numpy().copy() for name, tensor in state.items()
        }

    def from_huggingface(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Load arrays by Hugging Face name; heads that `weights` lacks keep their fresh values.

        Raises `ArtifactError` on unknown names, `RuntimeError` of torch on other shapes
        (`checkpoint.read_weights` has checked both).
        """
        tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
        shape = self.config.num_hidden_layers, self.config.architecture
        self.load_state_dict({**self.state_dict(), **from_huggingface(tensors, *shape)})


class BertForPretraining(_Network):
    """Encoder, masked-language-model head and next-sentence head."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size)
        self.masked_tokens = MaskedTokens(config)
        self.next_sentence = nn.Linear(config.hidden_size, 2)
        self.apply(_initialize)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor,
        positions: Tensor | None = None,
    ) -> PretrainingOutput:
        """Read int64 ids (B, T), mask (B, T) or None, segments (B, T).

        `positions` (M,), int64, are indices into the flattened (B·T) tokens: in training, logits
        are computed at the masked tokens only, which spares five sixths of the vocabulary product
        and, with the next-sentence head at [CLS], most of the last layer.
        """
        rows, length = input_ids.shape
        if positions is None:
            asked = self.encoder(input_ids, attention_mask, token_type_ids)  # (B, T, H)
            first = asked[:, 0]
        else:
            starts = torch.arange(0, rows * length, length, device=input_ids.device)
            kept = torch.cat([starts, positions])
            hidden = self.encoder(input_ids, attention_mask, token_type_ids, kept)  # (B+M, H)
            first, asked = hidden[:rows], hidden[rows:]
        pooled = torch.tanh(self.pooler(first))  # (B, H), from [CLS]
        words = self.encoder.embeddings.words.weight
        return PretrainingOutput(self.masked_tokens(asked, words), self.next_sentence(pooled))


class BertForTask(_Network):
    """Encoder and the one linear head of a task, as transformers' class of that name has them.

    A head for sequences reads the pooler at [CLS]. Dropout comes before the head, except for
    answers, as there.
    """

    def __init__(self, config: BertConfig) -> None:
        """Draw fresh weights; `config.architecture` is one of `config.TASKS`."""
        if config.architecture not in TASKS:
            raise ValueError(f"{config.architecture} is no task, expected one of {TASKS}")
        super().__init__(config)
        if config.has_pooler:
            self.pooler = nn.Linear(config.hidden_size, config.hidden_size)
        keeps_all = config.architecture == ANSWERS
        self.dropout = nn.Dropout(0.0 if keeps_all else config.hidden_dropout_prob)
        self.head = nn.Linear(config.hidden_size, config.head_outputs)
        self.apply(_initialize)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor
    ) -> Tensor:
        """Read int64 ids (B, T), mask (B, T) or None, segments (B, T).

        Returns logits: (B, L) for sequences, whose last layer is computed at [CLS] alone; (B, T, L)
        for tokens; (B, T, 2), start and end, for answers.
        """
        if self.config.architecture != SEQUENCES:
            hidden = self.encoder(input_ids, attention_mask, token_type_ids)  # (B, T, H)
            return self.head(self.dropout(hidden))
        starts = torch.arange(0, input_ids.numel(), input_ids.shape[1], device=input_ids.device)
        first = self.encoder(input_ids, attention_mask, token_type_ids, starts)  # (B, H)
        return self.head(self.dropout(torch.tanh(self.pooler(first))))


def _initialize(module: nn.Module) -> None:
    """Draw fresh weights as BERT does; PyTorch's LayerNorm starts right already."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.trunc_normal_(
            module.weight,
            std=INITIALIZER_RANGE,
            a=-2 * INITIALIZER_RANGE,
            b=2 * INITIALIZER_RANGE,
        )
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
