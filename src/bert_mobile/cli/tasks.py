"""The command that runs a whole benchmark: glue."""

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from bert_mobile.cli.making import ByteCount
from bert_mobile.cli.output import FOLDER, PATH, Listed, as_json, example, show, table

_POSITIVE = click.IntRange(min=1)


def _numbers(kind: type[int] | type[float]) -> Any:
    def convert(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> Any:
        try:
            return tuple(kind(word) for word in value)
        except ValueError:
            raise click.BadParameter(
                f"{','.join(value)!r} is no list of numbers, expected one such as "
                f"{'1,2,3' if kind is int else '3e-5,5e-5'}",
                ctx,
                param,
            ) from None

    return convert


@click.command(
    "glue",
    epilog=example(
        "bert-mobile glue --data glue_data --out runs/glue",
        "bert-mobile glue --data hub --tasks cola,rte --learning-rate 5e-5,1e-4 --out runs/few",
        "bert-mobile glue --data glue_data --from-mnli --max-bytes 25_000_000 --out runs/small",
    ),
)
@click.option(
    "--data", "--source", required=True, metavar="DIR|hub", help="Folder of the data, or the Hub."
)
@click.option(
    "--model",
    default="default",
    show_default="the embedded model",
    metavar="M",
    help="What to start from: a folder, or a repository on the Hub.",
)
@click.option("--name", default="", show_default="the model's", help="Of its row in the table.")
@click.option(
    "--tasks",
    type=Listed(),
    default=(),
    metavar="A,B,…",
    show_default="those of GLUE that are there, without WNLI",
    help="Also of the other tasks, such as conll2003, ewt-pos, squad, clinc150, banking77, snips.",
)
@click.option(
    "--learning-rate",
    "learning_rates",
    type=Listed(),
    default="5e-5",
    show_default=True,
    callback=_numbers(float),
    metavar="X,Y,…",
    help="Of several, the one with the best median is reported.",
)
@click.option(
    "--seeds",
    type=Listed(),
    default="1,2,3",
    show_default=True,
    callback=_numbers(int),
    metavar="N,M,…",
    help="The median of their figures is reported.",
)
@click.option("--epochs", type=float, default=3.0, show_default=True)
@click.option("--batch-size", type=_POSITIVE, default=32, show_default=True)
@click.option("--max-length", type=_POSITIVE, show_default="128; answers: 384", help="Tokens.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "bf16", "fp16", "fp32"]),
    default="auto",
    show_default=True,
)
@click.option(
    "--set",
    "more",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other setting of finetune: dropout, weight_decay, warmup_share, …",
)
@click.option(
    "--from-mnli",
    is_flag=True,
    help="RTE, MRPC and STS-B start from MNLI's model of the same seed; the table says so.",
)
@click.option(
    "--max-bytes",
    type=ByteCount(),
    metavar="N",
    help="Quantize the best run of each task to so many bytes, and judge that file as well.",
)
@click.option("--quantize-each", is_flag=True, help="Quantize every run, not only the best.")
@click.option(
    "--qat",
    is_flag=True,
    help="The quantized models learn for an epoch to answer with rounded weights.",
)
@click.option(
    "--keep",
    type=click.Choice(["best", "all", "none"]),
    default="best",
    show_default=True,
    help="Runs whose weights are left on the disk.",
)
@click.option(
    "--beside",
    type=PATH,
    multiple=True,
    metavar="RECORD",
    help="record.json of another model, to stand in the same table.",
)
@click.option("--minutes", type=float, help="Stop after so many, to go on later.")
@click.option("--out", required=True, type=FOLDER, help="Folder to make, or to go on in.")
@as_json
def glue(
    out: Path,
    name: str,
    keep: str,
    beside: tuple[Path, ...],
    minutes: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Fine-tune and judge a model on all of GLUE, by one setting, beside the published card.

    The same command goes on where an interrupted one stopped; tasks, seeds and learning rates may
    be added. OUT/table.md is the table, OUT/record.json the record of every run,
    OUT/submission.zip what the GLUE server wants.
    """
    from bert_mobile.evaluate.glue.command import glue as run
    from bert_mobile.evaluate.glue.settings import GlueSettings

    found = run(
        GlueSettings(**options),
        out,
        name=name,
        keep=keep,
        beside=beside,
        minutes=minutes,
        command=shlex.join(["bert-mobile", *sys.argv[1:]]),
    )
    if as_json:
        show(found)
        return
    click.echo(_shown(found))
    if not found["complete"]:
        click.echo("stopped: go on with the same command")
    click.echo(f"{out}: table.md, record.json, and the predictions of test sets")


def _shown(record: dict[str, Any]) -> str:
    rows = []
    for name, each in record["tasks"].items():
        metric = each["main_metric"]
        span = each["figures"][metric]
        quantized = ((each.get("quantized") or {}).get("figures") or {}).get(metric)
        rows.append(
            (name, metric.replace("_", " "), *(span[k] for k in ("median", "lowest", "highest")),
             len(each["seeds"]), quantized, each["disclosed"])
        )  # fmt: skip
    heads = ("task", "metric", "median", "lowest", "highest", "seeds", "quantized", "disclosed")
    return table(rows, heads)
