"""Compiled form of `SplineIQN` and `distribution.Law` for tiles of jets: splines, targets, multiplicities.

A tile is an array (rows, TILE) with one row per variable and one column per jet. Arguments that are read and arguments
that are overwritten must be different rows; otherwise the loops over jets would not be vectorised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from coffea_iqn.iqn.network import BELOW_BOUND, ENDS, LEAST_INSIDE, LOGIT_KNOTS, SLOPE_MIN, STEP_MIN, Network
from coffea_iqn.iqn.standardisation import Standardisation
from coffea_iqn.numerics.arrays import Bools, Ints, Singles
from coffea_iqn.numerics.compiling import kernel, part, wide
from coffea_iqn.numerics.dense import TILE, Networks, Part, feed_forward, pack
from coffea_iqn.numerics.single import HALF, ONE, TWO, ZERO, exp, log, logistic

FOUR = np.float32(4.0)
LEAST_SLOPE, LEAST_STEP = np.float32(SLOPE_MIN), np.float32(STEP_MIN)
SINGLE_INSIDE = np.float32(LEAST_INSIDE)
SINGLE_LEVEL, BELOW = np.float32(2.0**-24), np.float32(BELOW_BOUND)
KNOTS = np.array(LOGIT_KNOTS, dtype=np.float32)
LINE = 16  # numbers in a cache line; divides TILE


@part
def _positive(x: np.float32) -> np.float32:
    return np.float32(HALF * (x + np.sqrt(x * x + FOUR)))


@part
def ascend(curve: Singles, n: int, n_knots: int) -> None:
    """Turn the first K rows of a network's output, (2 K, tile), into quantiles at the knots; keep the slopes."""
    wide()
    middle = n_knots // 2
    start = curve[0]
    for k in range(1, n_knots):  # a separate loop, so that the square roots are vectorised
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
    """Compute logit(F(low) + τ (F(high) − F(low))) from the logits of F at two bounds, accurately near 0 and 1."""
    wide()
    for t in range(n):
        # one exponential gives F and 1 − F at a bound without cancellation
        small_low, small_high = exp(-abs(z_low[t])), exp(-abs(z_high[t]))
        big_low, big_high = ONE / (ONE + small_low), ONE / (ONE + small_high)
        small_low, small_high = small_low * big_low, small_high * big_high
        low, not_low = (big_low, small_low) if z_low[t] > ZERO else (small_low, big_low)
        high, not_high = (big_high, small_high) if z_high[t] > ZERO else (small_high, big_high)
        inside = max(not_low - not_high if z_low[t] + z_high[t] > ZERO else high - low, SINGLE_INSIDE)
        z[t] = log(low + tau[t] * inside) - log(not_high + (ONE - tau[t]) * inside)


@part
def quantiles(z: Singles, curve: Singles, knots: Singles, n: int, bins: Singles, y: Singles) -> None:
    """Evaluate the quantile splines at logits z.

    Parameters
    ----------
    z: logits of the levels, (tile,).
    curve: network output after `ascend`, (2 K, tile).
    knots: logits at the knots, (K,).
    n: number of jets in use in the tile.
    bins: buffer, (6, tile).
    y: quantiles, (tile,), overwritten.
    """
    wide()
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
    """Compute the logits z of the levels of y: the inverse of `quantiles`."""
    wide()
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
    """Find each jet's bin: write its lower knot, its width, and the quantiles and slopes at both ends, (6, tile)."""
    wide()
    n_knots = len(knots)
    slopes = curve[n_knots:]
    count, width, y0, y1, d0, d1 = bins[0], bins[1], bins[2], bins[3], bins[4], bins[5]
    for t in range(n):
        count[t] = ZERO
    for k in range(1, n_knots - 1):  # check all knots: vectorised comparisons are cheaper than mispredicted branches
        if by_knot:
            knot = knots[k]
            for t in range(n):
                count[t] += ONE if at[t] >= knot else ZERO
        else:
            value = curve[k]
            for t in range(n):
                count[t] += ONE if at[t] >= value[t] else ZERO
    for t in range(n):
        below = np.uint32(count[t])  # unsigned: a signed index may count from the end, and checking costs time
        above = below + np.uint32(1)
        y0[t], y1[t] = curve[below, t], curve[above, t]
        d0[t], d1[t] = slopes[below, t], slopes[above, t]
        count[t], width[t] = knots[below], knots[above] - knots[below]


N_WORK = 11  # rows of the buffer `work` of `draw_target`, of which the first two are bounds


class Engine(NamedTuple):
    """Parameters of a `SplineIQN` in the form used by compiled code to draw targets.

    Attributes
    ----------
    networks: networks of the targets, followed by any other networks with the same inputs.
    knots: logits at the knots of the splines, (K,).
    atoms, tops, flags: whether each target has an atom at its least bound, an atom at its greatest bound, and whether
        it is a flag, (n targets,).
    input_mean, input_scale, target_mean, target_scale: standardisations.
    rows: number of rows of a tile.
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
    """Build an engine from networks; tiles have at least n_rows rows; description is that of the targets' network."""
    networks = pack(parts)
    rows = int(max(n_rows, networks.shapes.max(initial=0)))
    atoms, tops, flags = (np.isin(np.arange(len(target_scale.mean)), description[name]) for name in ENDS)
    return Engine(networks, KNOTS, atoms, tops, flags, *input_scale, *target_scale, rows)


