"""What a sweep found: `sweep.json`, and the table and the picture drawn from it.

Every variation is compared with the mean of the baseline's seeds, in nats and in spreads: a spread
is the standard deviation of those seeds, the noise that any other run has as well.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from bert_mobile.files import atomic_file, write_json

SWEEP, TABLE, PICTURE = "sweep.json", "README.md", "sweep.png"
BASELINE = "baseline"

Row = dict[str, Any]

_GREY, _DARK = "#b9bdc4", "#40454d"
_COLORS = ("#c0392b", "#2471a3", "#d68910", "#2c7a4b", "#7d3c98", "#16a3a3")
_COLUMNS = (5, 4, 3)
"""Panels in a row: whichever leaves the fewest places empty."""


def summarize(command: str, baseline: Mapping[str, Any], rows: Sequence[Row]) -> Row:
    """Return `sweep.json`: the rows with their figures beside those of the baseline's seeds."""
    rows = [{**row, **(row["held_out"][-1] if row.get("held_out") else {})} for row in rows]
    seeds = [row["loss"] for row in rows if row["group"] == BASELINE and _ended(row)]
    center = mean(seeds) if seeds else None
    spread = stdev(seeds) if len(seeds) > 1 else None
    for row in rows:
        if center is not None and _ended(row):
            row["difference"] = round(row["loss"] - center, 5)
            row["spreads"] = round(row["difference"] / spread, 2) if spread else None
    facts = {
        key: sorted({row[key] for row in rows if row.get(key)})
        for key in ("code", "hardware", "torch", "python", "corpus")
    }
    return {
        "command": command,
        **facts,
        "baseline": dict(baseline),
        "baseline_loss": center,
        "spread": spread,
        "runs": rows,
    }


def write_report(report: Mapping[str, Any], out: Path) -> None:
    """Write the three files of a sweep, the picture only where matplotlib is installed."""
    write_json(out / SWEEP, report)
    with atomic_file(out / TABLE) as scratch:
        scratch.write_text("\n".join(_page(report)) + "\n", encoding="utf-8")
    draw_sweep(report, out / PICTURE)


def _ended(row: Row) -> bool:
    return row["status"] == "finished" and "loss" in row


def _groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the variations by group, in the order of the file."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row["group"] != BASELINE:
            groups.setdefault(row["group"], []).append(row)
    return groups


# --- the table ----------------------------------------------------------------------------------


def _page(report: Mapping[str, Any]) -> Iterator[str]:
    rows: list[Row] = report["runs"]
    baseline = [row for row in rows if row["group"] == BASELINE]
    done = sum(row["status"] != "to come" for row in rows)
    yield from ("# A sweep", "", f"`{report['command']}`", "")
    yield f"{done} of {len(rows)} runs are done. The baseline is"
    yield f"{_sentence(report['baseline'])}."
    facts = [", ".join(report[key]) for key in ("code", "torch", "python", "hardware")]
    yield "{}; torch {}; Python {}; {}.".format(*(fact or "unknown" for fact in facts))
    if report["spread"] is not None:
        yield (
            f"Its {len(baseline)} seeds end at {report['baseline_loss']:.4f} nats on average; one "
            f"spread is their standard deviation, {report['spread']:.4f} nats."
        )
    yield from ("", f"![held-out loss of every run]({PICTURE})", "")
    yield "Held-out masked-token loss in nats, less is better; `±` is the difference to the mean of"
    yield "the baseline's seeds, in nats and in spreads. Speed is the median over the run."
    yield ""
    yield "| | run | change | loss | ± | spreads | top-1 | next sentence | tokens | tokens/s |"
    yield "|---|---|---|--:|--:|--:|--:|--:|--:|--:|"
    for group, members in {BASELINE: baseline, **_groups(rows)}.items():
        for number, row in enumerate(members):
            yield f"| {'' if number else f'**{group}**'} | {' | '.join(_cells(row))} |"


def _cells(row: Row) -> tuple[str, ...]:
    """Return what the table says of a run, nine cells."""
    said = "; ".join(f"{key} {old} → {new}" for key, (old, new) in row["changes"].items())
    name, change = row["name"], said or f"seed {row['seed']}"
    if row["status"] == "to come":
        return (name, change, "to come", *[""] * 6)
    tokens = "" if row["tokens"] is None else f"{row['tokens']:,}"
    if not _ended(row):
        error = row.get("error", "never judged").split(";")[0]
        return (name, change, f"failed: {error}", *[""] * 4, tokens, "")
    spreads, speed = row.get("spreads"), row["tokens_per_second"]
    return (
        name,
        change,
        f"{row['loss']:.4f}",
        f"{row['difference']:+.4f}" if "difference" in row else "",
        "" if spreads is None else f"{spreads:+.1f}",
        f"{row['top_1']:.1%}",
        f"{row['next_sentence']:.1%}",
        tokens,
        "" if speed is None else f"{speed:,.0f}",
    )


