"""The door to the libraries of the extras, and the versions that shape a corpus."""

import importlib
from importlib.metadata import version
from types import ModuleType

from bert_mobile.errors import MissingExtraError

SHAPING = ("ftfy", "mwparserfromhell", "rensa", "sentencex", "tokenizers", "zstandard")
"""Libraries whose version may change the bytes of a corpus; the manifest records them."""


def library(name: str, extra: str = "train") -> ModuleType:
    """Import a library of an extra; `MissingExtraError` where it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise MissingExtraError(name, extra) from None


def shaping_versions() -> dict[str, str]:
    """Return the version of each of `SHAPING`; `MissingExtraError` where one is missing."""
    for name in SHAPING:
        library(name)
    return {name: version(name) for name in SHAPING}
