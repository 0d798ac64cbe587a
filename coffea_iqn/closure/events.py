"""Input features of classifiers that compare whole events: gen and reco jets and objects, and event-level sums."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from coffea_iqn.closure.estimates import ETA, MASS, PHI, PT, VARIABLES, Floats
from coffea_iqn.closure.judges import without_rounding
from coffea_iqn.closure.response import MASS_OFFSET, wrapped

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


def event_features(
    gen: Floats, gen_counts: npt.NDArray[np.integer], reco: Floats, reco_counts: npt.NDArray[np.integer]
) -> Floats:
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
    d_phi = wrapped(of_reco[:, None, :, PHI] - of_gen[:, :, None, PHI])
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
    return np.column_stack([*(block.reshape(len(gen_counts), -1) for block in blocks), *together]).astype(np.float32)


def _hardest(jets: Floats, counts: npt.NDArray[np.integer], n: int) -> Floats:
    """Return the n hardest jets of each event, (events, n, 4), padded with NaN."""
    event = np.repeat(np.arange(len(counts)), counts)
    jets = jets[np.lexsort((-jets[:, PT], event))].astype(np.float64)
    place = np.arange(len(jets)) - np.repeat(np.cumsum(counts) - counts, counts)
    out = np.full((len(counts), n, len(VARIABLES)), np.nan)
    kept = place < n
    out[event[kept], place[kept]] = jets[kept]
    return out


def _sums(values: Floats | npt.NDArray[np.bool_], counts: npt.NDArray[np.integer]) -> Floats:
    """Return the sum over the jets of each event, (events,)."""
    event = np.repeat(np.arange(len(counts)), counts)
    return np.asarray(np.bincount(event, weights=values, minlength=len(counts)), dtype=np.float64)


N_OBJECTS = 2  # number of hardest objects of each kind among the features


def object_features(
    gen: tuple[Floats, npt.NDArray[np.integer]],
    gen_event: npt.NDArray[np.integer],
    reco: tuple[Floats, npt.NDArray[np.integer]],
    reco_event: npt.NDArray[np.integer],
    missing: tuple[Floats, Floats],
    hardest_phi: Floats,
) -> Floats:
    """Return features of events in addition to those of their jets, (events, 50), with NaN for missing objects.

    For each kind, the two hardest objects and their number, at gen level (pt, eta, phi) and at reco level (these and
    the isolation); missing momentum at gen and reco level, each as pt and angle to the hardest reco jet, and the angle
    between the two.

    Parameters
    ----------
    gen, reco: objects of all events, concatenated, (M, 3 or more), and the kind of each, (M,).
    gen_event, reco_event: index of the event of each object.
    missing: pt [GeV] and phi [rad] of the missing momentum at gen and reco level, (events, 2) each.
    hardest_phi: phi of the hardest reco jet, (events,); NaN if there is none.
    """
    n_events, n_kinds = len(hardest_phi), 3
    columns = []
    for (values, kind), event, width in ((gen, gen_event, 3), (reco, reco_event, 4)):
        for k in range(n_kinds):
            mine = kind == k
            own, of_event = values[mine][:, :width], event[mine]
            order = np.lexsort((-own[:, 0], of_event))
            own, of_event = own[order].astype(np.float64), of_event[order]
            counts = np.bincount(of_event, minlength=n_events)
            place = np.arange(len(own)) - np.repeat(np.cumsum(counts) - counts, counts)
            out = np.full((n_events, N_OBJECTS, width), np.nan)
            kept = place < N_OBJECTS
            out[of_event[kept], place[kept]] = own[kept]
            columns += [out.reshape(n_events, -1), counts[:, np.newaxis]]
    (gen_pt, gen_phi), (pt, phi) = (level.T for level in missing)
    angles = [wrapped(gen_phi - hardest_phi), wrapped(phi - hardest_phi), wrapped(phi - gen_phi)]
    columns.append(np.stack([gen_pt, pt, *np.abs(angles)], axis=1))
    return np.concatenate(columns, axis=1).astype(np.float32)
