"""Cut the sources into tasks: by their sizes alone, so that no number of workers changes a task.

A file that is read from its beginning only (compressed, a dump, a book) and larger than a task is
spooled first: one task reads it and leaves its records in parts, which many tasks then share.
"""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from bert_mobile.corpus.records import SPOOLED, Piece, open_parquet
from bert_mobile.corpus.sources import LINES, SourceFile
from bert_mobile.corpus.streams import open_stream

TASK_BYTES = 8_000_000
"""Text of one task: a few seconds of work, which is all that a killed worker loses."""

EXPANSION = 3
"""About how often smaller a compressed text is."""

LARGEST_ROW_GROUP = 32_000_000
"""Bytes; a Parquet file with a larger one is spooled, as few workers could share it."""


def cut(file: SourceFile) -> list[Piece] | None:
    """Return the pieces of a file that tasks may read, or None where it must be spooled first.

    Raises `InputError` for a damaged Parquet file.
    """
    if file.kind == ".parquet":
        return _row_groups(file)
    if file.kind in LINES and not file.is_compressed:
        ends = [*range(TASK_BYTES, file.bytes, TASK_BYTES), file.bytes]
        return [Piece(file, start, end, end - start) for start, end in pairwise([0, *ends])]
    size = file.bytes * (EXPANSION if file.is_compressed else 1)
    return None if size > TASK_BYTES else [Piece(file, bytes=size)]


def _row_groups(file: SourceFile) -> list[Piece] | None:
    with open_stream(file.path) as stream:
        metadata = open_parquet(file, stream).metadata
        sizes = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
    if max(sizes, default=0) > LARGEST_ROW_GROUP:
        return None
    return [Piece(file, i, i + 1, size) for i, size in enumerate(sizes)]


def parts(file: SourceFile, paths: Iterable[Path]) -> list[Piece]:
    """Return what a spooled file was turned into."""
    found = []
    for path in paths:
        size = path.stat().st_size
        part = SourceFile(str(path), file.name, SPOOLED, size, "")
        found.append(Piece(part, bytes=size * EXPANSION))
    return found


def grouped(pieces: Iterable[Piece]) -> list[list[Piece]]:
    """Return the pieces of each task: consecutive ones, until they are `TASK_BYTES` or more."""
    groups: list[list[Piece]] = []
    size = TASK_BYTES
    for piece in pieces:
        if size >= TASK_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(piece)
        size += piece.bytes
    return groups
