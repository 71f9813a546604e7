"""Budgets, phases, options of a sitting, divergence: what needs no run on disk."""

import pytest
import torch

from bert_mobile.errors import InputError
from bert_mobile.train.devices import World
from bert_mobile.train.loop import MOST_SKIPPED, DivergedError, Loop
from bert_mobile.train.optimizers import make_optimizers
from bert_mobile.train.recipe import Phase
from bert_mobile.train.schedule import fraction_done, phase_at
from bert_mobile.train.sitting import Sitting
from bert_mobile.train.state import Position

ALONE = World(0, 1, torch.device("cpu"))


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


class Trained:
    """A purpose of one matrix for each optimizer."""

    def __init__(self):
        self.model = torch.nn.ModuleDict(
            {"layers": torch.nn.ModuleList([torch.nn.Linear(4, 4)]), "head": torch.nn.Linear(4, 4)}
        )
        self.model["layers"].append(torch.nn.Linear(4, 4))
        self.parameters = list(self.model.parameters())


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_an_overflow_of_float16_leaves_all_weights_and_all_memories(recipe, bad):
    """One optimizer's gradients overflow; clipping has to do with all of them."""
    purpose, settings = Trained(), recipe(optimizer="muon")
    optimizers = make_optimizers(purpose.model, settings)
    assert len(optimizers) == 2
    loop = Loop(purpose, settings, optimizers, Position(), ALONE, Sitting())
    loop._scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    loop._scaler.scale(torch.zeros(1))  # it begins with the first loss
    before = [parameter.detach().clone() for parameter in purpose.parameters]
    for gradient in (bad, 1.0):
        for parameter in purpose.parameters:
            parameter.grad = torch.full_like(parameter, 8.0)
        purpose.model["head"].weight.grad[0, 0] = 8 * gradient
        loop._update()
        same = [torch.equal(*pair) for pair in zip(before, purpose.parameters, strict=True)]
        assert all(same) if gradient is bad else not any(same)
        assert all(parameter.isfinite().all() for parameter in purpose.parameters)
    assert loop._scaler.get_scale() == 4.0  # halved once


def test_float16_that_overflows_for_ever_is_divergence(recipe):
    loop = Loop(Trained(), recipe(), [], Position(), ALONE, Sitting())
    loop._scaler = torch.amp.GradScaler("cpu")
    infinite = [3.0, 2.0, 1.0, float("inf")]
    for step in range(MOST_SKIPPED - 1):
        loop._refuse_divergence(step, infinite)
    with pytest.raises(DivergedError, match="at step 99; no checkpoint was saved yet"):
        loop._refuse_divergence(99, infinite)


def test_without_a_scaler_an_infinite_norm_is_divergence_at_once(recipe):
    loop = Loop(Trained(), recipe(), [], Position(), ALONE, Sitting())
    with pytest.raises(DivergedError, match="the gradient's norm inf at step 5"):
        loop._refuse_divergence(5, [3.0, 2.0, 1.0, float("inf")])
