"""Models judged on tasks and on labelled files, float and quantized, without torch."""

import json
import subprocess
import sys

import numpy as np
import pytest

from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.evaluate.task import evaluate_on_task
from bert_mobile.model.config import ANSWERS, MULTI_LABEL, REGRESSION, SEQUENCES, TOKENS
from bert_mobile.quantize import quantize
from bert_mobile.tasks.table import TASKS
from tests.cli.test_cli import run  # noqa: F401 - a fixture
from tests.evaluate.tiny_tasks import NLI, texts, write_tsv

ACCEPTABLE = TASKS["cola"].labels


@pytest.fixture(scope="module")
def cola(tiny_task):
    return tiny_task(SEQUENCES, labels=ACCEPTABLE, problem_type="single_label_classification")


@pytest.fixture(scope="module")
def small(cola, tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "small"
    quantize(cola, folder, max_bytes=400_000)
    return folder


@pytest.fixture
def reviews(tmp_path):
    rows = [(text, ("neg", "pos")[number]) for number, text in texts(30, ("down", "good"), 5)]
    write_tsv(tmp_path / "reviews.tsv", rows, ("said", "mood"))
    return tmp_path / "reviews.tsv"


# --- tasks --------------------------------------------------------------------------------------


def test_float_and_quantized_side_by_side(cola, small, glue_data):
    one, other = evaluate_on_task([str(cola), str(small)], "cola", glue_data)
    assert (one.asked, one.kind, one.examples) == ("cola dev", "classify", 20)
    assert list(one.figures) == ["matthews", "accuracy"]
    assert one.data == other.data
    assert abs(one.figures["accuracy"] - other.figures["accuracy"]) <= 0.2
    assert one.groups == {}


def test_figures_are_those_of_the_model_s_own_answers(cola, glue_data):
    from bert_mobile import load

    rows = [line.split("\t") for line in (glue_data / "CoLA/dev.tsv").read_text().splitlines()]
    said = [each["label"] for each in load(cola).classify([row[3] for row in rows])]
    right = np.mean(
        [ACCEPTABLE[int(row[1])] == label for row, label in zip(rows, said, strict=True)]
    )
    [found] = evaluate_on_task([str(cola)], "cola", glue_data)
    assert found.figures["accuracy"] == pytest.approx(right)


def test_labels_in_another_order_mean_the_same(tiny_task, cola, glue_data):
    turned = tiny_task(SEQUENCES, labels=ACCEPTABLE[::-1])  # the same weights, swapped names
    one, other = evaluate_on_task([str(cola), str(turned)], "cola", glue_data)
    assert one.figures["accuracy"] == pytest.approx(1 - other.figures["accuracy"])


def test_labels_without_names_are_taken_in_order(tiny_task, cola, glue_data):
    nameless = tiny_task(SEQUENCES, labels=("LABEL_0", "LABEL_1"))
    with pytest.warns(UserWarning, match="does not name its labels; they are taken for unacc"):
        [found] = evaluate_on_task([str(nameless)], "cola", glue_data)
    assert found.figures == evaluate_on_task([str(cola)], "cola", glue_data)[0].figures


def test_a_model_of_mnli_is_asked_hans_by_heuristic(tiny_task, tmp_path):
    heads = ("gold_label", "sentence1", "sentence2", "heuristic")
    rows = [
        (TASKS["hans"].labels[i % 2], "the man", text, ("overlap", "subsequence")[i % 3 > 0])
        for i, (_, text) in enumerate(texts(24, ("down", "good"), 1))
    ]  # fmt: skip
    write_tsv(tmp_path / "heuristics_evaluation_set.txt", rows, heads)
    [found] = evaluate_on_task([str(tiny_task(SEQUENCES, labels=NLI))], "hans", tmp_path)
    assert found.asked == "hans test"
    assert set(found.groups) == {"overlap", "subsequence"}
    shares = {name: sum(row[3] == name for row in rows) / len(rows) for name in found.groups}
    mean = sum(shares[name] * found.groups[name]["accuracy"] for name in shares)
    assert found.figures["accuracy"] == pytest.approx(mean)


def test_numbers(tiny_task, glue_data):
    model = tiny_task(SEQUENCES, labels=("LABEL_0",), problem_type=REGRESSION)
    [found] = evaluate_on_task([str(model)], "stsb", glue_data)
    assert list(found.figures) == ["pearson_spearman", "pearson", "spearman"]


# --- files --------------------------------------------------------------------------------------


def test_a_strangers_file(tiny_task, reviews, tmp_path):
    model = tiny_task(SEQUENCES, labels=("neg", "pos"))
    [found] = evaluate_on_task([str(model)], str(reviews), reports=tmp_path / "report")
    assert (found.kind, found.examples) == ("classify", 30)
    assert "said" in found.data
    assert list(found.figures) == ["accuracy", "macro_f1"]
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["errors"] == round(30 * (1 - found.figures["accuracy"]))
    assert (tmp_path / "report" / "wrong.tsv").read_text().startswith("line\ttext\texpected")


def test_a_label_that_the_model_has_not_is_counted_wrong(tiny_task, reviews):
    with reviews.open("a") as file:
        file.write("the man\tunheard\n" * 30)
    model = tiny_task(SEQUENCES, labels=("neg", "pos"))
    [found] = evaluate_on_task([str(model)], str(reviews))
    assert found.examples == 60
    assert 0 < found.figures["accuracy"] <= 0.5


def test_a_file_of_other_labels_is_refused(tiny_task, reviews):
    model = tiny_task(SEQUENCES, labels=("yes", "no"))
    with pytest.raises(InputError, match="none of the model's labels: neg, pos against yes, no"):
        evaluate_on_task([str(model)], str(reviews))


def test_columns_are_named(tiny_task, tmp_path):
    rows = [(i, text, "x", ("neg", "pos")[n]) for i, (n, text) in enumerate(texts(9, "ab", 2))]
    write_tsv(tmp_path / "odd.tsv", rows, ("id", "what", "why", "mood"))
    model = str(tiny_task(SEQUENCES, labels=("neg", "pos")))
    path = str(tmp_path / "odd.tsv")
    [one] = evaluate_on_task([model], path, text=("what",), label="mood")
    [two] = evaluate_on_task([model], path, text=("what", "why"), label="mood")
    assert (one.kind, two.kind) == ("classify", "pairs")


def test_several_labels_tags_and_answers(tiny_task, tmp_path):
    several = [{"text": "the man", "labels": ["neg", "pos"]}, {"text": "we see", "labels": []}]
    (tmp_path / "several.jsonl").write_text("\n".join(map(json.dumps, several)) + "\n")
    model = tiny_task(SEQUENCES, labels=("neg", "pos"), problem_type=MULTI_LABEL)
    [found] = evaluate_on_task([str(model)], str(tmp_path / "several.jsonl"))
    assert list(found.figures) == ["micro_f1", "macro_f1", "accuracy"]
    (tmp_path / "words.conll").write_text("the O\nman B-PER\n\nwe O\nsee O\n")
    [found] = evaluate_on_task([str(tiny_task(TOKENS))], str(tmp_path / "words.conll"))
    assert list(found.figures) == ["entity_f1", "token_accuracy"]
    question = {"id": "1", "question": "who", "context": "the man came",
                "answers": {"text": ["man"], "answer_start": [4]}}  # fmt: skip
    (tmp_path / "asked.jsonl").write_text(json.dumps(question) + "\n")
    [found] = evaluate_on_task([str(tiny_task(ANSWERS))], str(tmp_path / "asked.jsonl"))
    assert list(found.figures) == ["answer_f1", "exact_match"]


def test_files_are_read_as_the_options_say(run, tiny_task, tmp_path):  # noqa: F811
    model = tiny_task(SEQUENCES, labels=("neg", "pos"))
    path = tmp_path / "films.data"
    path.write_text("caf\xe9 was good,pos\nthe man,neg\nno,\n", encoding="latin-1")
    given = ["evaluate", model, "--task", path, "--form", "csv", "--encoding", "latin-1"]
    status, out, err = run(*given, "--no-header", "--skip-unlabelled", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)[0]["examples"] == 2
    status, _, err = run(*given, "--no-header")
    assert (status, "films.data, line 3, column '#2': no label" in err) == (2, True)
    status, _, err = run("evaluate", model, "--data", tmp_path, "--no-header")
    assert "error: --header is for --task a task or a file only" in err
    splits = tmp_path / "films.json"
    rows = [["the man came", "neg"], ["he was there", "pos"]]
    splits.write_text(json.dumps({"train": rows * 2, "val": rows}))
    [found] = evaluate_on_task([str(model)], f"{splits}:val")
    assert found.examples == 2


# --- what it refuses ----------------------------------------------------------------------------


def test_a_model_without_the_head(tiny_checkpoint, tiny_task, glue_data, reviews):
    with pytest.raises(ArtifactError, match="is without a head for a task, expected a BertForSeq"):
        evaluate_on_task([str(tiny_checkpoint)], "cola", glue_data)
    with pytest.raises(ArtifactError, match="has no head for a task"):
        evaluate_on_task([str(tiny_checkpoint)], str(reviews))
    with pytest.raises(ArtifactError, match="is a BertForTokenClassification, expected a BertForS"):
        evaluate_on_task([str(tiny_task(TOKENS))], "cola", glue_data)
    number = tiny_task(SEQUENCES, labels=("LABEL_0",), problem_type=REGRESSION)
    with pytest.raises(ArtifactError, match="of a number, expected a BertForSequenceCl"):
        evaluate_on_task([str(number)], "cola", glue_data)


@pytest.mark.parametrize(
    ("task", "data", "more", "found"),
    [
        ("colla", "data", {}, "no task is called 'colla'"),
        ("sst2", "data", {}, r"no dev split of sst2, expected SST-2/dev\.tsv"),
        ("cola", None, {}, "cola needs --data"),
        ("cola", "data", {"split": "test"}, "there is nothing to judge by"),
        ("cola", "data", {"split": "tset"}, "cola has no split 'tset'"),
        ("cola", "data", {"label": "mood"}, "the columns of cola are known"),
        ("nowhere.tsv", None, {}, "nowhere.tsv is no file"),
        (__file__, "data", {}, "beside the file"),
    ],
)
def test_bad_options(cola, glue_data, task, data, more, found):
    where = glue_data if data else None
    with pytest.raises(InputError, match=found):
        evaluate_on_task([str(cola)], task, where, **more)


def test_a_model_of_another_task(tiny_task, glue_data):
    model = tiny_task(SEQUENCES, labels=("neg", "pos"))
    with pytest.raises(InputError, match="the model says 'neg', expected one of unacceptable"):
        evaluate_on_task([str(model)], "cola", glue_data)


# --- from outside -------------------------------------------------------------------------------


def test_the_command(run, cola, small, glue_data):  # noqa: F811
    given = ["evaluate", cola, small, "--task", "cola", "--data", glue_data]
    status, out, err = run(*given)
    assert (status, err) == (0, "")
    said, _, heads, *rows = out.splitlines()
    assert said.startswith("cola dev: dev.tsv")
    assert heads.split() == ["model", "matthews", "accuracy", "examples"]
    assert [row.split()[0] for row in rows] == [str(cola), str(small)]
    status, out, _ = run(*given, "--json")
    assert [each["model"] for each in json.loads(out)] == [str(cola), str(small)]


def test_options_of_another_task_are_refused(run, cola, glue_data):  # noqa: F811
    given = ["evaluate", cola, "--task", "cola", "--data", glue_data]
    status, _, err = run(*given, "--pairs", 3)
    assert (status, err.splitlines()[0]) == (2, "error: --pairs is for --task mlm only")
    status, _, err = run("evaluate", cola, "--report", "x", "--data", glue_data)
    assert "error: --report is for --task a task or a file only" in err
    status, _, err = run(*given, "--data", glue_data)
    assert "--data is given twice" in err
    status, _, err = run("evaluate", cola)
    assert "--data is missing" in err


def test_torch_is_not_needed(small, glue_data):
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from bert_mobile.evaluate.task import evaluate_on_task
[found] = evaluate_on_task([{str(small)!r}], "cola", {str(glue_data)!r})
assert 0 <= found.figures["accuracy"] <= 1
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
