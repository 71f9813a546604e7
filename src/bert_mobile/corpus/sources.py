"""Find the source files: which there are, of what kind and size.

A file's kind follows from its name, compression aside (.gz, .bz2, .xz, .zst):

- `.jsonl`, `.ndjson`: one JSON object a line; "text" holds the document, one paragraph a line;
  "source" and "title" are kept where they are strings. A line over 16 MB is dropped and counted,
  and so is a record whose text is null.
- `.parquet`: the same, an object a row; this is how the Hugging Face Hub keeps its data sets.
- `.txt`: one book a file. Blank lines part paragraphs and hard line breaks inside one are joined;
  without any blank line every line is a paragraph. A file over 16 MB becomes several documents.
- `.xml`: a Wikipedia dump (see `bert_mobile.corpus.wikipedia`).

A folder is searched recursively in sorted order, hidden names aside; links are followed, except
back to a folder above, and pipes and devices are counted, not read. A corpus that we built is a
source too: its text shards are read, its other files are not. A source may also lie elsewhere, on
the Hub for one (see `bert_mobile.corpus.remote`). `bert_mobile.corpus.records` reads the files.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bert_mobile.corpus import remote
from bert_mobile.corpus.streams import COMPRESSIONS
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.files import read_json

MANIFEST = "manifest.json"
"""Name of the file that only a built corpus has."""

FORMAT = "bert-mobile corpus"
"""What its "format" entry says."""

LINES = (".jsonl", ".ndjson")
KINDS = (*LINES, ".parquet", ".txt", ".xml")

ACCEPTED = f"{', '.join(KINDS)}, each plain or followed by {', '.join(COMPRESSIONS)}"


@dataclass(frozen=True)
class SourceFile:
    """One file to read."""

    path: str
    """An absolute path, or an address such as `hf://datasets/…`."""
    name: str
    """Its name in the manifest: relative to the source argument, so free of absolute paths."""
    kind: str
    """One of `KINDS`."""
    bytes: int
    """Its size where it lies, compressed or not."""
    version: str
    """Another one when the file has changed: the time of the change, or what the Hub calls it."""

    @property
    def is_compressed(self) -> bool:
        """Whether it can be read from its beginning only."""
        return not self.path.lower().endswith(self.kind)


def is_corpus(path: Path) -> bool:
    """Tell whether `path` is a folder that `build_corpus` wrote."""
    if not (path / MANIFEST).is_file():
        return False
    try:
        return read_json(path / MANIFEST, "a manifest").get("format") == FORMAT
    except ArtifactError:  # somebody else's file of that name
        return False


def find_files(sources: Sequence[Path | str], dropped: Counter[str]) -> list[SourceFile]:
    """List the files behind `sources`, folders searched recursively, in a stable order.

    Files of unknown kind are counted in `dropped` where a folder was given. Raises `InputError`
    where a path does not exist, a file is of no known kind, or a folder holds none that is.
    """
    return [file for source in sources for file in _files_of(source, dropped)]


def _files_of(source: Path | str, dropped: Counter[str]) -> list[SourceFile]:
    if remote.is_address(source):
        return _files_at(str(source), dropped)
    source = Path(source)
    if source.is_dir():
        return _files_in(source, dropped)
    if not source.exists():
        raise InputError(
            f"{source} does not exist, expected a file or folder", hint="check the path"
        )
    if not source.is_file():
        raise InputError(f"{source} is no regular file", hint="give a file or a folder of files")
    kind = _kind_of(source.name)
    if not kind:
        raise _unknown(f"{source} is of no known kind")
    return [_local(source, source.name, kind)]


def _files_in(folder: Path, dropped: Counter[str]) -> list[SourceFile]:
    name = folder.resolve().name
    found = []
    for path in _walk(folder, dropped, ()):
        kind = _kind_of(path.name)
        if not kind:
            dropped["file: unknown kind"] += 1
        elif path.exists() and not path.is_file():  # reading a pipe waits for its writer
            dropped["file: not a regular file"] += 1
        else:
            found.append(_local(path, f"{name}/{path.relative_to(folder).as_posix()}", kind))
    if not found:
        raise _unknown(f"{folder} holds no file of a known kind")
    return found


def _files_at(address: str, dropped: Counter[str]) -> list[SourceFile]:
    found = []
    for file in remote.list_files(address):
        kind = _kind_of(file.path)
        if kind:
            found.append(SourceFile(file.path, file.name, kind, file.bytes, file.version))
        else:
            dropped["file: unknown kind"] += 1
    if not found:
        raise _unknown(f"{address} holds no file of a known kind")
    return found


def _local(path: Path, name: str, kind: str) -> SourceFile:
    whole = str(path.absolute())
    with _refusals(path):
        stat = path.stat()
    try:
        (whole + name).encode()
    except UnicodeEncodeError:
        raise InputError(
            f"the path {whole} is no UTF-8", hint="rename the file or folder"
        ) from None
    return SourceFile(whole, name, kind, stat.st_size, str(stat.st_mtime_ns))


def _walk(
    folder: Path, dropped: Counter[str], above: tuple[tuple[int, int], ...]
) -> Iterator[Path]:
    """Yield a folder's visible files; of a built corpus, its text shards.

    `above` tells the folders on the way here by device and number: a link back to one of them is
    counted in `dropped` and not followed.
    """
    with _refusals(folder):
        here = (folder.stat().st_dev, folder.stat().st_ino)
        if here in above:
            dropped["folder: link to itself"] += 1
            return
        paths = sorted(folder.iterdir())
    if is_corpus(folder):
        yield from (path for path in paths if path.name.endswith(".jsonl.zst"))
        return
    for path in paths:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path, dropped, (*above, here))
        else:
            yield path


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Turn the system's refusals, such as a link to nowhere or a forbidden folder, into ours."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}",
            hint="check where it leads and its permissions, or remove it",
        ) from error


def _kind_of(name: str) -> str | None:
    path = Path(name.lower())
    if path.suffix in COMPRESSIONS:
        path = path.with_suffix("")
    return path.suffix if path.suffix in KINDS else None


def _unknown(found: str) -> InputError:
    return InputError(f"{found}, expected {ACCEPTED}", hint="rename or convert it")
