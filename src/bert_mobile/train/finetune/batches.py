"""The batches of a fine-tuning, as the network is given them. Dimensions as in `objective`."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bert_mobile.judging.data import Encoded
from bert_mobile.judging.sequences import IntArray, Order
from bert_mobile.train.devices import World
from bert_mobile.train.finetune.objective import TaskMicroBatch

FOR_TENSOR_CORES = 8
"""A GPU multiplies widths that are multiples of this the fastest."""


class Batches:
    """A step's number → this process's micro-batches of it: a pure function."""

    def __init__(
        self,
        data: Encoded,
        order: Order,
        world: World,
        *,
        pad_id: int,
        weights: NDArray[np.float32] | None = None,
        teacher: NDArray[np.float16] | None = None,
        accumulation: int = 1,
    ) -> None:
        """`weights` (m,) are what each thing asked for counts (None: 1), `teacher` (m, L)."""
        self._data, self._order, self._world, self._pad_id = data, order, world, pad_id
        self._weights, self._teacher, self._accumulation = weights, teacher, accumulation
        self._multiple = FOR_TENSOR_CORES if world.device.type == "cuda" else 1

    def __call__(self, step: int) -> list[TaskMicroBatch]:
        """Return the micro-batches; one that has no row of its own weighs nothing."""
        rows, parts = self._order.rows(step), self._world.size * self._accumulation
        first = self._world.rank * self._accumulation
        return [self._micro_batch(rows, first + k, parts) for k in range(self._accumulation)]

    def _micro_batch(self, rows: IntArray, part: int, parts: int) -> TaskMicroBatch:
        own = rows[part::parts]
        weight = 1.0 if len(own) else 0.0
        own = own if len(own) else rows[:1]
        batch = self._data.sequences.batch(own, self._pad_id, self._multiple)
        things, places = self._asked(own, batch.ids.shape[1])
        weights = np.full(len(things), weight, np.float32)
        if self._weights is not None:
            weights *= self._weights[things]
        targets = self._data.targets[things]
        whole = bool(batch.mask.all())
        return TaskMicroBatch(
            torch.from_numpy(batch.ids),
            None if whole else torch.from_numpy(batch.mask.astype(bool)),
            torch.from_numpy(batch.types),
            None if places is None else torch.from_numpy(places),
            _tensor(targets),
            torch.from_numpy(weights),
            None if self._teacher is None else _tensor(self._teacher[things].astype(np.float32)),
            (float(weights.sum()), weight * len(own), int(weight * batch.mask.sum())),
        )

    def _asked(self, rows: IntArray, width: int) -> tuple[IntArray, IntArray | None]:
        """Return the numbers of what is asked for in some rows, and where it is in the batch."""
        offsets, places = self._data.place_offsets, self._data.places
        if offsets is None or places is None:
            return rows, None
        parts = [np.arange(offsets[row], offsets[row + 1]) for row in rows]
        found = [place * width + places[part].astype(np.int64) for place, part in enumerate(parts)]
        return np.concatenate(parts), np.concatenate(found)


def _tensor(array: NDArray[Any]) -> Tensor:
    """Whole numbers become int64, as PyTorch's losses want them."""
    return torch.from_numpy(array.astype(np.int64) if array.dtype.kind in "iu" else array)
