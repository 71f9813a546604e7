"""The quantized folder: its size, its report, the way back, and what happens on a bad day."""

import errno
import json
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import load_model

import bert_mobile
from bert_mobile.checkpoint import expected_shapes, read_weights, write_checkpoint
from bert_mobile.errors import ArtifactError, InputError, MissingExtraError, RunError
from bert_mobile.model.config import REGRESSION, SEQUENCES, BertConfig
from bert_mobile.quantize import TooFewBytesError, dequantize, quantize, unpack_checkpoint
from bert_mobile.quantize.interface import WORDS
from bert_mobile.quantize.report import draft_rows, folder_bytes, parts
from tests.conftest import document

FILES = {
    "README.md",
    "config.json",
    "onnx/model_quantized.onnx",
    "provenance.json",
    "quantization.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
}


HOLD = """import sys
from pathlib import Path
from bert_mobile.files import held_aside
with held_aside(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()"""
"""A program that keeps others from writing to a folder until its input ends."""


@pytest.fixture(scope="module")
def tight(tiny_checkpoint, tmp_path_factory):
    """An artifact with room for some matrices at 8 bits, and its report."""
    out = tmp_path_factory.mktemp("artifact") / "tight"
    return out, quantize(tiny_checkpoint, out, max_bytes=130_000)


def test_the_folder_is_whole_and_small_enough(tight):
    out, report = tight
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert files == FILES
    assert report.bytes == folder_bytes(out) <= 130_000
    assert report.model_bytes == (out / "onnx/model_quantized.onnx").stat().st_size
    assert {tensor.bits for tensor in report.tensors} == {4, 8, 32}


def test_the_report_tells_the_error_of_every_tensor(tight, tiny_weights):
    out, report = tight
    assert [tensor.name for tensor in report.tensors] == list(tiny_weights)
    rounded = dequantize(out)
    for tensor in report.tensors:
        weight = tiny_weights[tensor.name]
        error = np.linalg.norm(weight - rounded[tensor.name]) / np.linalg.norm(weight)
        assert tensor.error == pytest.approx(error, abs=1e-6)
        assert tensor.error < {4: 0.12, 8: 0.012, 32: 1e-9}[tensor.bits]
    written = json.loads((out / "quantization.json").read_text())
    assert written | {"bytes": report.bytes} == json.loads(json.dumps(report.to_json()))


def test_more_bytes_mean_less_error(tiny_checkpoint, tmp_path, tight):
    roomy = quantize(tiny_checkpoint, tmp_path / "out", max_bytes=10**7)
    assert {tensor.bits for tensor in roomy.tensors} == {8, 32}
    assert sum(t.error for t in roomy.tensors) < sum(t.error for t in tight[1].tensors)


def test_the_same_input_gives_the_same_bytes(tiny_checkpoint, tmp_path, tight):
    quantize(tiny_checkpoint, tmp_path / "again", max_bytes=130_000)
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (tight[0] / name).read_bytes(), name


def test_the_embedding_is_stored_once(tight):
    model = load_model(tight[0] / "onnx/model_quantized.onnx")
    users = [
        node.op_type
        for node in model.graph.node
        if "bert.embeddings.word_embeddings.weight.codes" in node.input
    ]
    assert users == ["GatherBlockQuantized", "Reshape"]
    names = [tensor.name for tensor in model.graph.initializer]
    assert sum("word_embeddings" in name and "codes" in name for name in names) == 1


def test_provenance_leads_back_to_the_parent(tight, tiny_checkpoint):
    facts = json.loads((tight[0] / "provenance.json").read_text())
    parent = json.loads((tiny_checkpoint / "provenance.json").read_text())
    assert facts["parents"][-1]["sha256"] == parent["files"]["model.safetensors"]
    assert facts["parents"][-1]["recipe"] == "tiny"
    assert set(facts["files"]) == FILES - {"provenance.json"}


def test_a_checkpoint_made_from_the_artifact_makes_the_artifact_again(tight, tmp_path):
    unpack_checkpoint(tight[0], tmp_path / "float")
    config = BertConfig.read(tmp_path / "float")
    weights = read_weights(tmp_path / "float", config)
    expected = dequantize(tight[0])
    assert weights.keys() == expected.keys()
    for name, weight in weights.items():
        np.testing.assert_array_equal(weight, expected[name])


