"""One builder of BERT's ONNX graph, for float32 and for packed weights alike.

A weight comes as a float32 array or as a `PackedMatrix`, and that alone decides which operator
reads it: `Gather` and `Gemm`, or ONNX Runtime's `GatherBlockQuantized` and `MatMulNBits`; of
`PackedRows` each part is read by an operator of its own, and the results joined. Initializers carry
Hugging Face's names (packed ones with `.codes`, `.scales`, `.zero_points` behind, parts with `.0`,
`.1` and so on before that), so a file can be read back into a checkpoint. The word embedding, which
is also the output projection, is stored once.

    inputs    input_ids, attention_mask, token_type_ids          int64 (B, T)
              logit_positions, optional                          int64 (M,), index b·T + t
    outputs   logits                                             float32 (B, T, V) or (1, M, V)
              last_hidden_state                                  float32 (B, T, H)
              seq_relationship_logits                            float32 (B, 2)

Of a network with the head of a task, `last_hidden_state` and, by the names of transformers.js:

              logits                 float32 (B, L) for sequences, (B, T, L) for tokens
              start_logits, end_logits                           float32 (B, T) for answers

Without `logit_positions` the file is an ordinary BERT to any client. With it the vocabulary
product, the larger part of a fill-mask's arithmetic, is computed at those positions only.

Dimensions: B batch, T tokens, R = B·T rows, M chosen rows, H hidden, V vocabulary, L labels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_mobile import __version__
from bert_mobile.errors import MissingExtraError
from bert_mobile.model.config import ANSWERS, PRETRAINING, SEQUENCES, BertConfig
from bert_mobile.quantize.interface import (
    END_LOGITS,
    HIDDEN,
    INPUTS,
    LOGITS,
    NEXT_SENTENCE,
    POSITIONS,
    START_LOGITS,
    WORDS,
    WORDS_BIAS,
)
from bert_mobile.quantize.pack import FloatArray, PackedMatrix, PackedRows, float_weight

try:
    from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
except ImportError:
    raise MissingExtraError("onnx", "export") from None

OPSET = 20
IR_VERSION = 10
ORT_DOMAIN = "com.microsoft"  # ONNX Runtime's own operators

# Products are computed on activations rounded to 8 bits: within 0.5 % of the exact product, far
# below the error of 4-bit weights, and the fastest kernel for short texts.
_INT8_ACTIVATIONS = 4

Weights = Mapping[str, FloatArray | PackedMatrix | PackedRows]


def build_graph(
    config: BertConfig, weights: Weights, *, operators: "type[Graph] | None" = None
) -> ModelProto:
    """Return the ONNX model of a BERT of this shape.

    `weights` go by Hugging Face name; `operators` chooses other ones to read them with. Without the
    masked-token head there is no output `logits`, without pooler or next-sentence head none of
    `seq_relationship_logits`. The head of a task must be there.
    """
    graph = (operators or Graph)(config, weights)
    hidden = _encoder(graph)
    if config.architecture != PRETRAINING:
        graph.add("Reshape", hidden, "batch_tokens_any", name=HIDDEN)  # B T H
        return graph.model([*_task_head(graph, hidden), _hidden_output(config)])
    outputs = []
    if WORDS_BIAS in weights:
        _masked_token_head(graph, hidden)
        outputs.append(_float_output(LOGITS, ["sequences", "positions", config.vocab_size]))
    graph.add("Reshape", hidden, "batch_tokens_any", name=HIDDEN)  # B T H
    outputs.append(_hidden_output(config))
    if "bert.pooler.dense.bias" in weights and "cls.seq_relationship.bias" in weights:
        _next_sentence_head(graph)
        outputs.append(_float_output(NEXT_SENTENCE, ["batch", 2]))
    return graph.model(outputs)


class Graph:
    """Nodes and initializers collected so far. Methods return the name of what they compute."""

    def __init__(self, config: BertConfig, weights: Weights) -> None:
        self.config = config
        self.weights = weights
        self._nodes: list[NodeProto] = []
        self._initializers: dict[str, TensorProto] = {}

    def add(
        self, operator: str, *inputs: str, name: str = "", domain: str = "", **attributes: Any
    ) -> str:
        """Add one node with one output."""
        name = name or f"{operator}_{len(self._nodes)}"
        self.add_several(operator, *inputs, names=[name], domain=domain, **attributes)
        return name

    def add_several(
        self, operator: str, *inputs: str, names: Sequence[str], domain: str = "", **attributes: Any
    ) -> None:
        """Add one node with the outputs of these names."""
        node = helper.make_node(
            operator, inputs, names, name=f"node:{names[0]}", domain=domain, **attributes
        )
        self._nodes.append(node)

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Store an array once and return its name."""
        if name not in self._initializers:
            self._initializers[name] = numpy_helper.from_array(np.asarray(array, order="C"), name)
        return name

    def numbers(self, *values: int) -> str:
        """Store whole numbers as a vector."""
        return self.constant("numbers:" + ",".join(map(str, values)), np.array(values, np.int64))

    def float_weight(self, name: str) -> str:
        """Store a weight that is never packed: a bias, a LayerNorm, a tiny matrix."""
        return self.constant(name, float_weight(self.weights, name))

    def linear(self, x: str, weight: str, bias: str) -> str:
        """Add the product x · Wᵀ + b: (R, in) to (R, out)."""
        matrix = self.weights[weight]
        bias = self.float_weight(bias)
        if isinstance(matrix, PackedRows):
            return self._linear_by_parts(x, weight, matrix, bias)
        if not isinstance(matrix, PackedMatrix):
            return self.add("Gemm", x, self.constant(weight, matrix), bias, transB=1)
        return self._packed_linear(x, weight, matrix, bias)

    def _linear_by_parts(self, x: str, weight: str, matrix: PackedRows, bias: str) -> str:
        """Do as `linear`, each part on its share of the outputs."""
        found, start = [], 0
        for number, part in enumerate(matrix.parts):
            stop = start + part.shape[0]
            some = self.add("Slice", bias, self.numbers(start), self.numbers(stop))
            found.append(self._packed_linear(x, f"{weight}.{number}", part, some))
            start = stop
        return self.add("Concat", *found, axis=-1)

    def _packed_linear(self, x: str, weight: str, matrix: PackedMatrix, bias: str) -> str:
        rows, columns = matrix.shape
        codes, scales, zero_points = self.packed(weight, matrix)
        blocks = self.numbers(rows, columns // matrix.layout.block, -1)
        codes = self.add("Reshape", codes, blocks)  # out, blocks, bytes of a block
        return self.add(
            "MatMulNBits", x, codes, scales, zero_points, "", bias, domain=ORT_DOMAIN,
            K=columns, N=rows, bits=matrix.layout.bits, block_size=matrix.layout.block,
            accuracy_level=_INT8_ACTIVATIONS,
        )  # fmt: skip

    def lookup(self, table: str, indices: str) -> str:
        """Rows of a table: indices of any shape (…) to (…, H)."""
        matrix = self.weights[table]
        if isinstance(matrix, PackedRows):
            return self._lookup_by_parts(table, matrix, indices)
        if not isinstance(matrix, PackedMatrix):
            return self.add("Gather", self.constant(table, matrix), indices)
        return self.packed_lookup(table, matrix, indices)

    def _lookup_by_parts(self, table: str, matrix: PackedRows, indices: str) -> str:
        """Do as `lookup` in each part, at the nearest row it has; keep the one that is meant."""
        found, start = "", 0
        for number, part in enumerate(matrix.parts):
            first, last = self.constant(f"number:{start}", np.array(start)), part.shape[0] - 1
            own = self.add("Sub", indices, first)
            bounds = [self.constant(f"number:{bound}", np.array(bound)) for bound in (0, last)]
            rows = self.packed_lookup(
                f"{table}.{number}", part, self.add("Clip", own, *bounds)
            )  # … H
            if found:
                is_later = self.add("GreaterOrEqual", indices, first)
                is_later = self.add("Unsqueeze", is_later, self.numbers(-1))  # … 1
                rows = self.add("Where", is_later, rows, found)
            found, start = rows, start + part.shape[0]
        return found

    def packed_lookup(self, table: str, matrix: PackedMatrix, indices: str) -> str:
        """Do as `lookup` in a packed table."""
        codes, scales, zero_points = self.packed(table, matrix)
        inputs = [codes, indices, scales, zero_points] if zero_points else [codes, indices, scales]
        return self.add(
            "GatherBlockQuantized", *inputs, domain=ORT_DOMAIN,
            bits=matrix.layout.bits, block_size=matrix.layout.block, gather_axis=0, quantize_axis=1,
        )  # fmt: skip

    def layer_norm(self, x: str, prefix: str, residual: str | None = None) -> str:
        """LayerNorm of x, or of x + residual."""
        gamma, beta = self.float_weight(f"{prefix}.weight"), self.float_weight(f"{prefix}.bias")
        epsilon = float(self.config.layer_norm_eps)  # a config.json may have 0
        if residual is None:
            return self.add("LayerNormalization", x, gamma, beta, axis=-1, epsilon=epsilon)
        return self.add(
            "SkipLayerNormalization", x, residual, gamma, beta, domain=ORT_DOMAIN, epsilon=epsilon
        )

    def model(self, outputs: Sequence[Any]) -> ModelProto:
        """Return the whole model."""
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
            for name in INPUTS
        ]
        if POSITIONS in self._initializers:  # an input with a default may be left out
            inputs.append(helper.make_tensor_value_info(POSITIONS, TensorProto.INT64, ["chosen"]))
        graph = helper.make_graph(
            self._nodes, "bert", inputs, outputs, list(self._initializers.values())
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(ORT_DOMAIN, 1)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION,
            producer_name="bert-mobile", producer_version=__version__,
        )  # fmt: skip

    def packed(self, name: str, matrix: PackedMatrix) -> tuple[str, str, str]:
        """Store codes, scales and zero points ("" if symmetric), once for both uses of a matrix.

        The operators take float32 scales; they are stored in float16 and cast in the graph, which
        ONNX Runtime does once, at load.
        """
        scales = f"{name}.scales:float32"
        if f"{name}.codes" not in self._initializers:
            self.constant(f"{name}.codes", matrix.codes)
            stored = self.constant(f"{name}.scales", matrix.scales)
            self.add("Cast", stored, name=scales, to=TensorProto.FLOAT)
            if matrix.zero_points is not None:
                self.constant(f"{name}.zero_points", matrix.zero_points)
        return f"{name}.codes", scales, "" if matrix.zero_points is None else f"{name}.zero_points"


