"""BERT as OpenVINO's intermediate representation: `openvino/model.xml` and `model.bin`.

The graph is built from our weights operator by operator, so no converter decides anything anew. A
packed weight becomes OpenVINO's decompression pattern,

    codes u4/i4/u8/i8/u2 (R, N, block) → Convert → Subtract zero points → Multiply scales → Reshape

in float32 with scales stored in float16, which gives the very numbers that ONNX Runtime decodes;
the CPU plug-in keeps the codes in memory and multiplies by them (MatMul and Gather alike). Codes of
a symmetric layout are stored as signed numbers, which need no zero points. The word embedding is
one constant for both of its uses. int8 and int4 are NNCF's own weight compression, int4 in groups
of 64 or, where these do not divide a row, 32 or 16.

    inputs    input_ids, attention_mask, token_type_ids          int64 (B, T)
    outputs   as in `quantize.graph`, `logits` of masked tokens at all positions (B, T, V)

Dimensions: B batch, T tokens, H hidden, N blocks or heads, D head width, V vocabulary, L labels.
"""

import re
from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_mobile.errors import MissingExtraError
from bert_mobile.export.rounding import refuse_large, rounding_notes
from bert_mobile.export.source import Source
from bert_mobile.export.target import FLOAT16, INT4, INT8, MIX
from bert_mobile.foreign import TELEMETRY, hidden
from bert_mobile.model.config import ANSWERS, PRETRAINING, SEQUENCES, BertConfig
from bert_mobile.quantize.interface import (
    END_LOGITS,
    HEAD_ROWS,
    HIDDEN,
    INPUTS,
    LOGITS,
    NEXT_SENTENCE,
    START_LOGITS,
    WORDS,
    WORDS_BIAS,
)
from bert_mobile.quantize.pack import (
    FloatArray,
    PackedMatrix,
    PackedRows,
    float_weight,
    named_parts,
    pack_codes,
    unpack_zeros,
)

try:
    with hidden(TELEMETRY):
        import openvino
        from openvino import opset15 as ops
except ImportError:
    raise MissingExtraError("openvino", "openvino") from None

PLACE = "openvino/model.xml"

_GROUPS = (64, 32, 16)  # neighbouring weights that share a scale in int4
_STEPS = {FLOAT16: 1, INT8: 127, INT4: 7}  # either side of zero, of what is kept in float16
_MASKED = np.float32(-10_000)  # added to the scores of padding; within float16, and e^-10000 is 0
_UNSIGNED = {2: openvino.Type.u2, 4: openvino.Type.u4, 8: openvino.Type.u8}
_SIGNED = {4: openvino.Type.i4, 8: openvino.Type.i8}
_SIGN_BITS = {4: np.uint8(0x88), 8: np.uint8(0x80)}  # of the codes in a byte

Weights = Mapping[str, FloatArray | PackedMatrix | PackedRows]


def write(source: Source, width: str, folder: Path) -> tuple[str, ...]:
    """Write `openvino/model.xml` and `model.bin` into `folder`; see `Target.write`."""
    _refuse_large(source, width)
    packed = source.packed if width == MIX else {}
    model = build_model(source.config, {**source.weights, **packed})
    if width in (INT8, INT4):
        model = _compressed(model, width)
    path = folder / PLACE
    path.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, path, compress_to_fp16=width == FLOAT16)
    path.write_bytes(re.sub(rb">\s+<", b"><", path.read_bytes()))  # a quarter of it is indentation
    return rounding_notes(source, width, _GROUPS)


def _refuse_large(source: Source, width: str) -> None:
    """Raise `InputError` where OpenVINO would clip a weight, or NNCF store infinity."""
    for name, weight in source.weights.items():
        if width == FLOAT16 or (width in _STEPS and weight.ndim == 2):
            refuse_large(name, weight, steps=_STEPS[width])


def build_model(config: BertConfig, weights: Weights) -> Any:
    """Return the `openvino.Model` of a BERT of this shape; `weights` go by Hugging Face name.

    Heads of pre-training may be absent, the head of a task must be there.
    """
    graph = _Graph(config, weights)
    hidden = _encoder(graph)
    found = {HIDDEN: hidden}
    if config.architecture != PRETRAINING:
        found |= _task_head(graph, hidden)
    else:
        if WORDS_BIAS in weights:
            found[LOGITS] = _masked_token_head(graph, hidden)
        if "bert.pooler.dense.bias" in weights and "cls.seq_relationship.bias" in weights:
            found[NEXT_SENTENCE] = graph.dense(_pooled(graph, hidden), "cls.seq_relationship")
    for name, node in found.items():
        node.output(0).get_tensor().set_names({name})
    return openvino.Model(list(found.values()), list(graph.inputs.values()), "bert")


