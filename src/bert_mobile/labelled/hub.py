"""Data sets of the Hugging Face Hub: which of their files hold a split.

A source is `OWNER/NAME`, `OWNER/NAME:SPLIT`, `OWNER/NAME:CONFIG`, `OWNER/NAME:CONFIG:SPLIT`, or an
address of a file or a folder, `hf://datasets/OWNER/NAME/PATH` (what else may be an address:
`bert_mobile.corpus.remote`). A data set's own files are read, Parquet before others; where it has
none of a kind that we read, those into which the Hub converted it (`refs/convert/parquet`).

A file's split is in its name (`train-00000-of-00002.parquet`, `sst2_dev.tsv`) or that of its
folder; its configuration is the first folder that is neither a split nor `data`. `dev`, `val` and
`valid` are `validation`. With `HF_HUB_OFFLINE=1` the cache under `HF_HOME` is read.
"""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from bert_mobile.corpus import remote
from bert_mobile.corpus.libraries import library
from bert_mobile.errors import InputError

CONVERTED = "@refs%2Fconvert%2Fparquet"
"""Where the Hub keeps what it converted to Parquet: CONFIG/SPLIT/0000.parquet."""

_DATA_SET = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)((?::[\w.-]+){0,2})", re.ASCII)
_SHARD = re.compile(r"(.+)-\d+-of-\d+")
_SPLIT = re.compile(r"(?:^|[^a-z])(train|validation|valid|val|dev|test)(?![a-z])")
_SYNONYMS = {"valid": "validation", "val": "validation", "dev": "validation"}


class Found(NamedTuple):
    """One file of a data set."""

    file: remote.RemoteFile
    config: str
    split: str


def is_data_set(source: str | Path) -> bool:
    """Tell the name of a data set on the Hub; a file on a disk comes first, so look there."""
    return isinstance(source, str) and _DATA_SET.fullmatch(source) is not None


def data_set_files(source: str, split: str | None, kinds: Sequence[str]) -> list[remote.RemoteFile]:
    """Return the files of one split, in order; all of one of `kinds`, suffixes in their order.

    Raises `InputError` where the data set or the split is not there, or is not clear.
    """
    if remote.is_address(source):
        return _chosen(source, _listed(source, kinds), None, split)
    matched = _DATA_SET.fullmatch(source)
    if matched is None:
        raise InputError(f"{source!r} is no name of a data set", hint="expected OWNER/NAME")
    address = f"hf://datasets/{matched[1]}"
    found = _listed(address, kinds)
    if not found and not library("huggingface_hub.constants").HF_HUB_OFFLINE:
        found = _listed(address + CONVERTED, kinds)
    config, split = _parts(source, matched[2].split(":")[1:], split, found)
    return _chosen(source, found, config, split)


def _parts(
    source: str, parts: Sequence[str], split: str | None, found: Sequence[Found]
) -> tuple[str | None, str | None]:
    """Return the configuration and the split that a source names."""
    if not parts:
        return None, split
    is_config = len(parts) == 2 or parts[0] in {each.config for each in found}
    config = parts[0] if is_config else None
    named = parts[-1] if len(parts) == 2 or not is_config else None
    if named is not None and split is not None and named != split:
        raise InputError(
            f"{source} names the split {named!r}, and split is {split!r}", hint="give one of them"
        )
    return config, named or split


def _listed(address: str, kinds: Sequence[str]) -> list[Found]:
    """Return the data below an address: the files of the first kind that there is."""
    files = remote.list_files(address)
    root = address.rstrip("/").partition("://")[2]
    for kind in kinds:
        of_kind = [each for each in files if _plain_suffix(each.name) == kind]
        if of_kind:
            return [_found(each, root) for each in of_kind]
    return []


def _plain_suffix(name: str) -> str:
    path = PurePosixPath(name.lower())
    return (
        path.with_suffix("").suffix
        if path.suffix in {".gz", ".bz2", ".xz", ".zst"}
        else path.suffix
    )


def _found(file: remote.RemoteFile, root: str) -> Found:
    _, _, below = file.name.partition("://")[2].partition(root.partition("@")[0])
    path = PurePosixPath(re.sub(r"^@[^/]+", "", below).lstrip("/") or file.name)
    stem = path.name.partition(".")[0]
    shard = _SHARD.fullmatch(stem)
    folders = list(path.parts[:-1])
    split = ""
    for name in (shard[1] if shard else stem, *reversed(folders)):
        if matched := _SPLIT.search(name.lower()):
            split = name if shard or name in folders else matched[1]
            break
    configs = [name for name in folders if name not in {"data", split}]
    return Found(file, configs[0] if configs else "default", _SYNONYMS.get(split, split))


def _chosen(
    source: str, found: Sequence[Found], config: str | None, split: str | None
) -> list[remote.RemoteFile]:
    if not found:
        raise InputError(
            f"{source} holds no file of a kind that we read", hint="download and convert it first"
        )
    if len(found) > 1 or config:
        found = _only(source, found, "config", config)
    if len(found) > 1 or split:
        found = _only(source, found, "split", _SYNONYMS.get(split, split) if split else None)
    return [each.file for each in found]


def _only(source: str, found: Sequence[Found], what: str, wanted: str | None) -> list[Found]:
    """Return the files of one configuration or split; of the only one where none is named."""
    known = sorted({getattr(each, what) for each in found})
    if wanted is None and len(known) == 1:
        return list(found)
    if wanted is None and what == "config" and "default" in known:
        wanted = "default"
    if wanted not in known:
        said = f"no {what} {wanted!r}" if wanted else f"several {what}s"
        shown = ", ".join(name or "(none)" for name in known)
        raise InputError(
            f"{source} has {said}, expected one of {shown}",
            hint="name it: OWNER/NAME:CONFIG:SPLIT, or an address hf://datasets/OWNER/NAME/PATH",
        )
    return [each for each in found if getattr(each, what) == wanted]
