"""The order of jets within events."""

from __future__ import annotations

import numba as nb
import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def hardest_first(jets: npt.NDArray[np.float32], event: Ints, place: Ints, counts: Ints) -> Ints:
    """The rows of jets in the order of events, in each by pt, the greatest first, then by place: (N,).

    Parameters
    ----------
    jets: (N, 4), the first column pt.
    event: of each jet, (N,), in any order.
    place: of its gen jet, (N,).
    counts: how many jets each event has, (events,).
    """
    rows = np.empty(len(jets), dtype=np.int64)
    first = np.cumsum(counts) - counts
    n_there = np.zeros(len(counts), dtype=np.int64)
    for jet in range(len(jets)):
        start = first[event[jet]]
        at = start + n_there[event[jet]]
        n_there[event[jet]] += 1
        while at > start and _before(jets, place, jet, rows[at - 1]):
            rows[at] = rows[at - 1]
            at -= 1
        rows[at] = jet
    return rows


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _before(jets: npt.NDArray[np.float32], place: Ints, one: int, other: int) -> bool:
    pt, other_pt = jets[one, 0], jets[other, 0]
    return bool(pt > other_pt or (pt == other_pt and place[one] < place[other]))
