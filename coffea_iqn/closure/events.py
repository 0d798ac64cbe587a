"""Comparison of whole events: input features of classifiers, and totals of jets and objects."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from coffea_iqn.closure.estimates import CELLS, Estimate
from coffea_iqn.closure.judges import RESIDUALS, pair_residuals, without_rounding
from coffea_iqn.jets.features import ETA, PHI, PT, VARIABLES, wrap_phi
from coffea_iqn.jets.table import JetTable, places
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints

N_HARDEST = 4
N_SEARCHED = 8  # number of hardest reco jets considered when a gen jet is paired with a reco jet
NEAR = 0.4  # greatest ΔR of such a pair
PT_MIN, OBJECT_PT_MIN = 20.0, 10.0  # GeV, thresholds of reco jets, and of electrons, muons and photons
LEAST_EVENTS = 100  # number of events that have what is summed
EVENT_FEATURES = (
    *(f"{name}{prime} {k + 1}" for prime in ("", "'") for k in range(N_HARDEST) for name in VARIABLES),
    *(f"{name} {k + 1}" for k in range(N_HARDEST) for name in RESIDUALS),
    "gen jets",
    "reco jets",
    "hard reco jets",
    "gen HT",
    "reco HT",
    "reco MHT",
)


def event_features(gen: Floats, gen_counts: Ints, reco: Floats, reco_counts: Ints) -> Floats:
    """Return features of events, (events, 54), with NaN for missing jets.

    The four hardest gen and reco jets, the residuals between each of these gen jets and the nearest reco jet within
    ΔR < 0.4, numbers of jets, scalar sums of pt, and the pt of the vector sum of the reco jets.

    Parameters
    ----------
    gen, gen_counts: gen jets of all events, concatenated, (N, 4), and the number of jets in each event, (events,).
    reco, reco_counts: the same for reco jets; those below 20 GeV are ignored.
    """
    before = JetTable(without_rounding(gen), gen_counts, places(gen_counts))
    after = JetTable(without_rounding(reco), reco_counts, places(reco_counts))
    after = after.where(after.values[:, PT] > PT_MIN)
    of_gen, of_reco = _hardest(before, N_HARDEST), _hardest(after, N_SEARCHED)
    d_eta = of_reco[:, None, :, ETA] - of_gen[:, :, None, ETA]
    d_phi = wrap_phi(of_reco[:, None, :, PHI] - of_gen[:, :, None, PHI])
    distance = np.where(np.isfinite(d_eta), np.hypot(d_eta, d_phi), np.inf)
    nearest = distance.argmin(axis=2)[..., np.newaxis]
    near = np.take_along_axis(distance, nearest, axis=2)[..., 0] < NEAR
    those = np.take_along_axis(of_reco, nearest, axis=1)
    of_pairs = np.where(near[..., np.newaxis], pair_residuals(of_gen, those), np.nan)
    gen_pt, pt, phi = before.values[:, PT], after.values[:, PT], after.values[:, PHI]
    together = [
        _total(before, gen_pt > PT_MIN),
        after.counts,
        _total(after, pt > 1.5 * PT_MIN),
        _total(before, gen_pt),
        _total(after, pt),
        np.hypot(_total(after, pt * np.cos(phi)), _total(after, pt * np.sin(phi))),
    ]
    blocks = [of_gen, of_reco[:, :N_HARDEST], of_pairs]
    # not -1, which numpy cannot infer for no events
    flat = [block.reshape(len(block), block.shape[1] * block.shape[2]) for block in blocks]
    return np.column_stack([*flat, *together]).astype(np.float32)


def event_totals(
    jets: JetTable, objects: Mapping[str, JetTable] | None = None, missing: Doubles | None = None
) -> dict[str, Doubles]:
    """Return what `total_deviations` compares, each of every event, (events,).

    Numbers of jets in slices of |eta|, HT, and of each kind of objects the number, and the sums of pt and of isolation.

    Parameters
    ----------
    jets: reco jets; those below 20 GeV are ignored.
    objects: tables of electrons, muons and photons by kind, with columns `kinds.COLUMNS` or the first of these; those
        below 10 GeV are ignored.
    missing: pt [GeV] and phi [rad] of missing momentum, (events, 2).
    """
    pt, abs_eta = jets.values[:, PT], np.abs(jets.values[:, ETA])
    hard = pt > PT_MIN
    totals = {
        f"jets, {low:g} < |η| < {high:g}": _total(jets, hard & (abs_eta >= low) & (abs_eta < high))
        for low, high in pairwise(CELLS.abs_eta)
    }
    totals["HT"] = _total(jets, pt * hard)
    for kind, table in (objects or {}).items():
        kept = table.values[:, PT] > OBJECT_PT_MIN
        totals[f"{kind}s"] = _total(table, kept)
        for name in ("pt", "isolation"):
            if name in table.columns:
                totals[f"{kind} {name}"] = _total(table, table.values[:, table.columns.index(name)] * kept)
    return totals if missing is None else totals | {"missing pt": missing[:, 0]}


def total_deviations(emulated: Mapping[str, Doubles], real: Mapping[str, Doubles]) -> dict[str, Estimate]:
    """Return by how much emulated totals differ from real ones, relative to these, from `event_totals` of both.

    The uncertainty is that of the sum of the differences in each event, so what both have in common does not count:
    it is smaller than that of two histograms. What fewer than 100 events have is left out.
    """
    found = {}
    for name, of in real.items():
        if name in emulated and np.count_nonzero(of) >= LEAST_EVENTS:
            differences = emulated[name] - of
            uncertainty = differences.std() * np.sqrt(len(of))
            found[name] = Estimate(float(abs(differences.sum()) / of.sum()), float(uncertainty / of.sum()))
    return found


def _hardest(jets: JetTable, n: int) -> Floats:
    """Return the n hardest jets of each event, (events, n, 4), padded with NaN."""
    event, place = jets.event, places(jets.counts)
    order = np.lexsort((-jets.values[:, PT], event))
    out = np.full((len(jets.counts), n, len(VARIABLES)), np.nan)
    kept = place < n
    out[event[kept], place[kept]] = jets.values[order[kept]]
    return out


def _total(jets: JetTable, of: Floats | Bools) -> Doubles:
    """Return the sum over the jets of each event, (events,)."""
    return np.asarray(np.bincount(jets.event, weights=of, minlength=len(jets.counts)), dtype=np.float64)
