"""ExecuTorch's programs: equal to our ONNX graph for every head, the packed codes carried over.

Lowering takes some fifteen seconds a program, so each is asked for all that it can show.
"""

from dataclasses import replace

import numpy as np
import pytest

from bert_mobile.checkpoint import read_weights
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.export.source import Source
from bert_mobile.model.config import ANSWERS, SEQUENCES, TOKENS, BertConfig
from bert_mobile.quantize.interface import HIDDEN, LOGITS
from bert_mobile.quantize.pack import Layout, PackedRows, pack_matrix, unpack_matrix
from tests.export.packed import batch, oracle, packed_weights, worst

torch = pytest.importorskip("torch")
pytest.importorskip("executorch", reason="needs the extra [executorch]")
target = pytest.importorskip("bert_mobile.export.executorch")
ExecuTorchSession = pytest.importorskip("bert_mobile.runtime.engines.executorch").ExecuTorchSession

SHAPES = ((1, 1), (1, 17), (3, 16), (2, 64))


def written(folder, config, weights, width, packed=None):
    """Write a network and open it."""
    target.write(Source(folder, config, weights, packed or {}), width, folder)
    return opened(folder / target.PLACE)


def opened(path):
    return ExecuTorchSession(path, path, threads=1)


def test_float32_answers_as_the_onnx_file(tmp_path, tiny_config, tiny_weights):
    expected = oracle(tiny_config, tiny_weights)
    session = written(tmp_path, tiny_config, tiny_weights, "float32")
    assert worst(session, expected, tiny_config, SHAPES) < 5e-5
    some = batch(tiny_config, 3, 40)
    for positions in ([5], [0, 41, 80], list(range(70))):
        chosen = np.array(positions)
        found = session.run(LOGITS, some, chosen)
        np.testing.assert_allclose(found, expected.run(LOGITS, some, chosen), atol=5e-5)


@pytest.mark.parametrize("architecture", [SEQUENCES, TOKENS, ANSWERS])
def test_heads_of_tasks(tmp_path, tiny_task, architecture):
    folder = tiny_task(architecture)
    config = BertConfig.read(folder)
    weights = read_weights(folder, config)
    session = written(tmp_path, config, weights, "float32")
    assert worst(session, oracle(config, weights), config, SHAPES) < 5e-5


def test_mix_answers_like_the_packed_onnx_file(tmp_path, tiny_config, tiny_weights):
    """Activations are rounded to 8 bits here; the float model is further away."""
    packed, rounded = packed_weights(tiny_weights)
    session = written(tmp_path, tiny_config, rounded, "mix", packed)
    by_mix = worst(session, oracle(tiny_config, rounded), tiny_config, SHAPES)
    by_float = worst(session, oracle(tiny_config, tiny_weights), tiny_config, SHAPES)
    assert by_mix < 0.5 * by_float


@pytest.mark.parametrize(("width", "limit"), [("int8", 0.5), ("int4", 6)])
def test_plain_widths_round_every_matrix(tmp_path, tiny_config, tiny_weights, width, limit):
    bare = {n: w for n, w in tiny_weights.items() if not n.startswith(("cls.", "bert.pooler"))}
    session = written(tmp_path, tiny_config, bare, width)
    assert session.outputs == {HIDDEN}
    assert 0.001 < worst(session, oracle(tiny_config, bare), tiny_config, SHAPES) < limit


def test_texts_of_two_tokens_at_most_are_refused(tmp_path, tiny_config, tiny_weights):
    short = replace(tiny_config, max_position_embeddings=2)
    with pytest.raises(InputError, match="has 2 positions, expected at least 3 for executorch"):
        target.write(Source(tmp_path, short, tiny_weights, {}), "float32", tmp_path)


LAYOUTS = [Layout(bits, block, symmetric) for bits in (2, 4) for block in (16, 64)
           for symmetric in (False, True)] + [Layout(8, 32)]  # fmt: skip


def test_look_ups_are_exact_in_every_layout():
    """The module that is traced, as PyTorch runs it."""
    weight = np.random.default_rng(3).standard_t(4, (60, 128)).astype(np.float32)
    for layout in LAYOUTS:
        packed = pack_matrix(weight, layout)
        found = target._Table(packed)(torch.arange(60)[None])[0].numpy()
        np.testing.assert_allclose(found, unpack_matrix(packed), rtol=0, atol=1e-6)
    cut = PackedRows(tuple(pack_matrix(weight[i::3], some) for i, some in enumerate(LAYOUTS[:3])))
    found = target._Table(cut)(torch.arange(60)).numpy()
    np.testing.assert_allclose(found, unpack_matrix(cut), rtol=0, atol=1e-6)


@pytest.mark.parametrize("layout", [Layout(4, 32), Layout(4, 64, symmetric=True), Layout(2, 32)])
def test_products_are_those_of_the_packed_weights(layout):
    """But for activations of 8 bits: of whole numbers that these hold, exactly."""
    rng = np.random.default_rng(3)
    packed = pack_matrix(rng.standard_t(4, (60, 128)).astype(np.float32), layout)
    x = rng.integers(-127, 128, (5, 128)).astype(np.float32)
    x[:, :2] = -128, 127
    found = target._Products(packed, torch.zeros(60))(torch.from_numpy(x)).numpy()
    exact = x @ unpack_matrix(packed).T
    assert np.abs(found - exact).max() < 1e-3 * np.abs(exact).max()


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "model.pte"
    path.write_bytes(b"\0\0\0\0TFL3" + bytes(100))
    with pytest.raises(ArtifactError, match="after its first 4 bytes, expected b'ET12'"):
        opened(path)
    path.write_bytes(b"\x40\0\0\0ET12eh00" + bytes(20))
    with pytest.raises(ArtifactError, match="cannot be loaded by ExecuTorch"):
        opened(path)
