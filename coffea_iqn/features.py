"""Jet four-momenta to network variables and back, one formula a function.

A jet is a row (pt [GeV], eta, phi [rad], mass [GeV]). Every function takes and returns flat numpy arrays,
and knows nothing of networks or files. Masses below zero, which rounding leaves in real files, count as zero.

The paper is B. Kronheim, A. Al Kadhim, M. P. Kuchera, H. B. Prosper and R. Ramanujan,
Mach. Learn.: Sci. Technol. 5 (2024) 045073.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]

PT, ETA, PHI, MASS = range(4)
VARIABLES = ("pt", "eta", "phi", "mass")

MASS_OFFSET = 2.0  # GeV, the paper's: keeps the logarithm flat where Delphes jets are nearly massless
RATIO_OFFSET = 10.0  # the paper's: keeps the ratio of two standardised variables away from zero
TOWER_ETA = 0.087  # width of a tower of the CMS calorimeters in eta, and in phi (5 degrees) in the barrel
EDGES_ETA = (1.5, 2.5, 3.0)  # where towers widen, tracking ends and the endcaps end
EDGE_WIDTH = 0.1  # comparable with the distance over which a jet core crosses an edge


def wrap_phi(phi: Array) -> Array:
    """Bring angles into (−π, π].

    Parameters
    ----------
    phi: angles [rad], any shape.

    >>> wrap_phi(np.array([0.0, 3.5, -3.5])).round(4).tolist()
    [0.0, -2.7832, 2.7832]
    """
    turn = 2.0 * np.pi
    wrapped = phi - turn * np.round(phi / turn)
    return np.where(wrapped <= -np.pi, wrapped + turn, wrapped).astype(phi.dtype, copy=False)


def log_mass(mass: Array) -> Array:
    """log(m + 2 GeV), with the paper's offset; negative masses count as zero."""
    return np.log(np.maximum(mass, 0.0) + MASS_OFFSET)


def mass_from_log(log_m: Array) -> Array:
    """The mass [GeV] whose `log_mass` is given, never below zero."""
    return np.maximum(np.exp(log_m) - MASS_OFFSET, 0.0)


def paper_variables(jets: Array) -> Array:
    """(log pt, eta, phi, log(m + 2)) of jets (N, 4), before standardisation (Kronheim et al. 2024)."""
    return np.stack([np.log(jets[:, PT]), jets[:, ETA], jets[:, PHI], log_mass(jets[:, MASS])], axis=1)


def calorimeter_variables(jets: Array) -> Array:
    """Inputs that follow the detector: what a jet's response depends on, in (N, 14) columns.

    log pt; eta; |eta|; log(m + 2); log((m + 0.5) / pt); nearness to the edges of `EDGES_ETA`, as a step
    of width `EDGE_WIDTH`; and the phase of the jet axis within a calorimeter tower: sin and cos in eta, and
    in phi for towers of 5 and of 10 degrees.
    """
    pt, eta, phi = jets[:, PT], jets[:, ETA], jets[:, PHI]
    mass = np.maximum(jets[:, MASS], 0.0)
    abs_eta = np.abs(eta)
    eta_phase = 2.0 * np.pi * eta / TOWER_ETA
    columns = [
        np.log(pt),
        eta,
        abs_eta,
        log_mass(mass),
        np.log((mass + 0.5) / pt),
        *(np.tanh((abs_eta - edge) / EDGE_WIDTH) for edge in EDGES_ETA),
        np.sin(eta_phase),
        np.cos(eta_phase),
        np.sin(72.0 * phi),
        np.cos(72.0 * phi),
        np.sin(36.0 * phi),
        np.cos(36.0 * phi),
    ]
    return np.stack(columns, axis=1)


def ratio_targets(reco: Array, gen: Array) -> Array:
    """The paper's targets (y + 10) / (x + 10) for y, x the `paper_variables` of reco and gen, shape (N, 4).

    The reco angle is first moved to within π of the gen angle, so that a jet that crosses φ = π stays near.
    """
    x = paper_variables(gen)
    y = paper_variables(reco)
    y[:, PHI] = gen[:, PHI] + wrap_phi(reco[:, PHI] - gen[:, PHI])
    return (y + RATIO_OFFSET) / (x + RATIO_OFFSET)


def jets_from_ratios(targets: Array, gen: Array) -> Array:
    """The inverse of `ratio_targets`: reco jets (N, 4) from targets (N, 4) and gen jets (N, 4)."""
    y = targets * (paper_variables(gen) + RATIO_OFFSET) - RATIO_OFFSET
    return np.stack([np.exp(y[:, PT]), y[:, ETA], wrap_phi(y[:, PHI]), mass_from_log(y[:, MASS])], axis=1)


def residual_targets(reco: Array, gen: Array) -> Array:
    """(log pt'/pt, Δη, Δφ in (−π, π], log((m' + 2)/(m + 2))), shape (N, 4).

    Residuals are what Kronheim et al. (2024) name as the likely improvement on their ratios.
    """
    return np.stack(
        [
            np.log(reco[:, PT] / gen[:, PT]),
            reco[:, ETA] - gen[:, ETA],
            wrap_phi(reco[:, PHI] - gen[:, PHI]),
            log_mass(reco[:, MASS]) - log_mass(gen[:, MASS]),
        ],
        axis=1,
    )


def jets_from_residuals(targets: Array, gen: Array) -> Array:
    """The inverse of `residual_targets`: reco jets (N, 4) from targets (N, 4) and gen jets (N, 4)."""
    return np.stack(
        [
            gen[:, PT] * np.exp(targets[:, PT]),
            gen[:, ETA] + targets[:, ETA],
            wrap_phi(gen[:, PHI] + targets[:, PHI]),
            mass_from_log(log_mass(gen[:, MASS]) + targets[:, MASS]),
        ],
        axis=1,
    )


class Targets(NamedTuple):
    """What a network is trained to draw: `encode(reco, gen)` and its inverse `decode(targets, gen)`."""

    encode: Callable[[Array, Array], Array]
    decode: Callable[[Array, Array], Array]


INPUTS: dict[str, Callable[[Array], Array]] = {
    "paper": paper_variables,
    "calorimeter": calorimeter_variables,
}
TARGETS: dict[str, Targets] = {
    "ratio": Targets(ratio_targets, jets_from_ratios),
    "residual": Targets(residual_targets, jets_from_residuals),
}


class Standardisation(NamedTuple):
    """z(x) = (x − mean) / scale, column by column."""

    mean: Array
    scale: Array

    @classmethod
    def of(cls, values: Array) -> Standardisation:
        """Mean and standard deviation of each column of values (N, n); constant columns keep scale 1."""
        scale = values.std(axis=0, dtype=np.float64)
        scale[scale == 0.0] = 1.0
        return cls(values.mean(axis=0, dtype=np.float64).astype(np.float32), scale.astype(np.float32))

    def apply(self, values: Array) -> Array:
        return (values - self.mean) / self.scale

    def invert(self, values: Array) -> Array:
        return values * self.scale + self.mean
