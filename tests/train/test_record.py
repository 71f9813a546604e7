"""The record of a run, as a crash may leave it."""

import json

import pytest

from bert_mobile.errors import ArtifactError
from bert_mobile.train.record import Line, Metrics, Panel, draw_curve, read_metrics


@pytest.fixture
def folder(tmp_path):
    """Five lines, and the beginning of a sixth."""
    metrics = Metrics(tmp_path, 0)
    for step in range(1, 6):
        metrics.add({"step": step, "tokens": 100 * step, "loss": 5.0, "masked_token_loss": 4.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "tok')
    return tmp_path


def test_a_line_cut_short_by_a_crash_is_passed_over(folder):
    assert [line["step"] for line in read_metrics(folder)] == [1, 2, 3, 4, 5]


def test_resuming_takes_out_what_will_come_again(folder):
    Metrics(folder, 3).add({"step": 4})
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]


def test_the_curve_of_a_run_without_judgements_is_a_picture(folder):
    assert draw_curve(folder, "a run").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_a_curve_over_steps_is_another_picture(folder):
    lines = (Line("loss", "training", "#9db4c8"),)
    over = [
        draw_curve(folder, "a run", [Panel("loss", lines, over=of)] * 2).read_bytes()
        for of in ("step", "tokens")
    ]
    assert over[0] != over[1]


@pytest.mark.parametrize("line", ["not json", "[1]", "{}"])
def test_a_damaged_line_is_named(folder, line):
    path = folder / "metrics.jsonl"
    path.write_text(f"{line}\n" + path.read_text())
    with pytest.raises(ArtifactError, match=r"metrics.jsonl, line 1 is no line of a run's metrics"):
        read_metrics(folder)
