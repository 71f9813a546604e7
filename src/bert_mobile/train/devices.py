"""The processes and processors of a run: one, or as many as `torchrun` started.

Every process draws the same batches and reads its own rows of them (`examples`); gradients are
averaged by PyTorch's DistributedDataParallel. What all must agree on (how many tokens the batch
asks for, whether to stop) goes over the processors' own network, so that no GPU has to be waited
for.
"""

import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from bert_mobile.errors import RunError
from bert_mobile.machine import processor

# M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD of mallopt(3)
_GLIBC_PARAMETERS = ((-4, 0), (-1, 2**31 - 1), (-2, 2**26))


@dataclass(frozen=True)
class World:
    """The place of this process among those of the run."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and talks."""
        return self.rank == 0

    def total(self, values: Sequence[float]) -> list[float]:
        """Return the sums of `values` over all processes.

        Raises `RunError` where another process is gone.
        """
        if self.size == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64)
        with lost_process_explained():
            distributed.all_reduce(sums)
        return sums.tolist()

    def share(self, module: nn.Module) -> nn.Module:
        """Return the module whose gradients are averaged over all processes."""
        if self.size == 1:
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        # DistributedDataParallel never lets go of its group, whose threads then outlive the
        # interpreter: with the group that `total` uses, they abort when they drop its tensors late.
        # Sums over a step's micro-batches are all the communication there is: views save a copy.
        return DistributedDataParallel(
            module,
            device_ids=ids,
            process_group=distributed.new_group(),
            gradient_as_bucket_view=True,
        )


@contextmanager
def joined_world() -> Iterator[World]:
    """Join the processes that `torchrun` started, if it did, and leave them at the end."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    on_cuda = torch.cuda.is_available()
    if size == 1:
        yield World(0, 1, torch.device("cuda:0" if on_cuda else "cpu"))
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device(f"cuda:{local}" if on_cuda else "cpu")
    if on_cuda:
        torch.cuda.set_device(device)
    with lost_process_explained():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if on_cuda else "gloo")
    try:
        yield World(distributed.get_rank(), size, device)
    finally:
        distributed.destroy_process_group()


@contextmanager
def lost_process_explained() -> Iterator[None]:
    """Turn the errors of PyTorch's communication into ours."""
    try:
        yield
    except RuntimeError as error:  # PyTorch's DistError is one
        if not _is_communication(error):
            raise
        raise RunError(
            f"another process of the run is lost: {str(error).splitlines()[0]}",
            hint="start all of them again with the same command and --resume auto",
        ) from error


def _is_communication(error: Exception) -> bool:
    if isinstance(error, distributed.DistError):
        return True
    return any(word in str(error) for word in ("gloo", "NCCL", "Connection closed", "peer"))


def local_processes() -> int:
    """Return how many processes of the run are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context that the forward pass of a precision runs in."""
    if scales_loss(precision, device):
        return torch.autocast("cuda", torch.float16)
    wanted = precision == "bf16" or (precision != "fp32" and _multiplies_bf16(device))
    return torch.autocast(device.type, torch.bfloat16) if wanted else nullcontext()


def scales_loss(precision: str, device: torch.device) -> bool:
    """Tell whether gradients are float16, whose small numbers need a scaled loss."""
    return precision == "fp16" and device.type == "cuda"


def computing_type(precision: str, device: torch.device) -> torch.dtype:
    """Return the type that a precision's matrix products are computed in."""
    context = autocast(precision, device)
    return context.fast_dtype if isinstance(context, torch.autocast) else torch.float32


def hardware(device: torch.device) -> str:
    """Return the name of the GPU, or of the processor and how many threads use it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor()}, {torch.get_num_threads()} threads"


def _multiplies_bf16(device: torch.device) -> bool:
    """Tell whether bf16 products are native; emulated ones are many times slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def hold_memory() -> None:
    """Tell glibc never to hand freed memory back to the system.

    A step frees and asks for the same hundreds of megabytes again, and page faults on fresh memory
    took a quarter of its time on a processor where we measured it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in _GLIBC_PARAMETERS:
            mallopt(parameter, value)
