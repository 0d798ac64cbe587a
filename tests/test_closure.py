from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import entropy, ks_2samp, wasserstein_distance

from coffea_iqn.closure import (
    EVENT_FEATURES,
    Cells,
    Marginal,
    QuantileCells,
    TooFewJetsError,
    agreement,
    area_under_curve,
    correlations,
    divergence,
    efficiency_around,
    efficiency_deviation,
    efficiency_in_cells,
    efficiency_of_groups,
    event_features,
    event_totals,
    frechet_distance,
    jet_features,
    judge,
    kernel_distance,
    ks_test,
    levels_among_draws,
    marginals,
    mean_excess,
    median_and_width,
    median_table,
    nonuniformity,
    nonuniformity_in_cells,
    outside,
    profile,
    quantile_deviation,
    residual_features,
    residuals,
    resolution_deviation,
    response_in_cells,
    responses,
    rms_beyond,
    scale_around,
    scale_deviation,
    shape_features,
    smearing,
    split_half_distance,
    tails,
    total_deviations,
    uniformity,
    uniformity_in_cells,
    wasserstein_in_cells,
)
from coffea_iqn.jets.table import JetTable, places
from coffea_iqn.objects.kinds import COLUMNS
from coffea_iqn.validation.verdict import BY_KEY
from conftest import make_pairs

pytest.importorskip("xgboost")


@pytest.fixture(scope="module")
def copies():
    """Gen jets, and two independent reco jets for each."""
    first, second = make_pairs(3000, seed=1), make_pairs(3000, seed=1)
    rng = np.random.default_rng(7)
    gen = first.x
    smear = rng.normal(0.98, 0.1, (2, len(gen), 1)).astype(np.float32)
    return gen, gen * smear[0], second.x * smear[1]


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


def test_no_judge_sees_what_rounding_left_of_massless_jets():
    gen = np.array([[50.0, 0.0, 1.0, 5.0]]).repeat(3, axis=0)
    reco = np.column_stack([gen[:, :3], [3e-6, -2e-5, 0.000511]])  # two photons, an electron
    for features in (jet_features, residual_features):
        assert features(gen, reco)[:, 7].tolist() == [0.0, 0.0, 0.000511]
    massless = reco * [[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]]
    assert (residual_features(gen, reco) == residual_features(gen, massless)).all()
    assert reco[0, 3] == 3e-6


def test_residuals_wrap_in_phi():
    gen, reco = np.array([[50.0, 0.0, 3.1, 5.0]]), np.array([[50.0, 0.0, -3.1, 5.0]])
    assert residual_features(gen, reco)[0, 10] == pytest.approx(2 * np.pi - 6.2)


def test_agreement_of_samples_of_one_law_is_one_and_finds_a_shift():
    rng = np.random.default_rng(1)
    law = 200.0 * np.exp(-np.arange(60) / 10.0)
    emulated, real, more = (rng.poisson(of).astype(float) for of in (law, law, 1.2 * law))
    same = agreement((emulated, emulated), (real, real))
    assert (real >= 25).sum() < same.ndf < 60
    assert same.per_bin == pytest.approx(1.0, abs=0.6)
    assert agreement((more, more), (real, real)).per_bin > 2.0


def test_agreement_knows_weights_and_empty_histograms():
    emulated, real = np.array([110.0, 50.0, 0.0]), np.array([100.0, 50.0, 0.0])
    of_one = agreement((emulated, 2 * emulated), (real, np.array([3.0, 2.6, 0.0])), min_entries=1000)
    assert of_one == (pytest.approx(100.0 / 325.6), 1)
    assert np.isnan(agreement((emulated, emulated), (real, real), min_entries=1e9).per_bin)


def test_agreement_sees_what_is_wrong_where_entries_are_few():
    """Bins without 25 true entries were not looked at: tails could be three times too high, empty bins be filled."""
    real = np.array([100.0, 400.0, 100.0, 20.0, 15.0, 4.0, 0.0])
    assert agreement((real, real), (real, real)) == (0.0, 4)
    for wrong in (np.array([1, 1, 1, 3, 3, 3, 1]) * real, real + np.array([0, 0, 0, 0, 0, 0, 60.0])):
        assert agreement((wrong, wrong), (real, real)).chi2 > 20.0
    none, some = np.zeros(3), np.array([0.0, 30.0, 0.0])
    assert agreement((some, some), (none, none)) == (30.0, 1)
    assert agreement((none, none), (some, some)) == (30.0, 1)
    assert agreement((none, none), (none, none)).ndf == 0


