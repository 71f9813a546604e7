"""A file of LiteRT's, `.tflite`, put together operator by operator.

The schema is TensorFlow's `schema.fbs`, version 3, in the classes that `ai-edge-litert` brings.
Several subgraphs may hold the same constant: its bytes are stored once, by its name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_mobile.errors import MissingExtraError

try:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema
except ImportError:
    raise MissingExtraError("ai_edge_litert", "litert") from None

IDENTIFIER = b"TFL3"
_VERSION = 3
_ALIGNMENT = 16  # of constants, as the schema asks
_OLD_CODES = 127  # operators with a greater number are named in a newer field

_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.bool_): schema.TensorType.BOOL,
}


@dataclass(frozen=True)
class Tensor:
    """A tensor of a subgraph."""

    number: int
    shape: tuple[int, ...]
    kind: Any = np.float32
    """What computed numbers are; constants are read as float32 by the operators that know them."""


class File:
    """What all subgraphs share: constants, the kinds of operators, signatures."""

    def __init__(self) -> None:
        self._model = schema.ModelT()
        self._model.version, self._model.description = _VERSION, "bert-mobile"
        self._model.buffers = [_Bytes()]  # the first is that of what is computed
        self._model.operatorCodes, self._model.subgraphs = [], []
        self._model.signatureDefs = []
        self._buffers: dict[str, int] = {}
        self._operators: dict[tuple[int, int], int] = {}
        self._row_scales: dict[str, Any] = {}

    def buffer(self, name: str, array: NDArray[Any]) -> int:
        """Store an array's bytes, once for each name; return where."""
        if name not in self._buffers:
            self._buffers[name] = len(self._model.buffers)
            self._model.buffers.append(_Bytes(np.ascontiguousarray(array).tobytes()))
        return self._buffers[name]

    def row_scales(self, name: str, scales: NDArray[np.float32]) -> Any:
        """Return the quantization of rows by these scales (R,), stored once for each name."""
        if name not in self._row_scales:
            how = _Shared()
            how.scale, how.zeroPoint = scales, np.zeros(len(scales), np.int64)
            how.quantizedDimension = 0
            self._row_scales[name] = how
        return self._row_scales[name]

    def operator(self, kind: int, version: int) -> int:
        """Return the number of a kind of operator in this file."""
        if (kind, version) not in self._operators:
            code = schema.OperatorCodeT()
            code.builtinCode, code.version = kind, version
            code.deprecatedBuiltinCode = min(kind, _OLD_CODES)
            self._operators[kind, version] = len(self._model.operatorCodes)
            self._model.operatorCodes.append(code)
        return self._operators[kind, version]

    def add(
        self,
        name: str,
        part: "Subgraph",
        inputs: Mapping[str, Tensor],
        outputs: Mapping[str, Tensor],
    ) -> None:
        """Add a subgraph that is asked for by this name."""
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = name, len(self._model.subgraphs)
        signature.inputs, signature.outputs = _maps(inputs), _maps(outputs)
        self._model.signatureDefs.append(signature)
        self._model.subgraphs.append(part.finished(name, inputs, outputs))

    def to_bytes(self) -> bytes:
        """Return the file."""
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self._model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())


