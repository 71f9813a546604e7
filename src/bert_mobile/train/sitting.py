"""One sitting of a run: how it uses its machine, its clock, and the signals that end it."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from bert_mobile.errors import InputError


@dataclass(frozen=True)
class Sitting:
    """How one sitting of a run uses its machine.

    None of it shapes the weights, beyond rounding; dropout falls elsewhere where a batch is parted
    otherwise.
    """

    accumulation: int = 1
    """Micro-batches a step, one after the other, where a whole batch is too much for the memory."""
    workers: int | None = None
    """Processes that make batches; None is as many as the device can use."""
    minutes: float | None = None
    """When to stop, with a checkpoint to go on from; None is at the end of the recipe's budget."""

    def __post_init__(self) -> None:
        """Refuse what is no number of things; each message names the option."""
        if self.accumulation < 1 or (self.workers is not None and self.workers < 0):
            raise InputError(
                f"accumulation is {self.accumulation} and workers {self.workers}, expected at "
                "least 1 and 0",
                hint="leave the option out",
            )
        if self.minutes is not None and not self.minutes > 0:
            raise InputError(
                f"minutes is {self.minutes}, expected more than 0", hint="leave the option out"
            )


class Clock:
    """Counts the seconds of this sitting on top of those before."""

    def __init__(self, before: float) -> None:
        self._zero = time.monotonic() - before

    @property
    def seconds(self) -> float:
        """Seconds of the run, this sitting's and those before."""
        return time.monotonic() - self._zero


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether SIGINT or SIGTERM came; a second SIGINT stops at once."""
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if came and number == signal.SIGINT:  # launchers send SIGTERM more than once
            raise KeyboardInterrupt
        came.append(number)

    try:
        before = {each: signal.signal(each, note) for each in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: the caller handles signals
        before = {}
    try:
        yield lambda: bool(came)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
