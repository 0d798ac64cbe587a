"""What is known of a gen jet beside its four-momentum, in four levels, each of which a file may have or lack.

flavour       of the hardest parton: gluon, light, c, b, or none (NanoAOD, Delphes)
neighbours    the other gen jets of the event: always known where the event is
composition   numbers of charged and neutral particles, charged energy fraction (Delphes)
substructure  N-subjettiness τ1, τ2, τ3 of β = 1 (files made for it)

A level takes a few columns, the last of which says 1 where it is known; where it is not, all are zero.
Flat arrays in and out; nothing of ours is known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

WIDTHS = {"flavour": 5, "neighbours": 4, "composition": 4, "substructure": 4}
N_COLUMNS = sum(WIDTHS.values())
NEIGHBOURHOOD = 1.0  # ΔR within which other jets' pt is summed
FAR = 3.0  # ΔR from which a neighbour is as good as none


def columns_of(level: str) -> slice:
    """The columns of a level."""
    before = list(WIDTHS)[: list(WIDTHS).index(level)]
    start = sum(WIDTHS[name] for name in before)
    return slice(start, start + WIDTHS[level])


def encode(n_jets: int, levels: Mapping[str, Floats]) -> npt.NDArray[np.float32]:
    """The columns of all levels, (N, 17).

    Parameters
    ----------
    n_jets: N, needed where no level is known.
    levels: by name, what `flavour`, `neighbours`, `composition` and `substructure` give.
    """
    out = np.zeros((n_jets, N_COLUMNS), dtype=np.float32)
    for name, values in levels.items():
        columns = columns_of(name)
        out[:, columns.start : columns.stop - 1] = values
        out[:, columns.stop - 1] = 1.0
    return out


def known_levels(columns: Floats) -> tuple[str, ...]:
    """The levels that are known of any jet."""
    return tuple(name for name in WIDTHS if columns[:, columns_of(name).stop - 1].any())


def select(columns: Floats, levels: Iterable[str]) -> Floats:
    """The columns of some levels, side by side."""
    return np.concatenate([columns[:, columns_of(level)] for level in levels], axis=1)


def flavour(parton: npt.NDArray[np.integer]) -> Floats:
    """Gluon, light, c or b as one of four columns, from (signed) PDG codes (N,); other codes are none of them.

    >>> flavour(np.array([21, -1, 5, 0])).argmax(axis=1).tolist()
    [0, 1, 3, 0]
    """
    code = np.abs(parton.astype(np.int64))
    return np.stack([code == 21, (code >= 1) & (code <= 3), code == 4, code == 5], axis=1).astype(np.float32)


def neighbours(jets: Floats, counts: npt.NDArray[np.integer]) -> Floats:
    """What surrounds each jet, three columns.

    The distance ΔR of the nearest other jet, at most 3, over 3; the logarithm of its pt over the jet's, within
    ±3, faded out with the distance; the logarithm of 1 + the other pt within ΔR < 1 over the jet's.

    Parameters
    ----------
    jets: all jets of the events in a row, (N, 4): pt [GeV], eta, phi [rad], mass [GeV].
    counts: jets in each event, (events,).
    """
    out = np.zeros((len(jets), 3), dtype=np.float32)
    out[:, 0] = 1.0
    pt, eta, phi = jets[:, 0], jets[:, 1], jets[:, 2]
    per_jet = np.repeat(counts, counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    one = np.repeat(np.arange(len(jets)), per_jet)
    other = np.arange(len(one)) - np.repeat(np.cumsum(per_jet) - per_jet, per_jet) + first[one]
    one, other = one[one != other], other[one != other]
    d_phi = phi[one] - phi[other]
    d_phi -= 2.0 * np.pi * np.round(d_phi / (2.0 * np.pi))
    distance = np.hypot(eta[one] - eta[other], d_phi)

    order = np.lexsort((other, distance, one))
    nearest = order[np.unique(one[order], return_index=True)[1]]
    near = np.minimum(distance[nearest], FAR) / FAR
    ratio = np.clip(np.log(pt[other[nearest]] / pt[one[nearest]]), -3.0, 3.0)
    out[one[nearest], 0] = near
    out[one[nearest], 1] = ratio * (1.0 - near)
    around = distance < NEIGHBOURHOOD
    activity = np.bincount(one[around], weights=pt[other[around]], minlength=len(jets))
    out[:, 2] = np.log1p(activity / pt)
    return out


def composition(n_charged: Floats, n_neutral: Floats, charged_fraction: Floats) -> Floats:
    """log(1 + n) of charged and neutral particles, less 2, and the charged energy fraction: (N, 3)."""
    columns = [np.log1p(n_charged) - 2.0, np.log1p(n_neutral) - 2.0, charged_fraction - 0.5]
    return np.stack(columns, axis=1).astype(np.float32)


def substructure(tau: Floats) -> Floats:
    """Log τ1, τ2/τ1 and τ3/τ2 from N-subjettiness (N, 3); ratios of zeros count as zero."""
    low = 2.0**-14  # the values' rounding in the files there are
    log_tau1 = np.log(np.maximum(tau[:, 0], low)) / 2.0 + 1.0
    ratios = [np.divide(tau[:, k], tau[:, k - 1], out=np.zeros(len(tau)), where=tau[:, k - 1] > low) for k in (1, 2)]
    return np.stack([log_tau1, *ratios], axis=1).astype(np.float32)
