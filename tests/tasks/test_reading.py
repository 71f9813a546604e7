"""Reading the data of tasks: the official download's forms, others, and what is not there."""

import gzip
import json
import lzma
from pathlib import Path

import pytest

from bert_mobile.errors import InputError
from bert_mobile.labelled import Question, TaggedSentence
from bert_mobile.tasks.reading import HUB, bio2, labels_of, read_task, splits_of
from bert_mobile.tasks.table import TASKS

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"

MNLI_HEAD = (
    "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse sentence1_parse "
    "sentence2_parse sentence1 sentence2"
).split()

OFFICIAL = {
    "cola": (
        ("CoLA/train.tsv", "gj04\t1\t\tA sentence.\ngj04\t0\t*\tSentence a.\n"),
        ("train", [(("A sentence.",), "acceptable"), (("Sentence a.",), "unacceptable")]),
    ),
    "sst2": (
        ("SST-2/dev.tsv", 'sentence\tlabel\na "quoted film \t1\ndull\t0\n'),
        ("dev", [(('a "quoted film ',), "positive"), (("dull",), "negative")]),
    ),
    "mrpc": (
        (
            "MRPC/dev.tsv",
            "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tOne .\tUno .\n",
        ),
        ("dev", [(("One .", "Uno ."), "equivalent")]),
    ),
    "qqp": (
        (
            "QQP/train.tsv",
            "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\tWho?\tWhat?\t0\n"
            "4\t5\t6\tcut off\n7\t8\t9\tWhy?\tWherefore?\t1\n",
        ),
        ("train", [(("Who?", "What?"), "not_duplicate"), (("Why?", "Wherefore?"), "duplicate")]),
    ),
    "mnli": (
        (
            "MNLI/dev_matched.tsv",
            "\t".join([*MNLI_HEAD, "label1", "label2", "gold_label"]) + "\n"
            + "\t".join([*"01234567", "A man.", "A boy.", "neutral", "-", "entailment"]) + "\n"
            + "\t".join([*"01234567", "A man.", "A cat.", "neutral", "neutral", "-"]) + "\n",
        ),
        ("dev", [(("A man.", "A boy."), "entailment")]),
    ),
    "mnli-mm": (
        (
            "MNLI/test_mismatched.tsv",
            "\t".join(MNLI_HEAD) + "\n" + "\t".join([*"01234567", "A man.", "A cat."]) + "\n",
        ),
        ("test", [(("A man.", "A cat."), None)]),
    ),
    "qnli": (
        ("QNLI/dev.tsv", "index\tquestion\tsentence\tlabel\n0\tWho?\tHe.\tentailment\n"),
        ("dev", [(("Who?", "He."), "entailment")]),
    ),
    "wnli": (
        ("WNLI/dev.tsv", "index\tsentence1\tsentence2\tlabel\n0\tIt is.\tHe is.\t0\n"),
        ("dev", [(("It is.", "He is."), "not_entailment")]),
    ),
    "ax": (
        ("diagnostic/diagnostic.tsv", "index\tsentence1\tsentence2\n0\tIt is.\tHe is.\n"),
        ("test", [(("It is.", "He is."), None)]),
    ),
    "snli": (
        (
            "snli_1.0_dev.txt",
            "gold_label\tsentence1_parse\tsentence1\tsentence2\n-\t(x)\tA\tB\nneutral\t(x)\tC\tD\n",
        ),
        ("dev", [(("C", "D"), "neutral")]),
    ),
    "sst5": (
        ("stsa.fine.dev", "3 a caf\xe9 film\n0 dull .\n"),
        ("dev", [(("a caf\xe9 film",), "positive"), (("dull .",), "very negative")]),
    ),
}  # fmt: skip
"""For some tasks a file, and what is read from it."""


