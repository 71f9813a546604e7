"""The stages of a build as plain functions of (working folder, number of the task).

1. `spool_file`: the records of a file that can be read from its beginning only, in parts;
2. `prepare_pieces`: read, clean, split into sentences, fingerprint: where nearly all time goes;
3. `find_duplicates`: one task walks the fingerprints in the order of the sources, drops duplicates
   and cuts what is left into shards;
4. `write_shard`: one shard's text, compressed, and its pieces.

A task reads what earlier stages wrote and writes files of its own, so it can run anywhere that sees
the folder, in any order and again after a crash, with the same bytes as result.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain, compress, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bert_mobile.corpus.duplicates import (
    MARKS,
    DuplicateIndex,
    Fingerprint,
    fingerprints,
    packed,
)
from bert_mobile.corpus.pieces import encode_shard
from bert_mobile.corpus.prepare import prepare
from bert_mobile.corpus.records import Reading, Record, read_records, spool
from bert_mobile.corpus.shards import SPLITS, text_lines, text_writer, write_array, write_text
from bert_mobile.corpus.workspace import Counts, Shard, Workspace

SPOOL_CHARACTERS = 8_000_000
"""Text of one part of a spooled file, or one document where that is longer."""


def spool_file(folder: Path, task: int) -> None:
    """Write the records of the only piece of a task in parts that tasks of their own can read."""
    work = Workspace(folder)
    reading = Reading()
    records = read_records(work.pieces("spool", task), reading, work.settings().text_field)
    part = 0
    while first := next(records, None):
        spool(work.spool_part(task, part), _share(chain([first], records)))
        part += 1
    work.write_counts("spool", task, Counts(0, reading.plain_bytes, reading.dropped))


def _share(records: Iterable[Record]) -> Iterator[Record]:
    size = 0
    for record in records:
        yield record
        size += len(record.text)
        if size >= SPOOL_CHARACTERS:
            return


def prepare_pieces(folder: Path, task: int) -> None:
    """Write the documents of a task, split by split, and their fingerprints."""
    work = Workspace(folder)
    settings = work.settings()
    reading = Reading()
    counts = Counts()
    marks = bytearray()
    with ExitStack() as stack:
        write = {s: stack.enter_context(text_writer(work.text(task, s))) for s in SPLITS}
        for record in read_records(work.pieces("prepare", task), reading, settings.text_field):
            counts.records += 1
            document = prepare(record, counts.dropped, counts.repaired)
            if document:
                held_out = _is_held_out(document.fingerprint, settings.held_out)
                marks += packed(document.fingerprint, len(document.line), held_out=held_out)
                write[SPLITS[held_out]](document.line)
    write_array(work.marks(task), np.frombuffer(marks, MARKS))
    counts.add(Counts(0, reading.plain_bytes, reading.dropped))
    work.write_counts("prepare", task, counts)


def _is_held_out(fingerprint: Fingerprint, held_out: float) -> bool:
    """Choose by the text alone: the hash as a number from 0 to 1."""
    return (fingerprint.text + 2**63) / 2**64 < held_out


def find_duplicates(folder: Path, task: int) -> None:
    """Say for every document whether it is kept, and in which shard."""
    work = Workspace(folder)
    counts = Counts()
    plans = {split: _ShardPlan(split, work.settings().shard_bytes) for split in SPLITS}
    work.index.unlink(missing_ok=True)
    with DuplicateIndex(work.index) as index:
        for prepared in range(work.prepared_tasks()):
            marks: NDArray[np.void] = np.load(work.marks(prepared))
            reasons = [index.add(mark) for mark in fingerprints(marks)]
            counts.dropped.update(reason for reason in reasons if reason)
            kept = np.array([reason is None for reason in reasons], bool)
            write_array(work.kept(prepared), kept)
            for split, plan in plans.items():
                chosen = marks["line_bytes"][kept & (marks["held_out"] == SPLITS.index(split))]
                plan.add(prepared, chosen.tolist())
    work.index.unlink()
    work.write_shards([shard for plan in plans.values() for shard in plan.finished()])
    work.write_counts("deduplicate", task, counts)


class _ShardPlan:
    """Cuts the kept documents of one split into shards of `shard_bytes` and a little more."""

    def __init__(self, split: str, shard_bytes: int) -> None:
        self._split = split
        self._limit = shard_bytes
        self._size = shard_bytes
        self._begun: list[tuple[int, int]] = []  # task and documents skipped, of each shard
        self._documents: list[int] = []
        self._bytes: list[int] = []

    def add(self, task: int, line_bytes: list[int]) -> None:
        for skip, size in enumerate(line_bytes):
            if self._size >= self._limit:
                self._begun.append((task, skip))
                self._documents.append(0)
                self._bytes.append(0)
                self._size = 0
            self._documents[-1] += 1
            self._size += size + 1  # the line's end
            self._bytes[-1] = self._size

    def finished(self) -> Iterator[Shard]:
        for number, (task, skip) in enumerate(self._begun):
            name = f"{self._split}-{number:05d}"
            size = self._bytes[number]
            yield Shard(name, self._split, task, skip, self._documents[number], size)


def write_shard(folder: Path, task: int) -> None:
    """Write one shard of the corpus: its text and its pieces."""
    work = Workspace(folder)
    shard = work.shards()[task]
    lines = islice(_kept_lines(work, shard), shard.skip, shard.skip + shard.documents)
    write_text(work.corpus / f"{shard.name}.jsonl.zst", lines)
    encode(folder, task)


def _kept_lines(work: Workspace, shard: Shard) -> Iterator[bytes]:
    """Yield the kept lines of the shard's split, from its first task on."""
    for task in range(shard.task, work.prepared_tasks()):
        of_split = np.load(work.marks(task))["held_out"] == SPLITS.index(shard.split)
        kept = np.load(work.kept(task))[of_split]
        lines = text_lines(work.text(task, shard.split))
        yield from (line.rstrip(b"\n") for line in compress(lines, kept.tolist()))


def encode(folder: Path, task: int) -> None:
    """Write the pieces of a shard whose text is there."""
    work = Workspace(folder)
    shard = work.shards()[task]
    encoded = encode_shard(work.corpus, shard.name)
    work.write_encoded(task, encoded)
    work.write_counts("encode", task, Counts(dropped=Counter(encoded.dropped)))
