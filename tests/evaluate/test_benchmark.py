"""The benchmark of pre-training: its arithmetic, its fairness, its command."""

import io
import json
import os
import sys
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bert_mobile.cli import main
from bert_mobile.errors import ArtifactError, RunError
from bert_mobile.evaluate import benchmark as subject
from bert_mobile.evaluate import contestants, turns
from bert_mobile.evaluate.benchmark import benchmark_recipe, flop_per_token, matrix_product_peak
from bert_mobile.evaluate.contestants import (
    Course,
    endless,
    huggingface_inputs,
    run_ours,
    run_trainer,
    their_model,
)
from bert_mobile.evaluate.turns import OURS, TRAINER, Round, Stopwatch
from bert_mobile.model.config import BertConfig
from bert_mobile.train.devices import World
from bert_mobile.train.objective import NO_TARGET
from bert_mobile.train.pretrain import Pretraining
from bert_mobile.train.recipe import Phase, Recipe
from bert_mobile.train.sitting import Sitting
from bert_mobile.train.state import Position

LENGTH, ROWS = 32, 4
CPU = torch.device("cpu")
ALONE = World(0, 1, CPU)
NANO = "micro"
WORDS = ("--variant", NANO, "--sequence-length", LENGTH, "--batch-size", ROWS)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setitem(subject.PRODUCTS, "cpu", (128,))


@pytest.fixture(scope="module")
def recipe(tiny_corpus) -> Recipe:
    return benchmark_recipe(
        corpus=str(tiny_corpus), variant=NANO, sequence_length=LENGTH, batch_size=ROWS
    )


@pytest.fixture
def pretraining(recipe, tmp_path) -> Pretraining:
    return Pretraining(endless(recipe, 1), tmp_path, ALONE, Sitting())


@pytest.fixture
def batch(pretraining):
    with pretraining.feed(Position()) as feed:
        return feed.next()[0]


class Scribe:
    """A referee that lets everything pass and writes it down."""

    def __init__(self):
        self.losses, self.steps, self.turns = [], 0, []

    def ready(self, first_loss):
        self.losses.append(first_loss)

    def stepped(self):
        self.steps += 1

    def turn(self, finished):
        self.turns.append((self.steps, finished))


@pytest.fixture
def run(capsys, monkeypatch):
    """Return a function that runs a command line in this process: status, output, errors."""

    def run(*words):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


# --- arithmetic ---------------------------------------------------------------------------------


def test_flops_are_those_that_torch_counts(pretraining, batch):
    shares = torch.ones(2)
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:  # the other kernels compute some things twice
        pretraining.objective(*batch[:-1], shares)[0].backward()
    asked = len(batch.targets) // ROWS
    expected = flop_per_token(pretraining.model.config, LENGTH, asked) * LENGTH * ROWS
    assert counter.get_total_flops() == pytest.approx(expected, rel=1e-12)


def test_flops_of_bert_base_that_is_asked_for_all_tokens():
    layers, attention = 84_934_656, 12 * 12 * 512 * 768
    heads = (511 * (768 * 768 + 768 * 30_000) + 768 * 768 + 2 * 768) / 512
    found = flop_per_token(BertConfig(12, 768, 12, 3072), 512, 511)
    assert found == pytest.approx(6 * (layers + heads) + attention, rel=1e-12)


def test_the_peak_is_a_rate():
    assert 1e6 < matrix_product_peak(CPU, torch.float32, sizes=(64, 128)) < 1e14


# --- fairness -----------------------------------------------------------------------------------


def test_a_network_of_theirs_says_the_same_of_the_same_batch(pretraining, batch):
    transformers = pytest.importorskip("transformers")
    theirs = their_model(pretraining).eval()
    assert isinstance(theirs, transformers.BertForPreTraining)
    with torch.no_grad():
        loss = theirs(**huggingface_inputs(batch)).loss.item()
        ours = contestants._our_first_loss(pretraining)
    assert loss == pytest.approx(ours, abs=1e-5)


