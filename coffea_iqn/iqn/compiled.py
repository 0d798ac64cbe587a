"""What `networks.SplineIQN` and `distribution.Law` say, compiled, for a tile of rows: splines, targets, numbers.

A tile is an array (rows, TILE): a row is a variable, jets lie side by side. Where an argument is read and another one
overwritten, they are different rows: else compiled code would take one jet at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from coffea_iqn.iqn.network import BELOW_BOUND, ENDS, LEAST_INSIDE, LOGIT_KNOTS, SLOPE_MIN, STEP_MIN, Network
from coffea_iqn.iqn.standardisation import Standardisation
from coffea_iqn.numerics.arrays import Bools, Ints, Singles
from coffea_iqn.numerics.compiling import kernel, part
from coffea_iqn.numerics.dense import TILE, Networks, Part, feed_forward, pack
from coffea_iqn.numerics.single import HALF, ONE, TWO, ZERO, exp, log, logistic

FOUR = np.float32(4.0)
LEAST_SLOPE, LEAST_STEP = np.float32(SLOPE_MIN), np.float32(STEP_MIN)
SINGLE_INSIDE = np.float32(LEAST_INSIDE)
SINGLE_LEVEL, BELOW = np.float32(2.0**-24), np.float32(BELOW_BOUND)
KNOTS = np.array(LOGIT_KNOTS, dtype=np.float32)


@part
def _positive(x: np.float32) -> np.float32:
    return np.float32(HALF * (x + np.sqrt(x * x + FOUR)))


@part
def ascend(curve: Singles, n: int, n_knots: int) -> None:
    """The first rows of what a network gives, (2 K, tile), to quantiles at the knots; the slopes' rows stay."""
    middle = n_knots // 2
    start = curve[0]
    for k in range(1, n_knots):  # in a loop of its own, or compiled code takes one root at a time
        row = curve[k]
        for t in range(n):
            row[t] = _positive(row[t])
    first = curve[1]
    for t in range(n):
        first[t] = first[t] + LEAST_STEP
    for k in range(2, n_knots):
        below, row = curve[k - 1], curve[k]
        for t in range(n):
            row[t] = below[t] + row[t] + LEAST_STEP
    low, high = curve[middle - 1], curve[middle]
    for t in range(n):
        start[t] = start[t] - HALF * (low[t] + high[t])
    for k in range(1, n_knots):
        row = curve[k]
        for t in range(n):
            row[t] += start[t]


@part
def logits_between(tau: Singles, z_low: Singles, z_high: Singles, n: int, z: Singles) -> None:
    """The logits of F(low) + τ (F(high) − F(low)), for the logits of F at two bounds, accurate near 0 and 1."""
    for t in range(n):
        # one exponential gives F and 1 − F at a bound, neither a difference
        small_low, small_high = exp(-abs(z_low[t])), exp(-abs(z_high[t]))
        big_low, big_high = ONE / (ONE + small_low), ONE / (ONE + small_high)
        small_low, small_high = small_low * big_low, small_high * big_high
        low, not_low = (big_low, small_low) if z_low[t] > ZERO else (small_low, big_low)
        high, not_high = (big_high, small_high) if z_high[t] > ZERO else (small_high, big_high)
        inside = max(not_low - not_high if z_low[t] + z_high[t] > ZERO else high - low, SINGLE_INSIDE)
        z[t] = log(low + tau[t] * inside) - log(not_high + (ONE - tau[t]) * inside)


@part
def quantiles(z: Singles, curve: Singles, knots: Singles, n: int, bins: Singles, y: Singles) -> None:
    """The splines at logits z, (tile,).

    Parameters
    ----------
    z: where.
    curve: (2 K, tile) after `ascend`.
    knots: their logits, (K,).
    n: how many jets of the tile count.
    bins: (6, tile), overwritten.
    y: (tile,), overwritten with the quantiles.
    """
    _find(z, curve, knots, n, True, bins)
    x0, width, y0, y1, d0, d1 = bins[0], bins[1], bins[2], bins[3], bins[4], bins[5]
    for t in range(n):
        low, high = _positive(d0[t]) + LEAST_SLOPE, _positive(d1[t]) + LEAST_SLOPE
        height = y1[t] - y0[t]
        s = height / width[t]
        x = (z[t] - x0[t]) / width[t]
        inside = min(max(x, ZERO), ONE)
        u = inside * (ONE - inside)
        bend = low + high - TWO * s
        value = y0[t] + height * (s * inside * inside + low * u) / (s + bend * u)
        y[t] = value + width[t] * (low * min(x, ZERO) + high * max(x - ONE, ZERO))


