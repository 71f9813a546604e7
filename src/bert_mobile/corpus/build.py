"""Build a corpus: two passes over bounded pieces of the sources, written aside and then renamed.

Pass 1 cleans, splits and fingerprints in workers; the parent drops duplicates, chooses the split
and writes text shards. Pass 2 encodes each text shard into a token shard. Neither time, place nor
the number of workers reaches the folder: the speed is in the `BuildReport`, beside the manifest.
"""

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_mobile.corpus import duplicates, sentences, shards
from bert_mobile.corpus import prepare as preparation
from bert_mobile.corpus.duplicates import DuplicateIndex
from bert_mobile.corpus.libraries import shaping_versions
from bert_mobile.corpus.parallel import ordered_map
from bert_mobile.corpus.pieces import (
    NO_PIECES,
    NO_SENTENCES,
    Encoded,
    Encoder,
    Task,
    encode_shard,
)
from bert_mobile.corpus.prepare import Batch, Prepared, prepare, sentences_of
from bert_mobile.corpus.shards import SPLITS, TextShards, read_manifest
from bert_mobile.corpus.sources import (
    FORMAT,
    LONGEST_RECORD,
    MANIFEST,
    Reading,
    Record,
    SourceFile,
    find_files,
    is_corpus,
    read_records,
)
from bert_mobile.corpus.wikipedia import LONGEST_PAGE
from bert_mobile.errors import InputError
from bert_mobile.files import atomic_folder, refuse_foreign_folder, sha256, write_json
from bert_mobile.progress import progress
from bert_mobile.tokenizer import load_tokenizer

CHUNK_CHARACTERS = 1_000_000
"""Text that a worker is given at once, or one document where that is longer."""

INDEX = "duplicates.sqlite"


@dataclass(frozen=True)
class BuildReport:
    """The manifest that was written, and what it cost."""

    manifest: dict[str, Any]
    """Equal to `manifest.json`."""
    documents: int
    """Documents read, dropped ones too."""
    megabytes: float
    """Source text read after decompression, in 10**6 bytes."""
    seconds: float
    """Wall-clock time of both passes."""
    peak_megabytes: float
    """Most memory at once, workers included (an upper bound), in 10**6 bytes; 0 if unknown."""

    @property
    def documents_per_second(self) -> float:
        """Documents read in a second."""
        return self.documents / self.seconds

    @property
    def megabytes_per_second(self) -> float:
        """Source text read in a second."""
        return self.megabytes / self.seconds


def build_corpus(
    sources: Sequence[Path],
    out: Path,
    *,
    tokenizer: Path,
    workers: int = 1,
    held_out: float = 0.01,
    text_field: str = "text",
    shard_bytes: int = shards.SHARD_BYTES,
) -> BuildReport:
    """Build the corpus folder `out` from files and folders (kinds: `bert_mobile.corpus.sources`).

    `tokenizer` is a tokenizer.json or a folder that holds one; `held_out` the share of documents
    set apart, chosen by a hash of their text, so that adding sources moves none. With more than one
    worker, a script must call this under `if __name__ == "__main__":`.

    Raises `InputError` for sources, settings or a tokenizer that are not what was expected,
    `ArtifactError` where `out` is not ours to replace, `RunError` for a full disk or a killed
    worker. `out` is then as it was before.
    """
    started = time.perf_counter()
    settings = _Settings(workers, held_out, text_field, shard_bytes)
    refuse_foreign_folder(out, is_corpus, inputs=[*sources, tokenizer])
    libraries = shaping_versions()
    Encoder(tokenizer)  # refuses a bad one before the long work
    reading = Reading()
    files = find_files(sources, reading.dropped)
    with atomic_folder(out) as folder:
        _copy_tokenizer(tokenizer, folder)
        names, totals = _write_text(files, folder, reading, settings)
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "version": shards.VERSION,
            "sources": [{"path": f.name, "bytes": f.path.stat().st_size} for f in files],
            "dropped": dict(reading.dropped + totals.dropped),
            "repaired": dict(sorted((+totals.repaired).items())),
            "settings": settings.recorded(),
            "libraries": libraries,
        }
        _write_tokens(folder, names, manifest, workers)
    return BuildReport(
        manifest=manifest,
        documents=totals.records,
        megabytes=reading.plain_bytes / 1e6,
        seconds=time.perf_counter() - started,
        peak_megabytes=_peak_megabytes(workers),
    )