def test_calibration_weighs_errors_by_what_flows(tiny_checkpoint, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the old man and the state\n\nwe see the world\n" * 4, encoding="utf-8")
    plain = quantize(tiny_checkpoint, tmp_path / "plain", max_bytes=130_000)
    weighed = quantize(tiny_checkpoint, tmp_path / "weighed", max_bytes=130_000, calibration=text)
    assert weighed.tensors != plain.tensors
    facts = json.loads((tmp_path / "weighed" / "provenance.json").read_text())
    assert len(facts["calibration"]) == 64


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "has no text in it"), (b"\xff\xfe\xfa", "cannot be read as text")],
)
def test_calibration_refuses_what_is_no_text(tiny_checkpoint, tmp_path, content, message):
    (tmp_path / "text").write_bytes(content)
    with pytest.raises(InputError, match=message):
        quantize(tiny_checkpoint, tmp_path / "out", calibration=tmp_path / "text")
    with pytest.raises(InputError, match="cannot be read as text"):
        quantize(tiny_checkpoint, tmp_path / "out", calibration=tmp_path / "absent")


@pytest.mark.parametrize("options", [{}, {"spare": 60_000}, {"calibration": True}])
def test_an_impossible_size_names_the_least_possible_and_that_is_true(
    tiny_checkpoint, tmp_path, options
):
    """Also where the budget, which is written down, has fewer digits than what is needed."""
    if "calibration" in options:
        options = {"calibration": tmp_path / "text"}
        options["calibration"].write_text("the old man and the state\n" * 9, encoding="utf-8")
    out = tmp_path / "out"
    with pytest.raises(TooFewBytesError, match="--max-bytes is 1, expected at least") as caught:
        quantize(tiny_checkpoint, out, max_bytes=1, **options)
    assert not out.exists()
    least = caught.value.least
    assert f"at least {least:,} for" in caught.value.message
    assert pickle.loads(pickle.dumps(caught.value)).least == least
    made = quantize(tiny_checkpoint, out, max_bytes=least, **options)
    assert made.bytes <= least - options.get("spare", 0)


def test_bytes_are_spared_for_what_is_to_come(tiny_checkpoint, tmp_path):
    most, spare = 140_000, 10_000
    made = quantize(tiny_checkpoint, tmp_path / "out", max_bytes=most, spare=spare)
    assert made.bytes <= most - spare


def test_numbers_that_take_many_characters_are_counted(
    tiny_config, tiny_weights, tiny_tokenizer, tmp_path
):
    """The loss of a network whose answers are large is written with all its digits."""
    config = tiny_config.with_task(SEQUENCES, labels=("price",), problem_type=REGRESSION)
    rng = np.random.default_rng(0)
    head = rng.normal(0, 3e6, (1, config.hidden_size)).astype(np.float32)
    body = {name: w for name, w in tiny_weights.items() if name.startswith("bert.")}
    weights = {**body, "classifier.weight": head, "classifier.bias": head[0, :1]}
    source, text = tmp_path / "float", tmp_path / "text"
    source.mkdir()
    write_checkpoint(source, config, weights, tiny_tokenizer, {"parents": []})
    text.write_text("".join(f"{document(seed, 2)}\n" for seed in range(8)), encoding="utf-8")
    with pytest.raises(TooFewBytesError) as told:
        quantize(source, tmp_path / "out", max_bytes=1, calibration=text)
    for most in range(told.value.least, told.value.least + 1_000, 250):
        made = quantize(source, tmp_path / "out", max_bytes=most, calibration=text)
        assert max(tensor.loss or 0 for tensor in made.tensors) > 1e9
        assert made.bytes == folder_bytes(tmp_path / "out") <= most


