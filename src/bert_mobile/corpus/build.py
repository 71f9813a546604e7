"""Build a corpus: four stages of tasks, in a working folder that a resumed attempt goes on with.

The stages are in `bert_mobile.corpus.stages`, what runs their tasks in `bert_mobile.corpus.engine`,
and how the sources are cut into tasks in `bert_mobile.corpus.plan`. Neither time, place, engine nor
the number of workers reaches the folder: the speed is in the `BuildReport`, beside the manifest.
"""

import os
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_mobile import __version__
from bert_mobile.corpus import duplicates, plan, prepare, sentences, shards
from bert_mobile.corpus.libraries import library, shaping_versions
from bert_mobile.corpus.pieces import NO_PIECES, NO_SENTENCES, Encoded, Encoder
from bert_mobile.corpus.pipeline import Pipeline
from bert_mobile.corpus.records import LONGEST_RECORD, Piece, Reading, read_records
from bert_mobile.corpus.remote import is_address, local_path
from bert_mobile.corpus.shards import SPLITS, check_files, read_manifest
from bert_mobile.corpus.sources import FORMAT, MANIFEST, SourceFile, find_files, is_corpus
from bert_mobile.corpus.wikipedia import LONGEST_PAGE
from bert_mobile.corpus.workspace import Settings, Shard, Workspace
from bert_mobile.errors import ArtifactError, InputError, RunError
from bert_mobile.files import (
    explained,
    held_aside,
    part_of,
    place_folder,
    refuse_foreign_folder,
    write_json,
)
from bert_mobile.files import sha256 as hash_of
from bert_mobile.machine import own_peak_megabytes
from bert_mobile.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from bert_mobile.corpus.engine import Engine

AGAIN = "run the same command again with --resume auto: what is finished is kept"


@dataclass(frozen=True)
class BuildReport:
    """The manifest that was written, and what it cost."""

    manifest: dict[str, Any]
    """Equal to `manifest.json`."""
    documents: int
    """Documents read, dropped ones too; without those that an earlier attempt read."""
    megabytes: float
    """Source text read after decompression, in 10**6 bytes; likewise."""
    seconds: float
    """Wall-clock time of all stages."""
    peak_megabytes: float
    """Most memory at once, workers included (an upper bound), in 10**6 bytes; 0 if unknown."""
    tasks_kept: int
    """Tasks that an earlier attempt had finished."""

    @property
    def documents_per_second(self) -> float:
        """Documents read in a second."""
        return self.documents / self.seconds

    @property
    def megabytes_per_second(self) -> float:
        """Source text read in a second."""
        return self.megabytes / self.seconds


def build_corpus(
    sources: Sequence[Path | str],
    out: Path,
    *,
    tokenizer: Path,
    workers: int = 1,
    held_out: float = 0.01,
    text_field: str = "text",
    shard_bytes: int = shards.SHARD_BYTES,
    resume: bool = False,
    engine: "Engine | None" = None,
) -> BuildReport:
    """Build the corpus folder `out` from files and folders (kinds: `bert_mobile.corpus.sources`).

    `tokenizer` is a tokenizer.json or a folder that holds one; `held_out` the share of documents
    set apart, chosen by a hash of their text, so that adding sources moves none. `engine` runs the
    tasks elsewhere than on this machine. With more than one worker, a script must call this under
    `if __name__ == "__main__":`.

    Raises `InputError` for sources, settings or a tokenizer that are not what was expected,
    `ArtifactError` where `out` is not ours to replace, `RunError` for a full disk or a killed
    worker. `out` is then as it was before; the tasks that were finished stay in `.NAME.part`
    beside it, and `resume` goes on from there. Where a source changed meanwhile or nothing is left
    of the sources, nothing stays.
    """
    started = time.perf_counter()
    _refuse_workers(workers)
    settings = Settings(held_out, text_field, shard_bytes)
    paths = [path for path in map(local_path, sources) if path]
    refuse_foreign_folder(out, is_corpus, inputs=[*paths, tokenizer])
    libraries = shaping_versions()
    Encoder(tokenizer)  # refuses a bad one before the long work
    dropped: Counter[str] = Counter()
    files = find_files(sources, dropped)
    manifest = _manifest(files, settings, libraries)
    vocabulary = _tokenizer_bytes(tokenizer)
    identity = _identity(files, manifest, vocabulary)
    with _working_folder(out, identity, vocabulary, resume=resume) as work:
        work.write_settings(settings)
        with engine or _local(workers) as chosen:
            pipeline = Pipeline(work, chosen, dropped)
            pipeline.from_sources(files, partial(_refuse_changed, sources, files, work))
        manifest["repaired"] = dict(sorted((+pipeline.totals.repaired).items()))
        _complete(work, manifest, pipeline.totals.dropped)
        place_folder(work.corpus, out)
        shutil.rmtree(work.folder)
    own = own_peak_megabytes()
    others = min(workers, pipeline.most_tasks) * pipeline.totals.peak_megabytes
    has_others = engine is not None or min(workers, pipeline.most_tasks) > 1
    return BuildReport(
        manifest=manifest,
        documents=pipeline.fresh.records,
        megabytes=pipeline.fresh.plain_bytes / 1e6,
        seconds=time.perf_counter() - started,
        peak_megabytes=own + others if has_others else own,
        tasks_kept=pipeline.tasks_kept,
    )


