"""Unicode clean-up, sentences, and the judgement of documents."""

from collections import Counter

import pytest

from bert_mobile.corpus.clean import clean
from bert_mobile.corpus.prepare import prepare
from bert_mobile.corpus.records import Record
from bert_mobile.corpus.sentences import LONGEST_SENTENCE, split_sentences

from .conftest import prose


@pytest.mark.parametrize(
    ("text", "expected", "repaired"),
    [
        ("plain text\nkept", "plain text\nkept", {}),
        ("a\r\nb\rc\x0cd\u2028e", "a\nb\nc\nd\ne", {}),
        ("a\u00a0b\t c\u2009\u2009d  e", "a b c d e", {}),
        ("NUL\x00 and \x1bescape", "NUL and escape", {"invisible character": 2}),
        ("co\u00adop \u200bzero\ufeff", "coop zero", {"invisible character": 3}),
        ("lone \ud800 and \udfff", "lone and ", {"lone surrogate": 2}),
        ("e\u0301 \N{GRINNING FACE}", "\u00e9 \N{GRINNING FACE}", {}),
        ("donâ€™t go\ncafé stays", "don\u2019t go\ncafé stays", {"wrongly decoded paragraph": 1}),
        ("Ângelo and São Paulo, naïve", "Ângelo and São Paulo, naïve", {}),
    ],
)
def test_clean(text: str, expected: str, repaired: dict[str, int]) -> None:
    counts: Counter[str] = Counter()
    assert clean(text, counts) == expected
    assert +counts == repaired
    assert clean(expected, Counter()) == expected


def test_sentences_follow_paragraphs_and_abbreviations() -> None:
    dropped: Counter[str] = Counter()
    text = 'Dr. Smith came at 5 p.m. on foot. He left.\nNo full stop\n* * *\n\n"Is it?" she asked.'
    assert split_sentences(text, dropped) == [
        "Dr. Smith came at 5 p.m. on foot.",
        "He left.",
        "No full stop",
        '"Is it?" she asked.',
    ]
    assert dropped == {"sentence: no letters": 1}


@pytest.mark.parametrize("text", ["word " * 3000, "x" * 15_001, "a " + "x" * 5000 + " b"])
def test_over_long_sentence_is_cut_and_nothing_lost(text: str) -> None:
    found = split_sentences(text, Counter())
    assert max(map(len, found)) <= LONGEST_SENTENCE
    assert "".join(found).replace(" ", "") == text.replace(" ", "")
    assert all(found)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "document: under 2 sentences"),
        ("Only one sentence here.", "document: under 2 sentences"),
        ("Too short. Is this.", "document: under 20 words"),
        ("Сорок тысяч лет. Мы ждём вас. " * 10, "document: under 60% letters"),
        ("1 2 3 4 5 6 7 8 a. 9 8 7 6 5 4 b.\n" * 5, "document: under 60% letters"),
    ],
)
def test_documents_dropped(text: str, reason: str) -> None:
    dropped: Counter[str] = Counter()
    assert prepare(Record("s", "t", text), dropped, Counter()) is None
    assert dropped == {reason: 1}


def test_prepared_line_is_clean() -> None:
    repaired: Counter[str] = Counter()
    record = Record("s\x00", "t\ud800", prose(1) + " \ud812 The last\x00 one.")
    document = prepare(record, Counter(), repaired)
    assert document
    assert document.line.startswith(b'{"source":"s","title":"t","sentences":["')
    assert b"The last one." in document.line
    assert repaired == {"invisible character": 2, "lone surrogate": 2}
