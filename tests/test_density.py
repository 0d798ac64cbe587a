"""The emulator as a function: levels, quantiles and densities for arrays, tensors and jagged lists."""

from __future__ import annotations

from dataclasses import replace

import awkward as ak
import numpy as np
import pytest
import torch
from scipy.stats import kstest

from coffea_iqn import Emulator, IQNFolder, bundle
from coffea_iqn.data import BUNDLES
from coffea_iqn.emulator.functions import Functions
from coffea_iqn.events import checks
from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.folder import ThresholdWarning
from coffea_iqn.iqn.network import JOINT
from coffea_iqn.jets.features import ETA, MASS, MASSLESS, PHI, PT, SCALES, VARIABLES
from conftest import context_of, emulators_of, make_pairs, open_events

FORMS = ("cms-delphes-ak4", "cms-delphes-ak4-fast")  # with and without an atom of the mass


@pytest.fixture(scope="module", params=FORMS)
def law(request):
    return bundle.load(request.param)


def jets(n, seed=0):
    """Make gen jets in the barrel and both endcaps."""
    rng = np.random.default_rng(seed)
    pt = 20.0 + rng.exponential(40.0, n)
    mass = pt * rng.uniform(0.08, 0.2, n)
    return np.stack([pt, rng.uniform(-4.0, 4.0, n), rng.uniform(-np.pi, np.pi, n), mass], axis=1)


def draws(emulator, gen, low=0.02, seed=1):
    """Draw reco jets at levels from low to 1 - low."""
    tau = np.random.default_rng(seed).uniform(low, 1.0 - low, gen.shape).astype(np.float32)
    return emulator.sample(gen, tau).astype(np.float64)


def with_one(emulator, reco, k, values):
    """Replace variable k of reco jets; eta is replaced before the scale, which depends on it."""
    scale, other = SCALES[emulator.variables.scale], reco.copy()
    if k == ETA:
        other = scale.undo(reco)
    other[:, k] = values
    return scale.apply(other) if k == ETA else other


@emulators_of(JOINT)
def test_what_draws_all_at_once_refuses_what_is_of_one_variable(emulator):
    gen = jets(20)
    tau = np.full((20, 4), 0.5)
    for ask in (
        lambda: emulator.quantile(gen, tau, gen),
        lambda: emulator.log_density(gen, gen, each=True),
        lambda: emulator.marginal("pt"),
        lambda: emulator.sample(gen, tau, raw_pt_min=500.0),
        lambda: emulator.efficiency(gen, raw_pt_min=500.0),
    ):
        with pytest.raises(NotImplementedError, match=f"expected .*{emulator.network.type}"):
            ask()
    if not emulator.network.has_density:
        with pytest.raises(NotImplementedError, match="expected a member with a density, one of SplineIQN"):
            emulator.log_density(gen, gen)
        return
    massless = gen.copy()
    massless[::2, MASS] = 0.0
    found = emulator.log_density(gen, massless)
    assert np.isnan(found[::2]).all()
    np.testing.assert_array_equal(found[1::2], emulator.log_density(gen, gen)[1::2])


@pytest.mark.parametrize("model", BUNDLES)
def test_arrays_and_tensors_go_through_one_formula(model):
    emulator, gen = bundle.load(model), jets(500)
    reco, tau = draws(emulator, gen, 0.0005), np.random.default_rng(2).uniform(0.001, 0.999, gen.shape)
    context = make_pairs(500).context.astype(np.float64)
    here, there = Functions.of_arrays(emulator), emulator.on("cpu", double=True)
    for name, arrays in (
        ("levels", (gen, reco, context)),
        ("log_densities", (gen, reco, context)),
        ("quantiles", (gen, tau, reco, context)),
        ("efficiency", (gen, context)),
    ):
        with torch.no_grad():
            tensors = getattr(there, name)(*map(torch.tensor, arrays), threshold=12.0)
        assert not torch.isnan(tensors).any()
        np.testing.assert_allclose(getattr(here, name)(*arrays, threshold=12.0), tensors, rtol=1e-8, atol=1e-8)


