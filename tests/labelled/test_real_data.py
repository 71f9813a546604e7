"""The layouts of public data sets, where a folder of them is at hand: every record is read."""

from collections import Counter
from pathlib import Path

import pytest

from bert_mobile.labelled import LabelledFile, Question, TaggedSentence, label_counts, open_labelled

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"


def opened(name: str, kind: str, **options: object) -> LabelledFile:
    if not (DATA / name).is_file():
        pytest.skip(f"no {name} below {DATA}")
    return open_labelled(DATA / name, kind, **options)


TEXTS = [
    ("glue/SST-2/dev.tsv", "classify", {}, {"0": 428, "1": 444}),
    ("glue/SST-2/test_labelled.tsv.xz", "classify", {}, {"0": 917, "1": 904}),
    ("glue/CoLA/dev.tsv", "classify", {"text": ["#4"], "label": "#2"}, {"0": 324, "1": 719}),
    ("glue/MRPC/msr_paraphrase_test.txt.xz", "pairs", {}, {"0": 578, "1": 1147}),
    ("glue/RTE/dev.tsv", "pairs", {}, {"entailment": 146, "not_entailment": 131}),
    ("glue/WNLI/train.tsv", "pairs", {}, {"0": 323, "1": 312}),
    ("glue/QNLI/dev.tsv.xz", "pairs", {}, {"entailment": 2702, "not_entailment": 2761}),
    ("glue/QQP/wang2017_dev10k.tsv.xz", "pairs", {}, {"0": 5000, "1": 5000}),
    ("squad/wikiqa_dev.tsv.xz", "pairs", {}, {"0": 2593, "1": 140}),
    (
        "nli/snli_dev.tsv.xz",
        "pairs",
        {},
        {"contradiction": 3278, "entailment": 3329, "neutral": 3235},
    ),
    ("sentiment/agnews_test.tsv.xz", "classify", {}, dict.fromkeys("0123", 1900)),
]


@pytest.mark.parametrize(("name", "kind", "options", "counts"), TEXTS)
def test_labels_of_texts(name: str, kind: str, options: dict, counts: dict[str, int]) -> None:
    assert label_counts(opened(name, kind, **options)) == counts


@pytest.mark.parametrize(
    ("name", "options", "rows", "classes"),
    [
        ("intent/banking77/test.csv.xz", {}, 3080, 77),
        ("intent/snips/test.tsv", {}, 700, 7),
        ("intent/atis/test.tsv", {}, 893, 20),
        ("intent/clinc150/data_full.json.xz", {"split": "test"}, 4500, 150),
        ("intent/clinc150/data_full.json.xz", {"split": "oos_test"}, 1000, 1),
    ],
)
def test_intents(name: str, options: dict, rows: int, classes: int) -> None:
    counts = label_counts(opened(name, "classify", **options))
    assert (sum(counts.values()), len(counts)) == (rows, classes)


@pytest.mark.parametrize(
    ("name", "rows", "mean"), [("sts-dev.csv.xz", 1500, 2.36), ("sts-test.csv.xz", 1379, 2.61)]
)
def test_similarities_with_ragged_rows(name: str, rows: int, mean: float) -> None:
    file = opened(f"glue/STS-B/{name}", "regress", text=["#6", "#7"], label="#5")
    values = [example.value for example in file]
    assert len(values) == rows
    assert sum(values) / rows == pytest.approx(mean, abs=0.005)
    assert (min(values), max(values)) == (0, 5)


def test_a_test_file_without_labels() -> None:
    file = opened("glue/CoLA/test_unlabelled.tsv", "classify", needs_labels=False)
    assert Counter(example.labels for example in file) == {None: 1063}


ENTITIES = {"LOC": 1668, "MISC": 702, "ORG": 1661, "PER": 1617}


@pytest.mark.parametrize(
    ("name", "sentences", "words", "tags"),
    [
        ("tagging/conll2003_test.txt.xz", 3453, 46435, 9),
        ("tagging/en_ewt-ud-test.conllu.xz", 2077, 25094, 17),
        ("intent/snips/valid.tsv", 700, 6384, 70),
    ],
)
def test_tagged_sentences(name: str, sentences: int, words: int, tags: int) -> None:
    found: list[TaggedSentence] = list(opened(name, "tag"))
    counts = label_counts(found)
    assert (len(found), sum(counts.values()), len(counts)) == (sentences, words, tags)
    assert sum(len(sentence.words) for sentence in found) == words
    if "conll2003" in name:
        begun = {tag[2:]: count for tag, count in counts.items() if tag.startswith("B-")}
        assert begun == ENTITIES


@pytest.mark.parametrize(
    ("name", "questions", "unanswerable"),
    [
        ("squad/squad_v1.1_train_subset4330.jsonl.xz", 4330, 0),
        ("squad/squad_v2.0_dev_6078.json.xz", 6078, 3168),
        ("squad/xquad.en.json.xz", 1190, 0),
    ],
)
def test_questions(name: str, questions: int, unanswerable: int) -> None:
    found: list[Question] = list(opened(name, "answer"))
    assert len({question.id for question in found}) == len(found) == questions
    assert sum(question.answers == () for question in found) == unanswerable
