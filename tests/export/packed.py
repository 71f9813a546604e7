"""A network packed in every layout that `quantize` may choose, for every target to carry over."""

from collections.abc import Mapping
from itertools import cycle

import numpy as np

from bert_mobile.model.config import BertConfig
from bert_mobile.quantize.graph import build_graph
from bert_mobile.quantize.interface import WORDS
from bert_mobile.quantize.pack import Layout, PackedRows, pack_matrix, unpack_matrix
from bert_mobile.runtime.batches import Batch
from bert_mobile.runtime.sessions import OnnxSession

LAYOUTS = (
    Layout(4, 32),
    Layout(8, 64),
    Layout(4, 64),
    Layout(4, 32, symmetric=True),
    Layout(2, 32),
    Layout(4, 16),
    Layout(2, 64, symmetric=True),
    Layout(8, 32),
)
FLOAT = ("token_type_embeddings", "seq_relationship", "classifier", "qa_outputs")


def packed_weights(weights: Mapping[str, np.ndarray]):
    """Return matrices packed in turn in all layouts, the word embedding in three parts.

    And all the weights in float32, those matrices rounded.
    """
    packed, layouts = {}, cycle(LAYOUTS)
    for name, weight in weights.items():
        if weight.ndim == 2 and not any(part in name for part in FLOAT):
            packed[name] = pack_matrix(weight, next(layouts))
    cuts = (0, 50, 101, len(weights[WORDS]))
    parts = zip(cuts, cuts[1:], (Layout(8, 64), Layout(4, 32), Layout(2, 16)), strict=False)
    packed[WORDS] = PackedRows(
        tuple(pack_matrix(weights[WORDS][start:stop], layout) for start, stop, layout in parts)
    )
    return packed, {**weights, **{name: unpack_matrix(matrix) for name, matrix in packed.items()}}


def batch(config: BertConfig, sequences: int, tokens: int, seed: int = 0) -> Batch:
    """Return random ids in two segments; the last sequence is padded to a third of its length."""
    rng = np.random.default_rng(seed)
    shape = sequences, tokens
    ids, mask = rng.integers(0, config.vocab_size, shape), np.ones(shape, np.int64)
    mask[-1, max(1, tokens // 3) :] = 0
    types = np.broadcast_to(np.arange(tokens) >= tokens // 2, shape).astype(np.int64)
    return Batch(ids, mask, types)


def difference(found: np.ndarray, expected: np.ndarray, batch: Batch) -> float:
    """Return the largest difference, padding left out."""
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    is_by_token = found.shape[:2] == batch.mask.shape
    kept = batch.mask == 1 if is_by_token else slice(None)
    return float(np.abs(found[kept] - expected[kept]).max())


def oracle(config, weights):
    """Return our ONNX graph of these weights, opened: what every other file is to answer like."""
    model = build_graph(config, weights).SerializeToString()
    return OnnxSession(model, "oracle", threads=1)


def worst(session, expected, config, shapes) -> float:
    """Return the largest difference over all outputs, which both have, and batches."""
    assert session.outputs == expected.outputs
    return max(
        difference(session.run(output, some), expected.run(output, some), some)
        for some in (batch(config, *shape) for shape in shapes)
        for output in expected.outputs
    )