class Subgraph:
    """Tensors and operators of one computation. Methods return the tensor that they make."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        self._constants: dict[str, Tensor] = {}

    def input(self, name: str, shape: Sequence[int], kind: Any, *, grows: bool = False) -> Tensor:
        """Add an input; `grows` lets a client enlarge its first dimension."""
        tensor = self._tensor(name, tuple(shape), _TYPES[np.dtype(kind)])
        if grows:
            self._graph.tensors[tensor.number].shapeSignature = np.array((-1, *shape[1:]), np.int32)
        return replace(tensor, kind=kind)

    def constant(self, name: str, array: NDArray[Any]) -> Tensor:
        """Add a constant, once for each name."""
        tensor = self._constant(name, array, array.shape, _TYPES[array.dtype], None)
        return replace(tensor, kind=array.dtype.type)

    def rows_of_bytes(self, name: str, codes: NDArray[np.int8], scales: NDArray[Any]) -> Tensor:
        """Add a matrix of 8 bits (R, C) with a scale for each row (R,)."""
        how = self._file.row_scales(name, scales)
        return self._constant(name, codes, codes.shape, schema.TensorType.INT8, how)

    def blocks_of_nibbles(
        self, name: str, codes: NDArray[np.uint8], scales: NDArray[np.float16], block: int
    ) -> Tensor:
        """Add a matrix of 4 bits in two's complement, two a byte (R, C/2), a scale a block."""
        how, blocks = schema.QuantizationParametersT(), schema.BlockwiseQuantizationT()
        blocks.scales = self.constant(f"{name}.scales", scales).number
        blocks.zeroPoints, blocks.blockSize = -1, block
        how.detailsType = schema.QuantizationDetails.BlockwiseQuantization
        how.details = blocks
        shape = codes.shape[0], 2 * codes.shape[1]
        return self._constant(name, codes, shape, schema.TensorType.INT4, how)

    def apply(
        self,
        operator: str,
        inputs: Sequence[Tensor | None],
        shape: Sequence[int],
        *,
        kind: Any = None,
        version: int = 1,
        **options: Any,
    ) -> Tensor:
        """Add an operator by its name in the schema, and its one output of this shape.

        The output is of the `kind` of the first input where none is given. `options` are the fields
        of the operator's table of options; None among the inputs is one left out.
        """
        kind = kind or next(each.kind for each in inputs if each is not None)
        result = replace(self._tensor("", tuple(shape), _TYPES[np.dtype(kind)]), kind=kind)
        made = schema.OperatorT()
        number = getattr(schema.BuiltinOperator, operator)
        made.opcodeIndex = self._file.operator(number, version)
        made.inputs = np.array([-1 if each is None else each.number for each in inputs], np.int32)
        made.outputs = np.array([result.number], np.int32)
        made.builtinOptionsType, made.builtinOptions = _options(operator, options)
        self._graph.operators.append(made)
        return result

    def cast(self, x: Tensor, kind: Any) -> Tensor:
        """Add the conversion of numbers to another kind."""
        fields = {"inDataType": _TYPES[np.dtype(x.kind)], "outDataType": _TYPES[np.dtype(kind)]}
        return self.apply("CAST", [x], x.shape, kind=kind, **fields)

    def finished(
        self, name: str, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]
    ) -> Any:
        """Return the subgraph of the schema; the tensors are called as in the mappings."""
        self._graph.name = name
        for called, tensor in {**inputs, **outputs}.items():
            self._graph.tensors[tensor.number].name = f"{name}/{called}"
        self._graph.inputs = np.array([each.number for each in inputs.values()], np.int32)
        self._graph.outputs = np.array([each.number for each in outputs.values()], np.int32)
        return self._graph

    def _constant(
        self, name: str, array: NDArray[Any], shape: tuple[int, ...], kind: int, how: Any
    ) -> Tensor:
        if name not in self._constants:
            tensor = self._tensor(name, shape, kind, self._file.buffer(name, array))
            self._graph.tensors[tensor.number].quantization = how
            self._constants[name] = tensor
        return self._constants[name]

    def _tensor(self, name: str, shape: tuple[int, ...], kind: int, buffer: int = 0) -> Tensor:
        made = schema.TensorT()
        made.shape, made.type, made.buffer = np.array(shape, np.int32), kind, buffer
        made.name = name or f"computed {len(self._graph.tensors)}"
        self._graph.tensors.append(made)
        return Tensor(len(self._graph.tensors) - 1, shape)


class _Bytes(schema.BufferT):  # type: ignore[misc]
    """A buffer whose bytes begin at a multiple of 16, which Python's `Pack` does not see to."""

    def __init__(self, content: bytes = b"") -> None:
        super().__init__()
        self._content = content

    def Pack(self, builder: Any) -> Any:  # noqa: N802 - the schema's name
        """Write the buffer; return its place."""
        start = None
        if self._content:
            builder.StartVector(1, len(self._content), _ALIGNMENT)
            builder.head -= len(self._content)
            builder.Bytes[builder.head : builder.head + len(self._content)] = self._content
            start = builder.EndVector()
        schema.BufferStart(builder)
        if start is not None:
            schema.BufferAddData(builder, start)
        return schema.BufferEnd(builder)


class _Shared(schema.QuantizationParametersT):  # type: ignore[misc]
    """What tensors of several subgraphs point to; a file may point to a place more than once."""

    _place: Any = None

    def Pack(self, builder: Any) -> Any:  # noqa: N802 - the schema's name
        """Write it the first time; return its place."""
        if self._place is None:
            self._place = super().Pack(builder)
        return self._place


def _maps(tensors: Mapping[str, Tensor]) -> list[Any]:
    found = []
    for name, tensor in tensors.items():
        each = schema.TensorMapT()
        each.name, each.tensorIndex = name, tensor.number
        found.append(each)
    return found


def _options(operator: str, fields: Mapping[str, Any]) -> tuple[int, Any]:
    """Return the number and the table of an operator's options, such as `SoftmaxOptions`."""
    if not fields:
        return schema.BuiltinOptions.NONE, None
    name = _OPTIONS.get(operator) or operator.title().replace("_", "") + "Options"
    table = getattr(schema, f"{name}T")()
    for field, value in fields.items():
        setattr(table, field, value)
    return getattr(schema.BuiltinOptions, name), table


_OPTIONS = {"BATCH_MATMUL": "BatchMatMulOptions", "MEAN": "ReducerOptions", "SUM": "ReducerOptions"}
