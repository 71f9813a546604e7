"""Schedule, phases, precision and optimizer: what needs no run on disk."""

import math

import pytest
import torch

from bert_mobile.train.loop import _enter_phase, fraction_done, learning_rate, make_optimizer
from bert_mobile.train.recipe import Phase
from bert_mobile.train.state import Position


@pytest.mark.parametrize(
    ("step", "done", "expected"),
    [
        (0, 0.0, 0.1),  # the first of ten warm-up steps
        (4, 0.04, 0.5 * 0.96),
        (9, 0.09, 0.91),  # warm
        (50, 0.5, 0.5),
        (99, 0.99, 0.01),
        (120, 1.2, 0.0),  # beyond the budget
    ],
)
def test_learning_rate_by_hand(recipe, step, done, expected):
    settings = recipe(learning_rate=1.0, warmup_steps=10, steps=100)
    assert learning_rate(settings, step, done) == pytest.approx(expected)


def test_without_a_warm_up_the_peak_comes_first(recipe):
    assert learning_rate(recipe(learning_rate=2.0, warmup_steps=0), 0, 0.0) == 2.0


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
    shares = (0.5, 0.3, 0.2)
    settings = recipe(phases=tuple(Phase(share, 32, 4) for share in shares), steps=10)
    position, seen = Position(), []
    for step in range(10):
        _enter_phase(settings, position, step / 10)
        seen.append((position.phase, position.phase_step))
        position.phase_step += 1
    first = [(0, step) for step in range(5)]
    assert seen == [*first, (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]


def test_vectors_do_not_decay(recipe):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    decaying, others = make_optimizer(model, recipe(weight_decay=0.5)).param_groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.5, 0.0)
    assert [p.dim() for p in decaying["params"]] == [2]
    assert [p.dim() for p in others["params"]] == [1, 1, 1]


def test_a_first_step_of_adam_by_hand(recipe):
    """With bias correction the first step is the rate times the gradient's sign, and the decay."""
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, 2.0)
    optimizer = make_optimizer(model, recipe(learning_rate=0.1, weight_decay=0.5, epsilon=1e-6))
    model.weight.grad = torch.tensor([[3.0]])
    optimizer.step()
    expected = 2.0 * (1 - 0.1 * 0.5) - 0.1 * 3 / (3 + 1e-6)
    assert math.isclose(model.weight.item(), expected, rel_tol=1e-6)