def test_totals_of_the_same_events_are_compared_by_event():
    """A loss of 7 % of the leptons is seen in a few hundred, as those found in both events cancel."""
    rng = np.random.default_rng(5)
    prompt, n_jets = rng.uniform(size=4000) < 0.2, rng.poisson(3.0, 4000)

    def event(efficiency):
        n = rng.binomial(prompt, efficiency)
        jets = JetTable(np.tile([30.0, 1.0, 0.0, 5.0], (n_jets.sum(), 1)).astype(np.float32), n_jets, places(n_jets))
        values = np.tile([40.0, 0.5, 0.0, 0.1, 1.0], (n.sum(), 1)).astype(np.float32)
        return event_totals(jets, {"Muon": JetTable(values, n, places(n), columns=COLUMNS)}, np.ones((4000, 2)))

    real, same, lossy = event(0.95), event(0.95), event(0.85)
    found = total_deviations(same, real)
    assert found["jets, 0 < |η| < 1.3"] == (0.0, 0.0)
    assert {"HT", "Muons", "Muon pt", "Muon isolation", "missing pt"} < {*found}
    assert "jets, 1.3 < |η| < 2.5" not in found  # there are none
    assert found["Muons"].value < 3 * found["Muons"].uncertainty < 0.05
    assert total_deviations(lossy, real)["Muons"].value > 4 * found["Muons"].uncertainty


def test_a_hole_in_the_detector_is_seen_although_the_efficiency_is_right_on_average():
    rng = np.random.default_rng(3)
    gen = make_pairs(40_000).x
    found = rng.uniform(size=len(gen)) < 0.8
    cells = Cells((10, 20, 40, 1000), (0, 1.3, 5))
    blind = found & ~((gen[:, 1] > 0.0) & (gen[:, 1] < 1.3) & (np.abs(gen[:, 2] - 1.0) < 0.3))
    for real, passes in ((found, True), (blind, False)):
        probability = np.where(np.abs(gen[:, 1]) < 1.3, real[np.abs(gen[:, 1]) < 1.3].mean(), 0.8)
        assert BY_KEY["efficiency"].passes(
            efficiency_deviation(efficiency_in_cells(probability, real, gen, cells=cells))
        )
        assert BY_KEY["efficiency_around"].passes(efficiency_around(probability, real, gen)) is passes
    with pytest.raises(TooFewJetsError):
        efficiency_around(probability[:50], real[:50], gen[:50])


def test_an_efficiency_that_ignores_what_makes_a_jet_is_seen_although_it_is_right_on_average():
    rng = np.random.default_rng(5)
    gen, group = make_pairs(40_000).x, (rng.uniform(size=40_000) < 0.02).astype(np.int64)  # a few are leptons
    found = rng.uniform(size=len(gen)) < np.where(group == 1, 0.2, 0.95)
    cells = Cells((10, 20, 40, 1000), (0, 2.5, 5))
    for probability, passes in ((np.where(group == 1, 0.2, 0.95), True), (np.full(len(gen), found.mean()), False)):
        in_cells = efficiency_in_cells(probability, found, gen, cells=cells)
        assert BY_KEY["efficiency"].passes(efficiency_deviation(in_cells))
        assert BY_KEY["efficiency_of_contents"].passes(efficiency_of_groups(probability, found, group)) is passes


