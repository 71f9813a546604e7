"""The command `demo`: the page in the browser, from the installed package."""

import webbrowser
from pathlib import Path

import click

from bert_mobile.cli.output import FOLDER, example


@click.command(
    epilog=example(
        "bert-mobile demo",
        "bert-mobile demo --sentiment runs/sst2-25mb --entities runs/conll-25mb --no-open",
    ),
)
@click.option(
    "--port",
    default=8017,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port on this machine; 0 takes a free one.",
)
@click.option(
    "--model",
    default="default",
    show_default="the embedded model",
    metavar="M",
    help="A pre-trained model, quantized.",
)
@click.option("--sentiment", type=FOLDER, help="A quantized folder of `finetune classify`.")
@click.option("--entities", type=FOLDER, help="A quantized folder of `finetune tag`.")
@click.option("--answers", type=FOLDER, help="A quantized folder of `finetune answer`.")
@click.option("--open/--no-open", "open_page", default=True, help="Open it in the browser.")
def demo(
    port: int,
    model: str,
    sentiment: Path | None,
    entities: Path | None,
    answers: Path | None,
    open_page: bool,
) -> None:
    """Serve the page that answers in the browser, on this machine only, until Ctrl-C.

    The network runs in the browser: no text leaves it.
    """
    from bert_mobile.hub import resolve
    from bert_mobile.page import PageServer, gather

    given = {"sentiment": sentiment, "entities": entities, "answers": answers}
    tuned = {role: folder for role, folder in given.items() if folder is not None}
    with PageServer(gather({"default": resolve(model), **tuned}), port) as server:
        click.echo(server.url)
        click.echo("Ctrl-C stops it", err=True)
        if open_page:
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
