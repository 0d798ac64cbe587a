"""Elementary functions in double precision."""

from __future__ import annotations

import numba as nb
import numpy as np
import pytest

from coffea_iqn.numerics import double

RNG = np.random.default_rng(0)
NUMBERS = {
    "log": np.concatenate([np.exp(RNG.uniform(-700, 700, 50_000)), RNG.uniform(0.5, 2.0, 50_000)]),
    "exp": np.concatenate([RNG.uniform(-700, 700, 50_000), RNG.uniform(-1, 1, 50_000)]),
}


def each(function, *columns):
    """Evaluate a function on each row of some columns, in compiled code."""

    @nb.njit(error_model="numpy")
    def of_rows(first, second):
        return [function(first[i], second[i]) for i in range(len(first))]

    @nb.njit(error_model="numpy")
    def of_numbers(numbers):
        return [function(number) for number in numbers]

    return np.array(of_rows(*columns) if len(columns) == 2 else of_numbers(*columns))


@pytest.mark.parametrize("name", NUMBERS)
def test_logarithms_and_powers(name):
    found, expected = each(getattr(double, name), NUMBERS[name]), getattr(np, name)(NUMBERS[name])
    np.testing.assert_allclose(found, expected, rtol=1e-15, atol=0.0)


def test_a_logarithm_that_is_none_is_not_a_number():
    assert np.isnan(each(double.log, np.array([0.0, -1.0, np.inf, -np.inf, np.nan]))).all()


def test_powers_end_where_double_precision_does():
    found = each(double.exp, np.array([-1e4, 0.0, 1e4, -np.inf, np.inf, np.nan]))
    assert found[1] == 1.0
    assert np.isfinite(found[:-1]).all()
    assert (np.diff(found[:3]) > 0.0).all()
    assert np.isnan(found[-1])


@pytest.mark.parametrize("most", [1.0, 10.0, 1e5])
def test_sines_and_cosines(most):
    angles = np.concatenate([RNG.uniform(-most, most, 50_000), np.arange(-8, 9) * np.pi / 4])
    found = each(double.sine_and_cosine, angles)
    np.testing.assert_allclose(found, np.stack([np.sin(angles), np.cos(angles)], axis=1), rtol=0.0, atol=2.5e-16)


def test_angles_without_a_number_have_no_sine():
    assert np.isnan(each(double.sine_and_cosine, np.array([np.nan, np.inf]))).all()


def test_angles_of_directions():
    y, x = RNG.normal(size=(2, 50_000))
    special = (
        np.array([0.0, 0.0, 1.0, -1.0, 0.0, 1e-300, 1.0, 7.0, 11.0]),
        np.array([0.0, -1, 0, 0, 1, 1e-300, 1, 16, 16]),
    )
    y, x = np.concatenate([y, special[0]]), np.concatenate([x, special[1]])
    np.testing.assert_allclose(each(double.arctan2, y, x), np.arctan2(y, x), rtol=0.0, atol=5e-16)
    np.testing.assert_array_equal(double.angles(y, x), each(double.arctan2, y, x))


def test_numbers_taken_together_have_the_bits_of_each_alone():
    for name, numbers in NUMBERS.items():
        np.testing.assert_array_equal(getattr(double, f"{name}s")(numbers), each(getattr(double, name), numbers))
    phi = RNG.uniform(-np.pi, np.pi, 1001)
    np.testing.assert_array_equal(np.stack(double.directions(phi), axis=1), each(double.sine_and_cosine, phi))
    columns, numbers = np.zeros((1001, 5), np.float32), NUMBERS["log"][-2002:]
    nb.njit(lambda of, out: double.write_logs(of, (1, 4), out))(numbers.reshape(2, 1001).copy(), columns)
    logs = each(double.log, numbers).astype(np.float32).reshape(2, 1001)
    np.testing.assert_array_equal(columns, np.stack([0 * logs[0], logs[0], 0 * logs[0], 0 * logs[0], logs[1]], axis=1))