@part
def levels(y: Singles, curve: Singles, knots: Singles, n: int, bins: Singles, z: Singles) -> None:
    """The logits z at which the splines are y: the inverse of `quantiles`."""
    _find(y, curve, knots, n, False, bins)
    x0, width, y0, y1, d0, d1 = bins[0], bins[1], bins[2], bins[3], bins[4], bins[5]
    for t in range(n):
        low, high = _positive(d0[t]) + LEAST_SLOPE, _positive(d1[t]) + LEAST_SLOPE
        height = y1[t] - y0[t]
        s = height / width[t]
        rise = min(max(y[t] - y0[t], ZERO), height)
        bend = low + high - TWO * s
        a = height * (s - low) + rise * bend
        b = height * low - rise * bend
        c = -s * rise
        root = np.sqrt(max(b * b - FOUR * a * c, ZERO))
        inside = x0[t] + width[t] * TWO * c / (-b - root)
        z[t] = inside + min(y[t] - y0[t], ZERO) / low + max(y[t] - y1[t], ZERO) / high


@part
def _find(at: Singles, curve: Singles, knots: Singles, n: int, by_knot: bool, bins: Singles) -> None:
    """Of the bin each jet is in: its first knot, its width, the quantiles and the slopes at both ends, (6, tile)."""
    n_knots = len(knots)
    count, width, y0, y1, d0, d1 = bins[0], bins[1], bins[2], bins[3], bins[4], bins[5]
    for t in range(n):
        count[t] = ZERO
    for k in range(
        1, n_knots - 1
    ):  # all of them: comparing eight jets at once costs less than a branch guessed wrongly
        if by_knot:
            knot = knots[k]
            for t in range(n):
                count[t] += ONE if at[t] >= knot else ZERO
        else:
            value = curve[k]
            for t in range(n):
                count[t] += ONE if at[t] >= value[t] else ZERO
    for t in range(n):
        k = int(count[t])
        y0[t], y1[t] = curve[k, t], curve[k + 1, t]
        d0[t], d1[t] = curve[n_knots + k, t], curve[n_knots + k + 1, t]
        count[t], width[t] = knots[k], knots[k + 1] - knots[k]


N_WORK = 11  # rows that drawing needs beside: two bounds first


class Engine(NamedTuple):
    """What draws the targets of a `SplineIQN` from standardised inputs: its numbers, as compiled code takes them.

    Attributes
    ----------
    networks: of the targets, and after them those of others that see the same inputs.
    knots: of the splines, (K,).
    atoms, tops, flags: of each target, whether it may be exactly at its least or at its greatest bound, and whether it
        is nothing else, (n targets,).
    input_mean, input_scale, target_mean, target_scale: standardisations.
    rows: of a tile.
    """

    networks: Networks
    knots: Singles
    atoms: Bools
    tops: Bools
    flags: Bools
    input_mean: Singles
    input_scale: Singles
    target_mean: Singles
    target_scale: Singles
    rows: int


def engine_of(
    parts: Sequence[Part],
    input_scale: Standardisation,
    target_scale: Standardisation,
    n_rows: int,
    description: Mapping[str, Any],
) -> Engine:
    """The engine of networks, with tiles that hold so many rows, and all their layers; of the targets' description."""
    networks = pack(parts)
    rows = int(max(n_rows, networks.shapes.max(initial=0)))
    atoms, tops, flags = (np.isin(np.arange(len(target_scale.mean)), description[name]) for name in ENDS)
    return Engine(networks, KNOTS, atoms, tops, flags, *input_scale, *target_scale, rows)


