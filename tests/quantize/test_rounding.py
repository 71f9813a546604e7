"""Second-order rounding changes products less than rounding weight by weight does."""

import numpy as np
import pytest

from bert_mobile.quantize.pack import Layout, pack_matrix, unpack_codes, unpack_matrix, unpack_zeros
from bert_mobile.quantize.rounding import damped, product_error, round_second_order

LAYOUTS = [
    Layout(2, 64),
    Layout(2, 128, symmetric=True),
    Layout(4, 32),
    Layout(4, 128, symmetric=True),
    Layout(4, 64, symmetric=True, positive=True),
    Layout(8, 64),
]


def weights(rows=48, columns=128, seed=0):
    return np.random.default_rng(seed).standard_t(5, (rows, columns)).astype(np.float32)


def covariance(columns=128, rank=64, seed=1):
    """Inputs that hang together, as those of a network do, some channels stronger than others."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(columns, rank)) * np.exp(rng.normal(size=(columns, 1)) / 2)
    return mixing @ mixing.T / rank


@pytest.mark.parametrize("layout", LAYOUTS)
def test_products_change_less_than_by_rounding_weight_by_weight(layout):
    matrix, hessian = weights(), damped(covariance())
    plain = unpack_matrix(pack_matrix(matrix, layout, np.diag(hessian).astype(np.float32)))
    ours = unpack_matrix(round_second_order(matrix, layout, hessian))
    assert product_error(matrix, ours, hessian) < 0.6 * product_error(matrix, plain, hessian)


def test_scales_stay_positive_where_they_must():
    """Also where the other weights of a row would turn one round."""
    matrix, hessian = weights(rows=400, columns=64), damped(covariance(64, rank=2))
    for positive in (False, True):
        layout = Layout(2, 16, symmetric=True, positive=positive)
        rounded = round_second_order(matrix, layout, hessian)
        assert (rounded.scales < 0).any() != positive


def test_the_error_is_that_of_products_with_such_inputs():
    matrix, hessian = weights(), covariance()
    rounded = unpack_matrix(pack_matrix(matrix, Layout(4, 32)))
    x = np.random.default_rng(2).multivariate_normal(np.zeros(128), hessian, 20_000)
    seen = np.sum(np.square(x @ (matrix - rounded).T)) / np.sum(np.square(x @ matrix.T))
    assert product_error(matrix, rounded, hessian) == pytest.approx(seen, rel=0.05)


def test_sweeps_never_make_it_worse():
    matrix, hessian = weights(), damped(covariance())
    errors = [
        product_error(
            matrix,
            unpack_matrix(round_second_order(matrix, Layout(2, 64), hessian, sweeps=n)),
            hessian,
        )
        for n in range(4)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.97 * errors[0]


def test_rows_do_not_depend_on_each_other(monkeypatch):
    matrix, hessian = weights(rows=10), damped(covariance())
    whole = round_second_order(matrix, Layout(4, 64), hessian)
    monkeypatch.setattr("bert_mobile.quantize.rounding._ROWS", 3)
    parts = round_second_order(matrix, Layout(4, 64), hessian)
    assert np.mean(unpack_matrix(whole) == unpack_matrix(parts)) > 0.99  # sums differ in order


def test_uncorrelated_inputs_leave_nothing_to_make_up_for():
    """With the identity every code is the nearest one."""
    matrix = weights()
    ours = round_second_order(matrix, Layout(4, 64), np.eye(128), sweeps=0)
    scales = np.repeat(ours.scales.astype(np.float32), 64, axis=1)
    zeros = np.repeat(unpack_zeros(ours), 64, axis=1)
    nearest = np.clip(np.rint(matrix / scales + zeros), 0, 15)
    np.testing.assert_array_equal(unpack_codes(ours.codes, 4, 128), nearest)


def test_inputs_that_never_flowed_count_for_nothing_much():
    hessian = np.zeros((128, 128))
    assert np.array_equal(damped(hessian), np.eye(128))
    hessian[:64, :64] = np.eye(64)
    matrix = weights()
    rounded = unpack_matrix(round_second_order(matrix, Layout(4, 128), damped(hessian)))
    assert np.isfinite(rounded).all()
    error = np.square(matrix - rounded)
    assert error[:, :64].sum() < error[:, 64:].sum()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("huge", [1e9, 3e38])
def test_zeros_and_huge_weights_stay_finite(huge):
    matrix = weights()
    matrix[0], matrix[1, 5] = 0, huge
    rounded = unpack_matrix(round_second_order(matrix, Layout(4, 32), damped(covariance())))
    assert np.isfinite(rounded).all()
    assert not rounded[0].any()
