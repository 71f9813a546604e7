"""Whole runs of a tiny network: what they learn and leave, and that nothing stops them for good."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import pipeline

from bert_mobile.carbon import EmissionSettings
from bert_mobile.corpus import build_corpus
from bert_mobile.errors import ArtifactError, InputError, RunError
from bert_mobile.files import sha256
from bert_mobile.train import state
from bert_mobile.train.devices import World
from bert_mobile.train.objective import Objective
from bert_mobile.train.pretrain import Pretraining, pretrain
from bert_mobile.train.recipe import Phase
from bert_mobile.train.record import read_metrics
from bert_mobile.train.sitting import Sitting
from bert_mobile.train.state import DamagedCheckpointWarning, Position
from tests.train.runs import as_toml, assert_same_weights, crash, stop_after

ROOT = Path(__file__).parents[2]
ALONE = World(0, 1, torch.device("cpu"))

KILLED_WHILE_SAVING = """
import os, signal, sys
from pathlib import Path
from bert_mobile import checkpoint
from bert_mobile.cli import main
from bert_mobile.variants import VARIANTS
from tests.train.conftest import NANO

recipe, out, step, file = sys.argv[1:]
VARIANTS[NANO.name] = NANO
write = checkpoint.write_tensors

def write_half(path, tensors, **options):
    write(path, tensors, **options)
    if step in str(path) and path.name == file:
        os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

checkpoint.write_tensors = write_half
main(["pretrain", recipe, "--out", out])
"""

HOLDING = """
import multiprocessing, sys, time
from pathlib import Path
from bert_mobile.files import held

with held(Path(sys.argv[1])):
    # A child that outlives its killed parent, as batch makers do for a moment, has no lock.
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,), daemon=True).start()
    print("held", flush=True)
    time.sleep(60)
"""

INTERRUPTED_RUN = """
import json, os, sys
from pathlib import Path
from bert_mobile.cli import main
from bert_mobile.train.feed import Feed
from bert_mobile.variants import VARIANTS
from tests.train.conftest import NANO

recipe, out, stop_at, number = sys.argv[1:]
VARIANTS[NANO.name] = NANO
step, batch = 0, Feed.next

def batch_until_the_signal(self):
    global step
    if step == int(stop_at):
        os.kill(os.getpid(), int(number))
    step += 1
    return batch(self)

