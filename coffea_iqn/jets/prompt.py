"""Prompt electrons, muons and photons: which particles of an event are, and what they are to its jets.

A particle is prompt when no hadron is among its ancestors. A gen jet that is one answers like no other jet: it is
measured as one particle, or removed where that was found and isolated. Its four-momentum does not say so.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from coffea_iqn.numerics.arrays import Bools, Floats, Ints, Singles
from coffea_iqn.numerics.compiling import kernel, part
from coffea_iqn.numerics.double import log, wrapped
from coffea_iqn.ranges import expect

CODES = (11, 13, 22)  # of PDG: electrons, muons, photons
PT_MIN = (5.0, 5.0, 10.0)  # GeV, above which they are looked at
ABS_ETA_MAX = 3.0
CONE = 0.4  # ΔR within which one is in a jet
FAR = 1.0  # ΔR from which the nearest is as good as none
NEARLY_ALL = 0.01  # of the jet's pt: what is left beside a prompt particle is told apart down to this
N_COLUMNS, N_INSIDE = 10, 4  # of what `write_prompt` writes, and the column of how many are in the jet


class PromptParticles(NamedTuple):
    """The prompt particles of some events.

    Attributes
    ----------
    values: pt [GeV], eta, phi [rad], (M, 3) float32.
    kind: place of each in `CODES`, (M,).
    counts: how many each event has, (events,).
    charge: of each, (M,).
    """

    values: Singles
    kind: Ints
    counts: Ints
    charge: Ints

    @property
    def event(self) -> Ints:
        """Which event each belongs to, (M,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def of_events(self, events: slice) -> PromptParticles:
        """Those of some consecutive events."""
        start, n = int(self.counts[: events.start].sum()), int(self.counts[events].sum())
        rows = slice(start, start + n)
        return PromptParticles(self.values[rows], self.kind[rows], self.counts[events], self.charge[rows])


def kinds(pt: Floats, eta: Floats, code: npt.NDArray[Any]) -> Ints:
    """The place in `CODES` of particles that are looked at, −1 for others, (M,); arguments as of `chosen`."""
    kind = np.full(len(pt), -1, dtype=np.int64)
    for k, (known, least) in enumerate(zip(CODES, PT_MIN, strict=True)):
        kind[(np.abs(code) == known) & (pt > least) & (np.abs(eta) < ABS_ETA_MAX)] = k
    return kind


def chosen(
    pt: Floats, eta: Floats, phi: Floats, code: npt.NDArray[Any], counts: Ints, prompt: Bools | None = None
) -> PromptParticles:
    """Those electrons, muons and photons among particles that are looked at.

    Parameters
    ----------
    pt, eta, phi, code: of all particles of the events in a row, (M,) each: GeV, rad, and PDG's code.
    counts: how many each event has, (events,).
    prompt: which of them are, (M,); None for all.

    Raises
    ------
    ValueError: when an electron, muon or photon has no momentum: numbers that are not finite, or a pt below 0.
    """
    bad = ~(np.isfinite(pt) & (pt >= 0.0) & np.isfinite(phi) & ~np.isnan(eta))  # along the beam eta may be infinite
    if bad.any():
        n_bad = int((bad & np.isin(np.abs(code), CODES) & (True if prompt is None else prompt)).sum())
        expect(n_bad == 0, f"prompt electrons, muons and photons: expected finite momenta, got {n_bad} others")
    kind = kinds(pt, eta, code)
    keep = kind >= 0 if prompt is None else (kind >= 0) & prompt
    event = np.repeat(np.arange(len(counts)), counts)[keep]
    values = np.stack([pt[keep], eta[keep], phi[keep]], axis=1).astype(np.float32)
    of_event = np.bincount(event, minlength=len(counts)).astype(np.int64)
    charge = np.where(kind[keep] < CODES.index(22), -np.sign(code[keep].astype(np.int64)), 0)
    return PromptParticles(values, kind[keep], of_event, charge)


@kernel
def without_hadrons(wanted: Bools, code: Ints, mother: Ints, counts: Ints) -> Bools:
    """Which particles have no hadron among their ancestors, (M,).

    Parameters
    ----------
    wanted: which are asked of; the others are not.
    code: of PDG, (M,).
    mother: the first mother of each, its place in the event, (M,); below 0 for none.
    counts: how many particles each event has, (events,).

    Ancestors are followed by the first mother; what has none itself, as a proton of the beam, is no ancestor.
    """
    out = np.zeros(len(code), dtype=np.bool_)
    first = 0
    for n in counts:
        for i in range(first, first + n):
            if wanted[i]:
                out[i] = True
                at, steps = mother[i], 0
                while 0 <= at < n and steps < n:  # a record may have a loop
                    above = mother[first + at]
                    if above >= 0 and _is_hadron(code[first + at]):
                        out[i] = False
                        break
                    at, steps = above, steps + 1
        first += n
    return out


@part
def _is_hadron(code: int) -> bool:
    """Whether a PDG code is that of a hadron or nucleus, whose second and third last digits are quarks."""
    code = abs(code)
    return code > 100 and (code // 10) % 10 != 0 and (code // 100) % 10 != 0


@part
def write_prompt(jets: Floats, values: Singles, kind: Ints, out: Floats) -> None:
    """What prompt particles are to each jet of an event, ten columns, and 1 in the next.

    The fractions of the jet's pt that electrons, muons and photons within ΔR < 0.4 carry, at most 1.5; the logarithm of
    what is left; that of 1 + their number; of the nearest, also outside the jet, ΔR, at most 1, the logarithm of its pt
    over the jet's, within ±3, faded out with the distance, and whether it is an electron, muon or photon.
    """
    for i in range(len(jets)):
        pt, eta, phi = jets[i, 0], jets[i, 1], jets[i, 2]
        row = out[i]
        nearest, least, n_inside = -1, FAR * FAR, 0
        for j in range(len(values)):
            d_eta, d_phi = eta - values[j, 1], wrapped(phi - values[j, 2])
            squared = d_eta * d_eta + d_phi * d_phi
            if squared < least:
                nearest, least = j, squared
            if squared < CONE * CONE:
                n_inside += 1
                row[kind[j]] += values[j, 0] / pt
        total = 0.0
        for k in range(3):
            total += row[k]
            row[k] = min(row[k], 1.5)
        row[3] = log(min(max(1.0 - total, 0.0), 1.0) + NEARLY_ALL) / 2.0 + 0.5
        row[4] = log(1.0 + n_inside)
        row[5] = math.sqrt(least) / FAR
        if nearest >= 0:
            ratio = min(max(log(values[nearest, 0] / pt), -3.0), 3.0)
            row[6] = ratio * (1.0 - row[5])
            row[7 + kind[nearest]] = 1.0
        row[10] = 1.0
