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

from bert_mobile.errors import InputError, RunError
from bert_mobile.evaluate.figures import Question, figures_of
from bert_mobile.export.proof.picture import draw
from bert_mobile.export.proof.probes import write_probes
from bert_mobile.export.target import INT4, MIX
from bert_mobile.files import explained, read_json, write_json
from bert_mobile.judging.figures import Figures
from bert_mobile.model.config import BertConfig

PROOF, PICTURE = "proof.json", "proof.png"

_POINTS, _POINTS_BELOW_8_BITS = 0.5, 1.0

_COMPARED = (
    "architecture", "labels", "problem_type", "hidden_size", "vocab_size", "type_vocab_size",
    "max_position_embeddings",
)  # fmt: skip
"""What two models have in common whose answers can be held against each other."""


@dataclass(frozen=True)
class Proving:
    """What an artifact is compared with, and how much it may lose."""

    reference: Path
    """Folder of the model whose answers are right."""
    question: Question | None = None
    """What both are judged by; None: only the numbers are compared."""
    limit: float | None = None
    """Points of the main figure that may be lost; None: 0.5, or 1.0 below 8 bits."""


def reference_figures(proving: Proving, config: BertConfig) -> Figures | None:
    """Judge the reference by the question, if there is one: before anything is made.

    `config` is that of the model to be exported. Raises `InputError` where the reference is another
    kind of model, and as `figures_of` does.
    """
    theirs = BertConfig.read(proving.reference)
    for name in _COMPARED:
        found, expected = getattr(theirs, name), getattr(config, name)
        if found != expected:
            raise InputError(
                f"the reference {proving.reference} has the {name} {found}, the model {expected}",
                hint="give --reference the float model that it was made from",
            )
    if proving.question is None:
        return None
    [figures] = figures_of([proving.reference], proving.question)
    return figures


def prove(folder: Path, width: str, proving: Proving, reference: Figures | None) -> dict[str, Any]:
    """Prove the artifact in `folder`, and leave `proof.json` and `proof.png` there.

    `reference` has the reference's figures; None: the artifact is not judged. Returns what
    `proof.json` has. Raises `RunError` where its runtime cannot open it or answers otherwise than
    it should, with what the process said.
    """
    with tempfile.TemporaryDirectory() as scratch, explained(Path(scratch)):
        probes, found = Path(scratch) / "probes.npz", Path(scratch) / "found.json"
        write_probes(proving.reference, probes)
        question = None if reference is None else proving.question
        _run_apart([str(folder), str(probes), str(found), *_asked(question)])
        facts = read_json(found, "the findings of a proof")
    facts |= {"reference": proving.reference.resolve().name}
    facts |= _verdict(facts.pop("figures", None), reference, limit_of(width, proving.limit))
    write_json(folder / PROOF, facts)
    draw(folder / PICTURE, facts)
    return facts


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
        is_told = lines and done.returncode > 0  # one that was killed said nothing of it
        said = lines[-1] if is_told else f"its process ended with status {done.returncode}"
        raise RunError(
            f"the artifact does not pass its proof: {said}",
            hint="nothing was left under the final name; --no-proof leaves the proof out",
        )


def _verdict(own: dict[str, Any] | None, reference: Figures | None, limit: float) -> dict[str, Any]:
    """Return what was lost of the reference's main figure, and whether that is too much."""
    if own is None or reference is None:
        return {"passed": True}
    ours = Figures("", own["asked"], own["examples"], own["figures"])
    lost = 100 * (reference.main - ours.main)
    return {
        "asked": ours.asked,
        "examples": ours.examples,
        "figures": ours.figures,
        "reference_figures": reference.figures,
        "points_lost": lost,
        "limit": limit,
        "passed": lost <= limit,
    }
