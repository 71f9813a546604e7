"""What a run says of itself: `metrics.jsonl`, one JSON object a line, and the picture of it."""

import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bert_mobile.errors import ArtifactError
from bert_mobile.files import append_text, atomic_file

METRICS, CURVE = "metrics.jsonl", "curve.png"


class Metrics:
    """Appends to `metrics.jsonl`; lines past the step a run resumes from are taken out first."""

    def __init__(self, folder: Path, resumed_step: int) -> None:
        self._path = folder / METRICS
        kept = [line for line in read_metrics(folder) if line["step"] <= resumed_step]
        with atomic_file(self._path) as scratch:
            scratch.write_text("".join(_line(each) for each in kept), encoding="utf-8")

    def add(self, values: Mapping[str, Any]) -> None:
        """Write one line at once, so that a killed run loses none."""
        append_text(self._path, _line(values))


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics; a last line cut short by a crash is passed over.

    Raises `ArtifactError` naming a line before it that is damaged.
    """
    path = folder / METRICS
    if not path.is_file():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    return [
        _parsed(line, f"{path}, line {number}")
        for number, line in enumerate(lines, 1)
        if line.endswith(b"\n")
    ]


def _parsed(line: bytes, where: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError:
        values = None
    if not isinstance(values, dict) or "step" not in values:
        raise ArtifactError(
            f"{where} is no line of a run's metrics", hint="take the line out of the file"
        )
    return values


def draw_curve(folder: Path, title: str) -> Path | None:
    """Draw loss and accuracy over tokens from a run's metrics into `curve.png`.

    A run goes on without its picture, with a warning, where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        warnings.warn("no curve is drawn: matplotlib is not installed", stacklevel=2)
        return None
    metrics = read_metrics(folder)
    trained = [line for line in metrics if "loss" in line]
    held_out = [line for line in metrics if "held_out_masked_token_loss" in line]
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _plot(left, trained, "masked_token_loss", "training", "#9db4c8")
    _plot(left, held_out, "held_out_masked_token_loss", "held out", "#c0392b", marker="o")
    left.set(xlabel="tokens (millions)", ylabel="masked-token loss (nats)")
    _plot(right, held_out, "held_out_masked_token_accuracy", "masked tokens", "#c0392b", "o")
    _plot(right, held_out, "held_out_next_sentence_accuracy", "next sentence", "#2c7a4b", "o")
    right.set(xlabel="tokens (millions)", ylabel="held-out accuracy", ylim=(0, 1))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    with atomic_file(folder / CURVE) as scratch:
        figure.savefig(scratch, format="png", dpi=110)
    return folder / CURVE


def _plot(
    axes: Any, lines: list[dict[str, Any]], key: str, label: str, color: str, marker: str = ""
) -> None:
    tokens = [line["tokens"] / 1e6 for line in lines]
    values = [line[key] for line in lines]
    axes.plot(tokens, values, label=label, color=color, marker=marker, markersize=3)


def _line(values: Mapping[str, Any]) -> str:
    """Write figures as JSON, which has no infinity: float16's norms may be that."""
    sound = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
    return json.dumps(sound, allow_nan=False) + "\n"
