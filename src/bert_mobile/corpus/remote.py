"""Sources that are not on this machine's disks: data sets of the Hugging Face Hub above all.

An address is whatever fsspec has a driver for; `hf://datasets/OWNER/NAME/PATH` (a file, a folder or
a whole data set; `NAME@REVISION` fixes a version) streams from the Hub without filling a disk.

The Hub's own switches hold: with `HF_HUB_OFFLINE=1` nothing is fetched, and a data set is read from
the cache under `HF_HOME` where an earlier download (`hf download`) left it.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast

from bert_mobile.corpus.libraries import library
from bert_mobile.errors import InputError, RunError

_ADDRESS = re.compile(r"(?i)[a-z][a-z0-9+.-]+(::[a-z0-9+.-]+)*://")
_HUB = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@([^/]+))?/?(.*)")


class RemoteFile(NamedTuple):
    """One file behind an address."""

    path: str
    """Its own address, or where the Hub's cache has it."""
    name: str
    """Its address in either case."""
    bytes: int
    version: str
    """Another one when the file has changed."""


def is_address(source: Path | str) -> bool:
    """Tell an address from a path."""
    return isinstance(source, str) and _ADDRESS.match(source) is not None


def local_path(source: Path | str) -> Path | None:
    """Return where a source is on this machine's disks, or None where it is not."""
    if not is_address(source):
        return Path(source)
    scheme, _, path = str(source).partition("://")
    return Path(path) if scheme.lower() in {"file", "local"} else None


def data_set(name: str) -> str:
    """Return OWNER/NAME of a file's address on the Hub; of any other name, an empty string."""
    found = _HUB.match(name)
    return found[1] if found else ""


def list_files(address: str) -> list[RemoteFile]:
    """List the file or the files below an address, sorted, hidden names aside.

    Raises `InputError` where there are none or the place cannot be reached.
    """
    if "::" in address:
        raise InputError(
            f"{address} chains several addresses, expected one",
            hint="unpack or download it first, or give the address of its last part alone",
        )
    scheme, _, rest = address.partition("://")
    address = f"{scheme.lower()}://{rest}"
    if _HUB.match(address) and library("huggingface_hub.constants").HF_HUB_OFFLINE:
        return _cached(address)
    with _refusals(address):
        files, path = library("fsspec.core").url_to_fs(address)
        listed = sorted(files.find(path, detail=True).items())
        found = [
            RemoteFile(where, where, info["size"], _version(files, info))
            for where, info in (
                (files.unstrip_protocol(name), info)
                for name, info in listed
                if _is_visible(name.removeprefix(path))
            )
        ]
    if not found:
        raise InputError(f"{address} does not exist, expected a file or folder", hint="check it")
    return found


def _is_visible(below: str) -> bool:
    """Tell whether no part of a path below the given address is hidden."""
    return not any(part.startswith(".") for part in PurePosixPath(below).parts)


def _version(files: Any, info: dict[str, Any]) -> str:
    return str(info.get("blob_id") or files.ukey(info["name"]))


def _cached(address: str) -> list[RemoteFile]:
    """List what the Hub's cache has of a data set; its link to a blob tells a file's version."""
    repository, revision, path = cast("re.Match[str]", _HUB.match(address)).groups()
    try:
        folder = Path(
            library("huggingface_hub").snapshot_download(
                repository, repo_type="dataset", revision=revision, local_files_only=True
            )
        )
    except (OSError, ValueError):
        folder = None
    start = folder / path if folder else None
    files = _visible_files(start) if start else []
    if not folder or not files:
        raise InputError(
            f"{address} is not in the cache {library('huggingface_hub.constants').HF_HUB_CACHE}, "
            "and HF_HUB_OFFLINE forbids fetching it",
            hint="unset HF_HUB_OFFLINE, or point HF_HOME to a cache that has it",
        )
    at = f"@{revision}" if revision else ""
    root = f"hf://datasets/{repository}{at}/"
    return [
        RemoteFile(
            str(file),
            root + file.relative_to(folder).as_posix(),
            file.stat().st_size,
            file.resolve().name,
        )
        for file in files
    ]


def _visible_files(start: Path) -> list[Path]:
    """Return a file, or the files below a folder in the order in which the Hub lists them."""
    found = [start] if start.is_file() else sorted(start.rglob("*"), key=Path.as_posix)
    return [
        file for file in found if file.is_file() and _is_visible(file.relative_to(start).as_posix())
    ]


@contextmanager
def open_address(address: str) -> Iterator[io.BufferedReader]:
    """Open a file elsewhere for reading, from any place in it.

    Raises `RunError`, also where it is read inside the block, where the connection breaks.
    """
    with _failures(address):
        files, path = library("fsspec.core").url_to_fs(address)
        raw: Any = _Distant(files.open(path, "rb"), address)
    with io.BufferedReader(raw, buffer_size=1 << 20) as stream:
        yield stream


class _Distant(io.RawIOBase):
    """A file elsewhere: here only, its failures are known to be the connection's, not damage."""

    def __init__(self, file: Any, address: str) -> None:
        self._file = file
        self._address = address

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = 0) -> int:
        with _failures(self._address):
            return int(self._file.seek(offset, whence))

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        with _failures(self._address):
            return int(self._file.readinto(buffer))

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


@contextmanager
def _refusals(address: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:  # such as "Install s3fs to access S3"
        driver = re.search(r"[Ii]nstall (\w+)", str(error))
        name = driver[1] if driver else '"fsspec[full]"'
        raise InputError(
            f"{address} cannot be listed: {_reason(error)}", hint=f"pip install {name}"
        ) from error
    except (OSError, ValueError, NotImplementedError, _http_error()) as error:
        raise InputError(
            f"{address} cannot be listed: {_reason(error)}",
            hint="check the address, the network and, for private data, your access",
        ) from error


@contextmanager
def _failures(address: str) -> Iterator[None]:
    try:
        yield
    except (OSError, _http_error()) as error:
        raise RunError(
            f"{address} cannot be read: {_reason(error)}", hint="check the network"
        ) from error


def _reason(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _http_error() -> type[Exception]:
    """Return the Hub's errors of transport, which are none of the operating system's."""
    return cast("type[Exception]", library("huggingface_hub.errors").HTTPError)
