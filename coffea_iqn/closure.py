"""How good an emulator is: figures of merit as plain functions on arrays.

Jets are rows (pt [GeV], eta, phi [rad], mass [GeV]); real and emulated are two reco jets of the same gen jet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

Floats = npt.NDArray[np.floating]


class Judgement(NamedTuple):
    """What a classifier made of real and emulated jets.

    Attributes
    ----------
    auc: area under the ROC curve, 0.5 when it cannot tell them apart; mean over the folds.
    uncertainty: of the mean, from the spread over the folds.
    importance: the share of each feature in the classifier's gain, (features,).
    """

    auc: float
    uncertainty: float
    importance: Floats


def jet_features(gen: Floats, reco: Floats) -> Floats:
    """The eight features of the paper's judge, the gen and the reco four-momentum, (N, 8).

    Kronheim et al., Mach. Learn.: Sci. Technol. 5 (2024) 045073.
    """
    return np.concatenate([gen, reco], axis=1)


def residual_features(gen: Floats, reco: Floats) -> Floats:
    """`jet_features` with log pt'/pt, Δη, Δφ and log((m' + 2)/(m + 2)), (N, 12): a far sharper judge."""
    d_phi = reco[:, 2] - gen[:, 2]
    d_phi -= 2.0 * np.pi * np.round(d_phi / (2.0 * np.pi))
    mass = np.log((np.maximum(reco[:, 3], 0.0) + 2.0) / (np.maximum(gen[:, 3], 0.0) + 2.0))
    residuals = np.stack([np.log(reco[:, 0] / gen[:, 0]), reco[:, 1] - gen[:, 1], d_phi, mass], axis=1)
    return np.concatenate([gen, reco, residuals], axis=1)


def area_under_curve(score_real: Floats, score_emulated: Floats) -> float:
    """The chance that an emulated jet scores above a real one: the Mann-Whitney form of the ROC area.

    >>> area_under_curve(np.array([0.1, 0.2]), np.array([0.3, 0.4]))
    1.0
    """
    n_real, n_emulated = len(score_real), len(score_emulated)
    ranks = rankdata(np.concatenate([score_real, score_emulated]))
    above = ranks[n_real:].sum() - n_emulated * (n_emulated + 1) / 2.0
    return float(above / (n_real * n_emulated))


def judge(real: Floats, emulated: Floats, *, folds: int = 5, seed: int = 0, threads: int = 1) -> Judgement:
    """Let boosted trees tell emulated from real jets: XGBoost, depth 6, early stopping.

    In turn, one fifth of the jets judges, one fifth stops the training, three fifths train. The real and the
    emulated copy of one jet are always in the same part, else the trees could learn the gen jet by heart.

    Parameters
    ----------
    real, emulated: features of the two copies of each jet, (N, features), row by row the same gen jet.
    folds: into how many parts the jets are divided.
    seed: of the division.
    threads: of the trees.

    Raises
    ------
    ValueError: when real and emulated differ in shape.
    ImportError: when xgboost is not installed (extra `judge`).
    """
    import xgboost

    if real.shape != emulated.shape:
        msg = f"judge: expected real and emulated copies of the same jets, got shapes {real.shape} and {emulated.shape}"
        raise ValueError(msg)
    part = np.random.default_rng(seed).permutation(len(real)) % folds
    settings = {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "max_depth": 6,
        "eta": 0.1,
        "tree_method": "hist",
        "nthread": threads,
        "seed": seed,
    }

    def rows(selected: npt.NDArray[np.bool_]) -> xgboost.DMatrix:
        features = np.concatenate([real[selected], emulated[selected]])
        return xgboost.DMatrix(features, label=np.repeat([0.0, 1.0], selected.sum()))

    aucs = []
    gain = np.zeros(real.shape[1])
    for k in range(folds):
        test, stop = part == k, part == (k + 1) % folds
        trees = xgboost.train(
            settings,
            rows(~test & ~stop),
            num_boost_round=1000,
            evals=[(rows(stop), "stop")],
            early_stopping_rounds=20,
            verbose_eval=False,
        )
        score = trees.predict(rows(test), iteration_range=(0, trees.best_iteration + 1))
        n = int(test.sum())
        aucs.append(area_under_curve(score[:n], score[n:]))
        for name, value in trees.get_score(importance_type="total_gain").items():
            gain[int(name[1:])] += float(np.sum(value))
    return Judgement(
        auc=float(np.mean(aucs)),
        uncertainty=float(np.std(aucs, ddof=1) / np.sqrt(folds)),
        importance=gain / gain.sum() if gain.sum() > 0.0 else gain,
    )


def uniformity(levels: Floats, *, bins: int = 50) -> Floats:
    """χ²/ndf of each column of levels (N, n) against a flat distribution on (0, 1), (n,).

    Of real jets' levels (`Emulator.cdf`) it is near 1 when the emulator's conditional quantiles are right: the
    probability integral transform (figure 3 of Kronheim et al. 2024).
    """
    expected = len(levels) / bins
    counts = np.stack([np.histogram(column, bins, (0.0, 1.0))[0] for column in levels.T])
    return np.asarray(((counts - expected) ** 2 / expected).sum(axis=1) / (bins - 1))


class Cell(NamedTuple):
    """A cell of gen pt [GeV] and |eta|, how many jets are in it, and the `uniformity` of their levels, (4,)."""

    pt: tuple[float, float]
    abs_eta: tuple[float, float]
    n_jets: int
    uniformity: Floats


def uniformity_in_cells(
    levels: Floats,
    gen: Floats,
    *,
    pt_edges: Sequence[float],
    eta_edges: Sequence[float],
    min_jets: int = 2000,
    bins: int = 20,
) -> list[Cell]:
    """The `uniformity` of levels (N, 4) in cells of gen pt and |eta|: calibration conditional on phase space.

    Cells with fewer than `min_jets` jets are left out.
    """
    return [
        Cell(pt, abs_eta, int(inside.sum()), uniformity(levels[inside], bins=bins))
        for pt, abs_eta, inside in _cells(gen, pt_edges, eta_edges, min_jets)
    ]


class Agreement(NamedTuple):
    """How two histograms agree: χ² over the bins that count, and how many these are."""

    chi2: float
    ndf: int

    @property
    def per_bin(self) -> float:
        """χ²/ndf; NaN where no bin counts."""
        return self.chi2 / self.ndf if self.ndf else float("nan")


def agreement(emulated: tuple[Floats, Floats], real: tuple[Floats, Floats], *, min_entries: float = 25.0) -> Agreement:
    """χ² of emulated against real histograms, with the statistical uncertainties of both.

    Parameters
    ----------
    emulated, real: values and variances of the bins, of one shape.
    min_entries: effective real entries, value² / variance, that a bin needs to count.

    Where both come from the same gen events they fluctuate together, and χ²/ndf of a perfect emulator is below 1: that
    of two emulations says how far.
    """
    (value, variance), (expected, expected_variance) = emulated, real
    counts = (expected > 0.0) & (expected**2 >= min_entries * expected_variance)
    pulls2 = (value - expected)[counts] ** 2 / (variance + expected_variance)[counts]
    return Agreement(float(pulls2.sum()), int(counts.sum()))


class EfficiencyCell(NamedTuple):
    """A cell of gen pt [GeV] and |eta|: how many gen jets, the fraction found, the mean of its emulated probability."""

    pt: tuple[float, float]
    abs_eta: tuple[float, float]
    n_jets: int
    found: float
    expected: float

    @property
    def pull(self) -> float:
        """Expected less found, over the binomial uncertainty of what was found."""
        return float((self.expected - self.found) / np.sqrt(self.expected * (1.0 - self.expected) / self.n_jets))


def efficiency_in_cells(
    probability: Floats,
    found: npt.NDArray[np.bool_],
    gen: Floats,
    *,
    pt_edges: Sequence[float],
    eta_edges: Sequence[float],
    min_jets: int = 2000,
) -> list[EfficiencyCell]:
    """Emulated P(found) and what was found, (N,) each, of gen jets (N, 4), in cells of gen pt and |eta|.

    Cells with fewer than `min_jets` jets are left out.
    """
    return [
        EfficiencyCell(pt, abs_eta, int(inside.sum()), float(found[inside].mean()), float(probability[inside].mean()))
        for pt, abs_eta, inside in _cells(gen, pt_edges, eta_edges, min_jets)
    ]


def _cells(
    gen: Floats, pt_edges: Sequence[float], eta_edges: Sequence[float], min_jets: int
) -> Iterator[tuple[tuple[float, float], tuple[float, float], npt.NDArray[np.bool_]]]:
    """Cells of gen pt and |eta| with at least so many jets, and which jets are inside, (N,)."""
    pt, abs_eta = gen[:, 0], np.abs(gen[:, 1])
    for pt_range in pairwise(pt_edges):
        for eta_range in pairwise(eta_edges):
            inside = (pt >= pt_range[0]) & (pt < pt_range[1]) & (abs_eta >= eta_range[0]) & (abs_eta < eta_range[1])
            if inside.sum() >= min_jets:
                yield pt_range, eta_range, inside
