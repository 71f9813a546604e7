"""The heads of pre-training, carried over so that their logits are the source's at the start.

Dimensions are named in `model.encoder`; `there` (B, T, H source) and `here` (B, T, H target) are
the last hidden states, as `layers.grow_layers` leaves them.
"""

import torch
from torch import Tensor
from torch.nn import functional

from bert_mobile.model.heads import MaskedTokens
from bert_mobile.train.grow.layers import correct, fit_norm


def grow_transform(source: MaskedTokens, target: MaskedTokens, there: Tensor, here: Tensor) -> None:
    """Widen the masked-token head, all but its bias.

    Its new outputs are zero whatever comes in: the decoder's new columns are noise, and this way
    contribute nothing until the new gains and biases have learned. GELU's outputs have no mean of
    zero, so the zeros beside them move what the LayerNorm subtracts and divides by: its gains and
    biases are fitted to the source's outputs.
    """
    _widen_reading(source.dense, target.dense, there, here)
    target.norm.weight.zero_()
    target.norm.bias.zero_()
    fit_norm(target.norm, functional.gelu(target.dense(here)), transformed(source, there))


def transformed(head: MaskedTokens, hidden: Tensor) -> Tensor:
    """Return what the decoder is given (…, H) for hidden states (…, H)."""
    return head.norm(functional.gelu(head.dense(hidden)))


def grow_pooler(
    source: torch.nn.Linear, target: torch.nn.Linear, there: Tensor, here: Tensor
) -> None:
    """Widen the pooler; its new outputs are zero, but learn, for they are read with noise."""
    _widen_reading(source, target, there, here)


def grow_next_sentence(source: torch.nn.Linear, target: torch.nn.Linear) -> None:
    """Widen the next-sentence head; the pooler's new outputs keep their small random weights."""
    target.weight[:, : source.in_features] = source.weight
    target.bias.copy_(source.bias)


def _widen_reading(
    source: torch.nn.Linear, target: torch.nn.Linear, there: Tensor, here: Tensor
) -> None:
    """Copy a matrix into the corner of a larger one and correct it towards the source's outputs."""
    width = there.shape[-1]
    target.weight.zero_()
    target.bias.zero_()
    target.weight[:width, :width] = source.weight
    target.bias[:width] = source.bias
    correct(target, here, source(there))
