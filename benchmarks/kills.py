"""Kill a pre-training run again and again, and see whether it ends as if nothing had happened.

A run of the smallest size is done once without disturbance. Then the same run is started over and
over with `--resume auto` and killed with SIGKILL, after times drawn evenly from 0 to `--longest`
seconds of training (one in five: of starting), so that start-up, steps and saving are all hit,
until the wanted number of kills is reached; after the last one it runs to its end. Prints each
kill's fate and whether the two checkpoints are the same to the bit; the last line is one JSON
document.

    python benchmarks/kills.py runs/corpus --kills 50
"""

import argparse
import json
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

RECIPE = """
variant = "micro"
corpus = "{corpus}"
steps = {steps}
learning_rate = 1e-3
warmup_steps = 20
dropout = 0.1
log_every = 1
evaluate_every = 1_000_000
evaluation_batches = 1
save_every = {save_every}

[[phases]]
share = 0.7
sequence_length = 32
batch_size = 8

[[phases]]
share = 0.3
sequence_length = 64
batch_size = 4
"""


def main() -> None:
    """Read the options, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--save-every", type=int, default=5)
    parser.add_argument("--longest", type=float, default=3.0, help="seconds of training")
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        show(measure(options, Path(folder)))


def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Do the run undisturbed, then with kills, and compare."""
    recipe = folder / "recipe.toml"
    text = RECIPE.format(
        corpus=options.corpus.resolve(), steps=options.steps, save_every=options.save_every
    )
    recipe.write_text(text)
    began = time.monotonic()
    finish(start(recipe, folder / "whole", options))
    undisturbed = time.monotonic() - began
    chance = random.Random(options.seed)
    fates = [kill(recipe, folder / "killed", chance, options) for _ in range(options.kills)]
    finish(start(recipe, folder / "killed", options))
    digests = [digest(folder / name) for name in ("whole", "killed")]
    return {
        "kills": options.kills,
        "before_the_first_step": sum(fate["step"] is None for fate in fates),
        "while_saving": sum(fate["while_saving"] for fate in fates),
        "after_the_end": sum(fate["ended"] for fate in fates),
        "most_steps_lost": max(fate["lost"] for fate in fates),
        "same_weights": digests[0] == digests[1],
        "sha256": digests[0],
        "seconds_undisturbed": round(undisturbed, 1),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def finish(run: "subprocess.Popen[str]") -> None:
    """Wait for the end of a run; give up where it is not a good one."""
    complaints = run.communicate()[1]
    if run.returncode:
        sys.exit(f"the run did not end: {complaints}")


def start(recipe: Path, out: Path, options: argparse.Namespace) -> "subprocess.Popen[str]":
    """Begin the run, or go on with it."""
    command = [sys.executable, "-m", "bert_mobile", "pretrain", str(recipe), "--out", str(out)]
    return subprocess.Popen(
        [*command, "--resume", "auto", "--workers", str(options.workers)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill(
    recipe: Path, out: Path, chance: random.Random, options: argparse.Namespace
) -> dict[str, object]:
    """Start the run and kill it at a random moment of its training; tell what is left."""
    before, parts = last_step(out), unfinished(out)
    run = start(recipe, out, options)
    # A resumed run first cuts its metrics back to the checkpoint, which counts as a beginning too.
    # One in five is killed while it still starts.
    patient = chance.random() < 0.8
    while patient and run.poll() is None and last_step(out) == before:
        time.sleep(0.01)
    time.sleep(chance.uniform(0, options.longest))
    ended = run.poll() is not None
    run.send_signal(signal.SIGKILL)
    complaints = run.communicate()[1]
    if ended and run.returncode:
        sys.exit(f"the run did not end well: {complaints}")
    step, saved = last_step(out), last_saved(out)
    fate = {
        "step": None if step == before else step,
        "saved": saved,
        "lost": max(0, (step or 0) - saved),
        "while_saving": bool(unfinished(out) - parts),
        "ended": ended,
    }
    print(f"killed at step {step}, saved {saved}{', while saving' * bool(fate['while_saving'])}")
    return fate


def unfinished(out: Path) -> set[tuple[str, int]]:
    """Return the checkpoints that a kill left half-written."""
    found = out.glob("checkpoints/.step-*.part")
    return {(path.name, path.stat().st_mtime_ns) for path in found}


def last_step(out: Path) -> int | None:
    """Return the last step on record."""
    path = out / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    steps = [json.loads(line)["step"] for line in lines if line.endswith("}")]
    return max(steps, default=None)


def last_saved(out: Path) -> int:
    """Return the step of the last checkpoint."""
    return max((int(path.name[5:]) for path in out.glob("checkpoints/step-*")), default=0)


def digest(out: Path) -> str:
    """Return the hash of the finished weights."""
    return sha256((out / "model.safetensors").read_bytes()).hexdigest()


def show(result: dict[str, object]) -> None:
    """Print a table, and last one JSON document."""
    width = max(map(len, result))
    for name, value in result.items():
        print(f"{name:{width}}  {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