def test_ends_of_the_detector_that_differ_are_seen_although_the_scale_is_right_on_average():
    rng = np.random.default_rng(4)
    gen = make_pairs(60_000).x
    reco, emulated = gen.copy(), gen.copy()
    for jets in (reco, emulated):
        jets[:, 0] *= np.exp(rng.normal(0.0, 0.1, len(gen)))
    tilted = reco.copy()
    tilted[:, 0] *= 1.0 + 0.01 * np.sign(gen[:, 1])
    drawn = responses(gen, emulated)
    for real, passes in ((reco, True), (tilted, False)):
        found = response_in_cells(drawn, responses(gen, real), gen)
        assert BY_KEY["pt_scale"].passes(scale_deviation(found, 0)) is not False
        assert BY_KEY["scale_around"].passes(scale_around(drawn, responses(gen, real), gen)) is passes
    with pytest.raises(TooFewJetsError):
        scale_around(drawn[:50], drawn[:50], gen[:50])


def test_efficiency_in_cells():
    rng = np.random.default_rng(2)
    gen = make_pairs(20_000).x
    probability = np.clip(gen[:, 0] / 40.0, 0.0, 0.9)
    found = rng.uniform(size=len(gen)) < probability
    cells = Cells((10, 20, 40, 1000), (0, 2, 4, 5))
    right = efficiency_in_cells(probability, found, gen, cells=cells)
    assert right.counted.sum() == 6  # the outer slice of eta has fewer than 2000 jets
    assert efficiency_deviation(right).value < 0.02
    off = efficiency_deviation(efficiency_in_cells(probability + 0.05, found, gen, cells=cells))
    assert off.value == pytest.approx(0.05, abs=3 * off.uncertainty)
    inside = (gen[:, 0] >= 10) & (gen[:, 0] < 20) & (np.abs(gen[:, 1]) < 2)
    assert right.n_jets[0, 0] == inside.sum()
    assert right.values[0, 0, 1] == found[inside].mean()
    assert np.isnan(right.values[~right.counted]).all()


def test_a_judge_keeps_score_of_every_jet(copies):
    gen, a, b = copies
    verdict = judge(residual_features(gen, a), residual_features(gen, b), folds=3)
    real, emulated = verdict.weights
    assert real.shape == emulated.shape == (len(gen),)
    assert (real > 0.0).all()
    shifted = judge(residual_features(gen, a), residual_features(gen, 1.3 * b), folds=3)
    assert sum(outside(shifted.weights[1])) > 10 * sum(outside(emulated)) + 0.1
    assert emulated.mean() == pytest.approx(1.0, abs=0.05)  # the density ratio averages to 1 over emulated jets


def test_deviations_are_found_beyond_statistics():
    rng = np.random.default_rng(3)
    errors = rng.uniform(0.5, 2.0, 300)
    noise = rng.normal(0.0, errors)
    assert rms_beyond(noise, errors).value < 3 * rms_beyond(noise, errors).uncertainty
    true = rng.normal(0.0, 1.0, 300)
    found = rms_beyond(noise + true, errors)
    assert found.value == pytest.approx(1.0, abs=3 * found.uncertainty)
    with pytest.raises(TooFewJetsError, match="got none"):
        rms_beyond(np.full(3, np.nan), np.ones(3))


def test_density_deviation_is_that_of_the_densities():
    rng = np.random.default_rng(4)
    flat = np.full(50, 0.02)
    wavy = flat * (1.0 + 0.1 * np.tile([1, -1], 25))
    for law, size in ((flat, 0.0), (wavy, 0.1)):
        real, emulated = rng.multinomial(200_000, flat), rng.multinomial(200_000, law)
        found = Marginal(np.arange(51), emulated.astype(float), real.astype(float)).deviation
        assert found.value == pytest.approx(size, abs=0.01)


def test_spectra_keep_every_jet_and_find_a_shift(copies):
    gen, a, b = copies
    for one in marginals(b, a):
        assert one.real.sum() == one.emulated.sum() == len(gen)
        assert one.agreement.per_bin < 2.0
    assert marginals(1.3 * b, a)[0].agreement.per_bin > 3.0
    with pytest.raises(TooFewJetsError, match="expected 1000 jets, got 10"):
        marginals(a[:10], b[:10])


