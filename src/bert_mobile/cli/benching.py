"""Commands that measure: bench run, bench corpus, bench pretrain, bench finetune, bench pareto."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bert_mobile.cli.corpora import Source
from bert_mobile.cli.making import ByteCount
from bert_mobile.cli.output import (
    FOLDER,
    PATH,
    Listed,
    as_json,
    example,
    show,
    table,
    threads_option,
)
from bert_mobile.cli.questions import asked_question, question_options
from bert_mobile.errors import RunError
from bert_mobile.runtime.forms import FORMS
from bert_mobile.variants import VARIANTS

if TYPE_CHECKING:
    from bert_mobile.evaluate.benchmark import BenchmarkReport, CostCard


@click.group("bench", epilog=example("bert-mobile bench pretrain --corpus corpus"))
def bench() -> None:
    """Measure speed on this machine, beside others in the same run."""


@bench.command("run", epilog=example("bert-mobile bench run default --threads 1"))
@click.argument("model", default="default", metavar="[MODEL]")
@click.option(
    "--weights", multiple=True, type=click.Choice(FORMS), default=FORMS, show_default="each",
    help="What packed weights become in memory; several times to compare.",
)  # fmt: skip
@click.option(
    "--loads", default=3, show_default=True, type=click.IntRange(min=1), metavar="N",
    help="Times that the model is loaded in each form.",
)  # fmt: skip
@click.option(
    "--seconds", default=1.0, show_default=True, type=click.FloatRange(min=0), metavar="S",
    help="For each shape of batch, 50 calls at most.",
)  # fmt: skip
@threads_option
@as_json
def run(model: str, as_json: bool, **options: Any) -> None:
    """How a model runs here: seconds to load, memory, latency and speed.

    Its weights are packed or unpacked at load, in turns. A load is in a process of its own; the
    memory is that process's, Python included.
    """
    from bert_mobile.evaluate.running import bench_run

    report = bench_run(model, **options)
    if as_json:
        show(report.to_json())
        return
    shapes = [f"{each.sequences}×{each.tokens} ms" for each in report.forms[0].latency]
    heads = ("weights", "load s", "first s", "peak MB", "held MB", *shapes, "texts/s", "differs")
    rows = [
        (
            each.weights,
            *(f"{value:.2f}" for value in (each.load_seconds, each.first_answer_seconds)),
            *(None if x is None else round(x) for x in (each.peak_megabytes, each.held_megabytes)),
            *(f"{latency.median:.1f}" for latency in each.latency),
            None if each.texts_per_second is None else round(each.texts_per_second, 1),
            f"{each.difference:.2%}",
        )
        for each in report.forms
    ]
    click.echo(table(rows, heads))


@bench.command("corpus", epilog=example("bert-mobile bench corpus books/ --workers 1 --workers 2"))
@click.argument("sources", nargs=-1, required=True, type=Source(), metavar="SOURCE…")
@click.option(
    "--workers", multiple=True, default=(1, 2), show_default=True, type=click.IntRange(min=1),
    metavar="N", help="May be given several times; each has its turn.",
)  # fmt: skip
@click.option(
    "--runs", default=3, show_default=True, type=click.IntRange(min=1), metavar="N",
    help="Builds with each number of workers.",
)  # fmt: skip
@as_json
def corpus(
    sources: tuple[Path | str, ...], workers: tuple[int, ...], runs: int, as_json: bool
) -> None:
    """Speed of `corpus build` with more and more workers; all corpora must be the same."""
    from bert_mobile.evaluate.corpus_speed import benchmark_corpus

    report = benchmark_corpus(sources, workers=workers, runs=runs)
    if as_json:
        show(report.to_json())
    else:
        heads = ("workers", "median s", "median MB/s", "fastest MB/s", "peak MB")
        rows = [(n, *asdict(figures).values()) for n, figures in report.workers.items()]
        click.echo(table(rows, heads))
    if not report.identical:
        raise RunError(
            f"the builds made {len(report.sha256)} different corpora, expected one",
            hint="report this with the sources' kind and the JSON of --json",
        )


@bench.command(
    "pretrain",
    epilog=example(
        "bert-mobile bench pretrain --corpus corpus", "bert-mobile bench pretrain recipes/tiny.toml"
    ),
)
@click.argument("recipe", type=PATH, required=False, metavar="[RECIPE]")
@click.option("--corpus", help="A built corpus, in place of the recipe's.")
@click.option("--variant", type=click.Choice([*VARIANTS]), show_default="the recipe's, or mobile")
@click.option(
    "--sequence-length", type=click.IntRange(min=1), metavar="N",
    show_default="of the recipe's first phase, or 128",
)  # fmt: skip
@click.option(
    "--batch-size", type=click.IntRange(min=1), metavar="N",
    show_default="the phase's, or 256 on a GPU and 32 elsewhere", help="Pairs of a step.",
)  # fmt: skip
@click.option("--masking-rate", type=float, show_default="the phase's, or 0.15")
@click.option(
    "--precision", type=click.Choice(["auto", "bf16", "fp16", "fp32"]),
    show_default="the recipe's, or auto",
)  # fmt: skip
@click.option(
    "--steps", type=click.IntRange(min=1), metavar="N", show_default="100 on a GPU, 10 elsewhere",
    help="Timed steps of a round.",
)  # fmt: skip
@click.option(
    "--rounds", default=3, show_default=True, type=click.IntRange(min=1), metavar="N",
    help="Turns that each has.",
)  # fmt: skip
@click.option("--no-transformers", is_flag=True, help="Measure bert-mobile only.")
@as_json
def pretrain(
    recipe: Path | None,
    corpus: str | None,
    variant: str | None,
    sequence_length: int | None,
    batch_size: int | None,
    masking_rate: float | None,
    precision: str | None,
    steps: int | None,
    rounds: int,
    no_transformers: bool,
    as_json: bool,
) -> None:
    """Tokens a second of pre-training, beside the transformers Trainer on the same batches.

    Both train the same network from the same weights, each in a process of its own, in turns. From
    a recipe, its first phase is measured.
    """
    from bert_mobile.evaluate.benchmark import benchmark, benchmark_recipe, cost_card, course_of

    settings = benchmark_recipe(
        recipe,
        corpus=corpus,
        variant=variant,
        sequence_length=sequence_length,
        batch_size=batch_size,
        masking_rate=masking_rate,
        precision=precision,
    )
    card = cost_card(settings)
    if not as_json:
        click.echo(_shown(card) + "\n")
    course = course_of(settings, steps=steps, rounds=rounds)
    report = benchmark(course, card, with_transformers=not no_transformers)
    if as_json:
        show(report.to_json())
        return
    click.echo(_results(report))
    for note in report.notes:
        click.echo(f"note: {note}", err=True)


def _shown(card: "CostCard") -> str:
    rows = asdict(card) | {
        "flop_per_token": f"{card.flop_per_token / 1e6:,.1f} M",
        "peak_flop_per_second": f"{card.peak_flop_per_second / 1e12:,.3f} T, measured",
        "versions": ", ".join(f"{name} {number}" for name, number in card.versions.items()),
    }
    return table(((name.replace("_", " "), str(value)) for name, value in rows.items()), ("", ""))


def _results(report: "BenchmarkReport") -> str:
    heads = ("", "tokens/s", "slowest", "fastest", "utilisation", "waiting for data", "ours is")
    rows = [
        (
            each.name,
            round(each.tokens_per_second),
            round(each.slowest),
            round(each.fastest),
            f"{each.utilisation:.1%}",
            None if each.waiting_for_data is None else f"{each.waiting_for_data:.2%}",
            f"{report.ratios[each.name]:.2f} ×" if each.name in report.ratios else "",
        )
        for each in report.results
    ]
    return table(rows, heads)


@bench.command(
    "finetune",
    epilog=example("bert-mobile bench finetune --data glue_data --task sst2 --examples 4096"),
)
@click.option("--data", required=True, metavar="DIR|hub", help="Folder of the task's data.")
@click.option("--task", default="sst2", show_default=True, metavar="NAME")
@click.option(
    "--model", default="default", show_default="the embedded model", metavar="M",
    help="What to start from: a folder, or a repository on the Hub.",
)  # fmt: skip
@click.option(
    "--examples", default=4096, show_default=True, type=click.IntRange(min=1), metavar="N",
    help="Of the train set, the first N: an epoch.",
)  # fmt: skip
@click.option(
    "--rounds", default=3, show_default=True, type=click.IntRange(min=1), metavar="N",
    help="Turns that each has, an epoch each.",
)  # fmt: skip
@click.option(
    "--batch-size", default=32, show_default=True, type=click.IntRange(min=1), metavar="N"
)
@click.option("--learning-rate", default=5e-5, show_default=True, type=float)
@click.option(
    "--padded-to", default=128, show_default=True, type=click.IntRange(min=8), metavar="N",
    help="Tokens of each of the Trainer's sequences, and the most that any has.",
)  # fmt: skip
@click.option(
    "--precision", type=click.Choice(["auto", "bf16", "fp16", "fp32"]), default="auto",
    show_default=True,
)  # fmt: skip
@click.option("--no-transformers", is_flag=True, help="Measure bert-mobile only.")
@as_json
def finetune(as_json: bool, no_transformers: bool, data: str, task: str, **options: Any) -> None:
    """Examples a second of fine-tuning, beside the transformers Trainer with its usual padding.

    Both train the same network from the same weights on the same examples, each in a process of its
    own, in turns, and both are judged on the dev set. The last line is JSON.
    """
    from bert_mobile.evaluate.finetune_speed import benchmark_finetuning, finetune_course

    course = finetune_course(task, data, **options)
    report = benchmark_finetuning(course, with_transformers=not no_transformers)
    if not as_json:
        metrics = list(report.results[0].figures)
        heads = ("", "examples/s", "slowest", "fastest", *metrics, "ours is")
        rows = [
            (
                each.name,
                *(round(x, 1) for x in (each.examples_per_second, each.slowest, each.fastest)),
                *(f"{each.figures[name]:.3f}" for name in metrics),
                f"{report.ratios[each.name]:.2f} ×" if each.name in report.ratios else "",
            )
            for each in report.results
        ]
        click.echo(table(rows, heads))
        for note in report.notes:
            click.echo(f"note: {note}", err=True)
    show(report.to_json())


@bench.command(
    "pareto",
    epilog=example(
        "bert-mobile bench pareto runs/sst2 --evaluate sst2 --data glue_data --out runs/sizes",
        "bert-mobile bench pareto runs/first --evaluate mlm --data corpus --peers --out runs/sizes",
    ),
)
@click.argument("folder", type=FOLDER, metavar="DIR")
@question_options
@click.option(
    "--budgets", type=Listed(), show_default="12, 15, 18, 20, 25 and 37 million", metavar="N,M,…",
    help="Bytes of each model.",
)  # fmt: skip
@click.option("--calibration", type=PATH, metavar="FILE", help="Text, as `quantize` takes it.")
@click.option("--peers", is_flag=True, help="Beside other quantizers, of the same float model.")
@threads_option
@click.option("--out", required=True, type=FOLDER, help="Folder to make, or to go on in.")
@as_json
def pareto(
    folder: Path,
    evaluate: str | None,
    data: Path | str | None,
    pairs: int | None,
    budgets: tuple[str, ...] | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Size against score of a float model, quantized to several budgets of bytes.

    Each model is written, weighed and judged by its very file. The same command goes on where it
    was stopped.
    """
    question = asked_question(evaluate, data, pairs)
    if question is None:
        raise click.UsageError("--evaluate is missing, expected what to judge by")
    from bert_mobile.evaluate.pareto import pareto as run

    if budgets:
        kind = ByteCount()
        options["budgets"] = [kind.convert(word, None, None) for word in budgets]
    report = run(folder, question, **options)
    if as_json:
        show(report.to_json())
        return
    metrics = list(report.points[0].figures)
    shapes = [f"{each.sequences}×{each.tokens} ms" for each in report.points[0].latency]
    rows = [
        (
            point.name,
            f"{point.bytes:,}",
            *(f"{point.figures[name]:.4f}" for name in metrics),
            *(f"{each.median:.1f}" for each in point.latency),
        )
        for point in report.points
    ]
    heads = ("", "bytes", *(name.replace("_", " ") for name in metrics), *shapes)
    click.echo(f"{report.points[0].asked}, {report.points[0].examples:,} examples")
    click.echo(table(rows, heads))
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"{report.folder}: pareto.json, pareto.png, and the models")
