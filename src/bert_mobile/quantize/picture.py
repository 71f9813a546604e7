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
    figure = Figure(figsize=(11, 2.5 + 0.19 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    _draw_losses(left, report, rows)
    _draw_bytes(right, report)
    figure.suptitle(f"{report.bytes:,} bytes")
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


def _draw_bytes(axes: Any, report: QuantizationReport) -> None:
    """Show the bytes of each part of the network, and of the files around it."""
    found = [(part.name, part.bytes) for part in parts(report)]
    found.append(("other files", report.bytes - sum(size for _, size in found)))
    places = range(len(found))
    axes.barh(places, [size / 1e6 for _, size in found], color=_GREY)
    axes.set(xlabel="megabytes", ylim=(len(found) - 0.5, -0.5))
    axes.set_yticks(places, [name for name, _ in found], fontsize=8)
    axes.grid(alpha=0.3, axis="x")


def _short(name: str) -> str:
    return name.removeprefix("bert.").removeprefix("encoder.").replace(".weight", "")
