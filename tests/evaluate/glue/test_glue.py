"""The whole benchmark on tiny tasks: what it writes, how it goes on, what it refuses."""

import json
import shutil
import zipfile
from dataclasses import replace

import pytest

from bert_mobile.errors import InputError
from bert_mobile.evaluate.glue import runs as subject
from bert_mobile.evaluate.glue.command import glue
from bert_mobile.quantize.report import folder_bytes
from bert_mobile.train.loop import DivergedError
from tests.evaluate.glue.conftest import quick

SEVERAL = ("cola", "mnli", "mnli-mm", "rte", "stsb")


@pytest.fixture(scope="module")
def finished(glue_data, tiny_checkpoint, tmp_path_factory):
    """A finished benchmark of several tasks and two seeds: its folder and its record."""
    out = tmp_path_factory.mktemp("finished") / "out"
    settings = quick(glue_data, tiny_checkpoint, tasks=SEVERAL, seeds=(1, 2), from_mnli=True)
    return out, glue(settings, out, name="tiny", command="bert-mobile glue …")


@pytest.fixture
def untrained(monkeypatch):
    """Fail where anything is trained; list what would have been."""
    asked = []

    def finetune(settings, out, **_):
        asked.append((settings.seed, settings.learning_rate))
        raise DivergedError("the loss is nan", hint="lower the learning rate")

    monkeypatch.setattr(subject, "finetune", finetune)
    return asked


# --- what it writes -----------------------------------------------------------------------------


def test_every_run_is_in_the_record(finished):
    _, record = finished
    trained = [(each["task"], each["seed"]) for each in record["runs"]]
    assert trained == [(name, seed) for name in ("mnli", "cola", "rte", "stsb") for seed in (1, 2)]
    for each in record["runs"]:
        assert each["status"] == "finished"
        assert (each["train_examples"], each["dev_examples"]) == (48, 20)
        assert each["steps"] == 6
        assert each["hardware"]
    assert record["complete"]
    assert record["commands"] == ["bert-mobile glue …"]
    assert record["settings"]["batch_size"] == 16
    assert len(record["start"]["sha256"]) == 64


def test_a_task_is_summed_up_over_its_seeds(finished):
    _, record = finished
    found = record["tasks"]["cola"]
    both = sorted(each["figures"]["matthews"] for each in record["runs"] if each["task"] == "cola")
    assert found["figures"]["matthews"] == {
        "lowest": both[0], "median": pytest.approx(sum(both) / 2), "highest": both[1],
    }  # fmt: skip
    assert found["seeds"] == [1, 2]
    assert found["best_seed"] in found["seeds"]
    assert "train: 48 of 8,551 examples" in found["disclosed"]


def test_mnli_s_model_is_asked_its_mismatched_set(finished):
    _, record = finished
    of_mnli = [each for each in record["runs"] if each["task"] == "mnli"]
    assert all(0 <= e["followers"]["mnli-mm"]["figures"]["accuracy"] <= 1 for e in of_mnli)
    assert record["tasks"]["mnli-mm"]["data"][1].startswith("mnli-mm dev: dev_mismatched.tsv")


def test_small_tasks_start_from_mnli_and_say_so(finished):
    out, record = finished
    started = {each["task"]: each["started_from"] for each in record["runs"]}
    assert started == {"mnli": None, "cola": None, "stsb": "mnli", "rte": "mnli"}
    assert "started from the model of MNLI" in record["tasks"]["rte"]["disclosed"]
    assert "RTE: dev set, train: 48 of 2,490 examples" in (out / "table.md").read_text()
    parents = json.loads(next(out.glob("runs/rte/*/provenance.json")).read_text())["parents"]
    assert any("fine-tuned" in str(parent) for parent in parents)


def test_only_the_best_weights_of_each_task_are_kept(finished):
    out, record = finished
    kept = sorted(path.parent.relative_to(out / "runs") for path in out.rglob("model.safetensors"))
    assert [str(path) for path in kept] == sorted(
        f"{name}/lr-0.002-seed-{record['tasks'][name]['best_seed']}"
        for name in ("mnli", "cola", "stsb", "rte")
    )


@pytest.mark.parametrize("keep", ["all", "none"])
def test_weights_are_kept_as_asked(options, tmp_path, keep):
    glue(options(seeds=(1, 2), epochs=1), tmp_path / "out", keep=keep)
    left = list((tmp_path / "out").rglob("model.safetensors"))
    assert len(left) == {"all": 2, "none": 0}[keep]


