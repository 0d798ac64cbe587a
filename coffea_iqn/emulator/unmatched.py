"""Reco jets that match no gen jet: how many an event has, and what they are like.

They are of two kinds. Those near a gen jet, within twice the jets' radius, are parts of it that were clustered on
their own, or the jet itself, found outside the matching cone: they depend on the gen jet and on what became of it. The
others are made of what is too soft for gen jets: they depend on the event, most on where its transverse momentum does
not balance.

A `Law` is p(number | source) and p(jet | source), where a source is a gen jet or an event, as a row of columns. Flat
arrays in and out; randomness enters as levels alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from coffea_iqn.emulator.compiled import Sources, count_near
from coffea_iqn.emulator.compiled import near_columns as compiled_near_columns
from coffea_iqn.emulator.preprocessing import decoded
from coffea_iqn.iqn.distribution import Law
from coffea_iqn.jets.compiled import columns_of_levels
from coffea_iqn.jets.context import columns_of, encode, select
from coffea_iqn.jets.features import ETA, INPUTS, MASS, MAX_LOG, PHI, PT, SCALES, beam_side, log_mass, wrap_phi
from coffea_iqn.jets.matching import any_within
from coffea_iqn.jets.support import Support
from coffea_iqn.jets.targets import Column
from coffea_iqn.numerics.arrays import Bools, Floats, Ints
from coffea_iqn.numerics.compiling import kernel, part
from coffea_iqn.numerics.dense import singles
from coffea_iqn.numerics.double import HALF_TURN, TURN, arctan2, exp, log, sine_and_cosine, wrapped

MASS_FLOOR = 0.5  # GeV, keeps the logarithm of a mass finite


class Frames(NamedTuple):
    """What the jets of each event are measured from, (events,) each.

    axis: phi [rad] of the transverse momentum that gen jets and missing momentum leave unbalanced.
    side: the sign of eta of the hardest gen jet, −1 or 1.
    """

    axis: Floats
    side: Floats


def near_targets(raw: Floats, gen: Floats) -> Floats:
    """(log pt, ΔR, angle around the gen jet, log mass over pt), (M, 4), of jets before the scale and their gen jets.

    The angle begins at the direction towards the beam.
    """
    d_eta = (raw[:, ETA] - gen[:, ETA]) * beam_side(gen[:, ETA])
    d_phi = wrap_phi(raw[:, PHI] - gen[:, PHI])
    return np.stack([np.log(raw[:, PT]), np.hypot(d_eta, d_phi), np.arctan2(d_phi, d_eta), _log_mass(raw)], axis=1)


@kernel
def jets_near(targets: Floats, gen: Floats) -> Floats:
    """The inverse of `near_targets`."""
    raw = np.empty(targets.shape)
    for jet in range(len(targets)):
        eta, phi = float(gen[jet, ETA]), float(gen[jet, PHI])
        sine, cosine = sine_and_cosine(targets[jet, 2])
        towards_beam = targets[jet, 1] * cosine * (-1.0 if eta < 0.0 else 1.0)
        _write(raw[jet], targets[jet, 0], eta + towards_beam, phi + targets[jet, 1] * sine, targets[jet, 3])
    return raw


def far_targets(raw: Floats, frames: Frames) -> Floats:
    """(log pt, eta on the side of the hardest gen jet, Δφ to the axis, log mass over pt), (M, 4)."""
    d_phi = wrap_phi(raw[:, PHI] - frames.axis)
    return np.stack([np.log(raw[:, PT]), raw[:, ETA] * frames.side, d_phi, _log_mass(raw)], axis=1)


@kernel
def jets_far(targets: Floats, frames: Frames) -> Floats:
    """The inverse of `far_targets`."""
    raw = np.empty(targets.shape)
    for jet in range(len(targets)):
        eta, phi = targets[jet, 1] * frames.side[jet], frames.axis[jet] + targets[jet, 2]
        _write(raw[jet], targets[jet, 0], eta, phi, targets[jet, 3])
    return raw


@part
def _write(raw: Floats, log_pt: float, eta: float, phi: float, log_m: float) -> None:
    pt = exp(min(max(log_pt, -MAX_LOG), MAX_LOG))
    angle = wrapped(phi)
    raw[PT], raw[ETA], raw[MASS] = pt, eta, max(exp(min(log_m, 0.0)) * pt - MASS_FLOOR, 0.0)
    raw[PHI] = angle + TURN if angle <= -HALF_TURN else angle


def _log_mass(raw: Floats) -> Floats:
    return np.log((np.maximum(raw[:, MASS], 0.0) + MASS_FLOOR) / raw[:, PT])


SMALL = 0.1  # typical Δη and Δφ of a reco jet
HARD = 20.0  # GeV, pt from which a jet counts as hard
N_NEAR, N_FAR, N_BESIDE = 6, 15, 11  # columns of `outcome`, `far_columns` and `beside`


def outcome(gen: Floats, reco: Floats, found: Bools) -> Floats:
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
    gen: Floats, reco: Floats, found: Bools, context: Floats | None, *, inputs: str, levels: tuple[str, ...]
) -> Floats:
    """What jets near gen jets depend on, (N, n): the gen jets, their `outcome`, levels of context last.

    Parameters
    ----------
    gen, reco, found: (N, 4), (N, 4), (N,): gen jets, and the reco jet of each that was found.
    context: (N, 68), as `context.encode` gives it, or None where nothing is known.
    inputs: key of `features.INPUTS`.
    levels: of context.
    """
    if context is None:
        context = encode(len(gen), {})
    columns = [INPUTS[inputs](gen), outcome(gen, reco, found), *select(context, levels)]
    return np.concatenate(columns, axis=1).astype(np.float32, copy=False)


def far_columns(gen: Floats, counts: Ints, missing: Floats | None) -> tuple[Floats, Frames]:
    """What the other jets depend on, the event as its gen jets show it, (events, 15), and their frames.

    Parameters
    ----------
    gen, counts: gen jets of all events in a row, (N, 4), and how many each event has, (events,).
    missing: pt [GeV] and phi [rad] of the missing momentum of gen level, (events, 2); None where it is not known.
    """
    columns = np.zeros((len(counts), N_FAR), dtype=np.float32)
    axis, side = np.empty(len(counts)), np.empty(len(counts))
    known = np.zeros((len(counts), 2)) if missing is None else missing.astype(np.float64)
    _see_events(gen, counts, known, columns, axis, side)
    return columns, Frames(axis, side)


def beside(jets: Floats, of_gen: Floats) -> Floats:
    """What the columns of unmatched jets depend on, (M, 11).

    Parameters
    ----------
    jets: (M, 4).
    of_gen: `of_near` of the gen jets that they are near, (M, 8).
    """
    return np.stack([np.log(jets[:, PT]), np.abs(jets[:, ETA]), _log_mass(jets), *of_gen.T], axis=1, dtype=np.float32)


def of_near(found: Bools, context: Floats | None, n_far: int) -> Floats:
    """Of gen jets near unmatched ones: that one is there, whether it was found, its flavour; zeros for n_far others.

    found, context: of the gen jets, (K,) and (K, 68), or None; (K + n_far, 8) comes back, the flavour last.
    """
    columns = np.zeros((len(found) + n_far, N_BESIDE - 3), dtype=np.float32)
    near = columns[: len(found)]
    near[:, 0], near[:, 1] = 1.0, found
    if context is not None:
        near[:, 2:] = context[:, columns_of("flavour")]
    return columns


@kernel
def beyond(raw: Floats, abs_eta_max: float, energy_max: float, constant: float, slope: float) -> Bools:
    """Which jets (M, 4), before a `features.JetScale`, lie beyond an |eta| or have more energy [GeV] than any can."""
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
def _see_events(gen: Floats, counts: Ints, missing: Floats, columns: Floats, axes: Floats, sides: Floats) -> None:
    """The rows of `far_columns`, of one event after the other; columns come as zeros."""
    hardest = np.empty(3, dtype=np.int64)  # places of the three hardest jets
    most = 0
    for n in counts:
        most = max(most, n)
    x_of, y_of = np.empty(most), np.empty(most)  # directions of an event's jets
    start = 0
    for event in range(len(counts)):
        stop = start + counts[event]
        lost, lost_phi = missing[event, 0], missing[event, 1]
        sine, cosine = sine_and_cosine(lost_phi)
        x, y = -lost * cosine, -lost * sine
        ht = ht_times_eta = 0.0
        n_hard = 0
        for k in range(3):
            hardest[k] = -1
        for jet in range(start, stop):
            pt, eta, phi = np.float64(gen[jet, PT]), np.float64(gen[jet, ETA]), np.float64(gen[jet, PHI])
            y_of[jet - start], x_of[jet - start] = sine_and_cosine(phi)
            x -= pt * x_of[jet - start]
            y -= pt * y_of[jet - start]
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
        axis = arctan2(y, x)
        towards_x, towards_y = (x / unbalanced, y / unbalanced) if unbalanced > 0.0 else (1.0, 0.0)
        side = -1.0 if hardest[0] >= 0 and gen[hardest[0], ETA] < 0.0 else 1.0
        axes[event], sides[event] = axis, side
        row = columns[event]
        row[0] = log(1.0 + unbalanced / 10.0)
        row[1] = log(1.0 + ht / 20.0)
        row[2] = min(counts[event], 8) / 4.0
        row[3] = n_hard / 4.0
        row[4] = log(1.0 + lost / 10.0)
        for k in range(3):
            if hardest[k] >= 0:
                row[5 + k] = log(np.float64(gen[hardest[k], PT]) / 20.0)
                row[8 + k] = gen[hardest[k], ETA] * side / 2.0
                row[11 + k] = towards_x * x_of[hardest[k] - start] + towards_y * y_of[hardest[k] - start]
        row[14] = ht_times_eta / max(ht, 1.0) / 2.0
        start = stop


Levels = Callable[[Ints, Ints | int], Floats]
"""Four levels, (M, 4), as a function of the rows of M sources, and of numbers that tell jets of a source apart, (M,) or
one for all."""

REACH = 2.0  # in radii: an unmatched jet belongs to the nearest gen jet within this distance
CONTEXT = ("flavour", "neighbours", "composition", "prompt")  # levels of context that jets near a gen jet depend on
ATTEMPTS = 8  # draws of a jet that comes out where none can be; the last is kept in any case


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
    support: of the emulator; |eta| and energy are bounds of these jets as well.
    columns: the law of the columns beside their four-momenta, given `beside`; None where the emulator draws none.
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
        context = encode(len(gen), {}) if context is None else context
        law = self.near.compiled if self.inputs == "calorimeter" else None
        u = levels(np.arange(len(gen)), 0)[:, 0]

        def columns(rows: Ints) -> Floats:
            of_rows = gen.take(rows, axis=0), reco.take(rows, axis=0), found[rows], context.take(rows, axis=0)
            if law is None:
                return near_columns(*of_rows, inputs=self.inputs, levels=self.context)
            return np.asarray(compiled_near_columns(sources(*of_rows)))

        def sources(gen: Floats, reco: Floats, found: Bools, context: Floats) -> Sources:
            small = np.float32(SMALL)
            return Sources(singles(gen), singles(reco), found, singles(context), columns_of_levels(self.context), small)

        if law is None:
            numbers = self.near.with_torch.draw_numbers(columns(np.arange(len(gen))), u)
        else:
            numbers = np.empty(len(gen), dtype=np.int64)
            count_near(law, sources(gen, reco, found, context), singles(u), numbers)
        event, ends = np.repeat(np.arange(len(counts)), counts), np.cumsum(counts)
        source = np.repeat(np.arange(len(gen)), numbers)

        def decode(targets: Floats, source: Ints) -> Floats:
            return np.asarray(jets_near(targets, gen.take(source, axis=0)))

        def impossible(raw: Floats, source: Ints) -> Bools:
            return np.asarray(any_within(self.reach / REACH, raw, event[source], reco, found, ends))

        return self._draw(self.near, source, columns(source), levels, decode, impossible)

    def draw_far(self, gen: Floats, counts: Ints, missing: Floats | None, levels: Levels) -> tuple[Floats, Ints]:
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
        all_of_them, ends = np.ones(len(gen), dtype=bool), np.cumsum(counts)
        numbers = self.far.draw_numbers(columns, levels(np.arange(len(columns)), 0)[:, 0])

        def decode(targets: Floats, source: Ints) -> Floats:
            return np.asarray(jets_far(targets, Frames(frames.axis[source], frames.side[source])))

        def impossible(raw: Floats, source: Ints) -> Bools:
            return np.asarray(any_within(self.reach, raw, source, gen, all_of_them, ends))

        source = np.repeat(np.arange(len(columns)), numbers)
        return self._draw(self.far, source, columns.take(source, axis=0), levels, decode, impossible)

    def draw_columns(self, jets: Floats, of_gen: Floats, tau: Floats, columns: Sequence[Column]) -> Floats:
        """The columns of unmatched jets, (M, n), at levels tau (M, n); jets and of_gen as of `beside`."""
        assert self.columns is not None
        return np.asarray(decoded(columns, self.columns.draw(beside(jets, of_gen), tau)))

    def _draw(
        self,
        law: Law,
        source: Ints,
        x: Floats,
        levels: Levels,
        decode: Callable[[Floats, Ints], Floats],
        impossible: Callable[[Floats, Ints], Bools],
    ) -> tuple[Floats, Ints]:
        """The jets of sources, (M, 4), and the source of each; those that are impossible again."""
        support = self.support.drawn_in()
        edges = support.abs_eta_max, support.energy_max, *SCALES[self.scale]
        raw, *_ = law.draw_each(
            source,
            x,
            lambda of, place, attempt: levels(of, 1 + place * ATTEMPTS + attempt),
            decode,
            lambda raw, of: beyond(raw, *edges) | impossible(raw, of),
            attempts=ATTEMPTS,
        )
        raw[:, PT] = np.maximum(raw[:, PT], self.raw_pt_min)
        inside = ~beyond(raw, *edges)  # a jet near others to the last is kept, but none beyond the detector
        return SCALES[self.scale].apply(raw[inside]).astype(np.float32), source[inside]
