"""One table of all targets: what each file takes, how fast it answers and what it loses.

proofs.json   what became of every target, proofs included
proofs.md     the table
proofs.png    bytes, milliseconds and points lost, side by side
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_mobile.files import atomic_file, write_json

if TYPE_CHECKING:
    from bert_mobile.export.every import Attempt

HEADS = (
    "target", "width", "model bytes", "load s", "16 tokens ms", "64", "128", "peak MB",
    "largest difference", "figure", "points lost",
)  # fmt: skip
"""What stands above the cells of `row`."""

JSON, TABLE, PICTURE = "proofs.json", "proofs.md", "proofs.png"

_BLUE, _SHOWN_LENGTH = "#3465a4", 64


def row(made: Mapping[str, Any]) -> list[Any]:
    """Return the cells of a target; None where nothing was measured."""
    proof = made["proof"] or {}
    times = {each["tokens"]: each["median"] for each in proof.get("latency", ())}
    figure = next(iter(proof.get("figures", {}).values()), None)
    measured = [proof.get("load_seconds"), *(times.get(tokens) for tokens in (16, 64, 128))]
    found = [proof.get("peak_megabytes"), proof.get("largest_difference"), figure]
    head = [made["target"], made["width"], made["model_bytes"]]
    return [*head, *measured, *found, proof.get("points_lost")]


def write_summary(out: Path, found: Sequence["Attempt"]) -> None:
    """Write table, JSON and picture of all targets into `out`."""
    write_json(out / JSON, [asdict(each) for each in found])
    with atomic_file(out / TABLE) as scratch:
        scratch.write_text(_markdown(found), encoding="utf-8")
    made = [each.made for each in found if each.made is not None]
    if any(each["proof"] for each in made):
        _draw(out / PICTURE, made)


def _markdown(found: Sequence["Attempt"]) -> str:
    """Return the table, and under it what could not be carried over or made."""
    lines = [_line(HEADS), _line(["---", "---", *["--:"] * (len(HEADS) - 2)])]
    lines += [_line(map(_cell, row(each.made))) for each in found if each.made is not None]
    lines.append("")
    for each in found:
        notes = [] if each.made is None else each.made["notes"]
        lines += [f"- {each.target}: {said}" for said in (*notes, each.problem) if said]
    return "\n".join(lines).rstrip() + "\n"


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _draw(path: Path, made: Sequence[Mapping[str, Any]]) -> None:
    """Draw bars of the targets; without matplotlib a warning says so, and there is none."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        warnings.warn("no picture is drawn: matplotlib is not installed", stacklevel=2)
        return
    cells = [dict(zip(HEADS, row(each), strict=True)) for each in made]
    shown = {
        "model bytes": "million bytes",
        str(_SHOWN_LENGTH): f"milliseconds, {_SHOWN_LENGTH} tokens",
        "points lost": "points lost",
    }
    shown = {k: v for k, v in shown.items() if any(each[k] is not None for each in cells)}
    figure = Figure(figsize=(3.4 * len(shown), 0.8 + 0.35 * len(cells)), layout="constrained")
    axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for panel, (head, label) in zip(axes, shown.items(), strict=True):
        scale = 1e-6 if head == "model bytes" else 1
        numbers = [float("nan") if each[head] is None else each[head] * scale for each in cells]
        bars = panel.barh([each["target"] for each in cells], numbers, color=_BLUE)
        panel.bar_label(bars, [_cell(n) if n == n else "–" for n in numbers], padding=3, fontsize=8)
        panel.set_xlabel(label)
        panel.margins(x=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    with atomic_file(path) as scratch:
        figure.savefig(scratch, format="png", dpi=110)
