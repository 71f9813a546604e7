"""OpenVINO's files: equal to our ONNX graph for every head, the packed codes carried over."""

import numpy as np
import pytest

from bert_mobile.checkpoint import read_weights
from bert_mobile.export.source import Source
from bert_mobile.foreign import TELEMETRY, hidden
from bert_mobile.model.config import ANSWERS, SEQUENCES, TOKENS, BertConfig
from bert_mobile.quantize.interface import WORDS
from tests.export.packed import oracle, packed_weights, worst

with hidden(TELEMETRY):
    openvino = pytest.importorskip("openvino", reason="needs the extra [openvino]")
target = pytest.importorskip("bert_mobile.export.openvino")
OpenVinoSession = pytest.importorskip("bert_mobile.runtime.engines.openvino").OpenVinoSession

SHAPES = ((1, 1), (1, 17), (3, 5), (2, 64))


def written(folder, config, weights, width, packed=None):
    """Write a network and open it."""
    target.write(Source(folder, config, weights, packed or {}), width, folder)
    path = folder / target.PLACE
    return OpenVinoSession(path, path, threads=1, exact=True)


def constants(path):
    return [
        node
        for node in openvino.Core().read_model(path).get_ops()
        if node.get_type_name() == "Constant"
    ]


def test_float32_and_float16_answer_as_the_onnx_file(tmp_path, tiny_config, tiny_weights):
    expected = oracle(tiny_config, tiny_weights)
    full = written(tmp_path / "full", tiny_config, tiny_weights, "float32")
    assert worst(full, expected, tiny_config, SHAPES) < 5e-5
    half = written(tmp_path / "half", tiny_config, tiny_weights, "float16")
    assert 1e-5 < worst(half, expected, tiny_config, SHAPES) < 0.05
    sizes = [(tmp_path / name / "openvino/model.bin").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.51 * sizes[0]


@pytest.mark.parametrize("architecture", [SEQUENCES, TOKENS, ANSWERS])
def test_heads_of_tasks(tmp_path, tiny_task, architecture):
    folder = tiny_task(architecture)
    config = BertConfig.read(folder)
    weights = read_weights(folder, config)
    session = written(tmp_path, config, weights, "float32")
    assert worst(session, oracle(config, weights), config, SHAPES) < 5e-5


def test_a_bare_encoder_has_hidden_states_only(tmp_path, tiny_config, tiny_weights):
    bare = {n: w for n, w in tiny_weights.items() if not n.startswith(("cls.", "bert.pooler"))}
    session = written(tmp_path, tiny_config, bare, "float32")
    assert session.outputs == {"last_hidden_state"}
    assert worst(session, oracle(tiny_config, bare), tiny_config, SHAPES) < 5e-5


def test_mix_carries_every_layout_over(tmp_path, tiny_config, tiny_weights):
    packed, rounded = packed_weights(tiny_weights)
    session = written(tmp_path, tiny_config, rounded, "mix", packed)
    assert worst(session, oracle(tiny_config, rounded), tiny_config, SHAPES) < 5e-5


def test_the_decoded_weights_are_ours_bit_for_bit(tmp_path, tiny_config, tiny_weights):
    packed, rounded = packed_weights(tiny_weights)
    written(tmp_path, tiny_config, rounded, "mix", packed)
    model = openvino.Core().read_model(tmp_path / target.PLACE)
    nodes = {node.get_friendly_name(): node for node in model.get_ops()}
    for name in packed:
        parts = [nodes[name]] if name in nodes else [nodes[f"{name}.{i}"] for i in range(3)]
        decoded = openvino.compile_model(
            openvino.Model(parts, []), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )({})
        found = np.concatenate([decoded[i] for i in range(len(parts))])
        np.testing.assert_array_equal(found, rounded[name])


def test_the_bytes_are_those_of_the_packed_weights(tmp_path, tiny_config, tiny_weights):
    packed, rounded = packed_weights(tiny_weights)
    written(tmp_path, tiny_config, rounded, "mix", packed)
    stored = sum(node.get_byte_size() for node in constants(tmp_path / target.PLACE))
    floats = sum(4 * weight.size for name, weight in rounded.items() if name not in packed)
    ours = sum(matrix.nbytes for matrix in packed.values()) + floats
    assert ours < stored < 1.1 * ours  # of symmetric 2 bits the zero points are written out


def test_the_embedding_is_stored_once(tmp_path, tiny_config, tiny_weights):
    written(tmp_path, tiny_config, tiny_weights, "float32")
    shape = list(tiny_weights[WORDS].shape)
    found = [node for node in constants(tmp_path / target.PLACE) if list(node.shape) == shape]
    assert len(found) == 1


@pytest.mark.parametrize(("width", "kind", "limit"), [("int8", "u8", 0.3), ("int4", "u4", 5)])
def test_nncf_rounds_every_matrix(tmp_path, tiny_config, tiny_weights, width, kind, limit, capfd):
    with hidden(TELEMETRY):
        pytest.importorskip("nncf", reason="needs the extra [openvino]")
    session = written(tmp_path, tiny_config, tiny_weights, width)
    assert 0.001 < worst(session, oracle(tiny_config, tiny_weights), tiny_config, SHAPES) < limit
    found = {
        (node.get_element_type().get_type_name(), len(node.shape) > 1 and node.shape[0])
        for node in constants(tmp_path / target.PLACE)
    }
    assert (kind, tiny_config.vocab_size) in found
    assert ("f32", tiny_config.vocab_size) not in found
    assert capfd.readouterr().out == ""