def test_what_was_written_is_weighed_once_more(tiny_checkpoint, tmp_path, monkeypatch):
    drafted = draft_rows

    def shorter(*args, **options):
        return tuple(replace(row, error=0.0, clipped=0.0) for row in drafted(*args, **options))

    monkeypatch.setattr("bert_mobile.quantize.writer.draft_rows", shorter)
    made = quantize(tiny_checkpoint, tmp_path / "out", max_bytes=130_000)
    assert made.bytes <= 130_000
    with pytest.raises(TooFewBytesError) as told:
        quantize(tiny_checkpoint, tmp_path / "no", max_bytes=1)
    with pytest.raises(TooFewBytesError):
        quantize(tiny_checkpoint, tmp_path / "no", max_bytes=told.value.least)
    assert not (tmp_path / "no").exists()


def test_text_in_the_folder_that_is_replaced_is_kept(tiny_checkpoint, tight, tmp_path):
    out = shutil.copytree(tight[0], tmp_path / "out")
    text = out / "text"
    text.write_text("the old man", encoding="utf-8")
    with pytest.raises(InputError, match=r"--out .* and the input .*text lie inside each other"):
        quantize(tiny_checkpoint, out, calibration=text)
    assert text.exists()


@pytest.fixture
def odd_checkpoint(tiny_config, tiny_weights, tiny_tokenizer, tmp_path):
    """Return a function that makes a checkpoint of another shape, or of larger weights."""

    def make(larger="", times=1.0, **changes):
        config, folder = replace(tiny_config, **changes), tmp_path / "float"
        folder.mkdir()
        weights = {}
        for name, shape in expected_shapes(config).items():
            rows = tiny_weights[name][: shape[0]] * np.float32(times if name == larger else 1)
            weights[name] = rows.astype(np.float32)
        write_checkpoint(folder, config, weights, tiny_tokenizer, {"parents": []})
        return folder

    return make


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text"
    path.write_text("the old man\tand the state\nwe see the world\n", encoding="utf-8")
    return path


def test_a_network_of_one_type_is_calibrated(odd_checkpoint, text, tmp_path):
    source = odd_checkpoint(type_vocab_size=1, layer_norm_eps=0)
    assert quantize(source, tmp_path / "out", calibration=text).measured


@pytest.mark.parametrize("calibrated", [False, True])
def test_a_tokenizer_of_more_pieces_is_refused(odd_checkpoint, text, tmp_path, calibrated):
    source = odd_checkpoint(vocab_size=100)
    with pytest.raises(ArtifactError, match=r"has \d+ pieces, expected at most the 100"):
        quantize(source, tmp_path / "out", calibration=text if calibrated else None)


