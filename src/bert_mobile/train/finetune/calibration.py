"""Train examples as calibration text, of which `quantize` takes a line each."""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from bert_mobile.files import atomic_file
from bert_mobile.labelled import Example, Question, TaggedSentence
from bert_mobile.quantize.text import MAX_LINES


def calibration_lines(examples: Iterable[Example], count: int) -> tuple[str, ...]:
    """Return the texts of some of `count` examples, evenly spread: all that will be read."""
    every = max(1, -(-count // MAX_LINES))
    return tuple(_line(example) for example in islice(examples, 0, count, every))


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write a line each, in UTF-8. Raises `RunError` where the disk is full."""
    with atomic_file(path) as scratch:
        scratch.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _line(example: Example) -> str:
    """Return the text, or the two with a tab between them, on one line."""
    if isinstance(example, TaggedSentence):
        texts: Sequence[str] = [" ".join(example.words)]
    elif isinstance(example, Question):
        texts = [example.question, example.context]
    else:
        texts = example.texts
    return "\t".join(" ".join(text.split()) for text in texts)
