"""Compiled form of `features`, for a tile: from gen jets to network inputs, and from drawn targets to reco jets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from coffea_iqn.jets.context import columns_of
from coffea_iqn.jets.features import (
    DETECTOR_EDGES,
    ETA,
    MASS,
    MASS_OFFSET,
    MAX_LOG,
    PHI,
    PT,
    TOWER_EDGES,
    TOWERS_IN_PHI,
    JetScale,
)
from coffea_iqn.jets.support import LEAST_PT, Support
from coffea_iqn.jets.targets import Column
from coffea_iqn.numerics.arrays import Bools, Ints, Singles
from coffea_iqn.numerics.compiling import part, wide
from coffea_iqn.numerics.single import HALF, ONE, TURN, TWO, ZERO, arcsinh, exp, log, sine, sinh, tanh, wrapped

LOG_PT, ABS_ETA, LOG_M = range(3)  # rows of `calorimeter_variables` that are also used outside the network
N_CALORIMETER, N_OUTCOME = 14, 6

QUARTER = np.float32(0.25)
TINY = np.float32(LEAST_PT)
OFFSET, MOST_LOG = np.float32(MASS_OFFSET), np.float32(MAX_LOG)
FINE, FINER = np.float32(0.5), np.float32(0.05)  # GeV, see `features.calorimeter_variables`
EDGES = TOWER_EDGES.astype(np.float32)
MOST_CHANGE, MOST_STEPS = np.float32(1.5), np.float32(3.0)  # see `unmatched.outcome`
CELLS_PER_UNIT = 20  # cells per unit of |eta|, each narrower than any tower
FIRST_TOWER = np.clip(
    np.searchsorted(TOWER_EDGES, np.arange(8 * CELLS_PER_UNIT) / CELLS_PER_UNIT, "right") - 1, 0, None
)
PHI_EDGES = np.array([edge for edge, _ in TOWERS_IN_PHI[:-1]], dtype=np.float32)
PHI_TOWERS = np.array([n for _, n in TOWERS_IN_PHI], dtype=np.float32)
STEP_EDGES, STEP_WIDTHS = (np.array(column, dtype=np.float32) for column in zip(*DETECTOR_EDGES, strict=True))


def columns_of_levels(levels: Sequence[str]) -> Ints:
    """Return the columns of the given levels of `context`."""
    none = np.empty(0, dtype=np.int64)
    return np.concatenate([none, *(np.r_[columns_of(level)] for level in levels)])


@part
def calorimeter_variables(jets: Singles, n: int, rows: Singles) -> None:
    """Write `features.calorimeter_variables` of jets, (4, tile), into rows, (14 or more, tile)."""
    wide()
    pt, eta, phi, mass = jets[PT], jets[ETA], jets[PHI], jets[MASS]
    log_pt, abs_eta, log_m = rows[LOG_PT], rows[ABS_ETA], rows[LOG_M]
    fine, finer = rows[3], rows[4]
    for t in range(n):
        m = max(mass[t], ZERO)
        log_pt[t] = log(pt[t])
        abs_eta[t] = abs(eta[t])
        log_m[t] = log(m + OFFSET)
        fine[t] = log((m + FINE) / pt[t])
        finer[t] = log((m + FINER) / pt[t])
    for k in range(len(STEP_EDGES)):
        edge, width, row = STEP_EDGES[k], STEP_WIDTHS[k], rows[5 + k]
        for t in range(n):
            row[t] = tanh((abs_eta[t] - edge) / width)
    eta_turns, phi_turns = rows[10], rows[12]
    for t in range(n):
        eta_turns[t] = _phase_in_eta(abs_eta[t])
    for t in range(n):
        towers = (
            PHI_TOWERS[0]
            if abs_eta[t] < PHI_EDGES[0]
            else PHI_TOWERS[1]
            if abs_eta[t] < PHI_EDGES[1]
            else PHI_TOWERS[2]
        )
        phi_turns[t] = phi[t] * towers / TURN
    for first in (10, 12):
        turns, cosines = rows[first], rows[first + 1]
        for t in range(n):
            x = turns[t]
            turns[t] = sine(x)
            cosines[t] = sine(x + QUARTER)


@part
def _phase_in_eta(abs_eta: np.float32) -> np.float32:
    """Relative position of a jet across its tower in |eta|, from 0 to 1, and above 1 beyond the last tower."""
    # only values within the table may be turned into an index
    tower = FIRST_TOWER[int(abs_eta * CELLS_PER_UNIT) if abs_eta < EDGES[-1] else len(FIRST_TOWER) - 1]
    if tower < len(EDGES) - 2 and abs_eta >= EDGES[tower + 1]:
        tower += 1
    return np.float32((abs_eta - EDGES[tower]) / (EDGES[tower + 1] - EDGES[tower]))


@part
def sizes(rows: Singles, n: int, coefficients: Singles, size: Singles) -> None:
    """Compute `features.Compression.size`, (4, tile), from `calorimeter_variables` and coefficients (10, 4)."""
    wide()
    log_pt, abs_eta, log_m = rows[LOG_PT], rows[ABS_ETA], rows[LOG_M]
    for k in range(len(size)):
        row, c = size[k], coefficients[:, k]
        for t in range(n):
            p, e, m = log_pt[t], abs_eta[t], log_m[t]
            powers = c[0] + c[1] * p + c[2] * p * p + c[3] * e + c[4] * e * e + c[5] * e * e * e
            total = powers + c[6] * m + c[7] * m * m + c[8] * p * e + c[9] * p * m
            row[t] = TWO * exp(min(max(total, -MOST_LOG), MOST_LOG))


@part
def compress(row: Singles, n: int, size: Singles) -> None:
    """Apply `features.Compression.apply` to a target, (tile,), in place."""
    wide()
    for t in range(n):
        row[t] = arcsinh(row[t] / size[t])


@part
def decompress(row: Singles, n: int, size: Singles) -> None:
    """Apply `features.Compression.invert` to a target, (tile,), in place."""
    wide()
    for t in range(n):
        row[t] = sinh(min(max(row[t], -MOST_LOG), MOST_LOG)) * size[t]


class Limits(NamedTuple):
    """A slightly narrowed `Support`, and the constant and slope of a `JetScale`, in single precision."""

    cone: np.float32
    abs_eta: np.float32
    energy: np.float32
    mass_over_pt: np.float32
    pt_offset: np.float32
    pt_slope: np.float32
    constant: np.float32
    slope: np.float32


def limits_of(support: Support, scale: JetScale) -> Limits:
    """Return the limits for a support and a jet scale."""
    s = support.drawn_in()
    numbers = s.cone, s.abs_eta_max, s.energy_max, s.mass_over_pt_max, s.pt_offset, s.pt_slope, *scale
    return Limits(*(np.float32(number) for number in numbers))


@part
def _cosh(x: np.float32) -> np.float32:
    grown = exp(x)
    return np.float32(HALF * (grown + ONE / grown))


@part
def _noise(limits: Limits, abs_eta: np.float32) -> np.float32:
    root = limits.constant - limits.slope * abs_eta
    return np.float32(root * root)


@part
def bound_pt(rows: Singles, n: int, raw_pt_min: np.float32, limits: Limits, low: Singles, high: Singles) -> None:
    """Write the bounds of log pt'/pt, (tile,) each; this and the next three functions implement `Variables.bounds`."""
    wide()
    log_pt, abs_eta = rows[LOG_PT], rows[ABS_ETA]
    log_threshold = log(max(raw_pt_min, TINY))
    for t in range(n):
        nearest = max(abs_eta[t] - limits.cone, ZERO)
        most = limits.energy / _cosh(nearest) - HALF * _noise(limits, nearest)
        most = min(most, limits.pt_offset + limits.pt_slope * exp(log_pt[t]))
        low[t] = log_threshold - log_pt[t]
        high[t] = log(max(most, TINY)) - log_pt[t]


