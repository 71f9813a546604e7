"""A size small enough to train in a second, and recipes for it."""

import pytest

from bert_mobile.train.recipe import Phase, Recipe
from bert_mobile.variants import VARIANTS, Variant

NANO = Variant("nano", 2, 32, 2, 64, 1, "for tests")


@pytest.fixture(scope="package", autouse=True)
def nano():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VARIANTS, NANO.name, NANO)
        yield


@pytest.fixture(scope="package")
def recipe(tiny_corpus):
    """Return a function that makes a recipe of twelve steps, with changes."""

    def recipe(**changes):
        settings = {
            "corpus": str(tiny_corpus),
            "variant": "nano",
            "phases": (Phase(0.75, 32, 8), Phase(0.25, 48, 4)),
            "steps": 12,
            "learning_rate": 3e-3,
            "warmup_steps": 2,
            "log_every": 1,
            "evaluate_every": 6,
            "evaluation_batches": 2,
            "save_every": 4,
            "precision": "fp32",
        }
        return Recipe(**settings | changes)

    return recipe
