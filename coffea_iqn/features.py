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
MAX_LOG = 20.0  # keeps what a badly trained network draws finite, far from what any jet does
RATIO_OFFSET = 10.0  # the paper's: keeps the ratio of two standardised variables away from zero
# Towers of the CMS hadron calorimeters in |eta|, as Delphes' CMS card has them; beyond, the beam pipe.
# fmt: off
TOWER_EDGES = np.array([
    *(0.087 * np.arange(19)), 1.653, 1.74, 1.83, 1.93, 2.043, 2.172, 2.322, 2.5, 2.65, 2.868, 2.95, 3.125, 3.3, 3.475,
    3.65, 3.825, 4.0, 4.175, 4.35, 4.525, 4.7, 5.0, 8.0,
])
# fmt: on
TOWERS_IN_PHI = ((1.653, 72), (4.525, 36), (np.inf, 18))  # below this |eta|: towers around the beam
DETECTOR_EDGES = ((1.5, 0.1), (2.5, 0.1), (2.95, 0.1), (2.5, 0.4), (2.95, 0.4))  # |eta|, over which width


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


def beam_side(eta: Array) -> Array:
    """Towards which beam something lies, −1 or 1: what turns Δη into one towards the beam."""
    return np.where(eta < 0.0, -1.0, 1.0)


def log_mass(mass: Array) -> Array:
    """log(m + 2 GeV), with the paper's offset; negative masses count as zero."""
    return np.log(np.maximum(mass, 0.0) + MASS_OFFSET)


def mass_from_log(log_m: Array) -> Array:
    """The mass [GeV] whose `log_mass` is given, never below zero."""
    return np.maximum(np.exp(np.minimum(log_m, MAX_LOG)) - MASS_OFFSET, 0.0)


def paper_variables(jets: Array) -> Array:
    """(log pt, eta, phi, log(m + 2)) of jets (N, 4), before standardisation (Kronheim et al. 2024)."""
    return np.stack([np.log(jets[:, PT]), jets[:, ETA], jets[:, PHI], log_mass(jets[:, MASS])], axis=1)


def calorimeter_variables(jets: Array) -> Array:
    """Inputs that follow the detector: what a jet's response depends on, in (N, 14) columns.

    log pt; |eta|; log(m + 2); log((m + 0.5) / pt); log((m + 0.05) / pt), for jets of a single particle; nearness to
    the edges of `DETECTOR_EDGES`, as steps; and the phases of the jet axis within a calorimeter tower, sine and
    cosine in |eta| and in phi. The sign of eta does not enter: the detector is symmetric.
    """
    pt, phi = jets[:, PT], jets[:, PHI]
    mass = np.maximum(jets[:, MASS], 0.0)
    abs_eta = np.abs(jets[:, ETA])
    tower = np.clip(np.searchsorted(TOWER_EDGES, abs_eta, side="right") - 1, 0, len(TOWER_EDGES) - 2)
    low, high = TOWER_EDGES[tower], TOWER_EDGES[tower + 1]
    eta_phase = 2.0 * np.pi * (abs_eta - low) / (high - low)
    phi_phase = phi * np.select([abs_eta < edge for edge, _ in TOWERS_IN_PHI], [n for _, n in TOWERS_IN_PHI])
    columns = [
        np.log(pt),
        abs_eta,
        log_mass(mass),
        np.log((mass + 0.5) / pt),
        np.log((mass + 0.05) / pt),
        *(np.tanh((abs_eta - edge) / width) for edge, width in DETECTOR_EDGES),
        np.sin(eta_phase),
        np.cos(eta_phase),
        np.sin(phi_phase),
        np.cos(phi_phase),
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
    return np.stack(
        [np.exp(np.clip(y[:, PT], -MAX_LOG, MAX_LOG)), y[:, ETA], wrap_phi(y[:, PHI]), mass_from_log(y[:, MASS])],
        axis=1,
    )


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
            gen[:, PT] * np.exp(np.clip(targets[:, PT], -MAX_LOG, MAX_LOG)),
            gen[:, ETA] + targets[:, ETA],
            wrap_phi(gen[:, PHI] + targets[:, PHI]),
            mass_from_log(log_mass(gen[:, MASS]) + targets[:, MASS]),
        ],
        axis=1,
    )


