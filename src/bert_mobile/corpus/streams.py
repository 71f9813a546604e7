"""Open a plain or compressed file as one stream of bytes, and say clearly when it is damaged.

The file may be on a disk or at an address (see `bert_mobile.corpus.remote`).

The standard library notices a cut .gz, .bz2 or .xz file. zstandard's own stream reader does not,
it ends quietly where the file does: `_ZstdFile` follows the frames and reports a missing end.
"""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from bert_mobile.corpus import remote
from bert_mobile.corpus.libraries import library
from bert_mobile.errors import InputError, RunError

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
"""Suffixes that may follow any file kind."""

ZSTD_BLOCK_BYTES = 16_384
"""Compressed bytes expanded at a time; small, because a block of zeros expands ten-thousandfold."""


@dataclass(frozen=True)
class Stream:
    """An open file: what it says, and how far into the file on disk that is."""

    plain: IO[bytes]
    """The decompressed bytes."""
    stored: IO[bytes]
    """The file itself."""


@contextmanager
def open_stream(path: Path | str) -> Iterator[Stream]:
    """Open `path` for reading, decompressed by its suffix.

    Raises `InputError`, also from inside the block, where the file is cut off or is not what its
    suffix says; `RunError` where the system cannot read it, or the connection to it breaks.
    """
    suffix = Path(path).suffix
    damaged: list[type[Exception]] = [EOFError, OSError, zlib.error, lzma.LZMAError]
    if suffix.lower() == ".zst":
        damaged.append(library("zstandard").ZstdError)
    try:
        with _opened(path) as stored, _decompressed(stored, suffix.lower()) as plain:
            yield Stream(plain, stored)
    except tuple(damaged) as error:
        if isinstance(error, OSError) and error.errno is not None:  # decompressors give no number
            raise RunError(
                f"{path} cannot be read: {error.strerror}", hint="check the file and its disk"
            ) from error
        found = "is cut off" if isinstance(error, EOFError) else "cannot be read"
        raise InputError(
            f"{path} {found}, expected a whole {suffix or 'plain'} file: {error}",
            hint="copy or download the file again",
        ) from error


def _opened(path: Path | str) -> AbstractContextManager[io.BufferedReader]:
    return remote.open_address(str(path)) if remote.is_address(path) else Path(path).open("rb")


def _decompressed(stored: io.BufferedReader, suffix: str) -> IO[bytes]:
    if suffix in COMPRESSIONS and not stored.peek(1):
        raise EOFError("it is empty")
    if suffix == ".gz":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=stored))
    if suffix == ".bz2":
        return bz2.BZ2File(stored)
    if suffix == ".xz":
        return lzma.LZMAFile(stored)
    if suffix == ".zst":
        return io.BufferedReader(_ZstdFile(stored), buffer_size=1 << 20)
    return stored


class _ZstdFile(io.RawIOBase):
    """The decompressed bytes of one or more zstd frames; `EOFError` where the last has no end."""

    def __init__(self, stored: IO[bytes]) -> None:
        self._stored = stored
        self._decompressor = library("zstandard").ZstdDecompressor()
        self._frame = self._decompressor.decompressobj()
        self._frame_begun = False
        self._compressed = b""
        self._ready = memoryview(b"")
        self._position = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready and self._fill():
            pass
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        self._position += count
        return count

    def _fill(self) -> bool:
        """Expand one more block; False at the end of the file."""
        block = self._compressed or self._stored.read(ZSTD_BLOCK_BYTES)
        if not block:
            if self._frame_begun:
                raise EOFError("the last zstd frame has no end")
            return False
        self._ready = memoryview(self._frame.decompress(block))
        self._frame_begun = not self._frame.eof
        self._compressed = self._frame.unused_data
        if self._frame.eof:
            self._frame = self._decompressor.decompressobj()
        return True
