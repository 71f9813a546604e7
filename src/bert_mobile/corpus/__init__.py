"""From raw English text to shards of pieces: read, clean, split, deduplicate, encode.

Everything streams: memory stays bounded however large the input. Every document or sentence that
does not reach the shards is counted in the manifest under a named reason. The same sources,
settings and library versions give the same bytes, with one worker or many, here or on a cluster,
in one go or resumed.

`build_corpus` makes a corpus folder, `tokenize_corpus` encodes it anew with another tokenizer, and
`read_sentences` feeds the training of a tokenizer. The folder's format is described in
`bert_mobile.corpus.shards`; later stages read the pieces with `bert_mobile.examples.Corpus`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bert_mobile.corpus.build import (
        BuildReport,
        build_corpus,
        read_sentences,
        tokenize_corpus,
    )

__all__ = [
    "BuildReport",
    "build_corpus",
    "read_sentences",
    "tokenize_corpus",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that `import bert_mobile.corpus` loads not even numpy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.build"), name)