def _sentence(recipe: Mapping[str, Any]) -> str:
    """Return what determines a recipe, in one sentence."""
    budget = next(f"{recipe[k]:,} {k}" for k in ("steps", "tokens", "hours") if recipe[k])
    phases = " then ".join(
        f"{phase['batch_size']} pairs of {phase['sequence_length']} tokens at "
        f"{phase['masking_rate']:.0%}"
        for phase in recipe["phases"]
    )
    return (
        f"`{recipe['variant']}` for {budget}: {phases}, {recipe['optimizer']} at "
        f"{recipe['learning_rate']:g} after {recipe['warmup_steps']} steps of warm-up, dropout "
        f"{recipe['dropout']:g}, next-sentence weight {recipe['next_sentence_weight']:g}"
    )


# --- the picture --------------------------------------------------------------------------------


def draw_sweep(report: Mapping[str, Any], path: Path) -> Path | None:
    """Draw a panel a group: held-out loss over tokens, the baseline's seeds as a grey band.

    Nothing is drawn, with a warning, where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        warnings.warn("no picture is drawn: matplotlib is not installed", stacklevel=2)
        return None
    rows: list[Row] = report["runs"]
    groups = _groups(rows) or {BASELINE: []}
    columns = min(len(groups), min(_COLUMNS, key=lambda count: -len(groups) % count))
    lines = math.ceil(len(groups) / columns)
    figure = Figure(figsize=(0.6 + 3.0 * columns, 0.6 + 2.9 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    seeds = [row for row in rows if row["group"] == BASELINE and row.get("held_out")]
    for panel, (group, members) in zip(panels.flat, groups.items(), strict=False):
        _panel(panel, group, members, seeds)
    for place, panel in enumerate(panels.flat):
        panel.set_visible(place < len(groups))
        panel.tick_params(labelbottom=place >= len(groups) - columns)
    panels.flat[0].set_ylim(_range([row for row in rows if row.get("held_out")]))
    figure.supxlabel("tokens read (millions)", fontsize=10, color=_DARK)
    figure.supylabel("held-out masked-token loss (nats)", fontsize=10, color=_DARK)
    with atomic_file(path) as scratch:
        figure.savefig(scratch, format="png", dpi=105, pil_kwargs={"optimize": True})
    return path


def _panel(panel: Any, group: str, members: Sequence[Row], seeds: Sequence[Row]) -> None:
    if seeds:
        tokens, losses = _curves(seeds)
        panel.fill_between(tokens, losses.min(0), losses.max(0), color=_GREY, alpha=0.55, lw=0)
        panel.plot(tokens, losses.mean(0), color=_DARK, lw=1.0, label=BASELINE)
    names = list(dict.fromkeys(row["variation"] for row in members))
    for name, color in zip(names, _COLORS * len(names), strict=False):
        rows = [row for row in members if row["variation"] == name and row.get("held_out")]
        if not rows:
            continue
        tokens, losses = _curves(rows)
        panel.plot(tokens, losses.mean(0), color=color, lw=1.4, label=f"{name}  {_end(rows)}")
        if len(rows) > 1:
            panel.fill_between(tokens, losses.min(0), losses.max(0), color=color, alpha=0.2, lw=0)
    panel.set_title(group, fontsize=10, loc="left", color=_DARK, fontweight="bold")
    panel.grid(alpha=0.25, lw=0.6)
    panel.tick_params(labelsize=8, colors=_DARK, length=2)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(fontsize=7.5, loc="best", handlelength=1.2, framealpha=0.85, edgecolor="none")


def _end(rows: Sequence[Row]) -> str:
    """Return what is said behind a variation's name: its mean difference to the baseline."""
    differences = [row["difference"] for row in rows if "difference" in row]
    said = f"{mean(differences):+.3f}" if differences else str(rows[0]["status"])
    return said.replace("-", "−")


def _curves(rows: Sequence[Row]) -> tuple[Any, Any]:
    """Return the tokens (n,) and the losses (runs, n) of a variation's runs.

    Seeds count a few tokens more or less in a step, and one that failed ends early: all are read
    off at the first one's, as far as all of them came.
    """
    import numpy as np

    curves = [
        ([each["tokens"] / 1e6 for each in row["held_out"]], [e["loss"] for e in row["held_out"]])
        for row in rows
    ]
    points = min(len(tokens) for tokens, _ in curves)
    tokens = np.array(curves[0][0][:points])
    return tokens, np.stack([np.interp(tokens, *curve) for curve in curves])


def _range(rows: Sequence[Row]) -> tuple[float | None, float | None]:
    """Return the losses to show: from the best to where the first judgements were, and a margin."""
    firsts = [row["held_out"][0]["loss"] for row in rows]
    lasts = [row["held_out"][-1]["loss"] for row in rows]
    if not rows:
        return None, None
    lowest, highest = min(lasts), max(lasts + sorted(firsts)[: 1 + len(firsts) // 2])
    margin = 0.04 * (highest - lowest) or 0.1
    return lowest - margin, highest + margin
