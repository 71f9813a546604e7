"""What a target writes keeps to the budget, also where the target needs more than the mix."""

from importlib.util import find_spec

import pytest

from bert_mobile.cli import main
from bert_mobile.errors import InputError
from bert_mobile.export import TARGETS, budget
from bert_mobile.export.target import Target


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
    out = tmp_path / "quantized"
    budget.quantize_for("heavier", tiny_checkpoint, out, max_bytes=125_000)
    made = budget.export(out, "heavier", tmp_path / "made")
    assert 105_000 < budget.weight_of(made) <= 125_000
    assert (made.folder / "padding").stat().st_size > 5_000


def test_a_budget_that_the_target_cannot_meet_is_told(tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(TARGETS, "heavier", heavier(lambda size: 400_000 - size))
    with pytest.raises(InputError, match="--max-bytes is 170,000"):
        budget.quantize_for("heavier", tiny_checkpoint, tmp_path / "q", max_bytes=170_000)


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
        budget.quantize_for(to, tiny_checkpoint, tmp_path / "q", max_bytes=60_000)
    assert ("with --calibration 2 bits" in refused.value.hint) is is_said