def tokenize_corpus(corpus: Path, tokenizer: Path, *, workers: int = 1) -> dict[str, Any]:
    """Encode the text shards of a corpus anew with another tokenizer; return the new manifest.

    The folder is replaced in one moment; text shards are linked, not copied, where the file system
    can. Raises as `build_corpus` does, and `ArtifactError` where a text shard is damaged.
    """
    _refuse_workers(workers)
    manifest = read_manifest(corpus)
    shaping_versions()
    Encoder(tokenizer)
    found = [
        Shard(name, split, 0, 0, 0, (corpus / f"{name}.jsonl.zst").stat().st_size)
        for split in SPLITS
        for name in manifest["splits"][split]["shards"]
    ]
    texts = [f"{shard.name}.jsonl.zst" for shard in found]
    check_files(corpus, manifest, texts)
    for reason in (NO_PIECES, NO_SENTENCES):
        manifest["dropped"].pop(reason, None)
    with held_aside(corpus), explained(corpus):
        work = _replaced(corpus)
        try:
            (work.corpus / "tokenizer.json").write_bytes(_tokenizer_bytes(tokenizer))
            for text in texts:
                _link(corpus / text, work.corpus / text)
            work.write_shards(found)
            with _local(workers) as engine:
                pipeline = Pipeline(work, engine, Counter(manifest["dropped"]))
                pipeline.from_texts()
            _complete(work, manifest, pipeline.totals.dropped)
            place_folder(work.corpus, corpus)
        finally:
            shutil.rmtree(work.folder, ignore_errors=True)
    return manifest


def _replaced(corpus: Path) -> Workspace:
    """Return a new working folder of a corpus; an unfinished build of its name is not removed."""
    if Workspace.is_unfinished(corpus):
        raise InputError(
            f"{part_of(corpus)} holds an unfinished build of {corpus}",
            hint=f"finish it (corpus build … --resume auto) or delete it: {part_of(corpus)}",
        )
    return Workspace.begin(corpus)


def read_sentences(
    corpus_or_source: Path | str, *, text_field: str = "text", dropped: Counter[str] | None = None
) -> Iterator[list[str]]:
    """Yield documents as lists of sentences, from the train split of a corpus or any raw source.

    Raw sources are cleaned and split as `build_corpus` does, but not deduplicated; `dropped` counts
    what is left out. Raises `InputError` or `ArtifactError` where the files are not what was
    expected.
    """
    if not is_address(corpus_or_source) and is_corpus(folder := Path(corpus_or_source)):
        for name in read_manifest(folder)["splits"]["train"]["shards"]:
            yield from shards.read_text_shard(folder / f"{name}.jsonl.zst")
        return
    reading = Reading(dropped=Counter() if dropped is None else dropped)
    files = find_files([corpus_or_source], reading.dropped)
    for record in read_records(map(Piece, files), reading, text_field):
        found = prepare.sentences_of(record, reading.dropped, Counter())
        if found:
            yield found


def _manifest(
    files: Sequence[SourceFile], settings: Settings, libraries: dict[str, str]
) -> dict[str, Any]:
    """Return as much of a manifest as is known before the work."""
    return {
        "format": FORMAT,
        "version": shards.VERSION,
        "sources": [{"path": file.name, "bytes": file.bytes} for file in files],
        "dropped": {},
        "repaired": {},
        "settings": _recorded(settings),
        "libraries": libraries,
    }


