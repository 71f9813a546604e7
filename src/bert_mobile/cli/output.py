"""What all commands share: how texts come in and how answers go out."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click

from bert_mobile.errors import InputError
from bert_mobile.runtime.forms import FORMS, PACKED

Item = TypeVar("Item")

LINES_AT_ONCE = 256
"""Lines of standard input that are answered together: enough to batch, few enough to stream."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
model_option = click.option(
    "--model",
    default="default",
    show_default="the embedded model",
    metavar="M",
    help="A folder, or a repository on the Hugging Face Hub.",
)
task_model_option = click.option(
    "--model",
    required=True,
    metavar="M",
    help="A folder that `finetune` made, or a repository on the Hugging Face Hub.",
)
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), show_default="all cores", help="Processor threads."
)
weights_option = click.option(
    "--weights", type=click.Choice(FORMS), default=PACKED, show_default=True,
    help="What packed weights become in memory: int8 is faster, float32 rounds no activations.",
)  # fmt: skip
FOLDER = click.Path(path_type=Path, file_okay=False)
PATH = click.Path(path_type=Path)
batch_size_option = click.option(
    "--batch-size", default=32, show_default=True, type=click.IntRange(min=1), metavar="N",
    help="Texts that go through the network together.",
)  # fmt: skip

_LABELLED = (
    click.option("--encoding", metavar="NAME", show_default="utf-8", help="Of labelled files."),
    click.option(
        "--header/--no-header", default=None, show_default="looked for",
        help="Whether CSV and TSV files begin with the names of their columns.",
    ),
    click.option(
        "--form", metavar="KIND", show_default="by the name",
        help="What labelled files are: csv, tsv, jsonl, json, parquet, conll or conllu.",
    ),
    click.option(
        "--skip-unlabelled", is_flag=True, default=None, help="Leave out what has no label."
    ),
)  # fmt: skip


def labelled_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of reading labelled files, as `labelled.open_labelled` has them.

    Each is None where it is not given.
    """
    for option in reversed(_LABELLED):
        command = option(command)
    return command


def example(*lines: str) -> str:
    """Return the end of a help page, with a command to copy a line."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def text_chunks(words: Iterable[str]) -> Iterator[list[str]]:
    """Yield the given texts at once; for the single text `-`, lines of standard input in chunks."""
    given = list(words)
    if given != ["-"]:
        yield given
        return
    # Bytes that are no UTF-8 become lone surrogates, which the model refuses with a reason.
    decoded = (line.decode("utf-8", "surrogateescape") for line in standard_input())
    lines = (line.rstrip("\r\n") for line in decoded)
    yield from _chunks(_not_blank(lines), LINES_AT_ONCE)


def standard_input() -> BinaryIO:
    """Return the bytes that are piped in; raises `InputError` where there is no such stream."""
    if sys.stdin is None:
        raise InputError(
            "standard input is closed, expected texts from it",
            hint="give the texts themselves, or a file: bert-mobile … - < FILE",
        )
    return sys.stdin.buffer


def _not_blank(lines: Iterable[str]) -> Iterator[str]:
    """Refuse blank lines: answers must stay beside the lines they belong to."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise InputError(
                f"line {number} of standard input is blank, expected a text on every line",
                hint="leave blank lines out: grep . FILE | bert-mobile …",
            )
        yield line


def show(value: Any) -> None:
    """Print one JSON document on a line of its own."""
    click.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))


def table(rows: Iterable[Iterable[Any]], heads: Iterable[str]) -> str:
    """Lay out a plain table: numbers to the right, words to the left."""
    body = [[_cell(value) for value in row] for row in rows]
    columns = list(zip(*[list(heads), *body], strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    sides: list[Callable[[str, int], str]] = [
        str.rjust if all(_numeric(cell) for cell in column[1:]) else str.ljust for column in columns
    ]
    lines = [
        "  ".join(side(cell, width) for cell, width, side in zip(row, widths, sides, strict=True))
        for row in [list(heads), *body]
    ]
    return "\n".join(line.rstrip() for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1 else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _numeric(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").replace("-", "").isdigit() or cell in ("", "–")


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


class Listed(click.ParamType[tuple[str, ...]]):
    """Words with commas between them."""

    name = "list"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Return the words; fails where there is none."""
        if isinstance(value, tuple):
            return value
        words = tuple(word.strip() for word in str(value).split(",") if word.strip())
        if not words:
            self.fail(f"{value!r} names nothing, expected words with commas between", param, ctx)
        return words