@part
def bound_eta(
    jets: Singles,
    rows: Singles,
    log_ratio: Singles,
    n: int,
    symmetric: bool,
    limits: Limits,
    low: Singles,
    high: Singles,
) -> None:
    """Write the bounds of Δη; if symmetric, of Δη towards the beam."""
    wide()
    pt, eta, abs_eta = jets[PT], jets[ETA], rows[ABS_ETA]
    for t in range(n):
        nearest = max(abs_eta[t] - limits.cone, ZERO)
        most = pt[t] * exp(min(max(log_ratio[t], -MOST_LOG), MOST_LOG)) + HALF * _noise(limits, nearest)
        grown = max(limits.energy / most, ONE)
        edge = max(min(log(grown + np.sqrt(grown * grown - ONE)), limits.abs_eta), nearest)
        from_centre = abs_eta[t] if symmetric else eta[t]
        low[t] = max(-limits.cone, -edge - from_centre)
        high[t] = min(limits.cone, edge - from_centre)


@part
def bound_phi(d_eta: Singles, n: int, limits: Limits, low: Singles, high: Singles) -> None:
    """Write the bounds of Δφ, which follow from the cone and Δη."""
    wide()
    for t in range(n):
        left = np.sqrt(max(limits.cone * limits.cone - d_eta[t] * d_eta[t], ZERO))
        low[t], high[t] = -left, left


