"""What a recipe may say, and what is answered where it says something else."""

import re
import shlex
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from bert_mobile.errors import InputError
from bert_mobile.train.recipe import Phase, read_recipe
from bert_mobile.train.sweep import read_sweep

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "recipes").rglob("*.toml"))
SWEEPS = [path for path in FILES if "baseline" in tomllib.loads(path.read_text(encoding="utf-8"))]
RECIPES = [path for path in FILES if path not in SWEEPS]

GOOD = """
corpus = "corpus"
variant = "micro"
steps = 10
[[phases]]
share = 1
sequence_length = 128
batch_size = 4
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "recipe.toml"
        path.write_text(text)
        return path

    return write


def test_a_recipe_is_read_with_its_defaults(write):
    recipe = read_recipe(write(GOOD))
    assert (recipe.corpus, recipe.variant, recipe.steps) == ("corpus", "micro", 10)
    assert recipe.phases == (Phase(1.0, 128, 4, masking_rate=0.15),)
    assert (recipe.learning_rate, recipe.beta1, recipe.beta2) == (1e-4, 0.9, 0.999)
    assert (recipe.weight_decay, recipe.warmup_steps) == (0.01, 9_000)  # as the card has them


def test_what_is_for_rounding_alone_makes_no_other_run_of_one_without(write):
    recipe = read_recipe(write(GOOD))
    assert replace(recipe, teacher_weight=0.9).fingerprint == recipe.fingerprint
    rounded = replace(recipe, qat=True, max_bytes=1, initialize_from="parent")
    others = replace(rounded, max_bytes=2), replace(rounded, teacher_weight=0.9), recipe
    assert len({each.fingerprint for each in (rounded, *others)}) == 4
    elsewhere = replace(rounded, initialize_from="moved", calibration="text")
    assert elsewhere.fingerprint == rounded.fingerprint


def test_changes_take_precedence_and_replace_the_budget(write):
    path = write(GOOD)
    assert read_recipe(path, {"corpus": "other", "tokens": None}).corpus == "other"
    changed = read_recipe(path, {"hours": 2})
    assert (changed.steps, changed.hours) == (None, 2.0)
    assert isinstance(changed.hours, float)


def test_the_fingerprint_tells_recipes_apart(write):
    path = write(GOOD)
    assert read_recipe(path).fingerprint == read_recipe(path).fingerprint
    other = read_recipe(path, {"steps": 11})
    assert read_recipe(path).fingerprint != other.fingerprint


def instead(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = 10 = 3", "is no TOML"),
        ("learningrate = 1\n" + GOOD, "'learningrate' is no field of a recipe"),
        (GOOD + "lenght = 3\n", "phases: 'lenght' is no field of a recipe"),
        (instead("steps = 10", 'steps = "10"'), "steps is '10', expected int"),
        (instead("steps = 10", "steps = 10.5"), "steps is 10.5, expected int"),
        (instead("steps = 10", "steps = true"), "steps is True, expected int"),
        (instead("share = 1", "share = nan"), "share is nan, expected float"),
        (instead('corpus = "corpus"', ""), "corpus is missing"),
        (instead("batch_size = 4", ""), "phases: batch_size is missing"),
        (instead("[[phases]]", "[phases]"), "phases is no list of tables"),
        ('corpus = "c"\nsteps = 1', "phases is empty, expected at least one"),
        (instead("steps = 10", ""), "exactly one of steps, tokens and hours"),
        (instead("steps = 10", "steps = 10\nhours = 1"), "exactly one of steps, tokens and hours"),
        (instead("steps = 10", "steps = 0"), "a budget of 0 is none at all"),
        (instead("share = 1", "share = 0.9"), "the shares of phases add up to 0.9, expected 1"),
        (GOOD + GOOD[GOOD.index("[[") :], "the shares of phases add up to 2, expected 1"),
        (instead("batch_size = 4", "batch_size = 0"), "has no examples"),
        (instead("micro", "huge"), "variant 'huge' is not in"),
        ('precision = "fp8"' + GOOD, "precision is 'fp8', expected auto or bf16 or fp16 or fp32"),
        ('optimizer = "sgd"' + GOOD, "optimizer is 'sgd', expected adamw or muon"),
        (GOOD + 'objective = "some"', "objective is 'some', expected masked or all"),
        (GOOD + "masking_rate = 7.0", "masking_rate is 7, expected a number"),
        (instead("sequence_length = 128", "sequence_length = 3"), "sequence_length is 3, expected"),
        ("decay_share = 0.0" + GOOD, "decay_share is 0.0, expected over 0 up to 1"),
        ("average_decay = 1.0" + GOOD, "average_decay is 1.0, expected 0 up to below 1"),
        ("z_loss_weight = -1" + GOOD, "z_loss_weight is -1.0, expected >= 0"),
        ("dropout = 1.0" + GOOD, "dropout is 1.0, expected 0 up to below 1"),
        ("learning_rate = 0.0" + GOOD, "learning_rate is 0.0, expected > 0"),
        ("learning_rate = inf" + GOOD, "learning_rate is inf, expected float"),
        ("beta2 = 1.0" + GOOD, "beta2 is 1.0, expected 0 up to below 1"),
        ("save_every = 0" + GOOD, "save_every is 0, expected > 0"),
        ("warmup_steps = -1" + GOOD, "warmup_steps is -1, expected >= 0"),
        ("seed = -1" + GOOD, "seed is -1, expected 0 to"),
    ],
)
def test_mistakes_are_named(write, text, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read_recipe(write(text))
    assert caught.value.hint


def test_a_file_that_cannot_be_read_is_named(tmp_path, write):
    with pytest.raises(InputError, match=r"nowhere\.toml cannot be read"):
        read_recipe(tmp_path / "nowhere.toml")
    path = write(GOOD)
    path.write_bytes(b'corpus = "\xff"')
    with pytest.raises(InputError, match="cannot be read"):
        read_recipe(path)


def test_there_are_recipes_and_sweeps():
    assert RECIPES
    assert SWEEPS


def assert_its_first_line_runs(path, command):
    program, *words = shlex.split(path.read_text(encoding="utf-8").splitlines()[0].lstrip("# "))
    assert program == "bert-mobile"
    assert words[0] == command
    assert (ROOT / words[1]).samefile(path)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_published_recipes_are_valid_and_begin_with_their_command(path):
    assert read_recipe(path).phases
    assert_its_first_line_runs(path, "pretrain")


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.name)
def test_published_sweeps_are_valid_and_begin_with_their_command(path):
    runs = read_sweep(path)
    assert sum(not run.changes for run in runs) > 1  # the baseline's noise is known
    judged = ("evaluation_batches", "evaluation_batch_size", "evaluation_sequence_length")
    same = {tuple(getattr(run.recipe, name) for name in judged) for run in runs}
    assert len(same) == 1
    assert None not in same.pop()
    assert_its_first_line_runs(path, "sweep")
