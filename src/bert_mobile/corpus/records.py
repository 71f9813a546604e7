"""Read source files, or pieces of them, as a stream of records.

A record is one document as it was found. The kinds of files are described in
`bert_mobile.corpus.sources`. A plain JSON Lines file is read from any byte on (a line belongs to
the piece in which it begins) and a Parquet file from any row group on, so that many workers can
share one large file; every other file is read from its beginning to its end.
"""

import codecs
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from bert_mobile.corpus.libraries import library
from bert_mobile.corpus.remote import data_set
from bert_mobile.corpus.shards import text_lines, write_text
from bert_mobile.corpus.sources import LINES, SourceFile
from bert_mobile.corpus.streams import Stream, open_stream
from bert_mobile.errors import InputError

LONGEST_RECORD = 16 * 2**20
"""Bytes of one JSON line, characters of one document from a text file: bounds what is in memory."""

HARD_WRAP = 100
"""Lines of a paragraph that are all at most this long were broken by hand, not by meaning."""

ROWS_AT_ONCE = 64
"""Parquet rows in memory at a time."""

SPOOLED = "records"
"""Kind of a file that `spool` wrote; its bytes were counted when the records were read first."""

TOO_LONG = "record: too long"

_DAMAGE = (ValueError, NotImplementedError)
"""What pyarrow's ArrowInvalid and ArrowNotImplementedError are."""

_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")


class Record(NamedTuple):
    """One document as it was found, not cleaned yet."""

    source: str
    title: str
    text: str
    wikitext: bool = False
    """Whether `text` is Wikipedia's markup and not plain paragraphs."""


@dataclass(frozen=True)
class Piece:
    """A whole file, or the part of one that a worker reads."""

    file: SourceFile
    start: int = 0
    """Byte of a plain JSON Lines file, row group of a Parquet file."""
    end: int | None = None
    """Where the next piece begins; None for the end of the file."""
    bytes: int = 0
    """About how much text it is: a measure of the work."""


@dataclass
class Reading:
    """What the reading took and left out, for speed and the manifest."""

    plain_bytes: int = 0
    """Bytes read, after decompression; of a Parquet file, those of the columns that we use."""
    dropped: Counter[str] = field(default_factory=Counter)
    """What the readers left out, by reason."""


def read_records(pieces: Iterable[Piece], reading: Reading, text_field: str) -> Iterator[Record]:
    """Yield the records of all `pieces` in order and keep `reading` up to date.

    Raises `InputError` naming the file, and the line where there is one, at the first damage.
    """
    for piece in pieces:
        if piece.file.kind == SPOOLED:
            yield from (Record(*json.loads(line)) for line in text_lines(Path(piece.file.path)))
            continue
        with open_stream(piece.file.path) as stream:
            if piece.file.kind == ".parquet":
                yield from _read_rows(piece, stream, reading, text_field)
                continue
            begin = _seek_line(stream, piece.start)
            yield from _read(piece, stream, reading, text_field)
            reading.plain_bytes += stream.plain.tell() - begin


def spool(path: Path, records: Iterable[Record]) -> None:
    """Write records as they are, one JSON array a line: a file of the kind `SPOOLED`."""
    write_text(path, (json.dumps(record).encode() for record in records))


def _read(piece: Piece, stream: Stream, reading: Reading, text_field: str) -> Iterator[Record]:
    if piece.file.kind in LINES:
        return _read_json_lines(piece, stream, reading.dropped, text_field)
    if piece.file.kind == ".txt":
        return _read_book(piece.file, stream)
    from bert_mobile.corpus.wikipedia import read_dump

    return read_dump(piece.file.path, stream.plain, reading.dropped)


def _seek_line(stream: Stream, start: int) -> int:
    """Go to the first line that begins at `start` or after it; return where that is."""
    if start:
        stream.plain.seek(start - 1)
        while (rest := stream.plain.readline(LONGEST_RECORD)) and not rest.endswith(b"\n"):
            pass
    return stream.plain.tell()


def _read_json_lines(
    piece: Piece, stream: Stream, dropped: Counter[str], text_field: str
) -> Iterator[Record]:
    default = data_set(piece.file.name) or Path(piece.file.name).name.split(".")[0]
    for number, line in enumerate(_lines(piece, stream), start=1):
        if len(line) > LONGEST_RECORD:
            dropped[TOO_LONG] += 1
        elif line.strip():
            where = _Place(piece, "line", number)
            record = _record(_json_object(line, where), default, text_field, where)
            if _is_kept(record, dropped):
                yield record


def _lines(piece: Piece, stream: Stream) -> Iterator[bytes]:
    """Yield the lines that begin in a piece; of an over-long one, a little more than its bound."""
    while True:
        begin = stream.plain.tell()
        if piece.end is not None and begin >= piece.end:
            return
        line = rest = stream.plain.readline(LONGEST_RECORD + 1)
        if not line:
            return
        while len(line) > LONGEST_RECORD and rest and not rest.endswith(b"\n"):
            rest = stream.plain.readline(LONGEST_RECORD)
        yield line.removeprefix(codecs.BOM_UTF8) if begin == 0 else line


@dataclass(frozen=True)
class _Place:
    """Names a line or row in an error; what lies before the piece is counted only then."""

    piece: Piece
    unit: str
    number: int

    def __str__(self) -> str:
        before = _lines_before(self.piece) if self.piece.start and self.unit == "line" else 0
        return f"{self.piece.file.path}, {self.unit} {before + self.number}"


def _lines_before(piece: Piece) -> int:
    with open_stream(piece.file.path) as stream:
        end = _seek_line(stream, piece.start)
        stream.plain.seek(0)
        found = 0
        while stream.plain.tell() < end:
            block = stream.plain.read(min(1 << 20, end - stream.plain.tell()))
            found += block.count(b"\n")
    return found


