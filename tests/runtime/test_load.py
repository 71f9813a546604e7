"""Loading: what is preferred, what is refused, and what is not imported."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper, load_model, save_model

import bert_mobile
from bert_mobile.checkpoint import read_weights, write_tensors
from bert_mobile.errors import ArtifactError, InputError, MissingExtraError
from bert_mobile.model.config import BertConfig
from bert_mobile.quantize.graph import build_graph
from bert_mobile.runtime.sessions import OnnxSession

TEXT = "the old [MASK] is here."


def test_float_and_quantized_folders_answer_without_torch(tiny_checkpoint, tiny_quantized):
    code = f"""
import sys, bert_mobile, bert_mobile.runtime
light = {{"numpy", "onnxruntime", "tokenizers", "onnx", "torch", "transformers"}}
assert not light & set(sys.modules), light & set(sys.modules)
bert_mobile.load({str(tiny_quantized)!r}).fill_mask({TEXT!r})
assert not {{"onnx", "torch", "transformers"}} & set(sys.modules)
bert_mobile.load({str(tiny_checkpoint)!r}).fill_mask({TEXT!r})
assert not {{"torch", "transformers"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_quantized_file_is_preferred(tiny_checkpoint, tiny_quantized, tmp_path):
    both = shutil.copytree(tiny_checkpoint, tmp_path / "both")
    expected_float = bert_mobile.load(str(both)).fill_mask(TEXT)
    (both / "onnx").mkdir()
    (both / "provenance.json").unlink()  # which does not know of the second file
    shutil.copy(tiny_quantized / "onnx/model_quantized.onnx", both / "onnx")
    assert bert_mobile.load(str(both)).fill_mask(TEXT) != expected_float
    shutil.copy(tiny_quantized / "onnx/model_quantized.onnx", both / "onnx/model.onnx")
    (both / "onnx/model_quantized.onnx").unlink()
    assert bert_mobile.load(str(both)).fill_mask(TEXT) != expected_float


def test_threads_change_no_answer(tiny_checkpoint):
    one = bert_mobile.load(str(tiny_checkpoint), threads=1).embed("the way we go")
    two = bert_mobile.load(str(tiny_checkpoint), threads=2).embed("the way we go")
    np.testing.assert_allclose(one, two, atol=1e-5)
    with pytest.raises(InputError, match="number of threads is 0"):
        bert_mobile.load(str(tiny_checkpoint), threads=0)


@pytest.mark.parametrize(("asked", "taken"), [(None, None), (1, 1), (3, 3), (100_000, 3)])
def test_there_are_no_more_threads_than_cores(tiny_checkpoint, monkeypatch, asked, taken):
    def opened(*_, threads, weights):
        seen.append((threads, weights))

    seen: list[tuple[int | None, str]] = []
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    monkeypatch.setattr("bert_mobile.runtime.sessions.open_session", opened)
    bert_mobile.load(str(tiny_checkpoint), threads=asked)
    assert seen == [(taken, "packed")]


def test_quantized_answers_stay_near_the_float_ones(tiny_checkpoint, tmp_path):
    from bert_mobile.quantize import quantize

    quantize(tiny_checkpoint, tmp_path / "eight")  # room enough for 8 bits everywhere
    exact, rounded = (
        bert_mobile.load(str(tiny_checkpoint)),
        bert_mobile.load(str(tmp_path / "eight")),
    )
    texts = ["the way we go", "an old man and the state of the world"]
    a, b = exact.embed(texts), rounded.embed(texts)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosine.min() > 0.998
    np.testing.assert_allclose(exact.score(texts), rounded.score(texts), rtol=0.05)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "onnx/model_quantized.onnx", "vocab.txt"]
)
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damage_is_noticed_by_hash(spoilable, name, damage):
    path = spoilable / name
    data = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with pytest.raises(ArtifactError) as caught:
        bert_mobile.load(str(spoilable))
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_damage_without_hashes_is_an_error_of_one_line(spoilable):
    (spoilable / "provenance.json").unlink()
    path = spoilable / "onnx/model_quantized.onnx"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ArtifactError, match=r"cannot be loaded by ONNX Runtime") as caught:
        bert_mobile.load(str(spoilable))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "{", "cannot be read as the config.json"),
        ("config.json", "[]", "holds a JSON list"),
        ("config.json", '{"model_type": "gpt2"}', "expected 'bert'"),
        ("tokenizer.json", "{}", "is no tokenizer.json"),
        ("tokenizer_config.json", "nonsense", "cannot be read as the settings of a tokenizer"),
    ],
)
def test_garbage_in_a_folder_without_hashes(spoilable, name, content, message):
    (spoilable / "provenance.json").unlink()
    (spoilable / name).write_text(content)
    with pytest.raises(ArtifactError, match=message):
        bert_mobile.load(str(spoilable))


