"""llama.cpp, asked as any other session: hidden states of single texts, by `xllamacpp`'s wheels.

The wheel holds llama.cpp's server as a library. Hidden states of every token are to be had from it
only over HTTP, on a port of this machine that it chooses; a key that nobody else knows guards it.
What llama.cpp does with BERT bounds what can be asked: there are no heads, all tokens lie in
segment 0, and a sequence is computed on its own, without padding.

Dimensions: B batch, T tokens, H hidden.
"""

import json
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.request import Request, urlopen

import numpy as np

from bert_mobile.errors import ArtifactError, MissingExtraError
from bert_mobile.quantize.interface import HIDDEN
from bert_mobile.runtime.batches import Batch, IntArray
from bert_mobile.runtime.engines.files import AGAIN, check_beginning, in_one_line
from bert_mobile.runtime.sessions import FloatArray

try:
    import xllamacpp
except ImportError:
    raise MissingExtraError("xllamacpp", "gguf") from None

_MAGIC = b"GGUF"
_LENGTH = b"bert.context_length"  # in the file, before the type of the number and the number
_HEAD = 1 << 16  # bytes in which it is looked for: it comes before the words
_LONGEST = 512  # tokens of a text, where the file does not say
_SECONDS = 600  # until an answer is given up
_SILENT = -1  # of llama.cpp's verbosities


class GgufSession:
    """A BERT in llama.cpp."""

    outputs = frozenset({HIDDEN})
    takes_pairs = False

    def __init__(self, model: Path, name: Path, *, threads: int | None = None) -> None:
        """Load a GGUF file; `name` is what errors call it.

        `threads` bounds the threads of a question (None: llama.cpp's own choice). Raises
        `ArtifactError` where llama.cpp cannot read the file.
        """
        check_beginning(model, name, _MAGIC)
        self._name, self._key = name, token_hex()
        try:
            self._server = xllamacpp.Server(_parameters(model, threads, self._key))
        except RuntimeError as error:
            raise ArtifactError(
                f"{name} cannot be loaded by llama.cpp: {in_one_line(error)}", hint=AGAIN
            ) from error
        self.tokenize("")  # a server that is dropped before it runs would wait for ever

    def run(self, output: str, batch: Batch, positions: IntArray | None = None) -> FloatArray:
        """Return hidden states (B, T, H), 0 at padding; see `Session`."""
        rows = self.run_several([output], batch)[0]
        return rows if positions is None else rows.reshape(-1, rows.shape[-1])[positions]

    def run_several(self, outputs: Sequence[str], batch: Batch) -> list[FloatArray]:
        """Return hidden states for each name in `outputs`, which can be no other."""
        for output in outputs:
            if output != HIDDEN:
                raise ArtifactError(
                    f"{self._name} has no output {output!r}, only {HIDDEN}",
                    hint="llama.cpp gives embeddings of BERT; use a folder of another target",
                )
        if batch.types.any():
            raise ArtifactError(
                f"{self._name} was given a pair of texts, expected single ones",
                hint="llama.cpp knows one segment of BERT; use a folder of another target",
            )
        found = self._hidden(batch)
        return [found for _ in outputs]

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of a text by llama.cpp's own tokenizer, `[CLS]` and `[SEP]` included."""
        answer = self._post("/tokenize", {"content": text, "add_special": True})
        return [int(number) for number in answer["tokens"]]

    def _hidden(self, batch: Batch) -> FloatArray:
        lengths = batch.mask.sum(axis=1)
        asked = [row[:length].tolist() for row, length in zip(batch.ids, lengths, strict=True)]
        answer = self._post("/embeddings", {"input": asked, "embd_normalize": -1})
        rows = [np.array(each["embedding"], np.float32) for each in answer]  # T H each
        hidden = np.zeros((*batch.ids.shape, rows[0].shape[1]), np.float32)
        for number, row in enumerate(rows):
            hidden[number, : len(row)] = row
        return hidden

    def _post(self, path: str, question: dict[str, Any]) -> Any:
        """Ask the server inside this process."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        request = Request(  # noqa: S310 - on this machine, by HTTP
            self._server.listening_address + path, json.dumps(question).encode(), headers
        )
        try:
            with urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
                return json.load(answer)
        except (OSError, HTTPException, ValueError) as error:
            raise ArtifactError(
                f"{self._name} cannot be run by llama.cpp: {error}",
                hint="texts may be too long for it, or the file damaged; make it anew",
            ) from error


def _parameters(model: Path, threads: int | None, key: str) -> Any:
    """Return llama.cpp's settings for hidden states of every token."""
    found = xllamacpp.CommonParams()
    found.model.path = str(model)
    found.embedding, found.embd_normalize = True, -1
    found.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_NONE
    found.n_ctx = 0  # as long as the model's
    found.n_batch = found.n_ubatch = _longest(model)  # a text is computed at once
    found.n_parallel, found.n_gpu_layers = 1, 0
    found.warmup, found.verbosity = False, _SILENT
    found.api_keys = [key]
    if threads is not None:
        found.cpuparams.n_threads = found.cpuparams_batch.n_threads = threads
    return found


def _longest(model: Path) -> int:
    """Return how many tokens a text may have, which llama.cpp does not tell before it loads it."""
    with model.open("rb") as file:
        _, found, rest = file.read(_HEAD).partition(_LENGTH)
    return int.from_bytes(rest[4:8], "little") if found else _LONGEST