def test_their_labels_are_our_questions(batch):
    inputs = huggingface_inputs(batch)
    asked, _, real = batch.counts
    labels = inputs["labels"]
    assert labels.shape == inputs["input_ids"].shape == (ROWS, LENGTH)
    assert (labels != NO_TARGET).sum() == asked
    assert labels.flatten()[batch.positions[:asked]].tolist() == batch.targets[:asked].tolist()
    assert inputs["attention_mask"].sum() == real


def test_both_run_the_same_course(recipe):
    pytest.importorskip("accelerate")
    course = Course(recipe, rounds=2, steps=2, settling=1, warm_up=1)
    course = replace(course, recipe=endless(recipe, course.length))
    ours, theirs = Scribe(), Scribe()
    run_ours(course, ours, ALONE)
    run_trainer(course, theirs, ALONE, compiled=False)
    assert ours.losses == pytest.approx(theirs.losses, abs=1e-5)
    for scribe in (ours, theirs):
        assert [steps for steps, _ in scribe.turns] == [1, 4, 7]
        assert scribe.steps == course.length == 7
    mine, theirs_too = ([each for _, each in scribe.turns[1:]] for scribe in (ours, theirs))
    assert [each.tokens for each in mine] == [each.tokens for each in theirs_too]
    assert all(0 < each.waited < each.seconds for each in mine)


def test_the_stopwatch_times_nothing_but_the_timed_steps(recipe, monkeypatch):
    course = Course(recipe, rounds=2, steps=3, settling=2, warm_up=4)
    clock = iter([10.0, 16.0, 100.0, 103.0])
    monkeypatch.setattr(turns.time, "perf_counter", lambda: next(clock))
    scribe = Scribe()
    watch = Stopwatch(course, scribe, CPU)
    for step in range(1, course.length + 1):
        watch.stepped(10 * step, 0.5 * step)
    assert scribe.turns == [(4, None), (9, Round(30, 6.0, 1.5)), (14, Round(30, 3.0, 1.5))]
    assert scribe.turns[1][1].tokens_per_second == 5.0


# --- the command --------------------------------------------------------------------------------


def test_json_has_both_sides(run, tiny_corpus):
    pytest.importorskip("accelerate")
    words = ("--steps", 1, "--rounds", 2, "--json")
    status, out, _ = run("bench", "pretrain", "--corpus", tiny_corpus, *WORDS, *words)
    assert status == 0
    report = json.loads(out)
    assert [result["name"] for result in report["results"]] == [OURS, TRAINER]
    for result in report["results"]:
        assert len(result["rounds"]) == 2
        assert result["slowest"] <= result["tokens_per_second"] <= result["fastest"]
        speed = result["tokens_per_second"] * report["card"]["flop_per_token"]
        assert result["utilisation"] == pytest.approx(
            speed / report["card"]["peak_flop_per_second"]
        )
    ours, theirs = (result["tokens_per_second"] for result in report["results"])
    assert report["ratios"] == {TRAINER: pytest.approx(ours / theirs)}
    assert report["same_computation"] is True
    assert report["notes"] == []


def test_without_transformers_ours_is_measured_alone(run, tiny_corpus, monkeypatch):
    monkeypatch.setattr(subject, "find_spec", lambda _name: None)
    words = ("--steps", 1, "--rounds", 1)
    status, out, err = run("bench", "pretrain", "--corpus", tiny_corpus, *WORDS, *words)
    assert status == 0
    assert err == "note: no comparison: transformers is not installed; pip install transformers\n"
    card, results = out.split("\n\n")
    assert "flop per token" in card
    assert f"\n{OURS} " in results
    assert TRAINER not in results