def test_levels_of_uniform_numbers_are_even():
    levels = np.random.default_rng(5).uniform(size=(40_000, 2))
    levels[:, 1] **= 1.1
    assert uniformity(levels)[0] < 1.7
    assert uniformity(levels)[1] > 3.0
    even, uneven = nonuniformity(levels)
    assert even.value < 4 * even.uncertainty
    assert uneven.value == pytest.approx(0.1, abs=0.04)  # the density (1 / 1.1) x^(1 / 1.1 - 1)
    gen = make_pairs(40_000).x
    cells = uniformity_in_cells(levels, gen, cells=Cells((10, 20, 1000), (0, 2, 5)))
    assert cells.values.shape == (2, 2, 2)
    even, uneven = nonuniformity_in_cells(cells)
    assert even.value < 2.5 * even.uncertainty
    assert uneven.value > 3.0 * uneven.uncertainty


def test_levels_among_draws_are_uniform_for_one_law_and_ties():
    rng = np.random.default_rng(6)

    def draw():
        return rng.integers(0, 5, (20_000, 1)) + np.array([0.0])

    assert uniformity(levels_among_draws(draw(), draw, draws=9), bins=20) < 2.0
    assert uniformity(levels_among_draws(draw() + 1.0, draw, draws=9), bins=20) > 10.0


def test_responses_wrap_turn_outwards_and_leave_out_massless_gen_jets():
    gen = np.array([[50.0, -1.0, 3.1, 5.0], [50.0, 1.0, 0.0, 0.5]])
    reco = np.array([[25.0, -1.1, -3.1, 10.0], [50.0, 1.1, 0.0, 0.5]])
    found = responses(gen, reco)
    assert found[0] == pytest.approx([0.5, 0.1, 2 * np.pi - 6.2, 2.0])
    assert np.isnan(found[1, 3])
    assert residuals(gen, reco)[0] == pytest.approx([np.log(0.5), 0.1, 2 * np.pi - 6.2, np.log(12 / 7)])


def test_median_and_width_of_a_normal_law():
    values = np.random.default_rng(7).normal(2.0, 3.0, 20_000)
    median, error, width, width_error = median_and_width(np.append(values, np.nan))
    assert median == pytest.approx(2.0, abs=4 * error)
    assert width == pytest.approx(3.0, abs=4 * width_error)
    assert error == pytest.approx(3.0 * np.sqrt(np.pi / 2 / 20_000), rel=0.2)
    assert np.isnan(median_and_width(np.array([1.0]))).all()


def test_scale_smearing_and_resolution_are_what_was_put_in():
    rng = np.random.default_rng(8)
    gen = make_pairs(60_000).x
    cells = Cells((10, 20, 40, 80, 1000), (0, 2, 5))
    real, wide = (rng.normal(1.0, 0.1, (len(gen), 4)), rng.normal(1.0, 0.1, (len(gen), 4)))
    wide = (wide * 1.01) + rng.normal(0.0, 0.04, wide.shape)
    found = response_in_cells(wide, real, gen, cells=cells)
    assert found.values.shape == (4, 2, 4, 2, 4)
    for figure, size in (
        (scale_deviation(found, 0), 0.01),
        (scale_deviation(found, 1), 0.1),  # in units of the width
        (smearing(found, 0), np.sqrt(0.101**2 + 0.04**2 - 0.1**2)),
        (resolution_deviation(found, 0), np.hypot(0.101, 0.04) / 0.1 - 1.0),
    ):
        assert figure.value == pytest.approx(size, abs=4 * figure.uncertainty)
    with pytest.raises(TooFewJetsError, match="with 10000000 jets, got at most"):
        response_in_cells(wide, real, gen, min_jets=10**7)


