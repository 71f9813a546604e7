"""Sentences of English paragraphs, by sentencex (Wikimedia's splitter: rules and abbreviations)."""

import re
from collections import Counter
from collections.abc import Iterator

from bert_mobile.corpus.libraries import library

LONGEST_SENTENCE = 2_000
"""Characters; about the 512 pieces that a model ever sees at once, so a cut loses nothing."""

_LETTER = re.compile(r"[^\W\d_]")


def split_sentences(text: str, dropped: Counter[str]) -> list[str]:
    """Return the sentences of `text`, whose lines are its paragraphs.

    A sentence over `LONGEST_SENTENCE` is cut at a space. One without any letter ("* * *") is left
    out and counted in `dropped`.
    """
    segment = library("sentencex").segment
    found: list[str] = []
    for paragraph in text.split("\n"):
        for sentence in segment("en", paragraph):
            stripped = sentence.strip()
            if not stripped:
                continue
            if not _LETTER.search(stripped):
                dropped["sentence: no letters"] += 1
            elif len(stripped) <= LONGEST_SENTENCE:
                found.append(stripped)
            else:
                found.extend(_pieces(stripped))
    return found


def _pieces(sentence: str) -> Iterator[str]:
    """Cut an over-long sentence at the last space that keeps a piece short enough."""
    start = 0
    while len(sentence) - start > LONGEST_SENTENCE:
        end = sentence.rfind(" ", start + 1, start + LONGEST_SENTENCE)
        end = end if end > start else start + LONGEST_SENTENCE
        yield sentence[start:end].rstrip()
        start = end + (sentence[end] == " ")
    yield sentence[start:]
