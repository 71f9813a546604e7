"""Run the tasks of a stage: the stages are datatrove pipelines, run by datatrove's executors.

datatrove marks each finished task on disk and skips it when the stage is run again. On this machine
we keep its executor but not its pool: that one waits for ever for a worker that was killed. Slurm
and Ray are in `bert_mobile.corpus.clusters`.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from loguru import logger

from bert_mobile.errors import BertMobileError, RunError
from bert_mobile.files import explained, write_json
from bert_mobile.progress import Progress, progress


@dataclass(frozen=True)
class Stage:
    """Tasks that do not depend on each other."""

    name: str
    function: Callable[[Path, int], None]
    """Does one task, given the working folder and the task's number."""
    label: str
    """What the progress bar says."""
    megabytes: Sequence[float]
    """About how much text each task works on; there are as many tasks."""


class Engine(Protocol):
    """Whatever runs the unfinished tasks of a stage; a context manager that frees its workers."""

    def __enter__(self) -> Self:
        """Return the engine."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all workers."""

    def finish(self, stage: Stage, folder: Path, bar: Progress) -> None:
        """Run the unfinished tasks, and raise what the first that fails raises."""


def run_stage(stage: Stage, folder: Path, engine: Engine) -> list[int]:
    """Run the unfinished tasks of a stage and return them.

    Raises what a task raises, and `RunError` where a worker was lost or a disk is full.
    """
    with explained(folder), quiet():
        todo = unfinished(stage, folder)
        for task in todo:
            failure(folder, stage.name, task).unlink(missing_ok=True)
        megabytes = sum(stage.megabytes)
        done = megabytes - sum(stage.megabytes[task] for task in todo)
        with progress(stage.label, megabytes, "MB", done) as bar:
            if todo:
                engine.finish(stage, folder, bar)
    return todo


def unfinished(stage: Stage, folder: Path) -> list[int]:
    """Return the tasks that are not marked as finished."""
    tasks = len(stage.megabytes)
    marks = LocalPipelineExecutor([], tasks, logging_dir=logs(stage, folder))
    found: list[int] = marks.get_incomplete_ranks()
    return found


def logs(stage: Stage, folder: Path) -> str:
    """Return where datatrove keeps its marks and logs of a stage."""
    return str(folder / "engine" / stage.name)


class Step(PipelineStep):
    """A stage as the one step of a datatrove pipeline."""

    type = "bert-mobile"

    def __init__(self, stage: Stage, folder: Path) -> None:
        super().__init__()
        self.name = stage.name
        self._function = stage.function
        self._folder = folder

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:  # noqa: ARG002
        """Do the task `rank`; leave a failure's message for whoever waits on another machine."""
        try:
            with explained(self._folder):
                self._function(self._folder, rank)
        except BertMobileError as error:
            said = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
            with suppress(RunError):  # the disk may be full
                write_json(failure(self._folder, self.name, rank), said)
            raise


def failure(folder: Path, stage: str, task: int) -> Path:
    """Return where a task that failed says why."""
    return folder / "failures" / f"{stage}-{task:05d}.json"


class LocalEngine:
    """Processes of this machine; with one worker, this process."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        """Return the engine; processes are started when there is work for two."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drop what is not begun and wait for the rest; after Ctrl-C, end the rest too."""
        if self._pool:
            if kind is not None and issubclass(kind, KeyboardInterrupt):
                self._end_workers(self._pool)
            self._pool.shutdown(cancel_futures=True)

    @staticmethod
    def _end_workers(pool: ProcessPoolExecutor) -> None:
        """Do what `terminate_workers` of Python 3.14 does; a task writes atomically."""
        for process in list((pool._processes or {}).values()):
            process.terminate()

    def finish(self, stage: Stage, folder: Path, bar: Progress) -> None:
        """Run the unfinished tasks in order, and raise what the first that fails raises."""
        executor = _LocalExecutor(
            [Step(stage, folder)], len(stage.megabytes), logging_dir=logs(stage, folder)
        )
        for task in executor.finished(self._pool_for(unfinished(stage, folder))):
            bar.advance(stage.megabytes[task])

    def _pool_for(self, tasks: Sequence[int]) -> ProcessPoolExecutor | None:
        if self._workers == 1 or len(tasks) == 1:
            return None
        if self._pool is None:
            # Spawned, not forked: a fork copies the locks of the threads that draw progress bars.
            context = get_context("spawn")
            self._pool = ProcessPoolExecutor(self._workers, context, initializer=_begin_worker)
        return self._pool


class _LocalExecutor(LocalPipelineExecutor):
    """datatrove's executor with a pool that notices when a worker is lost.

    A task has no log here, which takes 40 ms to set up: what goes wrong is raised in this process.
    """

    def finish(self, task: int) -> None:
        """Run one task and mark it."""
        for step in self.pipeline:
            step(None, task, self.world_size)
        self.mark_rank_as_completed(task)

    def finished(self, pool: ProcessPoolExecutor | None) -> Iterator[int]:
        """Run what is unfinished and yield each task, in order, when it is done."""
        tasks = self.get_incomplete_ranks()
        if pool is None:
            for task in tasks:
                self.finish(task)
                yield task
            return
        futures = [pool.submit(self.finish, task) for task in tasks]
        try:
            for task, future in zip(tasks, futures, strict=True):
                future.result()
                yield task
        except BrokenProcessPool as error:
            raise RunError(
                "a worker process ended unexpectedly, perhaps killed for want of memory",
                hint="use fewer workers; in a script, call this under if __name__ == '__main__':",
            ) from error


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, which ends the workers, and end with it where it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent:
        parent.join()
        os._exit(1)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep datatrove's log from standard error: what it says is in our errors and our bars."""
    logger.disable("datatrove")
    try:
        yield
    finally:
        logger.enable("datatrove")
