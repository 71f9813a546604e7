"""Options of the commands that judge what they make: --evaluate, --data, --pairs."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bert_mobile.cli.corpora import Source

if TYPE_CHECKING:
    from bert_mobile.evaluate.figures import Question

_OPTIONS = (
    click.option(
        "--evaluate", metavar="NAME|FILE",
        help="Judge by this: mlm (held-out text), a task such as sst2, or a labelled file.",
    ),
    click.option(
        "--data", type=Source(), metavar="DATA",
        help="mlm: a built corpus or raw text. Tasks: the folder of their data, or hub.",
    ),
    click.option(
        "--pairs", type=click.IntRange(min=1), metavar="N", show_default="512",
        help="mlm: pairs of segments.",
    ),
)  # fmt: skip


def question_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options; `asked_question` makes a question of them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def asked_question(
    evaluate: str | None, data: Path | str | None, pairs: int | None
) -> "Question | None":
    """Return what is to be judged by, if anything. Raises `InputError` where it is incomplete."""
    if evaluate is None:
        if data is not None or pairs is not None:
            name = "--data" if data is not None else "--pairs"
            raise click.UsageError(f"{name} is for --evaluate only")
        return None
    from bert_mobile.evaluate.figures import TEXT, Question

    if pairs is not None and evaluate != TEXT:
        raise click.UsageError(f"--pairs is for --evaluate {TEXT} only")
    more = {} if pairs is None else {"pairs": pairs}
    return Question(evaluate, data, **more)
