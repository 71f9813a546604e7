"""Commands that tell about models: models, evaluate."""

from dataclasses import asdict
from pathlib import Path

import click

from bert_mobile.cli.output import PATH, as_json, example, show, table, threads_option
from bert_mobile.variants import VARIANTS


@click.command("models", epilog=example("bert-mobile models --json"))
@as_json
def models(as_json: bool) -> None:
    """List the nine sizes of the family."""
    if as_json:
        rows = [
            {**asdict(v), "parameters": v.parameters, "megabytes": round(v.megabytes, 2)}
            for v in VARIANTS.values()
        ]
        show(rows)
        return
    heads = ("name", "layers", "hidden", "heads", "feed-forward", "parameters", "MB", "card's MB")
    body = [
        (v.name, v.num_hidden_layers, v.hidden_size, v.num_attention_heads, v.intermediate_size,
         v.parameters, f"{v.megabytes:.1f}", v.card_megabytes)
        for v in VARIANTS.values()
    ]  # fmt: skip
    click.echo(table(body, heads))
    click.echo("\nMB: float32 encoder without heads, in 2**20 bytes. Why each shape:")
    click.echo(table(((v.name, v.reason) for v in VARIANTS.values()), ("name", "reason")))


@click.command(
    "evaluate", epilog=example("bert-mobile evaluate default runs/first --task mlm --data corpus")
)
@click.argument("names", nargs=-1, required=True, metavar="MODEL…")
@click.option("--task", default="mlm", show_default=True, type=click.Choice(["mlm"]))
@click.option(
    "--data", required=True, type=PATH, help="A built corpus: its held-out split is read."
)
@click.option("--pairs", default=1024, show_default=True, type=click.IntRange(min=1))
@threads_option
@as_json
def evaluate(
    names: tuple[str, ...],
    task: str,  # noqa: ARG001 - one task so far
    data: Path,
    pairs: int,
    threads: int | None,
    as_json: bool,
) -> None:
    """Judge models on held-out text, side by side: the same pairs, masked the same way."""
    from bert_mobile.evaluate.lm import evaluate_masked_tokens

    judgements = [evaluate_masked_tokens(n, data, pairs=pairs, threads=threads) for n in names]
    if as_json:
        show([asdict(judgement) for judgement in judgements])
        return
    columns = [asdict(judgement) for judgement in judgements]
    rows = [(key, *(column[key] for column in columns)) for key in columns[0] if key != "model"]
    click.echo(table(rows, ("held out", *names)))
