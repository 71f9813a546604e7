"""Damaged copies through the loader: none is taken for a model. The benchmark tries 10,000."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "corruption.py"


@pytest.mark.slow
def test_no_damaged_copy_is_accepted(tiny_checkpoint, tiny_quantized):
    command = [sys.executable, str(BENCHMARK), "--copies", "300", "--seed", "3"]
    done = subprocess.run(
        [*command, str(tiny_checkpoint), str(tiny_quantized)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["refused"], found["accepted"], found["crashed"]) == (300, 0, 0)


def test_the_benchmark_notices_what_is_accepted(tiny_checkpoint, tmp_path):
    """Without a manifest, as in a folder of transformers, most damage goes unnoticed."""
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "plain")
    (folder / "provenance.json").unlink()
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--copies", "12", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["accepted"] > 0
