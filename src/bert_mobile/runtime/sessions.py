"""What runs the network: one protocol, and ONNX Runtime behind it.

Dimensions: B batch, T tokens, M chosen positions, H hidden, V vocabulary.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as onnxruntime_errors

from bert_mobile.checkpoint import WEIGHTS, read_weights, verify
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.hub import find_model
from bert_mobile.model.config import BertConfig
from bert_mobile.quantize.interface import INPUTS, LOGITS, POSITIONS
from bert_mobile.runtime.batches import Batch, IntArray
from bert_mobile.runtime.engines import ENGINES
from bert_mobile.runtime.forms import PACKED, check_form

FloatArray = NDArray[np.float32]

_ERRORS = (
    onnxruntime_errors.Fail,
    onnxruntime_errors.InvalidArgument,
    onnxruntime_errors.InvalidGraph,
    onnxruntime_errors.InvalidProtobuf,
    onnxruntime_errors.NotImplemented,
    onnxruntime_errors.RuntimeException,
)
_ONLY_ERRORS = 3  # of ONNX Runtime's log levels


class Session(Protocol):
    """A network that can be asked for its outputs by name (see `quantize.interface`)."""

    @property
    def outputs(self) -> frozenset[str]:
        """Names of the outputs that this network has."""

    def run(self, output: str, batch: Batch, positions: IntArray | None = None) -> FloatArray:
        """Return one output for a batch, float32.

        `positions` (M,), as indices b·T + t, are for `logits` only and give (M, V) in place of
        (B, T, V).
        """

    def run_several(self, outputs: Sequence[str], batch: Batch) -> list[FloatArray]:
        """Return several outputs for a batch, of one pass through the network."""


def check_outputs(asked: Iterable[str], there: Set[str], name: Path) -> None:
    """Raise `ArtifactError` where the network `name` lacks an output that is asked for."""
    for output in asked:
        if output not in there:
            raise ArtifactError(
                f"{name} has no output {output!r}, only {', '.join(sorted(there))}",
                hint="use a model that was trained for this question",
            )


class OnnxSession:
    """A network in ONNX Runtime on the CPU: ours, or any BERT with inputs of those names."""

    def __init__(self, model: Path | bytes, name: Path, *, threads: int | None = None) -> None:
        """Load a model from its file or its bytes; `name` is what errors call it.

        `threads` bounds the threads of one operator (None: as many as there are cores). Raises
        `ArtifactError` where it is no whole ONNX file or takes other inputs than a BERT's.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        options.log_severity_level = _ONLY_ERRORS
        source = str(model) if isinstance(model, Path) else model
        try:
            self._session = onnxruntime.InferenceSession(
                source, options, providers=["CPUExecutionProvider"]
            )
        except _ERRORS as error:
            raise ArtifactError(
                f"{name} cannot be loaded by ONNX Runtime: {_first_line(error)}",
                hint="copy the file again from its source, or make it anew",
            ) from error
        self._name = name
        self._inputs = {value.name for value in self._session.get_inputs()}
        self._chooses = POSITIONS in {v.name for v in self._session.get_overridable_initializers()}
        foreign = sorted(self._inputs.difference(INPUTS))
        if foreign:
            raise ArtifactError(
                f"{name} takes an input {foreign[0]!r}, expected only {', '.join(INPUTS)}",
                hint="export it anew, or use another model",
            )
        self.outputs = frozenset(value.name for value in self._session.get_outputs())

    def run(self, output: str, batch: Batch, positions: IntArray | None = None) -> FloatArray:
        """Return one output for a batch, float32; see `Session`."""
        feed = self._feed([output], batch)
        if self._chooses:
            # ONNX Runtime computes every output, asked for or not: where no logits are wanted, one
            # position keeps the vocabulary product small.
            only_one = None if output == LOGITS else np.zeros(1, dtype=np.int64)
            chosen = positions if positions is not None else only_one
            feed |= {} if chosen is None else {POSITIONS: chosen}
        (value,) = self._computed([output], feed)
        if positions is None:
            return value
        rows = value.reshape(-1, value.shape[-1])
        return rows if self._chooses else rows[positions]  # M V

    def run_several(self, outputs: Sequence[str], batch: Batch) -> list[FloatArray]:
        """Return several outputs for a batch, float32; see `Session`."""
        return self._computed(outputs, self._feed(outputs, batch))

    def _feed(self, outputs: Sequence[str], batch: Batch) -> dict[str, IntArray]:
        """Return the inputs that the network takes, after checking that it has the outputs."""
        check_outputs(outputs, self.outputs, self._name)
        arrays = dict(zip(INPUTS, (batch.ids, batch.mask, batch.types), strict=True))
        return {name: array for name, array in arrays.items() if name in self._inputs}

    def _computed(self, outputs: Sequence[str], feed: Mapping[str, IntArray]) -> list[FloatArray]:
        try:
            values: list[FloatArray] = self._session.run(list(outputs), feed)
        except _ERRORS as error:
            raise ArtifactError(
                f"{self._name} cannot be run: {_first_line(error)}",
                hint="the file is damaged or made for another use; make it anew",
            ) from error
        return values


def open_session(
    folder: Path, config: BertConfig, *, threads: int | None = None, weights: str = PACKED
) -> Session:
    """Open the network in `folder`, after checking its hash against `provenance.json`.

    From a float checkpoint the same graph is built in memory; heads of other tasks are left out
    with a warning. `weights` says what packed weights become in memory (see `unpacking`). Raises
    `ArtifactError` where there is no network or it is damaged, `MissingExtraError` where the
    package that opens it is missing, `InputError` where its engine cannot hold such weights or
    `threads` is less than 1.
    """
    check_form(weights)
    if threads is not None and threads < 1:
        raise InputError(f"the number of threads is {threads}, expected at least 1", hint="try 1")
    path = find_model(folder)
    if path.name != WEIGHTS:
        return _open_file(folder, path, threads, weights)
    from bert_mobile.quantize.graph import build_graph

    exact = read_weights(folder, config, skip_foreign_heads=True)
    model = build_graph(config, exact).SerializeToString()
    if weights != PACKED:
        model = _unpacked(model, path, weights)
    return OnnxSession(model, path, threads=threads)


def _open_file(folder: Path, path: Path, threads: int | None, weights: str) -> Session:
    """Open what lies at one of the places of the table of engines."""
    place = path.relative_to(folder).as_posix()
    engine = next(engine for engine in ENGINES if engine.place == place)
    verify(folder, [place, *engine.beside])
    if weights != PACKED and path.suffix != ".onnx":
        raise InputError(
            f"{path} is no ONNX file, whose weights alone are unpacked to {weights}",
            hint=f"leave out the weights, which are {PACKED} then",
        )
    model = path if weights == PACKED else _unpacked(path.read_bytes(), path, weights)
    kind = getattr(import_module(engine.module), engine.session)
    session: Session = kind(model, path, threads=threads)
    return session


def _unpacked(model: bytes, path: Path, weights: str) -> bytes:
    """Rewrite a model; what that needs is imported here, as most answers do without it."""
    from bert_mobile.runtime.unpacking import unpacked

    return unpacked(model, path, weights)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