def part_of(network: Network | None, inputs: Ints | None = None) -> Part:
    """A network for those of its inputs that may differ from zero; of None, one without layers."""
    return ([], 0.0, None) if network is None else (network.layers(), network.slope, inputs)


def parts_of(network: Network, inputs: Sequence[Ints | None] | None = None) -> list[Part]:
    """The networks of all targets of a `SplineIQN`, each for some of its inputs."""
    of_each = [None] * network.n_targets if inputs is None else inputs
    return [(network.layers(f"nets.{k}"), network.slope, of) for k, of in enumerate(of_each)]


@part
def blank(rows: int) -> Singles:
    """A tile of zeros."""
    return np.zeros((rows, TILE), np.float32)


@part
def take(values: Singles, start: int, n: int, tile: Singles) -> None:
    """The rows start to start + n of values, (N, k), side by side in a tile, (k or more, tile)."""
    gather(values, start, n, np.arange(values.shape[1]), 0, tile)


@part
def gather(values: Singles, start: int, n: int, columns: Ints, first: int, tile: Singles) -> None:
    """Some columns of the rows start to start + n of values, into the rows of a tile from first on."""
    whole = n - n % 4
    for t in range(0, whole, 4):  # four values that come to lie side by side are written at once
        a, b, c, d = values[start + t], values[start + t + 1], values[start + t + 2], values[start + t + 3]
        for k in range(len(columns)):
            column, row = columns[k], tile[first + k]
            row[t], row[t + 1], row[t + 2], row[t + 3] = a[column], b[column], c[column], d[column]
    for t in range(whole, n):
        for k in range(len(columns)):
            tile[first + k, t] = values[start + t, columns[k]]


@part
def standardise(rows: Singles, n: int, engine: Engine, out: Singles) -> None:
    """The first rows, as many as an engine has scales of inputs, less their mean, over their scale."""
    mean, scale = engine.input_mean, engine.input_scale
    for k in range(len(mean)):
        row, to = rows[k], out[k]
        for t in range(n):
            to[t] = (row[t] - mean[k]) / scale[k]


@part
def draw_target(
    engine: Engine,
    k: int,
    known: Singles,
    row: int,
    tau: Singles,
    n: int,
    work: Singles,
    one: Singles,
    two: Singles,
) -> None:
    """A target of a tile, given the conditioning variables and the targets before it, between two bounds.

    Parameters
    ----------
    engine, k: of which target.
    known: what the network sees, (rows, tile); the standardised target comes into the given row.
    row: of known.
    tau: levels, (tile,), overwritten with the target.
    n: how many jets of the tile count.
    work: (N_WORK, tile), the bounds first, which are read; the others are overwritten.
    one, two: (rows, tile), overwritten.
    """
    low, high, z_low, z_high, z, bins = work[0], work[1], work[2], work[3], work[4], work[5:]
    knots, to, flag = engine.knots, known[row], engine.flags[k]
    curve = feed_forward(known, n, engine.networks, k, one, two)
    atom = curve[2 * len(knots) if engine.atoms[k] and not flag else 0]
    top = curve[2 * len(knots) + (1 if engine.atoms[k] else 0) if engine.tops[k] else 0]
    if engine.atoms[k]:
        for t in range(n):
            p = logistic(atom[t])
            level = (tau[t] - p) / (ONE - p)
            atom[t] = ONE if tau[t] < p else ZERO
            tau[t] = min(max(level, SINGLE_LEVEL), ONE - SINGLE_LEVEL)
    if engine.tops[k]:
        for t in range(n):
            rest = logistic(-top[t])
            top[t] = ZERO if tau[t] < rest else ONE
            tau[t] = min(max(tau[t] / rest, SINGLE_LEVEL), ONE - SINGLE_LEVEL)
    if flag:
        for t in range(n):
            to[t] = low[t]
    else:
        ascend(curve, n, len(knots))
        levels(low, curve, knots, n, bins, z_low)
        levels(high, curve, knots, n, bins, z_high)
        logits_between(tau, z_low, z_high, n, z)
        quantiles(z, curve, knots, n, bins, z_low)
        for t in range(n):
            to[t] = min(max(z_low[t], low[t]), high[t])  # rounding
    if engine.tops[k]:
        for t in range(n):
            to[t] = high[t] + BELOW if top[t] == ONE else to[t]
    if engine.atoms[k]:
        for t in range(n):
            to[t] = low[t] - BELOW if atom[t] == ONE else to[t]
    mean, scale = engine.target_mean[k], engine.target_scale[k]
    for t in range(n):
        tau[t] = to[t] * scale + mean