def test_missing_files_are_named(spoilable, tmp_path):
    (spoilable / "provenance.json").unlink()
    (spoilable / "tokenizer.json").unlink()
    (spoilable / "vocab.txt").unlink()
    with pytest.raises(ArtifactError, match=r"tokenizer\.json does not exist"):
        bert_mobile.load(str(spoilable))
    (spoilable / "onnx/model_quantized.onnx").unlink()
    with pytest.raises(ArtifactError, match=r"expected one of onnx/model_quantized\.onnx, "):
        bert_mobile.load(str(spoilable))
    with pytest.raises(ArtifactError):
        bert_mobile.load(str(tmp_path))


def test_a_float_folder_without_the_package_onnx_says_what_to_install(tiny_checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "bert_mobile.quantize.graph")
    with pytest.raises(MissingExtraError, match="'onnx'") as caught:
        bert_mobile.load(str(tiny_checkpoint))
    assert caught.value.hint == 'pip install "bert-mobile[export]"'


def test_a_head_that_is_absent_is_named(tiny_config, tiny_weights, tiny_checkpoint, tmp_path):
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "encoder")
    (folder / "provenance.json").unlink()
    (folder / "model.safetensors").unlink()
    (folder / "onnx").mkdir()
    encoder = {name: w for name, w in tiny_weights.items() if not name.startswith("cls.")}
    save_model(build_graph(tiny_config, encoder), str(folder / "onnx/model.onnx"))
    model = bert_mobile.load(str(folder))
    assert model.embed("the way").shape == (1, 64)
    with pytest.raises(ArtifactError, match="has no output 'logits', only last_hidden_state"):
        model.fill_mask(TEXT)


def test_a_foreign_onnx_file_works_through_its_logits(tiny_quantized, spoilable):
    path = spoilable / "onnx/model_quantized.onnx"
    model = load_model(path)
    positions = [value for value in model.graph.input if value.name == "logit_positions"]
    model.graph.input.remove(positions[0])  # as in files of other makers: logits everywhere
    save_model(model, str(path))
    (spoilable / "provenance.json").unlink()
    foreign, ours = bert_mobile.load(str(spoilable)), bert_mobile.load(str(tiny_quantized))
    texts = [TEXT, "we [MASK] the [MASK]"]
    for a, b in zip(foreign.fill_mask(texts)[0], ours.fill_mask(texts)[0], strict=True):
        assert a["token"] == b["token"]
        assert a["score"] == pytest.approx(b["score"], abs=1e-4)
    np.testing.assert_allclose(foreign.score(["the way"]), ours.score(["the way"]), rtol=1e-3)


def test_an_onnx_file_of_another_kind_is_refused(tmp_path):
    x = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph(
        [helper.make_node("Identity", ["pixel_values"], ["y"])], "g", [x], [y]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    save_model(model, str(tmp_path / "model.onnx"))
    with pytest.raises(ArtifactError, match="takes an input 'pixel_values'"):
        OnnxSession(tmp_path / "model.onnx", tmp_path / "model.onnx")


def test_a_provenance_that_is_garbage_is_refused(spoilable):
    (spoilable / "provenance.json").write_text(json.dumps([1]))
    with pytest.raises(ArtifactError, match="expected a provenance record"):
        bert_mobile.load(str(spoilable))


def test_a_head_of_another_task_is_left_out_with_a_warning(tiny_checkpoint, tiny_weights, tmp_path):
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "classifier")
    (folder / "provenance.json").unlink()
    head = {"classifier.weight": np.zeros((2, 64), np.float32)}
    write_tensors(folder / "model.safetensors", {**tiny_weights, **head})
    with pytest.warns(UserWarning, match=r"classifier\.weight not read"):
        found = bert_mobile.load(folder).embed("the way we go")
    np.testing.assert_array_equal(found, bert_mobile.load(tiny_checkpoint).embed("the way we go"))
    with pytest.raises(ArtifactError, match=r"unknown tensor classifier\.weight"):
        read_weights(folder, BertConfig.read(folder))
    with pytest.raises(ArtifactError, match="is no folder"):
        bert_mobile.load(tmp_path / "missing")
