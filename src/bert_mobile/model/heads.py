"""The two heads of pre-training on top of the encoder, and the network that holds all three.

Dimensions are named in `encoder`; here also M, the number of masked tokens in the batch.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bert_mobile.model.config import BertConfig
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


class BertForPretraining(nn.Module):
    """Encoder, masked-language-model head and next-sentence head."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
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

    def to_huggingface(self) -> dict[str, NDArray[np.float32]]:
        """Return the weights as float32 arrays by Hugging Face name, tied tensors once."""
        state = to_huggingface(self.state_dict(), self.config.num_hidden_layers)
        return {name: tensor.detach().float().cpu().numpy() for name, tensor in state.items()}

    def from_huggingface(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Load arrays by Hugging Face name; heads that `weights` lacks keep their fresh values.

        Raises `ArtifactError` on unknown names, `RuntimeError` of torch on other shapes
        (`checkpoint.read_weights` has checked both).
        """
        tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
        state = from_huggingface(tensors, self.config.num_hidden_layers)
        self.load_state_dict({**self.state_dict(), **state})


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
