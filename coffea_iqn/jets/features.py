"""Transformations between jet four-momenta and network variables, one function per formula.

A jet is a row (pt [GeV], eta, phi [rad], mass [GeV]). Every function takes and returns flat arrays of numpy, or of
torch on any device, through the array API standard. Negative masses, which rounding leaves in files, are treated as
zero.

The paper is B. Kronheim, A. Al Kadhim, M. P. Kuchera, H. B. Prosper and R. Ramanujan,
Mach. Learn.: Sci. Technol. 5 (2024) 045073.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, device

from coffea_iqn.numerics.arrays import Floats

Columns = Any  # a numpy array or a torch tensor: one column, (N,), or several, (N, n)

PT, ETA, PHI, MASS = range(4)
VARIABLES = ("pt", "eta", "phi", "mass")

MASSLESS = 0.01  # GeV: lighter reco jets are single particles or towers, of zero mass up to rounding
MASS_OFFSET = 2.0  # GeV, the paper's: keeps the logarithm flat where Delphes jets are nearly massless
MAX_LOG = 20.0  # keeps the draws of a badly trained network finite; far beyond any real jet
RATIO_OFFSET = 10.0  # the paper's: keeps the ratio of two standardised variables away from zero
# Towers of the CMS hadron calorimeters in |eta|, from Delphes' CMS card; the last one is the beam pipe.
# fmt: off
TOWER_EDGES = np.array([
    *(0.087 * np.arange(19)), 1.653, 1.74, 1.83, 1.93, 2.043, 2.172, 2.322, 2.5, 2.65, 2.868, 2.95, 3.125, 3.3, 3.475,
    3.65, 3.825, 4.0, 4.175, 4.35, 4.525, 4.7, 5.0, 8.0,
])
# fmt: on
TOWERS_IN_PHI = ((1.653, 72), (4.525, 36), (np.inf, 18))  # |eta| limit, number of towers in phi below it
DETECTOR_EDGES = ((1.5, 0.1), (2.5, 0.1), (2.95, 0.1), (2.5, 0.4), (2.95, 0.4))  # |eta|, width


def wrap_phi(phi: Columns) -> Columns:
    """Wrap angles to (−π, π].

    Parameters
    ----------
    phi: angles [rad], any shape.

    >>> wrap_phi(np.array([0.0, 3.5, -3.5])).round(4).tolist()
    [0.0, -2.7832, 2.7832]
    """
    xp, turn = array_namespace(phi), 2.0 * np.pi
    wrapped = phi - turn * xp.round(phi / turn)
    return xp.where(wrapped <= -np.pi, wrapped + turn, wrapped)


def beam_side(eta: Columns) -> Columns:
    """Return the sign of eta, −1 or 1 (1 for 0), which converts Δη to Δη towards the beam."""
    return 1.0 - 2.0 * (eta < 0.0)


def log_mass(mass: Columns) -> Columns:
    """Return log(m + 2 GeV), with the paper's offset; negative masses are treated as zero."""
    return array_namespace(mass).log(mass.clip(0.0) + MASS_OFFSET)


def mass_from_log(log_m: Columns) -> Columns:
    """Return the mass [GeV] from its `log_mass`, never below zero."""
    mass = array_namespace(log_m).exp(log_m.clip(max=MAX_LOG)) - MASS_OFFSET
    return mass.clip(0.0)


def paper_variables(jets: Columns) -> Columns:
    """Return (log pt, eta, phi, log(m + 2)) of jets (N, 4), before standardisation (Kronheim et al. 2024)."""
    log_pt = array_namespace(jets).log(jets[:, PT])
    return _side_by_side([log_pt, jets[:, ETA], jets[:, PHI], log_mass(jets[:, MASS])])


def calorimeter_variables(jets: Columns) -> Columns:
    """Return inputs adapted to the detector, (N, 14).

    log pt; |eta|; log(m + 2); log((m + 0.5) / pt); log((m + 0.05) / pt), for jets of a single particle; smooth steps
    at `DETECTOR_EDGES`; and the position of the jet axis within a calorimeter tower, as sine and cosine of a phase in
    |eta| and in phi. The sign of eta is dropped, as the detector is symmetric.
    """
    xp = array_namespace(jets)
    tower_edges, phi_edges, phi_towers = _tables(xp, device(jets))
    pt, phi = jets[:, PT], jets[:, PHI]
    mass = jets[:, MASS].clip(0.0)
    abs_eta = xp.abs(jets[:, ETA])
    exact = xp.astype(abs_eta, tower_edges.dtype)
    tower = (xp.searchsorted(tower_edges, exact, side="right") - 1).clip(0, len(TOWER_EDGES) - 2)
    low, high = tower_edges[tower], tower_edges[tower + 1]
    eta_phase = 2.0 * np.pi * (abs_eta - low) / (high - low)
    phi_phase = phi * phi_towers[xp.searchsorted(phi_edges, exact, side="right")]
    columns = [
        xp.log(pt),
        abs_eta,
        log_mass(mass),
        xp.log((mass + 0.5) / pt),
        xp.log((mass + 0.05) / pt),
        *(xp.tanh((abs_eta - edge) / width) for edge, width in DETECTOR_EDGES),
        xp.sin(eta_phase),
        xp.cos(eta_phase),
        xp.sin(phi_phase),
        xp.cos(phi_phase),
    ]
    return _side_by_side(columns)


