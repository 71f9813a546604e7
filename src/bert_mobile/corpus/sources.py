"""Find the source files and read them as a stream of records.

A file's kind follows from its name, compression aside (.gz, .bz2, .xz, .zst):

- `.jsonl`, `.ndjson`: one JSON object a line; "text" holds the document, one paragraph a line;
  "source" and "title" are kept where they are strings. A line over 16 MB is dropped and counted.
- `.txt`: one book a file. Blank lines part paragraphs and hard line breaks inside one are joined;
  without any blank line every line is a paragraph. A file over 16 MB becomes several documents.
- `.xml`: a Wikipedia dump (see `bert_mobile.corpus.wikipedia`).

A folder is searched recursively in sorted order, hidden names aside. A corpus that we built is a
source too: its text shards are read, its other files are not.
"""

import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bert_mobile.corpus.streams import COMPRESSIONS, Stream, open_stream
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.files import read_json

MANIFEST = "manifest.json"
"""Name of the file that only a built corpus has."""

FORMAT = "bert-mobile corpus"
"""What its "format" entry says."""

KINDS = (".jsonl", ".ndjson", ".txt", ".xml")

ACCEPTED = f"{', '.join(KINDS)}, each plain or followed by {', '.join(COMPRESSIONS)}"

LONGEST_RECORD = 16 * 2**20
"""Bytes of one JSON line, characters of one document from a text file: bounds what is in memory."""

HARD_WRAP = 100
"""Lines of a paragraph that are all at most this long were broken by hand, not by meaning."""

_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")


@dataclass(frozen=True)
class SourceFile:
    """One file to read."""

    path: Path
    name: str
    """Its name in the manifest: relative to the source argument, so free of absolute paths."""
    kind: str
    """One of `KINDS`."""


class Record(NamedTuple):
    """One document as it was found, not cleaned yet."""

    source: str
    title: str
    text: str
    wikitext: bool = False
    """Whether `text` is Wikipedia's markup and not plain paragraphs."""


@dataclass
class Reading:
    """How far the reading got, for progress, speed and the manifest."""

    stored_bytes: int = 0
    """Bytes of the source files read so far, as they lie on disk."""
    plain_bytes: int = 0
    """The same after decompression."""
    dropped: Counter[str] = field(default_factory=Counter)
    """What the readers left out, by reason."""


def is_corpus(path: Path) -> bool:
    """Tell whether `path` is a folder that `build_corpus` wrote."""
    if not (path / MANIFEST).is_file():
        return False
    try:
        return read_json(path / MANIFEST, "a manifest").get("format") == FORMAT
    except ArtifactError:  # somebody else's file of that name
        return False


def find_files(sources: Sequence[Path], dropped: Counter[str]) -> list[SourceFile]:
    """List the files behind `sources`, folders searched recursively, in a stable order.

    Files of unknown kind are counted in `dropped` where a folder was given. Raises `InputError`
    where a path does not exist, a file is of no known kind, or a folder holds none that is.
    """
    return [file for source in sources for file in _files_of(source, dropped)]


def _files_of(source: Path, dropped: Counter[str]) -> list[SourceFile]:
    if source.is_file():
        kind = _kind_of(source)
        if not kind:
            raise _unknown(f"{source} is of no known kind")
        return [SourceFile(source, source.name, kind)]
    if not source.is_dir():
        raise InputError(
            f"{source} does not exist, expected a file or folder", hint="check the path"
        )
    name = source.resolve().name
    found = []
    for path in _walk(source):
        kind = _kind_of(path)
        if kind:
            relative = path.relative_to(source).as_posix()
            found.append(SourceFile(path, f"{name}/{relative}", kind))
        else:
            dropped["file: unknown kind"] += 1
    if not found:
        raise _unknown(f"{source} holds no file of a known kind")
    return found


def _walk(folder: Path) -> Iterator[Path]:
    """Yield a folder's visible files; of a built corpus, its text shards."""
    if is_corpus(folder):
        yield from sorted(folder.glob("*.jsonl.zst"))
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path


def _kind_of(path: Path) -> str | None:
    name = Path(path.name.lower())
    if name.suffix in COMPRESSIONS:
        name = name.with_suffix("")
    return name.suffix if name.suffix in KINDS else None


def _unknown(found: str) -> InputError:
    return InputError(f"{found}, expected {ACCEPTED}", hint="rename or convert it")


def read_records(
    files: Sequence[SourceFile], reading: Reading, text_field: str
) -> Iterator[Record]:
    """Yield the records of all `files` in order and keep `reading` up to date.

    Raises `InputError` naming the file, and the line where there is one, at the first damage.
    """
    for file in files:
        stored, plain = reading.stored_bytes, reading.plain_bytes
        with open_stream(file.path) as stream:
            for record in _records(file, stream, reading.dropped, text_field):
                reading.stored_bytes = stored + stream.stored.tell()
                reading.plain_bytes = plain + stream.plain.tell()
                yield record
            reading.stored_bytes = stored + stream.stored.tell()
            reading.plain_bytes = plain + stream.plain.tell()


def _records(
    file: SourceFile, stream: Stream, dropped: Counter[str], text_field: str
) -> Iterator[Record]:
    if file.kind == ".xml":
        from bert_mobile.corpus.wikipedia import read_dump

        return read_dump(file.path, stream.plain, dropped)
    if file.kind == ".txt":
        return _read_book(file, stream)
    return _read_json_lines(file, stream, dropped, text_field)


def _read_json_lines(
    file: SourceFile, stream: Stream, dropped: Counter[str], text_field: str
) -> Iterator[Record]:
    default_source = Path(file.name).name.split(".")[0]
    number = 0
    while line := stream.plain.readline(LONGEST_RECORD + 1):
        number += 1
        if len(line) > LONGEST_RECORD:
            while line and not line.endswith(b"\n"):
                line = stream.plain.readline(LONGEST_RECORD)
            dropped["record: too long"] += 1
            continue
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.strip():
            value = _json_object(line, f"{file.path}, line {number}")
            yield Record(
                _string(value, "source") or default_source,
                _string(value, "title"),
                _document_text(value, text_field, f"{file.path}, line {number}"),
            )


def _json_object(line: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
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


def _document_text(value: dict[str, Any], text_field: str, where: str) -> str:
    text = value.get(text_field)
    if isinstance(text, str):
        return text
    sentences = value.get("sentences")
    if text is None and isinstance(sentences, list):  # a text shard of ours
        return "\n".join(map(str, sentences))
    found = f"keys {', '.join(sorted(value)) or 'none'}" if text is None else type(text).__name__
    raise InputError(
        f"{where}: found {found}, expected a string under {text_field!r}",
        hint="name the entry that holds the text with text_field (--text-field)",
    )


def _string(value: dict[str, Any], key: str) -> str:
    found = value.get(key)
    return found if isinstance(found, str) else ""


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
            hint=f"convert it, e.g. iconv -f latin1 -t utf-8 {file.path.name}",
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
