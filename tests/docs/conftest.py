"""Texts for the README's `texts/` folder."""

import random

import pytest

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
