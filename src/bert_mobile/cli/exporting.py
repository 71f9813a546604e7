"""The command `export`: a model, taken elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bert_mobile.cli.output import FOLDER, as_json, example, show, table

if TYPE_CHECKING:
    from bert_mobile.export import Exported

_TARGETS = ("onnx", "openvino", "executorch", "litert", "coreml", "gguf", "web")
_WIDTHS = ("float32", "float16", "int8", "int4", "mix")


@click.command(
    "export",
    epilog=example(
        "bert-mobile export default --to web --out site/model",
        "bert-mobile export runs/sst2 --to onnx --width int8 --out exports/sst2-int8",
    ),
)
@click.argument("model", metavar="MODEL")
@click.option("--to", required=True, type=click.Choice(_TARGETS), help="Where it is to run.")
@click.option(
    "--width", type=click.Choice(_WIDTHS), show_default="mix if quantized, else float32",
    help="How weights are stored; mix is what `quantize` decided, carried over.",
)  # fmt: skip
@click.option("--out", required=True, type=FOLDER, help="Folder to make.")
@as_json
def export(model: str, to: str, width: str | None, out: Path, as_json: bool) -> None:
    """Write a model for another runtime, with its tokenizer beside it.

    MODEL is `default`, a folder that `finetune`, `quantize` or transformers wrote, or a repository
    on the Hub.
    """
    from bert_mobile.export import export as run
    from bert_mobile.hub import resolve

    made = run(resolve(model), to, out, width=width)
    if as_json:
        show(made.to_json())
        return
    click.echo(_rows([made]))
    for note in made.notes:
        click.echo(f"{made.target}: {note}")


def _rows(made: "list[Exported]") -> str:
    """Return a table of what was made."""
    rows = [(each.target, each.width, each.model_bytes, each.bytes, each.folder) for each in made]
    return table(rows, ("target", "width", "model bytes", "all bytes", "folder"))
