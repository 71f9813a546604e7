"""Sweeps: what their files may say, that they go on where they stopped, and what they leave."""

import csv
import json
import re

import pytest

from bert_mobile.cli import main
from bert_mobile.errors import InputError, RunError
from bert_mobile.train import pretrain as pretraining
from bert_mobile.train import sweep as sweeping
from bert_mobile.train import sweep_report
from bert_mobile.train.loop import DivergedError
from bert_mobile.train.sweep import read_sweep, sweep

BASELINE = """
variant = "nano"
corpus = "{corpus}"
steps = 6
learning_rate = 3e-3
warmup_steps = 2
log_every = 1
evaluate_every = 3
evaluation_batches = 2
evaluation_batch_size = 4
evaluation_sequence_length = 32
save_every = 2
precision = "fp32"
"""

PHASES = """
[[{0}phases]]
share = 0.5
sequence_length = 32
batch_size = 8
[[{0}phases]]
share = 0.5
sequence_length = 48
batch_size = 4
"""

VARIATIONS = """
[[variations]]
group = "masking rate"
name = "mask-30"
change.phases.masking_rate = 0.3

[[variations]]
group = "optimiser"
name = "too-fast"
change.learning_rate = 1e30
"""


@pytest.fixture
def write(tmp_path, tiny_corpus):
    """Return a function that writes a sweep file: two seeds of a baseline and its variations."""

    def write(variations=VARIATIONS):
        head = "seeds = [1, 2]\n[baseline]" + BASELINE.format(corpus=tiny_corpus)
        path = tmp_path / "sweep.toml"
        path.write_text(head + PHASES.format("baseline.") + variations)
        return path

    return write


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Leave out the pictures, which take longer than the runs; one sweep has its own."""
    monkeypatch.setattr(pretraining, "draw_curve", lambda folder, _title: folder / "curve.png")
    monkeypatch.setattr(sweep_report, "draw_sweep", lambda _report, path: path)


def variation(change, name="x", more=""):
    return f'[[variations]]\ngroup = "g"\nname = "{name}"\n{change}\n{more}\n'


def row(report, name):
    return next(each for each in report["runs"] if each["name"] == name)


# --- the file -----------------------------------------------------------------------------------


def test_a_field_of_every_phase_and_other_phases(write):
    replaced = (
        "change.phases = [{ share = 0.8, masking_rate = 0.4 }, { share = 0.1 }, { share = 0.1 }]"
    )
    every = variation("change.phases.masking_rate = 0.3", "every")
    *_, one, other = read_sweep(write(every + variation(replaced, "replaced")))
    assert [p.masking_rate for p in one.recipe.phases] == [0.3, 0.3]
    assert one.changes == {"masking_rate": ["0.15", "0.3"]}
    assert other.changes["masking_rate"] == [
        "0.15",
        "0.4 for 80%, then 0.15 for 10%, then 0.15 for 10%",
    ]
    shapes = [(p.share, p.sequence_length, p.masking_rate) for p in other.recipe.phases]
    assert shapes == [(0.8, 32, 0.4), (0.1, 48, 0.15), (0.1, 48, 0.15)]


def test_seeds_of_the_baseline_and_of_a_variation(write):
    runs = read_sweep(write(variation("change.dropout = 0.2", more="seeds = [5, 6]")))
    assert [(run.name, run.variation, run.group, run.recipe.seed) for run in runs] == [
        ("baseline", "baseline", "baseline", 1),
        ("baseline-seed-2", "baseline", "baseline", 2),
        ("x", "x", "g", 5),
        ("x-seed-6", "x", "g", 6),
    ]


def test_a_variation_may_have_another_budget(write):
    assert read_sweep(write(variation("change.tokens = 900")))[-1].recipe.steps is None


def test_the_baseline_may_be_a_recipe_of_its_own(tmp_path, tiny_corpus):
    recipe = BASELINE.format(corpus=tiny_corpus) + PHASES.format("")
    (tmp_path / "base.toml").write_text(recipe)
    path = tmp_path / "sweep.toml"
    path.write_text('baseline = "base.toml"\n' + variation("change.dropout = 0.2"))
    assert [run.recipe.dropout for run in read_sweep(path, corpus="other")] == [0.1, 0.2]
    assert read_sweep(path, corpus="other")[0].recipe.corpus == "other"


@pytest.mark.parametrize(
    ("variations", "message"),
    [
        (variation("change.lerning_rate = 1"), "variation 'x': 'lerning_rate' is no field"),
        (variation("change.phases.rate = 1"), "variation 'x', phases: 'rate' is no field"),
        (variation("change.phases = [{ share = 0.5 }]"), "variation 'x': the shares of phases"),
        (variation("change.phases = 3"), "variation 'x': phases is no list of tables"),
        (variation("change.dropout = 2.0"), "variation 'x': dropout is 2.0"),
        (variation("change.dropout = 0.1"), "variation 'x' changes nothing"),
        (variation("change.seed = 4"), "variation 'x' changes corpus or seed"),
        (variation("dropout = 0.2"), "variation 'x': 'dropout' is unknown, expected group"),
        (variation(""), "variation 'x' has no group or no change"),
        (variation("change.dropout = 0.2", "a/b"), "name is 'a/b', expected small letters"),
        (variation("change.dropout = 0.2", "baseline"), "has 'baseline' twice"),
        (variation("change.dropout = 0.2", more="seeds = [1, 1]"), "seeds is [1, 1], expected"),
        ("[variations]\n", "variations is no list of tables"),
        ("[other]\n", "'other' is unknown, expected baseline, seeds, variations"),
    ],
)
def test_mistakes_are_named(write, variations, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read_sweep(write(variations))
    assert caught.value.hint


def test_a_sweep_without_a_baseline_is_refused(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text("seeds = [1]\n")
    with pytest.raises(InputError, match="has no baseline"):
        read_sweep(path)


# --- the runs -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_corpus):
    """A sweep that nothing disturbed, one of its runs without an end. Never write to it."""
    folder = tmp_path_factory.mktemp("sweep")
    head = "seeds = [1, 2]\n[baseline]" + BASELINE.format(corpus=tiny_corpus)
    (folder / "sweep.toml").write_text(head + PHASES.format("baseline.") + VARIATIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretraining, "draw_curve", lambda folder, _title: folder / "curve.png")
        drawn = sweep_report.draw_sweep
        patch.setattr(sweep_report, "draw_sweep", lambda _report, path: path)
        report = sweep(folder / "sweep.toml", folder / "out")
        drawn(report, folder / "out/sweep.png")
    return folder / "out"


def test_every_run_is_a_row_beside_the_baseline(finished):
    report = json.loads((finished / "sweep.json").read_text())
    first, second = (row(report, name)["loss"] for name in ("baseline", "baseline-seed-2"))
    assert report["baseline_loss"] == pytest.approx((first + second) / 2)
    assert report["spread"] == pytest.approx(abs(first - second) / 2**0.5)
    masked = row(report, "mask-30")
    assert masked["status"] == "finished"
    assert masked["difference"] == pytest.approx(masked["loss"] - report["baseline_loss"], abs=1e-5)
    assert masked["spreads"] == pytest.approx(masked["difference"] / report["spread"], abs=0.01)
    assert masked["step"] == 6
    assert masked["tokens"] > 0
    assert masked["tokens_per_second"] > 0
    assert [*masked["held_out"][-1]] == ["tokens", "loss", "top_1", "next_sentence"]
    assert len(masked["held_out"]) == 2
    assert report["torch"]
    assert report["hardware"]


def test_a_loss_that_is_no_number_is_a_row_that_says_so(finished):
    failed = row(json.loads((finished / "sweep.json").read_text()), "too-fast")
    assert failed["status"] == "failed"
    assert "at step" in failed["error"]
    assert "difference" not in failed
    assert "| failed: the loss is" in (finished / "README.md").read_text()


def test_the_table_says_what_was_changed(finished):
    page = (finished / "README.md").read_text()
    assert "4 of 4 runs are done" in page
    assert "bert-mobile sweep " in page
    assert "`nano` for 6 steps: 8 pairs of 32 tokens at 15% then 4 pairs of 48 tokens" in page
    assert "| **masking rate** | mask-30 | masking_rate 0.15 → 0.3 | " in page
    assert "| baseline-seed-2 | seed 2 | " in page
    cells = {line.count("|") for line in page.splitlines() if line.startswith("|")}
    assert cells == {11}


def test_the_training_figures_of_all_runs_are_one_table(finished):
    with (finished / "metrics.csv").open(newline="") as file:
        lines = [*csv.DictReader(file)]
    masked = [line for line in lines if line["run"] == "mask-30"]
    assert [int(line["step"]) for line in masked] == [1, 2, 3, 4, 5, 6]
    assert all(float(line["masked_token_loss"]) > 0 for line in masked)


def test_the_picture_is_drawn(finished):
    assert (finished / "sweep.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_seeds_that_came_less_far_are_drawn_with_the_others():
    def seed(*losses):
        judged = [{"tokens": 1e6 * (n + 1), "loss": loss} for n, loss in enumerate(losses)]
        return {"held_out": judged}

    tokens, losses = sweep_report._curves([seed(5.0, 4.0, 3.0), seed(6.0, 5.0)])
    assert tokens.tolist() == [1.0, 2.0]
    assert losses.tolist() == [[5.0, 4.0], [6.0, 5.0]]


def test_records_are_kept_and_weights_are_not(finished):
    kept = {path.name for path in (finished / "mask-30").iterdir()}
    assert kept == {"recipe.json", "metrics.jsonl", "outcome.json"}  # its curve is not drawn here
    assert not (finished / "too-fast" / "checkpoints").exists()


def test_weights_are_kept_on_demand(write, tmp_path):
    sweep(write(""), tmp_path / "out", keep_weights=True)
    assert (tmp_path / "out/baseline/model.safetensors").is_file()


def stop_in(monkeypatch, run_name, error):
    """Let a run of a sweep stop with an error at its end, its checkpoints written."""
    real = sweeping.pretrain

    def stopping(recipe, folder, **options):
        report = real(recipe, folder, **options)
        if folder.name == run_name:
            raise error
        return report

    monkeypatch.setattr(sweeping, "pretrain", stopping)


def test_an_interrupted_sweep_goes_on(finished, write, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        stop_in(patch, "baseline-seed-2", RunError("interrupted", hint="go on"))
        with pytest.raises(RunError, match="interrupted"):
            sweep(write(), out)
    page = (out / "README.md").read_text()
    assert "1 of 4 runs are done" in page
    assert "| to come |" in page
    began = []
    real = sweeping.pretrain

    def noted(recipe, folder, **options):
        began.append(folder.name)
        return real(recipe, folder, **options)

    monkeypatch.setattr(sweeping, "pretrain", noted)
    report = sweep(write(), out)
    assert began == ["baseline-seed-2", "mask-30", "too-fast"]
    whole = json.loads((finished / "sweep.json").read_text())
    for name in ("baseline", "baseline-seed-2", "mask-30"):
        assert row(report, name)["held_out"] == row(whole, name)["held_out"]


def test_a_changed_file_is_refused(write, tmp_path):
    path = write(variation("change.dropout = 0.2"))
    sweep(path, tmp_path / "out")
    text = path.read_text()
    path.write_text(text.replace("steps = 6", "steps = 7"))
    with pytest.raises(InputError, match="baseline was run with steps 6, the sweep now says 7"):
        sweep(path, tmp_path / "out")
    path.write_text(text.replace("dropout = 0.2", "dropout = 0.3"))
    with pytest.raises(InputError, match=r"x was run with dropout 0\.2"):
        sweep(path, tmp_path / "out")
    path.write_text(text.replace("log_every = 1", "log_every = 2"))  # shapes nothing
    sweep(path, tmp_path / "out")


def test_another_corpus_is_refused(write, tmp_path):
    out = tmp_path / "out"
    sweep(write(""), out)
    outcome = out / "baseline/outcome.json"
    outcome.write_text(json.dumps({**json.loads(outcome.read_text()), "corpus": "another"}))
    with pytest.raises(InputError, match="was run on another corpus"):
        sweep(write(""), out)


def test_an_error_of_the_machine_is_no_row(write, tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise RunError("the disk is full", hint="free some space")

    monkeypatch.setattr(sweeping, "pretrain", full)
    with pytest.raises(RunError, match="the disk is full"):
        sweep(write(), tmp_path / "out")
    assert not list((tmp_path / "out").rglob("outcome.json"))


def test_a_run_that_failed_before_it_was_judged(write, tmp_path, monkeypatch):
    def diverged(*_args, **_options):
        raise DivergedError("the loss is nan", hint="lower the rate")

    monkeypatch.setattr(sweeping, "pretrain", diverged)
    (tmp_path / "out").mkdir()
    report = sweep(write(), tmp_path / "out")
    assert {each["status"] for each in report["runs"]} == {"failed"}
    assert report["baseline_loss"] is None


def test_the_command_prints_a_row_a_run(finished, write, capsys):
    for words in ([], ["--json"]):
        with pytest.raises(SystemExit) as ended:
            main(["sweep", str(write()), "--out", str(finished), *words])  # all of it is done
        assert ended.value.code == 0
    out = capsys.readouterr().out
    assert re.search(r"masking rate +mask-30 +finished", out)
    assert row(json.loads(out.splitlines()[-1]), "too-fast")["status"] == "failed"
