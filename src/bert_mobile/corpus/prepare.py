"""One record becomes one line of a text shard and a fingerprint, or a reason why not.

This is the part of the build that costs time and runs in the workers; it depends on nothing but the
record, so the number of workers cannot change its result.
"""

import json
from collections import Counter
from dataclasses import dataclass
from string import ascii_letters

from bert_mobile.corpus.clean import clean
from bert_mobile.corpus.duplicates import Fingerprint, fingerprint
from bert_mobile.corpus.records import Record
from bert_mobile.corpus.sentences import split_sentences

FEWEST_SENTENCES = 2
"""A pair for next-sentence prediction takes two."""

FEWEST_WORDS = 20
"""Less is a caption or a heading, and has too few shingles to be compared."""

FEWEST_LETTERS = 0.6
"""Share of A-Z and a-z among the bytes; prose has about 0.8, tables and other scripts less."""


@dataclass(frozen=True)
class Prepared:
    """One document, ready to be written unless it is a duplicate."""

    line: bytes
    """Its JSON object without the line end: source, title, sentences."""
    fingerprint: Fingerprint


def prepare(record: Record, dropped: Counter[str], repaired: Counter[str]) -> Prepared | None:
    """Clean, split and judge a record; return None and a count in `dropped` where it is no prose.

    `repaired` counts what was mended.
    """
    sentences = sentences_of(record, dropped, repaired)
    if not sentences:
        return None
    mark = fingerprint(sentences)
    if mark.words < FEWEST_WORDS:
        dropped[f"document: under {FEWEST_WORDS} words"] += 1
        return None
    value = {
        "source": clean(record.source, repaired),
        "title": clean(record.title, repaired),
        "sentences": sentences,
    }
    line = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Prepared(line, mark)


def sentences_of(record: Record, dropped: Counter[str], repaired: Counter[str]) -> list[str] | None:
    """Return a record's clean sentences, or None and a count in `dropped` where it is no prose."""
    text: str | None = record.text
    if record.wikitext:
        from bert_mobile.corpus.wikipedia import prose

        text = prose(record.text, dropped)
        if text is None:
            return None
    sentences = split_sentences(clean(text or "", repaired), dropped)
    if len(sentences) < FEWEST_SENTENCES:
        dropped[f"document: under {FEWEST_SENTENCES} sentences"] += 1
        return None
    if _letter_share(sentences) < FEWEST_LETTERS:
        dropped[f"document: under {FEWEST_LETTERS:.0%} letters"] += 1
        return None
    return sentences


def _letter_share(sentences: list[str]) -> float:
    data = " ".join(sentences).encode()
    return 1 - len(data.translate(None, ascii_letters.encode())) / len(data)
