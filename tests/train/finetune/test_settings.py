"""Settings: contradictions are refused by name, and the schedule is BERT's."""

from dataclasses import replace

import pytest

from bert_mobile.errors import InputError
from bert_mobile.train.finetune import FinetuneSettings
from bert_mobile.train.finetune.prepared import prepare
from bert_mobile.train.finetune.settings import Course
from bert_mobile.train.optimizers import learning_rate
from bert_mobile.train.recipe import settings_of


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("sort", {}, "kind is 'sort', expected classify or pairs or"),
        ("classify", {"epochs": 0}, r"epochs is 0\.0, expected more than 0"),
        ("classify", {"epochs": float("nan")}, "epochs is nan, expected more than 0"),
        ("classify", {"batch_size": 0}, "batch_size is 0, expected at least 1"),
        ("classify", {"patience": 0}, "patience is 0, expected at least 1"),
        ("classify", {"dropout": 1.0}, r"dropout is 1\.0, expected 0 up to below 1"),
        ("classify", {"weight_decay": -1.0}, r"weight_decay is -1\.0, expected at least 0"),
        ("classify", {"teacher_weight": 0.0}, r"teacher_weight is 0\.0, expected over 0 up to 1"),
        ("classify", {"seed": -1}, "seed is -1, expected 0 to"),
        ("classify", {"max_length": 4}, "max_length is 4, expected at least 8"),
        ("classify", {"precision": "int8"}, "precision is 'int8'"),
        ("classify", {"text": ("a", "b")}, "2 text columns are given, expected one for classify"),
        ("regress", {"several": True}, "several labels are for classify and pairs, not regress"),
        ("regress", {"class_weights": "balanced"}, "class_weights are for classes and tags"),
        ("regress", {"label_smoothing": 0.1}, "label_smoothing is for single labels and tags"),
        ("answer", {"teacher": "t"}, "a teacher is for texts, pairs and tags, not for answer"),
        ("classify", {"relation_weight": 1.0}, r"relation_weight is 1\.0 without a teacher"),
    ],
)
def test_contradictions_are_refused(kind, changes, said):
    with pytest.raises(InputError, match=said):
        FinetuneSettings(kind, **changes)


def test_whole_numbers_are_numbers():
    whole, broken, other = (FinetuneSettings("tag", epochs=n).fingerprint for n in (3, 3.0, 2))
    assert whole == broken != other


@pytest.mark.parametrize(
    ("word", "text"),
    [("text=review", ("review",)), ('text=["a"]', ("a",)), ('text=["a", "b"]', ("a", "b"))],
)
def test_columns_are_strings_or_lists_of_them(word, text):
    assert settings_of(FinetuneSettings, {"kind": "pairs"}, [word]).text == text


@pytest.mark.parametrize("value", ["1", "[1]", "true", '{a = "b"}'])
def test_columns_are_nothing_else(value):
    with pytest.raises(InputError, match=r"text is .*, expected a string, or several in a list"):
        settings_of(FinetuneSettings, {"kind": "pairs"}, [f"text={value}"])


@pytest.mark.parametrize(
    ("epochs", "told"), [(None, ["few examples: each is read 9 times"]), (9, [])]
)
def test_it_is_told_that_few_examples_are_read_more_often(settings, epochs, told):
    found = prepare(settings(epochs=epochs)).told
    assert [line.partition(",")[0] for line in found if "few" in line] == told


@pytest.mark.parametrize(
    ("steps_per_epoch", "steps", "log_every"),
    [(1, 20, 1), (6, 120, 3), (60, 180, 5), (999, 2997, 20)],
)
def test_few_examples_are_read_more_often(steps_per_epoch, steps, log_every):
    course = Course.of(FinetuneSettings("classify"), steps_per_epoch)
    assert (course.steps, course.log_every) == (steps, log_every)


def test_one_column_may_be_named_by_itself():
    assert settings_of(FinetuneSettings, {"kind": "tag"}, ["text=words"]).text == ("words",)


def test_how_files_are_read_shapes_no_weights():
    read = FinetuneSettings("tag", encoding="latin-1", header=False, form="tsv", label="ner")
    assert read.fingerprint == FinetuneSettings("tag").fingerprint


def test_the_rate_rises_to_its_peak_and_falls_to_zero():
    course = Course.of(FinetuneSettings("tag", epochs=2, learning_rate=1.0), 50)
    assert (course.steps, course.warmup_steps, course.evaluate_every) == (100, 10, 50)
    rates = [learning_rate(course, step, step / 100) for step in range(100)]
    assert rates[9] == max(rates) == 1
    assert rates[54] == pytest.approx(0.46 / 0.9)  # linear from the peak, as transformers' is
    assert rates[99] == pytest.approx(0.01 / 0.9)


def test_options_become_settings():
    more = ["dropout=0.2", "class-weights=balanced", "metric='macro_f1'"]
    made = settings_of(FinetuneSettings, {"kind": "classify", "text": ("a",)}, more)
    assert (made.dropout, made.class_weights, made.metric) == (0.2, "balanced", "macro_f1")
    with pytest.raises(InputError, match="the options: 'droput' is no field of a recipe"):
        settings_of(FinetuneSettings, {"kind": "tag"}, ["droput=0.1"])
    with pytest.raises(InputError, match="--set dropout: expected NAME=VALUE"):
        settings_of(FinetuneSettings, {"kind": "tag"}, ["dropout"])


def test_what_is_rounded_learns_from_its_teacher_alone_unless_asked():
    usual = FinetuneSettings(kind="classify", train="t.csv")
    assert (usual.usual_dropout, usual.teacher_share) == (0.1, 0.5)
    rounded = replace(usual, qat=True, max_bytes=1)
    assert (rounded.usual_dropout, rounded.teacher_share) == (0.0, 1.0)
    asked = replace(rounded, dropout=0.2, teacher_weight=0.7)
    assert (asked.usual_dropout, asked.teacher_share) == (0.2, 0.7)
    assert replace(usual, dropout=0.1, teacher_weight=0.5).fingerprint == usual.fingerprint
