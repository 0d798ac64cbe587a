"""Particles in emulated jets against those in true ones, by what `jets.shapes` says of both."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import wasserstein_distance

from coffea_iqn import closure
from coffea_iqn.closure import Estimate, Marginal
from coffea_iqn.jets.shapes import NAMES
from coffea_iqn.numerics.arrays import Floats

OBSERVABLES = tuple(name for name in NAMES if name != "phi")
SHOWN = ("multiplicity", "tau21", "soft-drop mass", "pTD", "flow 1", "mass")  # in the figure
JUDGED = ("pt", "eta", "mass", "multiplicity", "pTD", "width", "C2", "D2", "soft-drop mass", "tau1", "tau21", "tau32")
GIVEN = ("pt", "eta", "mass", "multiplicity", "pTD", "width", "tau21")  # of the gen jet
FEATURES = (*(f"gen {name}" for name in GIVEN), *JUDGED)


class OfParticles(NamedTuple):
    """How far the particles of emulated jets are from those of others, for the same gen jets.

    Attributes
    ----------
    n_jets: how many these are.
    distances: Wasserstein-1 distances of each observable, of random halves, over those of true jets from each other.
    shifts: medians of the differences of both reco jets of a gen jet, in half central 68 % widths of true residuals.
    spectra: of those that are shown.
    frechet, kernel: distances of all observables but the angles.
    microseconds: that a gen jet takes to fold, on one core.
    """

    n_jets: int
    distances: dict[str, Estimate]
    shifts: dict[str, Estimate]
    spectra: dict[str, Marginal]
    frechet: Estimate
    kernel: Estimate
    microseconds: float


def compare_shapes(
    gen: Floats, emulated: Floats, real: Floats, *, microseconds: float, repeats: int, batches: int, seed: int
) -> OfParticles:
    """The figures of emulated against real jets.

    Parameters
    ----------
    gen, emulated, real: `jets.shapes.shapes` of jets, row by row of the same gen jet, (N, 20) each.
    microseconds: as of `OfParticles`.
    repeats, batches, seed: of `closure.split_half_distance`, and of the distances of all observables.

    Raises
    ------
    TooFewJetsError: for fewer than `closure.estimates.MIN_JETS` jets.
    """
    distances, shifts = {}, {}
    for name in OBSERVABLES:
        of_gen, drawn, true = (side[:, NAMES.index(name)] for side in (gen, emulated, real))
        distances[name] = closure.split_half_distance(
            wasserstein_distance, drawn, true, repeats=repeats, seed=seed
        ).size
        shifts[name] = _shift(drawn - true, true - of_gen)
    spectra = {
        name: closure.marginal_of_column(
            *(side[:, NAMES.index(name)] for side in (emulated, real)), whole=name == "multiplicity"
        )
        for name in SHOWN
    }
    some = [NAMES.index(name) for name in OBSERVABLES if name != "eta"]
    both = emulated[:, some], real[:, some]
    frechet, kernel = (
        of(*both, batches=batches, seed=seed) for of in (closure.frechet_distance, closure.kernel_distance)
    )
    return OfParticles(len(gen), distances, shifts, spectra, frechet, kernel, microseconds)


def _shift(differences: Floats, residuals: Floats) -> Estimate:
    """The median of the differences in half central 68 % widths of the residuals, with its sign."""
    median, error, *_ = closure.median_and_width(differences)
    width = closure.median_and_width(residuals)[2]
    return Estimate(float(median / width), float(error / width))


def features(gen: Floats, jets: Floats) -> Floats:
    """What a judge of particles looks at, the `FEATURES`, (N, 19), of shapes of gen and of reco jets (N, 20)."""
    sides = ((gen, GIVEN), (jets, JUDGED))
    return np.concatenate([side[:, [NAMES.index(name) for name in names]] for side, names in sides], axis=1)
