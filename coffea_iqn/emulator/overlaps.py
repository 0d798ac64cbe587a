"""Overlapping gen jets: what becomes of one of them depends on what became of the other.

Two gen jets about a radius apart compete for the same particles. If the harder one is reconstructed closer to the
softer one, it takes particles of that, or all of them. A `Law` gives, for each jet that overlaps with another one, the
probability to be found, and the joint law of the quantile levels of its four-momentum, which for the average jet are
uniform and independent. Jets are drawn hardest first: one that overlaps with a harder jet given the reco jet of that,
any other given the gen jet nearest to it.

Input and output are flat arrays; randomness enters only as quantile levels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from coffea_iqn.emulator.unmatched import MASS_FLOOR
from coffea_iqn.iqn.distribution import Law
from coffea_iqn.jets.features import ETA, MASS, PHI, PT
from coffea_iqn.jets.matching import overlapping
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints, Singles
from coffea_iqn.numerics.compiling import kernel, part
from coffea_iqn.numerics.double import exps, log, logs, wrapped
from coffea_iqn.numerics.uniforms import LEAST_LEVEL

REACH = 1.5  # in jet radii: greatest ΔR of jets that overlap
MERGING = 1.15  # in jet radii: ΔR up to which jets are often merged
LEAST_EFFICIENCY = 1e-4  # and greatest one below 1, in its logit
N_PAIR = 15  # number of columns of `pair_columns`


def logits(u: Floats) -> Doubles:
    """Return log(u / (1 − u)) of quantile levels, (M, n), after moving them into the range of the levels of draws."""
    inside = np.clip(u.astype(np.float64), LEAST_LEVEL, 1.0 - LEAST_LEVEL)
    return np.asarray(logs((inside / (1.0 - inside)).ravel()).reshape(u.shape))


def levels_of(logit: Doubles) -> Singles:
    """Invert `logits`, (M, n) float32."""
    u = 1.0 / (1.0 + exps(-logit.ravel()).reshape(logit.shape))
    return np.clip(u, LEAST_LEVEL, 1.0 - LEAST_LEVEL).astype(np.float32)


@part
def _within(value: float, least: float, most: float) -> float:
    return min(max(value, least), most)


@part
def _log_mass(mass: float) -> float:
    return log(max(mass, 0.0) + MASS_FLOOR)


@kernel
def pair_columns(gen: Floats, other: Floats, reco: Floats, found: Bools, efficiency: Floats, radius: float) -> Singles:
    """Return the inputs of the law, (M, 15).

    Of the gen jet: log pt, |eta|, log mass over pt, logit of its efficiency. Of the one it overlaps with: ΔR in units
    of the radius, and how far this is below `MERGING`; log of the ratio of pt; direction towards it (Δη towards the
    beam and Δφ, over ΔR); log mass over pt. If that one is harder and was found: 1; log of its response; the pt it
    gained over that of the gen jet; ΔR from its reco jet to the gen jet; log of the ratio of masses. Otherwise zeros.

    Parameters
    ----------
    gen, other: gen jets, and for each the one it overlaps with, (M, 4) each.
    reco, found: reco jet of the other, (M, 4), and whether it was found, (M,); ignored if the other is softer.
    efficiency: of the average jet like the gen jet, (M,).
    radius: jet radius.
    """
    out = np.zeros((len(gen), N_PAIR), dtype=np.float32)
    for i in range(len(gen)):
        pt, eta, phi = np.float64(gen[i, PT]), np.float64(gen[i, ETA]), np.float64(gen[i, PHI])
        other_pt = np.float64(other[i, PT])
        d_eta, d_phi = np.float64(other[i, ETA]) - eta, wrapped(np.float64(other[i, PHI]) - phi)
        distance = max(math.sqrt(d_eta * d_eta + d_phi * d_phi), 1e-3)
        chance = _within(np.float64(efficiency[i]), LEAST_EFFICIENCY, 1.0 - LEAST_EFFICIENCY)
        mass, other_mass = _log_mass(np.float64(gen[i, MASS])), _log_mass(np.float64(other[i, MASS]))
        out[i, 0], out[i, 1], out[i, 2] = log(pt), abs(eta), mass - log(pt)
        out[i, 3] = log(chance / (1.0 - chance))
        out[i, 4] = distance / radius
        out[i, 5] = _within((MERGING - distance / radius) / (MERGING - 1.0), 0.0, 1.0)
        out[i, 6] = log(other_pt / pt)
        out[i, 7], out[i, 8] = d_eta / distance * (-1.0 if eta < 0.0 else 1.0), d_phi / distance
        out[i, 9] = other_mass - log(other_pt)
        if found[i] and other_pt > pt:
            reco_pt = np.float64(reco[i, PT])
            d_eta, d_phi = np.float64(reco[i, ETA]) - eta, wrapped(np.float64(reco[i, PHI]) - phi)
            out[i, 10] = 1.0
            out[i, 11] = _within(log(reco_pt / other_pt), -1.5, 1.5)
            out[i, 12] = _within((reco_pt - other_pt) / pt, -3.0, 3.0)
            out[i, 13] = _within(math.sqrt(d_eta * d_eta + d_phi * d_phi) / radius, 0.0, 3.0)
            out[i, 14] = _within(_log_mass(np.float64(reco[i, MASS])) - other_mass, -2.0, 2.0)
    return out


def steps(jets: Floats, counts: Ints, radius: float) -> Iterator[tuple[Ints, Ints]]:
    """Yield the rows of overlapping jets to draw together, and of the jet that each overlaps with.

    In the first step no jet overlaps with a harder one; in the others, all do, with jets of steps before.

    jets, counts: see `matching.overlapping`.
    radius: jet radius.
    """
    harder, softer = overlapping(jets, counts, REACH * radius)
    rows = np.flatnonzero((harder < 0) & (softer >= 0))
    yield rows, softer[rows]
    drawn, to_come = harder < 0, np.flatnonzero(harder >= 0)
    while len(to_come):
        ready = drawn[harder[to_come]]
        rows, to_come = to_come[ready], to_come[~ready]
        yield rows, harder[rows]
        drawn[rows] = True


@dataclass(frozen=True, eq=False)
class Overlaps:
    """The model of overlapping gen jets.

    Attributes
    ----------
    pair: law of a jet given the one it overlaps with: its number is 1 if the jet is found, its targets are the `logits`
        of the four levels.
    radius: jet radius.
    """

    pair: Law
    radius: float

    @property
    def laws(self) -> dict[str, Law]:
        return {"pair": self.pair}

    @property
    def with_torch(self) -> Overlaps:
        """The same model, drawn by torch."""
        return replace(self, pair=self.pair.with_torch)

    def overlap(self, jets: Floats, counts: Ints) -> Bools:
        """Return which jets are drawn given another one, (N,); for the arguments see `steps`."""
        harder, softer = overlapping(jets, counts, REACH * self.radius)
        return np.asarray((harder >= 0) | (softer >= 0))

    def columns(self, gen: Floats, other: Floats, reco: Floats, found: Bools, efficiency: Floats) -> Singles:
        """Return the inputs of the law, (M, 15), see `pair_columns`."""
        return np.asarray(pair_columns(gen, other, reco, found, efficiency, self.radius))

    def levels(self, x: Singles, tau: Floats) -> Singles:
        """Draw the levels of jets with inputs x at quantile levels tau, (M, 4)."""
        return levels_of(self.pair.draw(x, tau).astype(np.float64))

    def found(self, x: Singles, u: Floats) -> Bools:
        """Return whether jets are found, (M,): if the level u, (M,), is above the probability that they are lost."""
        return self.pair.draw_numbers(x, u) > 0