def test_the_page_has_the_card_and_our_row(finished):
    out, record = finished
    page = (out / "table.md").read_text()
    assert "| the card | 83.9 |" in page
    [row] = [line for line in page.splitlines() if line.startswith("| **tiny**")]
    middle = 100 * record["tasks"]["mnli"]["figures"]["accuracy"]["median"]
    assert f" {middle:.1f}ᵈ* |" in row
    assert "    bert-mobile glue …" in page


def test_the_servers_zip_has_what_was_predicted(finished):
    out, record = finished
    with zipfile.ZipFile(out / "submission.zip") as file:
        cola = file.read("CoLA.tsv").decode().splitlines()
        assert len(file.namelist()) == 11
    predicted = (out / "predictions" / "cola.tsv").read_text().splitlines()
    numbers = {"acceptable": "1", "unacceptable": "0"}
    expected = [f"{n}\t{numbers[w]}" for n, w in (line.split("\t") for line in predicted[1:])]
    assert cola == ["index\tprediction", *expected]
    assert len({numbers[line.split("\t")[1]] for line in predicted[1:]}) == 2
    assert any("stsb (6 of 1,379)" in note for note in record["notes"])


# --- going on -----------------------------------------------------------------------------------


def test_nothing_is_done_twice(finished, options, untrained):
    out, record = finished
    again = glue(options(tasks=SEVERAL, seeds=(1, 2), from_mnli=True), out, name="tiny")
    assert again["runs"] == record["runs"]
    assert untrained == []


def test_the_record_alone_is_enough_to_go_on(finished, options, untrained, tmp_path):
    out, record = finished
    target = tmp_path / "elsewhere"
    target.mkdir()
    shutil.copyfile(out / "record.json", target / "record.json")
    more = glue(options(tasks=("cola", "mnli"), seeds=(1, 2, 3), from_mnli=True), target)
    assert untrained == [(3, 2e-3), (3, 2e-3)]
    assert more["runs"][: len(record["runs"])] == record["runs"]
    assert more["name"] == "tiny"


def test_a_sitting_ends_and_is_gone_on_with(options, tmp_path):
    first = glue(options(), tmp_path / "out", minutes=1e-9)
    assert (first["complete"], first["runs"]) == (False, [])
    second = glue(options(), tmp_path / "out")
    assert (second["complete"], len(second["runs"])) == (True, 1)


def test_a_run_that_diverges_is_noted_and_left(options, untrained, tmp_path):
    out = tmp_path / "out"
    found = glue(options(seeds=(1, 2)), out)
    assert [each["status"] for each in found["runs"]] == ["failed", "failed"]
    assert found["tasks"] == {}
    assert "seed 2 failed: the loss is nan" in (out / "table.md").read_text()
    glue(options(seeds=(1, 2)), out)
    assert len(untrained) == 2


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"epochs": 9}, "begun with epochs 2, not 9"),
        ({"more": ("dropout=0.2",)}, "begun with more"),
    ],
)
def test_other_settings_are_refused(finished, options, changes, found):
    out, _ = finished
    with pytest.raises(InputError, match=found) as error:
        glue(options(tasks=SEVERAL, seeds=(1, 2), from_mnli=True, **changes), out)
    assert "new --out" in error.value.hint


def test_another_model_is_refused(finished, options):
    out, _ = finished
    settings = options(tasks=SEVERAL, seeds=(1, 2), from_mnli=True, model="default")
    with pytest.raises(InputError, match=r"is of the model checkpoint0 .* not of default"):
        glue(settings, out)


def test_records_of_other_models_stand_beside(finished, options, untrained, tmp_path):
    out, _ = finished
    glue(options(), tmp_path / "out", name="other", beside=[out / "record.json"])
    page = (tmp_path / "out" / "table.md").read_text()
    assert "| **tiny** |" in page
    with pytest.raises(InputError, match="is of tiny as well"):
        glue(options(), tmp_path / "other", name="tiny", beside=[out / "record.json"])


