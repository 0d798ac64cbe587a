"""Reco jets that match no gen jet: how many an event has, and what they are like.

They are of two kinds. Those near a gen jet, within twice the jets' radius, are parts of it that were clustered on
their own, or the jet itself, found outside the matching cone: they depend on the gen jet and on what became of it. The
others are made of what is too soft for gen jets: they depend on the event, most on where its transverse momentum does
not balance.

A `Law` is p(number | source) and p(jet | source), where a source is a gen jet or an event, as a row of columns. Flat
arrays in and out; randomness enters as levels alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from coffea_iqn.blocks import in_blocks
from coffea_iqn.context import encode, select
from coffea_iqn.features import (
    ETA,
    INPUTS,
    MASS,
    MAX_LOG,
    PHI,
    PT,
    SCALES,
    Array,
    Standardisation,
    beam_side,
    log_mass,
    wrap_phi,
)
from coffea_iqn.networks import NumberNetwork, QuantileNetwork

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Levels = Callable[[Ints, Ints], Array]
"""Four levels, (M, 4), by the rows of the sources of M jets, (M,), and numbers that tell jets of one source apart."""

REACH = 2.0  # in radii: an unmatched jet belongs to the nearest gen jet within this distance
CONTEXT = ("flavour", "neighbours", "composition")  # levels of context that jets near a gen jet depend on
ATTEMPTS = 8  # draws of a jet that comes out where none can be; the last is kept in any case
MASS_FLOOR = 0.5  # GeV, keeps the logarithm of a mass finite
SMALL = 0.1  # typical Δη and Δφ of a reco jet
N_NEAR, N_FAR = 6, 15  # columns of `outcome` and `far_columns`


class Frames(NamedTuple):
    """What the jets of each event are measured from, (events,) each.

    axis: phi [rad] of the transverse momentum that gen jets and missing momentum leave unbalanced.
    side: the sign of eta of the hardest gen jet, −1 or 1.
    """

    axis: Array
    side: Array


def nearest(jets: Array, event: Ints, gen: Array, counts: Ints) -> tuple[Ints, Array]:
    """The gen jet nearest to each jet, as its row, and the distance ΔR; row −1 and infinity where there is none.

    Parameters
    ----------
    jets, event: (M, 4), and the event of each, (M,).
    gen, counts: gen jets of all events in a row, (N, 4), and how many each event has, (events,).
    """
    per_jet = counts[event]
    first = (np.cumsum(counts) - counts)[event]
    one = np.repeat(np.arange(len(jets)), per_jet)
    other = np.arange(len(one)) - np.repeat(np.cumsum(per_jet) - per_jet, per_jet) + first[one]
    d_phi = wrap_phi(jets[one, PHI].astype(np.float64) - gen[other, PHI])
    distance = np.hypot(jets[one, ETA].astype(np.float64) - gen[other, ETA], d_phi)
    order = np.lexsort((distance, one))
    best = order[np.unique(one[order], return_index=True)[1]]
    row, least = np.full(len(jets), -1, dtype=np.int64), np.full(len(jets), np.inf)
    row[one[best]], least[one[best]] = other[best], distance[best]
    return row, least


def outcome(gen: Array, reco: Array, found: Bools) -> Array:
    """What became of gen jets (N, 4), as columns (N, 6): whether one was found, and its residuals where it was."""
    side = beam_side(gen[:, ETA])
    with np.errstate(invalid="ignore", divide="ignore"):
        residuals = [
            np.clip(np.log(reco[:, PT] / gen[:, PT]), -1.5, 1.5),
            np.clip((reco[:, ETA] - gen[:, ETA]) * side / SMALL, -3.0, 3.0),
            np.clip(wrap_phi(reco[:, PHI] - gen[:, PHI]) / SMALL, -3.0, 3.0),
            np.clip(log_mass(reco[:, MASS]) - log_mass(gen[:, MASS]), -1.5, 1.5),
        ]
    hard = np.log(np.maximum(np.where(found, reco[:, PT], 1.0), 1.0))
    columns = np.stack([np.ones(len(gen)), *residuals, hard], axis=1)
    return np.where(found[:, None], columns, 0.0).astype(np.float32)


def near_columns(
    gen: Array, reco: Array, found: Bools, context: Array | None, *, inputs: str, levels: tuple[str, ...]
) -> Array:
    """What jets near gen jets depend on, (N, n): the gen jets, their `outcome`, levels of context last.

    Parameters
    ----------
    gen, reco, found: (N, 4), (N, 4), (N,): gen jets, and the reco jet of each that was found.
    context: (N, 57), as `context.encode` gives it, or None where nothing is known.
    inputs: key of `features.INPUTS`.
    levels: of context.
    """
    if context is None:
        context = encode(len(gen), {})
    columns = [INPUTS[inputs](gen), outcome(gen, reco, found), *select(context, levels)]
    return np.concatenate(columns, axis=1).astype(np.float32, copy=False)


def far_columns(gen: Array, counts: Ints, missing: Array | None) -> tuple[Array, Frames]:
    """What the other jets depend on, the event as its gen jets show it, (events, 15), and their frames.

    Parameters
    ----------
    gen, counts: gen jets of all events in a row, (N, 4), and how many each event has, (events,).
    missing: pt [GeV] and phi [rad] of the missing momentum of gen level, (events, 2); None where it is not known.
    """
    n_events = len(counts)
    event = np.repeat(np.arange(n_events), counts)
    gen = gen.astype(np.float64)
    order = np.lexsort((-gen[:, PT], event))
    first = np.cumsum(counts) - counts
    if missing is None:
        missing = np.zeros((n_events, 2))
    lost = missing[:, 0].astype(np.float64)
    x = -np.bincount(event, gen[:, PT] * np.cos(gen[:, PHI]), n_events) - lost * np.cos(missing[:, 1])
    y = -np.bincount(event, gen[:, PT] * np.sin(gen[:, PHI]), n_events) - lost * np.sin(missing[:, 1])
    unbalanced, axis = np.hypot(x, y), np.arctan2(y, x)
    ht = np.bincount(event, gen[:, PT], n_events)
    hardest = []  # of each event the three hardest jets, NaN where there are fewer
    for k in range(3):
        jets = np.full((n_events, 4), np.nan)
        there = counts > k
        jets[there] = gen[order[first[there] + k]]
        hardest.append(jets)
    side = beam_side(hardest[0][:, ETA])
    columns = [
        np.log1p(unbalanced / 10.0),
        np.log1p(ht / 20.0),
        np.minimum(counts, 8) / 4.0,
        np.bincount(event, gen[:, PT] > 20.0, n_events) / 4.0,
        np.log1p(lost / 10.0),
        *(np.log(jets[:, PT] / 20.0) for jets in hardest),
        *(jets[:, ETA] * side / 2.0 for jets in hardest),
        *(np.cos(jets[:, PHI] - axis) for jets in hardest),
        np.bincount(event, gen[:, PT] * np.abs(gen[:, ETA]), n_events) / np.maximum(ht, 1.0) / 2.0,
    ]
    return np.nan_to_num(np.stack(columns, axis=1)).astype(np.float32), Frames(axis, side)


def near_targets(raw: Array, gen: Array) -> Array:
    """(log pt, ΔR, angle around the gen jet, log mass over pt), (M, 4), of jets before the scale and their gen jets.

    The angle begins at the direction towards the beam.
    """
    d_eta = (raw[:, ETA] - gen[:, ETA]) * beam_side(gen[:, ETA])
    d_phi = wrap_phi(raw[:, PHI] - gen[:, PHI])
    return np.stack([np.log(raw[:, PT]), np.hypot(d_eta, d_phi), np.arctan2(d_phi, d_eta), _log_mass(raw)], axis=1)


def jets_near(targets: Array, gen: Array) -> Array:
    """The inverse of `near_targets`."""
    log_pt, distance, angle, log_m = targets.T
    eta = gen[:, ETA] + distance * np.cos(angle) * beam_side(gen[:, ETA])
    return _jets(log_pt, eta, gen[:, PHI] + distance * np.sin(angle), log_m)


def far_targets(raw: Array, frames: Frames) -> Array:
    """(log pt, eta on the side of the hardest gen jet, Δφ to the axis, log mass over pt), (M, 4)."""
    d_phi = wrap_phi(raw[:, PHI] - frames.axis)
    return np.stack([np.log(raw[:, PT]), raw[:, ETA] * frames.side, d_phi, _log_mass(raw)], axis=1)


def jets_far(targets: Array, frames: Frames) -> Array:
    """The inverse of `far_targets`."""
    log_pt, eta, d_phi, log_m = targets.T
    return _jets(log_pt, eta * frames.side, frames.axis + d_phi, log_m)


def _log_mass(raw: Array) -> Array:
    return np.log((np.maximum(raw[:, MASS], 0.0) + MASS_FLOOR) / raw[:, PT])


def _jets(log_pt: Array, eta: Array, phi: Array, log_m: Array) -> Array:
    pt = np.exp(np.clip(log_pt, -MAX_LOG, MAX_LOG))
    mass = np.maximum(np.exp(np.minimum(log_m, 0.0)) * pt - MASS_FLOOR, 0.0)
    return np.stack([pt, eta, wrap_phi(phi), mass], axis=1)


@dataclass(frozen=True, eq=False)
class Law:
    """How many unmatched jets a source has, and what they are like.

    Attributes
    ----------
    number: P(number | columns).
    jets: the quantiles of the four targets of each.
    input_scale, target_scale: standardisations of columns and targets.
    """

    number: NumberNetwork
    jets: QuantileNetwork
    input_scale: Standardisation
    target_scale: Standardisation

    def numbers(self, columns: Array, u: Array) -> Ints:
        """How many jets each source has, (N,), from columns (N, n) and levels u (N,)."""

        def count(columns: Array, u: Array) -> Array:
            p = torch.softmax(self.number(self.inputs(columns)), dim=1).double().numpy()
            return np.asarray((np.cumsum(p, axis=1)[:, :-1] <= u[:, None]).sum(axis=1))

        return in_blocks(count, columns, u)

    def targets(self, columns: Array, tau: Array, *, log_pt_min: float) -> Array:
        """The targets of a jet of each source, (M, 4), from columns (M, n) and levels tau (M, 4)."""
        lower = torch.tensor(self.lower_bound(log_pt_min))

        def draw(columns: Array, tau: Array) -> Array:
            drawn = self.jets.sample(torch.from_numpy(tau), self.inputs(columns), lower.expand(len(columns)))
            return self.target_scale.invert(drawn.numpy().astype(np.float64))

        return in_blocks(draw, columns, tau)

    def inputs(self, columns: Array) -> torch.Tensor:
        """Columns as the networks take them."""
        return torch.from_numpy(self.input_scale.apply(columns))

    def lower_bound(self, log_pt_min: float) -> float:
        """The standardised first target of a jet at the threshold."""
        return float((log_pt_min - self.target_scale.mean[PT]) / self.target_scale.scale[PT])


@dataclass(frozen=True, eq=False)
class Unmatched:
    """The model of reco jets that match no gen jet.

    Attributes
    ----------
    near, far: the laws of jets near a gen jet, and of the others.
    inputs, scale: keys of `features.INPUTS` and `features.SCALES`.
    context: levels of context that jets near a gen jet depend on.
    reach: ΔR within which a jet is near a gen jet.
    raw_pt_min: least pt [GeV] of a jet, before the detector's scale.
    """

    near: Law
    far: Law
    inputs: str
    scale: str
    context: tuple[str, ...]
    reach: float
    raw_pt_min: float

    @property
    def laws(self) -> dict[str, Law]:
        return {"near": self.near, "far": self.far}

    def draw_near(
        self, gen: Array, counts: Ints, reco: Array, found: Bools, context: Array | None, levels: Levels
    ) -> tuple[Array, Ints]:
        """Unmatched jets near gen jets, and none within a radius of the reco jet of one.

        Parameters
        ----------
        gen, reco, found, context: as of `near_columns`.
        counts: gen jets in each event, (events,).
        levels: of gen jets; the numbers begin with 0.

        Returns
        -------
        reco jets (M, 4), float32, and the rows of the gen jets they are near, (M,).
        """
        columns = near_columns(gen, reco, found, context, inputs=self.inputs, levels=self.context)
        event = np.repeat(np.arange(len(counts)), counts)
        counts_found = np.bincount(event[found], minlength=len(counts))

        def decode(targets: Array, source: Ints) -> Array:
            return jets_near(targets, gen[source].astype(np.float64))

        def impossible(raw: Array, source: Ints) -> Bools:
            return nearest(raw, event[source], reco[found], counts_found)[1] < self.reach / REACH

        return self._draw(self.near, columns, levels, decode, impossible)

    def draw_far(self, gen: Array, counts: Ints, missing: Array | None, levels: Levels) -> tuple[Array, Ints]:
        """The other unmatched jets, and none near a gen jet.

        Parameters
        ----------
        gen, counts, missing: as of `far_columns`.
        levels: of events; the numbers begin with 0.

        Returns
        -------
        reco jets (M, 4), float32, and their events, (M,).
        """
        columns, frames = far_columns(gen, counts, missing)

        def decode(targets: Array, source: Ints) -> Array:
            return jets_far(targets, Frames(frames.axis[source], frames.side[source]))

        def impossible(raw: Array, source: Ints) -> Bools:
            return nearest(raw, source, gen, counts)[1] < self.reach

        return self._draw(self.far, columns, levels, decode, impossible)

    def _draw(
        self,
        law: Law,
        columns: Array,
        levels: Levels,
        decode: Callable[[Array, Ints], Array],
        impossible: Callable[[Array, Ints], Bools],
    ) -> tuple[Array, Ints]:
        """The jets of sources with these columns, (M, 4), and the source of each; those that are impossible again."""
        every = np.arange(len(columns))
        source, k = _each(law.numbers(columns, levels(every, np.zeros_like(every))[:, 0]))
        raw = np.empty((len(source), 4))
        again = np.arange(len(source))
        for attempt in range(ATTEMPTS):
            of = source[again]
            tau = levels(of, 1 + k[again] * ATTEMPTS + attempt)
            raw[again] = decode(law.targets(columns[of], tau, log_pt_min=np.log(self.raw_pt_min)), of)
            again = again[impossible(raw[again], of)]
        raw[:, PT] = np.maximum(raw[:, PT], self.raw_pt_min)
        return SCALES[self.scale].apply(raw).astype(np.float32), source


def _each(numbers: Ints) -> tuple[Ints, Ints]:
    """Of each of so many jets a source: the row of its source, and which of its jets it is, from 0."""
    source = np.repeat(np.arange(len(numbers)), numbers)
    return source, np.arange(len(source)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
