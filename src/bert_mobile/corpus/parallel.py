"""Map a function over a stream with several processes, in order and with bounded work in flight.

`multiprocessing.Pool.imap` would read the whole input ahead; here at most a few items a worker are
between the input and the output.
"""

import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from bert_mobile.errors import RunError

Item = TypeVar("Item")
Result = TypeVar("Result")

WAITING = 2
"""Items in flight beyond one for each worker, so that none runs dry."""


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[Result]:
    """Yield `function(item)` for each item in order; with one worker, in this process.

    Close the iterator when it is left early: work not begun is then cancelled and the workers end.
    Raises what `function` raises, and `RunError` where a worker was killed.
    """
    if workers == 1:
        yield from map(function, items)
        return
    # Spawned, not forked: a fork copies the locks of the threads that draw progress bars.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_leave_interrupts)
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= workers + WAITING:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise RunError(
            "a worker process ended unexpectedly, perhaps killed for want of memory",
            hint="use fewer workers; in a script, call this under if __name__ == '__main__':",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts() -> None:
    """Let Ctrl-C reach the parent only, which then ends the workers without a traceback each."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
