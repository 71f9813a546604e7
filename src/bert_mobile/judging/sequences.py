"""Encoded examples as compact arrays, and the batches of a run as functions of (seed, step).

Ten million texts of 30 tokens are 0.7 GB. Dimensions: n sequences, K tokens of all of them, B
batch, T tokens of the longest sequence in it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_mobile.runtime.batches import Batch, Tokens

IntArray = NDArray[np.int64]

BATCHES_SORTED_TOGETHER = 50
"""Batches of a shuffled epoch that are sorted by length together: padding becomes a few per cent,
while an example still shares its batch with ever other ones."""


@dataclass(frozen=True)
class Sequences:
    """Sequences of tokens, one behind the other."""

    ids: NDArray[Any]
    """(K,), uint16, or uint32 for a vocabulary over 65,536."""
    offsets: IntArray
    """(n + 1,): sequence i is `ids[offsets[i]:offsets[i + 1]]`."""
    seconds: NDArray[np.uint16]
    """(n,): index in its sequence where the second text begins; its length where there is none."""

    def __len__(self) -> int:
        """Return n."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> IntArray:
        """Tokens of each sequence, (n,)."""
        return np.diff(self.offsets)

    def batch(self, rows: Sequence[int] | IntArray, pad_id: int, multiple: int = 1) -> Batch:
        """Put some sequences side by side, padded to the longest, or to a multiple of tokens."""
        starts, lengths = self.offsets[rows], self.lengths_of(rows)
        width = -(-int(lengths.max()) // multiple) * multiple
        ids = np.full((len(rows), width), pad_id, dtype=np.int64)
        for row, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
            ids[row, :length] = self.ids[start : start + length]
        places = np.arange(width)
        mask = places < lengths[:, None]
        types = mask & (places >= self.seconds[rows][:, None])
        return Batch(ids, mask.astype(np.int64), types.astype(np.int64))

    def lengths_of(self, rows: Sequence[int] | IntArray) -> IntArray:
        """Tokens of some sequences."""
        index = np.asarray(rows)
        lengths: IntArray = self.offsets[index + 1] - self.offsets[index]
        return lengths

    def taken(self, rows: IntArray) -> "Sequences":
        """Return some of the sequences."""
        return Sequences(*ragged_rows(self.ids, self.offsets, rows), self.seconds[rows])


class Collector:
    """Takes tokens in, chunk by chunk."""

    def __init__(self, vocabulary_size: int) -> None:
        self._kind = np.uint16 if vocabulary_size <= 2**16 else np.uint32
        self._ids: list[NDArray[Any]] = []
        self._lengths: list[IntArray] = []
        self._seconds: list[NDArray[np.uint16]] = []

    def add(self, tokens: Sequence[Tokens]) -> None:
        """Append some sequences."""
        self._ids.append(np.fromiter((i for each in tokens for i in each.ids), dtype=self._kind))
        self._lengths.append(np.array([len(each.ids) for each in tokens], dtype=np.int64))
        firsts = [len(each.types) - sum(each.types) for each in tokens]
        self._seconds.append(np.array(firsts, dtype=np.uint16))

    def collected(self) -> Sequences:
        """Return all of them."""
        lengths = _joined(self._lengths, np.int64)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        ids, seconds = _joined(self._ids, self._kind), _joined(self._seconds, np.uint16)
        return Sequences(ids, offsets, seconds)


def ragged_rows(
    values: NDArray[Any], offsets: IntArray, rows: IntArray
) -> tuple[NDArray[Any], IntArray]:
    """Return the values of some rows of a ragged array, and their offsets."""
    lengths = offsets[rows + 1] - offsets[rows]
    ends = np.cumsum(lengths)
    shift = np.repeat(offsets[rows] - (ends - lengths), lengths)
    return values[np.arange(len(shift)) + shift], np.concatenate([np.zeros(1, np.int64), ends])


def _joined(parts: Iterable[NDArray[Any]], kind: Any) -> NDArray[Any]:
    listed = list(parts)
    return np.concatenate(listed) if listed else np.zeros(0, kind)


class Order:
    """Which examples each step reads: batches of like length, in another order every epoch.

    A pure function of (seed, step): examples are shuffled, sorted by length within stretches of
    some batches, cut into batches, and the batches shuffled. The last batch of an epoch may be
    smaller.
    """

    def __init__(self, lengths: IntArray, batch_size: int, seed: int) -> None:
        self._lengths, self._batch_size, self._seed = lengths, batch_size, seed
        self.steps_per_epoch = -(-len(lengths) // batch_size)
        self._epoch: int | None = None
        self._examples = self._batches = np.zeros(0, np.int64)

    def rows(self, step: int) -> IntArray:
        """Return the examples of a step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._begin(epoch)
        start = int(self._batches[place]) * self._batch_size
        return self._examples[start : start + self._batch_size]

    def _begin(self, epoch: int) -> None:
        chance = np.random.default_rng((self._seed, epoch))
        examples = chance.permutation(len(self._lengths))
        together = self._batch_size * BATCHES_SORTED_TOGETHER
        for start in range(0, len(examples), together):
            part = examples[start : start + together]
            examples[start : start + together] = part[
                np.argsort(self._lengths[part], kind="stable")
            ]
        self._examples, self._batches = examples, chance.permutation(self.steps_per_epoch)
        self._epoch = epoch
