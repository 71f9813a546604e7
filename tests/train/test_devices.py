"""Several processes do what one does, and go on from where another number of them stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bert_mobile.train import devices
from bert_mobile.train.pretrain import pretrain
from bert_mobile.train.record import read_metrics
from bert_mobile.train.sitting import Sitting
from tests.train.test_pretrain import as_toml

ROOT = Path(__file__).parents[2]
RUN = """
import sys
from bert_mobile.cli import main
from bert_mobile.variants import VARIANTS
from tests.train.conftest import NANO
VARIANTS[NANO.name] = NANO
main(sys.argv[1:])
"""
FIGURES = ("loss", "masked_token_loss", "gradient_norm", "held_out_masked_token_loss")


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    monkeypatch.setattr("bert_mobile.train.pretrain.draw_curve", lambda *_: None)


@pytest.fixture
def torchrun(tmp_path):
    """Return a function that starts a command in several processes of one machine."""
    (tmp_path / "run.py").write_text(RUN)

    def start(processes, *words):
        # The shell's torchrun script may be another Python's; the module is this one's.
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", processes]
        command += ["--standalone", str(tmp_path / "run.py"), *words]
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        return subprocess.Popen(
            [*map(str, command)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def assert_same_curve(one, other, tolerance=1e-5):
    ours, theirs = read_metrics(one), read_metrics(other)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for line, twin in zip(ours, theirs, strict=True):
        assert line["tokens"] == twin["tokens"]
        for name in set(FIGURES) & line.keys():
            assert line[name] == pytest.approx(twin[name], rel=tolerance), (line["step"], name)


def assert_close_weights(one, other):
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (one, other))
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=1e-4, rtol=0, msg=name)


@pytest.mark.slow
def test_two_processes_give_the_curve_of_one(recipe, torchrun, tmp_path):
    settings = recipe(dropout=0.0)
    (tmp_path / "recipe.toml").write_text(as_toml(settings))
    pretrain(settings, tmp_path / "one")
    words = ["pretrain", tmp_path / "recipe.toml", "--out", tmp_path / "two", "--json"]
    said, complaints = (run := torchrun(2, *words)).communicate(timeout=120)
    assert run.returncode == 0, complaints
    assert json.loads(said)["metrics"]["step"] == 12  # one document: the first process speaks
    assert_same_curve(tmp_path / "one", tmp_path / "two")
    assert_close_weights(tmp_path / "one", tmp_path / "two")
    record = json.loads((tmp_path / "two" / "provenance.json").read_text())
    assert record["processes"] == 2


@pytest.mark.slow
def test_a_lost_process_ends_the_run_and_one_goes_on_with_the_same_data(recipe, torchrun, tmp_path):
    settings = recipe(dropout=0.0, steps=2_000)
    (tmp_path / "recipe.toml").write_text(as_toml(settings))
    out = tmp_path / "run"
    run = torchrun(2, "pretrain", tmp_path / "recipe.toml", "--out", out)
    while not list(out.glob("checkpoints/step-*")):
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)
    second = [pid for pid in children(run.pid) if environment(pid).get("RANK") == "1"]
    os.kill(second[0], signal.SIGKILL)
    _, complaints = run.communicate(timeout=120)
    assert run.returncode != 0
    lines = read_metrics(out)
    resumed = pretrain(settings, out, resume=True, sitting=Sitting(minutes=0.02))
    assert 0 < resumed.resumed_from <= lines[-1]["step"], complaints
    alone = tmp_path / "alone"
    pretrain(settings, alone, sitting=Sitting(minutes=0.05))
    ours = {line["step"]: line["loss"] for line in read_metrics(out) if "loss" in line}
    theirs = {line["step"]: line["loss"] for line in read_metrics(alone) if "loss" in line}
    common = sorted(ours.keys() & theirs.keys())
    assert common[-1] > resumed.resumed_from
    for step in common:
        assert ours[step] == pytest.approx(theirs[step], rel=1e-4), step


@pytest.mark.slow
def test_the_slurm_script_starts_the_run(recipe, tmp_path):
    """With stand-ins for Slurm's commands, that do here what they do on a node."""
    stand_ins = {
        "scontrol": 'test "$*" = "show hostnames node[1]" && echo localhost',
        "srun": 'exec "$@"',
        "torchrun": f'exec {sys.executable} -m torch.distributed.run "$@"',
    }
    for name, script in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    settings = recipe(variant="micro", steps=2, dropout=0.0)
    (tmp_path / "recipe.toml").write_text(as_toml(settings))
    job = {"SLURM_JOB_NODELIST": "node[1]", "SLURM_NNODES": "1", "SLURM_JOB_ID": "7"}
    job |= {"RECIPE": str(tmp_path / "recipe.toml"), "OUT": str(tmp_path / "run")}
    job |= {"PROCESSES": "2", "PORT": "0", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = ["bash", str(ROOT / "recipes" / "card.slurm")]
    done = subprocess.run(
        script, env=os.environ | job, check=False, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert (record["processes"], record["figures"]["step"]) == (2, 2)


def children(pid):
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def environment(pid):
    words = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(word.split("=", 1) for word in words if "=" in word)


def test_micro_batches_give_the_curve_of_whole_batches(recipe, tmp_path):
    settings = recipe(dropout=0.0, z_loss_weight=1e-3)
    pretrain(settings, tmp_path / "whole")
    pretrain(settings, tmp_path / "parts", sitting=Sitting(accumulation=4))
    assert_same_curve(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize(
    ("precision", "native", "expected"),
    [
        ("auto", True, torch.bfloat16),
        ("auto", False, None),
        ("fp32", True, None),
        ("bf16", False, torch.bfloat16),
        ("fp16", True, torch.bfloat16),  # there is no loss scaling without CUDA
    ],
)
def test_precisions_of_a_processor(monkeypatch, precision, native, expected):
    monkeypatch.setattr(devices, "_multiplies_bf16", lambda _device: native)
    with devices.autocast(precision, torch.device("cpu")):
        assert torch.is_autocast_enabled("cpu") == (expected is not None)
        if expected:
            assert torch.get_autocast_dtype("cpu") == expected


def test_float16_losses_are_scaled_on_cuda_only():
    assert devices.scales_loss("fp16", torch.device("cuda"))
    assert not devices.scales_loss("fp16", torch.device("cpu"))
    assert not devices.scales_loss("bf16", torch.device("cuda"))
