"""What pre-training minimises: masked tokens, next sentences, and small logits if asked.

A network with rounded weights learns its float parent's answers to the same questions as well.

Shapes are those of `model.encoder`; M is the number of token slots of a micro-batch, the same in
every one of a phase, so that a compiled network is compiled once. Slots without a token carry the
target `NO_TARGET`.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from bert_mobile.model.heads import BertForPretraining
from bert_mobile.train.quantized import RoundedNetwork
from bert_mobile.train.recipe import Recipe

NO_TARGET = -100

FIGURES = ("loss", "masked_token_loss", "next_sentence_loss")
"""What the objective returns, in its order; with a parent also `TEACHER_LOSS`."""
TEACHER_LOSS = "teacher_loss"


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

    def __init__(
        self,
        model: BertForPretraining | RoundedNetwork,
        recipe: Recipe,
        parent: BertForPretraining | None = None,
    ) -> None:
        """Compose; the answers of `parent`, which learns nothing, are learned too."""
        super().__init__()
        self.model = model
        self._parent = [parent] if parent else []  # in a list: it is nothing to be trained
        self.next_sentence_weight = recipe.next_sentence_weight
        self.z_loss_weight = recipe.z_loss_weight
        self.teacher_weight = recipe.teacher_weight

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of what `forward` returns."""
        return (*FIGURES, TEACHER_LOSS) if self._parent else FIGURES

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
        """Return the `figures`, float32: the loss to be minimised, then its parts.

        `shares` (2,) are what one asked token and one pair weigh: the inverse of their numbers in
        the whole batch of all processes. The losses of its micro-batches then add up to its mean.
        """
        batch = input_ids, attention_mask, token_type_ids, positions
        output = self.model(*batch)
        logits, told = output.masked_tokens.float(), output.next_sentence.float()
        masked = shares[0] * functional.cross_entropy(
            logits, targets, ignore_index=NO_TARGET, reduction="sum"
        )
        following = shares[1] * functional.cross_entropy(told, is_random, reduction="sum")
        total = masked + self.next_sentence_weight * following
        parts = [masked.detach(), following.detach()]
        asked = targets != NO_TARGET
        for parent in self._parent:
            with torch.no_grad():
                wanted = parent(*batch)
            words = divergence(logits, wanted.masked_tokens) * asked  # (M,)
            pairs = divergence(told, wanted.next_sentence)  # (B,)
            taught = shares[0] * words.sum() + self.next_sentence_weight * shares[1] * pairs.sum()
            parts.append(taught.detach())
            total = (1 - self.teacher_weight) * total + self.teacher_weight * taught
        if self.z_loss_weight:
            squares = logits.logsumexp(-1).square() * asked
            total = total + self.z_loss_weight * shares[0] * squares.sum()
        return torch.stack([total, *parts])


def divergence(logits: Tensor, teacher: Tensor, temperature: float = 1.0, dim: int = -1) -> Tensor:
    """Return the Kullback-Leibler divergence of softened answers over `dim`, which goes.

    Scaled by the temperature's square, as Hinton et al. (2015) do. Its gradient is that of the
    cross-entropy to the teacher's probabilities, and it is 0 where both answer alike.
    """
    ours = functional.log_softmax(logits.float() / temperature, dim)
    theirs = functional.log_softmax(teacher.float() / temperature, dim)
    each = functional.kl_div(ours, theirs, reduction="none", log_target=True)
    return temperature**2 * each.sum(dim)
