"""Classifiers that try to tell emulated from real jets: boosted trees."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from coffea_iqn.closure.estimates import ETA, MASS, PHI, PT, VARIABLES, Floats, check_enough
from coffea_iqn.closure.response import MASS_OFFSET, MASS_ROUNDING, wrapped

ROUNDS = 300  # more say nothing new of an emulator that is as bad
LEAST_PROBABILITY = 1e-6
JET_FEATURES = ("pt", "eta", "phi", "mass", "pt'", "eta'", "phi'", "mass'")
RESIDUAL_FEATURES = (*JET_FEATURES, "log pt'/pt", "Δη", "Δφ", "log mass ratio")


class Judgement(NamedTuple):
    """What a classifier made of real and emulated jets.

    Attributes
    ----------
    auc: area under the ROC curve, 0.5 when it cannot tell them apart; mean over the folds.
    uncertainty: of the mean, from the spread over the folds.
    importance: the share of each feature in the classifier's gain, (features,).
    real, emulated: P(emulated) of each jet from the classifier that did not see it, (N,) each.
    """

    auc: float
    uncertainty: float
    importance: Floats
    real: Floats
    emulated: Floats

    @property
    def weights(self) -> tuple[Floats, Floats]:
        """P(real) / P(emulated) of real and of emulated jets, (N,) each: estimates of the ratio of their densities.

        R. Das et al., SciPost Phys. 16 (2024) 031: their spread, and above all their tails, show where a generator
        is wrong, which an area under a curve averages away.
        """
        least = LEAST_PROBABILITY
        probabilities = (np.clip(side, least, 1.0 - least) for side in (self.real, self.emulated))
        real, emulated = ((1.0 - p) / p for p in probabilities)
        return real, emulated


def outside(weights: Floats, factor: float = 2.0) -> tuple[float, float]:
    """The fractions of weights (N,) below 1 / factor and above factor."""
    return float((weights < 1.0 / factor).mean()), float((weights > factor).mean())


def jet_features(gen: Floats, reco: Floats) -> Floats:
    """The eight features of the paper's judge, the gen and the reco four-momentum, (N, 8).

    Kronheim et al., Mach. Learn.: Sci. Technol. 5 (2024) 045073. Masses are `without_rounding`.
    """
    return np.concatenate([without_rounding(jets) for jets in (gen, reco)], axis=1)


def without_rounding(jets: Floats) -> Floats:
    """Jets (..., 4) whose masses are 0 where rounding in files made them something else: no judge is to see that."""
    jets = np.array(jets)
    jets[..., MASS][np.abs(jets[..., MASS]) < MASS_ROUNDING] = 0.0
    return jets


def residual_features(gen: Floats, reco: Floats) -> Floats:
    """`jet_features` with log pt'/pt, Δη, Δφ and log((m' + 2)/(m + 2)), (N, 12): a far sharper judge."""
    features = jet_features(gen, reco)
    gen, reco = features[:, : len(VARIABLES)], features[:, len(VARIABLES) :]  # without rounding
    d_phi = wrapped(reco[:, PHI] - gen[:, PHI])
    mass, gen_mass = (np.maximum(jets[:, MASS], 0.0) + MASS_OFFSET for jets in (reco, gen))
    columns = [np.log(reco[:, PT] / gen[:, PT]), reco[:, ETA] - gen[:, ETA], d_phi, np.log(mass / gen_mass)]
    return np.concatenate([features, np.stack(columns, axis=1)], axis=1)


class Features(NamedTuple):
    """What a judge looks at.

    Attributes
    ----------
    of: from gen and reco jets (N, 4) to features (N, n).
    names: theirs, (n,).
    """

    of: Callable[[Floats, Floats], Floats]
    names: tuple[str, ...]


JUDGES = {
    "four-momenta": Features(jet_features, JET_FEATURES),
    "residuals": Features(residual_features, RESIDUAL_FEATURES),
}


def area_under_curve(score_real: Floats, score_emulated: Floats) -> float:
    """The probability that an emulated jet scores above a real one: the Mann-Whitney form of the ROC area.

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
    TooFewJetsError: for fewer than `sizes.MIN_JETS` jets.
    ImportError: when xgboost is not installed (extra `judge`).
    """
    try:
        import xgboost
    except ImportError:
        msg = "judge: expected xgboost to be installed: pip install 'coffea-iqn[judge]'"
        raise ImportError(msg) from None
    if real.shape != emulated.shape:
        msg = f"judge: expected real and emulated copies of the same jets, got shapes {real.shape} and {emulated.shape}"
        raise ValueError(msg)
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

    def rows(selected: npt.NDArray[np.bool_]) -> xgboost.DMatrix:
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
