r"""The lines of a stream of bytes, decoded one by one so that an error can name the line.

A line ends with `\n` alone: U+2028, U+0085 and the like are part of a text. In a file without any
`\n`, as spreadsheets write for old Macs, it ends with `\r`.
"""

import codecs
import io
from collections.abc import Iterator
from typing import IO

from bert_mobile.errors import InputError
from bert_mobile.labelled.places import DataFile

LONGEST_LINE = 16 * 2**20
"""Bytes of one line; bounds what is in memory."""

_SHOWN = 20
"""Characters before a bad byte that a message shows."""

_WIDE = ("utf-16", "utf-32")
"""Encodings in which a line end is more than one byte."""


def encoding_name(encoding: str) -> str:
    """Return Python's name of an encoding; `InputError` where no encoding of text has that name."""
    try:
        name = codecs.lookup(encoding).name
        "a".encode(name)  # what base64 or rot13 makes is no text
        return name
    except (LookupError, ValueError):  # UnicodeError is a ValueError
        raise InputError(
            f"encoding is {encoding!r}, expected a name such as utf-8, cp1252 or latin-1",
            hint="leave it out for UTF-8",
        ) from None


def numbered_lines(
    plain: IO[bytes], file: DataFile, encoding: str = "utf-8"
) -> Iterator[tuple[int, str]]:
    """Yield 1-based numbers and lines with their ends, without a byte order mark.

    Raises `InputError` at the first line that is not of the encoding, holds a NUL, or is too long.
    """
    texts = _wide_lines if encoding.startswith(_WIDE) else _decoded_lines
    for number, line in enumerate(_parted(texts(plain, file, encoding)), start=1):
        if number == 1:
            line = line.removeprefix("\ufeff")  # noqa: PLW2901 - once in a file
        if "\0" in line:
            raise file.error(
                number,
                None,
                "a NUL byte, expected text",
                "the file is binary, damaged, or of an encoding such as utf-16 (--encoding)",
            )
        yield number, line


def _parted(lines: Iterator[str]) -> Iterator[str]:
    r"""Part the first line at `\r` where it has no `\n`, and so is the whole file."""
    first = next(lines, "")
    if "\r" in first and "\n" not in first:
        yield from (f"{line}\n" for line in first.removesuffix("\r").split("\r"))
    elif first:
        yield first
    yield from lines


def _decoded_lines(plain: IO[bytes], file: DataFile, encoding: str) -> Iterator[str]:
    number = 0
    while line := plain.readline(LONGEST_LINE + 1):
        number += 1
        _refuse_long(len(line), file, number)
        try:
            yield line.decode(encoding)
        except UnicodeError as error:
            raise _wrong_encoding(file, number, encoding, error) from None


def _wide_lines(plain: IO[bytes], file: DataFile, encoding: str) -> Iterator[str]:
    text = io.TextIOWrapper(plain, encoding=encoding, newline="\n")
    number = 0
    try:
        while line := text.readline(LONGEST_LINE + 1):
            number += 1
            _refuse_long(len(line), file, number)
            yield line
    except UnicodeError as error:
        raise _wrong_encoding(file, number + 1, encoding, error) from None
    finally:
        text.detach()  # the stream belongs to the caller


def _refuse_long(length: int, file: DataFile, number: int) -> None:
    if length > LONGEST_LINE:
        raise file.error(
            number,
            None,
            f"over {LONGEST_LINE // 2**20} MB in one line, expected one example a line",
            "a file that is one JSON document is to be named .json",
        )


def _wrong_encoding(file: DataFile, number: int, encoding: str, error: UnicodeError) -> InputError:
    hint = "convert the file, or say what it is with encoding (--encoding): cp1252, latin-1, …"
    found = undecodable(encoding, error)
    if isinstance(error, UnicodeDecodeError):
        before = error.object[: error.start].decode(encoding, errors="replace")[-_SHOWN:]
        found += f" after {before!r}" if before else " at its beginning"
        if number == 1 and error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            hint = "say what it is with encoding (--encoding): utf-16"
    return file.error(number, None, found, hint)


def undecodable(encoding: str, error: UnicodeError) -> str:
    """Say what of some bytes is no text of an encoding; few codecs tell the byte."""
    why = str(error)
    if isinstance(error, UnicodeDecodeError):
        why = f"byte {error.object[error.start]:#04x}"
    return f"no {encoding.upper()} text: {why}"
