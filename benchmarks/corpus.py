"""How fast a corpus is built with more and more workers, and whether it is always the same.

    python benchmarks/corpus.py SOURCE… [--workers 1 2 4] [--runs 3] [--kill 5]

Every build is a whole `bert-mobile corpus build`; the numbers of workers take turns, so that a
machine that slows down slows all of them. With `--kill N`, one more build has a random worker
killed (SIGKILL) N times, at random moments, and is resumed each time. One hash is taken over all
files of each corpus. The last line is one JSON document; the exit status is 1 where two differ.
"""

import argparse
import hashlib
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CODE = "import sys; from bert_mobile.cli import main; main(sys.argv[1:])"


def command(sources: list[str], out: Path, workers: int) -> list[str]:
    """Return the command that builds."""
    words = ["corpus", "build", *sources, "--out", str(out), "--workers", str(workers), "--json"]
    return [sys.executable, "-c", CODE, *words]


def built(sources: list[str], out: Path, workers: int) -> dict[str, Any]:
    """Build once; return what the command reports, with the hash of the folder."""
    done = subprocess.run(
        command(sources, out, workers), stdout=subprocess.PIPE, check=True, text=True
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return report | {"sha256": folder_hash(out)}


def folder_hash(folder: Path) -> str:
    """Return one SHA-256 over the names and bytes of all files."""
    found = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            found.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def killed(
    sources: list[str], out: Path, workers: int, times: int, seconds: float
) -> dict[str, Any]:
    """Build while workers are killed, then to the end; return the kills and the folder's hash.

    `seconds` is what an undisturbed build takes.
    """
    chance = random.Random(0)
    kills, kept = 0, 0
    for attempt in range(times + 1):
        words = [*command(sources, out, workers), "--resume", "auto"]
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as running:
            if attempt < times:
                time.sleep(chance.uniform(2, max(3.0, seconds)))
                kills += kill_one(running.pid, chance)
            said, complaint = running.communicate()
        if running.returncode == 0:
            kept = json.loads(said)["tasks_kept"]
            break
        if running.returncode != 1 or "--resume auto" not in complaint:
            sys.exit(f"a killed worker ended the build with {running.returncode}: {complaint}")
    return {"kills": kills, "tasks_kept": kept, "sha256": folder_hash(out)}


def kill_one(parent: int, chance: random.Random) -> int:
    """Kill a worker of a build, if it has any; return how many were killed."""
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        workers = [c for c in children if "spawn_main" in Path(f"/proc/{c}/cmdline").read_text()]
        if workers:
            os.kill(int(chance.choice(workers)), 9)
    except FileNotFoundError:  # it has just ended
        return 0
    return len(workers[:1])


def main() -> None:
    """Measure and print a table, then JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--kill", type=int, default=0, metavar="N")
    options = parser.parse_args()
    found: dict[int, list[dict[str, Any]]] = {workers: [] for workers in options.workers}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "corpus")
        for _ in range(options.runs):
            for workers, reports in found.items():
                reports.append(built(options.sources, out, workers))
        rows = {str(workers): row(reports) for workers, reports in found.items()}
        hashes = {report["sha256"] for reports in found.values() for report in reports}
        kills = None
        if options.kill:
            seconds = rows[str(options.workers[-1])]["median_seconds"]
            out = Path(folder, "killed")
            kills = killed(options.sources, out, max(2, *options.workers), options.kill, seconds)
            hashes.add(kills["sha256"])
    show(rows, kills, identical=len(hashes) == 1)
    machine = {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": sys.version.split()[0],
    }
    result = {"runs": options.runs, "machine": machine, "workers": rows, "killed": kills}
    print(json.dumps(result | {"identical": len(hashes) == 1, "sha256": sorted(hashes)}))
    sys.exit(0 if len(hashes) == 1 else 1)


def row(reports: list[dict[str, Any]]) -> dict[str, float]:
    """Return the figures of the builds with one number of workers."""
    speeds = [report["megabytes_per_second"] for report in reports]
    return {
        "median_seconds": statistics.median(report["seconds"] for report in reports),
        "median_megabytes_per_second": statistics.median(speeds),
        "fastest_megabytes_per_second": max(speeds),
        "peak_megabytes": max(report["peak_megabytes"] for report in reports),
    }


def show(
    rows: dict[str, dict[str, float]], kills: dict[str, Any] | None, *, identical: bool
) -> None:
    """Print the table."""
    print(f"{'workers':>8}{'median s':>10}{'MB/s':>8}{'fastest':>9}{'peak MB':>9}")
    for workers, figures in rows.items():
        seconds, speed, fastest, peak = figures.values()
        print(f"{workers:>8}{seconds:>10.1f}{speed:>8.2f}{fastest:>9.2f}{peak:>9.0f}")
    if kills:
        print(
            f"{kills['kills']} workers killed; {kills['tasks_kept']} tasks kept at the last resume"
        )
    print("all corpora identical" if identical else "CORPORA DIFFER")


if __name__ == "__main__":
    main()
