"""BERT's computation in LiteRT's operators; see the package.

Dimensions: T tokens, M chosen rows, H hidden, F feed-forward, N heads, D head width, V vocabulary,
L labels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bert_mobile.export.litert.flatbuffer import File, Subgraph, Tensor
from bert_mobile.export.litert.weights import (
    Halves,
    Stored,
    lookup,
    product,
    reshape,
    row_count,
    stored,
)
from bert_mobile.export.rounding import (
    is_rounded,
    refuse_large,
    rounded_plainly,
    rounding_notes,
)
from bert_mobile.export.source import Source
from bert_mobile.export.symmetric import losses, rows_of_bytes
from bert_mobile.export.target import FLOAT16, INT4, INT8, MIX
from bert_mobile.model.config import ANSWERS, PRETRAINING, SEQUENCES, BertConfig
from bert_mobile.quantize.interface import (
    BUCKET,
    END_LOGITS,
    HIDDEN,
    INPUTS,
    LOGITS,
    NEXT_SENTENCE,
    START_LOGITS,
    VOCABULARY,
    WORDS,
    WORDS_BIAS,
)
from bert_mobile.quantize.pack import PackedMatrix, float_weight, named_parts

PLACE = "litert/model.tflite"

_SHORTEST = 16  # tokens of the first bucket; each next one is twice as long
_FOUR_BITS = (64, 32)  # blocks of int4, the first that divides a row
_MASKED = np.float32(-10_000)  # added to the scores of padding; within float16, and e^-10000 is 0
_POSITIONS = "bert.embeddings.position_embeddings.weight"
_TYPES = "bert.embeddings.token_type_embeddings.weight"


def write(source: Source, width: str, folder: Path) -> tuple[str, ...]:
    """Write `litert/model.tflite` into `folder`; see `Target.write`."""
    path = folder / PLACE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(build(source, width))
    return _losses(source, width)


def build(source: Source, width: str) -> bytes:
    """Return the file of a source at a width."""
    file, network = File(), _Network(source, width)
    for tokens in buckets(source.config):
        _add_bucket(file, network, tokens)
    if source.config.architecture == PRETRAINING and WORDS_BIAS in source.weights:
        _add_vocabulary(file, network)
    return file.to_bytes()


def buckets(config: BertConfig) -> list[int]:
    """Return the lengths that a file can be asked for, the longest that the network has last."""
    longest, found, tokens = config.max_position_embeddings, [], _SHORTEST
    while tokens < longest:
        found.append(tokens)
        tokens *= 2
    return [*found, longest]


def _losses(source: Source, width: str) -> tuple[str, ...]:
    """Say what is not stored as `quantize` decided, or not at the width."""
    if width == MIX:
        return tuple(losses(source.packed))
    return rounding_notes(source, width, _FOUR_BITS)


class _Network:
    """The weights of a source at a width, by parts."""

    def __init__(self, source: Source, width: str) -> None:
        self.config, self._source, self._width = source.config, source, width
        self._stored: dict[str, list[tuple[str, Stored]]] = {}
        self._weights: Mapping[str, Any] = source.weights
        if width == MIX:
            self._weights = {**source.weights, **source.packed}
        elif width == INT4:
            self._weights = rounded_plainly(source.weights, 4, _FOUR_BITS)

    def has(self, *names: str) -> bool:
        """Tell whether the source has all weights of these names."""
        return self._source.weights.keys() >= set(names)

    def parts(self, name: str) -> list[tuple[str, Stored]]:
        """Return a matrix by its parts, from the first rows to the last, each with its name."""
        if name not in self._stored:
            found = named_parts(self._weights, name)
            self._stored[name] = [(called, self._stored_as(called, part)) for called, part in found]
        return self._stored[name]

    def _stored_as(self, name: str, weight: Any) -> Stored:
        if isinstance(weight, PackedMatrix) or not is_rounded(weight):
            return stored(weight)
        if self._width == FLOAT16:
            refuse_large(name, weight)
            return Halves(weight.astype(np.float16))
        return rows_of_bytes(weight) if self._width in (INT8, INT4) else stored(weight)

    def vector(self, graph: Subgraph, name: str) -> Tensor:
        """Return a bias, or a weight of LayerNorm."""
        return graph.constant(name, float_weight(self._weights, name))

    def linear(self, graph: Subgraph, x: Tensor, weight: str, bias: str) -> Tensor:
        """Add x · Wᵀ + b: (T, in) to (T, out); each part of the rows on its own."""
        biases, start, found = float_weight(self._weights, bias), 0, []
        for name, part in self.parts(weight):
            rows = row_count(part)
            here = graph.constant(f"{bias} of {name}", biases[start : start + rows])
            found.append(product(graph, x, part, name, here))
            start += rows
        if len(found) == 1:
            return found[0]
        shape = (x.shape[0], start)
        return graph.apply("CONCATENATION", found, shape, axis=1, fusedActivationFunction=0)

    def dense(self, graph: Subgraph, x: Tensor, prefix: str) -> Tensor:
        """The linear layer of that name: (T, in) to (T, out)."""
        return self.linear(graph, x, f"{prefix}.weight", f"{prefix}.bias")

    def rows(self, graph: Subgraph, table: str, indices: Tensor) -> Tensor:
        """Rows of a table: indices (T,) to (T, H).

        Each part of the rows is read at the nearest row it has; that which is meant is kept.
        """
        parts, start = self.parts(table), 0
        found: Tensor | None = None
        for name, part in parts:
            count = row_count(part)
            own = indices if len(parts) == 1 else _clipped(graph, indices, start, count)
            rows = lookup(graph, own, part, name)
            found = rows if found is None else _later(graph, indices, start, rows, found)
            start += count
        if found is None:
            raise ValueError(f"{table} has no rows")
        return found

    def norm(self, graph: Subgraph, x: Tensor, prefix: str) -> Tensor:
        """LayerNorm over the last axis of (T, H)."""
        mean = _mean(graph, x)
        spread = _mean(graph, graph.apply("SQUARED_DIFFERENCE", [x, mean], x.shape))
        epsilon = graph.constant("epsilon", np.array([self.config.layer_norm_eps], np.float32))
        scale = graph.apply("RSQRT", [_add(graph, spread, epsilon)], spread.shape)
        scaled = _multiply(graph, _subtract(graph, x, mean), scale)
        scaled = _multiply(graph, scaled, self.vector(graph, f"{prefix}.weight"))
        return _add(graph, scaled, self.vector(graph, f"{prefix}.bias"))


def _add_bucket(file: File, network: _Network, tokens: int) -> None:
    """Add what answers texts of so many tokens."""
    graph = Subgraph(file)
    inputs = {name: graph.input(name, (1, tokens), np.int32) for name in INPUTS}
    hidden = _encoder(graph, network, inputs)  # T H
    found = {HIDDEN: reshape(graph, hidden, (1, *hidden.shape))}
    if network.config.architecture != PRETRAINING:
        found |= _task_head(graph, network, hidden)
    elif network.has("bert.pooler.dense.bias", "cls.seq_relationship.bias"):
        pooled = _pooled(graph, network, hidden)
        found[NEXT_SENTENCE] = network.dense(graph, pooled, "cls.seq_relationship")  # 1 2
    file.add(f"{BUCKET}{tokens}", graph, inputs, found)


def _add_vocabulary(file: File, network: _Network) -> None:
    """Add what scores the words of chosen rows."""
    graph = Subgraph(file)
    rows = graph.input(HIDDEN, (1, network.config.hidden_size), np.float32, grows=True)
    x = _gelu(graph, network.dense(graph, rows, "cls.predictions.transform.dense"))
    x = network.norm(graph, x, "cls.predictions.transform.LayerNorm")
    logits = network.linear(graph, x, WORDS, WORDS_BIAS)  # M V
    file.add(VOCABULARY, graph, {HIDDEN: rows}, {LOGITS: logits})


def _encoder(graph: Subgraph, network: _Network, inputs: Mapping[str, Tensor]) -> Tensor:
    """Embeddings and layers: hidden states (T, H)."""
    ids, mask, types = (inputs[name] for name in INPUTS)
    tokens = ids.shape[1]
    mask = graph.cast(mask, np.float32)
    mask = _subtract(graph, graph.constant("one", np.ones((1, 1), np.float32)), mask)
    mask = _multiply(graph, mask, graph.constant("masked", np.array([_MASKED])))
    mask = reshape(graph, mask, (1, 1, tokens))
    x = _embeddings(
        graph, network, reshape(graph, ids, (tokens,)), reshape(graph, types, (tokens,))
    )
    for i in range(network.config.num_hidden_layers):
        prefix = f"bert.encoder.layer.{i}"
        attended = _attention(graph, network, x, mask, f"{prefix}.attention")
        x = network.norm(graph, _add(graph, attended, x), f"{prefix}.attention.output.LayerNorm")
        inner = _gelu(graph, network.dense(graph, x, f"{prefix}.intermediate.dense"))  # T F
        outer = network.dense(graph, inner, f"{prefix}.output.dense")
        x = network.norm(graph, _add(graph, outer, x), f"{prefix}.output.LayerNorm")
    return x


def _embeddings(graph: Subgraph, network: _Network, ids: Tensor, types: Tensor) -> Tensor:
    order = np.arange(ids.shape[0], dtype=np.int32)
    positions = network.rows(graph, _POSITIONS, graph.constant(f"first {len(order)}", order))
    words = _add(graph, network.rows(graph, WORDS, ids), network.rows(graph, _TYPES, types))
    return network.norm(graph, _add(graph, words, positions), "bert.embeddings.LayerNorm")


def _attention(graph: Subgraph, network: _Network, x: Tensor, mask: Tensor, prefix: str) -> Tensor:
    """Self-attention with its output projection: (T, H) to (T, H)."""
    tokens, heads, size = x.shape[0], network.config.num_attention_heads, network.config.head_size
    query, key, value = (
        _transpose(
            graph,
            reshape(graph, network.dense(graph, x, f"{prefix}.self.{part}"), (tokens, heads, size)),
        )
        for part in ("query", "key", "value")
    )  # N T D each
    scale = graph.constant("scale", np.array([size**-0.5], np.float32))
    scores = graph.apply(
        "BATCH_MATMUL", [_multiply(graph, query, scale), key], (heads, tokens, tokens), adjY=True
    )
    shares = graph.apply("SOFTMAX", [_add(graph, scores, mask)], scores.shape, beta=1.0)
    found = graph.apply("BATCH_MATMUL", [shares, value], (heads, tokens, size), adjY=False)
    joined = reshape(graph, _transpose(graph, found), (tokens, heads * size))
    return network.dense(graph, joined, f"{prefix}.output.dense")


def _pooled(graph: Subgraph, network: _Network, hidden: Tensor) -> Tensor:
    """The pooler at the first token, (1, H)."""
    first = _slice(graph, hidden, (0, 0), (1, hidden.shape[1]))
    pooled = network.dense(graph, first, "bert.pooler.dense")
    return graph.apply("TANH", [pooled], pooled.shape)


def _task_head(graph: Subgraph, network: _Network, hidden: Tensor) -> dict[str, Tensor]:
    """The one linear head of a task, by the names of its outputs."""
    architecture, tokens = network.config.architecture, hidden.shape[0]
    if architecture == SEQUENCES:
        return {LOGITS: network.dense(graph, _pooled(graph, network, hidden), "classifier")}  # 1 L
    if architecture == ANSWERS:
        both = network.dense(graph, hidden, "qa_outputs")  # T 2
        ends = (_slice(graph, both, (0, end), (tokens, 1)) for end in (0, 1))
        names = (START_LOGITS, END_LOGITS)
        return {n: reshape(graph, end, (1, tokens)) for n, end in zip(names, ends, strict=True)}
    logits = network.dense(graph, hidden, "classifier")  # T L
    return {LOGITS: reshape(graph, logits, (1, *logits.shape))}


def _clipped(graph: Subgraph, indices: Tensor, start: int, count: int) -> Tensor:
    """Return indices within a part that begins at `start`, those beyond an end at that end."""
    own = _subtract(graph, indices, _whole(graph, start))
    for operator, bound in (("MAXIMUM", 0), ("MINIMUM", count - 1)):
        own = graph.apply(operator, [own, _whole(graph, bound)], own.shape)
    return own


def _later(graph: Subgraph, indices: Tensor, start: int, rows: Tensor, before: Tensor) -> Tensor:
    """Return `rows` where the index is `start` or more, else those of `before`, (T, H)."""
    is_later = graph.apply(
        "GREATER_EQUAL", [indices, _whole(graph, start)], indices.shape, kind=np.bool_
    )
    chosen = [reshape(graph, is_later, (*indices.shape, 1)), rows, before]
    return graph.apply("SELECT_V2", chosen, rows.shape, kind=rows.kind)


def _whole(graph: Subgraph, number: int) -> Tensor:
    return graph.constant(f"whole {number}", np.array([number], np.int32))


def _slice(graph: Subgraph, x: Tensor, begin: Sequence[int], size: Sequence[int]) -> Tensor:
    where = [
        graph.constant(f"{what} {'x'.join(map(str, numbers))}", np.array(numbers, np.int32))
        for what, numbers in (("begin", begin), ("size", size))
    ]
    return graph.apply("SLICE", [x, *where], tuple(size))


def _transpose(graph: Subgraph, x: Tensor) -> Tensor:
    """Swap the first two axes of three."""
    order = graph.constant("swap", np.array([1, 0, 2], np.int32))
    return graph.apply("TRANSPOSE", [x, order], (x.shape[1], x.shape[0], x.shape[2]))


def _mean(graph: Subgraph, x: Tensor) -> Tensor:
    """The mean over the last axis, which stays: (T, H) to (T, 1)."""
    axis = graph.constant("last axis", np.array([1], np.int32))
    return graph.apply("MEAN", [x, axis], (x.shape[0], 1), keepDims=True)


def _gelu(graph: Subgraph, x: Tensor) -> Tensor:
    return graph.apply("GELU", [x], x.shape, approximate=False)


def _add(graph: Subgraph, x: Tensor, y: Tensor) -> Tensor:
    return graph.apply("ADD", [x, y], x.shape, fusedActivationFunction=0)


def _subtract(graph: Subgraph, x: Tensor, y: Tensor) -> Tensor:
    shape = np.broadcast_shapes(x.shape, y.shape)
    return graph.apply("SUB", [x, y], shape, fusedActivationFunction=0)


def _multiply(graph: Subgraph, x: Tensor, y: Tensor) -> Tensor:
    return graph.apply("MUL", [x, y], x.shape, fusedActivationFunction=0)
