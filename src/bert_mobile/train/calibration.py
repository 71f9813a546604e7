"""What is trained on as calibration text, of which `quantize` takes a line each."""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from bert_mobile.examples import Corpus, PairSampler
from bert_mobile.files import atomic_file
from bert_mobile.labelled import Example, Question, TaggedSentence
from bert_mobile.quantize.text import MAX_LINES, MAX_TOKENS
from bert_mobile.tokenizer import load_tokenizer

_SEED = 0
"""The pairs of a corpus are the same for every run on it."""


def calibration_lines(examples: Iterable[Example], count: int) -> tuple[str, ...]:
    """Return the texts of some of `count` examples, evenly spread: all that will be read."""
    every = max(1, -(-count // MAX_LINES))
    return tuple(_line(example) for example in islice(examples, 0, count, every))


def calibration_pairs(corpus: Corpus, sequence_length: int) -> tuple[str, ...]:
    """Return pairs of segments as pre-training draws them, nothing hidden, a tab between the two.

    They have at most `sequence_length` tokens, and no more than will be read.
    """
    length = min(sequence_length, MAX_TOKENS)
    sampler = PairSampler(corpus, seed=_SEED, sequence_length=length, batch_size=1)
    sampler.batch_size = min(MAX_LINES, sampler.windows)
    batch = sampler.batch(0)
    ids = batch.input_ids.copy()  # (B, T)
    ids.flat[batch.positions] = batch.targets
    is_text, second = corpus.special.is_text[ids], batch.token_type_ids == 1
    decode = load_tokenizer(corpus.folder).decode
    return tuple(
        f"{decode(row[text & ~b].tolist())}\t{decode(row[text & b].tolist())}"
        for row, text, b in zip(ids, is_text, second, strict=True)
    )


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
