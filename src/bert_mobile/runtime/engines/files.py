"""What every engine of another runtime does with its file: a look at it first, and plain errors."""

from pathlib import Path

from bert_mobile.errors import ArtifactError

AGAIN = "copy the folder again from its source, or make it anew"
"""What to do about a damaged file."""

_LONGEST = 200  # characters of a runtime's own words


def check_beginning(model: Path, name: Path, expected: bytes, *, skipped: int = 0) -> None:
    """Raise `ArtifactError` unless a file has these bytes at its beginning, or `skipped` later.

    Runtimes guess at what they do not know, or end the process; `name` is what errors call it.
    """
    with model.open("rb") as file:
        found = file.read(skipped + len(expected))[skipped:]
    if found != expected:
        where = (
            f"has {found!r} after its first {skipped} bytes"
            if skipped
            else f"begins with {found!r}"
        )
        raise ArtifactError(f"{name} {where}, expected {expected!r}", hint=AGAIN)


def in_one_line(error: Exception) -> str:
    """Return what a runtime says, in one line."""
    return " ".join(str(error).split())[:_LONGEST] or "no reason given"
