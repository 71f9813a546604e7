"""The corpus on disk: its format, and how text shards are written and read.

A corpus is a folder:

- `manifest.json`: counts, every drop by reason, settings, and the SHA-256 of every other file;
- `tokenizer.json`: the tokenizer that made the pieces;
- `SPLIT-NNNNN.jsonl.zst`: one document a line, `{"source", "title", "sentences": [...]}`;
- `SPLIT-NNNNN.tokens.npy`: uint16 (T,), piece ids without special tokens;
- `SPLIT-NNNNN.sentences.npy`: int64 (S+1,), where each sentence begins in the tokens, then T;
- `SPLIT-NNNNN.documents.npy`: int64 (D+1,), where each document begins in the sentences, then S.

SPLIT is `train` or `held_out`. A token shard has the documents of the text shard of its name in the
same order, less those of which the tokenizer leaves nothing. No sentence and no document is empty.
`bert_mobile.examples.Corpus` reads them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from bert_mobile.corpus.libraries import library
from bert_mobile.corpus.sources import FORMAT, MANIFEST
from bert_mobile.corpus.streams import open_stream
from bert_mobile.errors import ArtifactError
from bert_mobile.files import read_json, sha256

VERSION = 1
"""Version of the folder's format."""

SPLITS = ("train", "held_out")
PARTS = ("tokens", "sentences", "documents")
"""The arrays of a token shard."""

SHARD_BYTES = 16_000_000
"""Text after which a shard is closed: enough to compress well, little enough to hold in memory."""

COMPRESSION_LEVEL = 3


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


def read_manifest(corpus: Path) -> dict[str, Any]:
    """Return the manifest of a corpus, with all that later stages look up in it.

    Raises `ArtifactError` where the folder is none of ours or the manifest is damaged.
    """
    manifest = read_json(corpus / MANIFEST, "the manifest of a corpus")
    if manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
        raise ArtifactError(
            f"{corpus / MANIFEST} is of format {manifest.get('format')!r}, version"
            f" {manifest.get('version')!r}, expected {FORMAT!r}, version {VERSION}",
            hint="build the corpus with this version of bert-mobile",
        )
    splits = manifest.get("splits")
    whole = {
        "splits": isinstance(splits, dict) and all(_is_split(splits.get(s)) for s in SPLITS),
        "dropped": _maps_to(int, manifest.get("dropped")),
        "tokenizer": isinstance(manifest.get("tokenizer"), dict),
        "files": _maps_to(str, manifest.get("files")),
    }
    for part in (part for part, is_whole in whole.items() if not is_whole):
        raise ArtifactError(
            f"{corpus / MANIFEST} has no proper {part!r}, expected the manifest of a corpus",
            hint="the file is damaged; build the corpus anew",
        )
    return manifest


def check_files(corpus: Path, manifest: Mapping[str, Any], names: Iterable[str]) -> None:
    """Hold files of a corpus against the manifest's hashes; raises `ArtifactError` naming one."""
    for name in names:
        path = corpus / name
        if not path.is_file() or sha256(path) != manifest["files"].get(name):
            raise ArtifactError(
                f"{path} is missing or damaged: {MANIFEST} has another SHA-256 for it",
                hint="copy the corpus again from its source, or build it anew",
            )


def _is_split(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("shards"), list):
        return False
    return all(isinstance(name, str) for name in value["shards"])


def _maps_to(kind: type, value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(each, kind) for each in value.values())