class LawModel(NamedTuple):
    """A law's numbers, as compiled code takes them.

    Attributes
    ----------
    engine: of the targets, and after them of the number.
    bounds: of the standardised targets, (2, n targets).
    most: greatest number.
    """

    engine: Engine
    bounds: Singles
    most: int


def compile_law(law: Any) -> LawModel:
    """The numbers of a `Law` whose targets, where it has any, are drawn by a `SplineIQN`."""
    parts, ends = (
        ([], dict.fromkeys(ENDS, ())) if law.targets is None else (parts_of(law.targets), law.targets.description)
    )
    n_rows = len(law.input_scale.mean) + len(law.target_scale.mean)
    engine = engine_of([*parts, part_of(law.number)], law.input_scale, law.target_scale, n_rows, ends)
    return LawModel(engine, law.bounds, 0 if law.number is None else int(law.number.description["most"]))


@kernel
def count(law: LawModel, columns: Singles, u: Singles, numbers: Ints) -> None:
    """How many jets sources with these columns, (N, n), have at levels u, (N,): numbers, (N,), overwritten."""
    rows = law.engine.rows
    tile, one, two = blank(rows), blank(rows), blank(rows)
    for start in range(0, len(columns), TILE):
        n = min(TILE, len(columns) - start)
        take(columns, start, n, one)
        standardise(one, n, law.engine, tile)
        count_row(law, tile, n, u[start : start + n], numbers[start : start + n], one, two)


@part
def count_row(law: LawModel, tile: Singles, n: int, u: Singles, numbers: Ints, one: Singles, two: Singles) -> None:
    """How many of the cumulated probabilities a level exceeds."""
    logit = feed_forward(tile, n, law.engine.networks, len(law.engine.target_mean), one, two)
    greatest, total, below = tile[0], tile[1], tile[2]  # the inputs have been seen
    for t in range(n):
        greatest[t], total[t], below[t] = logit[0, t], ZERO, ZERO
        numbers[t] = 0
    for k in range(law.most + 1):
        row = logit[k]
        for t in range(n):
            greatest[t] = max(greatest[t], row[t])
    for k in range(law.most + 1):
        row = logit[k]
        for t in range(n):
            row[t] = exp(row[t] - greatest[t])
            total[t] += row[t]
    for k in range(law.most):
        row = logit[k]
        for t in range(n):
            below[t] += row[t]
            if below[t] <= u[t] * total[t]:
                numbers[t] += 1


@kernel
def draw(law: LawModel, columns: Singles, tau: Singles, least: Singles, targets: Singles) -> None:
    """The targets, (N, n targets), overwritten, given columns (N, n), at levels (N, n targets).

    least: standardised, of the first target of each row, (N,); (0,) for its bound.
    """
    rows = law.engine.rows
    tile, one, two = blank(rows), blank(rows), blank(rows)
    n_targets, n_columns = len(law.engine.target_mean), columns.shape[1]
    tau_tile, work = blank(n_targets), blank(N_WORK)
    for start in range(0, len(columns), TILE):
        n = min(TILE, len(columns) - start)
        take(columns, start, n, one)
        take(tau, start, n, tau_tile)
        standardise(one, n, law.engine, tile)
        for k in range(n_targets):
            low, high, row = law.bounds[0, k], law.bounds[1, k], tau_tile[k]
            for t in range(n):
                work[0, t], work[1, t] = low, high
            if k == 0 and len(least):
                for t in range(n):
                    work[0, t] = least[start + t]
            draw_target(law.engine, k, tile, n_columns + k, row, n, work, one, two)
        for t in range(n):
            for k in range(n_targets):
                targets[start + t, k] = tau_tile[k, t]