def tokenize_corpus(corpus: Path, tokenizer: Path, *, workers: int = 1) -> dict[str, Any]:
    """Encode the text shards of a corpus anew with another tokenizer; return the new manifest.

    The folder is replaced in one moment; text shards are linked, not copied, where the file system
    can. Raises as `build_corpus` does.
    """
    _refuse_workers(workers)
    manifest = read_manifest(corpus)
    shaping_versions()
    Encoder(tokenizer)
    names = {split: list(manifest["splits"][split]["shards"]) for split in SPLITS}
    for reason in (NO_PIECES, NO_SENTENCES):
        manifest["dropped"].pop(reason, None)
    with atomic_folder(corpus) as folder:
        _copy_tokenizer(tokenizer, folder)
        for name in (name for split in SPLITS for name in names[split]):
            _link(corpus / f"{name}.jsonl.zst", folder / f"{name}.jsonl.zst")
        _write_tokens(folder, names, manifest, workers)
    return manifest


def read_sentences(corpus_or_source: Path) -> Iterator[list[str]]:
    """Yield documents as lists of sentences, from the train split of a corpus or any raw source.

    Raw sources are cleaned and split as `build_corpus` does, but not deduplicated. Raises
    `InputError` or `ArtifactError` where the files are not what was expected.
    """
    if is_corpus(corpus_or_source):
        for name in read_manifest(corpus_or_source)["splits"]["train"]["shards"]:
            yield from shards.read_text_shard(corpus_or_source / f"{name}.jsonl.zst")
        return
    reading = Reading()
    files = find_files([corpus_or_source], reading.dropped)
    for record in read_records(files, reading, "text"):
        found = sentences_of(record, reading.dropped, Counter())
        if found:
            yield found


@dataclass(frozen=True)
class _Settings:
    """What `build_corpus` was asked for."""

    workers: int
    held_out: float
    text_field: str
    shard_bytes: int

    def __post_init__(self) -> None:
        _refuse_workers(self.workers)
        if not 0 <= self.held_out < 1:
            raise InputError(f"held_out is {self.held_out}, expected 0 to below 1", hint="try 0.01")
        if self.shard_bytes < 1:
            raise InputError(
                f"shard_bytes is {self.shard_bytes}, expected 1 or more", hint="leave it out"
            )

    def recorded(self) -> dict[str, Any]:
        """Return all that shapes the corpus, so not the workers; for the manifest."""
        return {
            "held_out": self.held_out,
            "text_field": self.text_field,
            "shard_bytes": self.shard_bytes,
            "fewest_sentences": preparation.FEWEST_SENTENCES,
            "fewest_words": preparation.FEWEST_WORDS,
            "fewest_letters": preparation.FEWEST_LETTERS,
            "longest_record": LONGEST_RECORD,
            "longest_page": LONGEST_PAGE,
            "longest_sentence": sentences.LONGEST_SENTENCE,
            "near_duplicate": duplicates.SAME,
            "hashes": duplicates.HASHES,
            "bands": duplicates.BANDS,
            "shingle_words": duplicates.SHINGLE_WORDS,
        }


def _refuse_workers(workers: int) -> None:
    if workers < 1:
        raise InputError(f"workers is {workers}, expected 1 or more", hint="try --workers 1")


