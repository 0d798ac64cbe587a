from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from coffea_iqn import context
from coffea_iqn.data import sample_path
from coffea_iqn.events import levels_of
from coffea_iqn.files import inspect
from conftest import context_of, open_events


def neighbours_slowly(events):
    """Jet by jet, pair by pair."""
    out = []
    for jets in events:
        for i, (pt, eta, phi, _) in enumerate(jets):
            nearest, ratio, activity = context.FAR, 0.0, 0.0
            for j, (pt2, eta2, phi2, _) in enumerate(jets):
                d_phi = (phi - phi2) - 2 * np.pi * np.round((phi - phi2) / (2 * np.pi))
                distance = np.hypot(eta - eta2, d_phi)
                if j != i and distance < nearest:
                    nearest, ratio = distance, np.clip(np.log(pt2 / pt), -3, 3)
                if j != i and distance < context.NEIGHBOURHOOD:
                    activity += pt2
            out.append((nearest / context.FAR, ratio * (1 - nearest / context.FAR), np.log1p(activity / pt)))
    return np.array(out).reshape(-1, 3)


def test_neighbours_equal_slow_reference():
    rng = np.random.default_rng(0)
    counts = np.array([0, 1, 2, 5, 0, 3])
    jets = np.stack([rng.uniform(10, 100, 11), rng.normal(0, 1, 11), rng.uniform(-3.1, 3.1, 11), np.ones(11)], axis=1)
    expected = neighbours_slowly(np.split(jets, np.cumsum(counts)[:-1]))
    np.testing.assert_allclose(context.neighbours(jets, counts), expected, rtol=1e-5, atol=1e-6)


def test_unknown_levels_are_zero_and_known_ones_say_so():
    columns = context.encode(3, {"flavour": context.flavour(np.array([21, -4, 0]))})
    assert columns.shape == (3, context.N_COLUMNS)
    assert columns[:, context.columns_of("flavour")].tolist() == [[1, 0, 0, 0, 1], [0, 0, 1, 0, 1], [0, 0, 0, 0, 1]]
    assert not columns[:, context.columns_of("composition")].any()
    assert context.known_levels(columns) == ("flavour",)
    assert context.select(columns, ["substructure", "flavour"]).shape == (3, 9)


def test_substructure_of_jets_with_too_few_particles_is_finite():
    assert np.isfinite(context.substructure(np.array([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [0.2, 0.1, 0.05]]))).all()


@pytest.mark.parametrize(
    ("name", "collection", "known"),
    [
        ("qcd_ak4.root", "GenJet", ("flavour", "neighbours", "composition")),
        ("delphes_1000.root", "GenJet", ("flavour", "neighbours", "composition")),
    ],
)
def test_what_files_know(name, collection, known):
    jets = open_events(name, entry_stop=50)[collection]
    assert context.known_levels(context_of(jets)) == known
    assert levels_of(jets.fields) == known
    assert inspect(str(sample_path(name)), collections=[collection]).context == known


def test_substructure_is_taken_where_the_jets_have_it():
    jets = open_events("qcd_ak4.root", entry_stop=50).GenJet
    for k in (1, 2, 3):
        jets = ak.with_field(jets, 0.1 / k * ak.ones_like(jets.pt), f"tau{k}")
    assert "substructure" in context.known_levels(context_of(jets))
