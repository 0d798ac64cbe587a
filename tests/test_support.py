"""Support of reco jets: no draw of any emulator or backend leaves it, and levels stay uniform."""

from __future__ import annotations

from dataclasses import replace

import awkward as ak
import numpy as np
import pytest
from coffea.nanoevents import NanoEventsFactory

from coffea_iqn import IQNFolder, bundle
from coffea_iqn.data import BUNDLES, sample_path
from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.files.inputs import NanoSchema
from coffea_iqn.iqn.network import EXACT, WITH_DENSITY
from coffea_iqn.jets.context import N_COLUMNS
from coffea_iqn.jets.features import ETA, MASS, PHI, PT, SCALES
from coffea_iqn.jets.support import distances, energies
from coffea_iqn.training.emulators import train
from coffea_iqn.training.recipes import RECIPES
from conftest import TINY, emulators_of, make_pairs

LEVELS = (2.0**-24, 1e-4, 0.5, 1.0 - 1e-4, 1.0 - 2.0**-24)


def every_level(n, emulator):
    """Make levels of n jets, most of them as near to 0 or 1 as single precision allows."""
    return np.random.default_rng(2).choice(np.array(LEVELS, dtype=np.float32), (n, emulator.network.widths[0]))


def jets_all_over(n):
    """Make gen jets (N, 4) in the whole detector and slightly beyond, from the softest to the hardest possible."""
    rng = np.random.default_rng(1)
    pt, eta = 10.0 * 400.0 ** rng.uniform(size=n), rng.uniform(-5.4, 5.4, n)
    pt = np.minimum(pt, 6500.0 / np.cosh(eta))
    mass = pt * rng.uniform(0.0, 0.4, n)
    return np.stack([pt, eta, rng.uniform(-np.pi, np.pi, n), mass], axis=1).astype(np.float32)


def usual_jets(emulator, n):
    """Make gen jets like those an emulator was trained on; for a shipped one, all possible jets."""
    return jets_all_over(n) if emulator.card.get("detector") else make_pairs(n).x


def backends(emulator):
    return ("torch", "numba") if emulator.is_compiled else ("torch",)


def check_inside(support, gen, reco):
    gen, reco = gen.astype(np.float64), reco.astype(np.float64)
    assert np.isfinite(reco).all()
    assert distances(gen, reco).max() < support.cone
    assert np.abs(reco[:, ETA]).max() < support.abs_eta_max
    assert energies(reco).max() < support.energy_max
    assert (reco[:, MASS] <= support.mass_over_pt_max * reco[:, PT] * (1 + 1e-6)).all()


def test_no_draw_leaves_the_support(emulator):
    gen, support = usual_jets(emulator, 8000), emulator.variables.support
    if emulator.card.get("detector"):  # jets at the edge, where backends could differ
        gen[:2000, ETA] = (support.abs_eta_max + support.cone) * np.linspace(1 - 1e-4, 1 + 1e-4, 2000)
        gen[:2000, PT], gen[:2000, MASS] = 12.0, 2.0
    for backend in backends(emulator):
        for context in (None, np.ones((len(gen), N_COLUMNS), dtype=np.float32)):
            reco, efficiency = emulator.respond(gen, every_level(len(gen), emulator), context, backend=backend)
            found = efficiency > 0.0
            check_inside(support, gen[found], reco[found])
            if emulator.acceptance is not None:  # gen jets more than a cone outside have no reco jet
                inside = support.drawn_in()
                assert (found == (np.abs(gen[:, ETA]) < inside.abs_eta_max + inside.cone)).all()


def test_jets_that_are_none_of_training_stay_in_their_cones(emulator):
    rng = np.random.default_rng(3)
    n = 5000
    gen = np.stack(
        [
            10.0 ** rng.uniform(-1, 4.5, n),
            rng.uniform(-9, 9, n),
            rng.uniform(-3, 3, n),
            10.0 ** rng.uniform(-3, 3.5, n),
        ],
        axis=1,
    ).astype(np.float32)
    for backend in backends(emulator):
        reco = emulator.sample(gen, every_level(n, emulator), backend=backend)
        assert np.isfinite(reco).all()
        assert distances(gen.astype(np.float64), reco.astype(np.float64)).max() < emulator.variables.support.cone


@emulators_of(EXACT)
@pytest.mark.parametrize("raw_pt_min", [None, 20.0, 500.0])
def test_a_threshold_holds_as_well(emulator, raw_pt_min):
    gen, threshold = usual_jets(emulator, 3000), emulator.variables.threshold(raw_pt_min)
    gen = gen[gen[:, PT] > max(threshold / 2.0, 15.0)]
    scale = SCALES[emulator.variables.scale]
    for backend in backends(emulator):
        reco = emulator.sample(gen, every_level(len(gen), emulator), raw_pt_min=raw_pt_min, backend=backend)
        assert (scale.undo(reco.astype(np.float64))[:, PT] > threshold * (1.0 - 1e-5)).all()


@emulators_of(WITH_DENSITY)
def test_levels_of_draws_are_those_drawn_at(emulator):
    pairs = make_pairs(4000)
    tau = np.random.default_rng(0).uniform(0.0, 1.0, (len(pairs.x), 4)).astype(np.float32).clip(1e-6, 1 - 1e-6)
    for backend in backends(emulator):
        reco = emulator.sample(pairs.x, tau, pairs.context, backend=backend)
        far = np.abs(emulator.cdf(pairs.x, reco, pairs.context) - tau)
        weighs = reco[:, MASS] > 0.01  # masses below zero become zero
        assert np.quantile(far[:, :MASS], 0.99) < 1e-4
        assert np.quantile(far[weighs, MASS], 0.99) < 1e-2


