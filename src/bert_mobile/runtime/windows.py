"""Texts by word, and texts too long for one sequence, read in parts that overlap.

A word is what BERT's pre-tokenization makes of a text (split at white space and around every
punctuation mark), or what the caller says it is. Places are counted in characters of the original
text, before lower-casing and the rest of BERT's normalisation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Encoding

from bert_mobile.errors import InputError
from bert_mobile.runtime.batches import Tokens

Spans = list[tuple[int, int]]
"""First character of each, and the one behind its last."""

STRIDE = 128
"""Pieces that neighbouring parts share, where a part has room for twice as many."""


@dataclass(frozen=True, slots=True)
class Words:
    """A text cut into pieces, word by word."""

    ids: list[int]
    """Index of each piece in the vocabulary."""
    numbers: list[int]
    """Number of the word that each piece is part of."""
    starts: list[int]
    """Index of the first piece of each word."""
    spans: Spans
    """Place of each word in the text."""


@dataclass(frozen=True, slots=True)
class Window:
    """A question with a part of its context, as the network reads them."""

    tokens: Tokens
    """`[CLS] question [SEP] part [SEP]`."""
    start: int
    """Index in `tokens` of the part's first piece."""
    offsets: Spans
    """Place in the context of each piece of the part."""
    words: Spans
    """Place in the context of the whole word that each piece of the part belongs to."""


def split_words(encoding: Encoding) -> Words:
    """Return the words of a text that was encoded as one string."""
    ids, numbers, starts, spans = encoding.ids, [], [], []
    last = None
    for index, (number, (start, end)) in enumerate(
        zip(encoding.word_ids, encoding.offsets, strict=True)
    ):
        if number != last:
            starts.append(index)
            spans.append((start, end))
            last = number
        spans[-1] = spans[-1][0], max(end, spans[-1][1])
        numbers.append(len(spans) - 1)
    return Words(ids, numbers, starts, spans)


def words_of(words: Sequence[str], encoding: Encoding, unknown: int) -> Words:
    """Return the words that were encoded as a list; `unknown` stands for one without pieces."""
    ids: list[int] = []
    numbers: list[int] = []
    starts: list[int] = []

    def fill(stop: int) -> None:
        for number in range(len(starts), stop):  # words of which nothing is left
            starts.append(len(ids))
            ids.append(unknown)
            numbers.append(number)

    placed: list[int] = encoding.word_ids  # type: ignore[assignment]  # None for [CLS] only
    for piece, number in zip(encoding.ids, placed, strict=True):
        fill(number)
        if number == len(starts):
            starts.append(len(ids))
        ids.append(piece)
        numbers.append(number)
    fill(len(words))
    return Words(ids, numbers, starts, _joined_spans(words))


def window_starts(length: int, width: int, stride: int) -> list[int]:
    """Return where parts of `width` of `length` pieces begin that share `stride` each.

    Raises `InputError` where the stride leaves a part nothing new.
    """
    if not 0 <= stride < width:
        raise InputError(
            f"the stride is {stride}, expected 0 to {width - 1}, less than the room for a part",
            hint="choose a smaller stride or a shorter question",
        )
    step = width - stride
    return [0, *range(step, length - stride, step)]


def default_stride(width: int) -> int:
    """Return the overlap of parts of `width` pieces: 128, or half where that is less."""
    return min(STRIDE, width // 2)


def _joined_spans(words: Sequence[str]) -> Spans:
    """Return the places of words that are joined by single spaces."""
    spans, start = [], 0
    for word in words:
        spans.append((start, start + len(word)))
        start += len(word) + 1
    return spans