def _record(value: dict[str, Any], default: str, text_field: str, where: _Place) -> Record | None:
    text = _document_text(value, text_field, where)
    if text is None:
        return None
    return Record(_string(value, "source") or default, _string(value, "title"), text)


def _is_kept(record: Record | None, dropped: Counter[str]) -> TypeGuard[Record]:
    """Count in `dropped` what holds no text, or more than may be in memory."""
    if record is None:
        dropped["record: no text"] += 1
    elif len(record.text) > LONGEST_RECORD:
        dropped[TOO_LONG] += 1
    else:
        return True
    return False


def _json_object(line: bytes, where: _Place) -> dict[str, Any]:
    try:
        value = json.loads(line.decode("utf-8-sig"))  # of bytes, json guesses UTF-16 too
    except (ValueError, RecursionError) as error:
        cut = "" if line.endswith(b"\n") else "; the file ends in mid-record"
        raise InputError(
            f"{where}: no valid JSON{cut}: {error}",
            hint="repair or delete that line; copy the file again where it was cut off",
        ) from None
    if not isinstance(value, dict):
        raise InputError(
            f"{where}: a JSON {type(value).__name__}, expected an object with a text",
            hint='write one {"text": "..."} a line',
        )
    return value


def _document_text(value: dict[str, Any], text_field: str, where: _Place) -> str | None:
    """Return the text of a record, or None where it says itself that it has none (a null)."""
    text = value.get(text_field)
    if isinstance(text, str):
        return text
    sentences = value.get("sentences")
    if text is None and _are_strings(sentences):  # a text shard of ours
        return "\n".join(sentences)
    if text is None and text_field in value:
        return None
    found = f"keys {', '.join(sorted(value)) or 'none'}" if text is None else type(text).__name__
    raise InputError(
        f"{where}: found {found}, expected a string under {text_field!r}",
        hint="name the entry that holds the text with text_field (--text-field)",
    )


def _are_strings(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _string(value: dict[str, Any], key: str) -> str:
    found = value.get(key)
    return found if isinstance(found, str) else ""


def _read_rows(piece: Piece, stream: Stream, reading: Reading, text_field: str) -> Iterator[Record]:
    table = open_parquet(piece.file, stream)
    known = table.schema_arrow.names
    if text_field not in known:
        raise InputError(
            f"{piece.file.path}: found columns {', '.join(known)}, expected {text_field!r}",
            hint="name the column that holds the text with text_field (--text-field)",
        )
    end = table.num_row_groups if piece.end is None else piece.end
    default = data_set(piece.file.name) or Path(piece.file.name).name.split(".")[0]
    number = sum(table.metadata.row_group(i).num_rows for i in range(piece.start))
    batches = table.iter_batches(
        batch_size=ROWS_AT_ONCE,
        row_groups=list(range(piece.start, end)),
        columns=[name for name in ("source", "title", text_field) if name in known],
    )
    for values, size in _whole(batches, piece.file):
        reading.plain_bytes += size
        for value in values:
            number += 1
            record = _record(value, default, text_field, _Place(piece, "row", number))
            if _is_kept(record, reading.dropped):
                yield record


def open_parquet(file: SourceFile, stream: Stream) -> Any:
    """Return pyarrow's view of a Parquet file; raises `InputError` where it is none."""
    parquet = library("pyarrow.parquet")
    try:
        return parquet.ParquetFile(stream.plain, pre_buffer=False, buffer_size=1 << 20)
    except _DAMAGE as error:
        raise _no_parquet(file, error) from error


def _whole(batches: Iterator[Any], file: SourceFile) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """Yield the rows of each batch and their bytes."""
    while True:
        try:
            batch = next(batches, None)
            rows = batch.to_pylist() if batch is not None else []  # decodes UTF-8, as late as here
        except _DAMAGE as error:
            raise _no_parquet(file, error) from error
        if batch is None:
            return
        yield rows, batch.nbytes


def _no_parquet(file: SourceFile, error: Exception) -> InputError:
    return InputError(
        f"{file.path} cannot be read, expected a whole .parquet file: {error}",
        hint="copy or download the file again",
    )


def _read_book(file: SourceFile, stream: Stream) -> Iterator[Record]:
    source = Path(file.name).parent.name or "text"
    title = Path(file.name).name.split(".txt")[0]
    text = io.TextIOWrapper(stream.plain, encoding="utf-8-sig")
    part = 0
    try:
        # A part ends with a line, so words stay whole; the second limit is for one endless line.
        while piece := text.read(LONGEST_RECORD) + text.readline(LONGEST_RECORD):
            part += 1
            name = title if part == 1 else f"{title}, part {part}"
            yield Record(source, name, join_hard_lines(piece))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file.path} is no UTF-8 text: {error.reason} (byte {error.object[error.start]:#04x})",
            hint=f"convert it, e.g. iconv -f latin1 -t utf-8 {Path(file.path).name}",
        ) from None
    finally:
        text.detach()  # the stream belongs to the caller


def join_hard_lines(text: str) -> str:
    """Return `text` with one paragraph a line, the lines of a hard-wrapped paragraph joined.

    Text without blank lines comes back as it is: there, a line is a paragraph.
    """
    blocks = _BLANK_LINES.split(text)
    if len(blocks) == 1:
        return text
    return "\n".join(_joined(block) for block in blocks)


def _joined(block: str) -> str:
    lines = block.strip().split("\n")
    wrapped = all(len(line) <= HARD_WRAP for line in lines)
    return " ".join(lines) if wrapped else block
