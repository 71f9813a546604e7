"""Draw the pieces of a long training as one curve, and runs beside it for comparison.

    python benchmarks/pieces.py records/default

The folder holds the metrics of each piece, in order: `piece-1.jsonl`, `piece-2.jsonl` …, each begun
from the weights of the one before; any other `NAME.jsonl` is a run of its own, drawn from 0 tokens.
Writes `curve.png` into it and prints the last held-out figures of each; the last line is JSON.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

Line = dict[str, Any]
LOSS, ACCURACY = "held_out_masked_token_loss", "held_out_masked_token_accuracy"
NEXT_SENTENCE = "held_out_next_sentence_accuracy"


def main() -> None:
    """Read the folder, draw, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    pieces = sorted(folder.glob("piece-*.jsonl"), key=lambda path: int(path.stem.split("-")[1]))
    if not pieces:
        parser.error(f"{folder} holds no piece-1.jsonl")
    runs = [path for path in sorted(folder.glob("*.jsonl")) if path not in pieces]
    curves, before = [], 0
    for path in pieces:
        lines = _read(path)
        curves.append((path.stem, _moved(lines, before)))
        before += lines[-1]["tokens"]
    curves += [(path.stem, _read(path)) for path in runs]
    _draw(curves, folder / "curve.png")
    last = {name: _last(lines) for name, lines in curves}
    for name, figures in last.items():
        print(
            f"{name:>16}  {figures['tokens'] / 1e6:6.2f} M tokens  loss {figures[LOSS]:.3f}  ",
            end="",
        )
        print(f"top-1 {figures[ACCURACY]:.3f}  next sentence {figures[NEXT_SENTENCE]:.3f}")
    print(json.dumps(last))


def _read(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _moved(lines: list[Line], tokens: int) -> list[Line]:
    """Count the tokens on from those of the pieces before."""
    return [{**line, "tokens": line["tokens"] + tokens} for line in lines]


def _last(lines: list[Line]) -> Line:
    held_out = [line for line in lines if LOSS in line][-1]
    return {key: held_out[key] for key in ("tokens", "seconds", LOSS, ACCURACY, NEXT_SENTENCE)}


def _draw(curves: list[tuple[str, list[Line]]], path: Path) -> None:
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, (name, lines) in enumerate(curves):
        color, label = f"C{number}", name.replace("-", " ")
        _plot(left, lines, "masked_token_loss", color, alpha=0.35)
        _plot(left, lines, LOSS, color, label=label, marker="o", markersize=3)
        _plot(right, lines, ACCURACY, color, label=label, marker="o", markersize=3)
        _plot(right, lines, NEXT_SENTENCE, color, marker="o", markersize=3, linestyle=":")
    left.set(xlabel="tokens (millions)", ylabel="masked-token loss (nats), pale: training")
    right.set(xlabel="tokens (millions)", ylabel="held-out accuracy, dotted: next sentence")
    right.set_ylim(0, 1)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)


def _plot(axes: Any, lines: list[Line], key: str, color: str, **style: Any) -> None:
    found = [line for line in lines if key in line]
    tokens, values = [line["tokens"] / 1e6 for line in found], [line[key] for line in found]
    axes.plot(tokens, values, color=color, **style)


if __name__ == "__main__":
    main()
