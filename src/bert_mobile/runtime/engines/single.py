"""A session of a runtime that answers one text at a time, without padding; words are scored apart.

Dimensions: B batch, T tokens, M chosen positions, H hidden, V vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_mobile.quantize.interface import (
    END_LOGITS,
    HIDDEN,
    INPUTS,
    LOGITS,
    MOST_ROWS,
    START_LOGITS,
)
from bert_mobile.runtime.batches import Batch, IntArray
from bert_mobile.runtime.sessions import FloatArray, check_outputs


class SingleTexts(ABC):
    """What such sessions share: see `Session`."""

    def __init__(self, name: Path, direct: frozenset[str], *, has_vocabulary: bool) -> None:
        """Answer for the file `name`, which gives `direct` outputs of a text.

        With a vocabulary it gives the logits of masked tokens as well, for rows of hidden states.
        """
        self._name, self._direct = name, direct
        self.outputs = direct | ({LOGITS} if has_vocabulary else set())

    @abstractmethod
    def _encode(self, feed: Mapping[str, NDArray[Any]]) -> Mapping[str, FloatArray]:
        """Return the outputs of one text, whose inputs are (1, T) without padding."""

    @abstractmethod
    def _words(self, hidden: FloatArray) -> FloatArray:
        """Score the words for a few hidden states (M, H): (M, V)."""

    def run(self, output: str, batch: Batch, positions: IntArray | None = None) -> FloatArray:
        """Return one output for a batch, float32, 0 at padding; see `Session`."""
        if positions is None:
            return self.run_several([output], batch)[0]
        if output != LOGITS or output in self._direct:
            found = self.run_several([output], batch)[0]
            return found.reshape(-1, found.shape[-1])[positions]
        hidden = self.run_several([HIDDEN], batch)[0]
        return self._scored(hidden.reshape(-1, hidden.shape[-1])[positions])  # M V

    def run_several(self, outputs: Sequence[str], batch: Batch) -> list[FloatArray]:
        """Return several outputs for a batch, float32, 0 at padding; see `Session`."""
        check_outputs(outputs, self.outputs, self._name)
        rows = [self._encode(_without_padding(batch, row)) for row in range(len(batch.ids))]
        return [self._joined(output, rows, batch) for output in outputs]

    def _joined(
        self, output: str, rows: Sequence[Mapping[str, FloatArray]], batch: Batch
    ) -> FloatArray:
        """Put the answers of single texts side by side, those by token padded to (B, T, …)."""
        if output not in self._direct:
            hidden = self._joined(HIDDEN, rows, batch)
            words = self._scored(hidden.reshape(-1, hidden.shape[-1]))
            return words.reshape(*batch.ids.shape, -1)  # B T V
        if rows[0][output].ndim < 3 and output not in (START_LOGITS, END_LOGITS):
            return np.concatenate([row[output] for row in rows])
        found = np.zeros((*batch.ids.shape, *rows[0][output].shape[2:]), np.float32)
        for number, row in enumerate(rows):
            tokens = _length(batch, number)
            found[number, :tokens] = row[output][0, :tokens]
        return found

    def _scored(self, hidden: FloatArray) -> FloatArray:
        """Score the words for any number of hidden states (M, H): (M, V)."""
        starts = range(0, len(hidden), MOST_ROWS)
        return np.concatenate([self._words(hidden[start : start + MOST_ROWS]) for start in starts])


def _without_padding(batch: Batch, row: int) -> dict[str, NDArray[Any]]:
    """Return the inputs of one text, (1, T) each."""
    tokens = _length(batch, row)
    arrays = (batch.ids, batch.mask, batch.types)
    return {name: array[row : row + 1, :tokens] for name, array in zip(INPUTS, arrays, strict=True)}


def _length(batch: Batch, row: int) -> int:
    """Return how many tokens a row has, up to its last that is no padding."""
    return int(np.flatnonzero(batch.mask[row])[-1]) + 1
