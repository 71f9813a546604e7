"""Commands that tell about models: models, evaluate, emissions."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

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


@click.command(
    "emissions",
    epilog=example(
        "bert-mobile emissions runs/first",
        'bert-mobile emissions --hardware "H100" --hours 12 --devices 8 --region FR --pue 1.2',
    ),
)
@click.argument("name", required=False, metavar="[MODEL]")
@click.option("--hardware", metavar="NAME", help="Calculate for this GPU or processor instead.")
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), metavar="H")
@click.option(
    "--devices", default=1, show_default=True, type=click.IntRange(min=1), metavar="N",
    help="GPUs, or threads of a processor.",
)  # fmt: skip
@click.option("--region", metavar="R", help="Two letters of a country, or WORLD (the default).")
@click.option("--pue", type=float, metavar="X", help="Power usage effectiveness of the site.")
@click.option("--watts", type=float, metavar="W", help="Of one device, else by its name.")
@click.option("--kg-per-kwh", type=float, metavar="KG", help="Of the grid, else the region's.")
@as_json
def emissions(
    name: str | None,
    hardware: str | None,
    hours: float | None,
    devices: int,
    as_json: bool,
    **place: Any,
) -> None:
    """Tell what the making of a model or a run emitted, in kg CO2eq, or calculate it.

    MODEL is a model or the folder of a run. Without one, --hardware and --hours are multiplied as
    by the calculator of Lacoste et al. 2019. BERT_MOBILE_REGION, BERT_MOBILE_PUE,
    BERT_MOBILE_WATTS and BERT_MOBILE_KG_PER_KWH stand for the options of these names, here and in
    every run.
    """
    if (name is None) == (hardware is None) or (hardware is None) != (hours is None):
        raise click.UsageError("expected either MODEL, or --hardware and --hours")
    if name is not None:
        _show_emissions(name, as_json=as_json)
        return
    from bert_mobile.carbon import calculate, settings_from_environment

    assert hardware is not None  # noqa: S101 - as checked above
    assert hours is not None  # noqa: S101
    given = {key: value for key, value in place.items() if value is not None}
    settings = replace(settings_from_environment(), **given)
    figures = calculate(hardware, hours, settings, devices=devices).to_json()
    if as_json:
        show(figures)
        return
    click.echo(table(figures.items(), ("Lacoste et al. 2019", "")))


def _show_emissions(name: str, *, as_json: bool) -> None:
    """Print the records of a model and its parents."""
    from bert_mobile.evaluate.emissions import read_emissions, total
    from bert_mobile.hub import resolve

    runs = read_emissions(resolve(name))
    sums = total(runs)
    if as_json:
        show({"runs": [asdict(run) for run in runs], "total": sums})
        return
    rows = [(run.model, *(getattr(run, key) for key in sums)) for run in runs]
    if len(runs) > 1:
        rows.append(("total", *sums.values()))
    click.echo(table(rows, ("run", *(key.replace("_", " ") for key in sums))))
    for run in runs:
        click.echo(f"\n{run.model}\n  estimated: {run.factors}\n  measured: {run.measured_parts}")