def _float_output(name: str, shape: list[str | int]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _hidden_output(config: BertConfig) -> Any:
    return _float_output(HIDDEN, ["batch", "tokens", config.hidden_size])


def _encoder(graph: Graph) -> str:
    """Embeddings and layers; returns the name of the hidden states, (R, H)."""
    shape = graph.add("Shape", "input_ids", name="batch_tokens")  # [B, T]
    graph.add("Concat", shape, graph.numbers(-1), name="batch_tokens_any", axis=0)
    graph.add("Cast", "attention_mask", name="mask", to=TensorProto.INT32)  # B T
    x = _embeddings(graph)
    for i in range(graph.config.num_hidden_layers):
        prefix = f"bert.encoder.layer.{i}"
        attended = _attention(graph, x, f"{prefix}.attention")
        x = graph.layer_norm(attended, f"{prefix}.attention.output.LayerNorm", residual=x)
        inner = _dense(graph, x, f"{prefix}.intermediate.dense")  # R F
        outer = _dense(graph, graph.add("Gelu", inner), f"{prefix}.output.dense")  # R H
        x = graph.layer_norm(outer, f"{prefix}.output.LayerNorm", residual=x)
    return x


def _embeddings(graph: Graph) -> str:
    tokens = graph.add("Gather", "batch_tokens", graph.constant("one", np.array(1)))  # scalar T
    zero, one = graph.constant("zero", np.array(0)), graph.constant("one", np.array(1))
    order = graph.add("Range", zero, tokens, one)  # T
    words = graph.lookup(WORDS, "input_ids")  # B T H
    positions = graph.lookup("bert.embeddings.position_embeddings.weight", order)  # T H
    types = graph.lookup("bert.embeddings.token_type_embeddings.weight", "token_type_ids")  # B T H
    total = graph.add("Add", graph.add("Add", words, types), positions)  # B T H
    x = graph.layer_norm(total, "bert.embeddings.LayerNorm")
    return graph.add("Reshape", x, graph.numbers(-1, graph.config.hidden_size))  # R H


def _attention(graph: Graph, x: str, prefix: str) -> str:
    """Self-attention with its output projection: (R, H) to (R, H)."""
    query, key, value = (
        graph.add("Reshape", _dense(graph, x, f"{prefix}.self.{part}"), "batch_tokens_any")
        for part in ("query", "key", "value")
    )  # B T H each
    heads = graph.add(
        "MultiHeadAttention", query, key, value, "", "mask", domain=ORT_DOMAIN,
        num_heads=graph.config.num_attention_heads,
    )  # fmt: skip
    rows = graph.add("Reshape", heads, graph.numbers(-1, graph.config.hidden_size))  # R H
    return _dense(graph, rows, f"{prefix}.output.dense")


def _masked_token_head(graph: Graph, hidden: str) -> None:
    """Logits over the vocabulary at the chosen rows, or at all of them."""
    chosen = graph.constant(POSITIONS, np.empty(0, dtype=np.int64))
    none = graph.add("Equal", graph.add("Shape", chosen), graph.numbers(0))  # [bool]
    # Rows 0…R−1 where none are chosen, else an empty range behind the chosen ones.
    everywhere = graph.add("Mul", graph.add("Shape", hidden, end=1), graph.add("Cast", none, to=7))
    limit = graph.add("Squeeze", everywhere)
    zero, one = graph.constant("zero", np.array(0)), graph.constant("one", np.array(1))
    rows = graph.add("Concat", chosen, graph.add("Range", zero, limit, one), axis=0)
    x = graph.add("Gather", hidden, rows)  # M H
    x = graph.add("Gelu", _dense(graph, x, "cls.predictions.transform.dense"))
    x = graph.layer_norm(x, "cls.predictions.transform.LayerNorm")
    flat = graph.linear(x, WORDS, WORDS_BIAS)  # M V
    batch = graph.add("Shape", "input_ids", end=1)
    lead = graph.add("Where", none, batch, graph.numbers(1))
    shape = graph.add("Concat", lead, graph.numbers(-1, graph.config.vocab_size), axis=0)
    graph.add("Reshape", flat, shape, name=LOGITS)  # B T V, or 1 M V


def _next_sentence_head(graph: Graph) -> None:
    """Logits of "B follows A" and "B does not", from the first token of each sequence."""
    pooled = _pooled(graph)
    logits = graph.linear(pooled, "cls.seq_relationship.weight", "cls.seq_relationship.bias")
    graph.add("Identity", logits, name=NEXT_SENTENCE)  # B 2


def _pooled(graph: Graph) -> str:
    """The pooler at the first token of each sequence, (B, H)."""
    first = graph.add("Gather", HIDDEN, graph.constant("zero", np.array(0)), axis=1)  # B H
    return graph.add("Tanh", _dense(graph, first, "bert.pooler.dense"))


def _task_head(graph: Graph, hidden: str) -> list[Any]:
    """The one linear head of a task, on hidden states (R, H); returns its outputs."""
    config = graph.config
    tokens: list[str | int] = ["batch", "tokens"]
    if config.architecture == SEQUENCES:
        pooled = _pooled(graph)
        graph.add("Identity", _dense(graph, pooled, "classifier"), name=LOGITS)  # B L
        return [_float_output(LOGITS, ["batch", config.head_outputs])]
    if config.architecture == ANSWERS:
        both = graph.add(
            "Reshape", _dense(graph, hidden, "qa_outputs"), "batch_tokens_any"
        )  # B T 2
        for place, name in enumerate((START_LOGITS, END_LOGITS)):
            which = graph.constant(("zero", "one")[place], np.array(place))
            graph.add("Gather", both, which, name=name, axis=2)  # B T
        return [_float_output(name, tokens) for name in (START_LOGITS, END_LOGITS)]
    logits = _dense(graph, hidden, "classifier")  # R L
    graph.add("Reshape", logits, "batch_tokens_any", name=LOGITS)  # B T L
    return [_float_output(LOGITS, [*tokens, config.head_outputs])]


def _dense(graph: Graph, x: str, prefix: str) -> str:
    return graph.linear(x, f"{prefix}.weight", f"{prefix}.bias")
