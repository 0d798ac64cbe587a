from __future__ import annotations

from fractions import Fraction

import hist
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coffea_iqn.exact import Weights, bin_sums, event_sums, merge, split

WEIGHTS = st.lists(st.floats(-1e9, 1e9, width=32, allow_subnormal=False), min_size=1, max_size=50)
AXES = (hist.axis.Regular(3, 0, 1),)


@given(WEIGHTS)
def test_parts_add_up(weights):
    values = np.array(weights)
    for k, value in enumerate(weights):
        assert sum((Fraction(part[k]) for part in split(values).values()), Fraction(0)) == Fraction(value)


@given(WEIGHTS, st.randoms(use_true_random=False))
def test_any_order_and_any_chunks_give_the_same_bits(weights, random):
    values = np.array(weights)
    x = np.linspace(-0.2, 1.2, len(values))
    whole = merge(bin_sums(AXES, (x,), Weights.of(values)) or {0: np.zeros((2, 5))})
    order = list(range(len(values)))
    random.shuffle(order)
    cut = random.randrange(len(values) + 1)
    total = {0: np.zeros((2, 5))}
    for rows in (order[:cut], order[cut:]):
        for limb, part in bin_sums(AXES, (x[rows],), Weights.of(values[rows])).items():
            total[limb] = total.get(limb, 0.0) + part
    np.testing.assert_array_equal(merge(total), whole)


def test_sums_equal_those_of_hist():
    rng = np.random.default_rng(0)
    x, weights = rng.uniform(-0.5, 1.5, 1000), rng.lognormal(size=1000)
    values, variances = merge(bin_sums(AXES, (x,), Weights.of(weights)))
    view = hist.Hist(*AXES, storage=hist.storage.Weight()).fill(x, weight=weights).view(flow=True)
    np.testing.assert_allclose(values, view.value, rtol=1e-12)
    np.testing.assert_allclose(variances, view.variance, rtol=1e-12)


def test_weights_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="1 of 3"):
        split(np.array([1.0, np.nan, 2.0]))


@given(WEIGHTS, st.randoms(use_true_random=False))
def test_entries_of_an_event_in_a_bin_count_as_one_weight(weights, random):
    values = np.array(weights)
    event = np.repeat(np.arange(len(values)), 3)
    x = np.tile([0.1, 0.1, 0.9], len(values))
    sums, variances = merge(event_sums(AXES, (x,), event, values, share=0.25) or {0: np.zeros((2, 5))})
    np.testing.assert_allclose(sums[[1, 3]], [values.sum() / 2, values.sum() / 4], atol=1e-6 * np.abs(values).sum())
    np.testing.assert_allclose(variances[[1, 3]], [(values**2).sum() / 4, (values**2).sum() / 16], rtol=1e-9)
    order = random.sample(range(len(event)), len(event))
    again = merge(event_sums(AXES, (x[order],), event[order], values, share=0.25) or {0: np.zeros((2, 5))})
    np.testing.assert_array_equal(again, [sums, variances])