def _write_text(
    files: Sequence[SourceFile], folder: Path, reading: Reading, settings: _Settings
) -> tuple[dict[str, list[str]], Batch]:
    """Pass 1. Returns the shards' names by split, and the totals of all batches."""
    totals = Batch(records=0)
    megabytes = sum(file.path.stat().st_size for file in files) / 1e6
    chunks = _chunks(read_records(files, reading, settings.text_field))
    with ExitStack() as stack:
        index = stack.enter_context(DuplicateIndex(folder / INDEX))
        writers = {
            split: stack.enter_context(TextShards(folder, split, settings.shard_bytes))
            for split in SPLITS
        }
        bar = stack.enter_context(progress("clean and split", megabytes, "MB"))
        batches = stack.enter_context(closing(ordered_map(prepare, chunks, settings.workers)))
        shown = 0
        for batch in batches:
            for document in batch.documents:
                reason = index.add(document.fingerprint)
                if reason:
                    totals.dropped[reason] += 1
                else:
                    writers[_split(document, settings.held_out)].write(document.line)
            totals.records += batch.records
            totals.dropped += batch.dropped
            totals.repaired += batch.repaired
            bar.advance((reading.stored_bytes - shown) / 1e6)
            shown = reading.stored_bytes
    (folder / INDEX).unlink()
    names = {split: writer.names for split, writer in writers.items()}
    if not names["train"]:
        _refuse_empty(totals, reading)
    return names, totals


def _refuse_empty(totals: Batch, reading: Reading) -> None:
    drops = ", ".join(f"{c} {r}" for r, c in (totals.dropped + reading.dropped).items())
    raise InputError(
        f"no document is left of {totals.records} read (dropped: {drops or 'none'})",
        hint="give sources with English prose of two sentences or more a document",
    )


def _chunks(records: Iterable[Record]) -> Iterator[list[Record]]:
    chunk: list[Record] = []
    size = 0
    for record in records:
        chunk.append(record)
        size += len(record.text)
        if size >= CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _split(document: Prepared, held_out: float) -> str:
    """Choose by the text alone: the hash as a number from 0 to 1."""
    share = (document.fingerprint.text + 2**63) / 2**64
    return "held_out" if share < held_out else "train"


def _write_tokens(
    folder: Path, names: dict[str, list[str]], manifest: dict[str, Any], workers: int
) -> None:
    """Pass 2. Writes the token shards of all splits, completes `manifest` and writes it."""
    tokenizer = folder / "tokenizer.json"
    digest = sha256(tokenizer)
    tasks = [Task(folder, name, tokenizer, digest) for split in SPLITS for name in names[split]]
    megabytes = sum((folder / f"{t.name}.jsonl.zst").stat().st_size for t in tasks) / 1e6
    encoded: dict[str, Encoded] = {}
    with (
        progress("encode", megabytes, "MB") as bar,
        closing(ordered_map(encode_shard, tasks, workers)) as results,
    ):
        for result in results:
            encoded[result.name] = result
            bar.advance(result.text_bytes / 1e6)
    manifest["splits"] = {s: _totals([encoded[name] for name in names[s]]) for s in SPLITS}
    dropped = sum((result.dropped for result in encoded.values()), Counter(manifest["dropped"]))
    manifest["dropped"] = dict(sorted(dropped.items()))
    manifest["tokenizer"] = {
        "sha256": digest,
        "vocabulary_size": Encoder(tokenizer).vocabulary_size,
    }
    manifest["files"] = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    write_json(folder / MANIFEST, manifest)


def _totals(encoded: list[Encoded]) -> dict[str, Any]:
    return {
        "documents": sum(shard.documents for shard in encoded),
        "sentences": sum(shard.sentences for shard in encoded),
        "tokens": sum(shard.tokens for shard in encoded),
        "shards": [shard.name for shard in encoded],
    }


def _copy_tokenizer(source: Path, folder: Path) -> None:
    path = source / "tokenizer.json" if source.is_dir() else source
    if path.is_file():
        shutil.copyfile(path, folder / "tokenizer.json")
    else:  # of vocab.txt alone
        load_tokenizer(source).save(str(folder / "tokenizer.json"))


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another kind of file system
        shutil.copyfile(source, target)


def _peak_megabytes(workers: int) -> float:
    if sys.platform == "win32":
        return 0.0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    own = _linux_peak() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    largest_child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if workers > 1 else 0
    return (own + workers * largest_child) * unit / 1e6


def _linux_peak() -> int:
    """Return this program's own peak in KiB: `ru_maxrss` there counts the one that started it."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:  # another system
        return 0
    return next((int(line.split()[1]) for line in status.split("\n") if "VmHWM" in line), 0)
