"""Packed weights unpacked at load: the same products, in the form that was asked for."""

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import bert_mobile
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.model.config import TASKS, BertConfig
from bert_mobile.quantize import dequantize, quantize
from bert_mobile.quantize.graph import build_graph
from bert_mobile.quantize.interface import HIDDEN, LOGITS, NEXT_SENTENCE, WORDS
from bert_mobile.quantize.pack import Layout, join_rows, pack_matrix, unpack_matrix
from bert_mobile.runtime.batches import Batch
from bert_mobile.runtime.engines import Engine
from bert_mobile.runtime.forms import FLOAT32, INT8
from bert_mobile.runtime.messages import read_model
from bert_mobile.runtime.sessions import OnnxSession
from bert_mobile.runtime.unpacking import unpacked

TEXTS = ["the way we go", "an old man and the state of the world", "me"]
LAYOUTS = [Layout(2, 16), Layout(4, 32), Layout(4, 16, symmetric=True), Layout(8, 32)]


@pytest.fixture
def model_bytes(tiny_quantized):
    return (tiny_quantized / "onnx/model_quantized.onnx").read_bytes()


def product(packed, bias, *, columns=None):
    """Return the bytes of a model that is one product, stored as `quantize.graph` stores it."""
    rows, width = packed.shape
    layout = packed.layout
    stored = {"w.codes": packed.codes, "w.scales": packed.scales, "b": bias}
    stored["shape"] = np.array([rows, width // layout.block, -1])
    zeros = "" if packed.zero_points is None else "w.zero_points"
    if zeros:
        stored[zeros] = packed.zero_points
    nodes = [
        helper.make_node("Cast", ["w.scales"], ["scales"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["w.codes", "shape"], ["codes"]),
        helper.make_node(
            "MatMulNBits", ["x", "codes", "scales", zeros, "", "b"], ["y"], domain="com.microsoft",
            K=columns or width, N=rows, bits=layout.bits, block_size=layout.block,
        ),
    ]  # fmt: skip
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["r", None]) for n in "xy")
    initializers = [numpy_helper.from_array(array, name) for name, array in stored.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], initializers)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def run(model, x):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": x})[0]


@pytest.fixture(params=LAYOUTS, ids=str)
def case(request):
    """A packed matrix, its bias, and activations with a row of zeros and one of an outlier."""
    rng = np.random.default_rng(3)
    packed = pack_matrix(rng.normal(0, 1, (24, 64)).astype(np.float32), request.param)
    x = rng.normal(0, 1, (5, 64)).astype(np.float32)
    x[1], x[2, 7] = 0, 1000
    return packed, rng.normal(0, 1, 24).astype(np.float32), x


def test_float32_is_the_product_with_the_packed_weights(case, tmp_path):
    packed, bias, x = case
    found = run(unpacked(product(packed, bias), tmp_path, FLOAT32), x)
    np.testing.assert_allclose(found, x @ unpack_matrix(packed).T + bias, rtol=1e-4, atol=1e-3)


def test_int8_is_the_product_of_rows_rounded_each_by_itself(case, tmp_path):
    packed, bias, x = case
    found = run(unpacked(product(packed, bias), tmp_path, INT8), x)
    weight = unpack_matrix(packed)
    steps = np.abs(weight).max(1, keepdims=True) / 127
    least = x.min(1, keepdims=True)
    ranges = np.maximum(x.max(1, keepdims=True) - least, 1e-30)
    codes = np.rint((x - least) / ranges * 255)
    expected = (codes * ranges / 255 + least) @ (np.rint(weight / steps) * steps).T + bias
    tie = np.abs(weight).max() * ranges / 255  # a code may fall to the other side of a half
    assert (np.abs(found - expected) <= 1.1 * tie + 1e-4).all()
    np.testing.assert_array_equal(found[1], bias)


def test_a_weight_of_another_size_than_its_product_is_refused(case, tmp_path):
    packed, bias, _ = case
    with pytest.raises(ArtifactError, match="w is not packed as its product reads it"):
        unpacked(product(packed, bias, columns=128), tmp_path, INT8)


