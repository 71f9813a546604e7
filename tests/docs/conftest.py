"""What the README supposes: texts in `texts/`, labelled files, data of GLUE."""

import csv
import json
import random
from pathlib import Path

import pytest

from tests.evaluate.tiny_tasks import write_tasks

PEOPLE = "mother father teacher doctor captain painter farmer sister baker stranger".split()
PLACES = "house garden harbour market school library station kitchen forest bridge".split()
THINGS = "door letter lantern basket window picture clock ladder kettle map".split()
STATES = "open broken empty old heavy bright lost cold painted closed".split()
ACTIONS = "found carried opened sold repaired hid counted forgot washed wanted".split()
WEATHER = "rain snow wind fog sunshine thunder".split()


def story(rng: random.Random) -> str:
    """Return a text of two paragraphs in which a sentence has to do with the one before."""
    paragraphs = []
    for _ in range(2):
        who, where, what = rng.choice(PEOPLE), rng.choice(PLACES), rng.choice(THINGS)
        lines = [
            f"The {who} came to the {where} in the {rng.choice(WEATHER)}.",
            f"There the {who} {rng.choice(ACTIONS)} the {what}.",
            f"The {what} was {rng.choice(STATES)}, and the {where} was {rng.choice(STATES)}.",
            f"Nobody at the {where} knew who {rng.choice(ACTIONS)} it before.",
            f"In {rng.randint(1850, 1999)} the {who} left with {rng.randint(2, 90)} of them.",
        ]
        paragraphs.append(" ".join(lines))
    return "\n".join(paragraphs)


@pytest.fixture(scope="session")
def story_texts() -> list[str]:
    rng = random.Random(5)
    return [story(rng) for _ in range(400)]


def review(rng: random.Random, *, good: bool) -> str:
    word = rng.choice(["lovely", "wonderful"] if good else ["awful", "dirty"])
    return f"The {rng.choice(PLACES)} was {word}, said the {rng.choice(PEOPLE)}."


def write_rows(path: Path, delimiter: str, rows: list[tuple[str, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


def write_sentences(path: Path, rng: random.Random) -> None:
    """Write sentences that name a person and a place, a word a line."""
    frame = "{0} B-PER\nwas O\nborn O\nin O\n{1} B-LOC\n. O\n"
    names, cities = ("Ada", "Grace", "Alan"), ("London", "Paris", "Oslo")
    found = [frame.format(rng.choice(names), rng.choice(cities)) for _ in range(24)]
    path.write_text("\n".join(found), encoding="utf-8")


def write_questions(path: Path, rng: random.Random) -> None:
    """Write questions in SQuAD's form."""
    paragraphs = []
    for number in range(24):
        who = rng.choice(PEOPLE)
        asked = {"id": str(number), "question": "Who came?"}
        answers = [{"text": who, "answer_start": len("Then the ")}]
        context = f"Then the {who} came to the {rng.choice(PLACES)}."
        paragraphs.append({"context": context, "qas": [{**asked, "answers": answers}]})
    squad = {"version": "1.1", "data": [{"title": "guests", "paragraphs": paragraphs}]}
    path.write_text(json.dumps(squad), encoding="utf-8")


@pytest.fixture(scope="session")
def labelled_files(tmp_path_factory) -> Path:
    """A folder with the files that "Fine-tune it" names."""
    folder, rng = tmp_path_factory.mktemp("labelled"), random.Random(6)
    said = [(review(rng, good=good), "praise" if good else "blame") for good in [True, False] * 12]
    write_rows(folder / "reviews.csv", ",", [("what they wrote", "what it is"), *said])
    write_rows(folder / "more_reviews.csv", ",", [("what they wrote", "what it is"), *said[:8]])
    others = rng.sample(said, len(said))
    pairs = [
        (a, b, "same" if x == y else "other") for (a, x), (b, y) in zip(said, others, strict=True)
    ]
    write_rows(folder / "pairs.tsv", "\t", [("one", "another", "label"), *pairs])
    write_sentences(folder / "people.conll", rng)
    write_questions(folder / "questions.json", rng)
    write_tasks(folder / "glue_data")
    return folder