def test_quantile_and_cdf_are_inverse_far_into_both_tails(law):
    gen = jets(300)
    reco, tau = draws(law, gen), np.random.default_rng(3).uniform(1e-6, 1.0 - 1e-6, gen.shape)
    tau[:100], tau[100:200] = np.geomspace(1e-6, 0.1, 100)[:, None], 1.0 - np.geomspace(1e-6, 0.1, 100)[:, None]
    quantiles = law.quantile(gen, tau, reco)
    for k in range(4):
        again = law.cdf(gen, with_one(law, reco, k, quantiles[:, k]))[:, k]
        inside = quantiles[:, MASS] >= MASSLESS if k == MASS else np.ones(len(gen), dtype=bool)  # outside the atom
        assert inside.sum() > 200
        assert np.abs(again - tau[:, k])[inside].max() < 1e-5


@pytest.mark.parametrize("k", range(4))
def test_each_conditional_density_integrates_to_one(law, k):
    z = np.linspace(-14.0, 14.0, 4001)
    tau = np.clip(1.0 / (1.0 + np.exp(-z)), 1e-6, 1.0 - 1e-6)[:, np.newaxis].repeat(4, axis=1)
    for gen_jet, reco_jet in zip(jets(3, seed=5), draws(law, jets(3, seed=5)), strict=True):
        gen, reco = (np.tile(jet, (len(z), 1)) for jet in (gen_jet, reco_jet))
        values = law.quantile(gen, tau, reco)[:, k]
        if k == MASS:
            values = np.maximum(values, MASSLESS)
        values = np.where(k == PHI, gen_jet[PHI] + np.mod(values - gen_jet[PHI] + np.pi, 2 * np.pi) - np.pi, values)
        density = np.exp(law.log_density(gen, with_one(law, reco, k, values), each=True)[:, k])
        total = abs(np.trapezoid(density, values))
        if k == MASS:  # the atom, or the probability below zero of a law without one
            total += np.exp(law.log_density(gen[:1], with_one(law, reco, k, 0.0)[:1], each=True)[0, MASS])
        assert total == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("model", BUNDLES)
def test_massless_jets_are_as_likely_as_they_are_drawn(model):
    """Those drawn with a mass below `MASSLESS` count among them."""
    emulator = bundle.load(model)
    gen = np.tile([30.0, 3.5, 0.3, 0.01], (40_000, 1)).astype(np.float32)
    tau = np.random.default_rng(8).uniform(1e-6, 1.0 - 1e-6, (len(gen), emulator.n_levels)).astype(np.float32)
    reco = emulator.sample(gen, tau)[:, :4]
    massless = reco.copy()
    massless[:, MASS] = 0.0
    p = np.exp(emulator.log_density(gen, massless, each=True)[:, MASS])
    drawn = reco[:, MASS] < MASSLESS if MASS in emulator.variables.atoms["atoms"] else reco[:, MASS] <= 0.0
    assert drawn.mean() == pytest.approx(p.mean(), abs=4.0 * np.sqrt(p.mean() / len(gen)))


def test_gradients_are_finite_differences(law):
    gen = jets(100)
    reco = draws(law, gen)
    on = law.on("cpu", double=True)
    tensors = [torch.tensor(columns, requires_grad=True) for columns in (gen, reco)]
    found = torch.autograd.grad(on.log_density(*tensors, acceptance=True).sum(), tensors)
    for which, gradient in enumerate(found):
        for k, step in enumerate((1e-5, 1e-7, 1e-7, 1e-6)):
            ends = []
            for sign in (-1.0, 1.0):
                moved = [gen, reco]
                moved[which] = moved[which] + sign * step * (np.arange(4) == k)
                ends.append(law.log_density(*moved, acceptance=True))
            slope = (ends[1] - ends[0]) / (2.0 * step)
            # except for a jet that the step moves across a knot of a spline
            off = np.abs(gradient[:, k].numpy() - slope) / (1.0 + np.abs(slope))
            assert np.sort(off)[-2] < 1e-4, (which, k)


