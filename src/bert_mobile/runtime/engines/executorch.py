"""ExecuTorch on the CPU, asked as any other session: one text at a time, of any length.

Its Python runtime comes with PyTorch, whose tensors it takes. It has one pool of threads for the
whole process, which the session that was opened last with a number of `threads` decides on.

Dimensions: T tokens, M chosen rows, H hidden, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_mobile.errors import ArtifactError, MissingExtraError
from bert_mobile.foreign import TALKATIVE, muted
from bert_mobile.quantize.interface import FORWARD, INPUTS, OUTPUT_NAMES, VOCABULARY
from bert_mobile.runtime.engines.files import AGAIN, check_beginning, in_one_line
from bert_mobile.runtime.engines.single import SingleTexts
from bert_mobile.runtime.sessions import FloatArray

try:
    with muted(*TALKATIVE):
        import executorch.kernels.quantized  # noqa: F401 - registers the look-ups
        import torch
        from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
        from executorch.runtime import Runtime
except ImportError:
    raise MissingExtraError("executorch", "executorch") from None

_IDENTIFIER = b"ET12"
_BEFORE = 4  # bytes that come before it


class ExecuTorchSession(SingleTexts):
    """A network in a `.pte` file that `export --to executorch` wrote."""

    def __init__(self, model: Path, name: Path, *, threads: int | None = None) -> None:
        """Load the file; `name` is what errors call it.

        `threads` bounds the threads of a question (None: as they are). Raises `ArtifactError`
        where ExecuTorch cannot read it, or it has not the methods of ours.
        """
        check_beginning(model, name, _IDENTIFIER, skipped=_BEFORE)
        if threads is not None:
            _unsafe_reset_threadpool(threads)
        self._lock = Lock()
        try:
            self._program = Runtime.get().load_program(model)
            methods = self._program.method_names
            if not {FORWARD, OUTPUT_NAMES} <= methods:
                raise ArtifactError(
                    f"{name} has the methods {', '.join(sorted(methods))}, expected {FORWARD} and "
                    f"{OUTPUT_NAMES}",
                    hint="export it anew, or use another model",
                )
            self._forward = self._program.load_method(FORWARD)
            [names] = self._program.load_method(OUTPUT_NAMES).execute([])
        except RuntimeError as error:
            raise ArtifactError(
                f"{name} cannot be loaded by ExecuTorch: {in_one_line(error)}", hint=AGAIN
            ) from error
        self._names: list[str] = names.split(",")
        super().__init__(name, frozenset(self._names), has_vocabulary=VOCABULARY in methods)

    def _encode(self, feed: Mapping[str, NDArray[Any]]) -> Mapping[str, FloatArray]:
        inputs = [torch.from_numpy(np.ascontiguousarray(feed[name])) for name in INPUTS]
        return dict(zip(self._names, self._asked(self._forward, inputs), strict=True))

    @cached_property
    def _vocabulary(self) -> Any:
        """What scores words, loaded when the first are asked for."""
        return self._program.load_method(VOCABULARY)

    def _words(self, hidden: FloatArray) -> FloatArray:
        return self._asked(self._vocabulary, [torch.from_numpy(hidden)])[0]

    def _asked(self, method: Any, inputs: Sequence[Any]) -> list[FloatArray]:
        try:
            with self._lock:  # a method has room for one question
                return [each.numpy().copy() for each in method.execute(inputs)]
        except RuntimeError as error:
            raise ArtifactError(
                f"{self._name} cannot be run by ExecuTorch: {in_one_line(error)}",
                hint="a text is too long for it, or the file damaged; make it anew",
            ) from error
