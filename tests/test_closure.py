from __future__ import annotations

import numpy as np
import pytest

from coffea_iqn.closure import (
    agreement,
    area_under_curve,
    efficiency_in_cells,
    jet_features,
    judge,
    residual_features,
)
from conftest import make_pairs

pytest.importorskip("xgboost")


@pytest.fixture(scope="module")
def copies():
    """Gen jets, and two independent reco jets of each."""
    first, second = make_pairs(6000, seed=1), make_pairs(6000, seed=1)
    rng = np.random.default_rng(7)
    gen = first.gen
    smear = rng.normal(0.98, 0.1, (2, len(gen), 1)).astype(np.float32)
    return gen, gen * smear[0], second.gen * smear[1]


def test_two_draws_of_one_law_cannot_be_told_apart(copies):
    gen, a, b = copies
    verdict = judge(residual_features(gen, a), residual_features(gen, b))
    assert abs(verdict.auc - 0.5) < max(0.02, 4 * verdict.uncertainty)


def test_a_shift_is_found_sooner_with_residuals(copies):
    gen, a, b = copies
    shifted = b.copy()
    shifted[:, 0] *= 1.05
    plain = judge(jet_features(gen, a), jet_features(gen, shifted)).auc
    sharp = judge(residual_features(gen, a), residual_features(gen, shifted))
    assert sharp.auc > 0.6
    assert sharp.auc > plain - 0.01
    assert sharp.importance[8] == sharp.importance.max()


def test_shapes_must_agree(copies):
    gen, a, b = copies
    with pytest.raises(ValueError, match="copies of the same jets"):
        judge(jet_features(gen, a), jet_features(gen, b)[:-1])


def test_area_under_curve_of_equal_scores_is_one_half():
    assert area_under_curve(np.ones(10), np.ones(20)) == 0.5


def test_residuals_wrap_in_phi():
    gen, reco = np.array([[50.0, 0.0, 3.1, 5.0]]), np.array([[50.0, 0.0, -3.1, 5.0]])
    assert residual_features(gen, reco)[0, 10] == pytest.approx(2 * np.pi - 6.2)


def test_agreement_of_samples_of_one_law_is_one_and_finds_a_shift():
    rng = np.random.default_rng(1)
    law = 200.0 * np.exp(-np.arange(60) / 10.0)
    emulated, real, more = (rng.poisson(of).astype(float) for of in (law, law, 1.2 * law))
    same = agreement((emulated, emulated), (real, real))
    assert same.ndf == (real >= 25).sum() < 60
    assert same.per_bin == pytest.approx(1.0, abs=0.6)
    assert agreement((more, more), (real, real)).per_bin > 2.0


def test_agreement_knows_weights_and_empty_histograms():
    emulated, real = np.array([110.0, 50.0, 0.0]), np.array([100.0, 50.0, 0.0])
    of_one = agreement((emulated, 2 * emulated), (real, np.array([3.0, 2.6, 0.0])), min_entries=1000)
    assert of_one == (pytest.approx(100.0 / 223.0), 1)
    assert np.isnan(agreement((emulated, emulated), (real, real), min_entries=1e9).per_bin)


def test_efficiency_in_cells():
    rng = np.random.default_rng(2)
    gen = make_pairs(20_000).gen
    probability = np.clip(gen[:, 0] / 40.0, 0.0, 0.9)
    found = rng.uniform(size=len(gen)) < probability
    edges = {"pt_edges": (10, 20, 40, 1000), "eta_edges": (0, 2, 4, 5)}
    cells = efficiency_in_cells(probability, found, gen, **edges)
    assert len(cells) == 6  # the outer slice of eta has fewer than 2000 jets
    assert max(abs(cell.pull) for cell in cells) < 4.0
    off = efficiency_in_cells(probability + 0.05, found, gen, **edges)
    assert min(cell.pull for cell in off) > 2.0
    inside = (gen[:, 0] >= 10) & (gen[:, 0] < 20) & (np.abs(gen[:, 1]) < 2)
    assert cells[0].n_jets == inside.sum()
    assert cells[0].found == found[inside].mean()
