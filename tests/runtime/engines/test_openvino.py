"""OpenVINO as a session: chosen positions, what it lacks, damaged files, silent precision."""

import numpy as np
import pytest

from bert_mobile.errors import ArtifactError
from bert_mobile.export.source import Source
from bert_mobile.foreign import TELEMETRY, hidden
from tests.export.packed import batch, packed_weights

with hidden(TELEMETRY):
    openvino = pytest.importorskip("openvino", reason="needs the extra [openvino]")
target = pytest.importorskip("bert_mobile.export.openvino")
OpenVinoSession = pytest.importorskip("bert_mobile.runtime.engines.openvino").OpenVinoSession


@pytest.fixture(scope="module")
def path(tmp_path_factory, tiny_config, tiny_weights):
    folder = tmp_path_factory.mktemp("openvino")
    packed, rounded = packed_weights(tiny_weights)
    target.write(Source(folder, tiny_config, rounded, packed), "mix", folder)
    return folder / target.PLACE


def test_logits_at_chosen_positions_are_those_of_all_positions(path, tiny_config):
    session = OpenVinoSession(path, path, threads=1)
    some, chosen = batch(tiny_config, 3, 9), np.array([4, 12, 26, 0])
    everywhere = session.run("logits", some)
    found = session.run("logits", some, chosen)
    assert found.shape == (4, tiny_config.vocab_size)
    np.testing.assert_allclose(found, everywhere.reshape(27, -1)[chosen], atol=2e-5)


def test_several_outputs_come_of_one_pass(path, tiny_config):
    session = OpenVinoSession(path, path, threads=1)
    some, names = batch(tiny_config, 2, 7), ["seq_relationship_logits", "last_hidden_state"]
    for name, value in zip(names, session.run_several(names, some), strict=True):
        np.testing.assert_allclose(value, session.run(name, some), atol=1e-5)


def test_the_precision_is_float32_whatever_the_processor_has(path):
    session = OpenVinoSession(path, path)
    compiled = session._compile(("logits",), chosen=False)
    assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"


def test_rounded_activations_are_near_the_exact_ones(path, tiny_config):
    some = batch(tiny_config, 2, 30)
    quick, exact = (
        OpenVinoSession(path, path, threads=1, exact=exact).run("last_hidden_state", some)
        for exact in (False, True)
    )
    assert np.abs(quick - exact).max() < 0.1


def test_an_output_that_it_lacks(path, tiny_config):
    session = OpenVinoSession(path, path)
    with pytest.raises(ArtifactError, match="has no output 'start_logits', only last_hidden_state"):
        session.run("start_logits", batch(tiny_config, 1, 3))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "begins with b''"), (b"<?xml version='1.0'?><net", "no whole network"), (b"PK", "PK")],
)
def test_damaged_files_are_refused_in_one_line(path, tmp_path, content, message):
    (tmp_path / "model.bin").write_bytes(path.with_suffix(".bin").read_bytes())
    (tmp_path / "model.xml").write_bytes(content)
    with pytest.raises(ArtifactError, match=message) as caught:
        OpenVinoSession(tmp_path / "model.xml", tmp_path / "model.xml")
    assert "\n" not in caught.value.message


def test_missing_weights_are_refused(path, tmp_path):
    (tmp_path / "model.xml").write_bytes(path.read_bytes())
    (tmp_path / "model.bin").write_bytes(path.with_suffix(".bin").read_bytes()[:1000])
    with pytest.raises(ArtifactError, match="no whole network"):
        OpenVinoSession(tmp_path / "model.xml", tmp_path / "model.xml")