class JetScale(NamedTuple):
    """The jet energy scale of a Delphes card, applied after its thresholds: a factor sqrt((a − b |η|)² / pt_raw + 1).

    Attributes
    ----------
    constant, slope: a and b, in √GeV; zero if the card applies no scale.
    """

    constant: float
    slope: float

    def factor(self, raw: Columns) -> Columns:
        """Return the scale factor of unscaled jets (N, 4), (N,)."""
        xp = array_namespace(raw)
        return xp.sqrt(self.noise(xp.abs(raw[:, ETA])) / raw[:, PT] + 1.0)

    def apply(self, raw: Columns) -> Columns:
        """Return scaled jets (N, 4)."""
        return raw if self == UNSCALED else _scaled(raw, self.factor(raw))

    def undo(self, reco: Columns) -> Columns:
        """Return jets (N, 4) before the scale was applied: the inverse of `apply`."""
        if self == UNSCALED:
            return reco
        xp = array_namespace(reco)
        noise = self.noise(xp.abs(reco[:, ETA]))
        raw_pt = 0.5 * (xp.sqrt(noise * noise + 4.0 * reco[:, PT] ** 2) - noise)
        return _scaled(reco, raw_pt / reco[:, PT])

    def log_slope(self, reco: Columns, raw: Columns) -> Columns:
        """Return log ∂(raw pt) / ∂pt at fixed eta, (N,), for jets (N, 4) and the same jets after `undo`."""
        noise = self.noise(array_namespace(reco).abs(reco[:, ETA]))
        return array_namespace(reco).log(2.0 * reco[:, PT] / (2.0 * raw[:, PT] + noise))

    def noise(self, abs_eta: Columns) -> Columns:
        """Return (a − b |η|)² [GeV]; the scale adds less than half of this to pt."""
        return (self.constant - self.slope * abs_eta) ** 2


def _scaled(jets: Columns, factor: Columns) -> Columns:
    others = [jets[:, k] for k in range(MASS + 1, jets.shape[1])]
    return _side_by_side([jets[:, PT] * factor, jets[:, ETA], jets[:, PHI], jets[:, MASS] * factor, *others])


UNSCALED = JetScale(0.0, 0.0)
INPUTS: dict[str, Callable[..., Any]] = {"paper": paper_variables, "calorimeter": calorimeter_variables}
SCALES: dict[str, JetScale] = {
    "none": UNSCALED,
    "delphes-cms": JetScale(2.5, 0.15),
    "delphes-atlas": JetScale(3.0, 0.2),
}


COMPRESSION_SHAPE = (10, 4)


class Compression(NamedTuple):
    """Compression of targets: asinh of the target over its typical size, of order one with short tails.

    Attributes
    ----------
    coefficients: coefficients of the logarithm of the typical size of each target, (10, 4), as a linear function of
        `_size_variables` of the gen jet.
    """

    coefficients: Any

    @classmethod
    def of(cls, targets: Floats, gen: Floats) -> Compression:
        """Fit the typical size of targets (N, 4) to gen jets (N, 4), by least squares in the logarithm."""
        size = np.log(np.abs(targets) + 1e-3)
        return cls(np.linalg.lstsq(_size_variables(gen), size, rcond=None)[0])

    def apply(self, targets: Columns, gen: Columns) -> Columns:
        return array_namespace(gen).asinh(targets / self.size(gen))

    def invert(self, compressed: Columns, gen: Columns) -> Columns:
        return array_namespace(gen).sinh(compressed.clip(-MAX_LOG, MAX_LOG)) * self.size(gen)

    def size(self, gen: Columns) -> Columns:
        """Return the scale of the asinh, (N, 4): twice the fitted typical size of the targets."""
        xp, variables = array_namespace(gen), _size_variables(gen)
        log_size = variables @ xp.astype(self.coefficients, variables.dtype)
        return 2.0 * xp.exp(log_size.clip(-MAX_LOG, MAX_LOG))

    def on(self, xp: Any, device: Any) -> Compression:
        """Return the same compression for arrays of a namespace on a device."""
        return Compression(xp.asarray(self.coefficients, device=device))


def _size_variables(gen: Columns) -> Columns:
    """Return ten monomials of log pt, |eta| and log(m + 2), (N, 10)."""
    xp = array_namespace(gen)
    log_pt, eta, log_m = xp.log(gen[:, PT]), xp.abs(gen[:, ETA]), log_mass(gen[:, MASS])
    one = xp.ones_like(log_pt)
    columns = [one, log_pt, log_pt**2, eta, eta**2, eta**3, log_m, log_m**2, log_pt * eta, log_pt * log_m]
    return _side_by_side(columns)


def _side_by_side(columns: Sequence[Columns]) -> Columns:
    """Stack columns (N,) to an array (N, n)."""
    return array_namespace(columns[0]).stack(columns, axis=1)


@cache
def _tables(xp: Any, where: Any) -> tuple[Any, ...]:
    """Return tower edges, and |eta| limits and tower numbers of `TOWERS_IN_PHI`, as cached arrays on a device."""
    edges, numbers = zip(*TOWERS_IN_PHI, strict=True)
    return tuple(xp.asarray(table, dtype=xp.float64, device=where) for table in (TOWER_EDGES, edges[:-1], numbers))
