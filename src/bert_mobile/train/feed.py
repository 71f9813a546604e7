"""The batches of a phase, made ahead of the network, in processes of their own where it is quick.

A batch is a function of its number (`examples`), so any process can make any of them and nothing is
to be stored for a resumed run.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from bert_mobile.errors import RunError
from bert_mobile.examples import Batch, PairSampler
from bert_mobile.train.devices import World, local_processes
from bert_mobile.train.objective import NO_TARGET, PairMicroBatch

AHEAD = 8
"""Batches each process makes before they are asked for."""

FOR_A_GPU = 4
"""Processes that feed one GPU; a processor that trains has few cores to spare and needs none."""


class MicroBatch(Protocol):
    """Rows of a batch that go through the network together: a named tuple."""

    @property
    def counts(self) -> Sequence[float]:
        """How many there are of each thing that a loss is the mean of, and of real tokens last."""

    def __getitem__(self, fields: slice, /) -> tuple[Any, ...]:
        """Return some of the fields; `counts` is the last one."""


Source = Callable[[int], Sequence[MicroBatch]]
"""A step's number → this process's micro-batches of it."""


class Feed:
    """An endless iterator over the steps of a phase, each a list of micro-batches."""

    def __init__(self, source: Source, first: int, world: World, *, workers: int = 0) -> None:
        """Begin with batch number `first`, made by `workers` processes; 0 is this one."""
        count = workers
        options: dict[str, Any] = {}
        if count:
            # Forked, so that the corpus's arrays are shared; the children do not touch CUDA.
            options = {
                "prefetch_factor": AHEAD,
                "multiprocessing_context": "fork",
                "worker_init_fn": _leave_signals,
            }
        self._loader = DataLoader(
            _Steps(source),
            batch_size=None,
            sampler=_Numbers(first),
            collate_fn=_as_it_is,
            num_workers=count,
            pin_memory=world.device.type == "cuda",
            **options,
        )
        self._device, self._workers = world.device, count
        self._batches: Iterator[Sequence[MicroBatch]] | None = None
        self.waited = 0.0
        """Seconds that the network has waited for data."""

    def __enter__(self) -> "Feed":
        """Start the processes."""
        self._batches = iter(self._loader)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the processes: the loader ends them when nothing refers to them any more.

        PyTorch tells of a lost one by an error in whatever the program is doing at that moment.
        """
        self._batches = None
        if isinstance(error, RuntimeError) and "DataLoader worker" in str(error):
            raise _lost(error) from error

    def next(self) -> list[MicroBatch]:
        """Return the next step's micro-batches. Raises `RunError` where a worker is lost."""
        if self._batches is None:
            raise ValueError("the feed is not open")
        began = time.perf_counter()
        try:
            batches = next(self._batches)
        except (ConnectionError, EOFError, FileNotFoundError) as error:  # its batch is lost with it
            if not self._workers:
                raise
            raise _lost(error) from error
        self.waited += time.perf_counter() - began
        return [self._moved(each) for each in batches]

    def _moved(self, batch: Any) -> MicroBatch:
        fields = batch._asdict().items()
        tensors = ((name, each) for name, each in fields if isinstance(each, Tensor))
        moved = {name: each.to(self._device, non_blocking=True) for name, each in tensors}
        return batch._replace(**moved)


def pair_feed(
    sampler: PairSampler,
    first: int,
    world: World,
    *,
    accumulation: int = 1,
    workers: int | None = None,
) -> Feed:
    """Return the masked pairs of a phase; `workers` None is as many as the device can use."""
    count = default_workers(world) if workers is None else workers
    return Feed(_Pairs(sampler, world, accumulation), first, world, workers=count)


def default_workers(world: World) -> int:
    """Return how many processes make the batches of this one."""
    if world.device.type != "cuda" or sys.platform != "linux":  # where forking is no safe way
        return 0
    cores = len(os.sched_getaffinity(0))
    return max(1, min(FOR_A_GPU, cores // (2 * local_processes())))


class _Numbers(Sampler[int]):
    """The numbers of the batches, from the first to be made on, without end."""

    def __init__(self, first: int) -> None:
        self._first = first

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._first, 2**62))


class _Steps(Dataset[Sequence[MicroBatch]]):
    """The source, as PyTorch's loader asks it."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __getitem__(self, step: int) -> Sequence[MicroBatch]:
        return self._source(step)


class _Pairs:
    """A step's number → this process's micro-batches of masked pairs."""

    def __init__(self, sampler: PairSampler, world: World, accumulation: int) -> None:
        self._sampler, self._world, self._accumulation = sampler, world, accumulation
        self._parts = world.size * accumulation
        self._slots = sampler.most_asked * (sampler.batch_size // self._parts)

    def __call__(self, step: int) -> list[PairMicroBatch]:
        first = self._world.rank * self._accumulation
        return [
            fixed_shape(
                self._sampler.batch(step, rank=first + k, world_size=self._parts),
                self._sampler.sequence_length,
                self._slots,
            )
            for k in range(self._accumulation)
        ]


def fixed_shape(batch: Batch, sequence_length: int, slots: int) -> PairMicroBatch:
    """Pad a batch to `sequence_length` tokens and its questions to `slots`."""
    rows, width = batch.input_ids.shape
    short = sequence_length - width
    wide = ((0, 0), (0, short))
    mask = np.pad(batch.attention_mask, wide)
    row, column = np.divmod(batch.positions, width)
    positions = np.zeros(slots, np.int64)
    targets = np.full(slots, NO_TARGET, np.int64)
    asked = len(batch.positions)
    positions[:asked] = row * sequence_length + column
    targets[:asked] = batch.targets
    return PairMicroBatch(
        torch.from_numpy(np.pad(batch.input_ids, wide)),  # [PAD] or not: it is masked out
        None if mask.all() else torch.from_numpy(mask),
        torch.from_numpy(np.pad(batch.token_type_ids, wide)),
        torch.from_numpy(positions),
        torch.from_numpy(targets),
        torch.from_numpy(batch.is_random),
        (asked, rows, int(mask.sum())),
    )


def _lost(error: BaseException) -> RunError:
    said = str(error) or type(error).__name__  # EOFError has nothing to say
    return RunError(
        f"a process that makes batches is lost: {said.splitlines()[0]}",
        hint="go on with the same command and --resume auto",
    )


def _as_it_is(batches: Sequence[MicroBatch]) -> Sequence[MicroBatch]:
    return batches


def _leave_signals(_worker: int) -> None:
    """Let Ctrl-C reach the run only, which ends its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
