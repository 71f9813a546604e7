"""What pre-training minimises: masked tokens, next sentences, and small logits if asked.

Shapes are those of `model.encoder`; M is the number of token slots of a micro-batch, the same in
every one of a phase, so that a compiled network is compiled once. Slots without a token carry the
target `NO_TARGET`.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from bert_mobile.model.heads import BertForPretraining
from bert_mobile.train.recipe import Recipe

NO_TARGET = -100

FIGURES = ("loss", "masked_token_loss", "next_sentence_loss")
"""What the objective returns, in its order."""


class PairMicroBatch(NamedTuple):
    """Rows of a batch that go through the network together, in fixed shapes."""

    input_ids: Tensor
    """(B, T), int64, masked."""
    attention_mask: Tensor | None
    """(B, T), bool; None where all tokens are real, which spares attention the mask."""
    token_type_ids: Tensor
    """(B, T), int64."""
    positions: Tensor
    """(M,), int64, into the flattened (B·T) tokens."""
    targets: Tensor
    """(M,), int64, `NO_TARGET` in slots that ask for nothing."""
    is_random: Tensor
    """(B,), int64."""
    counts: tuple[int, int, int]
    """Asked tokens, pairs, real tokens."""


class Objective(nn.Module):
    """The network and its losses: what is compiled, and shared over processes."""

    def __init__(self, model: BertForPretraining, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self.next_sentence_weight = recipe.next_sentence_weight
        self.z_loss_weight = recipe.z_loss_weight

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor,
        positions: Tensor,
        targets: Tensor,
        is_random: Tensor,
        shares: Tensor,
    ) -> Tensor:
        """Return (3,) float32: the loss to be minimised, its masked-token and next-sentence parts.

        `shares` (2,) are what one asked token and one pair weigh: the inverse of their numbers in
        the whole batch of all processes. The losses of its micro-batches then add up to its mean.
        """
        output = self.model(input_ids, attention_mask, token_type_ids, positions)
        logits, told = output.masked_tokens.float(), output.next_sentence.float()
        masked = shares[0] * functional.cross_entropy(
            logits, targets, ignore_index=NO_TARGET, reduction="sum"
        )
        following = shares[1] * functional.cross_entropy(told, is_random, reduction="sum")
        total = masked + self.next_sentence_weight * following
        if self.z_loss_weight:
            asked = targets != NO_TARGET
            squares = logits.logsumexp(-1).square() * asked
            total = total + self.z_loss_weight * shares[0] * squares.sum()
        return torch.stack([total, masked.detach(), following.detach()])
