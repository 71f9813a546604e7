"""A quantized model, and copies of folders that a test may spoil."""

import shutil

import pytest

from bert_mobile.quantize import quantize


@pytest.fixture(scope="session")
def tiny_quantized(tiny_checkpoint, tmp_path_factory):
    """A quantized folder. Shared by all tests: never write to it."""
    out = tmp_path_factory.mktemp("quantized") / "model"
    quantize(tiny_checkpoint, out, max_bytes=130_000)
    return out


@pytest.fixture
def spoilable(tiny_quantized, tmp_path):
    """A copy of the quantized folder, to damage."""
    return shutil.copytree(tiny_quantized, tmp_path / "model")
