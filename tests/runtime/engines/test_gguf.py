"""llama.cpp as a session: hidden states, its own tokenizer, and what it cannot do."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import bert_mobile
from bert_mobile.checkpoint import expected_shapes, write_checkpoint
from bert_mobile.errors import ArtifactError
from bert_mobile.export import export
from bert_mobile.runtime.batches import Batch
from bert_mobile.tokenizer import load_tokenizer
from tests.export.packed import batch, difference

pytest.importorskip("gguf", reason="needs the extra [gguf]")
pytest.importorskip("xllamacpp", reason="needs the extra [gguf]")
GgufSession = pytest.importorskip("bert_mobile.runtime.engines.gguf").GgufSession


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_checkpoint):
    out = tmp_path_factory.mktemp("gguf") / "out"
    export(tiny_checkpoint, "gguf", out)
    return out


@pytest.fixture(scope="module")
def model(folder):
    return bert_mobile.load(folder, threads=1)


def singles(config, *shape):
    some = batch(config, *shape)
    return Batch(some.ids, some.mask, np.zeros_like(some.types))


@pytest.mark.parametrize("shape", [(1, 1), (3, 9), (1, 64)])
def test_hidden_states_are_those_of_the_float_checkpoint(
    model, tiny_checkpoint, tiny_config, shape
):
    some = singles(tiny_config, *shape)
    expected = bert_mobile.load(tiny_checkpoint).session.run("last_hidden_state", some)
    found = model.session.run("last_hidden_state", some)
    assert difference(found, expected, some) < 0.01  # llama.cpp looks its GELU up in a table


def test_embeddings_are_those_of_the_float_checkpoint(model, tiny_checkpoint):
    texts = ["the old man and the state", "we see", "how long, how long?"]
    expected = bert_mobile.load(tiny_checkpoint).embed(texts)
    np.testing.assert_allclose(model.embed(texts), expected, atol=0.01)


def test_its_own_tokenizer_gives_our_ids(model, folder):
    ours = load_tokenizer(folder)
    for text in ("The OLD man's state!", "caf\u00e9 a-b  c", "[x] 'tis, no?", "unknownword \u4e2d"):
        assert model.session.tokenize(text) == ours.encode(text).ids, text


def test_pairs_and_other_outputs_are_refused(model, tiny_config):
    with pytest.raises(ArtifactError, match="given a pair of texts"):
        model.session.run("last_hidden_state", batch(tiny_config, 1, 6))
    with pytest.raises(ArtifactError, match="has no output 'logits', only last_hidden_state"):
        model.session.run("logits", singles(tiny_config, 1, 6))


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF\3\0\0\0" + b"\xff" * 100])
def test_damaged_files_are_refused_in_one_line(tmp_path, content):
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"begins with|cannot be loaded") as caught:
        GgufSession(path, path)
    assert "\n" not in caught.value.message


def test_one_that_is_never_asked_lets_the_process_end(folder):
    code = f"import bert_mobile; bert_mobile.load({str(folder)!r}, threads=1); print('loaded')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "loaded\n"


@pytest.mark.parametrize(
    "changes",
    [{"vocab_size": 300}, {"type_vocab_size": 1}, {"type_vocab_size": 4},
     {"max_position_embeddings": 1024}],
)  # fmt: skip
def test_other_tables_than_usual(changes, tiny_config, tiny_tokenizer, tmp_path):
    """A word embedding with rows to spare, other numbers of segments, longer texts."""
    config = replace(tiny_config, num_hidden_layers=1, **changes)
    rng = np.random.default_rng(7)
    weights = {
        name: rng.normal(0, 0.2, shape).astype(np.float32)
        for name, shape in expected_shapes(config).items()
    }
    facts = {"parents": [], "recipe": "tiny"}
    (tmp_path / "model").mkdir()
    write_checkpoint(tmp_path / "model", config, weights, tiny_tokenizer, facts)
    export(tmp_path / "model", "gguf", tmp_path / "out")
    ours, theirs = (bert_mobile.load(tmp_path / name, threads=1) for name in ("out", "model"))
    texts = ["the old man and the state", "we " * (config.max_position_embeddings - 2)]
    np.testing.assert_allclose(ours.embed(texts), theirs.embed(texts), atol=0.01)
