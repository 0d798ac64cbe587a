"""The four targets of an unmatched jet, before the detector's scale, and back: near a gen jet, and elsewhere."""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from coffea_iqn.doubles import exp, sine_and_cosine
from coffea_iqn.features import ETA, MASS, MAX_LOG, PHI, PT, Array, beam_side, wrap_phi

TURN = 2.0 * np.pi
MASS_FLOOR = 0.5  # GeV, keeps the logarithm of a mass finite


class Frames(NamedTuple):
    """What the jets of each event are measured from, (events,) each.

    axis: phi [rad] of the transverse momentum that gen jets and missing momentum leave unbalanced.
    side: the sign of eta of the hardest gen jet, −1 or 1.
    """

    axis: Array
    side: Array


def near_targets(raw: Array, gen: Array) -> Array:
    """(log pt, ΔR, angle around the gen jet, log mass over pt), (M, 4), of jets before the scale and their gen jets.

    The angle begins at the direction towards the beam.
    """
    d_eta = (raw[:, ETA] - gen[:, ETA]) * beam_side(gen[:, ETA])
    d_phi = wrap_phi(raw[:, PHI] - gen[:, PHI])
    return np.stack([np.log(raw[:, PT]), np.hypot(d_eta, d_phi), np.arctan2(d_phi, d_eta), _log_mass(raw)], axis=1)


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def jets_near(targets: Array, gen: Array) -> Array:
    """The inverse of `near_targets`."""
    raw = np.empty(targets.shape)
    for jet in range(len(targets)):
        eta, phi = float(gen[jet, ETA]), float(gen[jet, PHI])
        sine, cosine = sine_and_cosine(targets[jet, 2])
        towards_beam = targets[jet, 1] * cosine * (-1.0 if eta < 0.0 else 1.0)
        _write(raw[jet], targets[jet, 0], eta + towards_beam, phi + targets[jet, 1] * sine, targets[jet, 3])
    return raw


def far_targets(raw: Array, frames: Frames) -> Array:
    """(log pt, eta on the side of the hardest gen jet, Δφ to the axis, log mass over pt), (M, 4)."""
    d_phi = wrap_phi(raw[:, PHI] - frames.axis)
    return np.stack([np.log(raw[:, PT]), raw[:, ETA] * frames.side, d_phi, _log_mass(raw)], axis=1)


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def jets_far(targets: Array, frames: Frames) -> Array:
    """The inverse of `far_targets`."""
    raw = np.empty(targets.shape)
    for jet in range(len(targets)):
        eta, phi = targets[jet, 1] * frames.side[jet], frames.axis[jet] + targets[jet, 2]
        _write(raw[jet], targets[jet, 0], eta, phi, targets[jet, 3])
    return raw


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _write(raw: Array, log_pt: float, eta: float, phi: float, log_m: float) -> None:
    pt = exp(min(max(log_pt, -MAX_LOG), MAX_LOG))
    wrapped = phi - TURN * np.rint(phi / TURN)
    raw[PT], raw[ETA], raw[MASS] = pt, eta, max(exp(min(log_m, 0.0)) * pt - MASS_FLOOR, 0.0)
    raw[PHI] = wrapped + TURN if wrapped <= -np.pi else wrapped


def _log_mass(raw: Array) -> Array:
    return np.log((np.maximum(raw[:, MASS], 0.0) + MASS_FLOOR) / raw[:, PT])
