"""LiteRT (TensorFlow Lite) on the CPU, asked as any other session.

A file of ours answers single texts, in buckets of lengths: each row of a batch goes through the
smallest bucket that holds it, padding left out. Words are scored for chosen rows of hidden states,
by a signature of their own.

Dimensions: B batch, T tokens, M chosen positions, H hidden, V vocabulary.
"""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from bert_mobile.errors import ArtifactError, InputError, MissingExtraError
from bert_mobile.quantize.interface import (
    BUCKET,
    END_LOGITS,
    HIDDEN,
    INPUTS,
    LOGITS,
    START_LOGITS,
    VOCABULARY,
)
from bert_mobile.runtime.batches import Batch, IntArray
from bert_mobile.runtime.sessions import FloatArray

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    raise MissingExtraError("ai_edge_litert", "litert") from None

_IDENTIFIER = b"TFL3"
_BEFORE = 4  # bytes that come before it
_ROWS = 64  # hidden states whose words are scored at a time: bounds the memory
_AGAIN = "copy the folder again from its source, or make it anew"


class LiteRtSession:
    """A network in a `.tflite` file that `export --to litert` wrote."""

    def __init__(self, model: Path, name: Path, *, threads: int | None = None) -> None:
        """Load the file; `name` is what errors call it.

        `threads` bounds the threads of a question (None: LiteRT's own choice). Raises
        `ArtifactError` where LiteRT cannot read it, or it has not the signatures of ours.
        """
        if threads is not None and threads < 1:
            raise InputError(
                f"the number of threads is {threads}, expected at least 1", hint="try 1"
            )
        _check_beginning(model, name)
        self._name, self._lock = name, Lock()
        try:
            self._interpreter = Interpreter(model_path=str(model), num_threads=threads)
            self._signatures: dict[str, Any] = self._interpreter.get_signature_list()
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(
                f"{name} cannot be loaded by LiteRT: {_reason(error)}", hint=_AGAIN
            ) from error
        self._buckets = sorted(
            int(key.removeprefix(BUCKET)) for key in self._signatures if key.startswith(BUCKET)
        )
        self._check_signatures()
        words = {LOGITS} if VOCABULARY in self._signatures else set()
        self._direct = frozenset(self._signatures[f"{BUCKET}{self._buckets[0]}"]["outputs"])
        self.outputs = self._direct | words

    def run(self, output: str, batch: Batch, positions: IntArray | None = None) -> FloatArray:
        """Return one output for a batch, float32; see `Session`."""
        if positions is None:
            return self.run_several([output], batch)[0]
        if output != LOGITS or output in self._direct:
            found = self.run_several([output], batch)[0]
            return found.reshape(-1, found.shape[-1])[positions]
        hidden = self.run_several([HIDDEN], batch)[0]
        return self._words(hidden.reshape(-1, hidden.shape[-1])[positions])  # M V

    def run_several(self, outputs: Sequence[str], batch: Batch) -> list[FloatArray]:
        """Return several outputs for a batch, float32, 0 at padding; see `Session`."""
        for output in outputs:
            if output not in self.outputs:
                raise ArtifactError(
                    f"{self._name} has no output {output!r}, only "
                    f"{', '.join(sorted(self.outputs))}",
                    hint="use a model that was trained for this question",
                )
        rows = [self._row(batch, row) for row in range(len(batch.ids))]
        return [self._joined(output, rows, batch) for output in outputs]

    def _joined(
        self, output: str, rows: Sequence[dict[str, FloatArray]], batch: Batch
    ) -> FloatArray:
        """Put the answers of single texts side by side, those by token padded to (B, T, …)."""
        if output not in self._direct:
            hidden = self._joined(HIDDEN, rows, batch)
            words = self._words(hidden.reshape(-1, hidden.shape[-1]))
            return words.reshape(*batch.ids.shape, -1)  # B T V
        if rows[0][output].ndim < 3 and output not in (START_LOGITS, END_LOGITS):
            return np.concatenate([row[output] for row in rows])
        found = np.zeros((*batch.ids.shape, *rows[0][output].shape[2:]), np.float32)
        for number, row in enumerate(rows):
            tokens = _length(batch, number)
            found[number, :tokens] = row[output][0, :tokens]
        return found

    def _row(self, batch: Batch, row: int) -> dict[str, FloatArray]:
        """Ask for one text, in the smallest bucket that holds it."""
        tokens = _length(batch, row)
        bucket = next((size for size in self._buckets if size >= tokens), None)
        if bucket is None:
            raise InputError(
                f"a text has {tokens} tokens, expected at most {self._buckets[-1]}",
                hint="shorten it",
            )
        arrays = (batch.ids, batch.mask, batch.types)
        feed = {
            name: np.pad(array[row, :tokens], (0, bucket - tokens))[None].astype(np.int32)
            for name, array in zip(INPUTS, arrays, strict=True)
        }
        return self._asked(f"{BUCKET}{bucket}", feed)

    def _words(self, hidden: FloatArray) -> FloatArray:
        """Score the words for hidden states (M, H): (M, V)."""
        parts = [
            self._asked(VOCABULARY, {HIDDEN: hidden[start : start + _ROWS]})[LOGITS]
            for start in range(0, len(hidden), _ROWS)
        ]
        return np.concatenate(parts)

    def _asked(self, signature: str, feed: dict[str, Any]) -> dict[str, FloatArray]:
        try:
            with self._lock:  # an interpreter has room for one question
                answer: dict[str, FloatArray] = self._interpreter.get_signature_runner(signature)(
                    **feed
                )
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(
                f"{self._name} cannot be run by LiteRT: {_reason(error)}",
                hint="the file is damaged or made for another use; make it anew",
            ) from error
        return answer

    def _check_signatures(self) -> None:
        """Raise `ArtifactError` unless there are buckets, all with a BERT's inputs."""
        asked = [self._signatures[f"{BUCKET}{size}"]["inputs"] for size in self._buckets]
        if not asked or any(set(inputs) != set(INPUTS) for inputs in asked):
            raise ArtifactError(
                f"{self._name} has the signatures {', '.join(self._signatures) or 'none'}, "
                f"expected {BUCKET}16 and so on, of {', '.join(INPUTS)}",
                hint="export it anew, or use another model",
            )


def _length(batch: Batch, row: int) -> int:
    """Return how many tokens a row has, up to its last that is no padding."""
    return int(np.flatnonzero(batch.mask[row])[-1]) + 1


def _check_beginning(model: Path, name: Path) -> None:
    with model.open("rb") as file:
        found = file.read(_BEFORE + len(_IDENTIFIER))[_BEFORE:]
    if found != _IDENTIFIER:
        raise ArtifactError(
            f"{name} has {found!r} after its first {_BEFORE} bytes, expected {_IDENTIFIER!r}",
            hint=_AGAIN,
        )


def _reason(error: Exception) -> str:
    """Return what LiteRT says, in one line."""
    return " ".join(str(error).split())[:200] or "no reason given"
