"""What is known of a gen jet beside its four-momentum, in levels, each of which a file may have or lack.

Of the jet:

flavour       of the hardest parton: gluon, light, s, c, b, or none (NanoAOD, Delphes)
neighbours    the other gen jets near it: always known where the event is
composition   numbers of charged and neutral particles, charged energy fraction (Delphes)
substructure  N-subjettiness τ1, τ2, τ3 of β = 1 (files made for it)

Of its event, which tell what kind of process a jet may come from:

event         how many jets, how hard, where: always known where the event is
flavours      of the other jets
missing       transverse momentum that no gen jet can have (GenMET)

A level takes a few columns, the last of which says 1 where it is known; where it is not, all are zero.
Flat arrays in and out; nothing of ours is known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

OF_JET = {"flavour": 6, "neighbours": 4, "composition": 6, "substructure": 4}
OF_EVENT = {"event": 20, "flavours": 13, "missing": 4}
WIDTHS = OF_JET | OF_EVENT
NANOAOD = ("flavour", "neighbours", *OF_EVENT)  # levels that CMS NanoAOD has
N_COLUMNS = sum(WIDTHS.values())
NEIGHBOURHOOD = 1.0  # ΔR within which other jets' pt is summed
FAR = 3.0  # ΔR from which a neighbour is as good as none
NEARLY_ALL = 0.01  # energy fractions this near to 0 or 1 are told apart
COUNTED = 20.0  # GeV, pt from which a jet counts in the event's number of jets


def columns_of(level: str) -> slice:
    """The columns of a level."""
    before = list(WIDTHS)[: list(WIDTHS).index(level)]
    start = sum(WIDTHS[name] for name in before)
    return slice(start, start + WIDTHS[level])


def encode(n_jets: int, levels: Mapping[str, Floats]) -> npt.NDArray[np.float32]:
    """The columns of all levels, (N, 57).

    Parameters
    ----------
    n_jets: N, needed where no level is known.
    levels: by name, what the functions of these names give; rows of NaN are unknown.
    """
    out = np.zeros((n_jets, N_COLUMNS), dtype=np.float32)
    for name, values in levels.items():
        columns = columns_of(name)
        known = np.asarray(np.isfinite(values).all(axis=1))
        out[:, columns.start : columns.stop - 1] = np.where(known[:, None], values, 0.0)
        out[:, columns.stop - 1] = known
    return out


def known_levels(columns: Floats) -> tuple[str, ...]:
    """The levels that are known of any jet."""
    return tuple(name for name in WIDTHS if columns[:, columns_of(name).stop - 1].any())


def select(columns: Floats, levels: Sequence[str]) -> list[Floats]:
    """The columns of some levels, (N, n) each."""
    if tuple(levels) == tuple(WIDTHS):
        return [columns]
    return [columns[:, columns_of(level)] for level in levels]


def flavour(parton: npt.NDArray[np.integer]) -> Floats:
    """Gluon, light, s, c or b as one of five columns, from (signed) PDG codes (N,); other codes are none of them.

    >>> flavour(np.array([21, -1, 5, 0])).argmax(axis=1).tolist()
    [0, 1, 4, 0]
    """
    code = np.abs(parton.astype(np.int64))
    kinds = [code == 21, (code == 1) | (code == 2), code == 3, code == 4, code == 5]
    return np.stack(kinds, axis=1).astype(np.float32)


def flavours(parton: npt.NDArray[np.integer], jets: Floats, counts: npt.NDArray[np.integer]) -> Floats:
    """Of the other jets of the event, (N, 12): gluon, light or s, c, b.

    As log(1 + n) how many there are of each; which the hardest one is, and which the next.

    Parameters
    ----------
    parton: codes as of `flavour`.
    jets, counts: as of `neighbours`.
    """
    gluon, light, s, c, b = flavour(parton).T
    own = np.stack([gluon, light + s, c, b], axis=1)
    _, *others = _hardest_others(jets, counts)
    columns = [np.log1p(_sums(own, counts) - own)]
    columns += [np.where(exists[:, None], own[other], 0.0) for other, exists in others]
    return np.concatenate(columns, axis=1).astype(np.float32)


def missing(jets: Floats, counts: npt.NDArray[np.integer], pt: Floats, phi: Floats) -> Floats:
    """Missing transverse momentum, on its own, over the jet's, and the cosine of its angle with the jet: (N, 3).

    Parameters
    ----------
    jets, counts: as of `neighbours`.
    pt, phi: of the missing momentum [GeV, rad], (events,).
    """
    pt, phi = np.repeat(pt, counts), np.repeat(phi, counts)
    columns = [np.log1p(pt / 10.0), np.log1p(pt / jets[:, 0]), np.cos(phi - jets[:, 2])]
    return np.stack(columns, axis=1).astype(np.float32)


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
    """log(1 + n) of charged and neutral particles, less 2, and the charged energy fraction: (N, 5).

    The fraction comes as it is and as the logarithms of what is charged and what is not: a jet that is charged but for
    a hundredth, as one made of a lepton, is measured quite unlike one that is charged but for a tenth.
    """
    charged, neutral = (np.log(np.clip(f, 0.0, 1.0) + NEARLY_ALL) for f in (charged_fraction, 1.0 - charged_fraction))
    columns = [
        np.log1p(n_charged) - 2.0,
        np.log1p(n_neutral) - 2.0,
        charged_fraction - 0.5,
        charged / 2.0 + 0.5,
        neutral / 2.0 + 0.5,
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def substructure(tau: Floats) -> Floats:
    """Log τ1, τ2/τ1 and τ3/τ2 from N-subjettiness (N, 3); ratios of zeros count as zero."""
    low = 2.0**-14  # the values' rounding in the files there are
    log_tau1 = np.log(np.maximum(tau[:, 0], low)) / 2.0 + 1.0
    ratios = [np.divide(tau[:, k], tau[:, k - 1], out=np.zeros(len(tau)), where=tau[:, k - 1] > low) for k in (1, 2)]
    return np.stack([log_tau1, *ratios], axis=1).astype(np.float32)


def event(jets: Floats, counts: npt.NDArray[np.integer]) -> Floats:
    """The event as a jet of it sees it: (N, 19).

    Its scalar sum of jet pt, alone and over the jet's; its number of jets above 20 GeV; the vector sum of pt over
    the scalar one; the jet's place by pt; the mass of all jets. Then, of the hardest other jet and of the next:
    the mass of the pair, the angles between, the ratio of pt, its own mass over its pt; the mass of those two;
    whether there are any.

    Parameters
    ----------
    jets, counts: as of `neighbours`.
    """
    pt, eta, phi, mass = (jets[:, k].astype(np.float64) for k in range(4))
    rank, *others = _hardest_others(jets, counts)
    momentum = _momenta(jets)
    total = _sums(momentum, counts)
    ht = _sums(pt[:, None], counts)[:, 0]
    n_hard = _sums((pt > COUNTED).astype(np.float64)[:, None], counts)[:, 0]
    columns = [
        np.log(ht) - 4.0,
        np.log(ht / pt),
        np.log1p(n_hard),
        np.hypot(total[:, 0], total[:, 1]) / ht,
        np.minimum(rank, 5) / 5.0,
        _log_mass(total),
    ]
    for other, exists in others:
        d_phi = phi - phi[other]
        d_phi = np.abs(d_phi - 2.0 * np.pi * np.round(d_phi / (2.0 * np.pi)))
        d_eta = np.minimum(np.abs(eta - eta[other]), 6.0)
        pair = [
            _log_mass(momentum + momentum[other]),
            d_phi / np.pi,
            d_eta / 3.0,
            np.log(pt[other] / pt),
            np.log((np.maximum(mass[other], 0.0) + 0.5) / pt[other]) + 2.0,
        ]
        columns += [np.where(exists, column, 0.0) for column in pair]
    (hardest, one), (next_one, two) = others
    columns.append(np.where(two, _log_mass(momentum[hardest] + momentum[next_one]), 0.0))
    return np.stack([*columns, one, two], axis=1).astype(np.float32)


class _Others(NamedTuple):
    """Of each jet: its place in its event by pt, from 0; another jet, by its row, and whether there is one."""

    rank: npt.NDArray[np.int64]
    hardest: tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]
    next: tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]


def _hardest_others(jets: Floats, counts: npt.NDArray[np.integer]) -> _Others:
    """The hardest other jet of the event, and the next, (N,) each."""
    n_jets = len(jets)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    which = np.repeat(np.arange(len(counts)), counts)
    by_pt = np.lexsort((-jets[:, 0], which))
    rank = np.empty(n_jets, dtype=np.int64)
    rank[by_pt] = np.arange(n_jets) - first
    places = (np.where(rank <= k, k + 1, k) for k in (0, 1))
    found = ((by_pt[np.minimum(first + p, n_jets - 1)], p < np.repeat(counts, counts)) for p in places)
    return _Others(rank, *found)


def _sums(values: Floats, counts: npt.NDArray[np.integer]) -> Floats:
    """The sum of values (N, n) over the jets of each one's event, (N, n)."""
    which = np.repeat(np.arange(len(counts)), counts)
    sums = [np.bincount(which, weights=column, minlength=len(counts)) for column in values.T]
    return np.asarray(np.stack(sums, axis=1)[which])


def _momenta(jets: Floats) -> Floats:
    """(px, py, pz, E) of jets, (N, 4)."""
    pt, eta, phi, mass = jets.T.astype(np.float64)
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(np.clip(eta, -10.0, 10.0))
    return np.stack([px, py, pz, np.sqrt(px**2 + py**2 + pz**2 + np.maximum(mass, 0.0) ** 2)], axis=1)


def _log_mass(momentum: Floats) -> Floats:
    """Log of the invariant mass, less 4: about zero for two jets of the softest kind."""
    squared = momentum[:, 3] ** 2 - (momentum[:, :3] ** 2).sum(axis=1)
    return np.asarray(0.5 * np.log(np.maximum(squared, 0.0) + 1.0) - 4.0)
