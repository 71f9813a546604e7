"""The files for ONNX Runtime and the browser, opened again and compared with their source."""

import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import bert_mobile
from bert_mobile.checkpoint import write_tensors
from bert_mobile.cli import main
from bert_mobile.errors import ArtifactError, InputError, MissingExtraError
from bert_mobile.export import TARGETS, export, read_source
from bert_mobile.export.target import Target
from bert_mobile.files import write_json
from bert_mobile.model.config import ANSWERS, PRETRAINING, SEQUENCES, TOKENS
from bert_mobile.quantize import quantize
from bert_mobile.quantize.interface import END_LOGITS, HIDDEN, LOGITS, NEXT_SENTENCE, START_LOGITS
from bert_mobile.runtime.batches import Batch

OUTPUTS = {
    PRETRAINING: (LOGITS, HIDDEN, NEXT_SENTENCE),
    SEQUENCES: (LOGITS, HIDDEN),
    TOKENS: (LOGITS, HIDDEN),
    ANSWERS: (START_LOGITS, END_LOGITS, HIDDEN),
}
# Largest difference from the float logits, which spread over some ten units.
NEAR = {"float32": 1e-5, "float16": 0.05, "int8": 0.6, "int4": 4.0}
LAYOUTS = {"4 and 8 bits": 130_000, "more of 4 bits": 115_000}


@pytest.fixture(scope="module")
def packed(tiny_checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("packed") / "model"
    quantize(tiny_checkpoint, out, max_bytes=130_000)
    return out


def batch(config, rows=3, length=17, seed=1):
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, config.vocab_size, (rows, length))
    mask = (np.arange(length) < rng.integers(1, length + 1, (rows, 1))).astype(np.int64)
    return Batch(ids * mask, mask, rng.integers(0, 2, ids.shape) * mask)


def answers(folder, some):
    model = bert_mobile.load(folder)
    names = OUTPUTS[model.config.architecture]
    return dict(zip(names, model.session.run_several(names, some), strict=True))


@pytest.mark.parametrize("width", NEAR)
@pytest.mark.parametrize("architecture", OUTPUTS)
def test_every_head_at_every_width(architecture, width, tiny_checkpoint, tiny_task, tmp_path):
    folder = tiny_checkpoint if architecture == PRETRAINING else tiny_task(architecture)
    made = export(folder, "onnx", tmp_path / "out", width=width)
    assert made.width == width
    assert (tmp_path / "out" / made.place).stat().st_size == made.model_bytes
    some = batch(read_source(folder).config)
    ours, theirs = answers(tmp_path / "out", some), answers(folder, some)
    worst = max(np.abs(ours[name] - theirs[name])[some.mask[:, 0] > 0].max() for name in ours)
    print(architecture, width, worst)
    assert worst < NEAR[width]
    assert width == "float32" or worst > 0  # it is another file indeed


def test_mix_is_what_quantize_wrote(packed, tmp_path):
    made = export(packed, "onnx", tmp_path / "out")
    assert made.width == "mix"
    assert made.notes == ()
    place = "onnx/model_quantized.onnx"
    assert (tmp_path / "out" / place).read_bytes() == (packed / place).read_bytes()


@pytest.mark.parametrize("to", ["onnx", "web"])
def test_float16_is_stored_in_float16(to, tiny_checkpoint, tmp_path):
    export(tiny_checkpoint, to, tmp_path / "out", width="float16")
    model = onnx.load(tmp_path / "out" / "onnx" / "model_fp16.onnx")
    kinds = [tensor.data_type for tensor in model.graph.initializer]
    assert TensorProto.FLOAT not in kinds
    assert kinds.count(TensorProto.FLOAT16) > 30
    assert {value.type.tensor_type.elem_type for value in model.graph.output} == {TensorProto.FLOAT}


def test_int8_stores_the_embedding_once(tiny_checkpoint, tmp_path):
    export(tiny_checkpoint, "onnx", tmp_path / "out", width="int8")
    model = onnx.load(tmp_path / "out" / "onnx" / "model_int8.onnx")
    floats = sum(
        int(np.prod(tensor.dims))
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT
    )
    weights = read_source(tiny_checkpoint).weights.values()
    matrices = sum(weight.size for weight in weights if weight.ndim == 2)
    codes = sum(
        int(np.prod(tensor.dims))
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.INT8 and tensor.name.endswith(".codes")
    )
    assert matrices - 5 * 64 <= codes <= matrices  # but two rows of segments, two of next sentence
    assert floats < 0.1 * matrices


def test_web_has_standard_lookups_and_the_same_answers(packed, tmp_path):
    made = export(packed, "web", tmp_path / "out")
    assert made.place == "onnx/model_quantized.onnx"
    model = onnx.load(tmp_path / "out" / made.place)
    used = {(node.domain, node.op_type) for node in model.graph.node}
    assert ("com.microsoft", "GatherBlockQuantized") not in used
    assert ("", "BitwiseAnd") in used
    some = batch(read_source(packed).config)
    ours, theirs = answers(tmp_path / "out", some), answers(packed, some)
    for name, values in ours.items():
        np.testing.assert_array_equal(values, theirs[name])