Feed.next = batch_until_the_signal
main(["pretrain", recipe, "--out", out])
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory, recipe):
    """A run of `recipe()` that nothing disturbed. Never write to it."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    pretrain(recipe(), out)
    return out


@pytest.fixture(autouse=True)
def undrawn(finished, monkeypatch):
    """Leave out the pictures of all other runs, which take longer than the runs."""
    draw = "bert_mobile.train.pretrain.draw_curve"
    monkeypatch.setattr(draw, lambda folder, _title: folder / "curve.png")


def checkpoints(run):
    return [path.name for path in state.saved(run)]


def no_space(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def broken_off(recipe, tmp_path, monkeypatch):
    """A run that crashed after 10 of 12 steps, with checkpoints of steps 4 and 8."""
    with monkeypatch.context() as patch:
        stop_after(patch, 10, crash)
        with pytest.raises(RuntimeError, match="the power went"):
            pretrain(recipe(), tmp_path / "run")
    assert [path.name for path in state.saved(tmp_path / "run")] == [
        "step-00000004",
        "step-00000008",
    ]
    return tmp_path / "run"


# --- what a run leaves --------------------------------------------------------------------------


def test_a_run_learns(recipe, tmp_path):
    settings = recipe(steps=60, phases=(Phase(1.0, 32, 16),), save_every=100, dropout=0.0)
    report = pretrain(settings, tmp_path / "run")
    losses = [
        line["masked_token_loss"] for line in read_metrics(tmp_path / "run") if "loss" in line
    ]
    assert len(losses) == 60
    first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    assert last < first - 0.5, f"{first:.3f} → {last:.3f}"
    assert report.metrics["held_out_masked_token_loss"] < first - 0.5


def test_the_artefacts_are_there(finished, recipe, tiny_corpus):
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "checkpoints", "config.json", "curve.png", "metrics.jsonl", "model.safetensors",
        "provenance.json", "recipe.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt",
    }  # fmt: skip
    record = json.loads((finished / "provenance.json").read_text())
    assert record["recipe"] == json.loads(json.dumps(asdict(recipe())))
    assert record["corpus"] == {"manifest_sha256": sha256(tiny_corpus / "manifest.json")}
    assert record["figures"]["step"] == 12
    assert 0 <= record["figures"]["held_out_masked_token_accuracy"] <= 1
    for name, digest in record["files"].items():
        assert sha256(finished / name) == digest
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= record["files"].keys()
    assert (finished / "curve.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert sha256(finished / "tokenizer.json") == sha256(tiny_corpus / "tokenizer.json")


def test_the_metrics_tell_the_run(finished):
    lines = read_metrics(finished)
    trained = [line for line in lines if "loss" in line]
    judged = [line for line in lines if "held_out_masked_token_loss" in line]
    assert [line["step"] for line in trained] == list(range(1, 13))
    assert [line["step"] for line in judged] == [6, 12]
    assert [line["phase"] for line in trained] == [0] * 9 + [1] * 3
    tokens = [line["tokens"] for line in trained]
    assert tokens == sorted(set(tokens))


def test_transformers_answers_with_the_result(finished):
    answers = pipeline("fill-mask", model=str(finished), device="cpu")("the [MASK] of the")
    assert len(answers) == 5
    assert all(0 < answer["score"] < 1 for answer in answers)


def test_only_two_checkpoints_are_kept_and_none_is_a_pickle(finished):
    assert checkpoints(finished) == ["step-00000008", "step-00000012"]
    files = [path for path in finished.rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        if path.name == ".lock":
            assert path.read_bytes() == b""
        elif path.suffix == ".safetensors":
            assert load_file(path)
        else:
            assert path.suffix in {".json", ".jsonl", ".png", ".txt"}
            # the first bytes of torch.save's zip and of a bare pickle
            assert not path.read_bytes().startswith((b"PK", b"\x80")), path


def test_the_seed_decides_everything(recipe, finished, tmp_path):
    pretrain(recipe(), tmp_path / "again")
    assert_same_weights(tmp_path / "again", finished)
    pretrain(recipe(seed=2), tmp_path / "other")
    with pytest.raises(AssertionError, match="differs by"):
        assert_same_weights(tmp_path / "other", finished)


# --- going on -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "resumed_from"), [(signal.SIGINT, 1, 7), (signal.SIGKILL, -9, 4)]
)
def test_an_interrupted_run_ends_with_the_same_weights(
    recipe, finished, tmp_path, number, status, resumed_from
):
    settings, out = recipe(), tmp_path / "run"
    (tmp_path / "recipe.toml").write_text(as_toml(settings))
    command = [str(tmp_path / "recipe.toml"), str(out), "6", str(int(number))]
    command = [sys.executable, "-c", INTERRUPTED_RUN, *command]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    if number == signal.SIGINT:
        assert "error: interrupted after step 7; a checkpoint of step 7 is in" in done.stderr
        assert "hint: go on with the same command and --resume auto" in done.stderr
    report = pretrain(settings, out, resume=True)
    assert report.resumed_from == resumed_from
    assert_same_weights(out, finished)
    steps = [line["step"] for line in read_metrics(out) if "loss" in line]
    assert steps == list(range(1, 13))


@pytest.mark.slow
@pytest.mark.parametrize("file", ["optimizer.safetensors", "model.safetensors"])
def test_a_run_killed_while_it_saves_ends_with_the_same_weights(recipe, finished, tmp_path, file):
    settings, out = recipe(), tmp_path / "run"
    (tmp_path / "recipe.toml").write_text(as_toml(settings))
    command = [str(tmp_path / "recipe.toml"), str(out), "step-00000008", file]
    command = [sys.executable, "-c", KILLED_WHILE_SAVING, *command]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    assert checkpoints(out) == ["step-00000004"]
    assert (out / "checkpoints" / ".step-00000008.part").is_dir()
    assert pretrain(settings, out, resume=True).resumed_from == 4
    assert_same_weights(out, finished)
    assert checkpoints(out) == ["step-00000008", "step-00000012"]
    assert not list(out.rglob("*.part"))


@pytest.mark.parametrize("changes", [{"optimizer": "muon"}, {"average_decay": 0.9}])
def test_all_that_an_optimizer_remembers_is_restored(recipe, tmp_path, monkeypatch, changes):
    pretrain(recipe(**changes), tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, 10, crash)
        with pytest.raises(RuntimeError, match="the power went"):
            pretrain(recipe(**changes), tmp_path / "run")
    assert pretrain(recipe(**changes), tmp_path / "run", resume=True).resumed_from == 8
    assert_same_weights(tmp_path / "run", tmp_path / "whole")


def test_sittings_add_up_to_one_run(recipe, finished, tmp_path):
    for _ in range(20):
        sitting = Sitting(minutes=1e-9)  # one step long
        report = pretrain(recipe(), tmp_path / "run", resume=True, sitting=sitting)
        if report.metrics["step"] == 12:
            break
    assert report.resumed_from == 11
    assert_same_weights(tmp_path / "run", finished)


def test_a_run_goes_on_elsewhere_from_its_weights_alone(recipe, tmp_path):
    settings = recipe(rewarm_steps=2, initialize_from=None)
    pretrain(settings, tmp_path / "here", sitting=Sitting(minutes=1e-9))
    published = shutil.move(tmp_path / "here", tmp_path / "published")
    shutil.rmtree(published / "checkpoints")
    report = pretrain(settings, tmp_path / "there", resume=published)
    assert report.resumed_from == 1
    lines = {each["step"]: each for each in read_metrics(tmp_path / "there") if "loss" in each}
    assert sorted(lines) == list(range(2, 13))
    rates = [lines[step]["learning_rate"] / settings.learning_rate for step in (2, 3, 4)]
    assert rates == pytest.approx([11 / 12 / 2, 10 / 12, 9 / 12])
    record = json.loads((tmp_path / "there" / "provenance.json").read_text())
    assert record["run"]["position"]["rewarmed_at"] == 1
    assert record["emissions"]["sittings"] == 2
    with pytest.raises(InputError, match="published was begun with another recipe"):
        pretrain(replace(settings, seed=3), tmp_path / "other", resume=published)
    with pytest.raises(InputError, match="holds a run already"):
        pretrain(settings, tmp_path / "there", resume=published)


def test_a_run_from_weights_alone_that_is_killed_goes_on_with_auto(
    recipe, finished, tmp_path, monkeypatch
):
    settings = recipe()
    with monkeypatch.context() as patch:
        stop_after(patch, 0, crash)
        patch.setattr("bert_mobile.train.state._position", at_step_six)
        with pytest.raises(RuntimeError, match="the power went"):
            pretrain(settings, tmp_path / "run", resume=finished)
    assert checkpoints(tmp_path / "run") == ["step-00000006"]
    assert pretrain(settings, tmp_path / "run", resume=True).resumed_from == 6


def at_step_six(_counters, _where):
    return Position(step=6, phase_step=6, tokens=100)


def test_a_folder_that_a_run_was_killed_in_as_it_began_is_taken(recipe, finished, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / ".recipe.json.part").write_text("{")
    assert pretrain(recipe(), tmp_path / "run", resume=True).resumed_from is None
    assert_same_weights(tmp_path / "run", finished)


def test_what_crashes_left_is_deleted(recipe, broken_off):
    leftover = broken_off / "checkpoints" / ".step-00000007.part"
    leftover.mkdir()
    (broken_off / "checkpoints" / "step-00000008" / "model.safetensors").unlink()
    with pytest.warns(DamagedCheckpointWarning):
        pretrain(recipe(), broken_off, resume=True, sitting=Sitting(minutes=1e-9))
    assert not leftover.exists()
    assert checkpoints(broken_off) == ["step-00000004", "step-00000005"]


def test_weights_that_are_damaged_or_tell_of_no_run_are_refused(
    recipe, finished, tiny_checkpoint, tmp_path
):
    with pytest.raises(ArtifactError, match="tells of no run to go on with"):
        pretrain(recipe(), tmp_path / "run", resume=tiny_checkpoint)
    damaged = shutil.copytree(finished, tmp_path / "damaged")
    os.truncate(damaged / "model.safetensors", 1_000)
    with pytest.raises(ArtifactError, match=r"model\.safetensors is missing or damaged"):
        pretrain(recipe(), tmp_path / "run", resume=damaged)
    assert not (tmp_path / "run" / "recipe.json").exists()


def test_a_crashed_run_ends_with_the_same_weights(recipe, finished, broken_off):
    assert pretrain(recipe(), broken_off, resume=True).resumed_from == 8
    assert_same_weights(broken_off, finished)


def test_a_run_killed_before_its_end_was_written_is_finished(
    recipe, finished, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(Pretraining, "finish", lambda *_: crash())
        with pytest.raises(RuntimeError):
            pretrain(recipe(), tmp_path / "run")
    report = pretrain(recipe(), tmp_path / "run", resume=True)
    assert report.resumed_from == 12
    assert report.metrics["step"] == 12
    assert "held_out_masked_token_loss" in report.metrics
    assert_same_weights(tmp_path / "run", finished)


def test_resuming_where_nothing_began_begins(recipe, finished, tmp_path):
    assert pretrain(recipe(), tmp_path / "run", resume=True).resumed_from is None
    assert_same_weights(tmp_path / "run", finished)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "training.json"])
def test_a_damaged_newest_checkpoint_is_passed_over(recipe, finished, broken_off, name):
    path = broken_off / "checkpoints" / "step-00000008" / name
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    with pytest.warns(DamagedCheckpointWarning, match=f"{name} is missing or damaged"):
        report = pretrain(recipe(), broken_off, resume=True)
    assert report.resumed_from == 4
    assert_same_weights(broken_off, finished)


def test_a_run_without_a_whole_checkpoint_is_refused(recipe, broken_off):
    for folder in state.saved(broken_off):
        (folder / "provenance.json").unlink()
    with (
        pytest.warns(DamagedCheckpointWarning),
        pytest.raises(ArtifactError, match="none of the 2 checkpoints"),
    ):
        pretrain(recipe(), broken_off, resume=True)


def test_another_recipe_or_corpus_is_refused(recipe, broken_off, tiny_corpus, tmp_path):
    with pytest.raises(InputError, match="was begun with another recipe"):
        pretrain(recipe(learning_rate=1e-3), broken_off, resume=True)
    other = shutil.copytree(tiny_corpus, tmp_path / "corpus")
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest))  # without its indentation
    run = Pretraining(recipe(), broken_off, ALONE, Sitting())
    moved = replace(run.identity, corpus=sha256(other / "manifest.json"))
    with pytest.raises(InputError, match="was begun with another corpus"):
        state.resume(broken_off, moved, run.model, [torch.optim.AdamW(run.parameters)])


def test_an_existing_run_is_not_written_over(recipe, finished, broken_off):
    for folder in (finished, broken_off):
        before = sorted(path.name for path in folder.rglob("*"))
        with pytest.raises(InputError, match="holds a run already") as caught:
            pretrain(recipe(), folder)
        assert "--resume auto" in caught.value.hint
        assert sorted(path.name for path in folder.rglob("*")) == before


# --- what can go wrong --------------------------------------------------------------------------


def test_a_loss_that_is_no_number_ends_the_run(recipe, tmp_path, monkeypatch):
    forward = Objective.forward
    steps = count()

    def spoilt(self, *batch):
        return forward(self, *batch) * (float("nan") if next(steps) == 6 else 1)

    monkeypatch.setattr(Objective, "forward", spoilt)
    with pytest.raises(RunError, match=r"the loss is nan and .* at step 6; .* is of step 4"):
        pretrain(recipe(), tmp_path / "run")
    assert checkpoints(tmp_path / "run") == ["step-00000004"]


@pytest.mark.parametrize("writer", ["write_tensors", "copy_tokenizer", "write_json"])
def test_a_full_disk_leaves_the_older_checkpoint(recipe, finished, tmp_path, monkeypatch, writer):
    with monkeypatch.context() as patch:
        stop_after(patch, 7, lambda: patch.setattr(f"bert_mobile.checkpoint.{writer}", no_space))
        with pytest.raises(RunError, match=r"No space left on device \(\d+ MB free there\)"):
            pretrain(recipe(), tmp_path / "run")
    assert checkpoints(tmp_path / "run") == ["step-00000004"]
    assert pretrain(recipe(), tmp_path / "run", resume=True).resumed_from == 4
    assert_same_weights(tmp_path / "run", finished)


def test_a_second_run_in_the_same_folder_is_refused(recipe, broken_off):
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(broken_off / "checkpoints")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "held\n"
    with pytest.raises(InputError, match="another program is"):
        pretrain(recipe(), broken_off, resume=True)
    other.kill()
    other.wait()  # not for the end of its output, which its child has too
    assert pretrain(recipe(), broken_off, resume=True).resumed_from == 8


def test_a_corpus_smaller_than_a_batch_is_refused(recipe, tmp_path):
    with pytest.raises(InputError, match=r"has \d+ examples of 32 tokens, fewer than a batch of"):
        pretrain(recipe(phases=(Phase(1.0, 32, 5_000),)), tmp_path / "run")


def test_a_held_out_split_that_is_too_small_is_done_without(
    recipe, tiny_texts, tiny_tokenizer, tmp_path
):

    build_corpus([tiny_texts], tmp_path / "corpus", tokenizer=tiny_tokenizer, held_out=0)
    report = pretrain(recipe(corpus=str(tmp_path / "corpus"), steps=2), tmp_path / "run")
    assert report.metrics["step"] == 2
    assert not any(name.startswith("held_out") for name in report.metrics)


def test_sequences_longer_than_the_positions_are_refused(recipe, tmp_path):
    with pytest.raises(InputError, match="sequence_length 513 is longer than the 512 positions"):
        pretrain(recipe(phases=(Phase(1.0, 513, 2),)), tmp_path / "run")


# --- a warm start -------------------------------------------------------------------------------


def test_a_warm_start_begins_with_the_parents_weights(recipe, finished, tmp_path):
    settings = recipe(initialize_from=str(finished))
    run = Pretraining(settings, tmp_path, ALONE, Sitting())
    assert run.begin([], resume=False, settings=EmissionSettings()) is None
    ours = run.model.to_huggingface()
    for name, tensor in load_file(finished / "model.safetensors").items():
        assert torch.equal(torch.from_numpy(ours[name]), tensor), name
    pretrain(replace(settings, steps=1), tmp_path / "run")
    record = json.loads((tmp_path / "run" / "provenance.json").read_text())
    [parent] = record["parents"]
    assert parent["name"] == finished.name
    assert parent["sha256"] == sha256(finished / "model.safetensors")
    assert parent["figures"]["step"] == recipe().steps


def test_a_start_of_another_shape_is_refused(recipe, tiny_checkpoint, tmp_path):
    with pytest.raises(InputError, match="has hidden_size 64, the recipe's nano has 32"):
        pretrain(recipe(initialize_from=str(tiny_checkpoint)), tmp_path / "run")


def test_a_start_with_another_tokenizer_is_refused(recipe, finished, tmp_path):
    start = shutil.copytree(finished, tmp_path / "start")
    text = (start / "tokenizer.json").read_text(encoding="utf-8")
    assert '"the":' in text
    (start / "tokenizer.json").write_text(text.replace('"the":', '"hte":'), encoding="utf-8")
    with pytest.raises(InputError, match="have different tokenizers") as caught:
        pretrain(recipe(initialize_from=str(start)), tmp_path / "run")
    assert "corpus tokenize" in caught.value.hint