def put(folder, name, text, encoding="utf-8"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_files_are_read(tmp_path, name):
    (file, text), (split, expected) = OFFICIAL[name]
    path = put(tmp_path, file, text, "latin-1" if name == "sst5" else "utf-8")
    for data in (tmp_path, path):
        found = read_task(TASKS[name], data, split)
        assert [(each.texts, each.labels and each.labels[0]) for each in found] == expected
        assert found.is_labelled == (expected[0][1] is not None)
    assert splits_of(TASKS[name], tmp_path) == (split,)


def test_scores_are_read(tmp_path):
    head = (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
    )
    put(tmp_path, "STS-B/dev.tsv", head + "0\tg\tf\ty\t1\ts\ts\tA plane.\tA jet.\t4.250\n")
    (found,) = read_task(TASKS["stsb"], tmp_path, "dev")
    assert (found.texts, found.value) == (("A plane.", "A jet."), 4.25)


def test_the_original_sts_files_are_tab_separated_and_ragged(tmp_path):
    lines = 'g\tf\ty\t1\t5.000\tA "plane.\tA jet.\ng\tf\ty\t2\t0.5\tA, b\tC\tprovenance\n'
    put(tmp_path, "STS-B/sts-dev.csv", lines)
    assert [each.value for each in read_task(TASKS["stsb"], tmp_path, "dev")] == [5.0, 0.5]


def test_a_tenth_is_held_out_where_there_is_no_dev_set(tmp_path):
    head = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    rows = "".join(f"{n % 2}\t1\t2\tFirst {n}\tSecond {n}\n" for n in range(25))
    put(tmp_path, "MRPC/msr_paraphrase_train.txt", head + rows)
    train, dev = (list(read_task(TASKS["mrpc"], tmp_path, split)) for split in ("train", "dev"))
    assert [each.texts[0] for each in dev] == ["First 0", "First 10", "First 20"]
    assert len(train) == 22
    assert not {each.texts for each in train} & {each.texts for each in dev}
    assert "every tenth pair" in read_task(TASKS["mrpc"], tmp_path, "dev").describe()


def test_intents_and_what_is_out_of_scope(tmp_path):
    splits = {
        "val": [["fly me", "fly"]],
        "oos_val": [["sing", "oos"]],
        "train": [["go", "fly"]],
        "oos_train": [["hum", "oos"]],
        "test": [["stay", "hotel"]],
        "oos_test": [["x", "oos"]],
    }
    put(tmp_path, "data_full.json", json.dumps(splits))
    row = TASKS["clinc150"]
    assert [each.labels for each in read_task(row, tmp_path, "dev")] == [("fly",), ("oos",)]
    assert labels_of(row, tmp_path) == ("fly", "hotel", "oos")


def test_words_and_their_slots(tmp_path):
    put(
        tmp_path,
        "atis/valid.tsv",
        "intent\ttokens\tslot_tags\nfly\tto las vegas\tO B-city I-city\n",
    )
    (text,) = read_task(TASKS["atis"], tmp_path / "atis", "dev")
    (sentence,) = read_task(TASKS["atis-slots"], tmp_path / "atis", "dev")
    assert text.texts == ("to las vegas",)
    assert isinstance(sentence, TaggedSentence)
    assert sentence.tags == ("O", "B-city", "I-city")


def test_entities_of_the_official_files_begin_with_b(tmp_path):
    lines = "-DOCSTART- -X- -X- O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\n\nA NNP I-NP I-PER\n"
    put(tmp_path, "eng.testa", lines + "B NNP I-NP B-PER\nC NNP I-NP I-PER\n")
    found = [each.tags for each in read_task(TASKS["conll2003"], tmp_path, "dev")]
    assert found == [("B-ORG", "O"), ("B-PER", "B-PER", "I-PER")]
    assert bio2(["I-PER", "I-LOC", "O", "B-LOC", "I-LOC"]) == (
        "B-PER", "B-LOC", "O", "B-LOC", "I-LOC",
    )  # fmt: skip


def test_questions_without_answer(tmp_path):
    asked = [
        {"id": "a", "question": "Who?", "answers": [], "is_impossible": True},
        {"id": "b", "question": "What?", "answers": [{"text": "cat", "answer_start": 2}]},
    ]
    squad = {"data": [{"title": "t", "paragraphs": [{"context": "A cat.", "qas": asked}]}]}
    put(tmp_path, "dev-v2.0.json", json.dumps(squad))
    found = list(read_task(TASKS["squad2"], tmp_path, "dev"))
    assert all(isinstance(each, Question) for each in found)
    assert [[answer.text for answer in each.answers] for each in found] == [[], ["cat"]]


def test_heuristics_are_groups(tmp_path):
    head = "gold_label\tsentence1\tsentence2\tpairID\theuristic\tsubcase\n"
    rows = "entailment\tA\tB\te0\tlexical_overlap\tx\nnon-entailment\tC\tD\te1\tconstituent\ty\n"
    put(tmp_path, "heuristics_evaluation_set.txt", head + rows)
    found = read_task(TASKS["hans"], tmp_path, "test")
    assert [each.labels for each in found] == [("entailment",), ("non-entailment",)]
    assert list(found.groups()) == ["lexical_overlap", "constituent"]
    put(tmp_path, "RTE/dev.tsv", "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tentailment\n")
    groups = read_task(TASKS["rte"], tmp_path, "dev").groups()
    with pytest.raises(InputError, match="rte has no groups"):
        next(groups)


@pytest.mark.parametrize(("suffix", "opener"), [(".xz", lzma.open), (".gz", gzip.open)])
def test_compressed_files_in_a_folder_of_collections(tmp_path, suffix, opener):
    (tmp_path / "glue" / "RTE").mkdir(parents=True)
    with opener(tmp_path / "glue" / "RTE" / f"dev.tsv{suffix}", "wt") as file:
        file.write("index\tsentence1\tsentence2\tlabel\n0\tA\tB\tnot_entailment\n")
    for data in (tmp_path, tmp_path / "glue", tmp_path / "glue" / "RTE"):
        (found,) = read_task(TASKS["rte"], data, "dev")
        assert found.labels == ("not_entailment",)


def test_parts_say_how_much_they_are(tmp_path):
    put(
        tmp_path, "MNLI/dev_matched_subset.tsv", "sentence1\tsentence2\tgold_label\nA\tB\tneutral\n"
    )
    found = read_task(TASKS["mnli"], tmp_path, "dev")
    assert not found.is_whole
    assert found.describe() == "mnli dev: dev_matched_subset.tsv, 6,238 of 9,815 examples"


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"has no dev split of mrpc, expected MRPC/dev.tsv or MRPC/m"
    ):
        read_task(TASKS["mrpc"], tmp_path, "dev")
    with pytest.raises(
        InputError, match="hans has no split 'train', expected one of test"
    ) as caught:
        read_task(TASKS["hans"], tmp_path, "train")
    assert caught.value.hint == "its model is trained as mnli"
    with pytest.raises(InputError, match="conll2003 dev is not on the Hugging Face Hub in a form"):
        read_task(TASKS["conll2003"], HUB, "dev")
    with pytest.raises(InputError, match="has no train split of clinc150, expected data_full"):
        labels_of(TASKS["clinc150"], tmp_path)
    assert labels_of(TASKS["rte"], tmp_path) == ("entailment", "not_entailment")
    assert labels_of(TASKS["stsb"], tmp_path) == ()
    assert splits_of(TASKS["cola"], tmp_path / "nowhere") == ()


