"""Compiled form of an emulator, which processes jets in tiles: inputs, networks, reco jets, efficiencies.

`device.Resident`, with torch, is the reference, with which this agrees up to rounding (tested). Every jet goes through
the same operations in the same order, whichever other jets are in its tile.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from coffea_iqn.iqn.compiled import (
    BELOW,
    N_WORK,
    Engine,
    LawModel,
    blank,
    count_row,
    draw_target,
    engine_of,
    gather,
    part_of,
    parts_of,
    standardise,
    take,
)
from coffea_iqn.iqn.network import LOG_LIKELY_MIN, N_TARGETS, NO_BOUND
from coffea_iqn.jets import compiled as jets
from coffea_iqn.jets.compiled import Limits
from coffea_iqn.jets.context import OF_EVENT, WIDTHS
from coffea_iqn.jets.features import ETA, MASS, PHI, PT, SCALES
from coffea_iqn.numerics.arrays import Bools, Ints, Singles
from coffea_iqn.numerics.compiling import kernel, part, wide
from coffea_iqn.numerics.dense import TILE, feed_forward, singles
from coffea_iqn.numerics.single import ONE, TWO, ZERO, exp, log, logistic

LEAST_LOG = np.float32(LOG_LIKELY_MIN)
LEAST = np.float32(-3e38)
SYMMETRIC = ("symmetric", "massless")  # targets with the sign of Δη relative to the beam
UNBOUNDED = np.float32(-NO_BOUND)
ACCEPTANCE, ORIGIN, RATIO = 0, 1, 2  # indices of networks, counted after those of the targets


class Model(NamedTuple):
    """An emulator's parameters for compiled code.

    Attributes
    ----------
    engine: networks of the targets, then of acceptance, origin and ratio, without layers if the emulator has none.
    columns: context columns that are known and that the networks use, those of the event last.
    n_own: number of input columns used by all networks, not only by the origin network.
    n_samples: number of samples of the origin network.
    moot: index of the input that is 1 where the origin network's output is set to zero, or −1.
    coefficients: coefficients of the compression, (10, 4).
    compressed: whether targets are compressed.
    symmetric: whether the sign of Δη is relative to the beam.
    pt_target: bounds of the target of pt, (2,), from `Support`.
    limits: the other bounds, and the detector's scale.
    beside: `jets.compiled.numbers_of` the variables drawn in addition to the four-momentum.
    log_bound: logarithm of the bound of the ratio.
    """

    engine: Engine
    columns: Ints
    n_own: int
    n_samples: int
    moot: int
    coefficients: Singles
    compressed: bool
    symmetric: bool
    pt_target: Singles
    limits: Limits
    beside: Singles
    log_bound: np.float32


def serves(emulator: Any) -> bool:
    """Whether an emulator has a compiled form."""
    v = emulator.variables
    return bool(emulator.network.compiled and v.inputs == "calorimeter" and v.targets in ("residual", *SYMMETRIC))


def compile_model(emulator: Any, known: Collection[str]) -> Model:
    """Return the parameters of an emulator for which `serves` is true, for jets with the known context levels.

    Columns of the other levels are left out: they are zero and add nothing, so results have the same bits.
    """
    network, v, origin, gate = emulator.network, emulator.variables, emulator.origin, emulator.acceptance
    of_event = [level for level in v.context if origin is not None and level in OF_EVENT]
    own = [level for level in v.context if level not in of_event]
    ends = np.cumsum([WIDTHS[level] for level in v.context], dtype=np.int64)
    starts = {level: jets.N_CALORIMETER + end - WIDTHS[level] for level, end in zip(v.context, ends, strict=True)}

    def places(levels: Sequence[str]) -> list[Ints]:
        """Return the columns of known context levels among all inputs."""
        return [starts[level] + np.arange(WIDTHS[level]) for level in levels if level in known]

    always = np.arange(jets.N_CALORIMETER)
    n_own = jets.N_CALORIMETER + sum(WIDTHS[level] for level in own)
    n_samples = 0 if origin is None else int(origin.description["n_samples"])
    moot = -1 if origin is None else int(origin.description["moot"])
    seen = np.concatenate([always, *places(own), n_own + np.arange(n_samples)])
    n_targets = network.n_targets
    drawn = n_own + n_samples + np.arange(n_targets)
    inputs = np.concatenate([always, *places(own), *places(of_event)])
    of_targets = parts_of(network, [np.concatenate([seen, drawn[:k]]) for k in range(n_targets)])
    judged = np.concatenate([seen, drawn[:N_TARGETS]])
    parts = [*of_targets, part_of(gate, seen), part_of(origin, inputs), part_of(emulator.ratio, judged)]
    n_rows = max(len(inputs), len(seen)) + n_targets
    compression = np.zeros((10, N_TARGETS)) if v.compression is None else v.compression.coefficients
    return Model(
        engine=engine_of(parts, v.input_scale, v.target_scale, n_rows, network.description),
        columns=jets.columns_of_levels([level for level in v.context if level in known]),
        n_own=len(seen) - n_samples,
        n_samples=n_samples,
        moot=int(np.flatnonzero(inputs == moot)[0]) if moot in inputs else -1,
        coefficients=singles(compression),
        compressed=v.compression is not None,
        symmetric=v.targets in SYMMETRIC,
        pt_target=np.array(v.support.pt_target, dtype=np.float32),
        limits=jets.limits_of(v.support, SCALES[v.scale]),
        beside=jets.numbers_of(v.columns),
        log_bound=np.float32(0.0 if emulator.ratio is None else np.log(emulator.ratio.description["bound"])),
    )


@kernel
def draw(
    model: Model,
    x: Singles,
    tau: Singles,
    context: Singles,
    raw_pt_min: np.float32,
    y: Singles,
    efficiency: Singles,
    share: Singles,
) -> None:
    """Draw jets y of jets x; compute their efficiencies and density ratios.

    Parameters
    ----------
    model: from `compile_model`.
    x, tau: jets x, (N, 4), and levels, (N, n); with n below 4 the remaining targets are 0.
    context: (N, 68), or (0, 68) if the model takes none of its columns.
    raw_pt_min: threshold [GeV], or 0.
    y: (N, max(n, 4)), overwritten.
    efficiency, share: (N,), overwritten, the latter with `Functions.share_of`; (0,) to skip them.
    """
    rows = model.engine.rows
    one, two, inputs, known = blank(rows), blank(rows), blank(rows), blank(rows)
    x_tile, tau_tile, size = blank(N_TARGETS), blank(y.shape[1]), blank(N_TARGETS)
    base, work, massless = blank(jets.N_CALORIMETER), blank(N_WORK), blank(1)[0]
    n_known = model.n_own + model.n_samples
    for start in range(0, len(x), TILE):
        n = min(TILE, len(x) - start)
        take(x, start, n, x_tile)
        jets.calorimeter_variables(x_tile, n, base)
        standardise(base, n, model.engine, inputs)
        gather(context, start, n, model.columns, jets.N_CALORIMETER, inputs)
        _know_origin(model, inputs, n, one, two, known)
        if len(efficiency):
            out = feed_forward(known, n, model.engine.networks, len(model.engine.atoms) + ACCEPTANCE, one, two)
            reach = model.limits.abs_eta + model.limits.cone
            for t in range(n):
                efficiency[start + t] = logistic(out[0, t]) if base[jets.ABS_ETA, t] < reach else ZERO
        take(tau, start, n, tau_tile)
        if model.compressed:
            jets.sizes(base, n, model.coefficients, size)
        targets = tau_tile  # each level is overwritten by its target
        for k in range(tau.shape[1], N_TARGETS):
            for t in range(n):
                targets[k, t] = ZERO
        for k in range(min(tau.shape[1], N_TARGETS)):
            _bound(model, k, targets, x_tile, base, n, raw_pt_min, size, work[0], work[1], massless)
            draw_target(model.engine, k, known, n_known + k, tau_tile[k], n, work, one, two)
            if model.compressed:
                jets.decompress(targets[k], n, size[k])
        for k in range(N_TARGETS, tau.shape[1]):
            numbers = model.beside[k - N_TARGETS]
            jets.bound_column(targets, n, numbers, BELOW, work[0], work[1])
            draw_target(model.engine, k, known, n_known + k, targets[k], n, work, one, two)
            jets.decode_column(targets, k, n, numbers)
        if len(share):
            if not model.engine.atoms[MASS]:  # masses below zero become zero
                mass = known[n_known + MASS]
                for t in range(n):
                    mass[t] = max(mass[t], massless[t])
            out = feed_forward(known, n, model.engine.networks, len(model.engine.atoms) + RATIO, one, two)
            for t in range(n):
                share[start + t] = exp(min(out[0, t] - model.log_bound, ZERO))
        jets.decode(targets, x_tile, base, n, raw_pt_min, model.symmetric, model.limits)
        for t in range(n):
            for k in range(y.shape[1]):
                y[start + t, k] = targets[k, t]


@kernel
def draw_columns(law: LawModel, seen: Singles, tau: Singles, beside: Singles, drawn: Singles) -> None:
    """Draw the further columns of unmatched jets, drawn (M, n), at levels tau (M, n).

    seen, beside: `unmatched.beside` of the jets, (M, 11); `jets.compiled.numbers_of` the columns.
    """
    rows, n_columns = law.engine.rows, tau.shape[1]
    tile, one, two = blank(rows), blank(rows), blank(rows)
    values, work = blank(N_TARGETS + n_columns), blank(N_WORK)
    for start in range(0, len(seen), TILE):
        n = min(TILE, len(seen) - start)
        take(seen, start, n, one)
        take(tau, start, n, values[N_TARGETS:])
        standardise(one, n, law.engine, tile)
        for k in range(n_columns):
            at = N_TARGETS + k
            jets.bound_column(values, n, beside[k], BELOW, work[0], work[1])
            draw_target(law.engine, k, tile, seen.shape[1] + k, values[at], n, work, one, two)
            jets.decode_column(values, at, n, beside[k])
        for t in range(n):
            for k in range(n_columns):
                drawn[start + t, k] = values[N_TARGETS + k, t]


@part
def _know_origin(model: Model, inputs: Singles, n: int, one: Singles, two: Singles, known: Singles) -> None:
    """Write the inputs of the quantile networks, `OriginNetwork.with_origin` of all inputs, to known."""
    wide()
    for k in range(model.n_own):
        row, to = inputs[k], known[k]
        for t in range(n):
            to[t] = row[t]
    if not model.n_samples:
        return
    told = n  # number of jets that use the origin network
    if model.moot >= 0:
        told = 0
        for t in range(n):
            told += inputs[model.moot, t] != ONE
    if not told:
        for k in range(model.n_samples):
            for t in range(n):
                known[model.n_own + k, t] = ZERO
        return
    logit = feed_forward(inputs, n, model.engine.networks, len(model.engine.atoms) + ORIGIN, one, two)
    greatest, total = known[model.n_own + model.n_samples], known[model.n_own + model.n_samples + 1]  # unused so far
    for t in range(n):
        greatest[t], total[t] = LEAST, ZERO
    for k in range(model.n_samples):
        row = logit[k]
        for t in range(n):
            greatest[t] = max(greatest[t], row[t])
    for k in range(model.n_samples):
        row = logit[k]
        for t in range(n):
            total[t] += exp(row[t] - greatest[t])
    for t in range(n):
        total[t] = greatest[t] + log(total[t])
    for k in range(model.n_samples):
        row, to = logit[k], known[model.n_own + k]
        for t in range(n):
            to[t] = ONE - TWO * max(row[t] - total[t], LEAST_LOG) / LEAST_LOG
            if model.moot >= 0 and inputs[model.moot, t] == ONE:
                to[t] = ZERO


@part
def _bound(
    model: Model,
    k: int,
    targets: Singles,
    x: Singles,
    base: Singles,
    n: int,
    raw_pt_min: np.float32,
    size: Singles,
    low: Singles,
    high: Singles,
    massless: Singles,
) -> None:
    """Write the bounds of a standardised target to low and high, (tile,), from the decoded targets before it.

    massless: overwritten with the target of a mass of zero if k is the mass.
    """
    wide()
    symmetric, limits = model.symmetric, model.limits
    mean, scale = model.engine.target_mean[k], model.engine.target_scale[k]
    if k == PT:
        jets.bound_pt(base, n, raw_pt_min, limits, low, high)
    elif k == ETA:
        jets.bound_eta(x, base, targets[PT], n, symmetric, limits, low, high)
    elif k == PHI:
        jets.bound_phi(targets[ETA], n, limits, low, high)
    else:
        jets.bound_mass(x, base, targets[PT], targets[ETA], n, symmetric, limits, low, high)
    bounded = k != MASS or model.engine.atoms[MASS]
    if model.compressed:
        jets.compress(low, n, size[k])
        jets.compress(high, n, size[k])
    for t in range(n):
        low[t], high[t] = (low[t] - mean) / scale, (high[t] - mean) / scale
    if k == MASS:
        for t in range(n):
            massless[t] = low[t]
    if k == PT:
        for t in range(n):
            low[t], high[t] = max(low[t], model.pt_target[0]), min(high[t], model.pt_target[1])
    elif not bounded:
        for t in range(n):
            low[t] = UNBOUNDED
    for t in range(n):
        high[t] = max(low[t], high[t])


@kernel
def count_near(
    law: LawModel,
    gen: Singles,
    reco: Singles,
    found: Bools,
    balance: Singles,
    context: Singles,
    levels: Ints,
    small: np.float32,
    u: Singles,
    numbers: Ints,
) -> Singles:
    """Draw the numbers of unmatched jets near gen jets, see `iqn.compiled.count`.

    Returns the columns of the gen jets that have such jets, (M, n).

    gen, reco, found, balance, context: see `unmatched.near_columns`, whose inputs are "calorimeter".
    levels: context columns that the law takes.
    small: the typical Δη and Δφ of a reco jet.
    """
    rows, n_more = law.engine.rows, balance.shape[1]
    seen, tile, one, two = blank(rows), blank(rows), blank(rows), blank(rows)
    gen_tile, reco_tile = blank(N_TARGETS), blank(N_TARGETS)
    first, row = jets.N_CALORIMETER + jets.N_OUTCOME, 0
    columns = np.empty((len(gen), first + n_more + len(levels)), np.float32)
    for start in range(0, len(gen), TILE):
        n = min(TILE, len(gen) - start)
        take(gen, start, n, gen_tile)
        take(reco, start, n, reco_tile)
        jets.calorimeter_variables(gen_tile, n, seen)
        outcome = seen[jets.N_CALORIMETER : first]
        jets.outcome(gen_tile, reco_tile, found[start : start + n], seen, n, small, outcome)
        gather(balance, start, n, np.arange(n_more), first, seen)
        gather(context, start, n, levels, first + n_more, seen)
        standardise(seen, n, law.engine, tile)
        count_row(law, tile, n, u[start : start + n], numbers[start : start + n], one, two)
        for t in range(n):
            if numbers[start + t] > 0:
                for k in range(columns.shape[1]):
                    columns[row, k] = seen[k, t]
                row += 1
    return columns[:row]


@kernel
def jet_columns(gen: Singles, found: Singles, context: Singles, rows: Ints, levels: Ints) -> Singles:
    """Return `objects.jet_columns` of some gen jets, (M, n), with inputs "calorimeter"; levels are context columns."""
    n_found = found.shape[1]
    columns = np.empty((len(rows), jets.N_CALORIMETER + n_found + len(levels)), np.float32)
    tile, gen_tile = blank(jets.N_CALORIMETER), blank(N_TARGETS)
    for start in range(0, len(columns), TILE):
        n = min(TILE, len(columns) - start)
        for t in range(n):
            for k in range(N_TARGETS):
                gen_tile[k, t] = gen[rows[start + t], k]
        jets.calorimeter_variables(gen_tile, n, tile)
        for t in range(n):
            at, row = start + t, rows[start + t]
            for k in range(jets.N_CALORIMETER):
                columns[at, k] = tile[k, t]
            for k in range(n_found):
                columns[at, jets.N_CALORIMETER + k] = found[row, k]
            for k in range(len(levels)):
                columns[at, jets.N_CALORIMETER + n_found + k] = context[row, levels[k]]
    return columns
