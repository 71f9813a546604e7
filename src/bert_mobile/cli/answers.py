"""Commands that answer with a model: of any BERT, and classify, tag, answer of fine-tuned ones."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

import bert_mobile
from bert_mobile.cli.output import (
    as_json,
    batch_size_option,
    example,
    model_option,
    show,
    standard_input,
    task_model_option,
    text_chunks,
    threads_option,
    weights_option,
)
from bert_mobile.errors import InputError
from bert_mobile.model.config import REGRESSION


@click.command(
    "fill-mask", epilog=example("bert-mobile fill-mask 'Paris is the [MASK] of France.'")
)
@click.argument("texts", nargs=-1, required=True, metavar="TEXT…")
@click.option("--top-k", default=5, show_default=True, type=click.IntRange(min=1), metavar="K")
@click.option("--targets", metavar="A,B", help="Rank these words only.")
@model_option
@threads_option
@weights_option
@batch_size_option
@as_json
def fill_mask(
    texts: tuple[str, ...],
    top_k: int,
    targets: str | None,
    model: str,
    threads: int | None,
    weights: str,
    batch_size: int,
    as_json: bool,
) -> None:
    """Say which words fit at each [MASK]; TEXT `-` reads one text a line."""
    wanted = [word.strip() for word in targets.split(",")] if targets else None
    session = bert_mobile.load(model, threads=threads, weights=weights)
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
@weights_option
@batch_size_option
@as_json
def next_sentence(
    first: str,
    second: str,
    model: str,
    threads: int | None,
    weights: str,
    batch_size: int,
    as_json: bool,
) -> None:
    """Give the probability that sentence B follows sentence A.

    A `-` alone, with B `-` too, reads pairs from standard input: A, a tab, B.
    """
    session = bert_mobile.load(model, threads=threads, weights=weights)
    if (first, second) != ("-", "-"):
        _show_probability(session.next_sentence(first, second), as_json)
        return
    for chunk in text_chunks(["-"]):
        firsts, seconds = _split_pairs(chunk)
        answers = session.next_sentence(firsts, seconds, batch_size=batch_size)
        for answer in answers:
            _show_probability(answer, as_json)


def _split_pairs(lines: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the first and the second texts of lines that hold both, a tab between them."""
    pairs = [line.split("\t") for line in lines]
    for pair in pairs:
        if len(pair) != 2:
            raise InputError(
                f"a line has {len(pair)} fields, expected A, a tab and B",
                hint="separate the two sentences of a line by one tab",
            )
    return [a for a, _ in pairs], [b for _, b in pairs]


def _show_probability(probability: float, as_json: bool) -> None:
    if as_json:
        show({"probability": probability})
    else:
        click.echo(f"{probability:.4f}")


@click.command("embed", epilog=example("bert-mobile embed 'a text' --json"))
@click.argument("texts", nargs=-1, required=True, metavar="TEXT…")
@model_option
@threads_option
@weights_option
@batch_size_option
@as_json
def embed(
    texts: tuple[str, ...],
    model: str,
    threads: int | None,
    weights: str,
    batch_size: int,
    as_json: bool,
) -> None:
    """Print a vector for each text: the mean of its tokens' last hidden states."""
    session = bert_mobile.load(model, threads=threads, weights=weights)
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
@weights_option
@batch_size_option
@as_json
def score(
    texts: tuple[str, ...],
    model: str,
    threads: int | None,
    weights: str,
    batch_size: int,
    as_json: bool,
) -> None:
    """Print the pseudo-log-likelihood of each text: higher (nearer 0) is likelier."""
    session = bert_mobile.load(model, threads=threads, weights=weights)
    for chunk in text_chunks(texts):
        for text, value in zip(
            chunk, session.score(chunk, batch_size=batch_size).tolist(), strict=True
        ):
            if as_json:
                show({"text": text, "score": value})
            else:
                click.echo(f"{value:10.3f}  {text}")


@click.command(
    "classify",
    epilog=example(
        "bert-mobile classify 'What a lovely film!' --model runs/sst2",
        "cut -f1,2 pairs.tsv | bert-mobile classify - --pairs --model runs/mnli --json",
    ),
)
@click.argument("texts", nargs=-1, required=True, metavar="TEXT…")
@click.option("--pairs", is_flag=True, help="Each TEXT is two, with a tab between them.")
@click.option("--top-k", default=1, show_default=True, type=click.IntRange(min=1), metavar="K")
@click.option(
    "--threshold", type=float, metavar="P", help="All labels with at least this score instead."
)
@task_model_option
@threads_option
@weights_option
@batch_size_option
@as_json
def classify(
    texts: tuple[str, ...],
    pairs: bool,
    top_k: int,
    threshold: float | None,
    model: str,
    threads: int | None,
    weights: str,
    batch_size: int,
    as_json: bool,
) -> None:
    """Name the class of each text, or pair of texts; TEXT `-` reads one a line.

    The model is one that was fine-tuned to classify, or for a number (regression).
    """
    session = bert_mobile.load(model, threads=threads, weights=weights)
    for chunk in text_chunks(texts):
        firsts, seconds = _split_pairs(chunk) if pairs else (chunk, None)
        answers = session.classify(
            firsts, seconds, top_k=top_k, threshold=threshold, batch_size=batch_size
        )
        for text, answer in zip(chunk, answers, strict=True):
            if as_json:
                show(answer)
            else:
                _show_labels(text, answer, number=session.config.problem_type == REGRESSION)


