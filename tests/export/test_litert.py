"""LiteRT's files: equal to our ONNX graph for every head, the packed codes carried over."""

import numpy as np
import pytest

from bert_mobile.checkpoint import read_weights
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.export import TARGETS
from bert_mobile.export.source import Source, read_source
from bert_mobile.export.symmetric import Nibbles
from bert_mobile.model.config import ANSWERS, SEQUENCES, TOKENS, BertConfig
from bert_mobile.quantize import quantize
from bert_mobile.quantize.interface import HIDDEN, LOGITS, WORDS
from bert_mobile.quantize.pack import Layout, pack_matrix, parts_of, unpack_matrix
from tests.export.packed import batch, oracle, packed_weights, worst

interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="needs the extra [litert]")
schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
target = pytest.importorskip("bert_mobile.export.litert.network")
forms = pytest.importorskip("bert_mobile.export.litert.weights")
flatbuffer = pytest.importorskip("bert_mobile.export.litert.flatbuffer")
LiteRtSession = pytest.importorskip("bert_mobile.runtime.engines.litert").LiteRtSession

SHAPES = ((1, 1), (1, 17), (3, 16), (2, 64))
LAYOUTS = (Layout(4, 32), Layout(4, 64), Layout(4, 32, symmetric=True), Layout(2, 32))


def written(folder, config, weights, width, packed=None):
    """Write a network and open it."""
    target.write(Source(folder, config, weights, packed or {}), width, folder)
    return opened(folder / target.PLACE)


def opened(path):
    return LiteRtSession(path, path, threads=1)


def parsed(path):
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))


def test_float32_and_float16_answer_as_the_onnx_file(tmp_path, tiny_config, tiny_weights):
    expected = oracle(tiny_config, tiny_weights)
    full = written(tmp_path / "full", tiny_config, tiny_weights, "float32")
    assert worst(full, expected, tiny_config, SHAPES) < 5e-5
    half = written(tmp_path / "half", tiny_config, tiny_weights, "float16")
    assert 1e-5 < worst(half, expected, tiny_config, SHAPES) < 0.05
    whole, small = (
        sum(len(each.data) for each in parsed(tmp_path / name / target.PLACE).buffers
            if each.data is not None)
        for name in ("full", "half")
    )  # fmt: skip
    assert small < 0.56 * whole  # biases, and what has fewer than 33 rows, stay float32


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
    assert session.outputs == {HIDDEN}
    assert worst(session, oracle(tiny_config, bare), tiny_config, SHAPES) < 5e-5


def test_words_are_scored_where_they_are_asked_for(tmp_path, tiny_config, tiny_weights):
    session = written(tmp_path, tiny_config, tiny_weights, "float32")
    expected, some = oracle(tiny_config, tiny_weights), batch(tiny_config, 3, 40)
    for positions in ([5], [0, 41, 80], list(range(70))):
        chosen = np.array(positions)
        found = session.run(LOGITS, some, chosen)
        np.testing.assert_allclose(found, expected.run(LOGITS, some, chosen), atol=5e-5)


def test_mix_answers_like_the_packed_onnx_file(tmp_path, tiny_config, tiny_weights):
    """Both round activations to 8 bits, each in its way; the float model is further away."""
    packed, rounded = packed_weights(tiny_weights)
    notes = target.write(Source(tmp_path, tiny_config, rounded, packed), "mix", tmp_path)
    assert [note.partition(":")[0] for note in notes] == ["re-rounded"]
    session = opened(tmp_path / target.PLACE)
    by_mix = worst(session, oracle(tiny_config, rounded), tiny_config, SHAPES)
    by_float = worst(session, oracle(tiny_config, tiny_weights), tiny_config, SHAPES)
    assert by_mix < 0.5 * by_float


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_decoded_weights_are_ours(layout):
    """Rows that LiteRT itself looks up: what the zero points shift is within float16 of it."""
    weight = np.random.default_rng(3).standard_t(4, (50, 128)).astype(np.float32)
    packed = pack_matrix(weight, layout)
    if layout.symmetric:
        assert (packed.scales < 0).any()  # which LiteRT does not take as they are
    form = forms.stored(packed)
    found = looked_up(form, 50)
    shifts = np.zeros(1) if form.shifts is None else np.abs(form.shifts).max()
    np.testing.assert_allclose(found, unpack_matrix(packed), rtol=0, atol=shifts / 2048 + 1e-7)


def test_what_is_quantized_for_it_needs_no_shifts(tiny_checkpoint, tmp_path):
    storage = TARGETS["litert"].storage
    quantize(tiny_checkpoint, tmp_path / "q", max_bytes=130_000, storage=storage)
    packed = read_source(tmp_path / "q").packed
    stored = [forms.stored(part) for each in packed.values() for part in parts_of(each)]
    nibbles = [form for form in stored if isinstance(form, Nibbles)]
    assert nibbles
    assert all(form.shifts is None for form in nibbles)


