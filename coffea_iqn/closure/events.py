"""Input features of classifiers that compare whole events: gen and reco jets and objects, and event-level sums."""

from __future__ import annotations

import numpy as np

from coffea_iqn.closure.judges import without_rounding
from coffea_iqn.jets.features import ETA, MASS, MASS_OFFSET, PHI, PT, VARIABLES, wrap_phi
from coffea_iqn.jets.table import places
from coffea_iqn.numerics.arrays import Bools, Floats, Ints

N_HARDEST = 4
N_SEARCHED = 8  # number of hardest reco jets considered when a gen jet is paired with a reco jet
NEAR = 0.4  # greatest ΔR of such a pair
PT_MIN = 20.0  # GeV, threshold of reco jets
RESIDUALS = ("log pt'/pt", "Δη", "Δφ", "log mass ratio")
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
    gen, reco = without_rounding(gen), without_rounding(reco)
    hard = reco[:, PT] > PT_MIN
    reco_event = np.repeat(np.arange(len(reco_counts)), reco_counts)[hard]
    reco, reco_counts = reco[hard], np.bincount(reco_event, minlength=len(reco_counts))
    of_gen, of_reco = _hardest(gen, gen_counts, N_HARDEST), _hardest(reco, reco_counts, N_SEARCHED)
    d_eta = of_reco[:, None, :, ETA] - of_gen[:, :, None, ETA]
    d_phi = wrap_phi(of_reco[:, None, :, PHI] - of_gen[:, :, None, PHI])
    distance = np.where(np.isfinite(d_eta), np.hypot(d_eta, d_phi), np.inf)
    nearest = distance.argmin(axis=2)[..., np.newaxis]
    near = np.take_along_axis(distance, nearest, axis=2)[..., 0] < NEAR
    those = np.take_along_axis(of_reco, nearest, axis=1)
    mass = [np.maximum(jets[..., MASS], 0.0) + MASS_OFFSET for jets in (those, of_gen)]
    residuals = [
        np.log(those[..., PT] / of_gen[..., PT]),
        np.take_along_axis(d_eta, nearest, axis=2)[..., 0],
        np.take_along_axis(d_phi, nearest, axis=2)[..., 0],
        np.log(mass[0] / mass[1]),
    ]
    of_pairs = np.where(near[..., np.newaxis], np.stack(residuals, axis=2), np.nan)
    x, y = (_sums(reco[:, PT] * f(reco[:, PHI]), reco_counts) for f in (np.cos, np.sin))
    together = [
        _sums(gen[:, PT] > PT_MIN, gen_counts),
        reco_counts,
        _sums(reco[:, PT] > 1.5 * PT_MIN, reco_counts),
        _sums(gen[:, PT], gen_counts),
        _sums(reco[:, PT], reco_counts),
        np.hypot(x, y),
    ]
    blocks = [of_gen, of_reco[:, :N_HARDEST], of_pairs]
    # not -1, which numpy cannot infer for no events
    flat = [block.reshape(len(block), block.shape[1] * block.shape[2]) for block in blocks]
    return np.column_stack([*flat, *together]).astype(np.float32)


def _hardest(jets: Floats, counts: Ints, n: int) -> Floats:
    """Return the n hardest jets of each event, (events, n, 4), padded with NaN."""
    event = np.repeat(np.arange(len(counts)), counts)
    jets = jets[np.lexsort((-jets[:, PT], event))].astype(np.float64)
    place = places(counts)
    out = np.full((len(counts), n, len(VARIABLES)), np.nan)
    kept = place < n
    out[event[kept], place[kept]] = jets[kept]
    return out


def _sums(values: Floats | Bools, counts: Ints) -> Floats:
    """Return the sum over the jets of each event, (events,)."""
    event = np.repeat(np.arange(len(counts)), counts)
    return np.asarray(np.bincount(event, weights=values, minlength=len(counts)), dtype=np.float64)
