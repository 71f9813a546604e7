"""`--to all`: every target that is installed, each by a process of its own.

A converter that crashes, or holds a gigabyte for the next one to miss, then takes nobody with it.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_mobile.errors import InputError, MissingExtraError, RunError
from bert_mobile.export.source import Source, read_source
from bert_mobile.export.summary import JSON, PICTURE, TABLE, write_summary
from bert_mobile.export.table import TARGETS
from bert_mobile.export.target import MIX, usual_width
from bert_mobile.files import part_of, refuse_foreign_folder
from bert_mobile.hub import resolve
from bert_mobile.progress import progress

_SUMMARY = {JSON, TABLE, PICTURE}


@dataclass(frozen=True)
class Attempt:
    """What became of one target."""

    target: str
    made: dict[str, Any] | None
    """What `export --json` said of it; None where nothing was made."""
    problem: str = ""
    """Why it was not made, or what its proof found."""
    failed: bool = True
    """Whether that is a failure; what is not installed, or cannot hold the model, is none."""


def export_to_all(
    model: str, out: Path, options: Sequence[str], *, width: str | None, max_bytes: int | None
) -> list[Attempt]:
    """Export `model` to `out`/TARGET for every target; `options` are those of the command.

    A target that is not installed is told with the command that installs it, one that has no room
    for the model's head or the width is passed over, and one that fails leaves the others as they
    are. `out` gets one table of all (see `summary`). Raises as `export` does where the model or
    `out` is to blame, and `RunError` where nothing was made.
    """
    folder = resolve(model)
    refuse_foreign_folder(out, _is_ours, inputs=[folder])
    source = read_source(folder)
    if source.packed and max_bytes is not None:
        raise InputError(
            f"{folder} is quantized already, expected a float model for --max-bytes",
            hint="leave it out, or name the float model that it was made from",
        )
    wanted = width or (usual_width(source) if max_bytes is None else MIX)
    found = []
    with progress("export", len(TARGETS), "target") as bar:
        for name in TARGETS:
            problem = _passed_over(name, source, wanted)
            if problem:
                found.append(Attempt(name, None, problem, failed=False))
            else:
                found.append(_attempt(name, model, out, options))
            bar.advance(note=name)
    if all(each.made is None for each in found):
        said = next((each for each in found if each.failed), found[0])
        raise RunError(
            f"nothing was made for any target; {said.target}: {said.problem}",
            hint="export to one of them by itself to see more",
        )
    write_summary(out, found)
    return found


def _passed_over(name: str, source: Source, width: str) -> str:
    """Return why a target cannot be tried; nothing where it can."""
    target, architecture = TARGETS[name], source.config.architecture
    if target.missing is not None:
        return f"not installed: {MissingExtraError(target.missing, target.extra).hint}"
    if architecture not in target.heads:
        return f"cannot hold a {architecture}"
    return "" if width in target.places else f"has no width {width}"


def _attempt(name: str, model: str, out: Path, options: Sequence[str]) -> Attempt:
    """Export to one target in another process."""
    command = [sys.executable, "-m", "bert_mobile", "export", model, "--to", name]
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            [*command, "--out", str(out / name), "--json", *options],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except KeyboardInterrupt:  # which kills it in the middle
        shutil.rmtree(part_of(out / name), ignore_errors=True)
        raise
    lines = done.stdout.splitlines()
    made = json.loads(lines[-1]) if lines else None
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    problem = said[-1].removeprefix("error: ") if said else f"status {done.returncode}"
    return Attempt(name, made, problem if done.returncode else "", failed=done.returncode != 0)


def _is_ours(folder: Path) -> bool:
    """Tell whether a folder has nothing but targets and, of an earlier time, their summary."""
    there = {path.name for path in folder.iterdir() if not path.name.endswith(".part")}
    beside = there - TARGETS.keys()
    return not beside or (beside <= _SUMMARY and JSON in beside)