def part_of(network: Network | None, inputs: Ints | None = None) -> Part:
    """Return a network, restricted to the inputs that can differ from zero, for `pack`; None gives no layers."""
    return ([], 0.0, None) if network is None else (network.layers(), network.slope, inputs)


def parts_of(network: Network, inputs: Sequence[Ints | None] | None = None) -> list[Part]:
    """Return the networks of all targets of a `SplineIQN` for `pack`, each restricted to some of its inputs."""
    of_each = [None] * network.n_targets if inputs is None else inputs
    return [(network.layers(f"nets.{k}"), network.slope, of) for k, of in enumerate(of_each)]


@part
def blank(rows: int) -> Singles:
    """Return a tile of zeros, aligned to cache lines: other vectors would each lie in two of them."""
    longer = np.zeros(rows * TILE + LINE, np.float32)
    first = -(longer.ctypes.data // longer.itemsize) % LINE
    return longer[first : first + rows * TILE].reshape((rows, TILE))


@part
def take(values: Singles, start: int, n: int, tile: Singles) -> None:
    """Transpose rows start to start + n of values, (N, k), into a tile, (k or more, tile)."""
    gather(values, start, n, np.arange(values.shape[1]), 0, tile)


@part
def gather(values: Singles, start: int, n: int, columns: Ints, first: int, tile: Singles) -> None:
    """Transpose some columns of rows start to start + n of values into the rows of a tile, starting at row first."""
    whole = n - n % 4
    for t in range(0, whole, 4):  # write four contiguous values at once
        at = start + t
        for k in range(len(columns)):
            column, row = columns[k], first + k
            tile[row, t], tile[row, t + 1] = values[at, column], values[at + 1, column]
            tile[row, t + 2], tile[row, t + 3] = values[at + 2, column], values[at + 3, column]
    for t in range(whole, n):
        for k in range(len(columns)):
            tile[first + k, t] = values[start + t, columns[k]]


@part
def standardise(rows: Singles, n: int, engine: Engine, out: Singles) -> None:
    """Standardise the input rows with the input mean and scale of an engine."""
    wide()
    mean, scale = engine.input_mean, engine.input_scale
    for k in range(len(mean)):
        row, to = rows[k], out[k]
        for t in range(n):
            to[t] = (row[t] - mean[k]) / scale[k]


@part
def draw_target(
    engine: Engine, k: int, known: Singles, row: int, tau: Singles, n: int, work: Singles, one: Singles, two: Singles
) -> None:
    """Draw one target of a tile between two bounds, given the conditioning variables and the preceding targets.

    Parameters
    ----------
    engine, k: the engine, and the index of the target.
    known: inputs of the network, (rows, tile).
    row: row of `known` to which the standardised target is written.
    tau: levels, (tile,), overwritten with the target.
    n: number of jets in use in the tile.
    work: buffer, (N_WORK, tile); the first two rows contain the bounds.
    one, two: buffers, (rows, tile).
    """
    wide()
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
    """Parameters of a `Law` in the form used by compiled code.

    Attributes
    ----------
    engine: networks of the targets, followed by that of the multiplicity.
    bounds: bounds of the standardised targets, (2, n targets).
    most: greatest multiplicity.
    """

    engine: Engine
    bounds: Singles
    most: int


def compile_law(law: Any) -> LawModel:
    """Convert a `Law` whose targets, if any, are drawn by a `SplineIQN`."""
    parts, ends = (
        ([], dict.fromkeys(ENDS, ())) if law.targets is None else (parts_of(law.targets), law.targets.description)
    )
    n_rows = len(law.input_scale.mean) + len(law.target_scale.mean)
    engine = engine_of([*parts, part_of(law.number)], law.input_scale, law.target_scale, n_rows, ends)
    return LawModel(engine, law.bounds, 0 if law.number is None else int(law.number.description["most"]))


@kernel
def count(law: LawModel, columns: Singles, u: Singles, numbers: Ints) -> None:
    """Draw the multiplicities, numbers (N,), of sources with columns (N, n), at levels u, (N,)."""
    rows = law.engine.rows
    tile, one, two = blank(rows), blank(rows), blank(rows)
    for start in range(0, len(columns), TILE):
        n = min(TILE, len(columns) - start)
        take(columns, start, n, one)
        standardise(one, n, law.engine, tile)
        count_row(law, tile, n, u[start : start + n], numbers[start : start + n], one, two)


@part
def count_row(law: LawModel, tile: Singles, n: int, u: Singles, numbers: Ints, one: Singles, two: Singles) -> None:
    """Draw the multiplicities of a tile: the number of cumulative probabilities that the level exceeds."""
    wide()
    logit = feed_forward(tile, n, law.engine.networks, len(law.engine.target_mean), one, two)
    greatest, total, below = tile[0], tile[1], tile[2]  # the inputs are no longer needed
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
    """Draw targets, (N, n targets), for columns (N, n) at levels tau (N, n targets).

    least: lower bound of the first standardised target of each row, (N,); empty to use the bound of the law.
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
