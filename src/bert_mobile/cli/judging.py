"""Commands that tell about models: models, evaluate, emissions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bert_mobile.cli.corpora import Source
from bert_mobile.cli.output import (
    FOLDER,
    as_json,
    example,
    labelled_options,
    show,
    table,
    threads_option,
    weights_option,
)
from bert_mobile.variants import VARIANTS

if TYPE_CHECKING:
    from bert_mobile.evaluate.lm import LanguageModelJudgement
    from bert_mobile.evaluate.task import TaskJudgement


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
    "evaluate",
    epilog=example(
        "bert-mobile evaluate default runs/first --task mlm --data corpus",
        "bert-mobile evaluate default --data books/ --data wikipedia.jsonl.zst --pairs 1024",
        "bert-mobile evaluate runs/sst2 runs/sst2-25mb --task sst2 --data glue_data",
        "bert-mobile evaluate runs/reviews --task reviews.csv --report runs/reviews/report",
    ),
)
@click.argument("names", nargs=-1, required=True, metavar="MODEL…")
@click.option(
    "--task",
    default="mlm",
    show_default=True,
    metavar="NAME|FILE",
    help="mlm: held-out text. Else a task such as sst2, stsb, conll2003 or squad, or a labelled "
    "file, for models that were fine-tuned.",
)
@click.option(
    "--data",
    multiple=True,
    type=Source(),
    metavar="DATA",
    help="mlm: a built corpus, of which the held-out split is read, or raw text; also several "
    "times. Tasks: the folder of their data, or hub.",
)
@click.option(
    "--pairs",
    type=click.IntRange(min=1),
    metavar="N",
    show_default="512",
    help="mlm: pairs of segments for each kind of text.",
)
@click.option(
    "--sentences",
    type=click.IntRange(min=0),
    metavar="N",
    show_default="100",
    help="mlm: sentences for the pseudo-perplexity of each kind of text; 0 leaves it out.",
)
@click.option("--text-field", show_default="text", help="mlm: of JSON Lines and Parquet records.")
@click.option("--split", show_default="dev", metavar="SPLIT", help="Tasks: train, dev or test.")
@click.option("--text", multiple=True, metavar="COL", help="Files: a text's column; else guessed.")
@click.option("--label", metavar="COL", help="Files: the label's column; else guessed.")
@labelled_options
@click.option(
    "--report",
    "reports",
    type=FOLDER,
    metavar="DIR",
    help="Tasks and files: write classes, confusions and wrong predictions there.",
)
@threads_option
@weights_option
@as_json
def evaluate(
    names: tuple[str, ...],
    task: str,
    data: tuple[Path | str, ...],
    threads: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Judge models side by side: on held-out text, on a task, or on a labelled file.

    mlm: the same pairs, masked the same way. Of a built corpus, all of the held-out split is
    judged, then each kind of text in it (the first part of a document's source) that has two
    documents or more, 8 kinds at most. Raw text is whatever `corpus build` reads; it counts as held
    out and is read from its beginning, 10,000 characters for each pair and sentence.
    Pseudo-perplexity (Salazar et al. 2020) is of sentences of 5 to 60 pieces, each piece masked in
    turn.

    Tasks and files: the model's own head answers; a quantized model is judged by its very file.
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    if task == "mlm":
        _refuse_foreign(given, _OF_TASKS, "a task or a file")
        _evaluate_text(names, data, as_json=as_json, threads=threads, **given)
    else:
        _refuse_foreign(given, _OF_TEXT, "mlm")
        _evaluate_task(names, task, data, as_json=as_json, threads=threads, **given)


_OF_TEXT = ("pairs", "sentences", "text_field")
_OF_TASKS = (
    "split", "text", "label", "encoding", "header", "form", "skip_unlabelled", "reports",
)  # fmt: skip


def _refuse_foreign(given: Mapping[str, Any], names: Sequence[str], where: str) -> None:
    foreign = [name for name in names if name in given]
    if foreign:
        option = {"reports": "report"}.get(foreign[0], foreign[0]).replace("_", "-")
        raise click.UsageError(f"--{option} is for --task {where} only")


def _evaluate_text(
    names: Sequence[str], data: Sequence[Path | str], *, as_json: bool, **options: Any
) -> None:
    if not data:
        raise click.UsageError("--data is missing, expected a built corpus or text")
    from bert_mobile.evaluate.lm import evaluate_language_models

    judgements = evaluate_language_models(names, data, **options)
    if as_json:
        show([asdict(judgement) for judgement in judgements])
        return
    click.echo(_side_by_side(judgements))


def _evaluate_task(
    names: Sequence[str], task: str, data: Sequence[Path | str], *, as_json: bool, **options: Any
) -> None:
    if len(data) > 1:
        raise click.UsageError("--data is given twice, expected the one folder of the task's data")
    from bert_mobile.evaluate.task import evaluate_on_task

    judgements = evaluate_on_task(names, task, data[0] if data else None, **options)
    if as_json:
        show([asdict(judgement) for judgement in judgements])
        return
    for said in dict.fromkeys(f"{each.data}" for each in judgements):
        click.echo(said)
    for rows, heads in _task_tables(judgements):
        click.echo("\n" + table(rows, heads))
    for each in judgements:
        if each.reports:
            click.echo(f"{each.reports}: what {each.model} gets wrong")


def _task_tables(judgements: "Sequence[TaskJudgement]") -> Iterator[tuple[list[Any], list[str]]]:
    """Yield a table of the figures, and one of those by group, where there are groups."""
    metrics = list(dict.fromkeys(name for each in judgements for name in each.figures))
    spelled = [name.replace("_", " ") for name in metrics]
    rows = [
        (each.model, *(_three_places(each.figures.get(name)) for name in metrics), each.examples)
        for each in judgements
    ]
    yield rows, ["model", *spelled, "examples"]
    by_group = [
        (each.model, group, *(_three_places(figures.get(name)) for name in metrics))
        for each in judgements
        for group, figures in each.groups.items()
    ]
    if by_group:
        yield by_group, ["model", "group", *spelled]


_FIGURES = {
    "loss": "masked_token_loss",
    "perplexity": "perplexity",
    "top-1": "top_1_accuracy",
    "top-5": "top_5_accuracy",
    "next sentence": "next_sentence_accuracy",
    "pseudo-perplexity": "pseudo_perplexity",
}
_COUNTS = ("documents", "pairs", "masked_tokens", "sentences", "sentence_pieces")


def _side_by_side(judgements: "Sequence[LanguageModelJudgement]") -> str:
    """Return a table of figures, a line a model in each group, and one of what they are out of."""
    rows: list[tuple[Any, ...]] = []
    counts: list[tuple[Any, ...]] = []
    for of_group in zip(*(judgement.groups for judgement in judgements), strict=True):
        where = f"{of_group[0].data} · {of_group[0].kind}"
        for judgement, found in zip(judgements, of_group, strict=True):
            figures = (_three_places(getattr(found, key)) for key in _FIGURES.values())
            rows.append((where if found is of_group[0] else "", judgement.model, *figures))
            counts.append((where, *(getattr(found, key) for key in _COUNTS)))
    heads = ("out of", *(key.replace("_", " ") for key in _COUNTS))
    tables = table(rows, ("held out", "model", *_FIGURES)), table(dict.fromkeys(counts), heads)
    return "\n\n".join(tables)


def _three_places(value: float | None) -> str | None:
    """Spell a figure so that accuracies of 0.35 and 0.3521 stand below each other."""
    return None if value is None else f"{value:,.3f}"


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
