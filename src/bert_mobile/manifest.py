"""The manifest of a folder: SHA-256 of every file in it, in `provenance.json`, itself sealed.

    {
      "sealed": true,
      …,
      "files": {"config.json": "<64 hexadecimal digits>", …},
      "seal": "<SHA-256 of all bytes before the comma in front of this line>"
    }

No model format notices a flipped bit by itself, so nothing of ours is parsed before its hash is
checked; and the seal, whose place is fixed to the byte, lets no byte of the manifest change either.
A record that says neither `sealed` nor `seal` is of a version before seals. The two stand at
opposite ends, so no single accident makes a sealed record look like one of those.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from bert_mobile.errors import ArtifactError
from bert_mobile.files import atomic_file, sha256

SEALED, SEAL, FILES = MARKS = ("sealed", "seal", "files")
"""Keys of a record that speak of its own folder only."""

_END = re.compile(rb',\n  "seal": "([0-9a-f]{64})"\n\}\n\Z')
_END_BYTES = 81  # of that ending
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MOST_BYTES = 16_000_000  # a thousand times what any record of ours takes
_COPY = "copy the folder again from its source, or make the file anew"


def write_sealed(path: Path, facts: Mapping[str, Any]) -> None:
    """Write a record with its seal, atomically; `facts` hold the hashes under `files`."""
    facts = {key: value for key, value in facts.items() if key not in (SEALED, SEAL)}
    text = json.dumps({SEALED: True, **facts}, indent=2, ensure_ascii=False)
    body = text.removesuffix("\n}").encode()
    seal = hashlib.sha256(body).hexdigest()
    with atomic_file(path) as scratch:
        scratch.write_bytes(body + f',\n  "{SEAL}": "{seal}"\n}}\n'.encode())


def read_sealed(path: Path) -> dict[str, Any]:
    """Read a record of ours after checking its seal, and the form of its hashes.

    Raises `ArtifactError` where a byte of it has changed, or it is no record of ours.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise _damaged(path, f"has {path.stat().st_size:,} bytes, expected a provenance record")
    data = path.read_bytes()
    end = _END.search(data, max(0, len(data) - _END_BYTES))
    if end and hashlib.sha256(data[: end.start()]).hexdigest().encode() != end[1]:
        raise _damaged(path, "is damaged: its seal is that of other bytes")
    record = _parsed(path, data)
    if bool(end) != (SEAL in record) or bool(end) != (record.get(SEALED) is True):
        raise _damaged(path, "is damaged: its seal is broken")
    if not isinstance(record.get(FILES), dict) or not _is_ours(record):
        raise _damaged(path, "is no provenance record of ours, expected the hashes of the files")
    _check_names(path, record[FILES])
    return record


def check_files(folder: Path, manifest: Path, names: Iterable[str]) -> None:
    """Check files of `folder` against the hashes in `manifest`, a file that exists.

    A file that is there but not in a sealed manifest counts as changed. Raises `ArtifactError` on
    one that is missing or has changed.
    """
    record = read_sealed(manifest)
    recorded = record[FILES]
    for name in names:
        path = folder / name
        if name not in recorded:
            if SEAL in record and path.exists():
                raise ArtifactError(
                    f"{path} is not in {manifest.name}, expected the SHA-256 of every file there",
                    hint="remove the file, or make the folder anew",
                )
            continue
        if not path.is_file() or sha256(path) != recorded[name]:
            raise ArtifactError(
                f"{path} is missing or damaged: {manifest.name} has another SHA-256 for it",
                hint=_COPY,
            )


def _parsed(path: Path, data: bytes) -> dict[str, Any]:
    try:
        record = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"cannot be read as a provenance record: {error}") from error
    if not isinstance(record, dict):
        kind = type(record).__name__
        raise _damaged(path, f"holds a JSON {kind}, expected a provenance record")
    return record


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _is_ours(record: Mapping[str, Any]) -> bool:
    return str(record.get("code")).startswith("bert-mobile ")


def _check_names(path: Path, files: Mapping[str, Any]) -> None:
    """Raise `ArtifactError` on names that lead elsewhere, and on what is no hash."""
    for name, value in files.items():
        place = PurePosixPath(name)
        odd = place.is_absolute() or ".." in place.parts or str(place) != name or "\\" in name
        if odd or name == "." or ":" in name or "\0" in name:
            raise _damaged(path, f"names a file {name[:80]!r}, expected only those of its folder")
        if not isinstance(value, str) or not _HASH.fullmatch(value):
            raise _damaged(path, f"has {str(value)[:80]!r} for {name}, expected a SHA-256")


def _damaged(path: Path, problem: str) -> ArtifactError:
    return ArtifactError(f"{path} {problem}", hint=f"{_COPY}; delete it if it is not ours")
