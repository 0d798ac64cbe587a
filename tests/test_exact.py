from __future__ import annotations

from fractions import Fraction

import hist
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coffea_iqn.histograms.binning import Binning, finder
from coffea_iqn.histograms.filling import AXES
from coffea_iqn.numerics.exact_sums import Weights, add, event_entries, merge, split

WEIGHTS = st.lists(st.floats(-1e9, 1e9, width=32, allow_subnormal=False), min_size=1, max_size=50)
EDGE = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
AXIS = hist.axis.Regular(3, 0, 1, name="x")
EVERY_AXIS = {axis.name: axis for axes in AXES.values() for axis in axes}


def bin_sums(x, weights, event=None):
    """Return the sums in the bins of AXIS, by limb."""
    bins = np.searchsorted(AXIS.edges, x, side="right").astype(np.uint32)[None]
    limbs, parts = Weights.of(weights)
    totals = np.zeros((len(limbs), AXIS.extent, 2))
    add(totals, bins, np.arange(len(x)) if event is None else event, parts)
    return {limb: total.T for limb, total in zip(limbs, totals, strict=True)}


def merged(sums):
    return merge(sums or {0: np.zeros((2, AXIS.extent))})


@settings(deadline=None)  # the first call compiles
@given(WEIGHTS)
def test_parts_add_up(weights):
    values = np.array(weights)
    for k, value in enumerate(weights):
        assert sum((Fraction(part[k]) for part in split(values).values()), Fraction(0)) == Fraction(value)


@settings(deadline=None)  # the first call compiles
@given(WEIGHTS, st.randoms(use_true_random=False))
def test_any_order_and_any_chunks_give_the_same_bits(weights, random):
    values = np.array(weights)
    x = np.linspace(-0.2, 1.2, len(values))
    whole = merged(bin_sums(x, values))
    order = list(range(len(values)))
    random.shuffle(order)
    cut = random.randrange(len(values) + 1)
    total = {0: np.zeros((2, 5))}
    for rows in (order[:cut], order[cut:]):
        for limb, part in bin_sums(x[rows], values[rows]).items():
            total[limb] = total.get(limb, 0.0) + part
    np.testing.assert_array_equal(merge(total), whole)


def test_sums_equal_those_of_hist():
    rng = np.random.default_rng(0)
    x, weights, event = rng.uniform(-0.5, 1.5, 1000), rng.lognormal(size=400), rng.integers(0, 400, 1000)
    values, variances = merge(bin_sums(x, weights, event))
    view = hist.Hist(AXIS, storage=hist.storage.Weight()).fill(x, weight=weights[event]).view(flow=True)
    np.testing.assert_allclose(values, view.value, rtol=1e-12)
    np.testing.assert_allclose(variances, view.variance, rtol=1e-12)


def test_weights_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="1 of 3"):
        split(np.array([1.0, np.nan, 2.0]))


def test_the_smallest_weights_are_split_too():
    parts = split(np.array([5e-324, 1e-310, 1.0]))
    np.testing.assert_array_equal(sum(parts[limb] for limb in sorted(parts)), [5e-324, 1e-310, 1.0])


@settings(deadline=None)  # the first call compiles
@given(WEIGHTS, st.randoms(use_true_random=False))
def test_entries_of_an_event_in_a_bin_count_as_one_weight(weights, random):
    values = np.array(weights)
    event = np.repeat(np.arange(len(values)), 3)
    x = np.tile([0.1, 0.1, 0.9], len(values))

    def sums_of(x, event):
        bins, of_cells = event_entries(np.searchsorted(AXIS.edges, x, side="right")[None], event, values, share=0.25)
        return merged(bin_sums(np.r_[-1.0, AXIS.centers, 2.0][bins[0]], of_cells))

    sums, variances = sums_of(x, event)
    np.testing.assert_allclose(sums[[1, 3]], [values.sum() / 2, values.sum() / 4], atol=1e-6 * np.abs(values).sum())
    np.testing.assert_allclose(variances[[1, 3]], [(values**2).sum() / 4, (values**2).sum() / 16], rtol=1e-9)
    order = random.sample(range(len(event)), len(event))
    np.testing.assert_array_equal(sums_of(x[order], event[order]), [sums, variances])


@pytest.mark.parametrize("name", EVERY_AXIS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_bins_are_those_of_the_axis(name, dtype):
    axis = EVERY_AXIS[name]
    if isinstance(axis, hist.axis.Integer) or dtype is np.int32:
        values = np.arange(-5, 5000, dtype=np.int32)
    else:
        edges = np.asarray(axis.edges, dtype=dtype)
        there = np.random.default_rng(0).uniform(1.1 * edges[0] - 1.0, 1.1 * edges[-1], 10_000).astype(dtype)
        beside = [np.nextafter(edges, dtype(side)) for side in (-np.inf, np.inf)]
        values = np.concatenate([edges, *beside, there, np.array([0.0, -0.0, np.inf, -np.inf, np.nan], dtype)])
    np.testing.assert_array_equal(finder(axis)(values), axis.index(values) + 1)


@settings(deadline=None)  # the first call compiles
@given(st.lists(EDGE, min_size=2, max_size=40, unique=True), st.lists(st.floats(), max_size=40))
def test_bins_of_any_edges_are_those_of_the_axis(edges, values):
    axis = hist.axis.Variable(sorted(edges))
    x = np.array([*values, *edges, *np.nextafter(edges, -np.inf), *np.nextafter(edges, np.inf)])
    np.testing.assert_array_equal(finder(axis)(x), axis.index(x) + 1)


def test_axes_without_fixed_edges_or_flow_bins_are_refused():
    for axis in (
        hist.axis.Regular(3, 0, 1, flow=False),
        hist.axis.Regular(3, 0, 1, circular=True),
        hist.axis.Regular(3, 1, 10, transform=hist.axis.transform.log),
        hist.axis.StrCategory(["a"]),
    ):
        with pytest.raises(TypeError, match="expected fixed edges"):
            finder(axis)


def test_histograms_in_a_row_have_bins_of_their_own():
    x, y = hist.axis.Variable([0, 1, 3], name="x"), hist.axis.Regular(2, 0, 1, name="y")
    binning = Binning({"xy": (x, y), "y": (y,)})
    assert binning.places == {"xy": slice(0, 16), "y": slice(16, 20)}
    assert binning.n_bins == 20
    bins = binning.bins({"x": np.array([-1.0, 2.0]), "y": np.array([0.6, 7.0])})
    assert bins.tolist() == [[2, 11], [18, 19]]
