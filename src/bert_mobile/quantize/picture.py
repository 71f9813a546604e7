"""The report of a quantization for people and programs: one JSON file and one picture."""

import warnings
from pathlib import Path
from typing import Any

from bert_mobile.files import atomic_file, write_json
from bert_mobile.quantize.report import REPORT, QuantizationReport, TensorReport, parts

PICTURE = "sensitivity.png"

_COLORS = {2: "#c0392b", 4: "#d68910", 8: "#2c7a4b", 32: "#40454d"}
_GREY = "#9db4c8"


def write_report(folder: Path, report: QuantizationReport) -> None:
    """Write `quantization.json`, whole, and `sensitivity.png` into `folder`, made where missing.

    Without matplotlib there is no picture, and a warning. Raises `RunError` as `write_json` does.
    """
    write_json(folder / REPORT, report.to_json())
    try:
        from matplotlib.figure import Figure
    except ImportError:
        warnings.warn("no picture is drawn: matplotlib is not installed", stacklevel=2)
        return
    rows = [tensor for tensor in report.tensors if tensor.block is not None]
    figure = Figure(figsize=(11, max(7, 2.5 + 0.19 * len(rows))), layout="constrained")
    axes = figure.subplot_mosaic(
        [["losses", "bytes"], ["losses", "bits"], ["losses", "error"]], width_ratios=(2, 1)
    )
    _draw_losses(axes["losses"], report, rows)
    others = report.bytes - sum(part.bytes for part in parts(report))
    bars = [(part.name, part.bytes / 1e6) for part in parts(report)]
    _draw_parts(axes["bytes"], [*bars, ("other files", others / 1e6)], "megabytes")
    _draw_parts(axes["bits"], [(p.name, p.bits) for p in parts(report)], "bits a weight")
    _draw_parts(axes["error"], [(p.name, p.error) for p in parts(report)], "relative error")
    figure.suptitle("\n".join([f"{report.bytes:,} bytes", *_judged(report)]))
    with atomic_file(folder / PICTURE) as scratch:
        figure.savefig(scratch, format="png", dpi=90)


def _draw_losses(axes: Any, report: QuantizationReport, rows: list[TensorReport]) -> None:
    """Show what each matrix adds to the loss, at the bits that were tried and at those chosen.

    Where nothing was measured, show the error of its weights.
    """
    places = {tensor.name: place for place, tensor in enumerate(rows)}
    for bits in sorted({each.bits for each in report.measured}):
        tried = [each for each in report.measured if each.bits == bits]
        axes.plot(
            [each.loss for each in tried], [places[each.unit] for each in tried], "|",
            color=_COLORS[bits], label=f"tried at {bits} bits, alone",
        )  # fmt: skip
    for bits in sorted({tensor.bits for tensor in rows}):
        chosen = [tensor for tensor in rows if tensor.bits == bits]
        values = [each.error if each.loss is None else each.loss for each in chosen]
        axes.plot(
            values, [places[tensor.name] for tensor in chosen], "o",
            color=_COLORS[bits], markersize=4, label=f"chosen: {bits} bits",
        )  # fmt: skip
    label = "increase of the loss (nats)" if report.measured else "relative error"
    axes.set(xscale="log", xlabel=label, ylim=(len(rows) - 0.5, -0.5))
    axes.set_yticks(range(len(rows)), [_short(tensor.name) for tensor in rows], fontsize=7)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _draw_parts(axes: Any, bars: list[tuple[str, float]], label: str) -> None:
    """Show one figure of each part of the network."""
    places = range(len(bars))
    axes.barh(places, [value for _, value in bars], color=_GREY)
    axes.set(xlabel=label, ylim=(len(bars) - 0.5, -0.5))
    axes.set_yticks(places, [name for name, _ in bars], fontsize=8)
    axes.grid(alpha=0.3, axis="x")


def _judged(report: QuantizationReport) -> list[str]:
    """Return a line about the figures before and after, if there are any."""
    if not report.judged:
        return []
    before, after = report.judged
    name = next(iter(before.figures)).replace("_", " ")
    return [f"{before.asked}: {name} {before.main:.4f} float, {after.main:.4f} quantized"]


def _short(name: str) -> str:
    return name.removeprefix("bert.").removeprefix("encoder.").replace(".weight", "")