def test_every_output_of_a_model_with_an_embedding_in_parts(tiny_config, tiny_weights, tmp_path):
    words = tiny_weights[WORDS]
    parts = [pack_matrix(words[:50], Layout(8, 32)), pack_matrix(words[50:], Layout(4, 32))]
    packed = {
        name: pack_matrix(w, Layout(4, 32)) if "dense.weight" in name else w
        for name, w in tiny_weights.items()
    } | {WORDS: join_rows(parts)}
    exact = {
        name: w if isinstance(w, np.ndarray) else unpack_matrix(w) for name, w in packed.items()
    }
    model = build_graph(tiny_config, packed).SerializeToString()
    reference = OnnxSession(build_graph(tiny_config, exact).SerializeToString(), tmp_path)
    ids = np.random.default_rng(0).integers(0, len(words), (3, 12))
    batch = Batch(ids, np.ones_like(ids), np.zeros_like(ids))
    for form, tolerance in ((FLOAT32, 1e-4), (INT8, 0.1)):
        session = OnnxSession(unpacked(model, tmp_path, form), tmp_path)
        assert session.outputs == reference.outputs
        for output in (HIDDEN, LOGITS, NEXT_SENTENCE):
            expected = reference.run(output, batch)
            error = np.linalg.norm(session.run(output, batch) - expected)
            assert error < tolerance * np.linalg.norm(expected), (form, output)
        places = np.array([3, 30])
        some, all_of_them = session.run(LOGITS, batch, places), session.run(LOGITS, batch)
        np.testing.assert_allclose(some, all_of_them.reshape(36, -1)[places], atol=1e-4)


def test_answers_are_those_of_the_weights_that_are_packed(tiny_quantized, tmp_path):
    weights = dequantize(tiny_quantized)
    config = BertConfig.read(tiny_quantized)
    reference = OnnxSession(build_graph(config, weights).SerializeToString(), tmp_path)
    model = bert_mobile.load(tiny_quantized, weights=FLOAT32)
    ids = np.arange(20, 44).reshape(2, 12)
    batch = Batch(ids, np.ones_like(ids), np.zeros_like(ids))
    np.testing.assert_allclose(
        model.session.run(HIDDEN, batch), reference.run(HIDDEN, batch), atol=1e-4
    )


def test_neighbours_in_a_batch_change_no_answer_of_int8(tiny_quantized):
    model = bert_mobile.load(tiny_quantized, weights=INT8)
    alone = np.concatenate([model.embed([text]) for text in TEXTS])
    np.testing.assert_allclose(model.embed(TEXTS), alone, atol=1e-5)


@pytest.mark.parametrize("architecture", TASKS)
def test_the_head_of_a_task_answers_alike(tiny_task, tmp_path, architecture):
    quantize(tiny_task(architecture), tmp_path / "small", max_bytes=200_000)
    exact, int8 = (bert_mobile.load(tmp_path / "small", weights=w) for w in (FLOAT32, INT8))
    ids = np.arange(20, 44).reshape(2, 12)
    batch = Batch(ids, np.ones_like(ids), np.zeros_like(ids))
    for output in exact.session.outputs:
        expected = exact.session.run(output, batch)
        error = np.linalg.norm(int8.session.run(output, batch) - expected)
        assert error < 0.1 * np.linalg.norm(expected), output


def test_what_is_not_packed_stays_with_a_warning(tiny_checkpoint):
    with pytest.warns(UserWarning, match="has no packed weights: 'int8' changes nothing"):
        found = bert_mobile.load(tiny_checkpoint, weights=INT8).embed(TEXTS)
    np.testing.assert_allclose(found, bert_mobile.load(tiny_checkpoint).embed(TEXTS), atol=1e-6)


def test_neither_onnx_nor_torch_is_needed(tiny_quantized):
    code = f"""
import sys, bert_mobile
bert_mobile.load({str(tiny_quantized)!r}, weights="int8").embed("the way")
assert not {{"onnx", "torch"}} & set(sys.modules)
import onnx
onnx.load({str(tiny_quantized / "onnx/model_quantized.onnx")!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_weights_of_another_engine_are_not_unpacked(spoilable, monkeypatch):
    (spoilable / "onnx/model_quantized.onnx").rename(spoilable / "onnx/model.other")
    (spoilable / "provenance.json").unlink()
    other = Engine("onnx/model.other", "bert_mobile.runtime.sessions", "OnnxSession")
    monkeypatch.setattr("bert_mobile.runtime.sessions.ENGINES", (other,))
    monkeypatch.setattr("bert_mobile.hub.MODEL_FILES", (other.place,))
    with pytest.raises(InputError, match="is no ONNX file, whose weights alone are unpacked"):
        bert_mobile.load(spoilable, weights=INT8)


def test_another_form_is_refused(tiny_quantized):
    with pytest.raises(InputError, match="'int4', expected one of packed, int8, float32"):
        bert_mobile.load(tiny_quantized, weights="int4")


@pytest.mark.parametrize("length", [0, 10, 5000, 100_000])
@pytest.mark.filterwarnings("ignore:.*has no packed weights")
def test_a_file_cut_short_is_an_error_of_one_line(spoilable, length):
    (spoilable / "provenance.json").unlink()
    path = spoilable / "onnx/model_quantized.onnx"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ArtifactError) as caught:
        bert_mobile.load(spoilable, weights=INT8)
    assert "\n" not in caught.value.message


def test_a_model_read_and_written_is_the_same(model_bytes, tmp_path):
    written = read_model(model_bytes, tmp_path).SerializeToString()
    assert onnx.load_from_string(written) == onnx.load_from_string(model_bytes)