@pytest.mark.parametrize("times", [1e20, 1e30])
def test_answers_that_are_no_numbers_are_told(odd_checkpoint, text, tmp_path, times):
    name = "bert.encoder.layer.0.intermediate.dense.weight"
    with pytest.raises(ArtifactError, match=r"numbers of the network .* are NaN or infinite"):
        quantize(odd_checkpoint(name, times), tmp_path / "out", calibration=text)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_nothing(tiny_checkpoint, tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match="No space left on device"):
        quantize(tiny_checkpoint, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_report_inside_the_folder_is_refused_since_it_would_count(tiny_checkpoint, tmp_path):
    out = tmp_path / "out"
    for report in (out, out / "report"):
        with pytest.raises(InputError, match=r"--report .* lies inside --out"):
            quantize(tiny_checkpoint, out, report=report)
    assert not out.exists()


def test_a_report_is_refused_where_it_would_harm_before_anything_is_measured(
    tiny_checkpoint, tight, tmp_path, monkeypatch
):
    monkeypatch.delattr("bert_mobile.quantize.artifact.measure")
    source, model = shutil.copytree(tiny_checkpoint, tmp_path / "float"), tight[0]
    before = (model / "quantization.json").read_bytes()
    (tmp_path / "file").touch()
    for report, kind, message in (
        (source, InputError, "is the folder of a model"),
        (model, InputError, "is the folder of a model"),
        (tmp_path / "file", InputError, "is a file"),
        (tmp_path / "file" / "report", RunError, "could not be written"),
    ):
        with pytest.raises(kind, match=message):
            quantize(source, tmp_path / "out", report=report)
    assert (model / "quantization.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "float"]


def test_two_at_a_time_do_not_write_one_folder(tiny_checkpoint, tmp_path):
    out, pipe = tmp_path / "out", subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLD, out], stdin=pipe, stdout=pipe) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=r"another program is writing to .*out"):
            quantize(tiny_checkpoint, out)
        other.communicate()
    quantize(tiny_checkpoint, out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_somebody_elses_folder_is_not_replaced(tiny_checkpoint, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ArtifactError, match="was not written by this command"):
        quantize(tiny_checkpoint, tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_damaged_files_are_refused(tight, tmp_path):
    for name in FILES:
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((tight[0] / name).read_bytes())
    model = tmp_path / "onnx/model_quantized.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    with pytest.raises(ArtifactError, match="SHA-256"):
        dequantize(tmp_path)
    (tmp_path / "provenance.json").unlink()
    model.write_bytes(data[: len(data) // 2])
    with pytest.raises(ArtifactError, match="no whole ONNX file"):
        dequantize(tmp_path)
    model.unlink()
    with pytest.raises(ArtifactError, match="expected a quantized model"):
        dequantize(tmp_path)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("tags:\n- bert\n- onnx\n", "tags:\n- bert\n- onnx\n- quantized\n"),
        ("tags: [bert, 'x']\n", "tags:\n- bert\n- x\n- quantized\n- onnx\n"),
        ("", "tags:\n- quantized\n- onnx\n"),
    ],
)
def test_the_parents_card_is_kept_and_told_to_be_quantized(
    tiny_checkpoint, tmp_path, tags, expected
):
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "float")
    head = f"---\nlicence: mit\nlibrary_name: transformers\n{tags}---\n# Parent\n"
    (folder / "README.md").write_text(head)
    quantize(folder, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith(f"---\nlicence: mit\n{expected}---\n# Quantized BERT\n")
    assert card.endswith("# Parent\n")


def test_without_onnx_a_hint_says_what_to_install(tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    for module in ("calibrate", "graph"):
        monkeypatch.delitem(sys.modules, f"bert_mobile.quantize.{module}", raising=False)
    with pytest.raises(MissingExtraError) as caught:
        quantize(tiny_checkpoint, tmp_path / "out", calibration=tiny_checkpoint / "vocab.txt")
    assert caught.value.hint == 'pip install "bert-mobile[export]"'
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def calibrated(tiny_checkpoint, tmp_path_factory):
    """An artifact of 2, 4 and 8 bits, its report in a folder beside it, and that report."""
    folder = tmp_path_factory.mktemp("calibrated")
    lines = "".join(f"{document(seed, 2)}\n" for seed in range(16))
    (folder / "text").write_text(lines, encoding="utf-8")
    options = {"max_bytes": 100_000, "calibration": folder / "text", "report": folder / "report"}
    return folder, quantize(tiny_checkpoint, folder / "out", **options)


def test_with_text_there_are_two_bits_and_it_runs(calibrated, tiny_weights):
    folder, report = calibrated
    assert report.bytes == folder_bytes(folder / "out") <= 100_000
    assert {tensor.bits for tensor in report.tensors} >= {2, 4, 32}
    model = bert_mobile.load(str(folder / "out"))
    assert len(model.fill_mask("the old [MASK] and the state")) == 5
    rounded = dequantize(folder / "out")
    assert rounded.keys() == tiny_weights.keys()
    for tensor in report.tensors:
        weight = tiny_weights[tensor.name]
        if tensor.block is not None:
            error = np.linalg.norm(weight - rounded[tensor.name]) / np.linalg.norm(weight)
            assert tensor.error == pytest.approx(error, abs=1e-6)
            assert 0 <= tensor.clipped < 0.2
            assert tensor.loss > 0


def test_two_bits_are_left_out_where_four_fit(calibrated, tiny_checkpoint, tmp_path):
    folder, _ = calibrated
    report = quantize(
        tiny_checkpoint, tmp_path / "out", max_bytes=150_000, calibration=folder / "text"
    )
    assert report.bytes <= 150_000
    assert {tensor.bits for tensor in report.tensors} == {4, 8, 32}
    assert {each.bits for each in report.measured} == {4}


def test_the_report_is_written_beside_the_folder(calibrated):
    folder, report = calibrated
    whole = json.loads((folder / "report" / "quantization.json").read_text())
    assert whole == json.loads(json.dumps(report.to_json()))
    assert {each["bits"] for each in whole["measured"]} == {2, 4}
    assert (folder / "report" / "sensitivity.png").read_bytes().startswith(b"\x89PNG")
    small = json.loads((folder / "out" / "quantization.json").read_text())
    assert "measured" not in small
    assert small["tensors"] == whole["tensors"]


def test_parts_are_sums_over_tensors(calibrated):
    _, report = calibrated
    found = {part.name: part for part in parts(report)}
    assert list(found) == ["embeddings", "layer 0", "layer 1", "heads"]
    assert sum(part.bytes for part in found.values()) == sum(t.bytes for t in report.tensors)
    assert 2 < found["layer 0"].bits < 8
    layer = [t for t in report.tensors if ".layer.1." in t.name and t.loss is not None]
    assert found["layer 1"].loss == pytest.approx(sum(t.loss for t in layer))


def test_provenance_tells_what_was_measured_on(calibrated):
    facts = json.loads((calibrated[0] / "out" / "provenance.json").read_text())
    assert facts["measured_on"]["lines"] == 16
    assert facts["measured_on"]["whole_words"] == 1


def test_an_embedding_in_parts_is_read_back(tiny_checkpoint, tmp_path, tiny_weights, monkeypatch):
    monkeypatch.setattr("bert_mobile.quantize.sensitivity._FEWEST_ROWS", 100)
    text = tmp_path / "text"
    text.write_text("".join(f"{document(seed, 2)}\n" for seed in range(8)), encoding="utf-8")
    report = quantize(tiny_checkpoint, tmp_path / "out", max_bytes=112_000, calibration=text)
    rows = [tensor for tensor in report.tensors if tensor.name.startswith(WORDS)]
    assert len(rows) == 4
    assert len({(row.bits, row.block) for row in rows}) > 1  # so that there are parts in the file
    rounded = dequantize(tmp_path / "out")[WORDS]
    for row in rows:
        start, stop = map(int, row.name.removeprefix(f"{WORDS}[").rstrip("]").split(":"))
        weight = tiny_weights[WORDS][start:stop]
        error = np.linalg.norm(weight - rounded[start:stop]) / np.linalg.norm(weight)
        assert row.error == pytest.approx(error, abs=1e-6)


def test_what_is_quantized_already_is_refused(tight, tmp_path):
    with pytest.raises(ArtifactError, match="is quantized already, expected a float checkpoint"):
        quantize(tight[0], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_named(
    tiny_config, tiny_weights, tiny_tokenizer, tmp_path, value
):
    name = "bert.encoder.layer.1.output.dense.weight"
    broken = {**tiny_weights, name: tiny_weights[name].copy()}
    broken[name][3, :2] = value
    (tmp_path / "float").mkdir()
    write_checkpoint(tmp_path / "float", tiny_config, broken, tiny_tokenizer, {"parents": []})
    with pytest.raises(ArtifactError, match=rf"{name} has 2 numbers that are NaN or infinite"):
        quantize(tmp_path / "float", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_text_a_hint_tells_that_text_makes_it_smaller(tiny_checkpoint, tmp_path):
    with pytest.raises(InputError) as caught:
        quantize(tiny_checkpoint, tmp_path / "out", max_bytes=50_000)
    assert caught.value.hint.endswith("with --calibration 2 bits a weight are tried as well")


def test_an_interrupt_leaves_nothing_and_what_was_there(
    tiny_checkpoint, tight, tmp_path, monkeypatch
):
    out = shutil.copytree(tight[0], tmp_path / "out")
    before = (out / "quantization.json").read_bytes()

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("bert_mobile.quantize.writer.write_provenance", interrupted)
    for target in (out, tmp_path / "new"):
        with pytest.raises(KeyboardInterrupt):
            quantize(tiny_checkpoint, target, max_bytes=130_000)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "quantization.json").read_bytes() == before
