"""Texts of like length go through the network together, padded no further than the longest of them.

Dimensions: B batch, T tokens of the longest sequence in the batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bert_mobile.errors import InputError

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Tokens:
    """One sequence as the network reads it, `[CLS]` and `[SEP]` included."""

    ids: list[int]
    """Index of each piece in the vocabulary."""
    types: list[int]
    """Segment of each piece: 0 for the first text, 1 for the second."""


@dataclass(frozen=True)
class Batch:
    """Several sequences side by side."""

    ids: IntArray
    """(B, T)."""
    mask: IntArray
    """(B, T): 1 where there is a piece, 0 where there is padding."""
    types: IntArray
    """(B, T)."""


def pad(sequences: Sequence[Tokens], pad_id: int) -> Batch:
    """Put sequences side by side, padded to the longest of them."""
    shape = len(sequences), max(len(tokens.ids) for tokens in sequences)
    ids = np.full(shape, pad_id, dtype=np.int64)
    mask, types = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for row, tokens in enumerate(sequences):
        length = len(tokens.ids)
        ids[row, :length], types[row, :length], mask[row, :length] = tokens.ids, tokens.types, 1
    return Batch(ids, mask, types)


def by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Yield the indices of at most `batch_size` sequences at a time, the longest first.

    Longest first, so that memory never has to grow after the first batch. Raises `InputError` where
    `batch_size` is less than 1.
    """
    if batch_size < 1:
        raise InputError(f"the batch size is {batch_size}, expected at least 1", hint="try 32")
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def batched(
    sequences: Sequence[Tokens], batch_size: int, pad_id: int
) -> Iterator[tuple[list[int], Batch]]:
    """Yield all sequences in padded batches of like length, with their indices; see `by_length`."""
    for indices in by_length([len(tokens.ids) for tokens in sequences], batch_size):
        yield indices, pad([sequences[index] for index in indices], pad_id)
