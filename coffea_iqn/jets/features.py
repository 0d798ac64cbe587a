"""Jet four-momenta to network variables and back, one formula a function.

A jet is a row (pt [GeV], eta, phi [rad], mass [GeV]). Every function takes and returns flat arrays, of numpy or, on
whatever device, of torch, by the functions that the array API standard gives both; it knows nothing of networks or
files. Masses below zero, which rounding leaves in real files, count as zero.

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

Columns = Any  # an array of numpy, or a tensor of torch: columns (N,), or several side by side, (N, n)

PT, ETA, PHI, MASS = range(4)
VARIABLES = ("pt", "eta", "phi", "mass")

MASSLESS = 0.01  # GeV: a lighter reco jet is one particle or tower, whose mass is zero but for rounding
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


def wrap_phi(phi: Columns) -> Columns:
    """Bring angles into (−π, π].

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
    """Towards which beam something lies, −1 or 1: what turns Δη into one towards the beam."""
    return 1.0 - 2.0 * (eta < 0.0)


def log_mass(mass: Columns) -> Columns:
    """log(m + 2 GeV), with the paper's offset; negative masses count as zero."""
    return array_namespace(mass).log(mass.clip(0.0) + MASS_OFFSET)


def mass_from_log(log_m: Columns) -> Columns:
    """The mass [GeV] whose `log_mass` is given, never below zero."""
    mass = array_namespace(log_m).exp(log_m.clip(max=MAX_LOG)) - MASS_OFFSET
    return mass.clip(0.0)


def paper_variables(jets: Columns) -> Columns:
    """(log pt, eta, phi, log(m + 2)) of jets (N, 4), before standardisation (Kronheim et al. 2024)."""
    log_pt = array_namespace(jets).log(jets[:, PT])
    return _side_by_side([log_pt, jets[:, ETA], jets[:, PHI], log_mass(jets[:, MASS])])


def calorimeter_variables(jets: Columns) -> Columns:
    """Inputs that follow the detector: what a jet's response depends on, in (N, 14) columns.

    log pt; |eta|; log(m + 2); log((m + 0.5) / pt); log((m + 0.05) / pt), for jets of a single particle; nearness to
    the edges of `DETECTOR_EDGES`, as steps; and the phases of the jet axis within a calorimeter tower, sine and
    cosine in |eta| and in phi. The sign of eta does not enter: the detector is symmetric.
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
    """What a Delphes card does to a four-momentum after its thresholds: times sqrt((a − b |η|)² / pt_raw + 1).

    Attributes
    ----------
    constant, slope: a and b, in the root of GeV; zero for a detector that leaves jets as they were clustered.
    """

    constant: float
    slope: float

    def factor(self, raw: Columns) -> Columns:
        """By how much jets (N, 4) are scaled, (N,)."""
        xp = array_namespace(raw)
        return xp.sqrt(self.noise(xp.abs(raw[:, ETA])) / raw[:, PT] + 1.0)

    def apply(self, raw: Columns) -> Columns:
        """Jets (N, 4), scaled."""
        return raw if self == UNSCALED else _scaled(raw, self.factor(raw))

    def undo(self, reco: Columns) -> Columns:
        """Jets (N, 4) as they were clustered, before the scale: the inverse of `apply`."""
        if self == UNSCALED:
            return reco
        xp = array_namespace(reco)
        noise = self.noise(xp.abs(reco[:, ETA]))
        raw_pt = 0.5 * (xp.sqrt(noise * noise + 4.0 * reco[:, PT] ** 2) - noise)
        return _scaled(reco, raw_pt / reco[:, PT])

    def log_slope(self, reco: Columns, raw: Columns) -> Columns:
        """Log ∂(raw pt) / ∂pt of jets (N, 4) and what `undo` makes of them, at fixed eta, (N,)."""
        noise = self.noise(array_namespace(reco).abs(reco[:, ETA]))
        return array_namespace(reco).log(2.0 * reco[:, PT] / (2.0 * raw[:, PT] + noise))

    def noise(self, abs_eta: Columns) -> Columns:
        """(a − b |η|)² [GeV]: the scale adds less than half of it to pt."""
        return (self.constant - self.slope * abs_eta) ** 2


def _scaled(jets: Columns, factor: Columns) -> Columns:
    others = [jets[:, k] for k in range(MASS + 1, jets.shape[1])]
    return _side_by_side([jets[:, PT] * factor, jets[:, ETA], jets[:, PHI], jets[:, MASS] * factor, *others])


UNSCALED = JetScale(0.0, 0.0)
INPUTS: dict[str, Callable[..., Any]] = {
    "paper": paper_variables,
    "calorimeter": calorimeter_variables,
}
SCALES: dict[str, JetScale] = {
    "none": UNSCALED,
    "delphes-cms": JetScale(2.5, 0.15),
    "delphes-atlas": JetScale(3.0, 0.2),
}


COMPRESSION_SHAPE = (10, 4)


class Compression(NamedTuple):
    """Targets over their typical size, then asinh: what is left is of order one, its tails only a few.

    Attributes
    ----------
    coefficients: of the logarithm of the typical size of each target, (10, 4), as a smooth function of the gen
        jet (`_size_variables`).
    """

    coefficients: Any

    @classmethod
    def of(cls, targets: Floats, gen: Floats) -> Compression:
        """Fit the size of targets (N, 4) to gen jets (N, 4), by least squares on its logarithm."""
        size = np.log(np.abs(targets) + 1e-3)
        return cls(np.linalg.lstsq(_size_variables(gen), size, rcond=None)[0])

    def apply(self, targets: Columns, gen: Columns) -> Columns:
        return array_namespace(gen).asinh(targets / self.size(gen))

    def invert(self, compressed: Columns, gen: Columns) -> Columns:
        return array_namespace(gen).sinh(compressed.clip(-MAX_LOG, MAX_LOG)) * self.size(gen)

    def size(self, gen: Columns) -> Columns:
        """The typical size of the targets, (N, 4): twice the fitted one, where asinh begins to bend."""
        xp, variables = array_namespace(gen), _size_variables(gen)
        log_size = variables @ xp.astype(self.coefficients, variables.dtype)
        return 2.0 * xp.exp(log_size.clip(-MAX_LOG, MAX_LOG))

    def on(self, xp: Any, device: Any) -> Compression:
        """The same for arrays of a namespace on a device."""
        return Compression(xp.asarray(self.coefficients, device=device))


def _size_variables(gen: Columns) -> Columns:
    """Ten smooth functions of log pt, |eta| and log(m + 2), (N, 10)."""
    xp = array_namespace(gen)
    log_pt, eta, log_m = xp.log(gen[:, PT]), xp.abs(gen[:, ETA]), log_mass(gen[:, MASS])
    one = xp.ones_like(log_pt)
    columns = [one, log_pt, log_pt**2, eta, eta**2, eta**3, log_m, log_m**2, log_pt * eta, log_pt * log_m]
    return _side_by_side(columns)


def _side_by_side(columns: Sequence[Columns]) -> Columns:
    """Columns (N,) as an array (N, n)."""
    return array_namespace(columns[0]).stack(columns, axis=1)


@cache
def _tables(xp: Any, where: Any) -> tuple[Any, ...]:
    """Edges of towers, those of the regions of `TOWERS_IN_PHI`, and the numbers there: brought to the jets once."""
    edges, numbers = zip(*TOWERS_IN_PHI, strict=True)
    return tuple(xp.asarray(table, dtype=xp.float64, device=where) for table in (TOWER_EDGES, edges[:-1], numbers))
