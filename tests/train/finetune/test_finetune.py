"""Whole runs of a tiny network: what they learn and leave, and that nothing stops them for good."""

import json
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
from transformers import pipeline

from bert_mobile.errors import InputError
from bert_mobile.files import sha256
from bert_mobile.train import state
from bert_mobile.train.feed import Feed
from bert_mobile.train.finetune import finetune
from bert_mobile.train.finetune.run import Finetuning
from bert_mobile.train.record import read_metrics
from bert_mobile.train.sitting import Sitting
from tests.train.finetune.conftest import reviews, write_csv
from tests.train.runs import assert_same_weights

ROOT = Path(__file__).parents[3]

INTERRUPTED = """
import os, sys
from bert_mobile.cli import main
from bert_mobile.train.feed import Feed

stop_at, number, *words = sys.argv[1:]
step, batch = 0, Feed.next

def batch_until_the_signal(self):
    global step
    if step == int(stop_at):
        os.kill(os.getpid(), int(number))
    step += 1
    return batch(self)

Feed.next = batch_until_the_signal
main(words)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory, settings):
    """A run that nothing disturbed. Never write to it."""
    out = tmp_path_factory.mktemp("runs") / "reviews"
    return finetune(settings(), out)


@pytest.fixture(autouse=True)
def undrawn(finished, monkeypatch):
    """Leave out the pictures of all other runs, which take longer than the runs."""
    monkeypatch.setattr("bert_mobile.train.finetune.command.draw_curve", lambda *_: None)


def stop_after(monkeypatch, step):
    """Let the power go when the batch after `step` steps is asked for."""
    steps, batch = count(), Feed.next

    def stopping(self):
        if next(steps) == step:
            raise RuntimeError("the power went")
        return batch(self)

    monkeypatch.setattr(Feed, "next", stopping)


# --- what a run leaves --------------------------------------------------------------------------


def test_a_strangers_csv_becomes_a_model(finished):
    assert finished.complete
    assert finished.metric == "accuracy"
    assert finished.figures["accuracy"] > 0.9, finished.figures
    assert finished.labels == ("negative", "positive")
    told = "\n".join(finished.told)
    assert "reviews.csv" in told
    assert "'what'" in told
    assert "2 labels: negative, positive" in told
    assert "no dev file: 30 of 300 train examples are held out" in told


def test_transformers_answers_with_the_result(finished):
    classify = pipeline("text-classification", model=str(finished.folder), device="cpu")
    rows = reviews(40, seed=9)
    right = [
        answer["label"] == label
        for answer, (_, label) in zip(classify([text for text, _ in rows]), rows, strict=True)
    ]
    assert sum(right) >= 36


def test_the_artefacts_are_there(finished, settings, reviews_csv):
    names = {path.name for path in finished.folder.iterdir()}
    assert names >= {
        "checkpoints", "config.json", "curve.png", "finetune.json", "metrics.jsonl",
        "model.safetensors", "provenance.json", "tokenizer.json", "vocab.txt",
    }  # fmt: skip
    assert state.saved(finished.folder) == []  # a run that is over needs none
    record = json.loads((finished.folder / "provenance.json").read_text())
    assert record["kind"] == "fine-tuned checkpoint"
    assert record["settings"]["batch_size"] == settings().batch_size
    assert record["data"]["train"]["files"] == {str(reviews_csv): sha256(reviews_csv)}
    assert record["figures"] == {"step": finished.best_step, **finished.figures}
    assert record["emissions"]["hours"] > 0
    assert len(record["parents"]) == 1
    for name, digest in record["files"].items():
        assert sha256(finished.folder / name) == digest


def test_the_best_weights_are_shipped(finished):
    judged = [line for line in read_metrics(finished.folder) if "dev_accuracy" in line]
    assert [line["step"] for line in judged] == [17, 34, 51, 68]
    best = max(judged, key=lambda line: (line["dev_accuracy"], line["step"]))
    assert finished.best_step == best["step"]
    assert finished.figures["accuracy"] == best["dev_accuracy"]


def test_the_seed_decides_everything(settings, finished, tmp_path):
    finetune(settings(), tmp_path / "again")
    assert_same_weights(tmp_path / "again", finished.folder)
    finetune(settings(seed=2, epochs=1), tmp_path / "other")
    with pytest.raises(AssertionError, match="differs by"):
        assert_same_weights(tmp_path / "other", finished.folder)


def test_of_equally_good_weights_the_latest_are_shipped(settings, tmp_path):
    """And patience ends nevertheless."""
    made = settings(learning_rate=1e-9, patience=2)  # nothing is learned
    report = finetune(made, tmp_path / "run")
    assert (report.best_step, report.step) == (51, 51)


# --- going on -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_weights(settings, finished, reviews_csv, tmp_path):
    out, made = tmp_path / "run", settings(save_every=20)
    words = ["finetune", "classify", "--train", reviews_csv, "--out", out, "--model", made.model]
    words += ["--epochs", 4, "--batch-size", 16, "--learning-rate", 2e-3, "--precision", "fp32"]
    words += ["--set", "log_every=1", "--set", "save_every=20"]
    command = [sys.executable, "-c", INTERRUPTED, "50", str(int(signal.SIGKILL)), *map(str, words)]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    report = finetune(made, out, resume=True)
    assert report.resumed_from == 40
    assert_same_weights(out, finished.folder)
    steps = [line["step"] for line in read_metrics(out) if "loss" in line]
    assert steps == list(range(1, 69))


def test_a_crashed_run_keeps_its_best_weights(settings, finished, tmp_path, monkeypatch):
    """It is patient, too: judgements before the crash count."""
    consider = Finetuning._consider

    def ever_worse(self, step, found):
        consider(self, step, found | {"macro_f1": 1 / step})

    monkeypatch.setattr(Finetuning, "_consider", ever_worse)
    made = settings(save_every=36, metric="macro_f1", patience=2)
    whole = finetune(made, tmp_path / "whole")
    assert (whole.best_step, whole.step) == (17, 51)
    with monkeypatch.context() as patch:
        stop_after(patch, 40)
        with pytest.raises(RuntimeError, match="the power went"):
            finetune(made, tmp_path / "run")
    report = finetune(made, tmp_path / "run", resume=True)
    assert (report.resumed_from, report.best_step, report.step) == (36, 17, 51)
    assert_same_weights(tmp_path / "run", tmp_path / "whole")


def test_sittings_add_up_to_one_run(settings, tmp_path):
    made = settings(epochs=0.3, batch_size=32)
    finetune(made, tmp_path / "whole")
    steps = []
    for _ in range(9):
        report = finetune(made, tmp_path / "run", resume=True, sitting=Sitting(minutes=1e-9))
        steps.append(report.step)
        if report.complete:
            break
    assert steps == [1, 2, 3]
    assert_same_weights(tmp_path / "run", tmp_path / "whole")


def test_a_run_that_is_over_tells_its_report_again(settings, finished):
    before = sha256(finished.folder / "model.safetensors")
    again = finetune(settings(), finished.folder, resume=True)
    assert again.figures == finished.figures
    assert again.best_step == finished.best_step
    assert again.complete
    assert sha256(finished.folder / "model.safetensors") == before


def test_another_run_is_not_gone_on_with(settings, finished, tmp_path):
    with pytest.raises(InputError, match="holds a run already"):
        finetune(settings(), finished.folder)
    with pytest.raises(InputError, match=r"was begun with learning_rate 0\.002, not 0\.001"):
        finetune(settings(learning_rate=1e-3), finished.folder, resume=True)
    other = write_csv(tmp_path / "other.csv", ("what", "mood"), reviews(60, seed=3))
    with pytest.raises(InputError, match="was begun with another data, expected the same one"):
        finetune(settings(train=str(other)), finished.folder, resume=True)


@pytest.mark.slow
def test_two_processes_do_what_one_does(settings, reviews_csv, tmp_path):
    made = settings(dropout=0.0, epochs=1)
    finetune(made, tmp_path / "one")
    words = ["finetune", "classify", "--train", reviews_csv, "--out", tmp_path / "two"]
    words += ["--model", made.model, "--epochs", 1, "--batch-size", 16, "--learning-rate", 2e-3]
    words += ["--precision", "fp32", "--set", "dropout=0", "--set", "log_every=1", "--json"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", 2, "--standalone"]
    command += ["-m", "bert_mobile", *words]
    done = subprocess.run([*map(str, command)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["complete"]  # one document: the first process speaks
    ours, theirs = (read_metrics(tmp_path / name) for name in ("one", "two"))
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for line, twin in zip(ours, theirs, strict=True):
        for name in {"loss", "dev_accuracy"} & line.keys():
            assert line[name] == pytest.approx(twin[name], rel=1e-4), (line["step"], name)
