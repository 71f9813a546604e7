"""The ONNX graph against transformers' `BertForPreTraining`."""

import numpy as np
import onnxruntime
import pytest
import torch
import transformers
from transformers import BertForPreTraining

from bert_mobile.checkpoint import read_weights
from bert_mobile.model.config import ANSWERS, TASKS, BertConfig
from bert_mobile.quantize.graph import build_graph
from bert_mobile.quantize.interface import WORDS
from bert_mobile.quantize.pack import (
    Layout,
    PackedMatrix,
    PackedRows,
    join_rows,
    pack_matrix,
    unpack_matrix,
)

OUTPUTS = ["logits", "last_hidden_state", "seq_relationship_logits"]


def run(model, outputs, inputs):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(outputs, inputs)


@pytest.fixture(scope="module")
def inputs(tiny_config):
    """Three sequences of 17, 10 and 5 tokens, padded, of two segments each."""
    ids = np.random.default_rng(0).integers(5, tiny_config.vocab_size, (3, 17))
    mask = (np.arange(17) < np.array([[17], [10], [5]])).astype(np.int64)
    types = np.broadcast_to((np.arange(17) > 3).astype(np.int64), (3, 17)).copy()
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def test_float_graph_equals_transformers(tiny_checkpoint, tiny_config, tiny_weights, inputs):
    oracle = BertForPreTraining.from_pretrained(tiny_checkpoint).eval()
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    with torch.no_grad():
        expected = oracle(**tensors, output_hidden_states=True)
    expected = (
        expected.prediction_logits,
        expected.hidden_states[-1],
        expected.seq_relationship_logits,
    )
    got = run(build_graph(tiny_config, tiny_weights), OUTPUTS, inputs)
    for name, ours, theirs in zip(OUTPUTS, got, expected, strict=True):
        difference = np.abs(ours - theirs.numpy()).max()
        assert ours.shape == tuple(theirs.shape)
        assert difference < 1e-5 * np.abs(ours).max(), f"{name}: {difference:.2e}"


def test_chosen_positions_are_those_of_the_whole(tiny_config, tiny_weights, inputs):
    model = build_graph(tiny_config, tiny_weights)
    positions = np.array([3, 20, 19, 3])
    (everywhere,) = run(model, ["logits"], inputs)
    (chosen,) = run(model, ["logits"], inputs | {"logit_positions": positions})
    assert chosen.shape == (1, 4, tiny_config.vocab_size)
    rows = everywhere.reshape(-1, tiny_config.vocab_size)
    np.testing.assert_allclose(chosen[0], rows[positions], atol=1e-6)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_packed_graph_equals_the_float_graph_of_the_same_numbers(
    bits, tiny_config, tiny_weights, inputs
):
    """They differ by ONNX Runtime's rounding of activations to 8 bits alone."""
    kept = ("token_type_embeddings.weight", "seq_relationship.weight")
    packed = {
        name: pack_matrix(w, Layout(bits, 32)) if w.ndim == 2 and not name.endswith(kept) else w
        for name, w in tiny_weights.items()
    }
    unpacked = {
        name: unpack_matrix(w) if isinstance(w, PackedMatrix) else w for name, w in packed.items()
    }
    ours = run(build_graph(tiny_config, packed), OUTPUTS, inputs)
    reference = run(build_graph(tiny_config, unpacked), OUTPUTS, inputs)
    for name, a, b in zip(OUTPUTS, ours, reference, strict=True):
        difference = np.linalg.norm(a - b) / np.linalg.norm(b)
        assert difference < 0.06, f"{name}: {difference:.2e}"


def test_an_embedding_in_parts_answers_as_a_whole_one(tiny_config, tiny_weights, inputs):
    """Look-up by parts is exact; the products differ by the rounding of activations alone."""
    words = tiny_weights[WORDS]
    parts = [words[:20], words[20:21], words[21:120], words[120:]]
    layouts = [Layout(8, 32), Layout(8, 64), Layout(4, 32), Layout(2, 64)]
    packed = join_rows([pack_matrix(*each) for each in zip(parts, layouts, strict=True)])
    assert isinstance(packed, PackedRows)
    ours = run(build_graph(tiny_config, {**tiny_weights, WORDS: packed}), OUTPUTS, inputs)
    whole = {**tiny_weights, WORDS: unpack_matrix(packed)}
    reference = run(build_graph(tiny_config, whole), OUTPUTS, inputs)
    for name, a, b in zip(OUTPUTS, ours, reference, strict=True):
        difference = np.linalg.norm(a - b) / np.linalg.norm(b)
        assert difference < (0.01 if name == "logits" else 1e-6), f"{name}: {difference:.2e}"


def test_a_bare_encoder_has_no_heads(tiny_config, tiny_weights, inputs):
    encoder = {name: w for name, w in tiny_weights.items() if not name.startswith("cls.")}
    model = build_graph(tiny_config, encoder)
    assert [output.name for output in model.graph.output] == ["last_hidden_state"]
    assert [value.name for value in model.graph.input] == list(inputs)
    whole = run(build_graph(tiny_config, tiny_weights), ["last_hidden_state"], inputs)[0]
    np.testing.assert_array_equal(run(model, ["last_hidden_state"], inputs)[0], whole)


@pytest.mark.parametrize("architecture", TASKS)
@pytest.mark.parametrize("bits", [None, 4, 8])
def test_heads_of_tasks(architecture, bits, tiny_task, inputs):
    """Equal to transformers in float32; packed, to the float graph of the same numbers."""
    folder = tiny_task(architecture)
    config = BertConfig.read(folder)
    weights = read_weights(folder, config)
    names = ["start_logits", "end_logits"] if architecture == ANSWERS else ["logits"]
    if bits is None:
        oracle = getattr(transformers, architecture).from_pretrained(folder).eval()
        with torch.no_grad():
            out = oracle(**{name: torch.from_numpy(array) for name, array in inputs.items()})
        expected, tolerance = [out[name].numpy() for name in names], 1e-5
        stored = weights
    else:
        small = ("token_type_embeddings.weight", "classifier.weight", "qa_outputs.weight")
        stored = {
            name: pack_matrix(w, Layout(bits, 32))
            if w.ndim == 2 and not name.endswith(small)
            else w
            for name, w in weights.items()
        }
        rounded = {
            name: unpack_matrix(w) if isinstance(w, PackedMatrix) else w
            for name, w in stored.items()
        }
        expected, tolerance = run(build_graph(config, rounded), names, inputs), 0.06
    model = build_graph(config, stored)
    assert [output.name for output in model.graph.output] == [*names, "last_hidden_state"]
    assert [value.name for value in model.graph.input] == list(inputs)
    for name, ours, theirs in zip(names, run(model, names, inputs), expected, strict=True):
        assert ours.shape == theirs.shape
        difference = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
        assert difference < tolerance, f"{name}: {difference:.2e}"
