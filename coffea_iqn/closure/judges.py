"""Judges: classifier two-sample tests, in which boosted trees try to tell emulated from real jets."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy

from coffea_iqn.closure.estimates import check_enough
from coffea_iqn.closure.response import MASS_ROUNDING
from coffea_iqn.jets.features import ETA, MASS, MASS_OFFSET, PHI, PT, VARIABLES, wrap_phi
from coffea_iqn.numerics.arrays import Bools, Floats
from coffea_iqn.ranges import expect

ROUNDS = 300  # greatest number of trees; for a poor emulator more trees would not change the conclusion
LEAST_PROBABILITY = 1e-6
JET_FEATURES = ("pt", "eta", "phi", "mass", "pt'", "eta'", "phi'", "mass'")
RESIDUALS = ("log pt'/pt", "Δη", "Δφ", "log mass ratio")
RESIDUAL_FEATURES = (*JET_FEATURES, *RESIDUALS)


class Judgement(NamedTuple):
    """The result of a judge.

    Attributes
    ----------
    auc: area under the ROC curve, averaged over the folds; 0.5 if the samples are indistinguishable.
    uncertainty: standard error of the mean over the folds.
    importance: fraction of the total gain due to each feature, (features,).
    real, emulated: P(emulated) of each jet from the classifier that was not trained on it, (N,) each.
    names: names of the features, if known.
    """

    auc: float
    uncertainty: float
    importance: Floats
    real: Floats
    emulated: Floats
    names: tuple[str, ...] = ()

    @property
    def weights(self) -> tuple[Floats, Floats]:
        """P(real) / P(emulated) of real and of emulated jets, (N,) each: estimates of the density ratio.

        R. Das et al., SciPost Phys. 16 (2024) 031: the spread of the weights, and their tails in particular, show
        where a generator is wrong, which the area under the curve averages out.
        """
        least = LEAST_PROBABILITY
        probabilities = (np.clip(side, least, 1.0 - least) for side in (self.real, self.emulated))
        real, emulated = ((1.0 - p) / p for p in probabilities)
        return real, emulated


def outside(weights: Floats) -> tuple[float, float]:
    """Return the fractions of weights (N,) below 1/2 and above 2."""
    return float((weights < 0.5).mean()), float((weights > 2.0).mean())


def jet_features(gen: Floats, reco: Floats) -> Floats:
    """Return the eight features of the paper's classifier, the gen and the reco four-momentum, (N, 8).

    Kronheim et al., Mach. Learn.: Sci. Technol. 5 (2024) 045073. Masses are treated as in `without_rounding`.
    """
    return np.concatenate([without_rounding(jets) for jets in (gen, reco)], axis=1)


def without_rounding(jets: Floats) -> Floats:
    """Return jets (..., 4) with masses that are only rounding errors set to 0, so that they cannot be used to judge."""
    jets = np.array(jets)
    jets[..., MASS][np.abs(jets[..., MASS]) < MASS_ROUNDING] = 0.0
    return jets


def residual_features(gen: Floats, reco: Floats) -> Floats:
    """Return `jet_features` and log pt'/pt, Δη, Δφ, log((m' + 2)/(m + 2)), (N, 12), for a far more powerful judge."""
    features = jet_features(gen, reco)
    of_pairs = pair_residuals(features[:, : len(VARIABLES)], features[:, len(VARIABLES) :])  # without rounding
    return np.concatenate([features, of_pairs], axis=1)


def pair_residuals(gen: Floats, reco: Floats) -> Floats:
    """Return the `RESIDUALS` of pairs of gen and reco jets, (..., 4)."""
    d_phi = wrap_phi(reco[..., PHI] - gen[..., PHI])
    mass, gen_mass = (np.maximum(jets[..., MASS], 0.0) + MASS_OFFSET for jets in (reco, gen))
    columns = [np.log(reco[..., PT] / gen[..., PT]), reco[..., ETA] - gen[..., ETA], d_phi, np.log(mass / gen_mass)]
    return np.stack(columns, axis=-1)


class Features(NamedTuple):
    """The input features of a judge.

    Attributes
    ----------
    of: function from gen and reco jets (N, 4) to features (N, n).
    names: names of the features, (n,).
    """

    of: Callable[[Floats, Floats], Floats]
    names: tuple[str, ...]


JUDGES = {
    "four-momenta": Features(jet_features, JET_FEATURES),
    "residuals": Features(residual_features, RESIDUAL_FEATURES),
}


def area_under_curve(score_real: Floats, score_emulated: Floats) -> float:
    """Return the area under the ROC curve: the probability that an emulated jet scores above a real one.

    >>> area_under_curve(np.array([0.1, 0.2]), np.array([0.3, 0.4]))
    1.0
    """
    found = scipy.stats.mannwhitneyu(score_emulated, score_real, method="asymptotic")
    return float(found.statistic / (len(score_real) * len(score_emulated)))


def judge(real: Floats, emulated: Floats, *, folds: int = 5, seed: int = 0, threads: int = 1) -> Judgement:
    """Train boosted trees to tell emulated from real jets: XGBoost, depth 6, early stopping.

    With five folds, in turn one fold is for testing, one for early stopping, and three are for training. The real and
    the emulated copy of a jet are always in the same fold; otherwise the trees could memorise gen jets.

    Parameters
    ----------
    real, emulated: features of the two copies of each jet, (N, features), with the same gen jet in each row.
    folds: number of folds.
    seed: seed of the division into folds and of the trees.
    threads: number of threads.

    Raises
    ------
    ValueError: when real and emulated differ in shape.
    TooFewJetsError: for fewer than `estimates.MIN_JETS` jets.
    ImportError: when xgboost is not installed (extra `judge`).
    """
    try:
        import xgboost
    except ImportError:
        msg = "judge: expected xgboost to be installed: pip install 'coffea-iqn[judge]'"
        raise ImportError(msg) from None
    got = f"got shapes {real.shape} and {emulated.shape}"
    expect(real.shape == emulated.shape, f"judge: expected real and emulated copies of the same jets, {got}")
    check_enough("judge", len(real))
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

    def rows(selected: Bools) -> xgboost.DMatrix:
        features = np.concatenate([real[selected], emulated[selected]])
        return xgboost.DMatrix(features, label=np.repeat([0.0, 1.0], selected.sum()))

    aucs = []
    scores = np.empty((2, len(real)))
    gain = np.zeros(real.shape[1])
    for k in range(folds):
        test, stop = part == k, part == (k + 1) % folds
        trees = xgboost.train(
            settings,
            rows(~test & ~stop),
            num_boost_round=ROUNDS,
            evals=[(rows(stop), "stop")],
            early_stopping_rounds=20,
            verbose_eval=False,
        )
        score = trees.predict(rows(test), iteration_range=(0, trees.best_iteration + 1))
        n = int(test.sum())
        aucs.append(area_under_curve(score[:n], score[n:]))
        scores[:, test] = score[:n], score[n:]
        for name, value in trees.get_score(importance_type="total_gain").items():
            gain[int(name[1:])] += float(np.sum(value))
    return Judgement(
        auc=float(np.mean(aucs)),
        uncertainty=float(np.std(aucs, ddof=1) / np.sqrt(folds)),
        importance=gain / gain.sum() if gain.sum() > 0.0 else gain,
        real=scores[0],
        emulated=scores[1],
    )
