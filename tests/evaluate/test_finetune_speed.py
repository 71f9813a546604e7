"""The benchmark of fine-tuning: its fairness, its command."""

import json

import numpy as np
import pytest
import torch

from bert_mobile.errors import InputError
from bert_mobile.evaluate.finetune_contestants import (
    Padded,
    TheirSession,
    _our_run,
    run_ours,
    run_trainer,
    their_model,
)
from bert_mobile.evaluate.finetune_speed import finetune_course
from bert_mobile.evaluate.turns import OURS, TRAINER
from bert_mobile.runtime.batches import Batch
from bert_mobile.train.devices import World
from tests.cli.test_cli import run  # noqa: F401 - a fixture

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def course(glue_data, tiny_checkpoint):
    return finetune_course(
        "cola", str(glue_data), model=str(tiny_checkpoint), examples=32, rounds=2, batch_size=16,
        learning_rate=2e-3, padded_to=48, precision="fp32",
    )  # fmt: skip


class Scribe:
    """A referee that lets everything pass and writes it down."""

    def __init__(self):
        self.losses, self.steps, self.turns, self.figures = [], 0, [], {}

    def ready(self, first_loss):
        self.losses.append(first_loss)

    def stepped(self):
        self.steps += 1

    def turn(self, finished):
        self.turns.append((self.steps, finished))

    def result(self, figures):
        self.figures = figures


def test_both_run_the_same_course_and_are_judged(course):
    pytest.importorskip("accelerate")
    ours, theirs = Scribe(), Scribe()
    run_ours(course, ours, ALONE)
    run_trainer(course, theirs, ALONE)
    assert ours.losses == pytest.approx(theirs.losses, abs=1e-5)
    for scribe in (ours, theirs):
        assert scribe.steps == course.length == 8
        assert [steps for steps, _ in scribe.turns] == [2, 5, 8]
        assert list(scribe.figures) == ["matthews", "accuracy"]
        assert all(each.seconds > 0 for _, each in scribe.turns[1:])


def test_their_network_says_the_same(course):
    pytest.importorskip("transformers")
    mine = _our_run(course, ALONE)
    encoded = mine.prepared.judge.encoded
    batch = encoded.sequences.batch(np.arange(4), mine.prepared.judge.encoder.pad_id)
    said = TheirSession(their_model(mine), "fp32").run("logits", batch)
    assert said == pytest.approx(mine.session.run("logits", batch), abs=1e-5)


def test_their_examples_are_ours_but_for_the_padding(course):
    encoded = course.prepared().train
    rows = Padded(encoded, 48, 0)
    assert len(rows) == len(encoded) == 32
    for number, length in enumerate(encoded.sequences.lengths):
        each = rows[number]
        assert each["input_ids"].shape == (48,)
        assert each["attention_mask"].sum() == length
        own: Batch = encoded.sequences.batch([number], 0)
        assert each["input_ids"][:length].tolist() == own.ids[0].tolist()
        assert each["labels"] == encoded.targets[number]


def test_the_command(run, glue_data, tiny_checkpoint):  # noqa: F811
    pytest.importorskip("accelerate")
    status, out, _ = run(
        "bench", "finetune", "--data", glue_data, "--task", "cola", "--model", tiny_checkpoint,
        "--examples", 32, "--rounds", 1, "--batch-size", 16, "--padded-to", 32,
    )  # fmt: skip
    assert status == 0
    heads, one, other, last = out.splitlines()
    assert heads.split()[:3] == ["examples/s", "slowest", "fastest"]
    report = json.loads(last)
    assert [one.split()[0], other.split()[0]] == [OURS, TRAINER]
    for each in report["results"]:
        assert each["slowest"] <= each["examples_per_second"] <= each["fastest"]
        assert -1 <= each["figures"]["matthews"] <= 1
    ours, theirs = (each["examples_per_second"] for each in report["results"])
    assert report["ratios"] == {TRAINER: pytest.approx(ours / theirs)}
    assert report["same_computation"] is True
    assert 0 < report["accuracy_noise"] < 0.2


def test_wrong_usage(glue_data):
    with pytest.raises(InputError, match="stsb is a task of kind regress"):
        finetune_course("stsb", str(glue_data))
    with pytest.raises(InputError, match="no train split of sst2"):
        finetune_course("sst2", str(glue_data))