class _Graph:
    """The inputs, and the weights as constants. Methods return the node of what they compute."""

    def __init__(self, config: BertConfig, weights: Weights) -> None:
        self.config = config
        self._weights = weights
        self._decoded: dict[str, Any] = {}
        self.inputs = {name: ops.parameter([-1, -1], np.int64, name=name) for name in INPUTS}
        for name, node in self.inputs.items():
            node.output(0).get_tensor().set_names({name})

    def float_weight(self, name: str) -> Any:
        """Return a weight that is never packed: a bias, a LayerNorm, a tiny matrix."""
        return self._once(name, float_weight(self._weights, name))

    def dense(self, x: Any, prefix: str) -> Any:
        """The linear layer of that name: (…, in) to (…, out)."""
        return self.linear(x, f"{prefix}.weight", f"{prefix}.bias")

    def linear(self, x: Any, weight: str, bias: str) -> Any:
        """The product x · Wᵀ + b: (…, in) to (…, out); each part of the rows on its own."""
        products = [
            ops.matmul(x, self._once(name, part), transpose_a=False, transpose_b=True)
            for name, part in named_parts(self._weights, weight)
        ]
        whole = products[0] if len(products) == 1 else ops.concat(products, axis=-1)
        return ops.add(whole, self.float_weight(bias))

    def lookup(self, table: str, indices: Any) -> Any:
        """Rows of a table: indices of any shape (…) to (…, H).

        Each part of the rows is read at the nearest row it has; that which is meant is kept.
        """
        parts, found, start = named_parts(self._weights, table), None, 0
        for name, part in parts:
            own = indices if len(parts) == 1 else _clipped(indices, start, part)
            rows = ops.gather(self._once(name, part), own, _whole(0))  # … H
            if found is not None:
                is_later = ops.unsqueeze(ops.greater_equal(indices, _whole(start)), _whole(-1))
                rows = ops.select(is_later, rows, found)
            found, start = rows, start + part.shape[0]
        return found

    def layer_norm(self, x: Any, prefix: str) -> Any:
        """LayerNorm over the last axis."""
        epsilon = self.config.layer_norm_eps
        normal = ops.mvn(x, _whole([-1]), True, epsilon, "inside_sqrt")  # noqa: FBT003
        scaled = ops.multiply(normal, self.float_weight(f"{prefix}.weight"))
        return ops.add(scaled, self.float_weight(f"{prefix}.bias"))

    def _once(self, name: str, weight: FloatArray | PackedMatrix) -> Any:
        """Return a weight's node, the same for every use."""
        if name not in self._decoded:
            node = (
                _decompression(weight) if isinstance(weight, PackedMatrix) else ops.constant(weight)
            )
            node.set_friendly_name(name)
            self._decoded[name] = node
        return self._decoded[name]


def _decompression(matrix: PackedMatrix) -> Any:
    """Return what decodes a packed matrix to float32 (R, C)."""
    rows, columns = matrix.shape
    bits, block = matrix.layout.bits, matrix.layout.block
    blocks = columns // block
    signed = matrix.zero_points is None and bits in _SIGNED
    codes = matrix.codes ^ _SIGN_BITS[bits] if signed else matrix.codes
    kind = _SIGNED[bits] if signed else _UNSIGNED[bits]
    value = ops.convert(_narrow(codes, [rows, blocks, block], kind), np.float32)
    if not signed:
        zeros = pack_codes(unpack_zeros(matrix).reshape(1, -1), bits)
        zeros = _narrow(zeros, [rows, blocks, 1], kind)
        value = ops.subtract(value, ops.convert(zeros, np.float32))
    scales = ops.constant(matrix.scales.reshape(rows, blocks, 1))
    value = ops.multiply(value, ops.convert(scales, np.float32))  # R N block
    return ops.reshape(value, _whole([rows, columns]), special_zero=False)


def _narrow(codes: NDArray[np.uint8], shape: list[int], kind: Any) -> Any:
    """Return a constant of whole numbers that share bytes, the earliest in the lowest bits."""
    tensor = openvino.Tensor(kind, openvino.Shape(shape))
    tensor.data.view(np.uint8).reshape(-1)[:] = codes.reshape(-1)
    return openvino.op.Constant(tensor)


def _whole(numbers: int | list[int]) -> Any:
    return ops.constant(np.array(numbers, np.int64))


def _clipped(indices: Any, start: int, part: FloatArray | PackedMatrix) -> Any:
    """Return indices within a part that begins at `start`, those beyond an end at that end."""
    own = ops.subtract(indices, _whole(start))
    return ops.minimum(ops.maximum(own, _whole(0)), _whole(part.shape[0] - 1))


