from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from coffea_iqn.closure import uniformity
from coffea_iqn.jets.context import N_COLUMNS
from coffea_iqn.jets.features import SCALES
from coffea_iqn.training.emulators import train
from coffea_iqn.training.pairs import JetPairs
from coffea_iqn.training.recipes import RECIPES
from coffea_iqn.validation.distortions import spoil
from conftest import make_pairs


@pytest.fixture
def gen():
    return make_pairs(300).x


def uniforms(n, emulator=None):
    """Levels of so many jets, of as few targets as an emulator draws."""
    width = 4 if emulator is None else emulator.network.widths[0]
    return np.random.default_rng(3).uniform(0.001, 0.999, (n, width)).astype(np.float32)


def test_an_emulator_shows_itself_in_a_line_and_in_a_table(emulator):
    line, table = repr(emulator), emulator._repr_html_()
    assert "\n" not in line
    assert len(line) < 200
    assert line.startswith("Emulator(anti-kt R = 0.")
    assert f"gen pt {emulator.card['domain']['gen_pt'][0]:g} to" in line
    assert emulator.network.type in line
    rows = ET.fromstring(table).findall("tr")
    assert {row[0].text for row in rows} >= {"jets", "domain", "network", "context", "detector", "training"}
    if "hash" in emulator.card:
        assert f"hash {emulator.card['hash'][:12]}" in line
    assert repr(spoil(emulator, "mass-shifted")) == line.replace("Emulator", "Spoilt", 1)


def test_a_card_cannot_write_into_a_page_and_may_lack_all(emulator):
    strange = replace(emulator, card={"detector": "<script>alert(1)</script>" * 100, "training": {"gen_jets": "<b>"}})
    table = strange._repr_html_()
    assert "<script>" not in table
    assert "<b>" not in table
    assert len(table) < 2500
    assert repr(replace(emulator, card={})).startswith(f"Emulator({emulator.network.type} ")


def test_sample_gives_jets(emulator, gen):
    reco = emulator.sample(gen, uniforms(len(gen), emulator))
    assert reco.shape == gen.shape
    assert reco.dtype == np.float32
    assert np.isfinite(reco).all()
    assert (reco[:, 0] > 0).all()
    assert (np.abs(reco[:, 2]) <= np.float32(np.pi)).all()
    assert (reco[:, 3] >= 0).all()


@pytest.mark.parametrize("n", [0, 1, 2, 7, 16, 17, 299])
def test_a_jet_does_not_depend_on_its_batch(emulator, gen, n):
    tau = uniforms(len(gen), emulator)
    np.testing.assert_array_equal(emulator.sample(gen[:n], tau[:n]), emulator.sample(gen, tau)[:n])
    np.testing.assert_array_equal(emulator.efficiency(gen[:n]), emulator.efficiency(gen)[:n])


def test_blocks_do_not_show(emulator):
    gen = make_pairs(5000).x
    tau = uniforms(len(gen), emulator)
    np.testing.assert_array_equal(emulator.sample(gen, tau)[4000:], emulator.sample(gen[4000:], tau[4000:]))


def within_bounds(emulator, reco):
    """Where the mass was neither below zero nor above its bound before it was brought there."""
    return (reco[:, 3] > 0.01) & (reco[:, 3] / reco[:, 0] < 0.999 * emulator.variables.support.mass_over_pt_max)


def test_levels_matter(emulator, gen):
    low, high = (
        emulator.sample(gen, np.full((len(gen), emulator.network.widths[0]), level, dtype=np.float32))
        for level in (0.1, 0.9)
    )
    assert (low != high).all(axis=0).any()


def test_efficiency_is_a_probability(emulator, gen):
    efficiency = emulator.efficiency(gen)
    assert efficiency.shape == (len(gen),)
    assert ((efficiency >= 0) & (efficiency <= 1)).all()
    assert efficiency.min() < efficiency.max()


def test_wrong_shapes_are_refused(emulator, gen):
    with pytest.raises(ValueError, match=r"expected (two arrays of one shape|jets x) \(N, 4\)"):
        emulator.sample(gen, uniforms(len(gen), emulator)[:, :3])


