"""The command `export`: a model, taken elsewhere, with its proof."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bert_mobile.cli.corpora import Source
from bert_mobile.cli.making import ByteCount
from bert_mobile.cli.output import FOLDER, PATH, as_json, example, show, table

if TYPE_CHECKING:
    from bert_mobile.export.proof import Proving

_TARGETS = ("onnx", "openvino", "executorch", "litert", "coreml", "gguf", "web")
_WIDTHS = ("float32", "float16", "int8", "int4", "mix")
_ALL = "all"


@click.command(
    "export",
    epilog=example(
        "bert-mobile export default --to web --out site/model",
        "bert-mobile export runs/sst2-25mb --to all --task sst2 --data glue_data "
        "--reference runs/sst2 --out exports/sst2",
    ),
)
@click.argument("model", metavar="MODEL")
@click.option("--to", required=True, type=click.Choice([*_TARGETS, _ALL]), help="Where it runs.")
@click.option(
    "--width", type=click.Choice(_WIDTHS), show_default="mix if quantized, else float32",
    help="How weights are stored; mix is what `quantize` decided, carried over.",
)  # fmt: skip
@click.option(
    "--max-bytes", type=ByteCount(), metavar="N",
    help="Quantize a float MODEL first, so that the artifact has at most so many.",
)  # fmt: skip
@click.option("--calibration", type=PATH, metavar="FILE", help="As for `quantize`.")
@click.option("--reference", type=FOLDER, metavar="DIR", help="Compare with this float model.")
@click.option("--task", metavar="NAME|FILE", help="Judge both by this, as `evaluate --task` does.")
@click.option("--data", type=Source(), metavar="DIR", help="The folder of the task's data, or hub.")
@click.option(
    "--limit", type=click.FloatRange(min=0), metavar="POINTS",
    show_default="0.5, or 1.0 below 8 bits", help="What the task's main figure may lose.",
)  # fmt: skip
@click.option("--no-proof", is_flag=True, help="Write only; do not open it again.")
@click.option("--out", required=True, type=FOLDER, help="Folder to make; a folder each for all.")
@as_json
def export(model: str, to: str, out: Path, as_json: bool, **options: Any) -> None:
    """Write a model for another runtime, and prove that it answers there as it does here.

    MODEL is `default`, a folder that `finetune`, `quantize` or transformers wrote, or a repository
    on the Hub. The exit status is 1 where a proof finds more lost than --limit. With --to all, OUT
    gets a folder of each target and proofs.md, proofs.json and proofs.png of all.
    """
    _check(options)
    if to == _ALL:
        _export_to_all(model, out, as_json, options)
    else:
        _export(model, to, out, as_json, options)


def _check(options: Mapping[str, Any]) -> None:
    needs = (("calibration", "max_bytes"), ("data", "task"), ("limit", "task"))
    for option, other in needs:
        if options[option] is not None and options[other] is None:
            raise click.UsageError(f"--{option} is for --{other.replace('_', '-')} only")
    if options["max_bytes"] is not None and options["width"] not in (None, "mix"):
        raise click.UsageError("--max-bytes makes a mix of widths: leave --width out")
    for option in ("reference", "task"):
        if options["no_proof"] and options[option] is not None:
            raise click.UsageError(f"--{option} is for the proof, which --no-proof leaves out")


def _export(model: str, to: str, out: Path, as_json: bool, options: Mapping[str, Any]) -> None:
    from bert_mobile.export import export as run
    from bert_mobile.export import export_within
    from bert_mobile.hub import resolve

    folder = resolve(model)
    proving = _proving(folder, options)
    if options["max_bytes"] is None:
        made = run(folder, to, out, width=options["width"], proving=proving)
    else:
        bounds = {name: options[name] for name in ("max_bytes", "calibration")}
        made = export_within(folder, to, out, proving=proving, **bounds)
    if as_json:
        show(made.to_json())
    else:
        _tell([made.to_json()])
    if made.proof is not None and not made.proof["passed"]:
        from bert_mobile.errors import RunError

        raise RunError(
            f"{to} lost {made.proof['points_lost']:.2f} points of {made.proof['asked']}, expected "
            f"at most {made.proof['limit']:g}",
            hint=f"see {out / 'proof.json'}; use a greater width, or allow more with --limit",
        )


def _proving(folder: Path, options: Mapping[str, Any]) -> "Proving | None":
    """Return what the artifact is to be compared with."""
    if options["no_proof"]:
        return None
    from bert_mobile.evaluate.figures import Question
    from bert_mobile.export.proof import Proving

    task = options["task"]
    question = None if task is None else Question(task, options["data"])
    return Proving(options["reference"] or folder, question, options["limit"])


def _export_to_all(model: str, out: Path, as_json: bool, options: Mapping[str, Any]) -> None:
    from bert_mobile.errors import RunError
    from bert_mobile.export.every import export_to_all

    kept = ("width", "max_bytes", "calibration", "reference", "task", "data", "limit")
    given = [
        (f"--{name.replace('_', '-')}", str(options[name]))
        for name in kept
        if options[name] is not None
    ]
    words = [word for pair in given for word in pair]
    words += ["--no-proof"] * options["no_proof"]
    bounds = {name: options[name] for name in ("width", "max_bytes")}
    found = export_to_all(model, out, words, **bounds)
    if as_json:
        show([asdict(each) for each in found])
    else:
        _tell(each.made for each in found if each.made is not None)
        for each in found:
            if each.problem:
                click.echo(f"{each.target}: {each.problem}", err=each.failed)
    failed = [each.target for each in found if each.failed]
    if failed:
        raise RunError(
            f"{len(failed)} of {len(found)} targets failed: {', '.join(failed)}",
            hint="the others are whole; export the failed ones by themselves to see more",
        )


def _tell(made: Iterable[Mapping[str, Any]]) -> None:
    """Print a table of what was made and proven, then what could not be carried over."""
    from bert_mobile.export.summary import HEADS, row

    listed = list(made)
    click.echo(table((row(each) for each in listed), HEADS))
    for each in listed:
        for note in each["notes"]:
            click.echo(f"{each['target']}: {note}")