def _encoder(graph: _Graph) -> Any:
    """Embeddings and layers: hidden states (B, T, H)."""
    mask = ops.convert(graph.inputs["attention_mask"], np.float32)  # B T
    mask = ops.multiply(ops.subtract(ops.constant(np.float32(1)), mask), ops.constant(_MASKED))
    mask = ops.unsqueeze(mask, _whole([1, 2]))  # B 1 1 T
    x = _embeddings(graph)
    for i in range(graph.config.num_hidden_layers):
        prefix = f"bert.encoder.layer.{i}"
        attended = _attention(graph, x, mask, f"{prefix}.attention")
        x = graph.layer_norm(ops.add(attended, x), f"{prefix}.attention.output.LayerNorm")
        inner = ops.gelu(graph.dense(x, f"{prefix}.intermediate.dense"), "erf")  # B T F
        outer = graph.dense(inner, f"{prefix}.output.dense")
        x = graph.layer_norm(ops.add(outer, x), f"{prefix}.output.LayerNorm")
    return x


def _embeddings(graph: _Graph) -> Any:
    shape = ops.shape_of(graph.inputs["input_ids"], "i64")
    tokens = ops.gather(shape, _whole(1), _whole(0))
    order = ops.range(_whole(0), tokens, _whole(1), "i64")  # T
    words = graph.lookup(WORDS, graph.inputs["input_ids"])  # B T H
    positions = graph.lookup("bert.embeddings.position_embeddings.weight", order)  # T H
    types = "bert.embeddings.token_type_embeddings.weight"
    total = ops.add(words, graph.lookup(types, graph.inputs["token_type_ids"]))
    return graph.layer_norm(ops.add(total, positions), "bert.embeddings.LayerNorm")


def _attention(graph: _Graph, x: Any, mask: Any, prefix: str) -> Any:
    """Self-attention with its output projection: (B, T, H) to (B, T, H)."""
    heads, size = graph.config.num_attention_heads, graph.config.head_size
    swap = _whole([0, 2, 1, 3])
    query, key, value = (
        ops.transpose(_split(graph.dense(x, f"{prefix}.self.{part}"), heads, size), swap)
        for part in ("query", "key", "value")
    )  # B N T D each
    found = ops.scaled_dot_product_attention(query, key, value, mask)
    joined = _split(ops.transpose(found, swap), graph.config.hidden_size)  # B T H
    return graph.dense(joined, f"{prefix}.output.dense")


def _split(x: Any, *axes: int) -> Any:
    """Reshape (B, T, …) to (B, T, *axes)."""
    return ops.reshape(x, _whole([0, 0, *axes]), special_zero=True)


def _masked_token_head(graph: _Graph, hidden: Any) -> Any:
    """Logits over the vocabulary (B, T, V)."""
    rows = _split(hidden, graph.config.hidden_size)
    rows.set_friendly_name(HEAD_ROWS)
    x = ops.gelu(graph.dense(rows, "cls.predictions.transform.dense"), "erf")
    x = graph.layer_norm(x, "cls.predictions.transform.LayerNorm")
    return graph.linear(x, WORDS, WORDS_BIAS)


def _pooled(graph: _Graph, hidden: Any) -> Any:
    """The pooler at the first token of each sequence, (B, H)."""
    first = ops.gather(hidden, _whole(0), _whole(1))  # B H
    return ops.tanh(graph.dense(first, "bert.pooler.dense"))


def _task_head(graph: _Graph, hidden: Any) -> dict[str, Any]:
    """The one linear head of a task, by the names of its outputs."""
    architecture = graph.config.architecture
    if architecture == SEQUENCES:
        return {LOGITS: graph.dense(_pooled(graph, hidden), "classifier")}  # B L
    if architecture == ANSWERS:
        both = graph.dense(hidden, "qa_outputs")  # B T 2
        names = (START_LOGITS, END_LOGITS)
        return {name: ops.gather(both, _whole(i), _whole(2)) for i, name in enumerate(names)}
    return {LOGITS: graph.dense(hidden, "classifier")}  # B T L


def _compressed(model: Any, width: str) -> Any:
    """Round every matrix to 8 bits a row, or to 4 bits a group, embeddings too (NNCF).

    Rows that no group divides get 8 bits.
    """
    with hidden(TELEMETRY):
        import nncf

    nncf.set_log_level("ERROR")
    modes = nncf.CompressWeightsMode
    how: dict[str, Any] = {"mode": modes.INT8_ASYM}
    if width == INT4:
        smaller = nncf.AdvancedCompressionParameters(
            group_size_fallback_mode=nncf.GroupSizeFallbackMode.ADJUST,
            min_adjusted_group_size=_GROUPS[-1],
        )
        how = {"mode": modes.INT4_ASYM, "ratio": 1.0, "all_layers": True}
        how |= {"group_size": _GROUPS[0], "advanced_parameters": smaller}
    with redirect_stdout(StringIO()):  # where it draws a bar; stdout is for data
        return nncf.compress_weights(model, **how)