def asked(emulator, how, gen, tau):
    """What an emulator answers in each of its ways; where it needs reco jets, the gen jets are taken for them."""
    if how in ("cdf", "log_density"):
        return getattr(emulator, how)(gen, make_pairs(len(gen)).x)
    if how == "quantile":
        return emulator.quantile(gen, tau[:, :4], make_pairs(len(gen)).x)
    return emulator.efficiency(gen) if how == "efficiency" else getattr(emulator, how)(gen, tau)


WAYS = ("sample", "respond", "quantile", "cdf", "log_density", "efficiency")


@pytest.mark.parametrize("how", WAYS)
def test_jets_that_are_none_are_refused(emulator, gen, how):
    numbers = [(0, pt, "pt above 0") for pt in (0.0, -5.0, 1e-50)] + [(0, 1e50, "finite numbers")]
    numbers += [(column, bad, "finite numbers") for column in range(4) for bad in (np.nan, np.inf, -np.inf)]
    for column, value, message in numbers:
        strange = gen.astype(np.float64)
        strange[7, column] = value
        with pytest.raises(ValueError, match=f"jets x: expected {message}, got 1 of 300") as error:
            asked(emulator, how, strange, uniforms(len(gen), emulator))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("how", ["sample", "respond", "quantile"])
def test_levels_that_are_none_are_refused(emulator, gen, how):
    for level in (0.0, 1.0, -0.1, 1.1, 1.0 - 1e-9, np.nan, np.inf):
        tau = uniforms(len(gen), emulator).astype(np.float64)
        tau[7, 2] = level
        with pytest.raises(ValueError, match=r"tau: expected levels in \(0, 1\), got"):
            asked(emulator, how, gen, tau)


@pytest.mark.parametrize("how", WAYS)
def test_masked_arrays_are_refused(emulator, gen, how):
    tau = uniforms(len(gen), emulator)
    with pytest.raises(ValueError, match="jets x: expected an array without a mask"):
        asked(emulator, how, np.ma.masked_less(gen, 20.0), tau)
    if how in ("sample", "respond", "quantile"):
        with pytest.raises(ValueError, match="tau: expected an array without a mask"):
            asked(emulator, how, gen, np.ma.masked_less(tau, 0.5))


def test_reco_jets_and_context_that_are_none_are_refused(emulator, gen):
    reco = gen.copy()
    reco[3, 0] = 0.0
    for ask in (emulator.cdf, emulator.log_density, lambda *pair: emulator.quantile(gen, uniforms(len(gen)), reco)):
        with pytest.raises(ValueError, match="jets y: expected pt above 0, got 1 of 300"):
            ask(gen, reco)
    context = np.zeros((len(gen), N_COLUMNS), dtype=np.float32)
    context[5, 3] = np.nan
    with pytest.raises(ValueError, match="context: expected finite numbers, got 1 of 300"):
        emulator.sample(gen, uniforms(len(gen), emulator), context)


@pytest.fixture(scope="module")
def exact():
    """A monotone emulator with the scale and threshold of a detector, and pairs like those it learnt from."""
    pairs = make_pairs(4000, seed=3)
    lost = ~(SCALES["delphes-cms"].undo(pairs.y.astype(np.float64))[:, 0] > 10.0)
    pairs.y[lost] = np.nan
    settings = replace(RECIPES["default"], steps=200, check_every=100, scale="delphes-cms", raw_pt_min=10.0)
    matched = JetPairs(*(column[pairs.matched] for column in pairs))
    return train(pairs, settings), matched


def test_arrays_that_may_not_be_written_are_read(emulator, gen):
    tau = uniforms(len(gen), emulator)
    drawn = emulator.sample(gen, tau)
    for array in (gen, tau):
        array.setflags(write=False)
    np.testing.assert_array_equal(emulator.sample(gen, tau), drawn)
    # where a jet has all the energy there is, its mass is bounded by the difference of two large numbers
    free = drawn[:, 0] * np.cosh(drawn[:, 1]) < 0.999 * emulator.variables.support.energy_max
    again = emulator.sample(gen.astype(np.float64), tau)
    np.testing.assert_allclose(again[free], drawn[free], rtol=1e-4, atol=1e-4)


def test_unknown_and_missing_backends(emulator):
    gen, tau = make_pairs(5).x, uniforms(5)
    with pytest.raises(ValueError, match="expected one of auto, numba, torch, got 'abacus'"):
        emulator.sample(gen, tau, backend="abacus")
    if not emulator.is_compiled:
        with pytest.raises(NotImplementedError, match="expected a SplineIQN of residuals"):
            emulator.sample(gen, tau, backend="numba")