def _recorded(settings: Settings) -> dict[str, Any]:
    """Return all that shapes the corpus, so not the workers; for the manifest."""
    return {
        **asdict(settings),
        "fewest_sentences": prepare.FEWEST_SENTENCES,
        "fewest_words": prepare.FEWEST_WORDS,
        "fewest_letters": prepare.FEWEST_LETTERS,
        "longest_record": LONGEST_RECORD,
        "longest_page": LONGEST_PAGE,
        "longest_sentence": sentences.LONGEST_SENTENCE,
        "near_duplicate": duplicates.SAME,
        "hashes": duplicates.HASHES,
        "bands": duplicates.BANDS,
        "shingle_words": duplicates.SHINGLE_WORDS,
    }


def _identity(
    files: Sequence[SourceFile], manifest: dict[str, Any], tokenizer: bytes
) -> dict[str, Any]:
    """Return what two attempts must have in common for one to go on with the other's work."""
    return {
        "sources": [asdict(file) for file in files],
        "settings": manifest["settings"],
        "tokenizer": sha256(tokenizer).hexdigest(),
        "libraries": manifest["libraries"],
        "version of bert-mobile": [__version__, plan.TASK_BYTES],
    }


@contextmanager
def _working_folder(
    out: Path, identity: dict[str, Any], tokenizer: bytes, *, resume: bool
) -> Iterator[Workspace]:
    """Yield the folder of an unfinished build to go on with, or a new one.

    It stays after a failure and an interrupt, which a resume can go on from, but not where input
    was refused before any task was finished. Nobody else can have it meanwhile.
    """
    with held_aside(out):
        found = Workspace.unfinished(out, identity) if resume else None
        if not found and Workspace.is_unfinished(out):
            warnings.warn(f"the unfinished build in {part_of(out)} is discarded", stacklevel=4)
        try:
            with explained(out):
                work = found or Workspace.begin(out)
                if not found:
                    (work.corpus / "tokenizer.json").write_bytes(tokenizer)
                    work.identify(identity)
                yield work
        except RunError as error:
            again = f"; {AGAIN}" if part_of(out).is_dir() else ""
            raise RunError(error.message, hint=f"{error.hint}{again}") from error
        except KeyboardInterrupt:
            raise KeyboardInterrupt(AGAIN) from None
        except (InputError, ArtifactError):
            if not Workspace(part_of(out)).has_finished_tasks():
                shutil.rmtree(part_of(out), ignore_errors=True)
            raise


def _refuse_changed(
    sources: Sequence[Path | str], files: Sequence[SourceFile], work: Workspace
) -> None:
    """Raise `RunError` where a source is not what it was when the build began.

    What was read of it may be half of the old and half of the new; none of it is kept.
    """
    now = {file.path: file for file in find_files(sources, Counter())}
    for file in files:
        if now.get(file.path) != file:
            work.discard()
            raise RunError(
                f"{file.path} changed while it was read",
                hint="build again when nothing writes to the sources any more",
            )


def _local(workers: int) -> "Engine":
    library("datatrove")
    from bert_mobile.corpus.engine import LocalEngine

    return LocalEngine(workers)


def _refuse_workers(workers: int) -> None:
    if workers < 1:
        raise InputError(f"workers is {workers}, expected 1 or more", hint="try --workers 1")


def _complete(work: Workspace, manifest: dict[str, Any], dropped: Counter[str]) -> None:
    """Write the manifest of a corpus whose shards are all there."""
    encoded = [(shard.split, work.encoded(i)) for i, shard in enumerate(work.shards())]
    manifest["splits"] = {s: _totals([shard for of, shard in encoded if of == s]) for s in SPLITS}
    manifest["dropped"] = dict(sorted((+dropped).items()))
    tokenizer = work.corpus / "tokenizer.json"
    digest = hash_of(tokenizer)
    manifest["tokenizer"] = {
        "sha256": digest,
        "vocabulary_size": Encoder(tokenizer).vocabulary_size,
    }
    files = {name: value for _, shard in encoded for name, value in shard.files.items()}
    manifest["files"] = dict(sorted({**files, tokenizer.name: digest}.items()))
    write_json(work.corpus / MANIFEST, manifest)


def _totals(encoded: list[Encoded]) -> dict[str, Any]:
    return {
        "documents": sum(shard.documents for shard in encoded),
        "sentences": sum(shard.sentences for shard in encoded),
        "tokens": sum(shard.tokens for shard in encoded),
        "shards": [shard.name for shard in encoded],
    }


def _tokenizer_bytes(source: Path) -> bytes:
    path = source / "tokenizer.json" if source.is_dir() else source
    if path.is_file():
        return path.read_bytes()
    return load_tokenizer(source).to_str(pretty=True).encode()  # of vocab.txt alone


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another kind of file system
        shutil.copyfile(source, target)
