"""Commands that make things: corpus, tokenizer, grow, pretrain, quantize."""

from pathlib import Path

import click

from bert_mobile.cli.output import FOLDER, PATH, as_json, example, show, table
from bert_mobile.variants import VARIANTS, VOCABULARY_SIZE

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


@click.group("corpus", epilog=example("bert-mobile corpus build books/ wiki.xml.bz2 --out corpus"))
def corpus() -> None:
    """Turn text into shards of pieces."""


@corpus.command(
    "build", epilog=example("bert-mobile corpus build books/ dump.jsonl.zst --out corpus")
)
@click.argument("sources", nargs=-1, required=True, type=PATH, metavar="SOURCE…")
@click.option("--out", required=True, type=FOLDER, help="Folder to make.")
@click.option("--tokenizer", type=PATH, show_default="the embedded model's", help="Its folder.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--held-out", default=0.01, show_default=True, type=click.FloatRange(0, 0.5, max_open=True),
    help="Part of the documents kept for evaluation.",
)  # fmt: skip
@click.option("--text-field", default="text", show_default=True, help="Of JSON Lines records.")
@as_json
def build(
    sources: tuple[Path, ...],
    out: Path,
    tokenizer: Path | None,
    workers: int,
    held_out: float,
    text_field: str,
    as_json: bool,
) -> None:
    """Read, clean, split, deduplicate and encode text.

    SOURCE is JSON Lines (.jsonl, also .gz .bz2 .xz .zst), a text file or a folder of them, a
    Wikipedia dump (.xml, .xml.bz2) or a corpus built before.
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
    )
    speed = {
        "seconds": round(report.seconds, 3),
        "documents_per_second": round(report.documents_per_second, 1),
        "megabytes_per_second": round(report.megabytes_per_second, 3),
        "peak_megabytes": round(report.peak_megabytes, 1),
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
@click.argument("source", type=PATH, metavar="CORPUS")
@click.option("--out", required=True, type=FOLDER, help="Folder to make.")
@click.option("--vocab-size", default=VOCABULARY_SIZE, show_default=True, type=int, metavar="N")
@as_json
def train(source: Path, out: Path, vocab_size: int, as_json: bool) -> None:
    """Train uncased WordPiece on a built corpus, or on any source `corpus build` reads."""
    from bert_mobile.corpus import read_sentences
    from bert_mobile.files import refuse_nested
    from bert_mobile.tokenizer import train_tokenizer

    refuse_nested(out, [source])
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
    """Grow one of the nine sizes out of a smaller trained BERT, to pretrain it from there."""
    from bert_mobile.model.config import BertConfig
    from bert_mobile.tokenizer import id_count, load_tokenizer
    from bert_mobile.train.grow import grow as run

    size = id_count(load_tokenizer(tokenizer))
    config = BertConfig.of_variant(variant, vocab_size=size)
    report = run(source, out, config=config, tokenizer=tokenizer, corpus=corpus)
    if as_json:
        show(report.to_json())
        return
    click.echo(f"{report.pieces_matched:,} of {report.pieces:,} pieces are in the old vocabulary")
    errors = ((str(layer), error) for layer, error in enumerate(report.hidden_state_error))
    click.echo(table(errors, ("after layer", "relative error")))


@click.command(
    "pretrain", epilog=example("bert-mobile pretrain recipes/first.toml --out runs/first")
)
@click.argument("recipe", type=PATH, metavar="RECIPE")
@click.option("--out", type=FOLDER, show_default="runs/RECIPE", help="The run's folder.")
@click.option(
    "--resume", metavar="auto|DIR",
    help="Go on from the last good checkpoint in --out, if any, or from the weights in DIR.",
)  # fmt: skip
@click.option("--corpus", help="In place of the recipe's corpus.")
@click.option("--steps", type=int, help="In place of the recipe's budget.")
@click.option("--tokens", type=int, help="In place of the recipe's budget.")
@click.option("--hours", type=float, help="In place of the recipe's budget.")
@click.option("--minutes", type=float, help="Stop after so many, with a checkpoint to go on from.")
@click.option(
    "--accumulate", default=1, show_default=True, type=click.IntRange(min=1), metavar="N",
    help="Go through each batch in N parts: for less memory.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(min=0), show_default="4 for each GPU, else 0",
    help="Processes that make batches.",
)  # fmt: skip
@as_json
def pretrain(
    recipe: Path,
    out: Path | None,
    resume: str | None,
    corpus: str | None,
    steps: int | None,
    tokens: int | None,
    hours: float | None,
    minutes: float | None,
    accumulate: int,
    workers: int | None,
    as_json: bool,
) -> None:
    """Train a network on masked tokens and next sentences.

    On several GPUs or machines: torchrun --nproc-per-node 8 -m bert_mobile pretrain RECIPE …
    """
    from bert_mobile.train.recipe import read_recipe

    changes = {"corpus": corpus, "steps": steps, "tokens": tokens, "hours": hours}
    settings = read_recipe(recipe, changes)
    from bert_mobile.train.loop import Sitting
    from bert_mobile.train.pretrain import pretrain as run

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


@click.command("convert", epilog=example("bert-mobile convert default --out runs/float"))
@click.argument("model", metavar="MODEL")
@click.option("--out", required=True, type=FOLDER, help="Folder to make.")
@as_json
def convert(model: str, out: Path, as_json: bool) -> None:
    """Turn a quantized model back into a float checkpoint, for transformers or more training.

    The weights are the rounded ones. MODEL is `default`, a folder, or a repository on the Hub.
    """
    from bert_mobile.hub import resolve
    from bert_mobile.quantize import unpack_checkpoint

    unpack_checkpoint(resolve(model), out)
    if as_json:
        show({"folder": str(out)})
    else:
        click.echo(f"{out}: a float32 checkpoint")


@click.command(
    "quantize",
    epilog=example("bert-mobile quantize runs/first --max-bytes 25_000_000 --out runs/first-25mb"),
)
@click.argument("folder", type=FOLDER, metavar="DIR")
@click.option("--max-bytes", default=MAX_BYTES, show_default=True, type=ByteCount(), metavar="N")
@click.option("--calibration", type=PATH, help="Text file, a sentence a line, to weigh errors by.")
@click.option("--out", required=True, type=FOLDER, help="Folder to make.")
@as_json
def quantize(
    folder: Path,
    max_bytes: int,
    calibration: Path | None,
    out: Path,
    as_json: bool,
) -> None:
    """Round a checkpoint's weights to 4 and 8 bits, in a folder of at most so many bytes."""
    from bert_mobile.quantize import quantize as run

    report = run(folder, out, max_bytes=max_bytes, calibration=calibration)
    if as_json:
        show(report.to_json())
        return
    rows = [
        (row.name, "×".join(map(str, row.shape)), row.bits, row.bytes, row.error)
        for row in report.tensors
    ]
    click.echo(table(rows, ("tensor", "shape", "bits", "bytes", "relative error")))
    click.echo(f"\n{out}: {report.bytes:,} bytes of at most {max_bytes:,}")
