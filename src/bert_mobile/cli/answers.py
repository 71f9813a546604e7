"""Commands that answer with a model: fill-mask, next-sentence, embed, score."""

from typing import Any

import click

import bert_mobile
from bert_mobile.cli.output import (
    as_json,
    batch_size_option,
    example,
    model_option,
    show,
    text_chunks,
    threads_option,
)
from bert_mobile.errors import InputError


@click.command(
    "fill-mask", epilog=example("bert-mobile fill-mask 'Paris is the [MASK] of France.'")
)
@click.argument("texts", nargs=-1, required=True, metavar="TEXT…")
@click.option("--top-k", default=5, show_default=True, type=click.IntRange(min=1), metavar="K")
@click.option("--targets", metavar="A,B", help="Rank these words only.")
@model_option
@threads_option
@batch_size_option
@as_json
def fill_mask(
    texts: tuple[str, ...],
    top_k: int,
    targets: str | None,
    model: str,
    threads: int | None,
    batch_size: int,
    as_json: bool,
) -> None:
    """Say which words fit at each [MASK]; TEXT `-` reads one text a line."""
    wanted = [word.strip() for word in targets.split(",")] if targets else None
    session = bert_mobile.load(model, threads=threads)
    for chunk in text_chunks(texts):
        answers: Any = session.fill_mask(chunk, top_k=top_k, targets=wanted, batch_size=batch_size)
        # As in transformers, the answer to a list of one text is that text's own.
        for text, answer in zip(chunk, [answers] if len(chunk) == 1 else answers, strict=True):
            if as_json:
                show(answer)
            else:
                click.echo(text)
                _show_masks(answer)


def _show_masks(answer: Any) -> None:
    """Print the words for one text: a list for its mask, or a list of lists for its masks."""
    several = isinstance(answer[0], list)
    for number, words in enumerate(answer if several else [answer], start=1):
        if several:
            click.echo(f"  [MASK] {number}")
        for word in words:
            click.echo(f"  {word['score']:7.2%}  {word['token_str']}")


@click.command(
    "next-sentence", epilog=example("bert-mobile next-sentence 'He went out.' 'It was raining.'")
)
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@model_option
@threads_option
@batch_size_option
@as_json
def next_sentence(
    first: str,
    second: str,
    model: str,
    threads: int | None,
    batch_size: int,
    as_json: bool,
) -> None:
    """Give the probability that sentence B follows sentence A.

    A `-` alone, with B `-` too, reads pairs from standard input: A, a tab, B.
    """
    session = bert_mobile.load(model, threads=threads)
    if (first, second) != ("-", "-"):
        _show_probability(session.next_sentence(first, second), as_json)
        return
    for chunk in text_chunks(["-"]):
        pairs = [line.split("\t") for line in chunk]
        for pair in pairs:
            if len(pair) != 2:
                raise InputError(
                    f"a line has {len(pair)} fields, expected A, a tab and B",
                    hint="separate the two sentences of a line by one tab",
                )
        answers = session.next_sentence(
            [a for a, _ in pairs], [b for _, b in pairs], batch_size=batch_size
        )
        for answer in answers:
            _show_probability(answer, as_json)


def _show_probability(probability: float, as_json: bool) -> None:
    if as_json:
        show({"probability": probability})
    else:
        click.echo(f"{probability:.4f}")


@click.command("embed", epilog=example("bert-mobile embed 'a text' --json"))
@click.argument("texts", nargs=-1, required=True, metavar="TEXT…")
@model_option
@threads_option
@batch_size_option
@as_json
def embed(
    texts: tuple[str, ...], model: str, threads: int | None, batch_size: int, as_json: bool
) -> None:
    """Print a vector for each text: the mean of its tokens' last hidden states."""
    session = bert_mobile.load(model, threads=threads)
    for chunk in text_chunks(texts):
        for vector in session.embed(chunk, batch_size=batch_size).tolist():
            if as_json:
                show(vector)
            else:
                click.echo(" ".join(f"{value:.6g}" for value in vector))


@click.command(
    "score", epilog=example("bert-mobile score 'A likely sentence.' 'Sentence a likely.'")
)
@click.argument("texts", nargs=-1, required=True, metavar="TEXT…")
@model_option
@threads_option
@batch_size_option
@as_json
def score(
    texts: tuple[str, ...], model: str, threads: int | None, batch_size: int, as_json: bool
) -> None:
    """Print the pseudo-log-likelihood of each text: higher (nearer 0) is likelier."""
    session = bert_mobile.load(model, threads=threads)
    for chunk in text_chunks(texts):
        for text, value in zip(
            chunk, session.score(chunk, batch_size=batch_size).tolist(), strict=True
        ):
            if as_json:
                show({"text": text, "score": value})
            else:
                click.echo(f"{value:10.3f}  {text}")
