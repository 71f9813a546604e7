"""Kill the workers of a build again and again, and see that the corpus stays the same.

    python benchmarks/corpus.py SOURCE… [--workers 2] [--kills 5]

One build is left alone. In another a random worker is killed (SIGKILL) at random moments, and the
build is resumed each time. Speed is measured by `bert-mobile bench corpus`. The last line is one
JSON document; the exit status is 1 where the corpora differ.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bert_mobile import __version__
from bert_mobile.evaluate.corpus_speed import build_command, folder_hash, machine


def killed(
    sources: list[str], out: Path, workers: int, times: int, seconds: float
) -> dict[str, Any]:
    """Build while workers are killed, then to the end; return the kills and the folder's hash.

    `seconds` is what an undisturbed build takes.
    """
    chance = random.Random(0)
    kills, kept = 0, 0
    for attempt in range(times + 1):
        words = build_command(sources, out, workers)
        words[words.index("--") : words.index("--")] = ["--resume", "auto"]
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
    else:
        sys.exit(f"the build did not end well though no worker was killed: {complaint}")
    return {"kills": kills, "tasks_kept": kept, "sha256": folder_hash(out)}


def kill_one(parent: int, chance: random.Random) -> int:
    """Kill a worker of a build, if it has any; return how many were killed."""
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        workers = [c for c in children if "spawn_main" in Path(f"/proc/{c}/cmdline").read_text()]
        if workers:
            os.kill(int(chance.choice(workers)), 9)
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return 0
    return len(workers[:1])


def main() -> None:
    """Build twice and print what came of it, then JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=5, metavar="N")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "alone")
        began = time.perf_counter()
        words = build_command(options.sources, out, options.workers)
        done = subprocess.run(words, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            sys.exit(done.returncode)  # it has said why
        seconds = time.perf_counter() - began
        alone = folder_hash(out)
        found = killed(
            options.sources, Path(folder, "killed"), options.workers, options.kills, seconds
        )
    identical = alone == found["sha256"]
    print(f"{found['kills']} workers killed; {found['tasks_kept']} tasks kept at the last resume")
    print("both corpora identical" if identical else "CORPORA DIFFER")
    result = {"version": __version__, "machine": machine(), "seconds": seconds, "killed": found}
    print(json.dumps(result | {"identical": identical, "sha256": alone}))
    sys.exit(0 if identical else 1)


if __name__ == "__main__":
    main()
