"""How anything of ours reaches the disk: written aside, flushed, then renamed.

A reader therefore sees a whole file or folder, or none; a crash or a full disk leaves at most a
hidden `.NAME.part` beside the target, which the next attempt replaces. Where a folder takes the
place of another, a crash between the two renames leaves the old one as `.NAME.old`; the next
attempt puts it back first.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bert_mobile.errors import ArtifactError, InputError, RunError


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; it becomes `path` when the block ends well.

    The parent folder is made where it is missing. Raises `RunError` where the disk is full or not
    writable; `path` is then as it was before.
    """
    path = path.resolve()
    scratch = part_of(path)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield scratch
            _flush(scratch)
            scratch.replace(path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it becomes `path` when the block ends well.

    A folder already at `path` is replaced; the caller decides beforehand whether it may be (see
    `refuse_foreign_folder`). Raises `RunError` as `atomic_file` does.
    """
    path = path.resolve()
    with explained(path):
        scratch = begin_part(path)
        try:
            yield scratch
            place_folder(scratch, path)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise


def part_of(path: Path) -> Path:
    """Return where a file or folder is made before it gets its name: `.NAME.part` beside it."""
    path = path.resolve()
    return path.with_name(f".{path.name}.part")


def begin_part(path: Path) -> Path:
    """Return the new, empty `.NAME.part` of a folder; an earlier attempt's is removed."""
    scratch = part_of(path)
    scratch.parent.mkdir(parents=True, exist_ok=True)
    _put_back(path.resolve())
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    return scratch


def place_folder(folder: Path, path: Path) -> None:
    """Flush a finished folder and give it its name, in the place of a folder of that name."""
    for file in folder.rglob("*"):
        if file.is_file():
            _flush(file)
    _swap(folder, path.resolve())


def refuse_foreign_folder(
    path: Path, is_ours: Callable[[Path], bool], *, inputs: Iterable[Path] = ()
) -> None:
    """Raise unless `path` may be replaced: it is missing, empty, or made by the same command.

    `is_ours` judges what a folder contains, so that a mistyped `--out` never deletes anybody's data
    (`ArtifactError`). A place that cannot be written to is told before any work is done
    (`RunError`). `inputs` are what the command reads: one of them inside `path`, or the other
    way round, would vanish while it is read (`InputError`).
    """
    refuse_nested(path, inputs)
    _refuse_unwritable(path)
    if path.is_file():
        raise ArtifactError(
            f"{path} is a file, expected a folder to write to", hint="give another --out"
        )
    if path.is_dir() and any(path.iterdir()) and not is_ours(path):
        raise ArtifactError(
            f"{path} is not empty and was not written by this command",
            hint="give --out a new or empty folder",
        )


def _refuse_unwritable(path: Path) -> None:
    """Raise `RunError` where `path`, or what exists of the way to it, takes no new files."""
    path = path.resolve()
    nearest = next(place for place in (path, *path.parents) if place.exists())
    with explained(path):
        if nearest != path and not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{nearest} is a file, expected a folder")
        if not os.access(nearest, os.W_OK):
            raise PermissionError(errno.EACCES, f"{nearest} takes no new files")


def refuse_nested(path: Path, inputs: Iterable[Path]) -> None:
    """Raise `InputError` where what is to be written and an input lie inside each other."""
    target = path.resolve()
    for source in (each.resolve() for each in inputs):
        if target == source or target in source.parents or source in target.parents:
            raise InputError(
                f"--out {path} and the input {source} lie inside each other",
                hint="give --out a folder of its own",
            )


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other programs that ask for the same from writing to `folder` inside the block.

    The lock goes with the process, however it ends, and is not shared by its children; its file
    goes at the end of the block. Raises `InputError` where another one has it.
    """
    with _locked(folder / ".lock", folder):
        yield


@contextmanager
def held_aside(path: Path) -> Iterator[None]:
    """Do as `held` for a folder that is replaced as a whole: the lock is `.NAME.lock` beside it."""
    path = path.resolve()
    with _locked(path.with_name(f".{path.name}.lock"), path):
        yield


@contextmanager
def _locked(path: Path, folder: Path) -> Iterator[None]:
    """Hold the lock file `path`; `folder` is what an error calls the thing that it guards."""
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        yield
        return
    with explained(folder):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
    with lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise _busy(folder) from None
            # else: a file system that knows no locks
        if not _is_at(lock.fileno(), path):  # its last holder removed it just now
            raise _busy(folder)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _is_at(number: int, path: Path) -> bool:
    """Tell whether an open file still has the name `path`."""
    try:
        return os.path.samestat(os.fstat(number), path.stat())
    except FileNotFoundError:
        return False


def _busy(folder: Path) -> InputError:
    return InputError(
        f"another program is writing to {folder} at this moment",
        hint="wait for it, stop it, or give another --out",
    )


def append_text(path: Path, text: str) -> None:
    """Write `text` to the end of `path`. Raises `RunError` as `atomic_file` does."""
    with explained(path), path.open("a", encoding="utf-8") as file:
        file.write(text)


def write_json(path: Path, value: object) -> None:
    """Write `value` to `path` as indented UTF-8 JSON, atomically."""
    with atomic_file(path) as scratch:
        scratch.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path, expected: str) -> dict[str, Any]:
    """Read a JSON object; `expected` says in an error message what the file should have been.

    Raises `ArtifactError` where the file is missing, is no UTF-8 JSON or holds no object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(
            f"{path} does not exist, expected {expected}", hint="check the path"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{path} cannot be read as {expected}: {error}",
            hint="the file is damaged; make it anew",
        ) from error
    if not isinstance(value, dict):
        raise ArtifactError(
            f"{path} holds a JSON {type(value).__name__}, expected {expected}",
            hint="the file is damaged or another kind of file",
        )
    return value


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _swap(scratch: Path, path: Path) -> None:
    """Put `scratch` in the place of `path`; POSIX cannot swap folders in one call: it takes two."""
    if not path.exists():
        scratch.rename(path)
        return
    retired = path.with_name(f".{path.name}.old")
    shutil.rmtree(retired, ignore_errors=True)
    path.rename(retired)
    try:
        scratch.rename(path)
    except BaseException:
        retired.rename(path)
        raise
    shutil.rmtree(retired, ignore_errors=True)


def _put_back(path: Path) -> None:
    """Undo a replacement that a crash broke off between its two renames."""
    retired = path.with_name(f".{path.name}.old")
    if retired.is_dir() and not path.exists():
        retired.rename(path)


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write `path` into a `RunError` with a hint."""
    try:
        yield
    except OSError as error:
        free = ""
        with suppress(OSError):
            free = f" ({shutil.disk_usage(path.parent).free / 1e6:.0f} MB free there)"
        raise RunError(
            f"{path} could not be written: {error.strerror or error}{free}",
            hint="free some space or write elsewhere; nothing was left under the final name",
        ) from error
