"""Exact and near duplicates, found with memory that does not grow with the corpus.

A worker reduces a document to a `Fingerprint`; the parent looks it up in an index on disk and adds
it. Documents are compared as lower-case words without punctuation:

- exact duplicate: the same words in the same order (64-bit hash);
- near duplicate: at least `SAME` of the shingles of five words in common (Jaccard), estimated from
  128 minimum hashes (rensa). Two documents are compared when one of 16 bands of 8 hashes is equal,
  which happens with a probability of 95 % at 0.8 and 3 % at 0.45.

Where we part from textbook MinHash: a band remembers only the first document that had it, so that
a phrase common to a million pages never makes a million comparisons; and one byte of each hash is
kept for the estimate (chance agreement 1/256, taken off), an eighth of a kilobyte a document.
"""

import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from bert_mobile.corpus.libraries import library
from bert_mobile.errors import RunError

SHINGLE_WORDS = 5
HASHES = 128
BANDS = 16
SAME = 0.8
"""Estimated Jaccard similarity from which a document counts as a near duplicate."""

SEED = 1
CACHE_KIB = 64 * 1024
"""Memory of the index; the rest of it lies on disk."""

SENTENCES_AT_ONCE = 2_000
"""Bounds the words in memory: those of a 16 MB book would take a few hundred MB."""

_CHANCE = 1 / 256

_TABLES = f"""
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA cache_size = -{CACHE_KIB};
    CREATE TABLE texts (key INTEGER PRIMARY KEY);
    CREATE TABLE bands (key INTEGER PRIMARY KEY, document INTEGER);
    CREATE TABLE signatures (document INTEGER PRIMARY KEY, signature BLOB);
"""

_CANDIDATES = f"""
    SELECT signature FROM signatures WHERE document IN (
        SELECT document FROM bands WHERE key IN ({", ".join("?" * BANDS)})
    )
"""  # noqa: S608 - nothing but question marks is put in

# Every ASCII byte that is no letter or digit parts words; bytes over 127 belong to them.
_WORDS = bytes(c if c > 127 or chr(c).isalnum() else ord(" ") for c in range(256))


class Fingerprint(NamedTuple):
    """What the index needs to know of a document."""

    text: int
    """Signed 64-bit hash of the words in order."""
    bands: tuple[int, ...]
    """`BANDS` signed 64-bit keys."""
    signature: bytes
    """`HASHES` bytes."""
    words: int
    """How many words the document has."""


MARKS = np.dtype(
    [
        ("text", "<i8"),
        ("bands", "<i8", (BANDS,)),
        ("signature", "V", HASHES),
        ("words", "<i8"),
        ("line_bytes", "<i8"),
        ("held_out", "?"),
    ]
)
"""One document as a row of a NumPy array: its fingerprint, and where its line goes."""

_MARK = struct.Struct(f"<q{BANDS}q{HASHES}sqq?")


def packed(mark: Fingerprint, line_bytes: int, *, held_out: bool) -> bytes:
    """Return a document's row of `MARKS`."""
    return _MARK.pack(mark.text, *mark.bands, mark.signature, mark.words, line_bytes, held_out)


def fingerprints(marks: "np.ndarray[tuple[int], np.dtype[np.void]]") -> Iterator[Fingerprint]:
    """Yield the fingerprints of rows of `MARKS`."""
    columns = (marks[name].tolist() for name in Fingerprint._fields)
    for text, bands, signature, words in zip(*columns, strict=True):
        yield Fingerprint(text, tuple(bands), signature, words)


def fingerprint(sentences: Sequence[str]) -> Fingerprint:
    """Reduce a document to its fingerprint; the same words give the same one on every machine."""
    sketch = library("rensa").RMinHash(num_perm=HASHES, seed=SEED)
    text = blake2b(digest_size=8)
    count = 0
    tail: list[bytes] = []
    remaining = iter(sentences)
    while block := list(islice(remaining, SENTENCES_AT_ONCE)):
        words = " ".join(block).lower().encode().translate(_WORDS).split()
        text.update(b" ".join(words) + b" ")
        count += len(words)
        words = tail + words
        sketch.update(_shingles(words))
        tail = words[1 - SHINGLE_WORDS :]
    hashes = np.asarray(sketch.digest(), dtype="<u4")
    return Fingerprint(
        _signed(text.digest()), tuple(_band_keys(hashes)), hashes.astype(np.uint8).tobytes(), count
    )


def _shingles(words: list[bytes]) -> list[bytes]:
    return list(map(b" ".join, zip(*(words[i:] for i in range(SHINGLE_WORDS)), strict=False)))


def _band_keys(hashes: "np.ndarray[tuple[int], np.dtype[np.uint32]]") -> Iterable[int]:
    for number, band in enumerate(hashes.reshape(BANDS, -1)):
        salt = number.to_bytes(1, "little")
        yield _signed(blake2b(band.tobytes(), digest_size=8, salt=salt).digest())


def _signed(digest: bytes) -> int:
    """Read eight bytes as SQLite's integer."""
    return int.from_bytes(digest, "little", signed=True)


def similarity(one: bytes, other: bytes) -> float:
    """Estimate the Jaccard similarity of two documents from their signatures."""
    equal = np.frombuffer(one, np.uint8) == np.frombuffer(other, np.uint8)
    return float(max(0.0, (equal.mean() - _CHANCE) / (1 - _CHANCE)))


class DuplicateIndex:
    """The fingerprints of the documents kept so far, in an SQLite file that nobody else reads.

    There is no journal and no flush: after a crash the file is thrown away with its folder.
    """

    def __init__(self, path: Path) -> None:
        """Make a new index at `path`."""
        self._kept = 0
        with _full_disk_explained():
            self._connection = sqlite3.connect(path)
            self._connection.executescript(_TABLES)

    def __enter__(self) -> Self:
        """Return the index."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._connection.close()

    def add(self, document: Fingerprint) -> str | None:
        """Add a document and return None, or return the reason why it is to be dropped.

        Raises `RunError` where the disk is full.
        """
        with _full_disk_explained():
            return self._add(document)

    def _add(self, document: Fingerprint) -> str | None:
        execute = self._connection.execute
        new = execute("INSERT OR IGNORE INTO texts VALUES (?)", (document.text,)).rowcount
        if not new:
            return "document: exact duplicate"
        alike = (similarity(document.signature, other) for other in self._candidates(document))
        if any(value >= SAME for value in alike):
            return "document: near duplicate"
        self._kept += 1
        execute("INSERT INTO signatures VALUES (?, ?)", (self._kept, document.signature))
        self._connection.executemany(
            "INSERT OR IGNORE INTO bands VALUES (?, ?)", ((k, self._kept) for k in document.bands)
        )
        return None

    def _candidates(self, document: Fingerprint) -> Iterator[bytes]:
        rows = self._connection.execute(_CANDIDATES, document.bands)
        return (signature for (signature,) in rows)


@contextmanager
def _full_disk_explained() -> Iterator[None]:
    """SQLite says that a disk is full with an error of its own, not with the system's."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise RunError(
            f"the index of duplicates could not be written: {error}",
            hint="free some space (about 0.6 kB a document) or write elsewhere",
        ) from error
