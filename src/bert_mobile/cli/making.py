"""Commands that make models: grow, pretrain, quantize, convert."""

from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bert_mobile.cli.output import FOLDER, PATH, as_json, example, show, table
from bert_mobile.cli.questions import asked_question, question_options
from bert_mobile.variants import VARIANTS

if TYPE_CHECKING:
    from bert_mobile.judging.figures import Figures

MAX_BYTES = 25_000_000
"""What a folder of the default model may weigh, tokenizer included."""


class ByteCount(click.ParamType[int]):
    """A whole number of bytes; `25_000_000` may be written with underscores."""

    name = "bytes"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the number; fails on anything else."""
        try:
            count = int(value)
        except ValueError:
            count = 0
        if count < 1:
            self.fail(
                f"{value!r} is no number of bytes, expected one such as 25_000_000", param, ctx
            )
        return count


@click.command(
    "grow", epilog=example("bert-mobile grow MiniLM/ --tokenizer tok --corpus corpus --out grown")
)
@click.argument("source", type=FOLDER, metavar="SOURCE")
@click.option("--variant", default="mobile", show_default=True, type=click.Choice([*VARIANTS]))
@click.option("--tokenizer", required=True, type=FOLDER, help="Folder of the new vocabulary.")
@click.option("--corpus", required=True, type=PATH, help="Text to fit the larger network on.")
@click.option("--out", required=True, type=FOLDER, help="Checkpoint to make.")
@as_json
def grow(
    source: Path,
    variant: str,
    tokenizer: Path,
    corpus: Path,
    out: Path,
    as_json: bool,
) -> None:
    """Grow one of the nine sizes out of a smaller trained BERT, to pretrain it from there.

    SOURCE is a folder that bert-mobile or transformers wrote; the heads that it has come along.
    """
    from bert_mobile.model.config import BertConfig
    from bert_mobile.tokenizer import id_count, load_tokenizer
    from bert_mobile.train.grow import grow as run

    size = id_count(load_tokenizer(tokenizer))
    config = BertConfig.of_variant(variant, vocab_size=size)
    report = run(source, out, config=config, tokenizer=tokenizer, corpus=corpus)
    if as_json:
        show(report.to_json())
        return
    carried = ", ".join(head.replace("_", " ") for head in report.heads)
    click.echo(f"heads carried over: {carried or 'none'}")
    click.echo(f"{report.pieces_matched:,} of {report.pieces:,} pieces are in the old vocabulary")
    errors = ((str(layer), error) for layer, error in enumerate(report.hidden_state_error))
    click.echo(table(errors, ("after layer", "relative error")))


@click.command(
    "pretrain",
    epilog=example(
        "bert-mobile pretrain recipes/first.toml --out runs/first",
        "bert-mobile pretrain recipes/first.toml --initialize-from runs/first --hours 0.5 "
        "--qat --max-bytes 18_000_000 --out runs/first-18mb",
    ),
)
@click.argument("recipe", type=PATH, metavar="RECIPE")
@click.option("--out", type=FOLDER, show_default="runs/RECIPE", help="The run's folder.")
@click.option(
    "--resume", metavar="auto|DIR",
    help="Go on from the last good checkpoint in --out, if any, or from the weights in DIR.",
)  # fmt: skip
@click.option("--corpus", help="In place of the recipe's corpus.")
@click.option(
    "--initialize-from", metavar="DIR", help="Checkpoint to start from, in place of the recipe's."
)
@click.option("--steps", type=int, help="In place of the recipe's budget.")
@click.option("--tokens", type=int, help="In place of the recipe's budget.")
@click.option("--hours", type=float, help="In place of the recipe's budget.")
@click.option(
    "--qat",
    is_flag=True,
    default=None,
    help="The checkpoint that it starts from learns to answer with rounded weights.",
)
@click.option("--max-bytes", type=ByteCount(), metavar="N", help="--qat: of the quantized model.")
@click.option(
    "--calibration",
    metavar="FILE",
    show_default="texts of the corpus",
    help="--qat: text that bits are chosen by, one a line.",
)
@click.option("--minutes", type=float, help="Stop after so many, with a checkpoint to go on from.")
@click.option(
    "--accumulate", default=1, show_default=True, type=click.IntRange(min=1), metavar="N",
    help="Go through each batch in N parts: for less memory.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(min=0), show_default="up to 4 for each GPU, else 0",
    help="Processes that make batches.",
)  # fmt: skip
@as_json
def pretrain(
    recipe: Path,
    out: Path | None,
    resume: str | None,
    minutes: float | None,
    accumulate: int,
    workers: int | None,
    as_json: bool,
    **changes: Any,
) -> None:
    """Train a network on masked tokens and next sentences.

    With --qat it ends in OUT/quantized too, taught by the checkpoint that it starts from.

    On several GPUs or machines: torchrun --nproc-per-node 8 -m bert_mobile pretrain RECIPE …
    """
    from bert_mobile.train.recipe import read_recipe

    settings = read_recipe(recipe, changes)
    from bert_mobile.train.pretrain import pretrain as run
    from bert_mobile.train.sitting import Sitting

    sitting = Sitting(accumulation=accumulate, workers=workers, minutes=minutes)
    target = out or Path("runs") / recipe.stem
    going_on = resume == "auto" or (resume is not None and Path(resume))
    report = run(settings, target, resume=going_on, sitting=sitting)
    if report.rank:  # under torchrun: the first process speaks for all
        return
    if as_json:
        show(report.to_json())
        return
    if report.resumed_from is not None:
        click.echo(f"resumed from step {report.resumed_from}")
    click.echo(table(report.metrics.items(), ("at the end", "")))
    click.echo(f"{report.folder}: the checkpoint, its record and its curve")
    if report.quantized_bytes is not None:
        size = f"{report.quantized_bytes:,} bytes of at most {settings.max_bytes:,}"
        click.echo(f"{report.folder / 'quantized'}: {size}")


@click.command(
    "convert",
    epilog=example(
        "bert-mobile convert default --out runs/float",
        "bert-mobile convert runs/first --bfloat16 --out models/first",
    ),
)
@click.argument("model", metavar="MODEL")
@click.option("--bfloat16", is_flag=True, help="In two bytes a weight, not four.")
@click.option("--out", required=True, type=FOLDER, help="Folder to make.")
@as_json
def convert(model: str, bfloat16: bool, out: Path, as_json: bool) -> None:
    """Turn a model into a float checkpoint, for transformers, more training, or to pass it on.

    Of a quantized model the weights are the rounded ones. MODEL is `default`, a folder, or a
    repository on the Hub.
    """
    from bert_mobile.checkpoint import WEIGHTS, convert_checkpoint
    from bert_mobile.hub import resolve
    from bert_mobile.quantize import unpack_checkpoint

    folder = resolve(model)
    write = convert_checkpoint if (folder / WEIGHTS).is_file() else unpack_checkpoint
    write(folder, out, bfloat16=bfloat16)
    if as_json:
        show({"folder": str(out)})
    else:
        click.echo(f"{out}: a checkpoint in {'bfloat16' if bfloat16 else 'float32'}")


@click.command(
    "quantize",
    epilog=example(
        "bert-mobile quantize runs/first --max-bytes 25_000_000 --out runs/first-25mb",
        "bert-mobile quantize runs/sst2 --calibration texts.txt --evaluate sst2 --data glue_data "
        "--report runs/sst2-report --out runs/sst2-25mb",
    ),
)
@click.argument("folder", type=FOLDER, metavar="DIR")
@click.option("--max-bytes", default=MAX_BYTES, show_default=True, type=ByteCount(), metavar="N")
@click.option(
    "--calibration", type=PATH, metavar="FILE",
    help="Text, one a line (a tab parts two), that says which errors count; for 2 bits too.",
)  # fmt: skip
@question_options
@click.option("--report", type=FOLDER, help="Folder for the whole report and its picture.")
@click.option("--tensors", is_flag=True, help="Show every tensor, not only the parts.")
@click.option("--out", required=True, type=FOLDER, help="Folder to make.")
@as_json
def quantize(
    folder: Path,
    evaluate: str | None,
    data: Path | str | None,
    pairs: int | None,
    tensors: bool,
    out: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """Round a checkpoint's weights to 2, 4 and 8 bits, in a folder of at most so many bytes.

    With --evaluate the float model and the file that was made are judged side by side.
    """
    from bert_mobile.quantize import quantize as run
    from bert_mobile.quantize.report import parts

    judge = None
    if question := asked_question(evaluate, data, pairs):
        from bert_mobile.evaluate.figures import figures_of
        from bert_mobile.files import refuse_nested

        if (file := Path(question.task)).is_file():
            refuse_nested(out, [file])
        judge = partial(figures_of, question=question)
    made = run(folder, out, judge=judge, **options)
    if as_json:
        show(made.to_json())
        return
    if tensors:
        rows = [
            (name, "×".join(map(str, shape)), *rest)
            for name, shape, *rest in map(astuple, made.tensors)
        ]
        click.echo(table(rows, _OF_TENSORS) + "\n")
    found = parts(made)
    rest = "other files", made.bytes - sum(part.bytes for part in found), *[None] * 4
    click.echo(table([*map(astuple, found), rest], _OF_PARTS))
    if made.judged:
        click.echo("\n" + _before_and_after(*made.judged))
    click.echo(f"\n{out}: {made.bytes:,} bytes of at most {options['max_bytes']:,}")


_OF_TENSORS = ("tensor", "shape", "bits", "block", "bytes", "relative error", "clipped", "loss")
_OF_PARTS = ("part", "bytes", "bits a weight", "relative error", "clipped", "loss")


def _before_and_after(before: "Figures", after: "Figures") -> str:
    """Return a table of the float model's figures and those of the quantized file."""
    rows = [
        (name.replace("_", " "), value, after.figures[name], after.figures[name] - value)
        for name, value in before.figures.items()
    ]
    asked = f"{before.asked}, {before.examples:,} examples"
    return table(rows, (asked, "float", "quantized", "difference"))
