"""Jet observables from constituents, compared with FastJet and with values computed by hand."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.events.constituents import constituents_of
from coffea_iqn.events.names import Names
from coffea_iqn.jets.constituents import Constituents, subjettiness
from coffea_iqn.jets.shapes import NAMES, shapes
from conftest import open_events


@pytest.fixture(scope="module")
def jets():
    """Gen jets of the shipped sample, and their particles."""
    events = open_events("wwhad_ak5_particles.root")
    table = flatten_jets(events.GenJet)
    return table.values, constituents_of(events, table, Names())


def named(made):
    return dict(zip(NAMES, made.T, strict=True))


def momenta(inside):
    pt, eta, phi, mass = inside.values.T
    energy = np.sqrt((pt * np.cosh(eta)) ** 2 + mass**2)
    return np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), energy], axis=1)


def test_sums_are_those_of_the_file(jets):
    of_file, inside = jets
    made = shapes(inside, 0.5)
    np.testing.assert_allclose(made[:, 0], of_file[:, 0], rtol=5e-3)
    np.testing.assert_allclose(made[:, 1:3], of_file[:, 1:3], atol=5e-3)
    assert (made[:, 3] < of_file[:, 3] + 0.5).all()  # the particles in the file have masses
    jet = np.repeat(np.arange(len(inside.counts)), inside.counts)
    total = np.stack([np.bincount(jet, weights=column) for column in momenta(inside).T])
    np.testing.assert_allclose(made[:, 0], np.hypot(*total[:2]), rtol=1e-12)
    np.testing.assert_allclose(made[:, 1], np.arcsinh(total[2] / made[:, 0]), rtol=1e-9)
    np.testing.assert_allclose(made[:, 3] ** 2, total[3] ** 2 - (total[:3] ** 2).sum(axis=0), rtol=1e-9)


def test_shapes_are_those_of_fastjet(jets):
    fastjet = pytest.importorskip("fastjet")
    _, inside = jets
    columns = dict(zip(("px", "py", "pz", "E"), momenta(inside).T, strict=True))
    particles = ak.zip({n: ak.unflatten(m, inside.counts) for n, m in columns.items()}, with_name="Momentum4D")
    everything = fastjet.JetDefinition(fastjet.cambridge_algorithm, fastjet.JetDefinition.max_allowable_R)
    clustered = fastjet.ClusterSequence(particles, everything)
    groomed = clustered.exclusive_jets_softdrop_grooming(njets=1, beta=0.0, symmetry_cut=0.1, R0=0.5)
    made = named(shapes(inside, 0.5))
    np.testing.assert_allclose(made["soft-drop mass"], ak.to_numpy(ak.flatten(groomed.msoftdrop, axis=None)), atol=1e-4)
    for name in ("C2", "D2"):
        expected = clustered.exclusive_jets_energy_correlator(njets=1, beta=1.0, func=name.lower())
        np.testing.assert_allclose(made[name], ak.to_numpy(ak.flatten(expected, axis=None)), rtol=1e-6)


def test_a_jet_of_three_particles_by_hand():
    across = np.pi - 0.1
    values = np.array([[60.0, 0.0, across, 0.0], [30.0, 0.2, across, 0.0], [10.0, 0.0, across + 0.3 - 2 * np.pi, 0.0]])
    made = named(shapes(Constituents(values, np.full(3, 22), np.array([3])), 0.5))
    z, (near, far, wide) = np.array([0.6, 0.3, 0.1]), (0.2, 0.3, np.hypot(0.2, 0.3))
    e2, e3 = 0.18 * near + 0.06 * far + 0.03 * wide, 0.018 * near * far * wide
    assert made["multiplicity"] == 3
    assert made["pTD"] == pytest.approx(np.sqrt((z**2).sum()))
    assert made["C2"] == pytest.approx(e3 / e2**2)
    assert made["D2"] == pytest.approx(e3 / e2**3)
    pair = np.sqrt(
        2 * 60 * 30 * (np.cosh(0.2) - 1.0)
    )  # the third, a tenth of all but less than a tenth of the pt, goes
    assert made["soft-drop mass"] == pytest.approx(pair)
    assert made["z_g"] == pytest.approx(1 / 3, rel=1e-2)
    axis = np.array([0.06, across + 0.03])
    distance = np.hypot(values[:, 1] - axis[0], [-0.03, -0.03, 0.27])
    assert made["width"] == pytest.approx((z * distance).sum(), rel=1e-2)
    expected = [60.0, 30.0, 10.0, 0.0] / made["pt"]
    np.testing.assert_allclose([made[f"flow {k}"][0] for k in range(1, 5)], expected)


def test_what_needs_more_particles_is_zero():
    values = np.array([[50.0, 1.0, 0.5, 0.0], [40.0, -1.0, 3.1, 0.0], [40.0, -1.2, 3.1, 0.0]])
    made = shapes(Constituents(values, np.full(3, 22), np.array([0, 1, 2])), 0.5)
    assert not made[0].any()
    one, two = named(made[1:2]), named(made[2:])
    assert one["pt"] == pytest.approx(50.0)
    assert one["flow 1"] == pytest.approx(1.0)
    for name in ("width", "C2", "D2", "soft-drop mass", "z_g", "tau1", "tau21"):
        assert one[name] == pytest.approx(0.0, abs=1e-6), name
    assert two["tau1"] > 0.0
    assert two["C2"] == two["tau2"] == two["tau32"] == 0.0
    assert two["soft-drop mass"] == pytest.approx(two["mass"])
    assert two["z_g"] == pytest.approx(0.5)


def test_a_jet_has_the_same_shapes_in_other_company(jets):
    _, inside = jets
    ends = np.cumsum(inside.counts)
    some = Constituents(inside.values[ends[9] : ends[29]], inside.code[ends[9] : ends[29]], inside.counts[10:30])
    assert np.array_equal(shapes(some, 0.5), shapes(inside, 0.5)[10:30])


@pytest.mark.parametrize("bad", [[0.0, 0.0, 0.0, 0.0], [1.0, np.nan, 0.0, 0.0]])
def test_particles_must_be_some(bad):
    with pytest.raises(ValueError, match="particles with pt > 0 and finite numbers"):
        shapes(Constituents(np.array([bad]), np.array([22]), np.array([1])), 0.5)


def test_what_takes_long_may_be_left_out():
    jets = Constituents(
        np.array([[3.0, 0.1, 0.2, 0.0], [2.0, 0.0, 0.1, 0.0], [1.0, 0.2, 0.3, 0.0]]), np.full(3, 22), np.array([3])
    )
    whole, short = shapes(jets, 0.5)[0], shapes(jets, 0.5, triplets=False)[0]
    left_out = np.isin(NAMES, ("C2", "D2"))
    assert np.isnan(short[left_out]).all()
    assert np.array_equal(whole[~left_out], short[~left_out])


def test_substructure_does_not_change_in_a_boost_along_the_beam():
    """As with FastJet's rapidities: those of soft protons and kaons differ from their η."""
    rng = np.random.default_rng(4)
    pt, y, phi, mass = 1.0 + rng.uniform(size=12), rng.uniform(-0.3, 0.3, 12), rng.uniform(-0.3, 0.3, 12), 0.938
    tau = []
    for boost in (0.0, 2.0):
        eta = np.arcsinh(np.sqrt(pt**2 + mass**2) * np.sinh(y + boost) / pt)
        values = np.stack([pt, eta, phi, np.full(12, mass)], axis=1)
        particles = Constituents(values, np.zeros(12, dtype=np.int64), np.array([12]))
        tau.append(subjettiness(particles, 0.4))
    np.testing.assert_allclose(tau[0], tau[1], atol=1e-4)
    assert (tau[0] > 0.0).all()
