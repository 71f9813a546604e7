"""Run a stage on many machines that share the folder: by Slurm, or on a Ray cluster.

datatrove hands the tasks out; we wait, show how many are done, and report a failure as on one
machine. Every machine needs this package, and sees the sources and the corpus under one path.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from datatrove.executor.ray import RayPipelineExecutor
from datatrove.executor.slurm import SlurmPipelineExecutor

from bert_mobile.corpus.engine import Stage, Step, failure, logs, unfinished
from bert_mobile.corpus.libraries import library
from bert_mobile.errors import ArtifactError, InputError, RunError
from bert_mobile.files import read_json
from bert_mobile.progress import Progress

JOBS_PER_WORKER = 4
"""Tasks are bundled into so many jobs a worker: few enough to start, enough to share evenly."""

SLOWEST_FOLDER = 10.0
"""Seconds after which a shared folder shows on one machine what another wrote."""


class _Cluster:
    """What Slurm and Ray have in common: waiting for tasks that run elsewhere."""

    poll_seconds: float

    def __enter__(self) -> Self:
        """Return the engine."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the cluster as it is."""

    def _wait(
        self, stage: Stage, folder: Path, bar: Progress, is_running: Callable[[], bool]
    ) -> None:
        """Return when all tasks are done; raise what one of them raised."""
        waiting = set(unfinished(stage, folder))
        patience = SLOWEST_FOLDER
        while True:
            running = is_running()
            left = set(unfinished(stage, folder))
            bar.advance(sum(stage.megabytes[task] for task in waiting - left))
            waiting = left
            if not waiting:
                return
            _raise_failure(stage, folder, sorted(waiting))
            if not running:
                patience -= self.poll_seconds
                if patience < 0:
                    raise RunError(
                        f"{len(waiting)} of {len(stage.megabytes)} tasks ended without a result",
                        hint=f"see the logs in {logs(stage, folder)}",
                    )
            time.sleep(self.poll_seconds)


def _raise_failure(stage: Stage, folder: Path, tasks: list[int]) -> None:
    """Raise the error that the first failed task left, if any did."""
    for path in (failure(folder, stage.name, task) for task in tasks):
        if path.is_file():
            found = read_json(path, "why a task failed")
            kind = {"InputError": InputError, "ArtifactError": ArtifactError}
            raise kind.get(found["kind"], RunError)(found["message"], hint=found["hint"])


class _SlurmExecutor(SlurmPipelineExecutor):
    def launch_merge_stats(self) -> None:
        """Submit no job for datatrove's statistics: the manifest has ours."""


@dataclass
class SlurmEngine(_Cluster):
    """Array jobs, submitted with `sbatch` and watched with `squeue`."""

    workers: int
    """Jobs at the same time."""
    partition: str
    time: str = "24:00:00"
    """Limit of one job, HOURS:MINUTES:SECONDS."""
    options: Mapping[str, str] = field(default_factory=dict)
    """More options of `sbatch`, by their long names."""
    poll_seconds: float = 5.0

    def __post_init__(self) -> None:
        """Refuse a machine without Slurm."""
        for command in ("sbatch", "squeue"):
            if not shutil.which(command):
                raise InputError(
                    f"{command!r} is not among this machine's commands, expected Slurm's",
                    hint="submit from a login node of the cluster, or use --executor local",
                )

    def finish(self, stage: Stage, folder: Path, bar: Progress) -> None:
        """Submit the unfinished tasks and wait; the job is cancelled where the waiting ends."""
        tasks = len(unfinished(stage, folder))
        options = dict(self.options)
        activate = Path(sys.prefix, "bin", "activate")
        executor = _SlurmExecutor(
            [Step(stage, folder)],
            len(stage.megabytes),
            self.time,
            self.partition,
            workers=self.workers,
            job_name=f"corpus-{stage.name}",
            qos=options.pop("qos", None),
            venv_path=str(activate) if activate.is_file() else None,
            sbatch_args=options,
            logging_dir=logs(stage, folder),
            tasks_per_job=ceil(tasks / (self.workers * JOBS_PER_WORKER)),
            with_srun=False,
        )
        try:
            executor.run()
            self._wait(stage, folder, bar, lambda: _is_queued(executor.job_id))
        except subprocess.CalledProcessError as error:
            raise RunError(
                f"{error.cmd[0]} ended with status {error.returncode}",
                hint="see what it says above; check --partition, --time and --sbatch",
            ) from error
        except BaseException:
            if executor.job_id:
                subprocess.run(["scancel", str(executor.job_id)], check=False)  # noqa: S603, S607
            raise


def _is_queued(job: Any) -> bool:
    """Tell whether Slurm still has a job; one that it forgot has ended."""
    command = ["squeue", "--noheader", "--jobs", str(job)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return bool(done.stdout.strip()) or (
        done.returncode != 0 and "Invalid job id" not in done.stderr
    )


@dataclass
class RayEngine(_Cluster):
    """The Ray cluster that `RAY_ADDRESS` names; without one, Ray on this machine."""

    workers: int
    """Tasks at the same time."""
    poll_seconds: float = 1.0

    def __post_init__(self) -> None:
        """Refuse an installation without Ray."""
        library("ray", extra="scale")

    def __enter__(self) -> Self:
        """Connect to the cluster."""
        library("ray", extra="scale").init(
            ignore_reinit_error=True, log_to_driver=False, logging_level="ERROR"
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the cluster."""
        with suppress(RuntimeError):
            library("ray", extra="scale").shutdown()

    def finish(self, stage: Stage, folder: Path, bar: Progress) -> None:
        """Run the unfinished tasks and wait."""
        executor = RayPipelineExecutor(
            [Step(stage, folder)],
            len(stage.megabytes),
            self.workers,
            logging_dir=logs(stage, folder),
        )
        with ThreadPoolExecutor(1) as thread:
            run = thread.submit(executor.run)
            self._wait(stage, folder, bar, lambda: not run.done())
            run.result()