def test_a_recipe_gives_its_first_phase(tiny_corpus, tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(
        'variant = "mini"\ncorpus = "elsewhere"\nhours = 1\ndropout = 0.0\n'
        "[[phases]]\nshare = 0.9\nsequence_length = 64\nbatch_size = 16\n"
        "[[phases]]\nshare = 0.1\nsequence_length = 512\nbatch_size = 4\n"
    )
    recipe = benchmark_recipe(file, corpus=str(tiny_corpus), batch_size=8)
    assert recipe.phases == (Phase(1.0, 64, 8),)
    assert (recipe.variant, recipe.corpus, recipe.dropout) == ("mini", str(tiny_corpus), 0.0)
    endlessly = endless(recipe, 20)
    assert (endlessly.steps, endlessly.hours) == (21, None)


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ((), "neither a recipe nor a corpus is given", "bert-mobile bench pretrain --corpus"),
        (("nowhere.toml",), "nowhere.toml cannot be read", "give a recipe file"),
        (("--corpus", "nowhere"), "manifest.json does not exist", ""),
        (("--corpus", "c", "--rounds", "0"), "0 is not in the range", "bert-mobile bench pretrain"),
        (("--corpus", "c", "--masking-rate", "2"), "masking_rate is 2", "correct the"),
        (("--corpus", "c", "--sequence-length", "8"), "sequence_length is 8", "correct the"),
        (("--corpus", "c", "--batch-size", "999999"), "fewer than a batch", "build the corpus"),
    ],
)
def test_wrong_usage_and_input(run, tiny_corpus, words, message, hint):
    words = [tiny_corpus if word == "c" else word for word in words]
    status, _, err = run("bench", "pretrain", *words)
    assert status == 2
    first, second = err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert second.startswith(f"hint: {hint}")


class Player:
    """Stands for a contestant's process: it is lost in the round of that number."""

    def __init__(self, name, lost_in=99):
        self.name, self.lost_in, self.first_loss = name, lost_in, 11.0
        self.rounds, self.is_lost, self.ran = [], False, 0

    def run(self, _bar):
        if self.ran == self.lost_in:
            self.is_lost = True
            raise RunError("it is lost", hint="do that")
        if self.ran:
            self.rounds.append(Round(100, 0.5, 0.0))
        ORDER.append(self.name)
        self.ran += 1


ORDER = []


@pytest.fixture
def stage(monkeypatch):
    """Return a function that lets players run a course in place of processes."""

    def stage(recipe, *players):
        ORDER.clear()
        monkeypatch.setattr(subject, "started", lambda *_: nullcontext(list(players)))
        card = subject.CostCard("d", "p", "v", 32, 4, 5, 2.0, 800.0, {})
        return subject.benchmark(Course(recipe, 3, 1, 0, 1), card)

    return stage


def test_they_take_turns(stage, recipe):
    report = stage(recipe, Player("A"), Player("B"))
    assert "".join(ORDER) == "BA" + "ABBAAB"
    assert report.results[0].utilisation == 200 * 2 / 800
    assert report.ratios == {"B": 1.0}


def test_another_that_is_lost_is_left_out_with_a_note(stage, recipe):
    report = stage(recipe, Player(OURS), Player("B", lost_in=2), Player("C"))
    assert [result.name for result in report.results] == [OURS, "C"]
    assert report.notes == ["B is left out: it is lost"]


def test_without_ours_there_is_no_result(stage, recipe):
    with pytest.raises(RunError, match="it is lost"):
        stage(recipe, Player(OURS, lost_in=1), Player("B"))


def test_other_losses_are_no_fair_comparison(stage, recipe):
    cheat = Player("B")
    cheat.first_loss = 10.0
    report = stage(recipe, Player(OURS), cheat)
    assert report.same_computation is False
    assert report.notes == ["the first losses are 1 apart: no fair comparison"]


def test_the_error_of_a_process_is_raised_here(recipe, tmp_path):
    gone = replace(recipe, corpus=str(tmp_path))
    card = subject.CostCard("d", "p", "v", 32, 4, 5, 2.0, 800.0, {})
    with pytest.raises(ArtifactError, match=r"manifest\.json does not exist"):
        subject.benchmark(Course(gone, 1, 1, 0, 1), card, with_transformers=False)


def test_a_process_that_dies_is_an_error(recipe, monkeypatch):
    monkeypatch.setattr(subject, "compete", os._exit)  # given a name, it fails at once
    card = subject.CostCard("d", "p", "v", 32, 4, 5, 2.0, 800.0, {})
    with pytest.raises(RunError, match="the process of bert-mobile ended with status 1"):
        subject.benchmark(Course(recipe, 1, 1, 0, 1), card, with_transformers=False)
