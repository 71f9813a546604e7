"""Commands on text: corpus and tokenizer."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bert_mobile.cli.output import FOLDER, PATH, as_json, example, show, table
from bert_mobile.errors import InputError
from bert_mobile.variants import VOCABULARY_SIZE

if TYPE_CHECKING:
    from bert_mobile.corpus import BuildReport
    from bert_mobile.corpus.engine import Engine


class Source(click.ParamType[Path | str]):
    """A path, or an address such as hf://datasets/OWNER/NAME."""

    name = "source"

    def convert(
        self,
        value: Path | str,
        param: click.Parameter | None,  # noqa: ARG002 - click gives both
        ctx: click.Context | None,  # noqa: ARG002
    ) -> Path | str:
        """Return a path as a path and an address as it is."""
        return value if "://" in str(value) else Path(value)


@click.group("corpus", epilog=example("bert-mobile corpus build books/ wiki.xml.bz2 --out corpus"))
def corpus() -> None:
    """Turn text into shards of pieces."""


@corpus.command(
    "build",
    epilog=example(
        "bert-mobile corpus build books/ dump.jsonl.zst --out corpus",
        "bert-mobile corpus build hf://datasets/wikimedia/wikipedia/20231101.en --out corpus",
    ),
)
@click.argument("sources", nargs=-1, required=True, type=Source(), metavar="SOURCE…")
@click.option("--out", required=True, type=FOLDER, help="Folder to make.")
@click.option("--tokenizer", type=PATH, show_default="the embedded model's", help="Its folder.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--held-out", default=0.01, show_default=True, type=click.FloatRange(0, 0.5, max_open=True),
    help="Part of the documents kept for evaluation.",
)  # fmt: skip
@click.option(
    "--text-field", default="text", show_default=True, help="Of JSON Lines and Parquet records."
)
@click.option(
    "--resume", type=click.Choice(["auto"]), help="Go on with what a broken-off build finished."
)
@click.option(
    "--executor", default="local", show_default=True,
    type=click.Choice(["local", "slurm", "ray"]), help="Where the workers are.",
)  # fmt: skip
@click.option("--partition", help="With --executor slurm: where its jobs run.")
@click.option(
    "--time", "time_limit", default="24:00:00", show_default=True, help="Of one Slurm job."
)
@click.option(
    "--sbatch", multiple=True, metavar="NAME=VALUE", help="Another option for Slurm's sbatch."
)
@as_json
def build(
    sources: tuple[Path | str, ...],
    out: Path,
    tokenizer: Path | None,
    workers: int,
    held_out: float,
    text_field: str,
    resume: str | None,
    executor: str,
    partition: str | None,
    time_limit: str,
    sbatch: tuple[str, ...],
    as_json: bool,
) -> None:
    """Read, clean, split, deduplicate and encode text.

    SOURCE is JSON Lines (.jsonl, also .gz .bz2 .xz .zst), Parquet, a text file or a folder of them,
    a Wikipedia dump (.xml, .xml.bz2), a corpus built before, or a data set of the Hugging Face Hub
    (hf://datasets/wikimedia/wikipedia/20231101.en).
    """
    from bert_mobile.corpus import build_corpus
    from bert_mobile.hub import resolve

    report = build_corpus(
        sources,
        out,
        tokenizer=tokenizer or resolve("default"),
        workers=workers,
        held_out=held_out,
        text_field=text_field,
        resume=resume is not None,
        engine=_engine(executor, workers, partition, time_limit, sbatch),
    )
    _show(report, as_json)


def _engine(
    executor: str, workers: int, partition: str | None, time_limit: str, sbatch: tuple[str, ...]
) -> "Engine | None":
    """Return what runs the tasks, or None for this machine."""
    if executor == "local":
        return None
    from bert_mobile.corpus.libraries import library

    library("datatrove")
    from bert_mobile.corpus.clusters import RayEngine, SlurmEngine

    if executor == "ray":
        return RayEngine(workers)
    if not partition:
        raise InputError("--executor slurm needs a --partition", hint="sinfo lists them")
    odd = [option for option in sbatch if "=" not in option]
    if odd:
        raise InputError(
            f"--sbatch {odd[0]} has no value, expected NAME=VALUE", hint="--sbatch account=mine"
        )
    options = dict(option.lstrip("-").split("=", 1) for option in sbatch)
    return SlurmEngine(workers, partition, time_limit, options)


