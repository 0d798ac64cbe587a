"""Reco jets that match no gen jet: their number in each event, and their four-momenta.

There are two kinds. Near jets, within twice the jet radius of a gen jet, are parts of it that were clustered
separately, or the jet itself, found outside the matching cone: they depend on the gen jet and on its reco jet. Far jets
consist of particles too soft for gen jets: they depend on the event, most on its unbalanced transverse momentum.

A `Law` is p(number | source) and p(jet | source); a source is a gen jet or an event, given as a row of columns. Input
and output are flat arrays; randomness enters only as quantile levels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from coffea_iqn.emulator.compiled import count_near, draw_columns
from coffea_iqn.emulator.preprocessing import bounds_of, decoded
from coffea_iqn.iqn.distribution import Law
from coffea_iqn.jets.compiled import columns_of_levels, numbers_of
from coffea_iqn.jets.context import columns_of, encode, select
from coffea_iqn.jets.features import ETA, INPUTS, MASS, MAX_LOG, PHI, PT, SCALES, beam_side, log_mass, wrap_phi
from coffea_iqn.jets.matching import any_within
from coffea_iqn.jets.support import Support
from coffea_iqn.jets.targets import Column
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints, Singles
from coffea_iqn.numerics.compiling import kernel, part
from coffea_iqn.numerics.dense import singles
from coffea_iqn.numerics.double import (
    Directions,
    angles,
    directions,
    exp,
    log,
    phi_of,
    sine_and_cosine,
    wrapped,
    write_logs,
)

MASS_FLOOR = 0.5  # GeV, keeps the logarithm of a mass finite


class Frames(NamedTuple):
    """Reference directions for the far jets of each event, (events,) each.

    axis: phi [rad] of the transverse momentum that balances gen jets and missing momentum.
    side: sign of eta of the hardest gen jet, −1 or 1.
    """

    axis: Floats
    side: Floats


def near_targets(raw: Floats, gen: Floats) -> Floats:
    """Return (log pt, ΔR, angle around the gen jet, log mass over pt), (M, 4), of jets before the jet scale.

    The angle is measured from the direction towards the beam.
    """
    d_eta = (raw[:, ETA] - gen[:, ETA]) * beam_side(gen[:, ETA])
    d_phi = wrap_phi(raw[:, PHI] - gen[:, PHI])
    return np.stack([np.log(raw[:, PT]), np.hypot(d_eta, d_phi), np.arctan2(d_phi, d_eta), _log_mass(raw)], axis=1)


@kernel
def jets_near(targets: Floats, gen: Floats) -> Floats:
    """Invert `near_targets`."""
    raw = np.empty(targets.shape)
    for jet in range(len(targets)):
        eta, phi = float(gen[jet, ETA]), float(gen[jet, PHI])
        sine, cosine = sine_and_cosine(targets[jet, 2])
        towards_beam = targets[jet, 1] * cosine * (-1.0 if eta < 0.0 else 1.0)
        _write(raw[jet], targets[jet, 0], eta + towards_beam, phi + targets[jet, 1] * sine, targets[jet, 3])
    return raw


def far_targets(raw: Floats, frames: Frames) -> Floats:
    """Return (log pt, eta signed by the side of the hardest gen jet, Δφ to the axis, log mass over pt), (M, 4)."""
    d_phi = wrap_phi(raw[:, PHI] - frames.axis)
    return np.stack([np.log(raw[:, PT]), raw[:, ETA] * frames.side, d_phi, _log_mass(raw)], axis=1)


@kernel
def jets_far(targets: Floats, frames: Frames) -> Floats:
    """Invert `far_targets`."""
    raw = np.empty(targets.shape)
    for jet in range(len(targets)):
        eta, phi = targets[jet, 1] * frames.side[jet], frames.axis[jet] + targets[jet, 2]
        _write(raw[jet], targets[jet, 0], eta, phi, targets[jet, 3])
    return raw


@part
def _write(raw: Floats, log_pt: float, eta: float, phi: float, log_m: float) -> None:
    pt = exp(min(max(log_pt, -MAX_LOG), MAX_LOG))
    mass = max(exp(min(log_m, 0.0)) * pt - MASS_FLOOR, 0.0)
    raw[PT], raw[ETA], raw[PHI], raw[MASS] = pt, eta, phi_of(phi), mass


def _log_mass(raw: Floats) -> Floats:
    return np.log((np.maximum(raw[:, MASS], 0.0) + MASS_FLOOR) / raw[:, PT])


SMALL = 0.1  # typical Δη and Δφ of a reco jet
BALANCE = 10.0  # GeV, scale of missing pt
HARD = 20.0  # GeV, pt from which a jet counts as hard
N_NEAR, N_BALANCE, N_FAR, N_BESIDE = 6, 2, 15, 11  # numbers of columns of `outcome`, `balance`, `far_columns`, `beside`
LOGS = (0, 1, 4, 5, 6, 7)  # columns of `far_columns` that are logarithms


def outcome(gen: Floats, reco: Floats, found: Bools) -> Floats:
    """Return columns (N, 6) that describe the reco jets of gen jets (N, 4): whether found, and if so the residuals."""
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


@kernel
def balance(gen: Floats, counts: Ints, reco: Floats, found: Bools, reach: float) -> Singles:
    """Return how much pt unmatched jets near each gen jet would have to have for balance, (N, 2).

    The columns are the pt that is missing in the reco jet of the gen jet, all of it if that was lost, and the pt
    missing in those of all gen jets within reach, as another one may have taken it; negative if there is more.
    Both are scaled as sign × log(1 + |pt| / 10 GeV).

    Parameters
    ----------
    gen, reco, found: see `near_columns`.
    counts: number of gen jets in each event, (events,).
    reach: greatest ΔR of another gen jet.
    """
    missing, out = np.empty(len(gen)), np.empty((len(gen), N_BALANCE), dtype=np.float32)
    for jet in range(len(gen)):
        missing[jet] = np.float64(gen[jet, PT]) - (np.float64(reco[jet, PT]) if found[jet] else 0.0)
    around, stop = missing.copy(), 0
    for n in counts:
        start, stop = stop, stop + n
        for i in range(start, stop):
            for j in range(i + 1, stop):
                d_eta = np.float64(gen[i, ETA]) - np.float64(gen[j, ETA])
                if abs(d_eta) < reach:  # skips most pairs, before the costly angle
                    d_phi = wrapped(np.float64(gen[i, PHI]) - np.float64(gen[j, PHI]))
                    if d_eta * d_eta + d_phi * d_phi < reach * reach:
                        around[i] += missing[j]
                        around[j] += missing[i]
    for jet in range(len(gen)):
        for k, pt in enumerate((missing[jet], around[jet])):
            scaled = log(1.0 + abs(pt) / BALANCE)
            out[jet, k] = scaled if pt > 0.0 else -scaled
    return out


def near_columns(
    gen: Floats,
    reco: Floats,
    found: Bools,
    balanced: Floats,
    context: Floats,
    *,
    inputs: str,
    levels: tuple[str, ...],
) -> Floats:
    """Return the inputs of the law of near jets, (N, n): gen jets, `outcome`, `balance`, and context levels.

    Parameters
    ----------
    gen, reco, found: gen jets (N, 4), their reco jets (N, 4), and whether these were found (N,).
    balanced: their `balance`, (N, 2); (N, 0) for bundles that do not take it.
    context: conditioning variables (N, 68) from `context.encode`.
    inputs: key of `features.INPUTS`.
    levels: context levels to use.
    """
    columns = [INPUTS[inputs](gen), outcome(gen, reco, found), balanced, *select(context, levels)]
    return np.concatenate(columns, axis=1).astype(np.float32, copy=False)


def far_columns(gen: Floats, counts: Ints, missing: Floats | None) -> tuple[Floats, Frames]:
    """Return the inputs of the law of far jets, computed from the gen jets of each event, (events, 15), and the frames.

    Parameters
    ----------
    gen, counts: gen jets of all events, (N, 4), and the number of them in each event, (events,).
    missing: pt [GeV] and phi [rad] of gen missing momentum, (events, 2); None if unknown.
    """
    columns = np.zeros((len(counts), N_FAR), dtype=np.float32)
    balance, side = np.empty((2, len(counts))), np.empty(len(counts))
    known = np.zeros((len(counts), 2)) if missing is None else missing.astype(np.float64)
    _see_events(gen, counts, directions(gen[:, PHI]), known[:, 0], directions(known[:, 1]), columns, balance, side)
    return columns, Frames(angles(balance[1], balance[0]), side)


def beside(jets: Floats, of_gen: Floats) -> Floats:
    """Return the inputs of the law of further columns of unmatched jets, (M, 11).

    Parameters
    ----------
    jets: four-momenta of the unmatched jets, (M, 4).
    of_gen: `of_near` of the gen jets near them, (M, 8).
    """
    return np.stack([np.log(jets[:, PT]), np.abs(jets[:, ETA]), _log_mass(jets), *of_gen.T], axis=1, dtype=np.float32)


def of_near(found: Bools, context: Floats | None, n_far: int) -> Floats:
    """Return columns (K + n_far, 8) that describe the gen jets near unmatched jets; zeros for the n_far far jets.

    The columns are 1, whether the gen jet was found, and its flavour.

    found, context: whether each gen jet was found, (K,), and its context, (K, 68) or None.
    """
    columns = np.zeros((len(found) + n_far, N_BESIDE - 3), dtype=np.float32)
    near = columns[: len(found)]
    near[:, 0], near[:, 1] = 1.0, found
    if context is not None:
        near[:, 2:] = context[:, columns_of("flavour")]
    return columns


@kernel
def beyond(raw: Floats, abs_eta_max: float, energy_max: float, constant: float, slope: float) -> Bools:
    """Return which jets (M, 4) before a `features.JetScale` exceed the greatest |eta| or, after it, energy [GeV]."""
    out = np.empty(len(raw), dtype=np.bool_)
    for jet in range(len(raw)):
        pt, abs_eta, mass = raw[jet, PT], abs(raw[jet, ETA]), raw[jet, MASS]
        grown = exp(min(abs_eta, MAX_LOG))
        momentum = 0.5 * pt * (grown + 1.0 / grown)
        scale2 = (constant - slope * abs_eta) ** 2 / pt + 1.0
        energy2 = scale2 * (momentum * momentum + mass * mass)
        out[jet] = abs_eta > abs_eta_max or energy2 > energy_max * energy_max
    return out


@kernel
def _see_events(
    gen: Floats,
    counts: Ints,
    along: Directions,
    missing: Doubles,
    along_missing: Directions,
    columns: Floats,
    balance: Doubles,
    sides: Floats,
) -> None:
    """Fill the rows of `far_columns`, x and y of the balancing momentum, and sides; columns are zeros on input."""
    hardest = np.empty(3, dtype=np.int64)  # places of the three hardest jets
    logs = np.ones((len(LOGS), len(counts)))
    start = 0
    for event in range(len(counts)):
        stop, lost = start + counts[event], missing[event]
        x, y = -lost * along_missing.cosine[event], -lost * along_missing.sine[event]
        ht = ht_times_eta = 0.0
        n_hard = 0
        for k in range(3):
            hardest[k] = -1
        for jet in range(start, stop):
            pt, eta = np.float64(gen[jet, PT]), np.float64(gen[jet, ETA])
            x -= pt * along.cosine[jet]
            y -= pt * along.sine[jet]
            ht += pt
            ht_times_eta += pt * abs(eta)
            if pt > HARD:
                n_hard += 1
            moving = jet
            for k in range(3):
                if hardest[k] < 0 or gen[moving, PT] > gen[hardest[k], PT]:
                    hardest[k], moving = moving, hardest[k]
                if moving < 0:
                    break
        unbalanced = math.sqrt(x * x + y * y)
        towards_x, towards_y = (x / unbalanced, y / unbalanced) if unbalanced > 0.0 else (1.0, 0.0)
        side = -1.0 if hardest[0] >= 0 and gen[hardest[0], ETA] < 0.0 else 1.0
        balance[0, event], balance[1, event], sides[event] = x, y, side
        logs[0, event], logs[1, event], logs[2, event] = 1.0 + unbalanced / 10.0, 1.0 + ht / 20.0, 1.0 + lost / 10.0
        columns[event, 2] = min(counts[event], 8) / 4.0
        columns[event, 3] = n_hard / 4.0
        for k in range(3):
            jet = hardest[k]
            if jet >= 0:
                logs[3 + k, event] = np.float64(gen[jet, PT]) / 20.0
                columns[event, 8 + k] = gen[jet, ETA] * side / 2.0
                columns[event, 11 + k] = towards_x * along.cosine[jet] + towards_y * along.sine[jet]
        columns[event, 14] = ht_times_eta / max(ht, 1.0) / 2.0
        start = stop
    write_logs(logs, LOGS, columns)


Levels = Callable[[Ints | slice, Ints | int], Floats]
"""Function that returns four quantile levels, (M, 4), from the rows of M sources and a number that distinguishes the
draws of one source, (M,) or one for all."""

REACH = 2.0  # in jet radii: an unmatched jet belongs to the nearest gen jet within this distance
CONTEXT = ("flavour", "neighbours", "composition", "prompt")  # context levels that near jets depend on
ATTEMPTS = 8  # greatest number of draws of a jet


@dataclass(frozen=True, eq=False)
class Unmatched:
    """The model of reco jets that match no gen jet.

    Attributes
    ----------
    near, far: laws of jets near a gen jet, and of the others.
    inputs, scale: keys of `features.INPUTS` and `features.SCALES`.
    context: context levels that near jets depend on.
    reach: ΔR within which a jet is near a gen jet.
    raw_pt_min: least pt [GeV] of a jet, before the detector's jet scale.
    support: support of the emulator; its bounds on |eta| and energy also apply to these jets.
    columns: law of further columns next to the four-momenta, given `beside`; None if the emulator draws none.
    balanced: whether near jets depend on the `balance` of their gen jets; not in older bundles.
    """

    near: Law
    far: Law
    inputs: str
    scale: str
    context: tuple[str, ...]
    reach: float
    raw_pt_min: float
    support: Support
    columns: Law | None = None
    balanced: bool = False

    @property
    def laws(self) -> dict[str, Law]:
        return {"near": self.near, "far": self.far} | ({} if self.columns is None else {"columns": self.columns})

    @property
    def with_torch(self) -> Unmatched:
        """The same model, drawn by torch."""
        columns = None if self.columns is None else self.columns.with_torch
        return replace(self, near=self.near.with_torch, far=self.far.with_torch, columns=columns)

    def draw_near(
        self, gen: Floats, counts: Ints, reco: Floats, found: Bools, context: Floats | None, levels: Levels
    ) -> tuple[Floats, Ints]:
        """Draw unmatched jets near gen jets; jets within a radius of a matched reco jet are redrawn.

        Parameters
        ----------
        gen, reco, found, context: see `near_columns`; context is None if none are known.
        counts: number of gen jets in each event, (events,).
        levels: quantile levels of gen jets; number 0 is for the count of jets.

        Returns
        -------
        reco jets (M, 4), float32, and the rows of the gen jets near them, (M,).
        """
        context = encode(len(gen), {}) if context is None else context
        added = np.empty((len(gen), 0), dtype=np.float32)
        if self.balanced:
            added = balance(gen, counts, reco, found, self.reach)
        u, law = levels(slice(0, len(gen)), 0)[:, 0], self.near.compiled
        columns: Floats
        if self.inputs == "calorimeter" and law is not None:
            numbers = np.empty(len(gen), dtype=np.int64)
            known = singles(context), columns_of_levels(self.context), np.float32(SMALL)
            columns = count_near(law, singles(gen), singles(reco), found, added, *known, singles(u), numbers)
        else:
            columns = near_columns(gen, reco, found, added, context, inputs=self.inputs, levels=self.context)
            numbers = self.near.with_torch.draw_numbers(columns, u)
            columns = columns[numbers > 0]
        event = np.repeat(np.arange(len(counts)), counts)
        matched, of_event = reco[found], np.bincount(event[found], minlength=len(counts))
        some = np.flatnonzero(numbers)
        of_some = np.repeat(np.arange(len(some)), numbers[some])
        source = some[of_some]

        def decode(targets: Floats, source: Ints) -> Floats:
            return np.asarray(jets_near(targets, gen.take(source, axis=0)))

        def impossible(raw: Floats, source: Ints) -> Bools:
            return np.asarray(any_within(self.reach / REACH, raw, event[source], matched, of_event))

        return self._draw(self.near, source, columns.take(of_some, axis=0), levels, decode, impossible)

    def draw_far(self, gen: Floats, counts: Ints, far: tuple[Floats, Frames], levels: Levels) -> tuple[Floats, Ints]:
        """Draw unmatched jets far from gen jets; jets near a gen jet are redrawn.

        Parameters
        ----------
        gen, counts: see `far_columns`.
        far: the `far_columns` of the events.
        levels: quantile levels of events; number 0 is for the count of jets.

        Returns
        -------
        reco jets (M, 4), float32, and the indices of their events, (M,).
        """
        columns, frames = far
        numbers = self.far.draw_numbers(columns, levels(slice(0, len(columns)), 0)[:, 0])

        def decode(targets: Floats, source: Ints) -> Floats:
            return np.asarray(jets_far(targets, Frames(frames.axis[source], frames.side[source])))

        def impossible(raw: Floats, source: Ints) -> Bools:
            return np.asarray(any_within(self.reach, raw, source, gen, counts))

        source = np.repeat(np.arange(len(columns)), numbers)
        return self._draw(self.far, source, columns.take(source, axis=0), levels, decode, impossible)

    def draw_columns(self, jets: Floats, of_gen: Floats, tau: Floats, columns: Sequence[Column]) -> Floats:
        """Draw the further columns of unmatched jets, (M, n), at levels tau (M, n); jets and of_gen: see `beside`."""
        assert self.columns is not None
        law, seen, tau = self.columns, beside(jets, of_gen), tau[:, : len(columns)]
        if law.compiled is None:
            return np.asarray(decoded(columns, law.draw(seen, tau, bounds=partial(bounds_of, columns))))
        drawn = np.empty(tau.shape, dtype=np.float32)
        draw_columns(law.compiled, singles(seen), singles(tau), numbers_of(columns), drawn)
        return drawn.astype(np.float64)

    def _draw(
        self,
        law: Law,
        source: Ints,
        x: Floats,
        levels: Levels,
        decode: Callable[[Floats, Ints], Floats],
        impossible: Callable[[Floats, Ints], Bools],
    ) -> tuple[Floats, Ints]:
        """Draw the jets of sources, redrawing impossible ones; return the jets (M, 4) and the source of each."""
        support = self.support.drawn_in()
        edges = support.abs_eta_max, support.energy_max, *SCALES[self.scale]

        def of_attempt(of: Ints, place: Ints, attempt: int) -> Floats:
            """Return the levels of an attempt: that of pt stays, or hard jets would become soft ones elsewhere."""
            first = 1 + place * ATTEMPTS
            u = levels(of, first + attempt)
            if attempt:
                u[:, PT] = levels(of, first)[:, PT]
            return u

        raw, *_ = law.draw_each(
            source,
            x,
            of_attempt,
            decode,
            lambda raw, of: beyond(raw, *edges) | impossible(raw, of),
            attempts=ATTEMPTS,
        )
        raw[:, PT] = np.maximum(raw[:, PT], self.raw_pt_min)
        # after the last draw, jets near others are kept, but not those beyond the detector
        inside = ~beyond(raw, *edges)
        return SCALES[self.scale].apply(raw[inside]).astype(np.float32), source[inside]
