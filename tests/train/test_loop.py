"""Budgets, phases and options of a sitting: what needs no run on disk."""

import pytest

from bert_mobile.errors import InputError
from bert_mobile.train.loop import Sitting, fraction_done, phase_at
from bert_mobile.train.recipe import Phase
from bert_mobile.train.state import Position


@pytest.mark.parametrize(
    ("budget", "position"),
    [
        ({"steps": 200}, Position(step=50)),
        ({"steps": None, "tokens": 4_000}, Position(tokens=1_000)),
        ({"steps": None, "hours": 2.0}, Position(seconds=1_800)),
    ],
)
def test_each_kind_of_budget_is_spent_to_a_quarter(recipe, budget, position):
    assert fraction_done(recipe(**budget), position) == 0.25


def test_phases_switch_at_their_shares(recipe):
    settings = recipe(phases=tuple(Phase(share, 32, 4) for share in (0.5, 0.3, 0.2)), steps=10)
    phases = [phase_at(settings, step / 10) for step in range(12)]
    assert phases == [0] * 5 + [1] * 3 + [2] * 4


@pytest.mark.parametrize(
    "options", [{"accumulation": 0}, {"workers": -1}, {"minutes": 0.0}, {"minutes": float("nan")}]
)
def test_impossible_sittings_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        Sitting(**options)
