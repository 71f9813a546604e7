"""BERT as a Core ML program, `coreml/model.mlpackage`, for iOS 18, macOS 15 and later.

The program is built operator by operator with coremltools' MIL builder, on any system. A packed
weight becomes `constexpr_blockwise_shift_scale`: codes, zero points and float16 scales are ours,
bit for bit (2 bits lie in four, which Core ML has; so does the sign of symmetric layouts, as a zero
point), and Core ML decodes them to float16, the precision it computes in at every width but
float32. Only macOS and iOS run it: on Linux what was written is checked by structure, not by value.

    inputs    input_ids, attention_mask, token_type_ids          int32 (1, T), T up to the positions
    outputs   as in `quantize.graph`, float32, `logits` of masked tokens at all positions (1, T, V)

Dimensions: T tokens, H hidden, N heads, D head width, V vocabulary, L labels; the batch is 1.
"""

import logging
from collections.abc import Collection, Mapping
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_mobile.errors import MissingExtraError
from bert_mobile.export.rounding import (
    refuse_large,
    rounded_plainly,
    rounding_notes,
    undivided,
)
from bert_mobile.export.source import Source
from bert_mobile.export.symmetric import rows_of_bytes
from bert_mobile.export.target import FLOAT32, INT4, INT8, MIX
from bert_mobile.foreign import hidden
from bert_mobile.model.config import ANSWERS, PRETRAINING, SEQUENCES, BertConfig
from bert_mobile.quantize.interface import (
    END_LOGITS,
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
    unpack_codes,
    unpack_zeros,
)

_UNUSED = ("torch", "torchao", "executorch", "transformers")  # which it imports, if there are any

# On import it warns, once for each class, that it cannot run anything on this system.
logging.getLogger("coremltools").addFilter(lambda record: record.levelno > logging.WARNING)

try:
    with hidden(*_UNUSED):
        import coremltools
        from coremltools.converters.mil import Builder
        from coremltools.converters.mil.mil import get_new_symbol, types
except ImportError:
    raise MissingExtraError("coremltools", "coreml") from None

PLACE = "coreml/model.mlpackage"
UNPROVEN = "unproven: only macOS and iOS run Core ML; the file was checked by structure alone"
"""What provenance says of every file."""

_LAYOUTS = {INT8: (8, (128, 64, 32, 16)), INT4: (4, (32, 16))}  # bits; blocks, the first that fits
_MASKED = -10_000  # added to the scores of padding; within float16, and e^-10000 is 0
_SMALLEST = 2.0**-24  # above 0 in float16: a smaller epsilon would be none

Weights = Mapping[str, FloatArray | PackedMatrix | PackedRows]


def write(source: Source, width: str, folder: Path) -> tuple[str, ...]:
    """Write `coreml/model.mlpackage`, a folder, into `folder`; see `Target.write`."""
    weights: Weights = {**source.weights, **(source.packed if width == MIX else {})}
    bits, blocks = _LAYOUTS.get(width, (0, ()))
    by_row: list[str] = []
    if bits:
        weights = rounded_plainly(source.weights, bits, blocks)
        by_row = undivided(source.weights, blocks)
    kind = np.float32 if width == FLOAT32 else np.float16
    program = build_program(source.config, weights, kind, by_row=by_row)
    with redirect_stderr(StringIO()):  # where it draws bars, terminal or not
        model = coremltools.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=coremltools.target.iOS18,
            compute_precision=coremltools.precision.FLOAT32,  # the program is typed already
            inputs=_inputs(source.config),
            skip_model_load=True,
        )
    path = folder / PLACE
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(str(path))
    return (UNPROVEN, *rounding_notes(source, width, blocks))


