"""The encoder of BERT (Devlin et al. 2018, arXiv:1810.04805) in plain PyTorch.

Post-LayerNorm, exact GELU, learned absolute positions, as in the published card. Attention is
PyTorch's `scaled_dot_product_attention`. Dimensions are named once, here:

    B batch   T tokens   H hidden   N heads   D head width (H = N·D)   F feed-forward   V vocabulary
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from bert_mobile.model.config import BertConfig

PLAIN_ATTENTION_TOKENS = 256
"""Longest sequence whose attention is trained in bfloat16 on a processor by plain products: there
PyTorch's fused kernel took 42 ms backward at 64 tokens where they took 15, 49 against 23 at 128,
and 74 against 127 at 512 (2,048 tokens in 8 heads of 64, one thread, AMD EPYC with AVX-512)."""


class Embeddings(nn.Module):
    """Sum of word, position and segment embeddings, normalised."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.types = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor) -> Tensor:
        """Embed int64 ids (B, T) with segments (B, T) → (B, T, H)."""
        positions = self.positions.weight[: input_ids.shape[1]]  # (T, H)
        summed = self.words(input_ids) + positions + self.types(token_type_ids)
        return self.dropout(self.norm(summed))


class Attention(nn.Module):
    """Multi-head self-attention over all tokens of a sequence."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout_prob = config.attention_probs_dropout_prob

    def forward(self, hidden: Tensor, keys: Tensor | None) -> Tensor:
        """Attend (B, T, H) → (B, T, H); `keys` (B, 1, 1, T), bool, is true where one may look."""
        return self.output(self.mixed(hidden, keys))

    def mixed(self, hidden: Tensor, keys: Tensor | None) -> Tensor:
        """Return the values (B, T, H), mixed by attention, that the output matrix is given."""
        query = self._split(self.query(hidden))  # (B, N, T, D)
        with _kernel(query):
            mixed = functional.scaled_dot_product_attention(
                query,
                self._split(self.key(hidden)),
                self._split(self.value(hidden)),
                attn_mask=keys,
                dropout_p=self.dropout_prob if self.training else 0.0,
            )
        return mixed.transpose(1, 2).flatten(2)

    def _split(self, projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _kernel(query: Tensor) -> AbstractContextManager[None]:
    """Return the context in which attention over `query` (B, N, T, D) is computed fastest."""
    slow = query.dtype == torch.bfloat16 and query.device.type == "cpu" and query.requires_grad
    if slow and query.shape[2] <= PLAIN_ATTENTION_TOKENS:
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()


class FeedForward(nn.Module):
    """Two linear layers with exact GELU between them."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.inner = nn.Linear(config.hidden_size, config.intermediate_size)
        self.outer = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, H) → (B, T, F) → (B, T, H)."""
        return self.outer(functional.gelu(self.inner(hidden)))


class Layer(nn.Module):
    """Attention and feed-forward, each added to its input and normalised afterwards."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden: Tensor, keys: Tensor | None, kept: Tensor | None = None) -> Tensor:
        """Map (B, T, H) → (B, T, H), or (K, H) at the `kept` (K,) of the flattened tokens."""
        mixed = self.attention.mixed(hidden, keys)
        if kept is not None:
            mixed, hidden = mixed.flatten(0, 1)[kept], hidden.flatten(0, 1)[kept]  # (K, H)
        attended = self.dropout(self.attention.output(mixed))
        hidden = self.attention_norm(hidden + attended)
        transformed = self.dropout(self.feed_forward(hidden))
        return self.feed_forward_norm(hidden + transformed)


class Encoder(nn.Module):
    """Embeddings and layers."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor,
        kept: Tensor | None = None,
    ) -> Tensor:
        """Encode int64 ids (B, T) → (B, T, H).

        `attention_mask` (B, T) is nonzero on real tokens; None says that all are real, which spares
        attention the mask. `kept` (K,), indices into the flattened (B·T) tokens, says that no
        others are wanted: what follows the last layer's attention is computed there only → (K, H).
        """
        keys = None if attention_mask is None else attention_mask[:, None, None, :].bool()
        hidden = self.embeddings(input_ids, token_type_ids)
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            hidden = layer(hidden, keys, kept if number == last else None)
        return hidden
