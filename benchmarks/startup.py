"""How long a cold process takes to start and to answer, and how much memory it needs.

    python benchmarks/startup.py [--runs 7]

Every row is a whole process, timed from outside with the operating system's own account of its
memory; the rows take turns, so that a machine that slows down slows all of them. `python -c pass`
is the floor under all others. The last line is one JSON document; the exit status is 1 where a
promise is broken.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time

SENTENCE = "The capital of France is [MASK]."
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import bert_mobile": ["-c", "import bert_mobile"],
    "bert-mobile --help": ["-c", "from bert_mobile.cli import main; main(['--help'])"],
    "bert-mobile fill-mask": [
        "-c",
        f"from bert_mobile.cli import main; main(['fill-mask', {SENTENCE!r}])",
    ],
}
"""What is run, as arguments of this Python."""

LIMITS = {
    "import bert_mobile": 0.15,
    "bert-mobile --help": 0.5,
    "bert-mobile fill-mask": 1.5,
}
"""Seconds that we promise."""

MEMORY_LIMIT = 250.0
"""Megabytes (10**6 bytes) that a fill-mask may take at its peak."""


def timed(arguments: list[str]) -> tuple[float, float]:
    """Run this Python once; return its wall seconds and peak megabytes."""
    began = time.perf_counter()
    child = os.posix_spawn(
        sys.executable,
        [sys.executable, *arguments],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - began
    if status:
        sys.exit(f"{arguments} ended with status {status}")
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return seconds, usage.ru_maxrss * kilobyte / 1e6


def main() -> None:
    """Measure and print a table, then JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for turn in range(runs + 1):
        for name, arguments in COMMANDS.items():
            result = timed(arguments)
            if turn:  # the first turn fills the caches of the file system
                found[name].append(result)
    rows = {
        name: {
            "median_seconds": round(statistics.median(s for s, _ in results), 3),
            "fastest_seconds": round(min(s for s, _ in results), 3),
            "slowest_seconds": round(max(s for s, _ in results), 3),
            "peak_megabytes": round(max(m for _, m in results), 1),
            "promised_seconds": LIMITS.get(name),
        }
        for name, results in found.items()
    }
    heads = ("median s", "fastest", "slowest", "peak MB", "promise")
    print(f"{'command':24}" + "".join(f"{head:>10}" for head in heads))
    for name, row in rows.items():
        promise = row["promised_seconds"] or ""
        print(
            f"{name:24}{row['median_seconds']:>10}{row['fastest_seconds']:>10}"
            f"{row['slowest_seconds']:>10}{row['peak_megabytes']:>10}{promise:>10}"
        )
    machine = {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
    }
    kept = rows["bert-mobile fill-mask"]["peak_megabytes"] <= MEMORY_LIMIT and all(
        rows[name]["median_seconds"] <= limit for name, limit in LIMITS.items()
    )
    print(json.dumps({"runs": runs, "machine": machine, "rows": rows, "promises_kept": kept}))
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
