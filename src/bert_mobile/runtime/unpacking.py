"""Packed weights in the form that computes fastest: the network is rewritten as it is loaded.

The packed file is what travels, and ONNX Runtime computes with it as it is (`MatMulNBits`), but
slowly: it unpacks 4 bits again for every call. In memory each such product may become instead

    int8      x · Wᵀ ≈ (n · q / 255 + m) · Qᵀ · s: each row of W rounded to signed 8 bits by a scale
              s of its own at load; each row of x, at each call, to unsigned 8 bits q between its
              least number m and its largest, m + n
    float32   the product with exactly the weights that are packed, and unrounded activations

Each row of x has its own range, unlike in ONNX Runtime's own dynamic quantization, so that what a
text is answered does not depend on the texts beside it, and one outlier spoils one row only. A
range from the least number, not about zero, took two fifths off the error of the hidden states.
x86 processors without VNNI instructions add such products in 16 bits, which may overflow.
Look-ups stay as they are: they read few rows.

Dimensions: R rows of activations, K inputs, N outputs.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_mobile.errors import ArtifactError
from bert_mobile.quantize.pack import FloatArray, Layout, PackedMatrix, unpack_matrix
from bert_mobile.runtime.forms import FLOAT32, check_form
from bert_mobile.runtime.messages import (
    attribute,
    make_node,
    make_tensor,
    read_model,
    tensor_array,
)

_ORT = "com.microsoft"
_TOP = 127  # of signed 8 bits; −128 is not used, so that both sides are alike
_ROWS = 1024  # of a packed matrix, unpacked together
_TINY = np.float32(1e-30)


def unpacked(model: bytes, name: Path, form: str) -> bytes:
    """Return an ONNX model of ours whose products are computed in the given form.

    Products with weights that are not packed as `quantize` packs them stay as they are; where that
    is all of them, a warning says so. Raises `ArtifactError` where it is no ONNX file, or a packed
    weight has not the size that its product expects; `name` is what the error calls the file.
    """
    check_form(form)
    message = read_model(model, name)
    rewriting = _Rewriting(message.graph, name, form)
    nodes = [new for node in message.graph.node for new in rewriting.nodes_for(node)]
    if not rewriting.tensors:
        warnings.warn(f"{name} has no packed weights: {form!r} changes nothing", stacklevel=2)
    _replace(message.graph, nodes, rewriting.tensors)
    data: bytes = message.SerializeToString()
    return data


class _Rewriting:
    """The nodes of a graph one by one, and the tensors that the new ones need."""

    def __init__(self, graph: Any, name: Path, form: str) -> None:
        self.tensors: dict[str, Any] = {}
        self._stored = {tensor.name: tensor for tensor in graph.initializer}
        self._makers = {output: node for node in graph.node for output in node.output}
        self._name, self._form = name, form
        self._rounded: set[str] = set()  # activations that are rounded already

    def nodes_for(self, node: Any) -> Iterator[Any]:
        """Yield what stands for a node: itself, or the same product in the new form."""
        matrix = self._weight(node) if node.op_type == "MatMulNBits" else None
        if matrix is None:
            yield node
            return
        weight = self._makers[node.input[1]].input[0].removesuffix(".codes")
        x, bias, y = node.input[0], node.input[5], node.output[0]
        if self._form == FLOAT32:
            self._store(f"{weight}:transposed", unpack_matrix(matrix).T)  # K N
            yield make_node("Gemm", [x, f"{weight}:transposed", bias], y)
            return
        if x not in self._rounded:
            self._rounded.add(x)
            yield from self._rounding(x)
        yield from self._int8_product(x, weight, matrix, bias, y)

    def _rounding(self, x: str) -> Iterator[Any]:
        """Round activations (R, K): each row between its least and largest number, (R, 1)."""
        self._store("last axis", np.array([-1]))
        self._store("tiny", _TINY)
        self._store("step", np.float32(1 / 255))
        self._store("none", np.uint8(0))
        yield make_node("ReduceMin", [x, "last axis"], f"{x}:least")
        yield make_node("ReduceMax", [x, "last axis"], f"{x}:most")
        yield make_node("Sub", [f"{x}:most", f"{x}:least"], f"{x}:widths")
        yield make_node("Max", [f"{x}:widths", "tiny"], f"{x}:ranges")
        yield make_node("Sub", [x, f"{x}:least"], f"{x}:shifted")
        yield make_node("Div", [f"{x}:shifted", f"{x}:ranges"], f"{x}:scaled")
        yield make_node("QuantizeLinear", [f"{x}:scaled", "step", "none"], f"{x}:rounded")

    def _int8_product(
        self, x: str, weight: str, matrix: PackedMatrix, bias: str, y: str
    ) -> Iterator[Any]:
        parts = [_rounded_rows(unpack_matrix(part)) for part in _parts(matrix)]
        codes, scales = (np.concatenate(some) for some in zip(*parts, strict=True))  # N K, N
        self._store(f"{weight}:int8", codes.T)
        self._store(f"{weight}:steps", scales)
        # Of the rounded weights, not of the exact ones, whose errors would then go with x − m.
        sums = codes.sum(axis=1, dtype=np.float32) * scales
        self._store(f"{weight}:sums", sums[None])  # 1 N
        yield make_node(
            "MatMulIntegerToFloat",
            [f"{x}:rounded", f"{weight}:int8", "step", f"{weight}:steps"],
            f"{y}:scaled",
            domain=_ORT,
        )
        yield make_node("Mul", [f"{y}:scaled", f"{x}:ranges"], f"{y}:product")
        yield make_node("Add", [f"{y}:product", bias], f"{y}:shifted")
        yield make_node("Gemm", [f"{x}:least", f"{weight}:sums", f"{y}:shifted"], y)

    def _weight(self, node: Any) -> PackedMatrix | None:
        """Return the weight of a product as `quantize.graph` stores it; None of another maker."""
        maker = self._makers.get(node.input[1]) if len(node.input) == 6 else None
        codes = maker.input[0] if maker is not None and maker.op_type == "Reshape" else ""
        if not codes.endswith(".codes"):
            return None
        prefix = codes.removesuffix(".codes")
        bits, block = attribute(node, "bits"), attribute(node, "block_size")
        rows, columns = attribute(node, "N"), attribute(node, "K")
        zeros = self._array(f"{prefix}.zero_points") if node.input[3] else None
        try:
            layout = Layout(bits or 0, block or 0, symmetric=zeros is None)
            found = PackedMatrix(self._array(codes), self._array(f"{prefix}.scales"), zeros, layout)
            is_whole = found.shape == (rows, columns) and _nbytes(found) == found.nbytes
            is_whole = is_whole and bool(np.isfinite(found.scales).all())
        except (KeyError, ValueError):
            is_whole = False
        if not is_whole:
            raise ArtifactError(
                f"{self._name}: {prefix} is not packed as its product reads it",
                hint="the file is damaged; copy it again from its source, or make it anew",
            )
        return found

    def _array(self, name: str) -> Any:
        """Return a stored array. Raises `KeyError` or `ValueError` where there is no such one."""
        array = tensor_array(self._stored[name])
        if array is None or array.ndim != 2:
            raise ValueError(name)
        return array

    def _store(self, name: str, array: Any) -> None:
        if name not in self.tensors:
            self.tensors[name] = make_tensor(name, np.asarray(array))


def _parts(matrix: PackedMatrix) -> Iterator[PackedMatrix]:
    """Yield some rows at a time, so that few are held as float32."""
    for start in range(0, len(matrix.codes), _ROWS):
        rows = slice(start, start + _ROWS)
        zeros = None if matrix.zero_points is None else matrix.zero_points[rows]
        yield PackedMatrix(matrix.codes[rows], matrix.scales[rows], zeros, matrix.layout)


def _rounded_rows(matrix: FloatArray) -> tuple[NDArray[np.int8], FloatArray]:
    """Round each row of a matrix (N, K) to 8 bits; returns codes (N, K) and scales (N,)."""
    scales = np.maximum(np.abs(matrix).max(axis=1), _TINY) / np.float32(_TOP)
    return np.rint(matrix / scales[:, None]).astype(np.int8), scales


def _nbytes(matrix: PackedMatrix) -> int:
    zeros = 0 if matrix.zero_points is None else matrix.zero_points.nbytes
    return matrix.codes.nbytes + matrix.scales.nbytes + zeros


def _replace(graph: Any, nodes: list[Any], tensors: dict[str, Any]) -> None:
    """Give a graph other nodes and more tensors, and drop what nobody reads any more."""
    kept, wanted = [], {value.name for value in graph.output}
    for node in reversed(nodes):  # a graph is in the order of its computation
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    stored = [tensor for tensor in graph.initializer if tensor.name in wanted]
    del graph.node[:]
    graph.node.extend(reversed(kept))
    del graph.initializer[:]
    graph.initializer.extend([*stored, *tensors.values()])
