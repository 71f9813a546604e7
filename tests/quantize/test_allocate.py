"""Bits go where they remove the most error."""

from itertools import pairwise

import numpy as np
import pytest

from bert_mobile.errors import ArtifactError
from bert_mobile.quantize.allocate import allocate, least_bytes, menu, weighed
from bert_mobile.quantize.pack import Layout


def matrix(rows, columns=128, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (rows, columns)).astype(np.float32)


def test_a_menu_is_the_convex_hull_from_cheapest_to_best():
    choices = menu("w", matrix(300), None)
    assert choices[0].layout == Layout(4, 128)
    assert choices[-1].layout.bits == 8
    slopes = [(old.error - new.error) / (new.nbytes - old.nbytes) for old, new in pairwise(choices)]
    assert all(slope > 0 for slope in slopes)
    assert slopes == sorted(slopes, reverse=True)


def test_narrow_matrices_use_the_blocks_that_divide_them():
    assert {choice.layout.block for choice in menu("w", matrix(50, 96), None)} == {32}
    assert {choice.layout.block for choice in menu("w", matrix(50, 48), None)} == {16}
    with pytest.raises(ArtifactError, match="w has 40 columns, expected a multiple of 16"):
        menu("w", matrix(50, 40), None)


def test_the_budget_is_kept_and_more_of_it_never_hurts():
    menus = {f"w{i}": menu(f"w{i}", matrix(64 * (i + 1), seed=i), None) for i in range(4)}
    errors = []
    for extra in (0, 2_000, 8_000, 20_000, 10**9):
        budget = least_bytes(menus) + extra
        chosen = allocate(menus, budget)
        assert sum(choice.nbytes for choice in chosen.values()) <= budget
        errors.append(sum(choice.error for choice in chosen.values()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3  # all at 8 bits


def test_a_matrix_that_matters_more_is_served_first():
    menus = {name: menu(name, matrix(64, seed=i), None) for i, name in enumerate("ab")}
    menus["b"] = weighed(menus["b"], 1.0)
    assert menus["b"][0].error == pytest.approx(1.0)
    chosen = allocate(menus, least_bytes(menus) + 64 * 64)
    assert (chosen["a"].layout.bits, chosen["b"].layout.bits) == (4, 8)


def test_the_matrix_with_the_larger_error_is_served_first():
    smooth = np.tile(np.linspace(-1, 1, 16, dtype=np.float32), (64, 8))  # sixteen values: no error
    menus = {"smooth": menu("smooth", smooth, None), "rough": menu("rough", matrix(64), None)}
    chosen = allocate(menus, least_bytes(menus) + 64 * 64)
    assert chosen["rough"].layout.bits == 8
    assert chosen["smooth"].layout.bits == 4
