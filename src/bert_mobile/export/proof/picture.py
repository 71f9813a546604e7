"""The picture of a proof: latency by length, and how far each output is from the reference."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bert_mobile.files import atomic_file

_GREY, _BLUE = "#999999", "#3465a4"


def draw(path: Path, facts: Mapping[str, Any]) -> None:
    """Draw it to `path`; without matplotlib a warning says so, and there is none."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        warnings.warn("no picture is drawn: matplotlib is not installed", stacklevel=2)
        return
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    lengths = [str(each["tokens"]) for each in facts["latency"]]
    left.bar(lengths, [each["median"] for each in facts["latency"]], color=_BLUE)
    left.set(xlabel="tokens", ylabel="milliseconds")
    differences = facts["differences"]
    share = [each["largest"] / (each["spread"] or 1) for each in differences.values()]
    right.barh(list(differences), share, color=_GREY)
    right.set(xlabel="largest difference ÷ spread")
    lost = facts.get("points_lost")
    said = "" if lost is None else f"; {facts['asked']}: {-lost:+.2f} points"
    figure.suptitle(f"loads in {facts['load_seconds']:.2f} s{said}", fontsize=10)
    with atomic_file(path) as scratch:
        figure.savefig(scratch, format="png", dpi=80)
