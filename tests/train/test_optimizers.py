"""The learning rate, AdamW's groups, Muon against PyTorch's, and averaged weights."""

import math

import pytest
import torch

from bert_mobile.train.optimizers import (
    averaged_weights,
    learning_rate,
    make_optimizers,
    orthogonalized,
)


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


@pytest.mark.parametrize(("done", "expected"), [(0.0, 2.0), (0.8, 2.0), (0.9, 1.0), (1.0, 0.0)])
def test_a_plateau_is_held_until_the_decay(recipe, done, expected):
    settings = recipe(learning_rate=2.0, warmup_steps=0, decay_share=0.2)
    assert learning_rate(settings, 100, done) == pytest.approx(expected)


def test_going_on_from_weights_alone_rises_again_but_not_above_the_runs_own_warm_up(recipe):
    settings = recipe(learning_rate=1.0, warmup_steps=100, rewarm_steps=10, decay_share=0.1)
    rates = [learning_rate(settings, step, 0.0, 50) for step in (50, 54, 69, 199)]
    assert rates == pytest.approx([0.1, 0.5, 0.7, 1.0])


def test_vectors_do_not_decay(recipe):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    [optimizer] = make_optimizers(model, recipe(weight_decay=0.5))
    decaying, others = optimizer.param_groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.5, 0.0)
    assert [p.dim() for p in decaying["params"]] == [2]
    assert [p.dim() for p in others["params"]] == [1, 1, 1]


def test_a_first_step_of_adam_by_hand(recipe):
    """With bias correction the first step is the rate times the gradient's sign, and the decay."""
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, 2.0)
    [optimizer] = make_optimizers(model, recipe(learning_rate=0.1, weight_decay=0.5, epsilon=1e-6))
    model.weight.grad = torch.tensor([[3.0]])
    optimizer.step()
    expected = 2.0 * (1 - 0.1 * 0.5) - 0.1 * 3 / (3 + 1e-6)
    assert math.isclose(model.weight.item(), expected, rel_tol=1e-6)


class Layered(torch.nn.Module):
    """Matrices of two shapes in layers, one of them twice, and one outside."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        shapes = [(8, 24), (24, 8), (24, 8)]
        self.layers = torch.nn.ModuleList(torch.nn.Linear(*shape) for shape in shapes)
        self.outside = torch.nn.Linear(8, 8)

    def give_gradients(self, seed):
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_muon_takes_the_matrices_of_the_layers_only(recipe):
    model = Layered()
    adamw, muon = make_optimizers(model, recipe(optimizer="muon"))
    taken = {id(p) for group in muon.param_groups for p in group["params"]}
    assert taken == {id(layer.weight) for layer in model.layers}
    others = {id(p) for group in adamw.param_groups for p in group["params"]}
    assert others == {id(p) for p in model.parameters()} - taken


def test_muon_agrees_with_that_of_pytorch(recipe):
    """PyTorch's computes in bfloat16, hence the tolerance of a few hundredths of an update."""
    ours, theirs = Layered(), Layered()
    _, muon = make_optimizers(ours, recipe(optimizer="muon", learning_rate=0.1))
    reference = torch.optim.Muon(
        [layer.weight for layer in theirs.layers],
        lr=0.1,
        weight_decay=0.01,
        adjust_lr_fn="match_rms_adamw",
    )
    for step in range(3):
        for model, optimizer in ((ours, muon), (theirs, reference)):
            model.give_gradients(step)
            optimizer.step()
    for one, other in zip(ours.layers, theirs.layers, strict=True):
        torch.testing.assert_close(one.weight, other.weight, atol=6e-3, rtol=0)
        moved = (one.weight - Layered().layers[0].weight) if one.in_features == 8 else one.weight
        assert moved.abs().mean() > 0.03  # the tolerance is small beside what happened


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 40, 8), (1, 8, 40)])
def test_orthogonalized_matrices_have_singular_values_near_one(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonalized(matrices))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_averaged_weights_are_the_moving_average(recipe):
    model = torch.nn.Linear(2, 1, bias=False)
    [optimizer] = make_optimizers(model, recipe(average_decay=0.75, learning_rate=0.1))
    average = None
    for step in range(4):
        model.weight.grad = torch.full((1, 2), float(step - 1))
        optimizer.step()
        now = model.weight.detach().clone()
        average = now if average is None else 0.75 * average + 0.25 * now
    with averaged_weights([optimizer]):
        torch.testing.assert_close(model.weight.detach(), average)
    torch.testing.assert_close(model.weight.detach(), now)
    assert not torch.equal(now, average)