def test_data_of_another_task_is_refused_with_its_line(tmp_path):
    put(tmp_path, "SST-2/dev.tsv", "sentence\tlabel\nfine\t1\nodd\t2\n")
    with pytest.raises(
        InputError, match=r"dev.tsv, line 3, column 'label': label '2', expected one"
    ):
        list(read_task(TASKS["sst2"], tmp_path, "dev"))
    put(tmp_path, "stsa.fine.dev", "3 fine\nno digit\n")
    with pytest.raises(InputError, match=r"stsa.fine.dev, line 2: no label and text"):
        list(read_task(TASKS["sst5"], tmp_path, "dev"))
    put(tmp_path, "stsa.fine.train", "3 fine\n7 seven\n")
    with pytest.raises(
        InputError, match=r"stsa.fine.train, line 2: label '7', expected one of very"
    ):
        list(read_task(TASKS["sst5"], tmp_path, "train"))


def test_the_hub_is_addressed_by_file():
    found = read_task(TASKS["mnli"], HUB, "dev")
    assert found.files == (
        "hf://datasets/nyu-mll/glue/mnli/validation_matched-00000-of-00001.parquet",
    )
    assert found.layout.texts == ("premise", "hypothesis")
    assert found.is_labelled
    assert not read_task(TASKS["sst2"], HUB, "test").is_labelled


@pytest.mark.parametrize("name", ["cola", "mrpc", "stsb", "rte", "clinc150", "atis-slots", "sst5"])
def test_the_collections_data_is_as_the_table_says(name):
    if not SHARED.is_dir():
        pytest.skip(f"no data of tasks here: put it below {SHARED}")
    found = read_task(TASKS[name], SHARED, "dev")
    assert sum(1 for _ in found) == found.examples