@pytest.mark.parametrize("length", [1, 2, 63, 64])
def test_any_length_and_batch(length, packed, tmp_path):
    export(packed, "web", tmp_path / "out")
    config = read_source(packed).config
    for rows in (1, 5):
        some = batch(config, rows, length)
        for name, values in answers(tmp_path / "out", some).items():
            assert len(values) == rows, name
            assert np.isfinite(values).all()


def test_what_was_rounded_twice_says_so(packed, tmp_path):
    made = export(packed, "onnx", tmp_path / "out", width="int8")
    assert made.notes[0].startswith("re-rounded: ")
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert record["notes"] == list(made.notes)
    assert record["parents"][-1]["name"] == packed.name


def test_beside_the_model_lies_all_that_clients_need(tiny_task, tmp_path):
    folder = tiny_task(SEQUENCES)
    export(folder, "web", tmp_path / "out")
    names = {
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")
    }
    assert {"index.html", "models.json", "service-worker.js", "page/app.js"} <= names
    names = {name for name in names if not name.startswith("page")}
    assert names == {
        "README.md", "config.json", "index.html", "models.json", "onnx", "onnx/model.onnx",
        "provenance.json", "service-worker.js", "tokenizer.json", "tokenizer_config.json",
        "vocab.txt",
    }  # fmt: skip
    assert bert_mobile.load(tmp_path / "out").classify("we see it")[0]["label"] in (
        "neg", "neutral", "pos",
    )  # fmt: skip


def test_a_mix_of_a_float_checkpoint_is_refused(tiny_checkpoint, tmp_path):
    with pytest.raises(InputError, match="is a float checkpoint"):
        export(tiny_checkpoint, "onnx", tmp_path / "out", width="mix")
    assert list(tmp_path.iterdir()) == []


def test_classes_without_names_are_refused(tiny_task, tmp_path):
    folder = shutil.copytree(tiny_task(SEQUENCES), tmp_path / "model")
    (folder / "provenance.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    del config["id2label"]
    write_json(folder / "config.json", config)
    with pytest.raises(InputError, match="has no id2label, expected the names of the classes"):
        export(folder, "onnx", tmp_path / "out")


def test_a_folder_without_a_model_is_refused(tiny_tokenizer, tiny_checkpoint, tmp_path):
    folder = shutil.copytree(tiny_tokenizer, tmp_path / "model")
    shutil.copyfile(tiny_checkpoint / "config.json", folder / "config.json")
    with pytest.raises(ArtifactError, match="holds nothing to export, expected "):
        export(folder, "onnx", tmp_path / "out")


def test_out_inside_the_model_is_refused(tiny_checkpoint):
    with pytest.raises(InputError, match="lie inside each other"):
        export(tiny_checkpoint, "onnx", tiny_checkpoint / "out")


def test_a_head_or_width_that_a_target_cannot_hold(
    tiny_task, tiny_checkpoint, tmp_path, monkeypatch
):
    row = Target("rows", {"float32": "x"}, (), "export", lambda *_: None, heads=(PRETRAINING,))
    monkeypatch.setitem(TARGETS, "rows", row)
    with pytest.raises(InputError, match="rows cannot hold a BertForTokenClassification"):
        export(tiny_task(TOKENS), "rows", tmp_path / "out")
    with pytest.raises(InputError, match="--width int8 is none of rows's, expected one of float32"):
        export(tiny_checkpoint, "rows", tmp_path / "out", width="int8")


def test_a_target_that_is_not_installed(tiny_checkpoint, tmp_path, monkeypatch):
    row = Target("rows", {"float32": "x"}, ("no_such_module",), "export", lambda *_: None)
    monkeypatch.setitem(TARGETS, "rows", row)
    with pytest.raises(MissingExtraError) as caught:
        export(tiny_checkpoint, "rows", tmp_path / "out")
    assert caught.value.hint == 'pip install "bert-mobile[export]"'


def test_a_failed_export_leaves_nothing(tiny_checkpoint, tmp_path, monkeypatch):
    def full(_source, _width, folder):
        (folder / "x").write_text("half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(TARGETS, "rows", Target("rows", {"float32": "x"}, (), "export", full))
    with pytest.raises(bert_mobile.errors.RunError, match="No space left on device"):
        export(tiny_checkpoint, "rows", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_weights_too_large_for_float16(tiny_checkpoint, tiny_weights, tmp_path):
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "model")
    (folder / "provenance.json").unlink()
    large = {**tiny_weights, "bert.embeddings.LayerNorm.bias": np.full(64, 1e5, np.float32)}
    write_tensors(folder / "model.safetensors", large)
    with pytest.raises(InputError, match="expected at most 65504 in float16"):
        export(folder, "onnx", tmp_path / "out", width="float16")


def test_the_command(packed, tmp_path, capsys):
    with pytest.raises(SystemExit) as done:
        main(["export", str(packed), "--to", "web", "--out", str(tmp_path / "out"), "--json"])
    assert done.value.code == 0
    said = json.loads(capsys.readouterr().out)
    assert said["place"] == "onnx/model_quantized.onnx"
