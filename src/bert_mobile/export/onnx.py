"""BERT as ONNX, batch and length dynamic, by the file names that transformers.js looks for.

    float32  onnx/model.onnx            the graph of `quantize.graph` with float weights
    float16  onnx/model_fp16.onnx       weights stored in float16 and cast as the file is loaded
    int8     onnx/model_int8.onnx       `Int8Graph`: activations rounded to 8 bits as they come
    int4     onnx/model_q4.onnx         blocks of 32 or 16, rounded to nearest
    mix      onnx/model_quantized.onnx  what `quantize` decided, byte for byte

Operator set 20, and ONNX Runtime's own operators (`com.microsoft`, version 1). Inputs and outputs
are those of `quantize.graph`, float32 and int64 at every width.

Dimensions: R rows, H hidden, V vocabulary, N outputs, K inputs of a linear layer.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bert_mobile.errors import MissingExtraError
from bert_mobile.export.rounding import (
    is_rounded,
    refuse_large,
    rounded_plainly,
    rounding_notes,
)
from bert_mobile.export.source import Source
from bert_mobile.export.target import FLOAT16, INT4, INT8, MIX
from bert_mobile.model.config import BertConfig
from bert_mobile.quantize.graph import Graph, Weights, build_graph
from bert_mobile.quantize.interface import WORDS
from bert_mobile.quantize.pack import FloatArray, PackedMatrix, PackedRows

try:
    from onnx import ModelProto, TensorProto, helper, numpy_helper
except ImportError:
    raise MissingExtraError("onnx", "export") from None

_LARGEST_INT8 = np.float32(127)
_FOUR_BITS = (32, 16)  # blocks, the first that divides a row


def write(source: Source, width: str, folder: Path) -> tuple[str, ...]:
    """Write `onnx/model*.onnx` into `folder`; see `Target.write`."""
    from bert_mobile.export.table import TARGETS

    return write_graph(source, width, folder / TARGETS["onnx"].places[width], Graph, Int8Graph)


def write_graph(
    source: Source, width: str, path: Path, plain: type[Graph], rounding: "type[Int8Graph]"
) -> tuple[str, ...]:
    """Write the graph of a width to `path`, its weights read by one or the other's operators.

    `rounding` are those of int8 and int4: they round what is not packed.
    """
    weights: Weights = source.weights
    if width == MIX:
        weights = {**weights, **source.packed}
    elif width == INT4:
        weights = rounded_plainly(source.weights, 4, _FOUR_BITS)
    operators = rounding if width in (INT8, INT4) else plain
    model = build_graph(source.config, weights, operators=operators)
    if width == FLOAT16:
        model = _stored_in_half(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return rounding_notes(source, width, _FOUR_BITS)


class Int8Graph(Graph):
    """Weights in signed 8 bits with a scale for each output, activations rounded in the graph.

    It is what ONNX Runtime calls dynamic quantization: `DynamicQuantizeLinear` finds one scale for
    all activations of a product, `MatMulInteger` multiplies whole numbers, and the result is scaled
    back. Signed weights are 2.7 times faster there than unsigned ones. The word embedding is stored
    once, (V, H): looked up row by row, and transposed, as the file is loaded, for the vocabulary
    product. Processors without VNNI or the like add pairs of products in 16 bits, where the largest
    ones saturate. Packed weights, and tiny matrices, are read as in any other graph.
    """

    def __init__(self, config: BertConfig, weights: Weights) -> None:
        super().__init__(config, weights)
        self._rounded_inputs: set[str] = set()

    def linear(self, x: str, weight: str, bias: str) -> str:
        """Add the product x · Wᵀ + b: (R, K) to (R, N)."""
        matrix = self.weights[weight]
        if isinstance(matrix, PackedMatrix | PackedRows) or not is_rounded(matrix):
            return super().linear(x, weight, bias)
        whole, scales = _rounded(matrix)  # N K, N
        if weight == WORDS:
            codes = self.add("Transpose", self.constant(f"{weight}.codes", whole), perm=[1, 0])
        else:
            codes = self.constant(f"{weight}.codes", whole.T)  # K N
        rows, step, zero = self._activations(x)
        zeros = self.constant("int8:zero", np.zeros((), np.int8))
        product = self.add("MatMulInteger", rows, codes, zero, zeros)  # R N, int32
        product = self.add("Cast", product, to=TensorProto.FLOAT)
        scale = self.constant(f"{weight}.scales", scales)
        scaled = self.add("Mul", product, self.add("Mul", step, scale))
        return self.add("Add", scaled, self.float_weight(bias))

    def lookup(self, table: str, indices: str) -> str:
        """Rows of a table: indices of any shape (…) to (…, H)."""
        matrix = self.weights[table]
        if isinstance(matrix, PackedMatrix | PackedRows) or not is_rounded(matrix):
            return super().lookup(table, indices)
        codes, scales = _rounded(matrix)  # V H, V
        rows = self.add("Gather", self.constant(f"{table}.codes", codes), indices)
        rows = self.add("Cast", rows, to=TensorProto.FLOAT)
        scale = self.add("Gather", self.constant(f"{table}.scales", scales), indices)
        return self.add("Mul", rows, self.add("Unsqueeze", scale, self.numbers(-1)))

    def _activations(self, x: str) -> tuple[str, str, str]:
        """Round activations to 8 bits, once for all their readers: codes, scale, zero point."""
        names = f"{x}.codes", f"{x}.scale", f"{x}.zero_point"
        if x not in self._rounded_inputs:
            self._rounded_inputs.add(x)
            self.add_several("DynamicQuantizeLinear", x, names=names)
        return names


def _rounded(matrix: FloatArray) -> tuple[NDArray[np.int8], FloatArray]:
    """Return codes (N, K) and a scale for each row, (N,)."""
    largest = np.abs(matrix).max(axis=1)
    scales = np.where(largest > 0, largest / _LARGEST_INT8, 1).astype(np.float32)
    return np.rint(matrix / scales[:, None]).astype(np.int8), scales


def _stored_in_half(model: ModelProto) -> ModelProto:
    """Store float32 weights in float16, with a cast to float32 that is done once, at load.

    ONNX Runtime's processor kernels compute in float32 anyway; a client whose graphics processor
    lacks float16 reads the file as well.
    """
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        weight = numpy_helper.to_array(tensor)
        refuse_large(tensor.name, weight)
        name = f"{tensor.name}:float16"
        cast = helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT)
        casts.append(cast)
        tensor.CopyFrom(numpy_helper.from_array(weight.astype(np.float16), name))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model
