"""OpenVINO on the CPU, asked as any other session.

Two things that OpenVINO does in silence, and what is done about them:

- Where the processor has bfloat16 (AMX), it computes float32 networks in it: logits then differ by
  some 0.01, up to 0.1. Here `INFERENCE_PRECISION_HINT` is float32 unless told otherwise;
  `precision="bf16"` gives that speed back.
- Activations are rounded to 8 bits where they meet packed weights, as in our ONNX files. It is
  what makes packed weights fast, and stays; `exact=True` turns it off (three times slower).

OpenVINO computes every output that a model has. So the graph is cut down to those that are asked
for, once for each kind of question, and masked tokens are gathered before the vocabulary product.

Dimensions: B batch, T tokens, M chosen positions, H hidden, V vocabulary.
"""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from bert_mobile.errors import ArtifactError, MissingExtraError
from bert_mobile.foreign import TELEMETRY, hidden
from bert_mobile.quantize.interface import HEAD_ROWS, INPUTS, LOGITS, POSITIONS
from bert_mobile.runtime.batches import Batch, IntArray
from bert_mobile.runtime.engines.files import AGAIN, check_beginning
from bert_mobile.runtime.sessions import FloatArray, check_outputs

try:
    with hidden(TELEMETRY):
        import openvino
        from openvino import opset15 as ops
except ImportError:
    raise MissingExtraError("openvino", "openvino") from None

_BEGINNING = b"<?xml"


class OpenVinoSession:
    """A network in OpenVINO's intermediate representation."""

    def __init__(
        self,
        model: Path,
        name: Path,
        *,
        threads: int | None = None,
        precision: str = "f32",
        exact: bool = False,
    ) -> None:
        """Load `model.xml`, beside which `model.bin` lies; `name` is what errors call it.

        `threads` bounds the threads of one question (None: as many as there are cores). Raises
        `ArtifactError` where it is no whole network or takes other inputs than a BERT's.
        """
        check_beginning(model, name, _BEGINNING)  # else it tries formats of others
        self._name = name
        self._settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision}
        self._settings |= {} if threads is None else {"INFERENCE_NUM_THREADS": threads}
        self._settings |= {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 0} if exact else {}
        self._core, self._lock = openvino.Core(), Lock()
        self._compiled: dict[tuple[tuple[str, ...], bool], Any] = {}
        try:
            self._model = self._core.read_model(model, model.with_suffix(".bin"))
            inputs = {port.get_any_name() for port in self._model.inputs}
            self.outputs = frozenset(port.get_any_name() for port in self._model.outputs)
        except RuntimeError as error:
            raise ArtifactError(
                f"{name} is no whole network of OpenVINO's: {_reason(error)}", hint=AGAIN
            ) from error
        if inputs != set(INPUTS):
            raise ArtifactError(
                f"{name} takes {', '.join(sorted(inputs))}, expected {', '.join(INPUTS)}",
                hint="export it anew, or use another model",
            )
        self._can_choose = any(
            operator.get_friendly_name() == HEAD_ROWS for operator in self._model.get_ops()
        )

    def run(self, output: str, batch: Batch, positions: IntArray | None = None) -> FloatArray:
        """Return one output for a batch, float32; see `Session`."""
        if positions is None:
            return self.run_several([output], batch)[0]
        if output != LOGITS or not self._can_choose:
            rows = self.run_several([output], batch)[0]
            return rows.reshape(-1, rows.shape[-1])[positions]
        return self._answers((output,), batch, {POSITIONS: positions})[0]  # M V

    def run_several(self, outputs: Sequence[str], batch: Batch) -> list[FloatArray]:
        """Return several outputs for a batch, float32; see `Session`."""
        return self._answers(tuple(outputs), batch, {})

    def _answers(
        self, outputs: tuple[str, ...], batch: Batch, more: dict[str, IntArray]
    ) -> list[FloatArray]:
        check_outputs(outputs, self.outputs, self._name)
        feed = dict(zip(INPUTS, (batch.ids, batch.mask, batch.types), strict=True)) | more
        try:
            with self._lock:  # one request is all that a compiled model keeps
                found = self._compile(outputs, chosen=bool(more))(feed)
        except RuntimeError as error:
            raise ArtifactError(
                f"{self._name} cannot be run by OpenVINO: {_reason(error)}",
                hint="the file is damaged or made for another use; make it anew",
            ) from error
        return [np.asarray(found[output], np.float32) for output in outputs]

    def _compile(self, outputs: tuple[str, ...], *, chosen: bool) -> Any:
        """Return the network cut down to these outputs, compiled."""
        if (outputs, chosen) not in self._compiled:
            model = self._model.clone()
            results = [model.output(output).node for output in outputs]
            parameters = model.get_parameters()
            if chosen:
                parameters.append(_choose_rows(model))
            part = openvino.Model(results, parameters)
            compiled = self._core.compile_model(part, "CPU", self._settings)
            self._compiled[outputs, chosen] = compiled
        return self._compiled[outputs, chosen]


def _choose_rows(model: Any) -> Any:
    """Let the masked-token head read chosen rows (M, H) only; return the new input (M,)."""
    named = {operator.get_friendly_name(): operator for operator in model.get_ops()}
    rows = named[HEAD_ROWS].output(0)
    readers = list(rows.get_target_inputs())
    positions = ops.parameter([-1], np.int64, name=POSITIONS)
    positions.output(0).get_tensor().set_names({POSITIONS})
    width = rows.get_partial_shape()[2].get_length()
    flat = ops.reshape(rows, np.array([-1, width], np.int64), special_zero=False)  # B·T H
    chosen = ops.gather(flat, positions, np.int64(0))  # M H
    for reader in readers:
        reader.replace_source_output(chosen.output(0))
    return positions


def _reason(error: RuntimeError) -> str:
    """Return the last line that says something; those before it name OpenVINO's source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
