"""What a run says of itself: `metrics.jsonl`, one JSON object a line, and the picture of it."""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_mobile.errors import ArtifactError
from bert_mobile.files import append_text, atomic_file

METRICS, CURVE = "metrics.jsonl", "curve.png"

_OVER = {"tokens": ("tokens (millions)", 1e6), "step": ("steps", 1)}
"""Title and unit of the horizontal axis."""


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


@dataclass(frozen=True)
class Line:
    """One line of a picture."""

    figure: str
    """Name in the metrics."""
    label: str
    color: str
    marker: str = ""


@dataclass(frozen=True)
class Panel:
    """One half of a picture."""

    title: str
    """What is drawn, with its unit."""
    lines: tuple[Line, ...]
    within: tuple[float, float] | None = None
    """Bounds of the axis; None: those of the figures."""
    over: str = "tokens"
    """What it is drawn over: `tokens` or `step`."""


PRETRAINING = (
    Panel(
        "masked-token loss (nats)",
        (
            Line("masked_token_loss", "training", "#9db4c8"),
            Line("held_out_masked_token_loss", "held out", "#c0392b", "o"),
        ),
    ),
    Panel(
        "held-out accuracy",
        (
            Line("held_out_masked_token_accuracy", "masked tokens", "#c0392b", "o"),
            Line("held_out_next_sentence_accuracy", "next sentence", "#2c7a4b", "o"),
        ),
        (0, 1),
    ),
)


def draw_curve(folder: Path, title: str, panels: Sequence[Panel] = PRETRAINING) -> Path | None:
    """Draw the figures of a run's metrics over its tokens or steps into `curve.png`.

    A run goes on without its picture, with a warning, where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        warnings.warn("no curve is drawn: matplotlib is not installed", stacklevel=2)
        return None
    metrics = read_metrics(folder)
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for line in panel.lines:
            _plot(axes, [each for each in metrics if line.figure in each], line, panel.over)
        axes.set(xlabel=_OVER[panel.over][0], ylabel=panel.title, ylim=panel.within)
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    with atomic_file(folder / CURVE) as scratch:
        figure.savefig(scratch, format="png", dpi=110)
    return folder / CURVE


def _plot(axes: Any, metrics: list[dict[str, Any]], line: Line, over: str) -> None:
    places = [each[over] / _OVER[over][1] for each in metrics]
    values = [math.nan if each[line.figure] is None else each[line.figure] for each in metrics]
    axes.plot(places, values, label=line.label, color=line.color, marker=line.marker, markersize=3)


def _line(values: Mapping[str, Any]) -> str:
    """Write figures as JSON, which has no infinity: float16's norms may be that."""
    sound = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
    return json.dumps(sound, allow_nan=False) + "\n"
