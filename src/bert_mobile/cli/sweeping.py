"""The command that compares: one baseline, its variations, one table and one picture."""

from pathlib import Path

import click

from bert_mobile.cli.output import FOLDER, PATH, as_json, example, show, table


@click.command(
    "sweep", epilog=example("bert-mobile sweep recipes/ablations.toml --out runs/ablations")
)
@click.argument("file", type=PATH, metavar="SWEEP")
@click.option("--out", type=FOLDER, show_default="runs/SWEEP", help="Folder of all its runs.")
@click.option("--corpus", help="In place of the sweep's corpus.")
@click.option("--keep-weights", is_flag=True, help="Leave every run the checkpoint it ended with.")
@as_json
def sweep(
    file: Path, out: Path | None, corpus: str | None, keep_weights: bool, as_json: bool
) -> None:
    """Pre-train a baseline and its variations, one after the other, and compare them.

    The same command goes on where an interrupted sweep stopped.
    """
    from bert_mobile.train.sweep import sweep as run

    target = out or Path("runs") / file.stem
    report = run(file, target, corpus=corpus, keep_weights=keep_weights)
    if as_json:
        show(report)
        return
    keys = ("group", "name", "status", "loss", "difference", "spreads", "top_1")
    rows = [[row.get(key) for key in keys] for row in report["runs"]]
    click.echo(table(rows, [key.replace("_", " ") for key in keys]))
    click.echo(f"\n{target}: README.md, sweep.json and sweep.png, and the record of every run")