def test_acceptance_is_the_logarithm_of_the_efficiency(law):
    gen = jets(50)
    gen[7, ETA] = 6.0  # too far forward for any reco jet
    reco = draws(law, gen)
    terms = law.log_density(gen, reco, acceptance=True, each=True, raw_pt_min=14.0)
    with np.errstate(divide="ignore"):
        efficiency = np.log(law.efficiency(gen, raw_pt_min=14.0))
    np.testing.assert_allclose(terms[:, 4], efficiency, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(law.log_density(gen, reco, acceptance=True, raw_pt_min=14.0), terms.sum(axis=1))
    assert terms[7, 4] == -np.inf
    np.testing.assert_array_equal(terms[:, :4], law.log_density(gen, reco, each=True, raw_pt_min=14.0))


def test_jets_drawn_at_the_very_edges_have_a_density(law):
    """Single precision moves some of them slightly beyond the bound."""
    gen = jets(400)
    for k in range(4):
        for level in (1e-7, 1.0 - 1e-7):
            tau = np.where(np.arange(4) == k, level, 0.5)[np.newaxis].repeat(len(gen), axis=0).astype(np.float32)
            assert np.isfinite(law.log_density(gen, law.sample(gen, tau))).all()


def test_beyond_the_support_levels_are_0_or_1(law):
    gen = jets(20)
    reco = draws(law, gen)
    for k, by, level in ((PHI, -0.3, 0.0), (PHI, 0.3, 1.0), (MASS, 1000.0, 1.0), (PT, -1.01 * reco[:, PT] + 5.0, 0.0)):
        outside = reco.copy()
        outside[:, k] += by
        assert (law.cdf(gen, outside)[:, k] == level).all()
        assert (law.log_density(gen, outside) == -np.inf).all()


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_marginal_is_the_law_of_draws(law, variable):
    k, n = VARIABLES.index(variable), 20_000
    of_one = law.marginal(variable, points=8 if k == PT else 512)
    for gen_jet in ([45.0, -1.9, 3.1, 6.0], [25.0, 0.4, 0.3, 3.0]):
        gen = np.tile(gen_jet, (n, 1))
        drawn = draws(law, gen, 1e-6)[:, k]
        some = np.unique(drawn.astype(np.float32))[:: n // 150].astype(np.float64)
        level = of_one.cdf(gen[: len(some)], some)
        from_behind = (np.mod(phi - gen_jet[PHI] + np.pi, 2 * np.pi) if k == PHI else phi for phi in (drawn, some))
        drawn, ends = from_behind
        expected = np.searchsorted(np.sort(drawn), ends + 1e-7, side="right") / n
        away = some >= MASSLESS if k == MASS else np.ones(len(some), dtype=bool)
        assert np.abs(level - expected)[away].max() < 1.7 / np.sqrt(n) + 1e-3  # Kolmogorov test with p below 1 %


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_marginal_s_density_is_the_slope_of_its_cdf_and_its_quantile_the_inverse(law, variable):
    gen = jets(20)
    of_one = law.marginal(variable, points=8)
    tau = np.linspace(0.02, 0.98, len(gen))
    values = of_one.quantile(gen, tau)
    np.testing.assert_allclose(of_one.cdf(gen, values), tau, atol=1e-9)
    step = 1e-4 * (values if variable in ("pt", "mass") else 0.01)
    ends = [of_one.cdf(gen, values + sign * step) for sign in (-1.0, 1.0)]
    slope = (ends[1] - ends[0]) / (2.0 * step)
    off = np.abs(np.exp(of_one.log_density(gen, values)) / slope - 1.0)
    assert np.median(off) < 1e-6
    assert np.sort(off)[-2] < 1e-3  # except near a knot
    with_efficiency = of_one.log_density(gen, values, acceptance=True)
    np.testing.assert_allclose(
        with_efficiency - of_one.log_density(gen, values), np.log(law.efficiency(gen)), atol=1e-6
    )


@pytest.mark.parametrize(("variable", "points", "largest"), [("pt", 8, 3e-5), ("eta", 256, 3e-4), ("mass", 256, 5e-3)])
def test_more_points_change_a_marginal_by_what_the_documentation_says(law, variable, points, largest):
    gen = jets(50)
    values = draws(law, gen)[:, VARIABLES.index(variable)]
    few, many = (law.marginal(variable, points=n).cdf(gen, values) for n in (points, 8 * points))
    assert 0.0 < np.abs(few - many).max() < largest


def test_the_marginal_of_pt_is_exact_where_no_scale_makes_it_depend_on_eta(law):
    unscaled = Emulator(law.network, replace(law.variables, scale="none"), law.acceptance, law.origin)
    gen = jets(50)
    reco = draws(unscaled, gen)
    of_one = unscaled.marginal("pt", points=7)
    np.testing.assert_allclose(of_one.cdf(gen, reco[:, PT]), unscaled.cdf(gen, reco)[:, PT], rtol=1e-12)
    each = unscaled.log_density(gen, reco, each=True)
    np.testing.assert_allclose(of_one.log_density(gen, reco[:, PT]), each[:, PT], rtol=1e-10)


def test_the_atom_of_the_mass_is_as_large_as_the_fraction_drawn(law):
    gen = np.tile([30.0, 3.5, 0.3, 0.3], (20_000, 1))  # nearly massless
    drawn = (draws(law, gen, 1e-6)[:, MASS] == 0.0).mean()
    assert drawn > 0.01
    of_one = law.marginal("mass", points=1024)
    atom = np.exp(of_one.log_density(gen[:1], np.zeros(1)))[0]
    assert atom == pytest.approx(drawn, abs=4 * np.sqrt(drawn / len(gen)))
    assert of_one.cdf(gen[:1], np.zeros(1))[0] == pytest.approx(atom, rel=1e-9)
    assert of_one.quantile(gen[:1], np.array([0.5 * atom]))[0] == 0.0


def test_marginals_refuse_what_is_no_value_or_level(law):
    of_one, gen = law.marginal("pt", points=4), jets(5)
    for values, message in (
        (np.ones(4), "for each of 5 jets x, got shape"),
        (np.ma.masked_less(np.arange(5.0), 2.0), "got a masked array"),
        (np.array([30.0, np.nan, 30.0, 30.0, 30.0]), "values: expected finite numbers, got 1 of 5"),
        (np.arange(5.0), "values: expected pt above 0, got 1 of 5"),
    ):
        with pytest.raises(ValueError, match=message):
            of_one.cdf(gen, values)
    with pytest.raises(ValueError, match=r"tau: expected levels in \(0, 1\)"):
        of_one.quantile(gen, np.arange(5.0))
    with pytest.raises(ValueError, match="expected one of pt, eta, phi, mass and points from 1 on, got 'colour'"):
        law.marginal("colour")
    assert of_one.cdf(gen[:0], np.zeros(0)).shape == (0,)


def test_what_has_no_density_says_so(law):
    ratios = Emulator(law.network, replace(law.variables, targets="ratio", compression=None), origin=law.origin)
    with pytest.raises(NotImplementedError, match="expected targets that are residuals, got 'ratio'"):
        ratios.log_density(jets(3), jets(3))


@pytest.fixture(scope="module")
def folded():
    events = open_events("qcd_ak4.root", entry_stop=200)
    folder = IQNFolder("cms-delphes-ak4", seed=3)
    return folder, events, folder(events.GenJet, events)


def test_densities_of_jagged_pairs_know_the_whole_collection(folded):
    folder, events, reco = folded
    matched = ~ak.is_none(reco.matched_gen, axis=1)
    assert ak.any(~matched)
    found = folder.log_density(reco.matched_gen, reco, events, acceptance=True)
    assert ak.all(ak.is_none(found, axis=1) == ~matched)
    gen = flatten_jets(events.GenJet)
    rows = ak.flatten((reco.genJetIdx + np.cumsum(gen.counts) - gen.counts)[matched])
    jets_of = np.stack([np.asarray(ak.flatten(reco[name][matched])) for name in VARIABLES], axis=1)
    context = context_of(events.GenJet, events)
    expected = folder.emulator.log_density(gen.values[rows], jets_of, context[rows], acceptance=True)
    np.testing.assert_array_equal(ak.flatten(ak.drop_none(found)), expected)
    # neither a cut on pairs nor on events changes the others
    hard = reco[matched][reco[matched].pt > 25.0]
    cut = folder.log_density(hard.matched_gen, hard, events, acceptance=True)
    kept = ak.flatten(ak.drop_none(found)[reco[matched].pt > 25.0])
    np.testing.assert_allclose(ak.flatten(cut), kept, rtol=1e-9)  # rounding depends on the number of rows
    part = slice(50, 120)
    some = folder.log_density(reco[part].matched_gen, reco[part], events[part], acceptance=True)
    np.testing.assert_allclose(ak.flatten(ak.drop_none(some)), ak.flatten(ak.drop_none(found[part])), rtol=1e-9)


def test_levels_of_jagged_pairs_are_uniform_and_invert(folded):
    folder, events, reco = folded
    hard = reco[(reco.genJetIdx >= 0) & (reco.pt > 15.0)]
    levels = folder.cdf(hard.matched_gen, hard, events)
    assert set(levels.fields) == set(VARIABLES)
    again = folder.quantile(hard.matched_gen, levels, events, reco=hard)
    np.testing.assert_allclose(ak.flatten(again.pt), ak.flatten(hard.pt), rtol=1e-6)
    of_pt = folder.cdf(hard.matched_gen, hard, events, variable="pt", points=8)
    np.testing.assert_allclose(ak.flatten(of_pt), ak.flatten(levels.pt), atol=0.05)
    back = folder.quantile(hard.matched_gen, of_pt, events, variable="pt", points=8)
    np.testing.assert_allclose(ak.flatten(back), ak.flatten(hard.pt), rtol=1e-6)
    density = folder.log_density(hard.matched_gen, hard, events, variable="pt", points=8)
    assert np.isfinite(np.asarray(ak.flatten(density))).all()
    everything = folder.cdf(ak.drop_none(reco.matched_gen, axis=1), reco[reco.genJetIdx >= 0], events)
    assert kstest(np.asarray(ak.flatten(everything.eta)), "uniform").pvalue > 1e-4


def test_densities_warn_of_neighbours_that_were_cut_away(folded, monkeypatch):
    monkeypatch.setattr(checks, "_WARNED", set())
    folder, events = folded[0], open_events("qcd_ak4.root", entry_stop=1000)
    hard = ak.with_field(events, events.GenJet[events.GenJet.pt > 25.0], "GenJet")
    with pytest.warns(ThresholdWarning, match="gen jets begin at 25 GeV, those cms-delphes-ak4 was trained on at 10"):
        folder.log_density(hard.GenJet, hard.GenJet, hard)


def test_pairs_that_are_none_are_refused(folded):
    folder, events, reco = folded
    gen, reco = reco[reco.genJetIdx >= 0].matched_gen, reco[reco.genJetIdx >= 0]
    shifted = ak.with_field(gen, gen.pt * 1.01, "pt")
    for arguments, kind, message in (
        ((shifted, reco, events), ValueError, "gen jets: expected unchanged jets of their collection, got"),
        ((gen[:, :1], reco, events), ValueError, "reco jets: expected lists as long as those of the gen jets"),
        ((gen, reco, events[["run", "event"]]), ValueError, "expected the gen jets' collection GenJet"),
        ((gen, reco.pt, events), ValueError, "expected two arrays of one shape"),
        ((gen, ak.flatten(reco), events), TypeError, "reco jets: expected an awkward array of events"),
        ((ak.mask(gen, np.arange(len(gen)) > 3), reco, events), TypeError, "gen jets: expected an awkward array of ev"),
    ):
        with pytest.raises(kind, match=message) as error:
            folder.log_density(*arguments)
        assert "\n" not in str(error.value)
    bad = ak.with_field(reco, ak.where(reco.pt > 50.0, np.nan, reco.pt), "pt")
    with pytest.raises(ValueError, match="jets y: expected finite numbers, got"):
        folder.cdf(gen, bad, events)
    with pytest.raises(ValueError, match="quantile: expected reco jets or a variable, got neither"):
        folder.quantile(gen, folder.cdf(gen, reco, events), events)
    none = folder.log_density(gen[:0], reco[:0], events[:0])
    assert len(none) == 0
