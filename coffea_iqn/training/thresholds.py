"""A detector's jet scale and threshold, found in its jets: before the right scale all end at one pt, whatever |eta|."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from coffea_iqn.jets.features import ETA, PT, SCALES
from coffea_iqn.numerics.arrays import Floats

SOFT = 0.2  # fraction of the jets, the softest, in which the edge is looked for
SLICES, LEAST = 10, 30  # of |eta|, and how many soft jets each needs
EVEN = 0.01  # of the edge: how far from it the softest jets of the slices may lie, on average
CLEARER = 3.0  # times as far they lie by any other scale
STEPS = (5.0, 1.0, 0.5, 0.1, 0.05, 0.01)  # GeV, of which a threshold is a multiple
ROUNDING = 1e-4  # of pt, in files


class Edge(NamedTuple):
    """Where a detector's jets end.

    Attributes
    ----------
    scale: key of `features.SCALES`, what is done to the jets after the threshold.
    raw_pt_min: the threshold [GeV], on pt before the scale.
    """

    scale: str
    raw_pt_min: float


class _Seen(NamedTuple):
    """The end of the jets as one scale has it.

    lowest: pt before the scale of the softest jet [GeV].
    uneven: mean distance of the softest jets of slices of |eta| from it, over it.
    spacing: from one of the softest jets to the next [GeV].
    is_edge: whether jets are as dense there as above.
    """

    lowest: float
    uneven: float
    spacing: float
    is_edge: bool


def find_edge(reco: Floats, scales: Iterable[str] | None = None) -> Edge | None:
    """The scale whose undoing makes the jets end most sharply at one pt for every |eta|, and that pt.

    Parameters
    ----------
    reco: reco jets (N, 4), all that the detector has.
    scales: keys of `features.SCALES` to choose from; None for all.

    Returns
    -------
    scale and threshold; None where there are too few soft jets, no sharp end, or no scale that is clearly better.
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


def _look(reco: Floats, scale: str, n_soft: int, n_slices: int) -> _Seen:
    raw = SCALES[scale].undo(reco)
    pt = raw[:, PT]
    soft = np.argpartition(pt, n_soft)[:n_soft]
    soft = soft[np.argsort(np.abs(reco[soft, ETA]))]
    ends = np.array([pt[part].min() for part in np.array_split(soft, n_slices)])
    lowest = float(ends.min())
    softest = np.sort(pt[soft])
    # as many jets just above the end as above that: where a smooth fall ends there are few
    width = 0.5 * (float(softest[-1]) - lowest)
    near, far = (int(((softest >= low) & (softest < low + width)).sum()) for low in (lowest, lowest + width))
    spacing = float(softest[LEAST] - lowest) / LEAST
    return _Seen(lowest, float((ends - lowest).mean()) / lowest, spacing, near > 0.7 * far)


def _rounded(seen: _Seen) -> float:
    """The roundest number at which jets so dense may begin."""
    for step in STEPS:
        near = round(seen.lowest / step) * step
        if -ROUNDING * near <= seen.lowest - near <= 5.0 * seen.spacing + ROUNDING * near and near > 0.0:
            return round(near, 2)
    return float(f"{seen.lowest:.5g}")
