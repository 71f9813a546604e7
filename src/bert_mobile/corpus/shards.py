"""The corpus on disk: its format, and how shards are written and read.

A corpus is a folder:

- `manifest.json`: counts, every drop by reason, settings, and the SHA-256 of every other file;
- `tokenizer.json`: the tokenizer that made the pieces;
- `SPLIT-NNNNN.jsonl.zst`: one document a line, `{"source", "title", "sentences": [...]}`;
- `SPLIT-NNNNN.tokens.npy`: uint16 (T,), piece ids without special tokens;
- `SPLIT-NNNNN.sentences.npy`: int64 (S+1,), where each sentence begins in the tokens, then T;
- `SPLIT-NNNNN.documents.npy`: int64 (D+1,), where each document begins in the sentences, then S.

SPLIT is `train` or `held_out`. A token shard has the documents of the text shard of its name in the
same order, less those of which the tokenizer leaves nothing. No sentence and no document is empty.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from bert_mobile.corpus.libraries import library
from bert_mobile.corpus.sources import FORMAT, MANIFEST
from bert_mobile.corpus.streams import open_stream
from bert_mobile.errors import ArtifactError
from bert_mobile.files import read_json

VERSION = 1
"""Version of the folder's format."""

SPLITS = ("train", "held_out")
SHARD_BYTES = 16_000_000
"""Text after which a shard is closed: enough to compress well, little enough to hold in memory."""

COMPRESSION_LEVEL = 3

Number = TypeVar("Number", bound=np.generic)


class TextShards:
    """Writes the documents of one split, a new file whenever `shard_bytes` are full."""

    def __init__(self, folder: Path, split: str, shard_bytes: int = SHARD_BYTES) -> None:
        """Write into `folder`; nothing is made before the first document."""
        self.names: list[str] = []
        self._folder = folder
        self._split = split
        self._shard_bytes = shard_bytes
        self._written = 0
        self._files = ExitStack()
        self._shard: IO[bytes] | None = None

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the last shard."""
        self._files.__exit__(kind, error, trace)

    def write(self, line: bytes) -> None:
        """Append one document: its JSON object without the line end."""
        if self._shard is None:
            self._shard = self._begin()
        self._shard.write(line + b"\n")
        self._written += len(line) + 1
        if self._written >= self._shard_bytes:
            self._files.close()
            self._shard = None

    def _begin(self) -> IO[bytes]:
        name = f"{self._split}-{len(self.names):05d}"
        self.names.append(name)
        self._written = 0
        file = self._files.enter_context((self._folder / f"{name}.jsonl.zst").open("wb"))
        compressor = library("zstandard").ZstdCompressor(level=COMPRESSION_LEVEL)
        stream: IO[bytes] = self._files.enter_context(compressor.stream_writer(file, closefd=False))
        return stream


def read_text_shard(path: Path) -> Iterator[list[str]]:
    """Yield the documents of a text shard, each as its sentences. Raises `ArtifactError`."""
    with open_stream(path) as stream:
        for number, line in enumerate(stream.plain, start=1):
            try:
                sentences: list[str] = json.loads(line)["sentences"]
            except (ValueError, KeyError, TypeError) as error:
                raise ArtifactError(
                    f"{path}, line {number} is no document of a corpus: {error!r}",
                    hint="the corpus is damaged; build it anew",
                ) from None
            yield sentences


@dataclass(frozen=True)
class TokenShard:
    """One token shard, mapped into memory."""

    tokens: NDArray[np.uint16]
    """(T,) piece ids."""
    sentences: NDArray[np.int64]
    """(S+1,) offsets into `tokens`."""
    documents: NDArray[np.int64]
    """(D+1,) offsets into `sentences`."""

    @classmethod
    def open(cls, folder: Path, name: str) -> Self:
        """Map the shard `name` of a corpus. Raises `ArtifactError` where it is damaged."""
        tokens = _mapped(folder / f"{name}.tokens.npy", np.uint16)
        sentences = _mapped(folder / f"{name}.sentences.npy", np.int64)
        documents = _mapped(folder / f"{name}.documents.npy", np.int64)
        if sentences[-1] != len(tokens) or documents[-1] != len(sentences) - 1:
            raise ArtifactError(
                f"{folder}: the three files of shard {name} do not belong together",
                hint="the corpus is damaged; build it anew",
            )
        return cls(tokens, sentences, documents)

    def document(self, index: int) -> list[NDArray[np.uint16]]:
        """Return document `index` as the pieces of each of its sentences."""
        first, last = self.documents[index], self.documents[index + 1]
        edges = self.sentences[first : last + 1]
        return [self.tokens[a:b] for a, b in pairwise(edges)]


class Shards:
    """The documents of one split of a corpus, as pieces, read from disk when asked for."""

    def __init__(self, corpus: Path, split: str = "train") -> None:
        """Open a corpus. Raises `ArtifactError` where it is none, or damaged."""
        self.manifest = read_manifest(corpus)
        """The corpus's manifest."""
        names = self.manifest["splits"][split]["shards"]
        self.parts = [TokenShard.open(corpus, name) for name in names]
        """The token shards in order."""
        counts = (len(part.documents) - 1 for part in self.parts)
        self._first = list(accumulate(counts, initial=0))

    def __len__(self) -> int:
        """Count the documents."""
        return self._first[-1]

    def __getitem__(self, index: int) -> list[NDArray[np.uint16]]:
        """Return document `index` as the pieces of each of its sentences."""
        if not 0 <= index < len(self):
            raise IndexError(f"document {index} of {len(self)}")
        part = bisect_right(self._first, index) - 1
        return self.parts[part].document(index - self._first[part])


def read_manifest(corpus: Path) -> dict[str, Any]:
    """Return the manifest of a corpus. Raises `ArtifactError` where the folder is none of ours."""
    manifest = read_json(corpus / MANIFEST, "the manifest of a corpus")
    if manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
        raise ArtifactError(
            f"{corpus / MANIFEST} is of format {manifest.get('format')!r}, version"
            f" {manifest.get('version')!r}, expected {FORMAT!r}, version {VERSION}",
            hint="build the corpus with this version of bert-mobile",
        )
    return manifest


def _mapped(path: Path, dtype: type[Number]) -> NDArray[Number]:
    try:
        array: NDArray[Number] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(
            f"{path} cannot be read as a part of a corpus: {error}",
            hint="the corpus is damaged; build it anew",
        ) from None
    if array.dtype != dtype or array.ndim != 1:
        raise ArtifactError(
            f"{path} holds {array.dtype} {array.shape}, expected {np.dtype(dtype)} (n,)",
            hint="the corpus is damaged; build it anew",
        )
    return array