def test_quantile_inverts_cdf(exact):
    emulator, pairs = exact
    inside = within_bounds(emulator, pairs.y)
    gen, reco, context = (column[inside][:500] for column in (pairs.x, pairs.y, pairs.context))
    levels = emulator.cdf(gen, reco, context)
    again = emulator.quantile(gen, levels, reco, context)
    np.testing.assert_allclose(again, reco, rtol=2e-3, atol=2e-3)


def test_each_quantile_is_given_the_variables_before_it(exact):
    emulator, pairs = exact
    gen, tau = pairs.x[:50], uniforms(50)
    drawn = emulator.sample(gen, tau)
    np.testing.assert_allclose(emulator.quantile(gen, tau, drawn)[:, :3], drawn[:, :3], rtol=3e-4, atol=1e-4)
    np.testing.assert_allclose(emulator.quantile(gen, tau, drawn)[:, 3], drawn[:, 3], rtol=1e-3, atol=1e-3)
    other_mass = drawn * np.array([1, 1, 1, 2], dtype=np.float32)
    np.testing.assert_allclose(emulator.quantile(gen, tau, other_mass)[:, 3], drawn[:, 3], rtol=2e-2, atol=2e-2)


def test_efficiency_above_a_threshold_is_the_fraction_drawn_above_it(exact):
    emulator, pairs = exact
    gen = np.repeat(pairs.x[:5], 20_000, axis=0)
    raw = SCALES["delphes-cms"].undo(emulator.sample(gen, uniforms(len(gen), emulator)).astype(np.float64))[:, 0]
    above = (raw > 20.0).reshape(5, -1).mean(axis=1)
    expected = emulator.efficiency(pairs.x[:5], raw_pt_min=20.0)
    np.testing.assert_allclose(emulator.efficiency(pairs.x[:5]) * above, expected, atol=0.015)


def test_cdf_inverts_sample(exact):
    emulator, pairs = exact
    tau = np.random.default_rng(1).uniform(0.01, 0.99, pairs.x.shape).astype(np.float32)
    reco = emulator.sample(pairs.x, tau, pairs.context)
    inside = within_bounds(emulator, reco)
    levels = emulator.cdf(pairs.x, reco, pairs.context)
    np.testing.assert_allclose(levels[inside], tau[inside], atol=5e-3)


def test_levels_of_the_sample_it_learnt_are_nearly_uniform(exact):
    emulator, pairs = exact
    assert uniformity(emulator.cdf(pairs.x, pairs.y, pairs.context), bins=10).max() < 20


@pytest.mark.parametrize("threshold", [None, 12.0, 20.0])
def test_no_jet_below_the_threshold(exact, threshold):
    emulator, pairs = exact
    reco = emulator.sample(pairs.x, uniforms(len(pairs.x)), raw_pt_min=threshold)
    raw = SCALES["delphes-cms"].undo(reco.astype(np.float64))[:, 0]
    assert raw.min() >= (threshold or 10.0) * (1 - 1e-6)
    inside = within_bounds(emulator, reco[:50]) & (pairs.x[:50, 0] > 0.8 * (threshold or 10.0))
    levels = emulator.cdf(pairs.x[:50], reco[:50], raw_pt_min=threshold)
    np.testing.assert_allclose(levels[inside], uniforms(len(reco))[:50][inside], atol=5e-3)


def test_density_is_that_of_the_samples(exact):
    emulator, pairs = exact
    gen = np.repeat(pairs.x[:1], 200_000, axis=0)
    tau = np.random.default_rng(2).uniform(1e-6, 1 - 1e-6, gen.shape).astype(np.float32)
    reco = emulator.sample(gen, tau).astype(np.float64)
    # the integral of p over a box around the medians, by Monte Carlo, against the samples in the box
    low, high = np.quantile(reco, 0.35, axis=0), np.quantile(reco, 0.65, axis=0)
    inside = ((reco > low) & (reco < high)).all(axis=1).mean()
    points = np.random.default_rng(3).uniform(low, high, (20_000, 4))
    density = np.exp(emulator.log_density(gen[: len(points)], points))
    assert density.mean() * np.prod(high - low) == pytest.approx(inside, rel=0.1)
