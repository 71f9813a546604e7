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
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_mobile.corpus.libraries import library
from bert_mobile.corpus.sources import FORMAT, MANIFEST
from bert_mobile.corpus.streams import open_stream
from bert_mobile.errors import ArtifactError
from bert_mobile.files import atomic_file, read_json, sha256

VERSION = 1
"""Version of the folder's format."""

SPLITS = ("train", "held_out")
PARTS = ("tokens", "sentences", "documents")
"""The arrays of a token shard."""

SHARD_BYTES = 16_000_000
"""Text after which a shard is closed: enough to compress well, little enough to hold in memory."""

COMPRESSION_LEVEL = 3


@contextmanager
def text_writer(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Yield a function that writes a line, given without its end, to a compressed, atomic file."""
    compressor = library("zstandard").ZstdCompressor(level=COMPRESSION_LEVEL)
    with (
        atomic_file(path) as scratch,
        scratch.open("wb") as file,
        compressor.stream_writer(file, closefd=False) as stream,
    ):

        def write(line: bytes) -> None:
            stream.write(line + b"\n")

        yield write


def write_text(path: Path, lines: Iterable[bytes]) -> None:
    """Write lines, given without their ends, to a compressed file, atomically."""
    with text_writer(path) as write:
        for line in lines:
            write(line)


def text_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines that `write_text` wrote, with their ends. Raises as `open_stream` does."""
    with open_stream(path) as stream:
        yield from stream.plain


def read_text_shard(path: Path) -> Iterator[list[str]]:
    """Yield the documents of a text shard, each as its sentences; raises as `read_documents`."""
    for _, sentences in read_documents(path):
        yield sentences


def read_documents(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the documents of a text shard, each as its source and its sentences.

    Raises `ArtifactError` where a line is no document, and as `open_stream` does: `InputError`
    where the file is cut off or damaged, `RunError` where the system cannot read it.
    """
    for number, line in enumerate(text_lines(path), start=1):
        try:
            document = json.loads(line)
            sentences: list[str] = document["sentences"]
            source = str(document.get("source") or "")
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"{path}, line {number} is no document of a corpus: {error!r}",
                hint="the corpus is damaged; build it anew",
            ) from None
        yield source, sentences


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write a NumPy file, atomically."""
    with atomic_file(path) as scratch, scratch.open("wb") as file:
        np.save(file, array)


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


def check_files(corpus: Path, manifest: Mapping[str, Any], names: Collection[str]) -> None:
    """Hold files of a corpus against the manifest's hashes and counts.

    Raises `ArtifactError` naming a file that is missing or damaged, or a split whose token shards,
    where all of them are among `names`, hold other numbers than the manifest says.
    """
    for name in names:
        path = corpus / name
        if not path.is_file() or sha256(path) != manifest["files"].get(name):
            raise ArtifactError(
                f"{path} is missing or damaged: {MANIFEST} has another SHA-256 for it",
                hint="copy the corpus again from its source, or build it anew",
            )

    for split, counts in manifest["splits"].items():
        if {f"{name}.{part}.npy" for name in counts["shards"] for part in PARTS} <= set(names):
            _check_counts(corpus, split, counts)


def _check_counts(corpus: Path, split: str, counts: Mapping[str, Any]) -> None:
    found = {
        part: sum(_length(corpus / f"{name}.{part}.npy") for name in counts["shards"])
        for part in PARTS
    }
    for part in ("sentences", "documents"):  # offsets: one more than there are
        found[part] -= len(counts["shards"])
    said = {part: counts.get(part, found[part]) for part in PARTS}
    if found != said:
        raise ArtifactError(
            f"{corpus / MANIFEST} counts {said} in {split}, its files hold {found}",
            hint="the file is damaged; build the corpus anew",
        )


def _length(array: Path) -> int:
    """Return how many entries a NumPy file has; 0 for an odd one, which its reader refuses."""
    try:
        return int(np.load(array, mmap_mode="r", allow_pickle=False).size)
    except (OSError, ValueError, EOFError):
        return 0


def _is_split(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("shards"), list):
        return False
    return all(isinstance(name, str) for name in value["shards"])


def _maps_to(kind: type, value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(each, kind) for each in value.values())
