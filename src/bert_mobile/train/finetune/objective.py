"""What fine-tuning minimises: the labels' loss, the teacher's answers, and its attention relations.

Dimensions beside those of `model.encoder`: m things asked for (sequences, or words), L labels.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from bert_mobile.model.heads import BertForTask
from bert_mobile.train.objective import divergence
from bert_mobile.train.quantized import RoundedNetwork

_NEVER = -1e9
"""Logit of what cannot be; infinity would leave nothing to compare it with."""

Losses = Callable[[Tensor, Tensor], Tensor]
"""Logits (m, L) and targets → the loss of each thing asked for, (m,)."""


class TaskMicroBatch(NamedTuple):
    """Rows of a batch that go through the network together."""

    input_ids: Tensor
    """(B, T), int64."""
    attention_mask: Tensor | None
    """(B, T), bool; None where all tokens are real."""
    token_type_ids: Tensor
    """(B, T), int64."""
    places: Tensor | None
    """(m,), int64, into the flattened (B·T) tokens; None where sequences are asked for."""
    targets: Tensor
    """(m,) labels or numbers, (m, L) where there may be several, (m, 2) for spans."""
    weights: Tensor
    """(m,), float32: what each counts."""
    teacher: Tensor | None
    """(m, L): the teacher's logits, NaN where it did not see the thing; None without a teacher."""
    counts: tuple[float, float, int]
    """Sum of the weights, sequences, real tokens."""


def class_losses(smoothing: float = 0.0) -> Losses:
    """Return cross-entropy."""

    def losses(logits: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(
            logits, targets, reduction="none", label_smoothing=smoothing
        )

    return losses


def label_losses(positive_weights: Tensor | None = None) -> Losses:
    """Return binary cross-entropy, the mean over the labels; `positive_weights` (L,) or None."""

    def losses(logits: Tensor, targets: Tensor) -> Tensor:
        weights = None if positive_weights is None else positive_weights.to(logits.device)
        each = functional.binary_cross_entropy_with_logits(
            logits, targets.float(), reduction="none", pos_weight=weights
        )
        return each.mean(-1)

    return losses


def number_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return squared errors; `targets` are standardised."""
    return (logits[:, 0] - targets).square()


def span_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of start and end; logits (B, T, 2)."""
    starts = functional.cross_entropy(logits[..., 0], targets[:, 0], reduction="none")
    return (starts + functional.cross_entropy(logits[..., 1], targets[:, 1], reduction="none")) / 2


def class_teaching(temperature: float) -> Losses:
    """Return the divergence of the softened answers."""

    def losses(logits: Tensor, teacher: Tensor) -> Tensor:
        return divergence(logits, teacher, temperature)

    return losses


def label_teaching(temperature: float) -> Losses:
    """Return binary cross-entropy to the teacher's softened probabilities."""

    def losses(logits: Tensor, teacher: Tensor) -> Tensor:
        wanted = torch.sigmoid(teacher / temperature)
        each = functional.binary_cross_entropy_with_logits(
            logits / temperature, wanted, reduction="none"
        )
        return temperature**2 * each.mean(-1)

    return losses


def span_teaching(temperature: float) -> Losses:
    """Return the divergence of the softened starts and ends, over the tokens; logits (B, T, 2)."""

    def losses(logits: Tensor, teacher: Tensor) -> Tensor:
        return divergence(logits, teacher, temperature, dim=1).mean(-1)

    return losses


def number_teaching(logits: Tensor, teacher: Tensor) -> Tensor:
    """Return squared differences from the teacher's numbers, standardised as the targets are."""
    return (logits - teacher).square()[:, 0]


class Objective(nn.Module):
    """The network and its losses: what is shared over processes."""

    def __init__(
        self,
        model: BertForTask | RoundedNetwork,
        losses: Losses,
        *,
        teaching: Losses | None = None,
        teacher_weight: float = 0.0,
        parent: BertForTask | None = None,
        relations: Callable[..., Tensor] | None = None,
        relation_weight: float = 0.0,
    ) -> None:
        """Compose.

        A teacher's logits come with the batch, or else from `parent`, which reads the same pieces.
        `relations` is given a batch that the network has just read (see `teacher`).
        """
        super().__init__()
        self.model = model
        self._parent = [parent] if parent else []  # in a list: it is nothing to be trained
        self._losses, self._teaching, self._relations = losses, teaching, relations
        self._teacher_weight, self._relation_weight = teacher_weight, relation_weight

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of what `forward` returns."""
        names = ["loss"]
        if self._teaching:
            names += ["label_loss", "teacher_loss"]
        return (*names, "relation_loss") if self._relations else tuple(names)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor,
        places: Tensor | None,
        targets: Tensor,
        weights: Tensor,
        teacher: Tensor | None,
        shares: Tensor,
    ) -> Tensor:
        """Return the `figures`, float32: the loss to be minimised, then its parts.

        `shares` (2,) are the inverses of the weights' sum and of the number of sequences in the
        whole batch of all processes; losses of its micro-batches then add up to means.
        """
        batch = input_ids, attention_mask, token_type_ids
        logits = _asked(self.model(*batch), attention_mask, places)
        for parent in self._parent:
            with torch.no_grad():
                teacher = _asked(parent(*batch), attention_mask, places)
        total = shares[0] * (weights * self._losses(logits, targets)).sum()
        parts: list[Tensor] = []
        if self._teaching and teacher is not None:
            known = teacher.isfinite().flatten(1).all(-1)  # (m,)
            theirs = torch.where(known.view(-1, *[1] * (teacher.dim() - 1)), teacher, 0.0)
            taught = self._teaching(logits, theirs)
            taught = shares[0] * (weights * known * taught).sum()
            parts += [total.detach(), taught.detach()]
            total = (1 - self._teacher_weight) * total + self._teacher_weight * taught
        if self._relations:
            related = shares[1] * self._relations(*batch)
            parts.append(related.detach())
            total = total + self._relation_weight * related
        return torch.stack([total, *parts])


def _asked(logits: Tensor, attention_mask: Tensor | None, places: Tensor | None) -> Tensor:
    """Return the logits of what is asked for, float32: (m, L), or of spans (B, T, 2)."""
    logits = logits.float()
    if places is not None:
        return logits.flatten(0, 1)[places]  # (m, L)
    if logits.dim() == 3 and attention_mask is not None:  # spans are not in the padding
        return logits.masked_fill(~attention_mask[..., None], _NEVER)
    return logits
