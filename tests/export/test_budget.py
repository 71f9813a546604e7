"""What a target writes keeps to the budget, also where the target needs more than the mix."""

from dataclasses import replace
from importlib.util import find_spec

import pytest

from bert_mobile.cli import main
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.export import TARGETS, budget, export_within
from bert_mobile.export.target import Target
from bert_mobile.model.config import TOKENS


def heavier(extra):
    """A target that writes the ONNX file and so many bytes besides, for each that it has."""
    from bert_mobile.export.onnx import write

    def padded(source, width, folder):
        write(source, width, folder)
        model = folder / TARGETS["onnx"].places[width]
        size = model.stat().st_size
        (folder / "padding").write_bytes(bytes(extra(size)))

    return Target("heavier", TARGETS["onnx"].places, (), "export", padded)


def test_the_artifact_keeps_to_the_budget(tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(TARGETS, "heavier", heavier(lambda size: size // 10))
    made = export_within(tiny_checkpoint, "heavier", tmp_path / "made", max_bytes=125_000)
    assert 105_000 < budget.weight_of(made) <= 125_000
    assert (made.folder / "padding").stat().st_size > 5_000


def test_a_budget_that_the_target_cannot_meet_is_told(tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(TARGETS, "heavier", heavier(lambda size: 400_000 - size))
    with pytest.raises(InputError, match="--max-bytes is 170,000"):
        export_within(tiny_checkpoint, "heavier", tmp_path / "made", max_bytes=170_000)
    assert list(tmp_path.iterdir()) == []


def test_one_between_the_least_and_a_step_below_it_is_met(tiny_checkpoint, tmp_path, monkeypatch):
    """The first step down would be too long: what is too much goes away with the last bytes."""
    least = 107_000
    monkeypatch.setitem(TARGETS, "heavier", heavier(lambda size: 40_000 * (size > least)))
    made = export_within(tiny_checkpoint, "heavier", tmp_path / "made", max_bytes=125_000)
    assert budget.weight_of(made) <= 125_000


def test_a_target_without_heads_goes_below_what_quantize_can(tiny_checkpoint, tmp_path):
    pytest.importorskip("gguf", reason="needs the extra [gguf]")
    pytest.importorskip("xllamacpp", reason="needs the extra [gguf]")
    made = export_within(tiny_checkpoint, "gguf", tmp_path / "made", max_bytes=90_000)
    assert budget.weight_of(made) <= 90_000


def test_what_is_wrong_is_told_before_anything_is_measured(
    tiny_checkpoint, tiny_task, tmp_path, monkeypatch
):
    binary = tmp_path / "binary"
    binary.write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="text to calibrate on"):
        export_within(
            tiny_checkpoint, "onnx", tmp_path / "out", max_bytes=150_000, calibration=binary
        )
    monkeypatch.setattr(budget, "quantize", None)  # which must not be called
    monkeypatch.setitem(TARGETS, "narrow", replace(TARGETS["onnx"], name="narrow", heads=()))
    with pytest.raises(InputError, match="narrow cannot hold a BertForTokenClassification"):
        export_within(tiny_task(TOKENS), "narrow", tmp_path / "out", max_bytes=150_000)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ArtifactError, match="not written by this command"):
        export_within(tiny_checkpoint, "onnx", tmp_path / "mine", max_bytes=150_000)


def test_other_widths_than_the_mix_are_refused(tiny_checkpoint, tmp_path, capsys):
    command = ["export", str(tiny_checkpoint), "--to", "onnx", "--max-bytes", "250_000"]
    with pytest.raises(SystemExit) as done:
        main([*command, "--width", "float32", "--out", str(tmp_path / "out")])
    assert done.value.code == 2
    assert "leave --width out" in capsys.readouterr().err


@pytest.mark.skipif(find_spec("ai_edge_litert") is None, reason="needs the extra [litert]")
def test_litert_by_the_command(tiny_checkpoint, tmp_path):
    out = tmp_path / "out"
    command = ["export", str(tiny_checkpoint), "--to", "litert", "--max-bytes", "220_000"]
    with pytest.raises(SystemExit) as done:
        main([*command, "--no-proof", "--out", str(out)])
    assert done.value.code == 0
    counted = [out / "litert" / "model.tflite", *(out / name for name in budget._BESIDE)]
    assert sum(path.stat().st_size for path in counted) <= 220_000
    assert not (out / "proof.json").exists()


@pytest.mark.parametrize(("to", "is_said"), [("onnx", True), ("litert", False)])
def test_what_would_help_is_said_where_it_would(tiny_checkpoint, tmp_path, to, is_said):
    with pytest.raises(InputError) as refused:
        export_within(tiny_checkpoint, to, tmp_path / "out", max_bytes=60_000)
    assert ("with --calibration 2 bits" in refused.value.hint) is is_said
