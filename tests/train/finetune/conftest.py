"""Data that a tiny network learns in a second: the label is a word of the text."""

import csv
import random

import pytest

from bert_mobile.train.finetune import FinetuneSettings
from tests.conftest import WORDS

MOODS = {"good": "positive", "down": "negative", "came": "mixed"}


def sentence(chance, length=None):
    return chance.choices(WORDS[:60], k=length or chance.randint(3, 12))


def reviews(count, seed=0, moods=("good", "down")):
    """Return rows of a text and its label."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        mood = moods[number % len(moods)]
        words = sentence(chance)
        words.insert(chance.randrange(len(words) + 1), mood)
        rows.append((" ".join(words), MOODS[mood]))
    return rows


def write_csv(path, head, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return path


@pytest.fixture(scope="session")
def reviews_csv(tmp_path_factory):
    return write_csv(
        tmp_path_factory.mktemp("data") / "reviews.csv", ("what", "mood"), reviews(300)
    )


@pytest.fixture(scope="session")
def settings(tiny_checkpoint, reviews_csv):
    """Return a function that makes settings of a quick run, with changes."""

    def settings(kind="classify", **changes):
        usual = {
            "train": str(reviews_csv),
            "model": str(tiny_checkpoint),
            "epochs": 4,
            "batch_size": 16,
            "learning_rate": 2e-3,
            "precision": "fp32",
            "log_every": 1,
        }
        return FinetuneSettings(kind, **usual | changes)

    return settings
