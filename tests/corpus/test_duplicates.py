"""Copies are found, others are kept, and a full disk is named."""

import random
from pathlib import Path

import numpy as np
import pytest

from bert_mobile.corpus.duplicates import DuplicateIndex, fingerprint, similarity
from bert_mobile.errors import RunError

from .conftest import prose

EXACT, NEAR = "document: exact duplicate", "document: near duplicate"


def sentences(seed: int, count: int = 40) -> list[str]:
    return prose(seed, count).replace("\n", " ").split(". ")


def changed(document: list[str], words: int) -> list[str]:
    """Replace that many words, spread evenly over the document."""
    flat = " ".join(document).split()
    for i in range(words):
        flat[(2 * i + 1) * len(flat) // (2 * words)] = f"new{i}"
    return [" ".join(flat)]


def test_exact_near_and_different(tmp_path: Path) -> None:
    document = sentences(0)
    with DuplicateIndex(tmp_path / "index") as index:
        verdicts = [
            index.add(fingerprint(found))
            for found in (
                document,
                document,
                [sentence.upper() + " ,!" for sentence in document],
                changed(document, 3),
                changed(document, 40),
                sentences(1),
            )
        ]
    assert verdicts == [None, EXACT, EXACT, NEAR, None, None]


def test_unrelated_documents_are_kept(tmp_path: Path) -> None:
    with DuplicateIndex(tmp_path / "index") as index:
        verdicts = [index.add(fingerprint(sentences(seed, 8))) for seed in range(500)]
    assert verdicts.count(None) == 500


def test_near_duplicates_are_found_among_many(tmp_path: Path) -> None:
    """Copies with a true similarity of 0.87 and more: at least 19 in 20 are found."""
    with DuplicateIndex(tmp_path / "index") as index:
        for seed in range(200):
            index.add(fingerprint(sentences(seed)))
        found = [index.add(fingerprint(changed(sentences(seed), 6))) for seed in range(200)]
    assert found.count(NEAR) >= 190


@pytest.mark.parametrize("words", [2, 8, 20, 60])
def test_similarity_estimates_jaccard(words: int) -> None:
    def shingles(document: list[str]) -> set[tuple[str, ...]]:
        flat = " ".join(document).lower().replace(".", "").split()
        return {tuple(flat[i : i + 5]) for i in range(len(flat) - 4)}

    errors = []
    for seed in range(20):
        one = sentences(seed)
        other = changed(one, words)
        a, b = shingles(one), shingles(other)
        estimate = similarity(fingerprint(one).signature, fingerprint(other).signature)
        errors.append(estimate - len(a & b) / len(a | b))
    assert abs(np.mean(errors)) < 0.03
    assert np.max(np.abs(errors)) < 0.15


def test_fingerprint_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    document = sentences(3)
    whole = fingerprint(document)
    monkeypatch.setattr("bert_mobile.corpus.duplicates.SENTENCES_AT_ONCE", 3)
    assert fingerprint(document) == whole


def test_hash_is_the_same_on_every_machine() -> None:
    """Golden: a change here moves documents between the splits of every corpus."""
    assert fingerprint(["Hello, world."]).text == 295131707250382168


def test_full_disk_is_named(tmp_path: Path) -> None:
    with DuplicateIndex(tmp_path / "index") as index:
        index._connection.execute("PRAGMA max_page_count = 8")
        chance = random.Random(0)
        marks = [fingerprint(sentences(chance.randrange(10**9), 4)) for _ in range(500)]
        with pytest.raises(RunError, match="index of duplicates could not be written"):
            list(map(index.add, marks))
