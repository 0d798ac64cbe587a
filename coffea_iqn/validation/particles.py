"""Compare the particles in emulated and true jets, by the jet shapes of `jets.shapes`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy

from coffea_iqn import closure
from coffea_iqn.closure import Estimate, Marginal
from coffea_iqn.jets.shapes import NAMES
from coffea_iqn.numerics.arrays import Floats

OBSERVABLES = tuple(name for name in NAMES if name != "phi")
SHOWN = ("multiplicity", "tau21", "soft-drop mass", "pTD", "flow 1", "mass")  # in the figure
JUDGED = ("pt", "eta", "mass", "multiplicity", "pTD", "width", "C2", "D2", "soft-drop mass", "tau1", "tau21", "tau32")
GIVEN = ("pt", "eta", "mass", "multiplicity", "pTD", "width", "tau21")  # shapes of the gen jet
FEATURES = (*(f"gen {name}" for name in GIVEN), *JUDGED)


class OfParticles(NamedTuple):
    """Differences of the particles in emulated and other jets, for the same gen jets.

    Attributes
    ----------
    n_jets: number of gen jets.
    distances: Wasserstein-1 distance of random halves for each observable, relative to that of two halves of true jets.
    shifts: median difference of the two reco jets of a gen jet, in half central 68 % widths of true residuals.
    spectra: spectra of the observables in the figure.
    frechet, kernel: distances of all observables but the angles.
    microseconds: time to fold a gen jet on one core.
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
    """Return the figures of the particles in emulated and real jets.

    Parameters
    ----------
    gen, emulated, real: `jets.shapes.shapes` of jets, with the same gen jet in each row, (N, 20) each.
    microseconds: see `OfParticles`.
    repeats, batches, seed: options of `closure.split_half_distance` and of the distances of all observables.

    Raises
    ------
    TooFewJetsError: for fewer than `closure.estimates.MIN_JETS` jets.
    """
    distances, shifts = {}, {}
    for name in OBSERVABLES:
        of_gen, drawn, true = (side[:, NAMES.index(name)] for side in (gen, emulated, real))
        distances[name] = closure.split_half_distance(
            scipy.stats.wasserstein_distance, drawn, true, repeats=repeats, seed=seed
        ).estimate
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
    """Return the signed median of differences in half central 68 % widths of residuals."""
    median, error, *_ = closure.median_and_width(differences)
    width = closure.median_and_width(residuals)[2]
    return Estimate(float(median / width), float(error / width))


def features(gen: Floats, jets: Floats) -> Floats:
    """Return the `FEATURES` of the judge of particles, (N, 19), from shapes of gen and reco jets, (N, 20) each."""
    sides = ((gen, GIVEN), (jets, JUDGED))
    return np.concatenate([side[:, [NAMES.index(name) for name in names]] for side, names in sides], axis=1)
