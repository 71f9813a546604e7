"""The measuring of builds: figures for each number of workers, and one hash."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bert_mobile.cli.benching import bench
from bert_mobile.errors import InputError, RunError
from bert_mobile.evaluate import corpus_speed
from bert_mobile.evaluate.corpus_speed import benchmark_corpus

from .conftest import prose


def test_one_build(json_lines: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    source = str(json_lines(prose(seed) for seed in range(5)))
    words = ["corpus", source, "--workers", "1", "--runs", "1", "--json"]
    bench.main(words, standalone_mode=False)
    found = json.loads(capsys.readouterr().out)
    assert found["identical"]
    assert found["workers"]["1"]["median_seconds"] > 0
    assert found["version"]
    assert found["machine"]["cores"] > 0


def test_different_corpora_are_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def built(_sources: Any, _out: Path, workers: int) -> dict[str, Any]:
        figures = {"seconds": 2.0, "megabytes_per_second": 3.0, "peak_megabytes": 50.0}
        return figures | {"sha256": str(workers)}

    monkeypatch.setattr(corpus_speed, "_built", built)
    with pytest.raises(RunError, match="made 2 different corpora"):
        bench.main(["corpus", str(tmp_path)], standalone_mode=False)
    assert "fastest MB/s" in capsys.readouterr().out


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"a build ended with status 2: .*none does not exist"):
        benchmark_corpus([tmp_path / "none"], workers=[1], runs=1)
    with pytest.raises(InputError, match="0 runs"):
        benchmark_corpus([tmp_path], runs=0)
