"""Bits go where they remove the most error."""

from itertools import pairwise

import numpy as np
import pytest

from bert_mobile.errors import ArtifactError
from bert_mobile.quantize.allocate import (
    OURS,
    Storage,
    allocate,
    layouts_of,
    least_bytes,
    lower_hull,
    menu,
    weighed,
)
from bert_mobile.quantize.pack import Layout


def matrix(rows, columns=128, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (rows, columns)).astype(np.float32)


def hull(name, matrix):
    return lower_hull(menu(name, matrix, None, OURS, measured=False))


def test_a_menu_is_the_convex_hull_from_cheapest_to_best():
    choices = hull("w", matrix(300))
    assert choices[0].layout == Layout(4, 128)
    assert choices[-1].layout.bits == 8
    slopes = [(old.error - new.error) / (new.nbytes - old.nbytes) for old, new in pairwise(choices)]
    assert all(slope > 0 for slope in slopes)
    assert slopes == sorted(slopes, reverse=True)


def test_narrow_matrices_use_the_blocks_that_divide_them():
    for columns, block in ((96, 32), (48, 16)):
        assert {each.block for each in layouts_of("w", columns, OURS, measured=False)} == {block}
    with pytest.raises(ArtifactError, match="w has 40 columns, expected a multiple of 16"):
        layouts_of("w", 40, OURS, measured=False)


@pytest.mark.parametrize("measured", [False, True])
def test_a_storage_offers_what_it_holds_only(measured):
    storage = Storage(bits=(4, 8), blocks=(32,), zero_points=False, negative_scales=False)
    assert layouts_of("w", 128, storage, measured=measured) == [
        Layout(4, 32, symmetric=True, positive=True),
        Layout(8, 32),
    ]


def test_the_budget_is_kept_and_more_of_it_never_hurts():
    menus = {f"w{i}": hull(f"w{i}", matrix(64 * (i + 1), seed=i)) for i in range(4)}
    errors = []
    for extra in (0, 2_000, 8_000, 20_000, 10**9):
        budget = least_bytes(menus) + extra
        chosen = allocate(menus, budget)
        assert sum(choice.nbytes for choice in chosen.values()) <= budget
        errors.append(sum(choice.error for choice in chosen.values()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3  # all at 8 bits


def test_a_matrix_that_matters_more_is_served_first():
    menus = {name: hull(name, matrix(64, seed=i)) for i, name in enumerate("ab")}
    coarse = menus["b"][0].layout
    menus["b"] = weighed(menus["b"], {coarse: 1.0})
    assert menus["b"][0].error == pytest.approx(1.0)
    chosen = allocate(menus, least_bytes(menus) + 64 * 64)
    assert (chosen["a"].layout.bits, chosen["b"].layout.bits) == (4, 8)


def test_a_matrix_whose_loss_was_not_seen_takes_what_others_leave():
    seen, unseen = (
        menu(name, matrix(64, seed=i), None, OURS, measured=True) for i, name in enumerate("ab")
    )
    probes = [Layout(2, 64), Layout(4, 64)]
    menus = {
        "seen": lower_hull(weighed(seen, dict(zip(probes, (1e-6, 1e-8), strict=True)))),
        "unseen": lower_hull(weighed(unseen, dict.fromkeys(probes, 0.0))),
    }
    least = least_bytes(menus)
    room = menus["seen"][-1].nbytes - menus["seen"][0].nbytes
    some, all_of_it = allocate(menus, least + room), allocate(menus, 10**9)
    assert (some["seen"].layout.bits, some["unseen"].layout.bits) == (8, 2)
    assert {choice.layout.bits for choice in all_of_it.values()} == {8}


def test_the_matrix_with_the_larger_error_is_served_first():
    smooth = np.tile(np.linspace(-1, 1, 16, dtype=np.float32), (64, 8))  # sixteen values: no error
    menus = {"smooth": hull("smooth", smooth), "rough": hull("rough", matrix(64))}
    chosen = allocate(menus, least_bytes(menus) + 64 * 64)
    assert chosen["rough"].layout.bits == 8
    assert chosen["smooth"].layout.bits == 4


def test_with_text_two_bits_and_symmetric_blocks_are_on_the_menu():
    choices = menu("w", matrix(64), np.eye(128), OURS, measured=True)
    assert {(c.layout.bits, c.layout.symmetric) for c in choices} == {
        (2, True),
        (2, False),
        (4, True),
        (4, False),
        (8, True),
    }
    assert min(choices, key=lambda choice: choice.nbytes).layout == Layout(2, 128, symmetric=True)


def test_layouts_take_their_scale_from_the_measured_one_of_as_many_bits_or_fewer():
    choices = menu("w", matrix(64), None, OURS, measured=True)
    errors = {choice.layout: choice.error for choice in choices}
    probes = {Layout(2, 64): 0.3, Layout(4, 64): 0.1}
    losses = {choice.layout: choice.error for choice in weighed(choices, probes)}
    for layout, loss in losses.items():
        like = Layout(min(layout.bits, 4), 64)
        assert loss == pytest.approx(probes[like] * errors[layout] / errors[like])
