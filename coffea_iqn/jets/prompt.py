"""Prompt electrons, muons and photons: their selection, and the context variables of jets derived from them.

A particle is prompt if none of its ancestors is a hadron. A gen jet that consists of a prompt particle responds unlike
any other jet: it is measured as a single particle, or removed if that is found and isolated. The jet's four-momentum
does not show this.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from coffea_iqn.numerics.arrays import Bools, Floats, Ints, Singles
from coffea_iqn.numerics.compiling import inlined_part, kernel, part
from coffea_iqn.numerics.double import log, wrapped
from coffea_iqn.ranges import expect

CODES = (11, 13, 22)  # PDG codes of electrons, muons, photons
PT_MIN = (5.0, 5.0, 10.0)  # GeV, thresholds of each kind
ABS_ETA_MAX = 3.0
CONE = 0.4  # ΔR within which a particle counts as inside a jet
FAR = 1.0  # ΔR beyond which particles are ignored
NEARLY_ALL = 0.01  # resolution of the fraction of the jet's pt not carried by prompt particles
PROTON, NUCLEI = 2212, 1_000_000_000  # PDG codes of beam particles; those of nuclei are greater
N_COLUMNS, N_INSIDE = 10, 4  # number of columns of `write_prompt`, and the column with the number inside the jet


class PromptParticles(NamedTuple):
    """The prompt particles of events, concatenated.

    Attributes
    ----------
    values: pt [GeV], eta, phi [rad], (M, 3) float32.
    kind: index of each particle in `CODES`, (M,).
    counts: number of particles in each event, (events,).
    charge: charge of each particle, (M,).
    """

    values: Singles
    kind: Ints
    counts: Ints
    charge: Ints

    @property
    def event(self) -> Ints:
        """Index of the event of each particle, (M,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def of_events(self, events: slice) -> PromptParticles:
        """Return the particles of a range of events."""
        start, n = int(self.counts[: events.start].sum()), int(self.counts[events].sum())
        rows = slice(start, start + n)
        return PromptParticles(self.values[rows], self.kind[rows], self.counts[events], self.charge[rows])


def kinds(pt: Floats, eta: Floats, code: npt.NDArray[Any]) -> Ints:
    """Return the index in `CODES` of particles above threshold, −1 for others, (M,); arguments as in `chosen`."""
    kind = np.full(len(pt), -1, dtype=np.int64)
    for k, (known, least) in enumerate(zip(CODES, PT_MIN, strict=True)):
        kind[(np.abs(code) == known) & (pt > least) & (np.abs(eta) < ABS_ETA_MAX)] = k
    return kind


def chosen(
    pt: Floats, eta: Floats, phi: Floats, code: npt.NDArray[Any], counts: Ints, prompt: Bools | None = None
) -> PromptParticles:
    """Select the prompt electrons, muons and photons that pass the thresholds.

    Parameters
    ----------
    pt, eta, phi, code: pt [GeV], eta, phi [rad] and PDG code of the particles of all events, concatenated, (M,) each.
    counts: number of particles in each event, (events,).
    prompt: which particles are prompt, (M,); None for all.

    Raises
    ------
    ValueError: when the momentum of an electron, muon or photon is not finite, or its pt is negative.
    """
    bad = ~(np.isfinite(pt) & (pt >= 0.0) & np.isfinite(phi) & ~np.isnan(eta))  # eta may be infinite along the beam
    if bad.any():
        n_bad = int((bad & np.isin(np.abs(code), CODES) & (True if prompt is None else prompt)).sum())
        expect(n_bad == 0, f"prompt electrons, muons and photons: expected finite momenta, got {n_bad} invalid")
    kind = kinds(pt, eta, code)
    keep = kind >= 0 if prompt is None else (kind >= 0) & prompt
    event = np.repeat(np.arange(len(counts)), counts)[keep]
    values = np.stack([pt[keep], eta[keep], phi[keep]], axis=1).astype(np.float32)
    of_event = np.bincount(event, minlength=len(counts)).astype(np.int64)
    charge = np.where(kind[keep] < CODES.index(22), -np.sign(code[keep].astype(np.int64)), 0)
    return PromptParticles(values, kind[keep], of_event, charge)


@kernel
def without_hadrons(wanted: Bools, code: Ints, mother: Ints, counts: Ints) -> Bools:
    """Return which particles have no hadron among their ancestors, (M,).

    Parameters
    ----------
    wanted: which particles to check; the result is False for the others.
    code: PDG code of each particle, (M,).
    mother: index in the event of the first mother of each particle, (M,); negative if there is none.
    counts: number of particles in each event, (events,).

    Only first mothers are followed; particles without a mother, such as beam protons, and copies of these are not
    counted as ancestors.
    """
    out = np.zeros(len(code), dtype=np.bool_)
    first = 0
    for n in counts:
        for i in range(first, first + n):
            if wanted[i]:
                out[i] = True
                at, steps = mother[i], 0
                while 0 <= at < n and steps < n:  # event records may contain loops
                    above = mother[first + at]
                    if above >= 0 and _is_hadron(code[first + at]) and not _is_beam(code, mother, first, at, n):
                        out[i] = False
                        break
                    at, steps = above, steps + 1
        first += n
    return out


@part
def _is_hadron(code: int) -> bool:
    """Return whether a PDG code is a hadron or nucleus: the second and third last digits are then nonzero."""
    code = abs(code)
    return code > 100 and (code // 10) % 10 != 0 and (code // 100) % 10 != 0


@part
def _is_beam(code: Ints, mother: Ints, first: int, at: int, n: int) -> bool:
    """Return whether a hadron is a copy of a beam particle: a proton or nucleus without any other ancestor."""
    one = code[first + at]
    if abs(one) != PROTON and abs(one) < NUCLEI:
        return False
    for _ in range(n):
        above = mother[first + at]
        if not 0 <= above < n:
            return True
        if code[first + above] != one:
            return False
        at = above
    return False


@inlined_part
def write_prompt(jets: Floats, values: Singles, kind: Ints, out: Floats) -> None:
    """Write the level prompt of each jet of an event, ten columns, and 1 in the next.

    The fractions of the jet's pt carried by electrons, muons and photons within ΔR < 0.4, at most 1.5 each; the
    logarithm of the remaining fraction; log(1 + number of these particles). For the nearest particle, inside the jet or
    not: ΔR, at most 1; the logarithm of its pt over the jet's, within ±3, weighted down linearly with the distance; and
    whether it is an electron, muon or photon. The columns are zeros on input.
    """
    without = log(1.0 + NEARLY_ALL) / 2.0 + 0.5
    for i in range(len(jets)):
        pt, eta, phi = jets[i, 0], jets[i, 1], jets[i, 2]
        nearest, least, n_inside = -1, FAR * FAR, 0
        for j in range(len(values)):
            d_eta = eta - values[j, 1]
            if abs(d_eta) < FAR:  # skips most pairs, before the costly angle
                d_phi = wrapped(phi - values[j, 2])
                squared = d_eta * d_eta + d_phi * d_phi
                if squared < least:
                    nearest, least = j, squared
                if squared < CONE * CONE:
                    n_inside += 1
                    out[i, kind[j]] += values[j, 0] / pt
        out[i, 3] = without
        if n_inside > 0:
            total = 0.0
            for k in range(3):
                total += out[i, k]
                out[i, k] = min(out[i, k], 1.5)
            out[i, 3] = log(min(max(1.0 - total, 0.0), 1.0) + NEARLY_ALL) / 2.0 + 0.5
            out[i, 4] = log(1.0 + n_inside)
        out[i, 5] = math.sqrt(least) / FAR
        if nearest >= 0:
            ratio = min(max(log(values[nearest, 0] / pt), -3.0), 3.0)
            out[i, 6] = ratio * (1.0 - out[i, 5])
            out[i, 7 + kind[nearest]] = 1.0
        out[i, 10] = 1.0
