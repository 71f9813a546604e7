"""Contestants that take turns: a process each, and how the first process follows them.

Each lives in a process of its own, because how its memory is held (`hold_memory`), its compiled
kernels and its threads are the process's. All follow the same course: warm up, then for every
round wait for their turn, take some steps that nobody times (a feed that made batches ahead while
it waited has used them up by then), then the timed ones. A GPU is waited for where the clock is
read and nowhere else.
"""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol

import torch

from bert_mobile.errors import BertMobileError, RunError
from bert_mobile.progress import Progress, progress
from bert_mobile.train.devices import World

OURS, TRAINER = "bert-mobile", "transformers"

NEVER = 2**31 - 1
"""Steps between two judgements or checkpoints of a run that has none."""


class Turns(Protocol):
    """How a course is divided."""

    @property
    def rounds(self) -> int:
        """Turns that each contestant has."""

    @property
    def steps(self) -> int:
        """Timed ones of a round."""

    @property
    def settling(self) -> int:
        """Steps at the start of every round that are not timed."""

    @property
    def warm_up(self) -> int:
        """Steps before the first round: compilation, and memory asked for the first time."""

    @property
    def length(self) -> int:
        """Steps altogether."""


@dataclass(frozen=True)
class Round:
    """What one contestant did in one round."""

    tokens: int
    """Real ones: padding is not counted."""
    seconds: float
    waited: float | None
    """Seconds that the network waited for data; None where that is not measured."""

    @property
    def tokens_per_second(self) -> float:
        """Speed of the round."""
        return self.tokens / self.seconds


class Referee(Protocol):
    """Whom a contestant reports to."""

    def ready(self, first_loss: float) -> None:
        """Take the loss of the first batch, without dropout; return when the course may begin."""

    def stepped(self) -> None:
        """Take note of a step."""

    def turn(self, finished: Round | None) -> None:
        """Take the round that ended, if any; return when the next one may begin."""

    def result(self, figures: dict[str, float]) -> None:
        """Take what the contestant has come to after the last round."""


class DistantReferee:
    """A referee in the process at the other end of a pipe; messages are (kind, value)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ready(self, first_loss: float) -> None:
        """Report the loss of the first batch."""
        self._connection.send(("ready", first_loss))

    def stepped(self) -> None:
        """Report a step."""
        self._connection.send(("step", None))

    def turn(self, finished: Round | None) -> None:
        """Report a round, or the end of the warm-up, and wait."""
        self._connection.send(("turn", finished))
        self._connection.recv()

    def result(self, figures: dict[str, float]) -> None:
        """Report the figures."""
        self._connection.send(("result", figures))


class Stopwatch:
    """Follows a contestant's steps: waits at the ends of rounds, times what is to be timed."""

    def __init__(self, course: Turns, referee: Referee, device: torch.device) -> None:
        self._course, self._referee, self._device = course, referee, device
        self._taken = 0
        self._began = (0.0, 0, 0.0)

    def stepped(self, tokens: int, waited: float | None) -> None:
        """Note a step: real tokens so far, and seconds waited for data so far."""
        course = self._course
        self._taken += 1
        self._referee.stepped()
        done, place = divmod(self._taken - course.warm_up, course.settling + course.steps)
        if done < 0:
            return
        if place == 0:
            self._referee.turn(self._round(tokens, waited) if done else None)
        if place == course.settling and done < course.rounds:
            self._began = (self._now(), tokens, waited or 0.0)

    def _round(self, tokens: int, waited: float | None) -> Round:
        then, before, waited_before = self._began
        idle = None if waited is None else waited - waited_before
        return Round(tokens - before, self._now() - then, idle)

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def reporting(connection: Connection, run: Callable[[Referee, World], None]) -> None:
    """Run a contestant to its end, and report what it was lost by: the body of its process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends this one
    try:
        with contextlib.redirect_stdout(sys.stderr):  # the Trainer prints its metrics
            run(DistantReferee(connection), World(0, 1, this_device()))
    except BertMobileError as error:
        connection.send(("error", error))
    except torch.OutOfMemoryError:
        hint = "choose a smaller --batch-size"
        connection.send(("error", RunError("the GPU's memory is too small", hint=hint)))
    except (BrokenPipeError, EOFError):  # the first process has gone away
        sys.exit(1)


def this_device() -> torch.device:
    """Return the device that everything is measured on."""
    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


class Contestant:
    """One contestant's process, seen from the first process."""

    def __init__(self, name: str, process: SpawnProcess, connection: Connection) -> None:
        self.name, self.process = name, process
        self.first_loss = 0.0
        self.rounds: list[Round] = []
        self.figures: dict[str, float] = {}
        """What it came to, where that was asked for."""
        self.is_lost = False
        self._connection = connection
        self._is_waiting = False

    def run(self, bar: Progress) -> None:
        """Let it run one round, or warm up. Raises what it was lost by."""
        self.is_lost = True
        if self._is_waiting:
            self._connection.send("go")
        while True:
            kind, value = self._received()
            if kind == "error":
                raise value
            if kind == "step":
                bar.advance(1, self.name)
            elif kind == "ready":
                self.first_loss = value
            else:
                break
        if value is not None:
            self.rounds.append(value)
        self._is_waiting, self.is_lost = True, False

    def finish(self) -> None:
        """Let it tell what it has come to."""
        self._connection.send("go")
        kind, value = self._received()
        if kind == "error":
            raise value
        self.figures = value

    def _received(self) -> tuple[str, Any]:
        try:
            received: tuple[str, Any] = self._connection.recv()
        except EOFError:
            self.process.join()
            raise RunError(
                f"the process of {self.name} ended with status {self.process.exitcode}",
                hint="its last words are above; try a smaller --batch-size",
            ) from None
        return received


@contextmanager
def started(
    names: Sequence[str], course: Any, compete: Callable[[str, Any, Connection], None]
) -> Iterator[list[Contestant]]:
    """Start a process for each name, whose body is `compete`; end them all afterwards."""
    spawning = get_context("spawn")  # CUDA and OpenMP do not survive a fork
    there_are = []
    try:
        for name in names:
            here, there = spawning.Pipe()
            process = spawning.Process(target=compete, args=(name, course, there))
            process.start()
            there.close()
            there_are.append(Contestant(name, process, here))
        yield there_are
    finally:
        for each in there_are:
            each.process.terminate()
        for each in there_are:
            each.process.join()


def take_turns(
    contestants: Sequence[Contestant], course: Turns, notes: list[str], *, finish: bool = False
) -> list[Contestant]:
    """Let contestants run the course, A B B A …; return those that came to its end.

    With `finish`, each tells afterwards what it has come to. Raises what our own contestant is lost
    by; another one is left out with a note.
    """
    rest = list(contestants)
    with progress("bench", len(rest) * course.length, "steps") as bar:
        for turn in range(-1, course.rounds):  # -1 is the warm-up
            for each in rest if turn % 2 == 0 else rest[::-1]:
                _run(each, bar, notes)
            rest = [each for each in rest if not each.is_lost]
    for each in rest if finish else ():
        each.finish()
    return rest


def _run(contestant: Contestant, bar: Progress, notes: list[str]) -> None:
    try:
        contestant.run(bar)
    except BertMobileError as error:
        if contestant.name == OURS:
            raise
        notes.append(f"{contestant.name} is left out: {error.message}")
