"""LiteRT (TensorFlow Lite) on the CPU, asked as any other session.

A file of ours answers single texts, in buckets of lengths: each goes through the smallest bucket
that holds it. Words are scored for chosen rows of hidden states, by a signature of their own.

Dimensions: T tokens, M chosen rows, H hidden, V vocabulary.
"""

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_mobile.errors import ArtifactError, InputError, MissingExtraError
from bert_mobile.quantize.interface import BUCKET, HIDDEN, INPUTS, LOGITS, VOCABULARY
from bert_mobile.runtime.engines.files import AGAIN, check_beginning, in_one_line
from bert_mobile.runtime.engines.single import SingleTexts
from bert_mobile.runtime.sessions import FloatArray

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    raise MissingExtraError("ai_edge_litert", "litert") from None

_IDENTIFIER = b"TFL3"
_BEFORE = 4  # bytes that come before it


class LiteRtSession(SingleTexts):
    """A network in a `.tflite` file that `export --to litert` wrote."""

    def __init__(self, model: Path, name: Path, *, threads: int | None = None) -> None:
        """Load the file; `name` is what errors call it.

        `threads` bounds the threads of a question (None: LiteRT's own choice). Raises
        `ArtifactError` where LiteRT cannot read it, or it has not the signatures of ours.
        """
        check_beginning(model, name, _IDENTIFIER, skipped=_BEFORE)
        self._lock = Lock()
        try:
            self._interpreter = Interpreter(model_path=str(model), num_threads=threads)
            self._signatures: dict[str, Any] = self._interpreter.get_signature_list()
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(
                f"{name} cannot be loaded by LiteRT: {in_one_line(error)}", hint=AGAIN
            ) from error
        self._buckets = sorted(
            int(key.removeprefix(BUCKET)) for key in self._signatures if key.startswith(BUCKET)
        )
        self._check_signatures(name)
        direct = frozenset(self._signatures[f"{BUCKET}{self._buckets[0]}"]["outputs"])
        super().__init__(name, direct, has_vocabulary=VOCABULARY in self._signatures)

    def _encode(self, feed: Mapping[str, NDArray[Any]]) -> Mapping[str, FloatArray]:
        """Ask for one text, in the smallest bucket that holds it."""
        tokens = next(iter(feed.values())).shape[1]
        bucket = next((size for size in self._buckets if size >= tokens), None)
        if bucket is None:
            raise InputError(
                f"a text has {tokens} tokens, expected at most {self._buckets[-1]}",
                hint="shorten it",
            )
        padding = ((0, 0), (0, bucket - tokens))
        padded = {name: np.pad(array, padding).astype(np.int32) for name, array in feed.items()}
        return self._asked(f"{BUCKET}{bucket}", padded)

    def _words(self, hidden: FloatArray) -> FloatArray:
        return self._asked(VOCABULARY, {HIDDEN: hidden})[LOGITS]

    def _asked(self, signature: str, feed: dict[str, Any]) -> dict[str, FloatArray]:
        try:
            with self._lock:  # an interpreter has room for one question
                answer: dict[str, FloatArray] = self._interpreter.get_signature_runner(signature)(
                    **feed
                )
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(
                f"{self._name} cannot be run by LiteRT: {in_one_line(error)}",
                hint="the file is damaged or made for another use; make it anew",
            ) from error
        return answer

    def _check_signatures(self, name: Path) -> None:
        """Raise `ArtifactError` unless there are buckets, all with a BERT's inputs."""
        asked = [self._signatures[f"{BUCKET}{size}"]["inputs"] for size in self._buckets]
        if not asked or any(set(inputs) != set(INPUTS) for inputs in asked):
            raise ArtifactError(
                f"{name} has the signatures {', '.join(self._signatures) or 'none'}, "
                f"expected {BUCKET}16 and so on, of {', '.join(INPUTS)}",
                hint="export it anew, or use another model",
            )