@emulators_of(WITH_DENSITY)
def test_the_density_ends_at_the_support(emulator):
    gen = usual_jets(emulator, 200)
    # before the scale they are above the threshold, and below the beam energy
    usual = (np.abs(gen[:, ETA]) < 4.0) & (gen[:, PT] > 20.0) & (energies(gen) < 3000.0)
    gen = gen[usual & (gen[:, MASS] < emulator.variables.support.mass_over_pt_max * gen[:, PT])]
    reco = gen + np.float32([0.0, 0.0, 1e-3, 0.0])
    assert np.isfinite(emulator.log_density(gen, reco)).all()
    cone, most = emulator.variables.support.cone, emulator.variables.support.mass_over_pt_max
    for variable, by in ((ETA, 1.01 * cone), (PHI, -1.05 * cone), (MASS, 1.1 * most * gen[:, PT])):
        outside = reco.copy()
        outside[:, variable] += by
        assert (emulator.log_density(gen, outside) == -np.inf).all()


@pytest.mark.parametrize("model", BUNDLES)
def test_no_jet_of_a_fold_leaves_detector_or_beam(model):
    """Includes unmatched jets."""
    sample = sample_path("qcd_ak5.root" if "ak5" in model else "qcd_ak4.root")
    events = NanoEventsFactory.from_root({str(sample): "Events"}, schemaclass=NanoSchema).events()
    reco = ak.flatten(ak.flatten(IQNFolder(model, replicas=5)(events.GenJet, events)))
    support = IQNFolder(model).emulator.variables.support
    assert ak.all(np.abs(reco.eta) < support.abs_eta_max)
    assert ak.all(np.hypot(reco.pt * np.cosh(reco.eta), reco.mass) < support.energy_max)


@pytest.fixture(scope="module")
def scaled():
    """An emulator with the scale and threshold of a detector, and the pairs that it learnt from."""
    pairs = make_pairs(3000)
    pairs = pairs._replace(sample=np.zeros_like(pairs.sample))  # one sample needs no origin network
    settings = replace(RECIPES["default"], **TINY, scale="delphes-cms", raw_pt_min=5.0, unmatched=False)
    return train(pairs, settings), pairs


@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_reaches_every_backend(scaled, scale):
    """A backend that lacks a scale would give unscaled jets."""
    made, pairs = scaled
    emulator = Emulator(made.network, replace(made.variables, scale=scale))
    gen, tau = pairs.x, np.random.default_rng(0).uniform(0.01, 0.99, (len(pairs.x), 4)).astype(np.float32)
    drawn = {backend: emulator.sample(gen, tau, backend=backend) for backend in ("torch", "numba")}
    np.testing.assert_allclose(drawn["numba"], drawn["torch"], rtol=2e-3, atol=2e-3)
    unscaled = Emulator(made.network, replace(made.variables, scale="none")).sample(gen, tau, backend="torch")
    expected = SCALES[scale].apply(unscaled.astype(np.float64))
    np.testing.assert_allclose(np.median(drawn["numba"][:, PT] / expected[:, PT]), 1.0, atol=1e-3)
    assert (scale == "none") == np.allclose(drawn["numba"][:, PT], unscaled[:, PT], rtol=1e-3)


@pytest.mark.parametrize(("bound", "value"), [("cone", 0.01), ("abs_eta_max", 2.0), ("energy_max", 50.0)])
def test_bounds_that_the_pairs_do_not_keep_are_refused(bound, value):
    with pytest.raises(ValueError, match=r"training: expected jets y within cone .* of .* beyond"):
        train(make_pairs(500), replace(RECIPES["default"], **TINY, **{bound: value}))


def test_bounds_are_those_asked_for_or_have_head_room():
    pairs = make_pairs(1000)
    gen, reco = (jets[pairs.matched].astype(np.float64) for jets in (pairs.x, pairs.y))
    settings = replace(RECIPES["default"], **TINY, unmatched=False, acceptance=False)
    found = train(pairs, settings).variables.support
    assert distances(gen, reco).max() < found.cone < 1.1 * distances(gen, reco).max()
    assert found.energy_max > 100.0 * energies(reco).max()  # the hardest jet is not the beam
    assert (reco[:, PT] < found.pt_offset + found.pt_slope * gen[:, PT]).all()
    known = train(pairs, replace(settings, cone=0.3, abs_eta_max=5.0, energy_max=6500.0)).variables.support
    assert (known.cone, known.abs_eta_max, known.energy_max) == (0.3, 5.0, 6500.0)


@pytest.mark.parametrize("model", BUNDLES)
def test_soft_jets_do_not_become_hard_ones(model):
    emulator = bundle.load(model)
    support, gen = emulator.variables.support, jets_all_over(5000)
    tau = np.full((len(gen), emulator.n_levels), 0.5, dtype=np.float32)
    tau[:, PT] = 1.0 - 1e-7
    reco = emulator.sample(gen, tau)[:, :4].astype(np.float64)
    raw = SCALES[emulator.variables.scale].undo(reco)[:, PT]
    most = support.pt_offset + support.pt_slope * gen[:, PT]
    assert (raw < most * (1.0 + 1e-6)).all()
    assert (raw > 0.9 * most).any()
    assert support.pt_offset < 100.0


@pytest.mark.parametrize("model", BUNDLES)
def test_shipped_bundles_know_the_support_of_their_jets(model):
    folder = IQNFolder(model)
    support, jets = folder.emulator.variables.support, folder.card["jets"]
    assert support.cone == jets["cone"]
    assert support.energy_max == 6500.0
    assert support.abs_eta_max == 5.0 or model.startswith("atlas")  # trained without --eta-max
    assert 5.0 <= support.abs_eta_max < 5.2
