"""How a model runs: load, memory, latency."""

import json

import numpy as np
import pytest

from bert_mobile.cli import main
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.evaluate.running import _difference, bench_run


def test_figures_of_each_form_as_json(tiny_checkpoint, capsys):
    words = ["bench", "run", str(tiny_checkpoint), "--weights", "packed", "--loads", "1"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--seconds", "0", "--threads", "1", "--json"])
    assert ended.value.code == 0
    report = json.loads(capsys.readouterr().out)
    [form] = report["forms"]
    assert report["bytes"] == (tiny_checkpoint / "model.safetensors").stat().st_size
    assert form["weights"] == "packed"
    assert form["load_seconds"] > 0
    assert form["peak_megabytes"] > 10
    assert form["difference"] == 0
    shapes = [(each["sequences"], each["tokens"]) for each in form["latency"]]
    assert shapes == [(1, 16), (1, 64)]  # as many positions as it has
    assert form["texts_per_second"] is None


def test_forms_that_answer_with_zeros_do_not_differ():
    zeros = np.zeros((1, 2, 4), np.float32)
    assert _difference(zeros, zeros) == 0
    assert _difference(zeros + 1, zeros) > 0


def test_what_is_not_there_is_told(tmp_path, tiny_checkpoint):
    with pytest.raises(ArtifactError):
        bench_run(str(tmp_path))
    with pytest.raises(InputError, match="'int4'"):
        bench_run(str(tiny_checkpoint), weights=["int4"])
