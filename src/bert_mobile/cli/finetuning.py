"""The command `finetune` and its five kinds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bert_mobile.cli.making import ByteCount
from bert_mobile.cli.output import FOLDER, as_json, example, labelled_options, show, table

_KINDS = {
    "classify": (
        "Learn the label of a text, or with --several its labels.",
        "bert-mobile finetune classify --train reviews.csv --out runs/reviews",
        "bert-mobile finetune classify --train train.tsv --dev dev.tsv --text sentence "
        "--label label --out runs/sst2",
    ),
    "pairs": (
        "Learn the label of a pair of texts: inference, paraphrase, question and answer.",
        "bert-mobile finetune pairs --train train.tsv --dev dev.tsv --text premise "
        "--text hypothesis --label label --out runs/nli",
    ),
    "regress": (
        "Learn a number from one text or two.",
        "bert-mobile finetune regress --train sts.csv --out runs/sts",
    ),
    "tag": (
        "Learn a label for every word: names, parts of speech.",
        "bert-mobile finetune tag --train train.conll --dev dev.conll --out runs/ner",
    ),
    "answer": (
        "Learn to find the answer to a question in a text.",
        "bert-mobile finetune answer --train train-v2.0.json --dev dev-v2.0.json --out runs/squad",
    ),
}

_NEXT = {"tag": "tag", "answer": "answer"}
"""Command that answers with a model of a kind; `classify` with all others."""

_ASKED = {1: "'a text'", 2: "--pairs $'one text\\tanother'"}
"""What follows `classify`, by the number of texts."""

_ASKED_OTHERWISE = {"tag": "'a sentence'", "answer": "'a question' --context 'a text'"}


@click.group(epilog=example(*_KINDS["classify"][1:]))
def finetune() -> None:
    """Train a model for a task of your own, from a file of labelled examples."""


def _shared(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that all kinds have."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_POSITIVE = click.IntRange(min=1)
_OPTIONS = (
    click.option("--train", required=True, metavar="FILE", help="Examples to learn from."),
    click.option(
        "--dev", metavar="FILE", show_default="a tenth of --train", help="Examples to judge by."
    ),
    click.option("--text", multiple=True, metavar="COL", help="Column of a text; guessed without."),
    click.option("--label", metavar="COL", help="Column of the label; guessed without."),
    labelled_options,
    click.option(
        "--model", default="default", show_default="the embedded model", metavar="M",
        help="What to start from: a folder, or a repository on the Hub.",
    ),
    click.option("--out", required=True, type=FOLDER, help="Folder to make."),
    click.option(
        "--epochs", type=float, show_default="3; more of few examples",
        help="How often each example is read.",
    ),
    click.option("--batch-size", type=_POSITIVE, show_default="32", help="Examples in a step."),
    click.option("--learning-rate", type=float, show_default="5e-5", help="The highest."),
    click.option("--max-length", type=_POSITIVE, show_default="128; answer: 384", help="Tokens."),
    click.option("--seed", type=click.IntRange(min=0), show_default="1", help="Of all chance."),
    click.option(
        "--patience", type=_POSITIVE, metavar="N",
        help="Stop after N judgements without a better one.",
    ),
    click.option(
        "--evaluations-per-epoch", type=_POSITIVE, show_default="1", metavar="N",
        help="How often --dev is judged.",
    ),
    click.option("--metric", metavar="NAME", help="What decides which weights are best."),
    click.option(
        "--qat", is_flag=True, default=None,
        help="--model, fine-tuned for this task, learns to answer with rounded weights.",
    ),
    click.option(
        "--max-bytes", type=ByteCount(), metavar="N", help="--qat: of the quantized model."
    ),
    click.option(
        "--calibration", metavar="FILE", show_default="texts of --train",
        help="--qat: text that bits are chosen by, one a line.",
    ),
    click.option("--precision", type=click.Choice(["auto", "bf16", "fp16", "fp32"])),
    click.option(
        "--set", "settings", multiple=True, metavar="NAME=VALUE",
        help="Any other setting: dropout, weight_decay, warmup_share, …",
    ),
    click.option("--resume", type=click.Choice(["auto"]), help="Go on from the last checkpoint."),
    click.option("--minutes", type=float, help="Stop after so many, to go on later."),
    as_json,
)  # fmt: skip
_SEVERAL = click.option("--several", is_flag=True, help="A text may have any number of labels.")
_CLASS_WEIGHTS = click.option(
    "--class-weights", type=click.Choice(["none", "balanced"]), show_default="none",
    help="balanced: rare classes count as much as frequent ones.",
)  # fmt: skip
_TEACHER = click.option(
    "--teacher", metavar="DIR", help="A fine-tuned BERT whose answers are learned as well."
)
_OWN: dict[str, tuple[Callable[..., Any], ...]] = {
    "classify": (_SEVERAL, _CLASS_WEIGHTS, _TEACHER),
    "pairs": (_SEVERAL, _CLASS_WEIGHTS, _TEACHER),
    "regress": (_TEACHER,),
    "tag": (_CLASS_WEIGHTS, _TEACHER),
    "answer": (),
}


def _run(kind: str, **options: Any) -> None:
    out: Path = options.pop("out")
    resume, minutes, as_json_ = (options.pop(name) for name in ("resume", "minutes", "as_json"))
    more = options.pop("settings")
    given = {name: value for name, value in options.items() if value is not None}
    from bert_mobile.train.finetune import FinetuneSettings
    from bert_mobile.train.finetune import finetune as run
    from bert_mobile.train.recipe import settings_of
    from bert_mobile.train.sitting import Sitting

    settings = settings_of(FinetuneSettings, {"kind": kind, **given}, more)
    sitting = Sitting(minutes=minutes)
    tell = (lambda _: None) if as_json_ else (lambda line: click.echo(line, err=True))
    report = run(settings, out, resume=resume == "auto", sitting=sitting, tell=tell)
    if report.rank:  # under torchrun: the first process speaks for all
        return
    if as_json_:
        show(report.to_json())
        return
    if report.resumed_from is not None:
        click.echo(f"resumed from step {report.resumed_from}")
    if report.quantized is None:
        click.echo(table(report.figures.items(), (f"dev, step {report.best_step}", "")))
    else:
        rows = [(name, value, report.quantized[name]) for name, value in report.figures.items()]
        heads = (f"dev, step {report.best_step}", "in training", "the quantized file")
        click.echo(table(rows, heads))
    for line in _what_next(kind, report):
        click.echo(line)


def _what_next(kind: str, report: Any) -> list[str]:
    out = report.folder
    if not report.complete:
        return [f"stopped after step {report.step}: go on with the same command and --resume auto"]
    from bert_mobile.quantize.report import folder_bytes

    command = _NEXT.get(kind, "classify")
    asked = _ASKED_OTHERWISE.get(kind) or _ASKED[report.texts]
    if report.quantized is not None:
        size = folder_bytes(out / "quantized")
        return [
            f"{out / 'quantized'}: {size:,} bytes for the phone, beside a checkpoint of the same",
            "next:",
            f"  bert-mobile {command} {asked} --model {out / 'quantized'}",
        ]
    return [
        f"{out}: a checkpoint for transformers and bert-mobile, and the record of its making",
        "next:",
        f"  bert-mobile {command} {asked} --model {out}",
        f"  bert-mobile quantize {out} --out {out}-25mb",
    ]


def _make(kind: str, said: str, *examples: str) -> click.Command:
    def command(**options: Any) -> None:
        _run(kind, **options)

    command.__doc__ = said
    shared = _shared(command)
    for option in reversed(_OWN[kind]):
        shared = option(shared)
    return click.command(kind, epilog=example(*examples))(shared)


for _kind, _words in _KINDS.items():
    finetune.add_command(_make(_kind, *_words))
