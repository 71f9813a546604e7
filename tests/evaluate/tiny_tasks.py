"""Tasks in the layouts of their official downloads, small enough to be learned in a second."""

import random

from tests.conftest import WORDS

TRAIN, DEV, TEST = 48, 20, 6
COLA_TEST = 1063  # what the server expects


def sentence(chance, *words):
    found = chance.choices(WORDS[:40], k=chance.randint(3, 6)) + list(words)
    chance.shuffle(found)
    return " ".join(found)


def write_tsv(path, rows, head=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(map(str, row)) for row in ([head] if head else []) + list(rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def texts(count, words, seed):
    """Return pairs of a number and a sentence that holds the word of that number."""
    chance = random.Random(seed)
    return [(i % len(words), sentence(chance, words[i % len(words)])) for i in range(count)]


def write_cola(data):
    for split, count in (("train", TRAIN), ("dev", DEV)):
        rows = [("a1", label, "", text) for label, text in texts(count, ("down", "good"), split)]
        write_tsv(data / "CoLA" / f"{split}.tsv", rows)
    rows = [(i, text) for i, (_, text) in enumerate(texts(COLA_TEST, ("down", "good"), "test"))]
    write_tsv(data / "CoLA" / "test.tsv", rows, ("index", "sentence"))


def write_pairs(data, name, labels, splits, seed=0):
    """Write a task of sentence1, sentence2 and a label, in GLUE's manner."""
    for split, count in splits.items():
        marks = ("down", "good", "came")[: len(labels)]
        chance = random.Random(seed)
        rows = [
            (i, sentence(chance), text, labels[number])
            for i, (number, text) in enumerate(texts(count, marks, f"{name} {split}"))
        ]
        head = ("index", "sentence1", "sentence2", LABEL[name])
        write_tsv(data / name / f"{split}.tsv", rows, head)


LABEL = {"RTE": "label", "MNLI": "gold_label", "STS-B": "score"}
NLI = ("entailment", "neutral", "contradiction")


def write_tasks(data):
    """CoLA, RTE, STS-B, and MNLI with its mismatched set."""
    write_cola(data)
    write_pairs(data, "RTE", ("entailment", "not_entailment"), {"train": TRAIN, "dev": DEV})
    write_pairs(data, "STS-B", ("0.5", "2.5", "4.5"), {"train": TRAIN, "dev": DEV, "test": TEST})
    splits = {"train": TRAIN, "dev_matched": DEV, "dev_mismatched": DEV}
    write_pairs(data, "MNLI", NLI, splits)
