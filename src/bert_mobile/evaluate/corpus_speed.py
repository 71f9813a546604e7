"""How fast a corpus is built here with more and more workers, and whether it is always the same.

Every build is a whole `bert-mobile corpus build` in a process of its own; the numbers of workers
take turns, so that a machine that slows down slows all of them. One hash is taken over all files of
each corpus.
"""

import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bert_mobile import __version__
from bert_mobile.errors import InputError, RunError
from bert_mobile.files import sha256
from bert_mobile.progress import progress

CODE = "import sys; from bert_mobile.cli import main; main(sys.argv[1:])"


@dataclass(frozen=True)
class Figures:
    """Of the builds with one number of workers."""

    median_seconds: float
    median_megabytes_per_second: float
    """Source text, in 10**6 bytes after decompression."""
    fastest_megabytes_per_second: float
    peak_megabytes: float
    """Most memory of any build, workers included."""


@dataclass(frozen=True)
class CorpusBenchmark:
    """What was measured, and where."""

    runs: int
    workers: dict[int, Figures]
    sha256: list[str]
    """Of the corpora that came out: one, unless something is wrong."""
    version: str
    """Of this package."""
    machine: dict[str, Any]

    @property
    def identical(self) -> bool:
        """Whether all builds made the same bytes."""
        return len(self.sha256) == 1

    def to_json(self) -> dict[str, Any]:
        """Return all of it as a JSON object."""
        return asdict(self) | {"identical": self.identical}


def benchmark_corpus(
    sources: Sequence[Path | str], *, workers: Sequence[int] = (1, 2), runs: int = 3
) -> CorpusBenchmark:
    """Build a corpus of `sources` `runs` times with each number of `workers`.

    Raises `InputError` where there is nothing to run, `RunError` where a build fails.
    """
    if runs < 1 or not workers:
        raise InputError(
            f"{runs} runs with workers {list(workers)}, expected one or more", hint="try --runs 1"
        )
    found: dict[int, list[dict[str, Any]]] = {number: [] for number in workers}
    with (
        tempfile.TemporaryDirectory() as folder,
        progress("bench", runs * len(found), "builds") as bar,
    ):
        for _ in range(runs):
            for number, reports in found.items():
                reports.append(_built(sources, Path(folder, "corpus"), number))
                bar.advance(1)
    hashes = {report["sha256"] for reports in found.values() for report in reports}
    figures = {number: _figures(reports) for number, reports in found.items()}
    return CorpusBenchmark(runs, figures, sorted(hashes), __version__, machine())


def build_command(sources: Sequence[Path | str], out: Path, workers: int) -> list[str]:
    """Return the words of the command that builds."""
    words = ["corpus", "build", "--out", str(out), "--workers", str(workers), "--json"]
    return [sys.executable, "-c", CODE, *words, "--", *map(str, sources)]


def _built(sources: Sequence[Path | str], out: Path, workers: int) -> dict[str, Any]:
    """Build once; return what the command reports, with the hash of the folder."""
    done = subprocess.run(  # noqa: S603 - our own command
        build_command(sources, out, workers), capture_output=True, check=False, text=True
    )
    if done.returncode:
        said = done.stderr.strip().split("\n")[0].removeprefix("error: ")
        raise RunError(
            f"a build ended with status {done.returncode}: {said}",
            hint="see that bert-mobile corpus build works with these sources",
        )
    report: dict[str, Any] = json.loads(done.stdout)
    return report | {"sha256": folder_hash(out)}


def folder_hash(folder: Path) -> str:
    """Return one SHA-256 over the names and bytes of all files, in hexadecimal."""
    found = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        found.update(path.name.encode() + bytes.fromhex(sha256(path)))
    return found.hexdigest()


def _figures(reports: Sequence[dict[str, Any]]) -> Figures:
    speeds = [report["megabytes_per_second"] for report in reports]
    return Figures(
        statistics.median(report["seconds"] for report in reports),
        statistics.median(speeds),
        max(speeds),
        max(report["peak_megabytes"] for report in reports),
    )


def machine() -> dict[str, Any]:
    """Return what a figure of speed should not be read without."""
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
    }