def _show(report: "BuildReport", as_json: bool) -> None:
    speed = {
        "seconds": round(report.seconds, 3),
        "documents_per_second": round(report.documents_per_second, 1),
        "megabytes_per_second": round(report.megabytes_per_second, 3),
        "peak_megabytes": round(report.peak_megabytes, 1),
        "tasks_kept": report.tasks_kept,
    }
    manifest = report.manifest
    if as_json:
        counts = {key: manifest[key] for key in ("splits", "dropped", "repaired", "tokenizer")}
        show({**counts, **speed})
        return
    rows = [
        (split, counts["documents"], counts["sentences"], counts["tokens"])
        for split, counts in manifest["splits"].items()
    ]
    click.echo(table(rows, ("split", "documents", "sentences", "pieces")))
    dropped = sorted(manifest["dropped"].items())
    if dropped:
        click.echo("\n" + table(dropped, ("dropped", "count")))
    if report.tasks_kept:
        click.echo(f"\nresumed: {report.tasks_kept:,} tasks were finished before")
    click.echo(
        f"\n{report.megabytes:,.1f} MB in {report.seconds:,.1f} s: "
        f"{report.megabytes_per_second:,.2f} MB/s, {report.documents_per_second:,.0f} documents/s, "
        f"at most {report.peak_megabytes:,.0f} MB of memory"
    )


@corpus.command("tokenize", epilog=example("bert-mobile corpus tokenize corpus --tokenizer tok"))
@click.argument("folder", type=FOLDER, metavar="CORPUS")
@click.option("--tokenizer", required=True, type=PATH, help="Folder of the other tokenizer.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(min=1))
@as_json
def tokenize(folder: Path, tokenizer: Path, workers: int, as_json: bool) -> None:
    """Encode a built corpus anew with another tokenizer."""
    from bert_mobile.corpus import tokenize_corpus

    manifest = tokenize_corpus(folder, tokenizer, workers=workers)
    pieces = {split: counts["tokens"] for split, counts in manifest["splits"].items()}
    if as_json:
        show({"pieces": pieces, "tokenizer": manifest["tokenizer"]})
    else:
        click.echo(table(pieces.items(), ("split", "pieces")))


@click.group("tokenizer", epilog=example("bert-mobile tokenizer train corpus --out tokenizer"))
def tokenizer() -> None:
    """Make a vocabulary of one's own."""


@tokenizer.command("train", epilog=example("bert-mobile tokenizer train corpus --out tokenizer"))
@click.argument("source", type=Source(), metavar="CORPUS")
@click.option("--out", required=True, type=FOLDER, help="Folder to make.")
@click.option("--vocab-size", default=VOCABULARY_SIZE, show_default=True, type=int, metavar="N")
@as_json
def train(source: Path | str, out: Path, vocab_size: int, as_json: bool) -> None:
    """Train uncased WordPiece on a built corpus, or on any source `corpus build` reads."""
    from bert_mobile.corpus import read_sentences
    from bert_mobile.corpus.remote import local_path
    from bert_mobile.files import refuse_nested
    from bert_mobile.tokenizer import train_tokenizer

    path = local_path(source)
    refuse_nested(out, [path] if path else [])
    made = train_tokenizer(read_sentences(source), out, vocabulary_size=vocab_size)
    if made.vocabulary_size < made.asked_size:
        click.echo(
            f"warning: {source} has words for {made.vocabulary_size:,} pieces only, "
            f"{made.asked_size:,} were asked for",
            err=True,
        )
    if as_json:
        show({"folder": str(out), "vocabulary_size": made.vocabulary_size})
    else:
        click.echo(f"{out}: {made.vocabulary_size:,} pieces")