@part
def bound_mass(
    jets: Singles,
    rows: Singles,
    log_ratio: Singles,
    d_eta: Singles,
    n: int,
    symmetric: bool,
    limits: Limits,
    low: Singles,
    high: Singles,
) -> None:
    """Write the bounds of log((m' + 2)/(m + 2)); the lower one is m' = 0."""
    wide()
    pt, eta, log_m = jets[PT], jets[ETA], rows[LOG_M]
    for t in range(n):
        raw_pt = pt[t] * exp(min(max(log_ratio[t], -MOST_LOG), MOST_LOG))
        side = -ONE if symmetric and eta[t] < ZERO else ONE
        abs_eta = abs(eta[t] + side * d_eta[t])
        momentum = raw_pt * _cosh(abs_eta)
        energy2 = limits.energy * limits.energy / (_noise(limits, abs_eta) / raw_pt + ONE)
        most = min(np.sqrt(max(energy2 - momentum * momentum, ZERO)), limits.mass_over_pt * raw_pt)
        low[t] = log(OFFSET) - log_m[t]
        high[t] = log(most + OFFSET) - log_m[t]


@part
def decode(
    targets: Singles, jets: Singles, rows: Singles, n: int, raw_pt_min: np.float32, symmetric: bool, limits: Limits
) -> None:
    """Turn residual or symmetric targets, (4, tile), to reco jets in place: `Variables.decode` after `decompress`."""
    wide()
    log_ratio, d_eta, d_phi, d_log_m = targets[PT], targets[ETA], targets[PHI], targets[MASS]
    pt, eta, phi, log_m = jets[PT], jets[ETA], jets[PHI], rows[LOG_M]
    for t in range(n):
        raw_pt = max(pt[t] * exp(min(max(log_ratio[t], -MOST_LOG), MOST_LOG)), raw_pt_min)
        side = -ONE if symmetric and eta[t] < ZERO else ONE
        # rounding must not move a jet across a bound
        step = _within(d_eta[t], limits.cone)
        new_eta = eta[t] + side * step
        angle = phi[t] + _within(d_phi[t], np.sqrt(max(limits.cone * limits.cone - step * step, ZERO)))
        mass = max(exp(min(log_m[t] + d_log_m[t], MOST_LOG)) - OFFSET, ZERO)
        mass = min(mass, limits.mass_over_pt * raw_pt)
        factor = np.sqrt(_noise(limits, abs(new_eta)) / raw_pt + ONE)
        log_ratio[t] = raw_pt * factor
        d_eta[t] = new_eta
        d_phi[t] = wrapped(angle)
        d_log_m[t] = mass * factor


LEAST_Z, MOST_Z, MEAN, SCALE, LOW, HIGH, UNIT, IS_COUNT, UNDER, HAS_ATOM, ATOM, HAS_TOP, TOP = range(13)
ATOM_IF, TOP_IF, N_NUMBERS = 13, 16, 19  # columns of the rules: places of one or two counts, and greatest sum


def numbers_of(columns: Sequence[Column]) -> Singles:
    """Pack columns for `decode_column` and `bound_column`, one row each, (n, 19); names become targets, or −1."""
    places: dict[str | None, int] = {None: -1} | {column.name: k for k, column in enumerate(columns, MASS + 1)}
    numbers = np.zeros((len(columns), N_NUMBERS), dtype=np.float32)
    for c, row in zip(columns, numbers, strict=True):
        row[:HAS_ATOM] = *c.ends, c.mean, c.scale, c.low, c.high, c.unit, c.kind == "count", places[c.under]
        row[HAS_ATOM:ATOM_IF] = c.atom is not None, c.atom or 0.0, c.top is not None, c.top or 0.0
        for rule, first in ((c.atom_if, ATOM_IF), (c.top_if, TOP_IF)):
            one, other = (None, None) if rule is None else (rule.counts[0], [*rule.counts, None][1])
            row[first : first + 3] = places[one], places[other], -1.0 if rule is None else rule.most
    return numbers


