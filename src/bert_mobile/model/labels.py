"""The names of a head's classes: read from a config.json, and refused where they are no list."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bert_mobile.errors import ArtifactError

MAX_LABELS = 65_536
"""More classes than any task has; a larger number is a damaged file's."""
_DEFAULT_COUNT = 2  # transformers does not write the names that it gives to two classes itself


def read_labels(raw: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """Return the labels of the config.json `raw`, in the order of their ids.

    Without `id2label` there are `num_labels` of them (two where that is absent too), called
    `LABEL_0` and so on, as in transformers. Raises `ArtifactError` where the ids are not 0, 1, …
    without gaps; `path` is what errors call the file.
    """
    stated = raw.get("id2label")
    if stated is None:
        return _numbered(raw.get("num_labels", _DEFAULT_COUNT), path)
    hint = 'correct id2label in config.json: {"0": "first label", "1": "second label"}'
    if not isinstance(stated, dict):
        raise ArtifactError(
            f"{path} has an id2label of type {type(stated).__name__}, expected an object",
            hint=hint,
        )
    wanted = [str(number) for number in range(len(stated))]
    known = set(wanted)
    odd = next((key for key in stated if key not in known), None)
    if odd is not None:
        absent = next(key for key in wanted if key not in stated)
        raise ArtifactError(
            f"{path} has a label for the id {odd[:20]!r} but none for {absent}, expected the ids "
            f"0 to {len(stated) - 1}",
            hint=hint,
        )
    return tuple(stated[key] for key in wanted)


def check_labels(labels: Sequence[object], *, wanted: bool) -> None:
    """Raise `ArtifactError` unless these are names of classes, or none where none are `wanted`."""
    hint = "give every class a name of its own"
    if bool(labels) is not wanted or len(labels) > MAX_LABELS:
        expected = f"1 to {MAX_LABELS:,}" if wanted else "none for this architecture"
        raise ArtifactError(f"there are {len(labels):,} labels, expected {expected}", hint=hint)
    seen: set[str] = set()
    for number, label in enumerate(labels):
        if not isinstance(label, str) or not label or not _is_unicode(label):
            raise ArtifactError(f"label {number} is {label!r}, expected a name", hint=hint)
        if label in seen:
            raise ArtifactError(
                f"two labels are called {label!r}, expected different names", hint=hint
            )
        seen.add(label)


def _numbered(count: object, path: Path) -> tuple[str, ...]:
    if type(count) is not int or not 1 <= count <= MAX_LABELS:
        raise ArtifactError(
            f"{path} says num_labels is {count!r}, expected 1 to {MAX_LABELS:,}",
            hint="correct config.json",
        )
    return tuple(f"LABEL_{number}" for number in range(count))


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