# --- what it refuses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"tasks": ("colla",)}, "no task is called 'colla'"),
        ({"tasks": ("sst2",)}, r"has no train split of sst2, expected SST-2/train\.tsv"),
        ({"tasks": ("cola", "mnli-mm")}, "mnli-mm is asked of the model of mnli"),
        ({"tasks": ("rte",), "from_mnli": True}, "--from-mnli needs mnli"),
        ({"seeds": (1, 1)}, "seeds has 1 twice"),
        ({"tasks": ("cola", "cola")}, "tasks has cola twice"),
        ({"epochs": 0}, "epochs is 0"),
        ({"more": ("drop=1",)}, "'drop' is no field"),
    ],
)
def test_bad_options_are_refused_before_anything_starts(options, tmp_path, changes, found):
    with pytest.raises(InputError, match=found):
        glue(options(**changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_data_of_nothing_is_refused(options, tmp_path):
    with pytest.raises(InputError, match="has the data of none of the tasks"):
        glue(replace(options(tasks=()), data=str(tmp_path)), tmp_path / "out")


# --- quantized ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quantized(glue_data, tiny_checkpoint, tmp_path_factory):
    """A benchmark whose best runs were quantized."""
    out = tmp_path_factory.mktemp("quantized") / "out"
    tasks = ("mnli", "mnli-mm")
    settings = quick(glue_data, tiny_checkpoint, tasks=tasks, seeds=(1, 2), max_bytes=400_000)
    return out, glue(settings, out, name="tiny")


def test_the_quantized_file_itself_is_judged(quantized, glue_data):
    from bert_mobile.evaluate.task import evaluate_on_task

    out, record = quantized
    found = record["tasks"]["mnli"]["quantized"]
    [seed] = found["seeds"]
    assert seed == record["tasks"]["mnli"]["best_seed"]
    assert found["bytes"] <= 400_000
    folder = out / "runs" / "mnli" / f"lr-0.002-seed-{seed}-quantized"
    for name in ("mnli", "mnli-mm"):
        [again] = evaluate_on_task([str(folder)], name, glue_data)
        assert again.figures == record["tasks"][name]["quantized"]["figures"]
    entries = [each for each in record["runs"] if "quantized" in each]
    assert [each["seed"] for each in entries] == [seed]


def test_both_rows_are_in_the_table(quantized):
    out, record = quantized
    names = [line.split("|")[1].strip() for line in (out / "table.md").read_text().splitlines()
             if line.startswith("| **tiny**")]  # fmt: skip
    megabytes = record["tasks"]["mnli"]["quantized"]["bytes"] / 1e6
    assert names == ["**tiny**", f"**tiny**, {megabytes:.1f} MB"]


def test_calibration_is_the_task_s_own_text(quantized):
    out, _ = quantized
    lines = (out / "runs" / "mnli" / "calibration.txt").read_text().splitlines()
    assert all(line.count("\t") == 1 for line in lines)


def test_quantized_models_may_learn_to_be_so(options, tmp_path):
    """The same float run, quantized as it is and then with training, which replaces the figures."""
    out = tmp_path / "out"
    first = glue(options(epochs=1, max_bytes=400_000), out)
    record = glue(options(epochs=1, max_bytes=400_000, qat=True), out)
    [run], found = record["runs"], record["tasks"]["cola"]["quantized"]
    assert run["figures"] == first["runs"][0]["figures"]
    assert (run["quantized"]["qat"], found["qat"]) == (True, True)
    folder = out / "runs" / "cola" / "lr-0.002-seed-1-qat" / "quantized"
    assert folder_bytes(folder) == run["quantized"]["bytes"] <= 400_000
    assert "quantized and trained so" in (out / "table.md").read_text()
    again = glue(options(epochs=1, max_bytes=400_000, qat=True), out)
    assert again["runs"] == record["runs"]


def test_quantized_runs_of_all_seeds_are_summed_up(options, tmp_path):
    settings = options(seeds=(1, 2), epochs=1, max_bytes=400_000, quantize_each=True)
    record = glue(settings, tmp_path / "out", name="tiny")
    each = [run["quantized"]["figures"]["accuracy"] for run in record["runs"]]
    found = record["tasks"]["cola"]["quantized"]
    assert found["seeds"] == [1, 2]
    assert found["figures"]["accuracy"] == pytest.approx(sum(each) / 2)
    middle = record["tasks"]["cola"]["figures"]["accuracy"]["median"]
    assert found["float_figures"]["accuracy"] == middle
    assert "the median of the same seeds" in (tmp_path / "out" / "table.md").read_text()
