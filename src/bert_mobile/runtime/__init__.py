"""Answers without torch: a folder becomes a `Model`.

`sessions` runs the network (ONNX Runtime), `text` turns texts into tokens and back, `batches` puts
texts of like length together, `model` holds what one can ask. Importing this package loads none of
that; `load` does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from bert_mobile.runtime.model import Model

__all__ = ["load"]


def load(
    model: str | PathLike[str] = "default",
    *,
    threads: int | None = None,
    weights: str = "packed",
) -> Model:
    """Load a model ready to answer.

    `model` is `"default"`, a folder, or a name on the Hugging Face Hub (see `hub.resolve`). In a
    folder, `onnx/model_quantized.onnx` is preferred to `onnx/model.onnx`, and that to
    `model.safetensors`, from which the float32 network is built in memory. `threads` bounds the
    processor threads of one call (None, or more than there are cores: as many as these). `weights`
    says what the weights of a quantized file are in memory: as they are `packed`, or unpacked at
    load to `int8` or `float32` (see `unpacking`). Raises `ArtifactError` where there is no such
    model or it is damaged, `InputError` where `threads` is less than 1 or there are no such
    weights.
    """
    from bert_mobile.checkpoint import verify
    from bert_mobile.hub import resolve
    from bert_mobile.model.config import BertConfig
    from bert_mobile.runtime.model import Model
    from bert_mobile.runtime.sessions import open_session
    from bert_mobile.runtime.text import TextEncoder
    from bert_mobile.tokenizer import TOKENIZER_FILES

    if threads is not None:  # a thread takes time and memory to start, wanted or not
        threads = min(threads, os.cpu_count() or threads)
    folder = resolve(model)
    verify(folder, ["config.json", *TOKENIZER_FILES])
    config = BertConfig.read(folder)
    session = open_session(folder, config, threads=threads, weights=weights)
    return Model(session, TextEncoder(folder, config), config, folder)
