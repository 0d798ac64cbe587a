"""How many unmatched jets a source has, and their targets, compiled: what `coffea_iqn.unmatched.Law` says."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from coffea_iqn.iqn.compiled import N_WORK, blank, draw_target, gather, rows_needed, standardise, take, unstandardise
from coffea_iqn.iqn.networks import N_TARGETS
from coffea_iqn.jets import compiled as jets
from coffea_iqn.numerics.arrays import Bools, Ints, Singles
from coffea_iqn.numerics.compiling import kernel
from coffea_iqn.numerics.dense import TILE, Layers, Nets, feed_forward, pack, pack_all
from coffea_iqn.numerics.single import ZERO, exp


class Model(NamedTuple):
    """A law's numbers, as compiled code takes them: layers, knots, standardisations, bounds, rows of a tile."""

    number: Layers
    nets: Nets
    knots: Singles
    input_mean: Singles
    input_scale: Singles
    target_mean: Singles
    target_scale: Singles
    bounds: Singles
    most: int
    rows: int


def compile_law(law: Any) -> Model:
    """The numbers of a `Law` whose jets are drawn by a `SplineIQN`."""
    number, nets = pack(law.number.net, law.number.slope), pack_all(law.jets.nets, law.jets.slope)
    return Model(
        number=number,
        nets=nets,
        knots=law.jets.knots.numpy(),
        input_mean=law.input_scale.mean,
        input_scale=law.input_scale.scale,
        target_mean=law.target_scale.mean,
        target_scale=law.target_scale.scale,
        bounds=law.bounds,
        most=law.number.most,
        rows=rows_needed(law.number.n_context, number, *nets),
    )


@kernel
def count(law: Model, columns: Singles, u: Singles, numbers: Ints) -> None:
    """How many jets sources with these columns, (N, n), have at levels u, (N,): numbers, (N,), overwritten."""
    tile, one, two = blank(law.rows), blank(law.rows), blank(law.rows)
    for start in range(0, len(columns), TILE):
        n = min(TILE, len(columns) - start)
        take(columns, start, n, one)
        standardise(one, n, law.input_mean, law.input_scale, tile)
        _count(law, tile, n, u[start : start + n], numbers[start : start + n], one, two)


class Sources(NamedTuple):
    """Gen jets that unmatched jets may be near.

    Attributes
    ----------
    gen, reco, found, context: as of `unmatched_columns.near_columns`.
    levels: columns of the context that the law knows.
    small: the typical Δη and Δφ of a reco jet.
    """

    gen: Singles
    reco: Singles
    found: Bools
    context: Singles
    levels: Ints
    small: np.float32


@kernel
def count_near(law: Model, sources: Sources, u: Singles, numbers: Ints) -> None:
    """As `count`, of gen jets, whose columns are those of `near_columns`."""
    tile, one, two = blank(law.rows), blank(law.rows), blank(law.rows)
    gen_tile, reco_tile = blank(N_TARGETS), blank(N_TARGETS)
    for start in range(0, len(sources.gen), TILE):
        n = min(TILE, len(sources.gen) - start)
        _see(sources, start, n, gen_tile, reco_tile, one)
        standardise(one, n, law.input_mean, law.input_scale, tile)
        _count(law, tile, n, u[start : start + n], numbers[start : start + n], one, two)


@kernel
def near_columns(sources: Sources) -> Singles:
    """`unmatched_columns.near_columns` of gen jets, (N, n)."""
    n_columns = jets.N_CALORIMETER + jets.N_OUTCOME + len(sources.levels)
    columns = np.empty((len(sources.gen), n_columns), np.float32)
    tile, gen_tile, reco_tile = blank(n_columns), blank(N_TARGETS), blank(N_TARGETS)
    for start in range(0, len(columns), TILE):
        n = min(TILE, len(columns) - start)
        _see(sources, start, n, gen_tile, reco_tile, tile)
        for t in range(n):
            for k in range(n_columns):
                columns[start + t, k] = tile[k, t]
    return columns


@kernel
def _see(sources: Sources, start: int, n: int, gen_tile: Singles, reco_tile: Singles, rows: Singles) -> None:
    """The columns of the gen jets start to start + n as rows of a tile; the two others are overwritten."""
    first = jets.N_CALORIMETER
    take(sources.gen, start, n, gen_tile)
    take(sources.reco, start, n, reco_tile)
    jets.describe(gen_tile, n, rows)
    outcome = rows[first : first + jets.N_OUTCOME]
    jets.outcome(gen_tile, reco_tile, sources.found[start : start + n], rows, n, sources.small, outcome)
    gather(sources.context, start, n, sources.levels, first + jets.N_OUTCOME, rows)


@kernel
def _count(law: Model, tile: Singles, n: int, u: Singles, numbers: Ints, one: Singles, two: Singles) -> None:
    """How many of the cumulated chances a level exceeds."""
    logit = feed_forward(tile, n, law.number, one, two)
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
def draw(law: Model, columns: Singles, tau: Singles, targets: Singles) -> None:
    """The targets, (N, 4), overwritten, of a jet of each source with columns (N, n), at levels (N, 4)."""
    tile, one, two = blank(law.rows), blank(law.rows), blank(law.rows)
    tau_tile, work = blank(N_TARGETS), blank(N_WORK)
    n_columns = columns.shape[1]
    for start in range(0, len(columns), TILE):
        n = min(TILE, len(columns) - start)
        take(columns, start, n, one)
        take(tau, start, n, tau_tile)
        standardise(one, n, law.input_mean, law.input_scale, tile)
        for k in range(N_TARGETS):
            low, high, row = law.bounds[0, k], law.bounds[1, k], tau_tile[k]
            for t in range(n):
                work[0, t], work[1, t] = low, high
            draw_target(law.nets[k], law.knots, tile, n_columns + k, row, n, work, one, two)
            unstandardise(tile[n_columns + k], n, law.target_mean[k], law.target_scale[k], row)
        for t in range(n):
            for k in range(N_TARGETS):
                targets[start + t, k] = tau_tile[k, t]