def test_blocks_of_eight_bits_are_rounded_by_rows():
    weight = np.random.default_rng(3).normal(0, 1, (50, 128)).astype(np.float32)
    packed = pack_matrix(weight, Layout(8, 32))
    found = looked_up(forms.stored(packed), 50)
    largest = np.abs(weight).max(axis=1, keepdims=True)
    assert (np.abs(found - unpack_matrix(packed)) <= largest / 127 * 0.51).all()


def looked_up(form, rows):
    """Return the rows of a matrix as LiteRT's operator finds them."""
    file = flatbuffer.File()
    graph = flatbuffer.Subgraph(file)
    indices = graph.input("indices", (rows,), np.int32)
    file.add("rows", graph, {"indices": indices}, {"rows": forms.lookup(graph, indices, form, "w")})
    runner = interpreter.Interpreter(model_content=file.to_bytes()).get_signature_runner("rows")
    return runner(indices=np.arange(rows, dtype=np.int32))["rows"]


def test_the_bytes_are_those_of_the_packed_weights(tmp_path, tiny_config, tiny_weights):
    """All buckets share them; the embedding, in three parts, is there once for both its uses."""
    layout = Layout(4, 32, symmetric=True)
    packed = {
        name: pack_matrix(weight, layout)
        for name, weight in tiny_weights.items()
        if weight.ndim == 2 and len(weight) > 32
    }
    written(tmp_path, tiny_config, tiny_weights, "mix", packed)
    sizes = [len(each.data) for each in parsed(tmp_path / target.PLACE).buffers
             if each.data is not None]  # fmt: skip
    assert sizes.count(packed[WORDS].codes.nbytes) == 1
    floats = sum(4 * weight.size for name, weight in tiny_weights.items() if name not in packed)
    ours = sum(matrix.nbytes for matrix in packed.values()) + floats
    shifts = sum(matrix.scales.nbytes for matrix in packed.values())  # of negative scales
    assert ours < sum(sizes) < 1.01 * (ours + shifts) + 2000


def test_constants_begin_at_multiples_of_sixteen(tmp_path, tiny_config, tiny_weights):
    written(tmp_path, tiny_config, tiny_weights, "float32")
    path = tmp_path / target.PLACE
    content, model = path.read_bytes(), schema.Model.GetRootAs(path.read_bytes(), 0)
    found = 0
    for number in range(model.BuffersLength()):
        data = model.Buffers(number).DataAsNumpy()
        if isinstance(data, np.ndarray) and len(data) > 64:
            assert content.index(data.tobytes()) % 16 == 0
            found += 1
    assert found > 20


@pytest.mark.parametrize(("width", "limit"), [("int8", 0.5), ("int4", 6)])
def test_plain_widths_round_every_matrix(tmp_path, tiny_config, tiny_weights, width, limit):
    session = written(tmp_path, tiny_config, tiny_weights, width)
    assert 0.001 < worst(session, oracle(tiny_config, tiny_weights), tiny_config, SHAPES) < limit
    shape = list(tiny_weights[WORDS].shape)
    kinds = {
        each.type
        for graph in parsed(tmp_path / target.PLACE).subgraphs
        for each in graph.tensors
        if list(each.shape) == shape
    }
    assert kinds == {schema.TensorType.INT8 if width == "int8" else schema.TensorType.INT4}


def test_buckets_end_with_the_longest_text(tiny_config):
    from dataclasses import replace

    assert target.buckets(tiny_config) == [16, 32, 64]
    assert target.buckets(replace(tiny_config, max_position_embeddings=100)) == [16, 32, 64, 100]
    assert target.buckets(replace(tiny_config, max_position_embeddings=8)) == [8]


def test_a_text_longer_than_all_buckets_is_refused(tmp_path, tiny_config, tiny_weights):
    session = written(tmp_path, tiny_config, tiny_weights, "float32")
    with pytest.raises(InputError, match="a text has 65 tokens, expected at most 64"):
        session.run(HIDDEN, batch(tiny_config, 2, 65))


def test_other_files_are_refused(tmp_path, tiny_config, tiny_weights):
    written(tmp_path, tiny_config, tiny_weights, "float32")
    path = tmp_path / target.PLACE
    content = path.read_bytes()
    other = tmp_path / "other.tflite"
    other.write_bytes(b"ONNX" + content[4:8].lower() + content[8:])
    with pytest.raises(ArtifactError, match="after its first 4 bytes, expected b'TFL3'"):
        opened(other)
    other.write_bytes(content[:400])
    with pytest.raises(ArtifactError, match="cannot be loaded by LiteRT"):
        opened(other)
    file = flatbuffer.File()
    graph = flatbuffer.Subgraph(file)
    x = graph.input("x", (1, 4), np.float32)
    file.add("other", graph, {"x": x}, {"y": graph.apply("TANH", [x], x.shape)})
    other.write_bytes(file.to_bytes())
    with pytest.raises(ArtifactError, match="has the signatures other, expected tokens_16"):
        opened(other)