def _show_labels(text: str, answer: Any, *, number: bool) -> None:
    click.echo(text.replace("\t", "  |  "))
    for label in [answer] if isinstance(answer, dict) else answer:
        score = f"{label['score']:8.4f}" if number else f"{label['score']:8.2%}"
        click.echo(f"  {score}  {label['label']}")


@click.command(
    "tag", epilog=example("bert-mobile tag 'Ada Lovelace was born in London.' --model runs/ner")
)
@click.argument("texts", nargs=-1, required=True, metavar="TEXT…")
@click.option(
    "--per-word", is_flag=True, help="A tag for each word, also where they make entities."
)
@task_model_option
@threads_option
@weights_option
@batch_size_option
@as_json
def tag(
    texts: tuple[str, ...],
    per_word: bool,
    model: str,
    threads: int | None,
    weights: str,
    batch_size: int,
    as_json: bool,
) -> None:
    """Mark entities, or the tag of each word, in texts; TEXT `-` reads one text a line."""
    session = bert_mobile.load(model, threads=threads, weights=weights)
    for chunk in text_chunks(texts):
        answers: Any = session.tag(chunk, per_word=per_word, batch_size=batch_size)
        for text, answer in zip(chunk, answers, strict=True):
            if as_json:
                show(answer)
            else:
                click.echo(_marked(text, answer))


def _marked(text: str, found: Sequence[Any]) -> str:
    """Return a text with its tags in it: [Ada Lovelace PER] for entities, was/VERB for words."""
    shown, behind = [], 0
    for each in found:
        shown.append(text[behind : each["start"]])
        if "entity_group" in each:
            shown.append(f"[{click.style(each['word'], bold=True)} {each['entity_group']}]")
        else:
            shown.append(f"{each['word']}/{each['entity']} ")
        behind = each["end"]
    return "".join([*shown, text[behind:]]).rstrip()


@click.command(
    "answer",
    epilog=example(
        "bert-mobile answer 'Who wrote it?' --context 'Ada wrote it.' --model runs/squad",
        "bert-mobile answer 'Who wrote it?' --context @book.txt --model runs/squad",
    ),
)
@click.argument("question")
@click.option(
    "--context", required=True, metavar="TEXT|@FILE|-",
    help="Where the answer stands: a text, a file's name behind @, or standard input.",
)  # fmt: skip
@click.option("--top-k", default=1, show_default=True, type=click.IntRange(min=1), metavar="K")
@task_model_option
@threads_option
@weights_option
@batch_size_option
@as_json
def answer(
    question: str,
    context: str,
    top_k: int,
    model: str,
    threads: int | None,
    weights: str,
    batch_size: int,
    as_json: bool,
) -> None:
    """Find the answer to a question in a text, however long.

    With QUESTION `-` standard input has one question a line.
    """
    if question == context == "-":
        raise InputError(
            "question and context are both `-`, expected one of them",
            hint="give the context as @FILE",
        )
    session = bert_mobile.load(model, threads=threads, weights=weights)
    whole = _context(context)
    for chunk in text_chunks([question]):
        answers: Any = session.answer(
            question=chunk, context=whole, top_k=top_k, batch_size=batch_size
        )
        for asked, found in zip(chunk, answers, strict=True):
            if as_json:
                show(found)
            else:
                _show_answers(asked, [found] if isinstance(found, dict) else found)


def _show_answers(question: str, found: Iterable[Any]) -> None:
    click.echo(question)
    for each in found:
        said = " ".join(each["answer"].split()) or "(no answer)"
        click.echo(f"  {each['score']:7.2%}  {said}  ({each['start']}–{each['end']})")


def _context(given: str) -> str:
    """Return the text that `--context` stands for."""
    if given == "-":
        return standard_input().read().decode("utf-8", "surrogateescape")
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{given[1:]} cannot be read as UTF-8 text: {error}",
            hint="name a text file behind @, or give the text itself",
        ) from error
