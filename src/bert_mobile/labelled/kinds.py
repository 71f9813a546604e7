"""Find labelled files and tell their kinds: by name, compression aside, else by content."""

from itertools import islice
from pathlib import Path

from bert_mobile.corpus import remote
from bert_mobile.corpus.streams import COMPRESSIONS, open_stream
from bert_mobile.errors import InputError
from bert_mobile.labelled import hub
from bert_mobile.labelled.lines import numbered_lines
from bert_mobile.labelled.places import DataFile

KINDS = ("csv", "tsv", "jsonl", "json", "parquet", "conll", "conllu")
"""What a labelled file may be."""

_SUFFIXES = {
    **{f".{kind}": kind for kind in KINDS},
    ".tab": "tsv",
    ".ndjson": "jsonl",
    **dict.fromkeys((".bio", ".iob", ".iob2", ".bioes", ".iobes", ".ner", ".pos"), "conll"),
}

_UNITS = {"parquet": "row", "json": "record"}

ACCEPTED = f"{', '.join(_SUFFIXES)} or .txt, each plain or followed by {', '.join(COMPRESSIONS)}"

_ELSEWHERE = (".parquet", *(suffix for suffix in _SUFFIXES if suffix != ".parquet"))
"""Suffixes that are looked for in a data set, the best first."""

_LOOKED_AT = 200
"""Lines of a file that are looked at for its kind."""


def find(
    source: str | Path, kind: str, split: str | None, form: str | None
) -> tuple[DataFile, ...]:
    """Return the files behind a source; raises `InputError` where none is of a known kind."""
    if form is not None and form not in KINDS:
        raise InputError(f"form is {form!r}, expected one of {', '.join(KINDS)}", hint="check it")
    if not str(source):
        raise InputError("the name of a file is empty, expected a path", hint="check it")
    path = remote.local_path(source)
    if path is None or (hub.is_data_set(source) and _is_elsewhere(path)):
        return _files_elsewhere(str(source), split, form)
    if path.is_dir():
        raise InputError(
            f"{source} is a folder, expected a file of labelled examples",
            hint="name a file in it",
        )
    if not path.exists():
        raise InputError(f"{source} does not exist, expected a file", hint="check the path")
    if not path.is_file():
        raise InputError(f"{source} is no regular file", hint="write it to a file first")
    size = path.stat().st_size
    file = labelled_file(str(path), str(source), size, kind, form)
    if split is not None and file.kind != "json":
        raise InputError(
            f"{source} is one split by itself, and split {split!r} is asked for",
            hint="leave out split; a JSON file or a data set of the Hub may have several",
        )
    return (file,)


def with_split(source: str | Path, split: str | None) -> tuple[str | Path, str | None]:
    """Return a file and the split that its name asks for, as in `data.json:train`."""
    name, colon, named = str(source).rpartition(":")
    if not colon or suffix_kind(name) != "json" or remote.is_address(source) or "/" in named:
        return source, split
    if split not in (None, named):
        raise InputError(
            f"{source} names the split {named!r}, and split is {split!r}", hint="give one of them"
        )
    return name, named


def _is_elsewhere(path: Path) -> bool:
    """Tell that OWNER/NAME is no file here, nor meant to be one."""
    return not path.exists() and suffix_kind(path.name) is None


def _files_elsewhere(source: str, split: str | None, form: str | None) -> tuple[DataFile, ...]:
    found = []
    try:
        files = hub.data_set_files(source, split, _ELSEWHERE)
    except InputError as error:
        if remote.is_address(source):
            raise
        raise InputError(f"{source} is no file here; {error.message}", hint=error.hint) from error
    for file in files:
        kind = form or suffix_kind(file.name) or "parquet"
        unit = _UNITS.get(kind, "line")
        found.append(DataFile(file.path, file.name, file.bytes, kind, unit))
    return tuple(found)


def labelled_file(path: str, name: str, size: int, kind: str, form: str | None) -> DataFile:
    """Return one file with its kind. Raises `InputError` where that is not known."""
    found = form or suffix_kind(path)
    if found is None or (found == "tsv" and kind == "tag" and form is None):
        found = _kind_of_content(DataFile(path, name, size, "txt"), kind, found)
    return DataFile(path, name, size, found, _UNITS.get(found, "line"))


def suffix_kind(name: str) -> str | None:
    """Return what a name says of a file's kind."""
    path = Path(name.lower())
    if path.suffix in COMPRESSIONS:
        path = path.with_suffix("")
    return _SUFFIXES.get(path.suffix)


def _kind_of_content(file: DataFile, kind: str, otherwise: str | None) -> str:
    """Tell CoNLL by blank lines between sentences, TSV by tabs."""
    with open_stream(file.path) as stream:
        lines = numbered_lines(stream.plain, file, "latin-1")
        texts = [line.strip("\r\n") for _, line in islice(lines, _LOOKED_AT)]
    if not any(texts):
        raise file.empty()
    if kind == "tag" and "" in texts[:-1]:
        return "conll"
    if otherwise:
        return otherwise
    if "\t" in texts[0]:
        return "tsv"
    if kind == "tag":
        return "conll"
    raise InputError(
        f"{file.name} is of no known kind, expected {ACCEPTED}",
        hint="rename it, or say what it is with form (--form)",
    )
