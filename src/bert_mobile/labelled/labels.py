"""The labels of a file, found in a first pass, and what may be wrong with them as a whole."""

import difflib
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Collection, Iterable

from bert_mobile.errors import InputError
from bert_mobile.labelled.examples import Example, LabelledText, TaggedSentence
from bert_mobile.labelled.file import LabelledFile

_PREFIXED = re.compile(r"([BIESLUM])-(.+)")

SHOWN = 10
"""Labels that a message lists."""


def label_counts(examples: Iterable[Example]) -> dict[str, int]:
    """Return how often each label or tag occurs, sorted by name; numbers by size.

    Warns where tags contradict each other (`scheme_remark`).
    """
    counts: Counter[str] = Counter()
    for example in examples:
        counts.update(labels_of(example))
    remark = scheme_remark(counts) if getattr(examples, "kind", None) == "tag" else None
    if remark:
        warnings.warn(remark, stacklevel=2)
    return {name: counts[name] for name in sorted_names(counts)}


def label_names(examples: Iterable[Example]) -> tuple[str, ...]:
    """Return the different labels or tags, sorted as by `label_counts`."""
    return tuple(label_counts(examples))


def labels_of(example: Example) -> tuple[str, ...]:
    """Return the labels of a text or the tags of a sentence; nothing of any other example."""
    if isinstance(example, LabelledText):
        return example.labels or ()
    return (example.tags or ()) if isinstance(example, TaggedSentence) else ()


def sorted_names(names: Iterable[str]) -> list[str]:
    """Return names in a fixed order: by size where all are whole numbers."""
    names = list(names)
    if all(name.removeprefix("-").isdecimal() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def scheme_remark(names: Iterable[str]) -> str | None:
    """Say how tags such as B-PER and I-PER contradict each other; None where they do not."""
    begun: dict[str, set[str]] = {}
    bare = []
    for name in sorted_names(names):
        if matched := _PREFIXED.fullmatch(name):
            begun.setdefault(matched[2], set()).add(matched[1])
        elif name != "O":
            bare.append(name)
    if not begun:
        return None
    if bare:
        return f"tags with and without B- or I- are mixed: {bare[0]!r} has none"
    inside = [name for name, prefixes in begun.items() if prefixes == {"I"}]
    if inside and len(inside) < len(begun):
        return f"tags of BIO and IO are mixed: there is I-{inside[0]} and no B-{inside[0]}"
    return None


def alike_remark(names: Iterable[str]) -> str | None:
    """Say which labels look alike, though they are not the same; None where none do."""
    alike: dict[str, str] = {}
    for name in sorted_names(names):
        letters = " ".join(unicodedata.normalize("NFKC", name).split())
        other = alike.setdefault(letters.casefold(), name)
        if other.casefold() == name.casefold() and other != name:
            return f"labels {other!r} and {name!r} differ in case alone; are they one?"
        if other != name:
            return f"labels {other!a} and {name!a} look alike; are they one?"
    return None


def refuse_one_class(file: LabelledFile, names: Collection[str]) -> None:
    """Raise `InputError` where there is nothing to tell apart."""
    if len(names) < 2:
        found = f"the only label is {next(iter(names))!r}" if names else "there is no label"
        raise InputError(
            f"{file.labels_place}: {found}, expected two or more",
            hint="add examples of another class, or name another column with label (--label)",
        )


def unseen_label(where: str, label: str, names: Collection[str]) -> InputError:
    """Return the error for a label of an example that is none of the training data's."""
    near = difflib.get_close_matches(label, names, n=1)
    shown = ", ".join(sorted_names(names)[:SHOWN]) + (", …" if len(names) > SHOWN else "")
    return InputError(
        f"{where}: label {label!r}, expected one of the training file's: {shown}",
        hint=f"did you mean {near[0]!r}?" if near else "train on examples of it, or delete the row",
    )
