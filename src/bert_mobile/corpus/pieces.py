"""Text shards become token shards.

The `tokenizers` library encodes about 1 MB of sentences a second and core, most of it bookkeeping
of positions that we throw away. BERT's normaliser and splitter never look across a space or an
ASCII punctuation mark, so the pieces of a sentence are those of its words and marks, one after the
other: each distinct word goes to the library once and is remembered. `tests/corpus` holds this
against the library's own encoding of whole sentences.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bert_mobile.corpus.shards import PARTS, read_text_shard, write_array
from bert_mobile.errors import InputError
from bert_mobile.files import sha256
from bert_mobile.tokenizer import id_count, load_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LARGEST_VOCABULARY = 2**16
"""What uint16 can count."""

REMEMBERED_WORDS = 300_000
"""Bounds the memory of the words seen to about 50 MB."""

NO_PIECES = "sentence: no pieces"
NO_SENTENCES = "document: no pieces"


_WORDS = re.compile(r"[!-/:-@\[-`{-~]|[^\s!-/:-@\[-`{-~]+")


class Encoder:
    """Sentences to piece ids, without special tokens."""

    def __init__(self, path: Path) -> None:
        """Load tokenizer.json, or the one in a folder.

        Raises `ArtifactError` where it is missing or damaged, `InputError` where its ids exceed
        uint16 or it does not split at spaces as BERT does.
        """
        self._tokenizer = load_tokenizer(path)
        _check(self._tokenizer, path)
        # A "[MASK]" in a text is four characters and a word, not the token.
        self._tokenizer.encode_special_tokens = True
        self.vocabulary_size = id_count(self._tokenizer)
        """The largest id and one: pieces, special tokens and holes."""
        self._remembered: dict[str, bytes] = {}

    def encode(self, sentences: Iterable[str]) -> list[bytes]:
        """Return the ids of each sentence as the bytes of a uint16 array."""
        words = [_WORDS.findall(sentence) for sentence in sentences]
        self._learn({word for sentence in words for word in sentence})
        ids = self._remembered
        return [b"".join([ids[word] for word in sentence]) for sentence in words]

    def _learn(self, words: set[str]) -> None:
        if len(self._remembered) > REMEMBERED_WORDS:
            self._remembered.clear()
        new = [word for word in words if word not in self._remembered]
        encodings = self._tokenizer.encode_batch_fast(new, add_special_tokens=False)
        for word, encoding in zip(new, encodings, strict=True):
            self._remembered[word] = np.array(encoding.ids, dtype=np.uint16).tobytes()


def _check(tokenizer: "Tokenizer", path: Path) -> None:
    size = id_count(tokenizer)
    if size > LARGEST_VOCABULARY:
        raise InputError(
            f"{path} has {size:,} pieces, expected at most {LARGEST_VOCABULARY:,}",
            hint="train a tokenizer with a smaller vocabulary",
        )
    found = (type(tokenizer.normalizer).__name__, type(tokenizer.pre_tokenizer).__name__)
    expected = ("BertNormalizer", "BertPreTokenizer")
    if found != expected:
        raise InputError(
            f"{path} works with {' and '.join(found)}, expected {' and '.join(expected)}",
            hint="make one with: bert-mobile tokenizer train SOURCE --out DIR",
        )


@dataclass
class Encoded:
    """What a shard holds."""

    name: str
    documents: int
    sentences: int
    tokens: int
    dropped: dict[str, int]
    files: dict[str, str]
    """SHA-256 of its four files."""


def encode_shard(folder: Path, name: str) -> Encoded:
    """Write the token shard of a text shard with the folder's tokenizer."""
    tokenizer = folder / "tokenizer.json"
    text = folder / f"{name}.jsonl.zst"
    dropped: Counter[str] = Counter()
    encoder = _encoder(tokenizer, sha256(tokenizer))
    tokens, sentences, documents = _encode(text, encoder, dropped)
    paths = [folder / f"{name}.{part}.npy" for part in PARTS]
    write_array(paths[0], tokens)
    write_array(paths[1], sentences)
    write_array(paths[2], documents)
    files = {path.name: sha256(path) for path in (text, *paths)}
    counts = (len(documents) - 1, len(sentences) - 1, len(tokens))
    return Encoded(name, *counts, dict(+dropped), files)


@lru_cache(maxsize=1)
def _encoder(path: Path, _sha256: str) -> Encoder:
    """Keep the words learned from one shard for the next; the hash tells when the file changed."""
    return Encoder(path)


def _encode(
    text: Path, encoder: Encoder, dropped: Counter[str]
) -> tuple[NDArray[np.uint16], NDArray[np.int64], NDArray[np.int64]]:
    """Return tokens (T,), sentence offsets (S+1,) and document offsets (D+1,)."""
    pieces: list[bytes] = []  # of each sentence
    counts: list[int] = []  # sentences of each document
    for document in read_text_shard(text):
        found = [ids for ids in encoder.encode(document) if ids]
        dropped[NO_PIECES] += len(document) - len(found)
        dropped[NO_SENTENCES] += not found
        pieces += found
        counts += [len(found)] if found else []
    lengths = [len(ids) // np.uint16().itemsize for ids in pieces]
    return np.frombuffer(b"".join(pieces), np.uint16), _offsets(lengths), _offsets(counts)


def _offsets(lengths: list[int]) -> NDArray[np.int64]:
    return np.fromiter(accumulate(lengths, initial=0), np.int64, len(lengths) + 1)
