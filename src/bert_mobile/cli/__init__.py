"""The command line: one thin command a stage, errors of one shape.

A command imports its stage only when it runs, so that `--help` stays quick. Data goes to standard
output; talk, progress, warnings and errors go to standard error.
"""

import io
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

import click

from bert_mobile import __version__
from bert_mobile.cli.answers import answer, classify, embed, fill_mask, next_sentence, score, tag
from bert_mobile.cli.benching import bench
from bert_mobile.cli.corpora import corpus, tokenizer
from bert_mobile.cli.exporting import export
from bert_mobile.cli.finetuning import finetune
from bert_mobile.cli.judging import emissions, evaluate, models
from bert_mobile.cli.making import convert, grow, pretrain, quantize
from bert_mobile.cli.page import demo
from bert_mobile.cli.sweeping import sweep
from bert_mobile.cli.tasks import glue
from bert_mobile.errors import BertMobileError

INTERRUPTED = 130
"""Exit status of a command ended by Ctrl-C, as shells have it."""


class _InOrder(click.Group):
    """Lists its commands in the order of the journey, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click gives it
        return list(self.commands)


@click.group(
    cls=_InOrder,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: bert-mobile fill-mask 'The capital of France is [MASK].'",
)
@click.version_option(__version__, prog_name="bert-mobile")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """A BERT of 25 MB: from raw text to a model that answers anywhere."""


COMMANDS: Sequence[click.Command] = (
    fill_mask,
    next_sentence,
    embed,
    score,
    classify,
    tag,
    answer,
    demo,
    models,
    corpus,
    tokenizer,
    grow,
    pretrain,
    sweep,
    finetune,
    quantize,
    export,
    convert,
    glue,
    evaluate,
    bench,
    emissions,
)
for _command in COMMANDS:
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 2 wrong usage or input, 1 a run that failed."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console that cannot show a word spells it out
            stream.reconfigure(errors="backslashreplace")
    try:
        cli.main(words, prog_name="bert-mobile", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())  # `bert-mobile` alone asks what there is
    except _EXPECTED as error:
        if "--debug" in words:
            raise
        _fail(*_explained(error))
    sys.exit(0)


_EXPECTED = (
    BertMobileError,
    click.ClickException,
    click.Abort,
    KeyboardInterrupt,
    MemoryError,
    OSError,
)


def _explained(error: BaseException) -> tuple[str, str, int]:
    """Return message, hint and exit status of an error that is the user's to deal with."""
    match error:
        case BertMobileError():
            return error.message, error.hint, error.exit_code
        case click.UsageError():
            where = error.ctx.command_path if error.ctx else "bert-mobile"
            return error.format_message(), f"{where} --help", 2
        case click.ClickException():
            return error.format_message(), "bert-mobile --help", 2
        case MemoryError():
            return "there is not enough memory", "use a smaller batch size, or fewer --workers", 1
        case OSError():
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            return what, "check the path, its permissions and the free space", 1
    said = str(error.__cause__ or "")  # click's Abort hides the KeyboardInterrupt
    hint = said or "nothing unfinished was left under a final name"
    return "interrupted", hint, INTERRUPTED


def _fail(message: str, hint: str, exit_code: int) -> NoReturn:
    one_line = " ".join(message.split())
    click.echo(f"error: {_printable(one_line)}\nhint: {_printable(hint)}", err=True)
    sys.exit(exit_code)


def _show_warning(message: Warning | str, *_where: object, **_more: object) -> None:
    click.echo(f"warning: {_printable(str(message))}", err=True)


def _printable(text: str) -> str:
    """Spell out what no terminal can show, such as the lone surrogates an error is about."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