@part
def bound_column(values: Singles, n: int, of: Singles, beyond: np.float32, low: Singles, high: Singles) -> None:
    """Write the bounds of a standardised column to low and high, (tile,): `preprocessing.bounds_of`.

    Parameters
    ----------
    values: targets before it, decoded, (rows, tile).
    n, of: number of jets in use in the tile; row of `numbers_of`.
    beyond: distance of a standardised atom from the ends.
    """
    for t in range(n):
        low[t], high[t] = of[LEAST_Z], of[MOST_Z]
    if of[UNDER] >= ZERO:
        other = values[int(of[UNDER])]
        for t in range(n):
            y = min(max(other[t], of[LOW]), of[HIGH])
            if of[UNIT] > ZERO:
                y = log(ONE + (y - of[LOW]) / of[UNIT])
            high[t] = min(high[t], (y - of[MEAN]) / of[SCALE])
    _decide(values, n, of[TOP_IF:], of[MOST_Z] + beyond, low, high)
    _decide(values, n, of[ATOM_IF:], of[LEAST_Z] - beyond, low, high)


@part
def _decide(values: Singles, n: int, rule: Singles, at: np.float32, low: Singles, high: Singles) -> None:
    """Make an atom both bounds of the jets that have it by a rule."""
    if rule[0] >= ZERO:
        one, other, two = values[int(rule[0])], values[max(int(rule[1]), 0)], rule[1] >= ZERO
        for t in range(n):
            if one[t] + (other[t] if two else ZERO) <= rule[2]:
                low[t], high[t] = at, at


@part
def decode_column(values: Singles, at: int, n: int, of: Singles) -> None:
    """Apply `Column.decode` to the standardised numbers in a row of values, (rows, tile), in place.

    values: the four-momentum and the columns before this one, decoded; their rows bound this one.
    at, of: row of values, and that of `numbers_of`.
    """
    z = values[at]
    for t in range(n):
        y = min(max(z[t], of[LEAST_Z]), of[MOST_Z]) * of[SCALE] + of[MEAN]
        if of[UNIT] > ZERO:
            y = of[LOW] + of[UNIT] * (exp(y) - ONE)
        y = min(max(y, of[LOW]), of[HIGH])
        if of[IS_COUNT] > ZERO:
            y = min(np.floor(y), of[HIGH] - ONE)
        if of[HAS_ATOM] > ZERO and z[t] < of[LEAST_Z] - HALF:
            y = of[ATOM]
        if of[HAS_TOP] > ZERO and z[t] > of[MOST_Z] + HALF:
            y = of[TOP]
        z[t] = y
    if of[UNDER] >= ZERO:
        other = values[int(of[UNDER])]
        for t in range(n):
            z[t] = min(z[t], other[t])


@part
def outcome(gen: Singles, reco: Singles, found: Bools, rows: Singles, n: int, small: np.float32, out: Singles) -> None:
    """Write `unmatched.outcome`, (6, tile), for gen and reco jets, (4, tile) each, and rows of the gen jets."""
    wide()
    log_pt, log_m = rows[LOG_PT], rows[LOG_M]
    flag, ratio, d_eta, d_phi, mass, hard = out[0], out[1], out[2], out[3], out[4], out[5]
    for t in range(n):
        flag[t] = ONE if found[t] else ZERO
        pt = log(max(reco[PT, t], np.float32(1e-6)))
        ratio[t] = _within(pt - log_pt[t], MOST_CHANGE) if found[t] else ZERO
        hard[t] = max(pt, ZERO) if found[t] else ZERO
    for t in range(n):
        side = -ONE if gen[ETA, t] < ZERO else ONE
        d_eta[t] = _within((reco[ETA, t] - gen[ETA, t]) * side / small, MOST_STEPS) if found[t] else ZERO
        angle = reco[PHI, t] - gen[PHI, t]
        d_phi[t] = _within(wrapped(angle) / small, MOST_STEPS) if found[t] else ZERO
        mass[t] = _within(log(max(reco[MASS, t], ZERO) + OFFSET) - log_m[t], MOST_CHANGE) if found[t] else ZERO


@part
def _within(x: np.float32, most: np.float32) -> np.float32:
    return np.float32(min(max(x, -most), most))
