"""Search for a detector's jet scale and pt threshold: before the right scale, jets end at one pt for all |eta|."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from coffea_iqn.jets.features import ETA, PT, SCALES
from coffea_iqn.numerics.arrays import Floats
from coffea_iqn.ranges import expect

SOFT = 0.2  # fraction of the jets, the softest ones, in which to search for the edge
SLICES, LEAST = 10, 30  # maximum number of slices of |eta|, and minimum number of soft jets in each
EVEN = 0.01  # maximum mean distance of the slices' softest jets from the edge, relative to it
CLEARER = 3.0  # minimum ratio of this distance between any other scale and the best one
STEPS = (5.0, 1.0, 0.5, 0.1, 0.05, 0.01)  # GeV; a threshold is a multiple of one of these
ROUNDING = 1e-4  # relative rounding of pt in files
ALIKE = 1.1  # maximum ratio of the thresholds of datasets, or of regions of |eta|, found in their jets
REGIONS, ENOUGH = (0.0, 1.3, 2.5, 3.0, 5.0), 200  # edges of |eta|, and number of jets in a region that tell


class Edge(NamedTuple):
    """Lower edge of a detector's jets.

    Attributes
    ----------
    scale: key of `features.SCALES`, applied after the threshold.
    raw_pt_min: threshold on pt before the scale [GeV].
    """

    scale: str
    raw_pt_min: float


class _Seen(NamedTuple):
    """Lower edge of the jets for one assumed scale.

    lowest: pt of the softest jet before the scale [GeV].
    uneven: mean distance of the softest jets in slices of |eta| from it, relative to it.
    spacing: mean distance between consecutive softest jets [GeV].
    is_edge: whether the density of jets does not fall towards the edge.
    """

    lowest: float
    uneven: float
    spacing: float
    is_edge: bool


def find_edge(reco: Floats, scales: Iterable[str] | None = None) -> Edge | None:
    """Find the scale whose inverse gives the sharpest common pt edge for all |eta|, and that pt.

    Parameters
    ----------
    reco: all reco jets of the detector, (N, 4).
    scales: keys of `features.SCALES` to try; None for all.

    Returns
    -------
    scale and threshold; None if there are too few soft jets, no sharp edge, or no clearly best scale.
    """
    reco = np.asarray(reco, dtype=np.float64)
    n_soft = int(SOFT * len(reco))
    n_slices = min(SLICES, n_soft // LEAST)
    if n_slices < 3:
        return None
    seen = {name: _look(reco, name, n_soft, n_slices) for name in (SCALES if scales is None else scales)}
    first, *others = sorted(seen, key=lambda name: seen[name].uneven)
    best = seen[first]
    if not best.is_edge or best.uneven > EVEN:
        return None
    if any(seen[name].uneven < CLEARER * best.uneven for name in others):
        return None
    return Edge(first, _rounded(best))


def begins_higher(reco: Floats, edge: Edge | None) -> str | None:
    """Return where jets (N, 4) begin higher than at their edge, if they do so in a region of |eta|.

    Forward jets are few among the softest ones, in which `find_edge` searches.
    """
    if edge is None:
        return None
    pt, abs_eta = SCALES[edge.scale].undo(np.asarray(reco, dtype=np.float64))[:, PT], np.abs(reco[:, ETA])
    for low, high in pairwise(REGIONS):
        inside = pt[(abs_eta >= low) & (abs_eta < high)]
        if len(inside) >= ENOUGH and inside.min() > ALIKE * edge.raw_pt_min:
            where = f"for |eta| between {low:g} and {high:g}"
            return f"begin at {inside.min():.3g} GeV {where}, elsewhere at {edge.raw_pt_min:g} GeV (before the scale)"
    return None


def check_alike(of_each: Mapping[str, Floats], scales: Sequence[str] | None = None) -> dict[str, Edge | None]:
    """Check that all datasets, or files, have the same scale and threshold, as far as these can be found in their jets.

    Returns the `find_edge` of each.

    Parameters
    ----------
    of_each: reco jets of each dataset or file by name, (N, 4) each.
    scales: see `find_edge`.

    Raises
    ------
    ValueError: if they differ: one law cannot describe the efficiency of both.
    """
    found = {name: find_edge(jets, scales) for name, jets in of_each.items()}
    edges = {name: edge for name, edge in found.items() if edge is not None}
    thresholds = [edge.raw_pt_min for edge in edges.values()]
    lowest, highest = min(thresholds, default=0.0), max(thresholds, default=0.0)
    alike = len({edge.scale for edge in edges.values()}) <= 1 and highest <= ALIKE * lowest
    got = ", ".join(f"{edge.raw_pt_min:g} GeV before scale {edge.scale} in {name}" for name, edge in edges.items())
    expect(alike, f"reco jets: expected one scale and threshold in all datasets and files, found {got}")
    return found


def beginnings(begins: Mapping[str, tuple[float, int]], *, factor: float, enough: int) -> str | None:
    """Return where objects begin in two files, if they do so at different pt, as far as their number tells.

    What lies between the two thresholds would count as lost, or as made by nothing.

    Parameters
    ----------
    begins: lowest pt [GeV] of the objects of each file, and their number.
    factor: greatest ratio of the lowest pt in two files that do not differ.
    enough: number of objects of a file that tell.
    """
    known = {name: least for name, (least, n) in begins.items() if n >= enough}
    low, high = (find(known, key=lambda name: known[name], default="") for find in (min, max))
    if not known or known[high] <= factor * known[low]:
        return None
    return f"{known[low]:.3g} GeV in {low} and {known[high]:.3g} GeV in {high}"


def _look(reco: Floats, scale: str, n_soft: int, n_slices: int) -> _Seen:
    raw = SCALES[scale].undo(reco)
    pt = raw[:, PT]
    soft = np.argpartition(pt, n_soft)[:n_soft]
    soft = soft[np.argsort(np.abs(reco[soft, ETA]))]
    ends = np.array([pt[part].min() for part in np.array_split(soft, n_slices)])
    lowest = float(ends.min())
    softest = np.sort(pt[soft])
    # an edge has about as many jets just above it as further up; a smooth fall has few
    width = 0.5 * (float(softest[-1]) - lowest)
    near, far = (int(((softest >= low) & (softest < low + width)).sum()) for low in (lowest, lowest + width))
    spacing = float(softest[LEAST] - lowest) / LEAST
    return _Seen(lowest, float((ends - lowest).mean()) / lowest, spacing, near > 0.7 * far)


def _rounded(seen: _Seen) -> float:
    """Return the roundest threshold compatible with the softest jet and the density of jets."""
    for step in STEPS:
        near = round(seen.lowest / step) * step
        if -ROUNDING * near <= seen.lowest - near <= 5.0 * seen.spacing + ROUNDING * near and near > 0.0:
            return round(near, 2)
    return float(f"{seen.lowest:.5g}")