def build_program(
    config: BertConfig,
    weights: Weights,
    kind: type[np.floating],
    *,
    by_row: Collection[str] = (),
) -> Any:
    """Return the MIL program of a BERT of this shape, computed in `kind`.

    Float matrices that `by_row` names are stored in 8 bits with a scale for each row.
    """
    tokens = get_new_symbol()
    specs = [Builder.TensorSpec(shape=(1, tokens), dtype=types.int32) for _ in INPUTS]

    def bert(input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
        graph = _Graph(config, weights, kind, by_row)
        return graph.outputs(input_ids, attention_mask, token_type_ids)

    return Builder.program(input_specs=specs, opset_version=coremltools.target.iOS18)(bert)


def _inputs(config: BertConfig) -> list[Any]:
    tokens = coremltools.RangeDim(1, config.max_position_embeddings, default=1)
    return [
        coremltools.TensorType(name=name, shape=coremltools.Shape((1, tokens)), dtype=np.int32)
        for name in INPUTS
    ]


class _Graph:
    """Operators and the weights they read. Methods return what they compute."""

    def __init__(
        self,
        config: BertConfig,
        weights: Weights,
        kind: type[np.floating],
        by_row: Collection[str] = (),
    ) -> None:
        self._config, self._weights, self._kind = config, weights, kind
        self._by_row = by_row
        self._decoded: dict[str, Any] = {}

    def outputs(self, ids: Any, mask: Any, segments: Any) -> list[Any]:
        """Return the outputs of the network, float32, by name."""
        hidden = self._encoder(ids, mask, segments)  # 1 T H
        found = {HIDDEN: hidden}
        if self._config.architecture != PRETRAINING:
            found |= self._task_head(hidden)
        else:
            if WORDS_BIAS in self._weights:
                found[LOGITS] = self._masked_token_head(hidden)
            heads = ("bert.pooler.dense.bias", "cls.seq_relationship.bias")
            if all(name in self._weights for name in heads):
                found[NEXT_SENTENCE] = self._dense(self._pooled(hidden), "cls.seq_relationship")
        return [
            Builder.cast(x=value, dtype="fp32", name=name)
            if self._kind == np.float16
            else Builder.identity(x=value, name=name)
            for name, value in found.items()
        ]

    def _dense(self, x: Any, prefix: str) -> Any:
        return self._linear(x, f"{prefix}.weight", f"{prefix}.bias")

    def _linear(self, x: Any, weight: str, bias: str) -> Any:
        """The product x · Wᵀ + b: (…, in) to (…, out); each part of the rows on its own."""
        found, start = [], 0
        for name, part in named_parts(self._weights, weight):
            some = self._float(bias)[start : start + part.shape[0]]
            found.append(Builder.linear(x=x, weight=self._once(name, part), bias=some))
            start += part.shape[0]
        return found[0] if len(found) == 1 else Builder.concat(values=found, axis=-1)

    def _lookup(self, table: str, indices: Any) -> Any:
        """Rows of a table: indices of any shape (…) to (…, H).

        Each part of the rows is read at the nearest row it has; that which is meant is kept.
        """
        parts, found, start = named_parts(self._weights, table), None, 0
        for name, part in parts:
            own = indices
            if len(parts) > 1:
                own = Builder.sub(x=indices, y=np.int32(start))
                own = Builder.maximum(x=own, y=np.int32(0))
                own = Builder.minimum(x=own, y=np.int32(part.shape[0] - 1))
            rows = Builder.gather(x=self._once(name, part), indices=own, axis=0)  # … H
            if found is not None:
                later = Builder.greater_equal(x=indices, y=np.int32(start))
                rows = Builder.select(cond=Builder.expand_dims(x=later, axes=[-1]), a=rows, b=found)
            found, start = rows, start + part.shape[0]
        return found

    def _layer_norm(self, x: Any, prefix: str) -> Any:
        gamma, beta = self._float(f"{prefix}.weight"), self._float(f"{prefix}.bias")
        epsilon = self._kind(max(self._config.layer_norm_eps, _SMALLEST))
        return Builder.layer_norm(x=x, axes=[-1], gamma=gamma, beta=beta, epsilon=epsilon)

    def _float(self, name: str) -> NDArray[Any]:
        """Return a weight that is never packed: a bias, a LayerNorm, a tiny matrix."""
        return self._typed(name, float_weight(self._weights, name))

    def _typed(self, name: str, weight: FloatArray) -> NDArray[Any]:
        """Return numbers in the precision that is computed in."""
        if self._kind == np.float16:
            refuse_large(name, weight)
        return weight.astype(self._kind)

    def _once(self, name: str, weight: FloatArray | PackedMatrix) -> Any:
        """Return a matrix, stored once for all its uses."""
        if name not in self._decoded:
            self._decoded[name] = self._stored(name, weight)
        return self._decoded[name]

    def _stored(self, name: str, weight: FloatArray | PackedMatrix) -> Any:
        if isinstance(weight, PackedMatrix):
            return self._decompression(name, weight)
        if name not in self._by_row:
            return Builder.const(val=self._typed(name, weight), name=name)
        refuse_large(name, weight, steps=127)
        form = rows_of_bytes(weight)
        scales = form.scales[:, None].astype(self._kind)  # R 1
        return Builder.constexpr_blockwise_shift_scale(data=form.codes, scale=scales, name=name)

    def _decompression(self, name: str, matrix: PackedMatrix) -> Any:
        """Return what decodes a packed matrix to (R, C)."""
        narrow = types.np_uint4_dtype if matrix.layout.bits < 8 else np.uint8
        codes = unpack_codes(matrix.codes, matrix.layout.bits, matrix.shape[1])  # R C
        return Builder.constexpr_blockwise_shift_scale(
            data=codes.astype(narrow),
            scale=matrix.scales.astype(self._kind),
            offset=unpack_zeros(matrix).astype(narrow),
            name=name,
        )

    def _encoder(self, ids: Any, mask: Any, segments: Any) -> Any:
        dtype = "fp16" if self._kind == np.float16 else "fp32"
        taken = Builder.cast(x=mask, dtype=dtype)
        away = Builder.mul(x=Builder.sub(x=self._kind(1), y=taken), y=self._kind(_MASKED))
        away = Builder.expand_dims(x=away, axes=[1, 2])  # 1 1 1 T
        x = self._embeddings(ids, segments)
        for i in range(self._config.num_hidden_layers):
            prefix = f"bert.encoder.layer.{i}"
            attended = self._attention(x, away, f"{prefix}.attention")
            x = Builder.add(x=attended, y=x)
            x = self._layer_norm(x, f"{prefix}.attention.output.LayerNorm")
            inner = self._dense(x, f"{prefix}.intermediate.dense")  # 1 T F
            outer = self._dense(Builder.gelu(x=inner, mode="EXACT"), f"{prefix}.output.dense")
            x = self._layer_norm(Builder.add(x=outer, y=x), f"{prefix}.output.LayerNorm")
        return x

    def _embeddings(self, ids: Any, segments: Any) -> Any:
        tokens = Builder.gather(x=Builder.shape(x=ids), indices=np.int32(1), axis=0)
        order = Builder.range_1d(start=np.int32(0), end=tokens, step=np.int32(1))  # T
        words = self._lookup(WORDS, ids)  # 1 T H
        types_ = self._lookup("bert.embeddings.token_type_embeddings.weight", segments)
        positions = self._lookup("bert.embeddings.position_embeddings.weight", order)  # T H
        total = Builder.add(x=Builder.add(x=words, y=types_), y=positions)
        return self._layer_norm(total, "bert.embeddings.LayerNorm")

    def _attention(self, x: Any, away: Any, prefix: str) -> Any:
        """Self-attention with its output projection: (1, T, H) to (1, T, H)."""
        size = self._config.head_size
        shape = [1, -1, self._config.num_attention_heads, size]
        query, key, value = (
            Builder.transpose(
                x=Builder.reshape(x=self._dense(x, f"{prefix}.self.{part}"), shape=shape),
                perm=[0, 2, 1, 3],
            )
            for part in ("query", "key", "value")
        )  # 1 N T D each
        scaled = Builder.mul(x=query, y=self._kind(size**-0.5))
        scores = Builder.add(x=Builder.matmul(x=scaled, y=key, transpose_y=True), y=away)
        found = Builder.matmul(x=Builder.softmax(x=scores, axis=-1), y=value)  # 1 N T D
        joined = Builder.transpose(x=found, perm=[0, 2, 1, 3])
        joined = Builder.reshape(x=joined, shape=[1, -1, self._config.hidden_size])  # 1 T H
        return self._dense(joined, f"{prefix}.output.dense")

    def _masked_token_head(self, hidden: Any) -> Any:
        """Logits over the vocabulary (1, T, V)."""
        x = self._dense(hidden, "cls.predictions.transform.dense")
        x = self._layer_norm(Builder.gelu(x=x, mode="EXACT"), "cls.predictions.transform.LayerNorm")
        return self._linear(x, WORDS, WORDS_BIAS)

    def _pooled(self, hidden: Any) -> Any:
        """The pooler at the first token, (1, H)."""
        first = Builder.gather(x=hidden, indices=np.int32(0), axis=1)
        return Builder.tanh(x=self._dense(first, "bert.pooler.dense"))

    def _task_head(self, hidden: Any) -> dict[str, Any]:
        """The one linear head of a task, by the names of its outputs."""
        architecture = self._config.architecture
        if architecture == SEQUENCES:
            return {LOGITS: self._dense(self._pooled(hidden), "classifier")}  # 1 L
        if architecture == ANSWERS:
            both = self._dense(hidden, "qa_outputs")  # 1 T 2
            names = (START_LOGITS, END_LOGITS)
            return {
                name: Builder.gather(x=both, indices=np.int32(i), axis=2)
                for i, name in enumerate(names)
            }
        return {LOGITS: self._dense(hidden, "classifier")}  # 1 T L
