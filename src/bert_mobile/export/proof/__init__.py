"""The proof of an artifact: opened by its own runtime, in a process that knows only its folder.

The parent asks the source (or a float reference) for its answers to a few batches, of lengths from
1 to the longest and with padding, and leaves them in a file; a fresh process opens the artifact,
compares, and measures what a user would feel: load time, latency, peak memory. Where a task is
named, that process judges the artifact on it with its own tokenizer, by the same judge as
`evaluate`, and the parent the reference.
"""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_mobile.errors import RunError
from bert_mobile.evaluate.figures import Question, figures_of
from bert_mobile.export.proof.picture import draw
from bert_mobile.export.proof.probes import write_probes
from bert_mobile.export.target import INT4, MIX
from bert_mobile.files import read_json, write_json
from bert_mobile.judging.figures import Figures

PROOF, PICTURE = "proof.json", "proof.png"

_POINTS, _POINTS_BELOW_8_BITS = 0.5, 1.0


@dataclass(frozen=True)
class Proving:
    """What an artifact is compared with, and how much it may lose."""

    reference: Path
    """Folder of the model whose answers are right."""
    question: Question | None = None
    """What both are judged by; None: only the numbers are compared."""
    limit: float | None = None
    """Points of the main figure that may be lost; None: 0.5, or 1.0 below 8 bits."""


@dataclass(frozen=True)
class Proof:
    """What was found."""

    facts: dict[str, Any]
    """As `proof.json` has them."""

    @property
    def passed(self) -> bool:
        """Whether the artifact is as good as promised."""
        return bool(self.facts["passed"])


def prove(folder: Path, width: str, proving: Proving) -> Proof:
    """Prove the artifact in `folder`, and leave `proof.json` and `proof.png` there.

    Raises `RunError` where its runtime cannot open it or answers otherwise than it should, with
    what the process said.
    """
    with tempfile.TemporaryDirectory() as scratch:
        probes, found = Path(scratch) / "probes.npz", Path(scratch) / "found.json"
        write_probes(proving.reference, probes)
        _run_apart([str(folder), str(probes), str(found), *_asked(proving.question)])
        facts = read_json(found, "the findings of a proof")
    facts |= _judged(facts, width, proving)
    write_json(folder / PROOF, facts)
    draw(folder / PICTURE, facts)
    return Proof(facts)


def limit_of(width: str, limit: float | None) -> float:
    """Return how many points a width may lose."""
    if limit is not None:
        return limit
    return _POINTS_BELOW_8_BITS if width in (INT4, MIX) else _POINTS


def _asked(question: Question | None) -> list[str]:
    if question is None:
        return []
    return [question.task, "" if question.data is None else str(question.data), str(question.pairs)]


def _run_apart(arguments: list[str]) -> None:
    """Run the proof's process; raises `RunError` with the last line of what it said."""
    command = [sys.executable, "-m", "bert_mobile.export.proof", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        said = lines[-1] if lines else f"its process ended with status {done.returncode}"
        raise RunError(
            f"the artifact does not pass its proof: {said}",
            hint="nothing was left under the final name; --no-proof leaves the proof out",
        )


def _judged(facts: dict[str, Any], width: str, proving: Proving) -> dict[str, Any]:
    """Return the verdict: what was lost of the reference's main figure."""
    own = facts.pop("figures", None)
    if own is None or proving.question is None:
        return {"reference": proving.reference.resolve().name, "passed": True}
    [reference] = figures_of([proving.reference], proving.question)
    ours = Figures("", own["asked"], own["examples"], own["figures"])
    lost, limit = 100 * (reference.main - ours.main), limit_of(width, proving.limit)
    return {
        "reference": proving.reference.resolve().name,
        "asked": ours.asked,
        "examples": ours.examples,
        "figures": ours.figures,
        "reference_figures": reference.figures,
        "points_lost": lost,
        "limit": limit,
        "passed": lost <= limit,
    }
