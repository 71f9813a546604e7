"""`--to all`: every target that is installed, each by a process of its own.

A converter that crashes, or holds a gigabyte for the next one to miss, then takes nobody with it.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_mobile.errors import MissingExtraError
from bert_mobile.export.summary import write_summary
from bert_mobile.export.table import TARGETS
from bert_mobile.hub import resolve
from bert_mobile.model.config import BertConfig
from bert_mobile.progress import progress


@dataclass(frozen=True)
class Attempt:
    """What became of one target."""

    target: str
    made: dict[str, Any] | None
    """What `export --json` said of it; None where nothing was made."""
    problem: str = ""
    """Why it was not made, or what its proof found."""
    failed: bool = True
    """Whether that is a failure; what is not installed, or has no room for the head, is none."""


def export_to_all(model: str, out: Path, options: Sequence[str]) -> list[Attempt]:
    """Export `model` to `out`/TARGET for every target; `options` are those of the command.

    A target that is not installed is told with the command that installs it, one that has no room
    for the model's head is passed over, and one that fails leaves the others as they are. `out`
    gets one table of all (see `summary`).
    """
    found, architecture = [], BertConfig.read(resolve(model)).architecture
    with progress("export", len(TARGETS), "target") as bar:
        for name in TARGETS:
            found.append(_attempt(model, architecture, name, out, options))
            bar.advance(note=name)
    write_summary(out, found)
    return found


def _attempt(
    model: str, architecture: str, name: str, out: Path, options: Sequence[str]
) -> Attempt:
    target = TARGETS[name]
    if target.missing is not None:
        hint = MissingExtraError(target.missing, target.extra).hint
        return Attempt(name, None, f"not installed: {hint}", failed=False)
    if architecture not in target.heads:
        return Attempt(name, None, f"cannot hold a {architecture}", failed=False)
    command = [sys.executable, "-m", "bert_mobile", "export", model, "--to", name]
    done = subprocess.run(  # noqa: S603 - our own command
        [*command, "--out", str(out / name), "--json", *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    made = json.loads(lines[-1]) if lines else None
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    problem = said[-1].removeprefix("error: ") if said else f"status {done.returncode}"
    return Attempt(name, made, problem if done.returncode else "", failed=done.returncode != 0)
