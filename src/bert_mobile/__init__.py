"""bert-mobile: a BERT of 25 MB, from raw text to answers.

    import bert_mobile
    model = bert_mobile.load()
    model.fill_mask("The capital of France is [MASK].")

Importing this module loads nothing heavier than the standard library; `load` brings in NumPy,
tokenizers and ONNX Runtime when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from bert_mobile.runtime.model import Model

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(
    model: str | PathLike[str] = "default",
    *,
    threads: int | None = None,
    weights: str = "packed",
) -> Model:
    """Load a model ready to answer.

    `model` is `"default"` (the embedded 25 MB model), a folder, or the name of a repository on the
    Hugging Face Hub such as `"boltuix/bert-mobile"`. `threads` bounds the processor threads of one
    call (None: as many as there are cores). `weights` says what packed weights become in memory:
    `"packed"` as they are, `"int8"` for more speed, `"float32"` for unrounded activations. Raises
    `ArtifactError` where there is no such model or it is damaged.
    """
    from bert_mobile.runtime import load as load_session

    return load_session(model, threads=threads, weights=weights)