def test_tails_count_both_sides():
    rng = np.random.default_rng(9)
    gen = make_pairs(30_000).x
    real = rng.standard_t(3, (len(gen), 4))
    emulated = real.copy()
    emulated[:, 3] = np.maximum(emulated[:, 3], -2.5)
    found = tails(emulated, real, gen, cells=Cells((10, 1000), (0, 5)))
    assert (found.counts[0, :3] == found.counts[1, :3]).all()
    assert found.counts[0, 3, 0, 0] == 0
    assert found.worst.value == 1.0
    median, _, width, _ = median_and_width(real[:, 0])
    assert found.counts[1, 0, 1, 0] == (real[:, 0] > median + 3.0 * width).sum()
    with pytest.raises(TooFewJetsError, match="with 100 jets"):
        _ = found._replace(counts=found.counts // 1000).worst


def test_median_table_measures_distances():
    gen = np.array([[50.0, 0.0, 3.1, 5.0]] * 2)
    real = np.array([[40.0, 0.1, -3.1, 5.0], [44.0, 0.1, -3.1, 5.0]])
    pt, _, phi, mass = median_table(np.array([[43.0, 0.1, 3.1, 6.0]] * 2), gen, real)
    assert pt.predicted == (2.0, 1.0)
    assert pt.gen == (8.0, 2.0)
    assert pt.ratio == 0.25
    assert phi.gen[0] == pytest.approx(2 * np.pi - 6.2)
    assert mass.predicted[0] == 1.0


def test_correlations_and_profile_show_what_goes_together():
    rng = np.random.default_rng(10)
    common = rng.normal(size=(20_000, 1))
    together = 1.0 + 0.1 * (common + rng.normal(size=(20_000, 4)))
    apart = 1.0 + 0.1 * np.sqrt(2.0) * rng.normal(size=(20_000, 4))
    found = correlations(apart, together)
    assert found.real[0, 3] == pytest.approx(0.48, abs=0.03)
    assert found.worst.value > 0.4
    assert correlations(together[::-1], together).worst.value == 0.0
    shape = profile(apart, together)
    slope = [np.polyfit(np.arange(12), side[:, 0], 1)[0] for side in (shape.emulated, shape.real)]
    assert abs(slope[0]) < 0.002
    assert slope[1] > 0.01


def test_ks_halves_agree_with_scipy_and_find_a_shift():
    rng = np.random.default_rng(11)
    real, emulated = rng.normal(size=(2, 3001)).round(1)  # with ties
    found = ks_test(emulated, real, repeats=30, seed=4)
    half = np.random.default_rng(4).permutation(np.repeat([True, False], [1500, 1501]))
    assert found.real_real[0] == pytest.approx(ks_2samp(real[half], real[~half]).statistic, abs=1e-12)
    assert found.real_emulated[0] == pytest.approx(ks_2samp(real[half], emulated[~half]).statistic, abs=1e-12)
    assert found.excess.value < 3 * found.excess.uncertainty
    assert ks_test(emulated + 0.3, real, repeats=30).excess.value > 0.08


def test_distances_are_zero_for_one_law_and_grow():
    rng = np.random.default_rng(12)
    gen = make_pairs(20_000).x
    real, emulated = rng.normal(size=(2, 20_000, 4))
    cells = Cells((10, 30, 1000), (0, 5))
    of_cells = [wasserstein_in_cells(e, real, gen, cells=cells, repeats=5) for e in (emulated, emulated + 0.1)]
    same, shifted = (mean_excess(found) for found in of_cells)
    for k in range(4):
        assert same[k].value < 0.02
        assert shifted[k].value == pytest.approx(0.1 - of_cells[0].values[..., k, 1].mean(), abs=0.03)
    for distance in (frechet_distance, kernel_distance):
        null, far = (distance(e, real, batches=2) for e in (emulated, emulated + 0.3))
        assert null.value < 5e-3
        assert far.value > max(0.05, 5 * null.value)
        with pytest.raises(TooFewJetsError, match="expected 1000"):
            distance(emulated[:9], real[:9])


def test_the_kernel_distance_of_few_jets_is_uncertain():
    rng = np.random.default_rng(0)
    size = kernel_distance(rng.normal(size=(1500, 4)), rng.normal(size=(1500, 4)))
    assert size.uncertainty > 1e-4
    assert size.value < 3 * size.uncertainty


def slow_event_features(gen, reco):
    """The features of one event, by name."""
    found = dict.fromkeys(EVENT_FEATURES, np.nan)
    reco = [jet for jet in reco if jet[0] > 20.0]
    gen, reco = (sorted(jets, key=lambda jet: -jet[0]) for jets in (gen, reco))
    for prime, jets in (("", gen), ("'", reco)):
        for k, jet in enumerate(jets[:4]):
            for name, value in zip(("pt", "eta", "phi", "mass"), jet, strict=True):
                found[f"{name}{prime} {k + 1}"] = value
    for k, jet in enumerate(gen[:4]):
        d_phi = [np.angle(np.exp(1j * (other[2] - jet[2]))) for other in reco[:8]]
        near = [np.hypot(other[1] - jet[1], d) for other, d in zip(reco[:8], d_phi, strict=True)]
        if near and min(near) < 0.4:
            j = int(np.argmin(near))
            found[f"log pt'/pt {k + 1}"] = np.log(reco[j][0] / jet[0])
            found[f"Δη {k + 1}"], found[f"Δφ {k + 1}"] = reco[j][1] - jet[1], d_phi[j]
            found[f"log mass ratio {k + 1}"] = np.log((max(reco[j][3], 0) + 2) / (max(jet[3], 0) + 2))
    found["gen jets"], found["reco jets"] = sum(jet[0] > 20 for jet in gen), len(reco)
    found["hard reco jets"] = sum(jet[0] > 30 for jet in reco)
    found["gen HT"], found["reco HT"] = sum(jet[0] for jet in gen), sum(jet[0] for jet in reco)
    found["reco MHT"] = abs(sum(jet[0] * np.exp(1j * jet[2]) for jet in reco))
    return list(found.values())


def test_features_of_events_equal_a_slow_reference():
    rng = np.random.default_rng(3)
    counts, reco_counts = np.array([0, 3, 7, 1, 12]), np.array([1, 0, 6, 2, 11])

    def jets(n):
        columns = [rng.uniform(12, 80, n), rng.normal(0, 0.5, n), rng.uniform(-3.1, 3.1, n), rng.uniform(-1, 9, n)]
        return np.stack(columns, axis=1)

    gen, reco = jets(counts.sum()), jets(reco_counts.sum())
    pairs = zip(*(np.split(j, np.cumsum(n)[:-1]) for j, n in ((gen, counts), (reco, reco_counts))), strict=True)
    expected = np.array([slow_event_features(*of_event) for of_event in pairs])
    found = event_features(gen, counts, reco, reco_counts)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert np.isfinite(found[:, EVENT_FEATURES.index("log pt'/pt 1")]).sum() > 0


def test_no_events_have_features_of_none():
    """A file without events in a validation."""
    none = np.zeros(0, dtype=np.int64)
    assert event_features(np.zeros((0, 4)), none, np.zeros((0, 4)), none).shape == (0, len(EVENT_FEATURES))


def test_halves_of_one_law_are_as_far_from_each_other():
    rng = np.random.default_rng(5)
    common = rng.normal(size=4000)  # common to both copies, from their gen jet
    a, b = common + rng.normal(size=(2, 4000))
    for distance in (wasserstein_distance, divergence(a)):
        assert split_half_distance(distance, b, a).ratio == pytest.approx(1.0, abs=0.15)
        assert split_half_distance(distance, b + 0.8, a).ratio > 2.0


def test_halves_of_jets_with_particles():
    rng = np.random.default_rng(6)
    counts = rng.poisson(5, (2, 2000))
    emulated, real = (rng.exponential(size=n.sum()) for n in counts)
    found = split_half_distance(wasserstein_distance, emulated, real, counts=tuple(counts), repeats=3)
    assert found.ratio == pytest.approx(1.0, abs=0.5)
    marked = np.repeat(np.arange(2000.0), counts[0]), np.repeat(np.arange(2000.0), counts[1])

    def overlap(half, other):
        return float(np.isin(half, other).any())

    apart = split_half_distance(overlap, *marked, counts=tuple(counts), repeats=3)
    assert not np.any(apart)  # no gen jet is on both sides


def test_the_divergence_is_that_of_histograms():
    rng = np.random.default_rng(7)
    a, b = rng.normal(size=50_000), rng.normal(0.5, 1.0, size=50_000)
    assert divergence(a)(a, a) == 0.0
    assert divergence(a)(a, b) == pytest.approx(0.125, rel=0.1)  # δ² / 2 for two Gaussians
    edges = np.linspace(*np.quantile(a, [0.0005, 0.9995]), 41)
    inside = (np.histogram(side.clip(edges[0], edges[-1]), edges)[0] + 0.5 for side in (a, b))
    assert divergence(a)(a, b) == pytest.approx(entropy(*inside))
    assert np.isfinite(divergence(a)(a, b + 100.0))


def test_a_judge_of_shapes_sees_what_four_momenta_do_not_tell(copies):
    gen, a, b = copies
    shape = np.random.default_rng(8).normal(size=(3, len(gen), 2))
    of_gen, one, other = (np.concatenate(x, axis=1) for x in zip((gen, a, b), shape, strict=True))
    assert judge(shape_features(of_gen, one), shape_features(of_gen, other)).auc < 0.53
    other[:, 5] += 0.8 * of_gen[:, 4]
    assert judge(shape_features(of_gen, one), shape_features(of_gen, other)).auc > 0.55


def test_cells_of_equal_probability_lie_within_each_other():
    values = np.random.default_rng(9).normal(size=(12_000, 2)) @ [[1.0, 0.8], [0.0, 0.6]]
    cells = QuantileCells.of(values, (5, 4))
    place = cells.cell(values)
    assert cells.n_cells == 20
    assert np.bincount(place) == pytest.approx(np.full(20, 600), abs=1)
    assert (np.bincount(QuantileCells.of(values[:, :1], (5,)).cell(values[:, :1]) * 20 + place) > 0).sum() == 20
    for first in range(5):  # within each bin of the first variable, the second rises with the cell
        least = [values[place == 4 * first + k, 1] for k in range(4)]
        assert all(low.max() < high.min() for low, high in pairwise(least))
    with pytest.raises(ValueError, match=r"expected equal probabilities, got .* times the average"):
        QuantileCells.of(values.round(), (1, 4))


def test_quantile_deviation_is_that_of_every_two_events():
    rng = np.random.default_rng(10)
    event, real, emulated = rng.permutation(np.arange(90) // 3), rng.integers(0, 6, 90), rng.integers(0, 6, (90, 2))
    counted = np.array([1, 4, 5])
    one_hot = np.eye(6)[real] - np.eye(6)[emulated].mean(axis=1)
    of_events = np.array([one_hot[event == e].sum(axis=0) for e in range(30)])[:, counted]
    products = of_events @ of_events.T
    expected = products[~np.eye(30, dtype=bool)].mean() * (30 / 90 * 6) ** 2 / 3
    found = quantile_deviation(real, emulated, event, 6, counted=counted)
    assert found.square == pytest.approx(expected)


def test_a_sample_deviates_by_its_size_and_one_law_does_not():
    rng = np.random.default_rng(11)
    cells = QuantileCells.of(rng.normal(size=(400_000, 2)), (5, 4))
    event = np.repeat(np.arange(1500), 2)
    found = {"null": [], "sample": [], "shift": []}
    for _ in range(60):
        real = cells.cell(rng.normal(size=(1500, 2)).repeat(2, axis=0))  # the two jets of an event are identical
        same, shifted = (cells.cell(rng.normal(mean, 1.0, (6000, 2))).reshape(3000, 2) for mean in (0.0, 0.1))
        sample = cells.cell(rng.normal(size=(500, 2)))[rng.integers(0, 500, (3000, 2))]
        for name, drawn in (("null", same), ("sample", sample), ("shift", shifted)):
            found[name].append(quantile_deviation(real, drawn, event, 20))
    many = cells.cell(rng.normal(0.1, 1.0, (400_000, 2)))
    shift = 20 * ((np.bincount(many) / 400_000 - 0.05) ** 2).sum()
    for name, expected in (("null", 0.0), ("sample", 19 / 500), ("shift", shift)):
        squares = np.array([one.square for one in found[name]])
        assert squares.mean() == pytest.approx(expected, abs=3.0 * squares.std() / 60**0.5), name
    pulls = np.array([one.square / one.uncertainty for one in found["null"]])
    assert 0.6 < pulls.std() < 1.2
    assert np.mean([one.jets_at_least < 19 / shift for one in found["shift"]]) > 0.85
    assert found["sample"][0].jets == pytest.approx(19 / found["sample"][0].square)