def symmetric_targets(reco: Array, gen: Array) -> Array:
    """`residual_targets` with Δη towards the beam: sign(η) Δη. Both ends of the detector are then alike."""
    targets = residual_targets(reco, gen)
    targets[:, ETA] *= beam_side(gen[:, ETA])
    return targets


def jets_from_symmetric(targets: Array, gen: Array) -> Array:
    """The inverse of `symmetric_targets`: reco jets (N, 4) from targets (N, 4) and gen jets (N, 4)."""
    targets = targets.copy()
    targets[:, ETA] *= beam_side(gen[:, ETA])
    return jets_from_residuals(targets, gen)


class Targets(NamedTuple):
    """What a network is trained to draw: `encode(reco, gen)` and its inverse `decode(targets, gen)`."""

    encode: Callable[[Array, Array], Array]
    decode: Callable[[Array, Array], Array]


def cms_scale(raw: Array) -> Array:
    """The jet energy scale of Delphes' CMS card: jets (N, 4) times sqrt((2.5 − 0.15 |η|)² / pt_raw + 1)."""
    factor = np.sqrt((2.5 - 0.15 * np.abs(raw[:, ETA])) ** 2 / raw[:, PT] + 1.0)
    return _scaled(raw, factor)


def cms_unscale(reco: Array) -> Array:
    """The inverse of `cms_scale`: jets as they were clustered, before the scale."""
    c = (2.5 - 0.15 * np.abs(reco[:, ETA])) ** 2
    raw_pt = 0.5 * (np.sqrt(c * c + 4.0 * reco[:, PT] ** 2) - c)
    return _scaled(reco, raw_pt / reco[:, PT])


def _scaled(jets: Array, factor: Array) -> Array:
    one = np.ones_like(factor)
    return jets * np.stack([factor, one, one, factor], axis=1)


class JetScale(NamedTuple):
    """What a detector does to the four-momentum of a jet after its thresholds, and how to undo it."""

    apply: Callable[[Array], Array]
    undo: Callable[[Array], Array]


INPUTS: dict[str, Callable[[Array], Array]] = {
    "paper": paper_variables,
    "calorimeter": calorimeter_variables,
}
TARGETS: dict[str, Targets] = {
    "ratio": Targets(ratio_targets, jets_from_ratios),
    "residual": Targets(residual_targets, jets_from_residuals),
    "symmetric": Targets(symmetric_targets, jets_from_symmetric),
}
SCALES: dict[str, JetScale] = {
    "none": JetScale(lambda jets: jets, lambda jets: jets),
    "delphes-cms": JetScale(cms_scale, cms_unscale),
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


COMPRESSION_SHAPE = (10, 4)


class Compression(NamedTuple):
    """Targets over their typical size, then asinh: what is left is of order one, its tails only a few.

    Attributes
    ----------
    coefficients: of the logarithm of the typical size of each target, (10, 4), as a smooth function of the gen
        jet (`_size_variables`).
    """

    coefficients: Array

    @classmethod
    def of(cls, targets: Array, gen: Array) -> Compression:
        """Fit the size of targets (N, 4) to gen jets (N, 4), by least squares on its logarithm."""
        size = np.log(np.abs(targets) + 1e-3)
        return cls(np.linalg.lstsq(_size_variables(gen), size, rcond=None)[0])

    def apply(self, targets: Array, gen: Array) -> Array:
        return np.arcsinh(targets / self.size(gen))

    def invert(self, compressed: Array, gen: Array) -> Array:
        return np.sinh(np.clip(compressed, -MAX_LOG, MAX_LOG)) * self.size(gen)

    def size(self, gen: Array) -> Array:
        """The typical size of the targets, (N, 4): twice the fitted one, where asinh begins to bend."""
        variables = _size_variables(gen)
        log_size = variables @ self.coefficients.astype(variables.dtype)
        return 2.0 * np.exp(np.clip(log_size, -MAX_LOG, MAX_LOG))


def _size_variables(gen: Array) -> Array:
    """Ten smooth functions of log pt, |eta| and log(m + 2), (N, 10)."""
    log_pt, eta, log_m = np.log(gen[:, PT]), np.abs(gen[:, ETA]), log_mass(gen[:, MASS])
    one = np.ones_like(log_pt)
    columns = [one, log_pt, log_pt**2, eta, eta**2, eta**3, log_m, log_m**2, log_pt * eta, log_pt * log_m]
    return np.stack(columns, axis=1)
