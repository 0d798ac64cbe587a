from __future__ import annotations

import numpy as np
import pytest

from coffea_iqn.closure import area_under_curve, jet_features, judge, residual_features
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
