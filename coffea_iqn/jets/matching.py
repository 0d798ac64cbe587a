"""Matching of gen and reco jets by ΔR, and jets close to others, on flat arrays with the number of jets per event."""

from __future__ import annotations

import math

import numpy as np

from coffea_iqn.jets.features import ETA, PHI, PT
from coffea_iqn.jets.table import JetTable
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints
from coffea_iqn.numerics.compiling import kernel, part
from coffea_iqn.numerics.double import wrapped

CONE = {0.4: 0.25, 0.5: 0.35}  # default matching distance ΔR by jet radius R


def default_cone(radius: float) -> float:
    """Return the default matching distance for jets of radius R: 0.25 for R = 0.4, 0.35 for 0.5, otherwise 0.65 R."""
    return CONE.get(round(radius, 3), 0.65 * radius)


def match_jets(
    gen_eta: Floats,
    gen_phi: Floats,
    gen_counts: Ints,
    reco_eta: Floats,
    reco_phi: Floats,
    reco_counts: Ints,
    *,
    cone: float,
) -> Ints:
    """Find the reco jet of each gen jet: nearest pairs first, each jet used at most once.

    Parameters
    ----------
    gen_eta, gen_phi: gen jets of all events, concatenated, (N,); phi in rad.
    gen_counts: number of gen jets in each event, (events,).
    reco_eta, reco_phi, reco_counts: the same for reco jets, (M,) and (events,).
    cone: ΔR = sqrt(Δη² + Δφ²) below which a pair may match.

    Returns
    -------
    Flat index of the reco jet of each gen jet, −1 if there is none, (N,).

    Raises
    ------
    ValueError: when lengths do not agree.

    >>> gen_eta, reco_eta = np.array([0.0, 0.2]), np.array([0.15, 3.0])
    >>> zero = np.zeros(2)
    >>> match_jets(gen_eta, zero, np.array([2]), reco_eta, zero, np.array([2]), cone=0.4).tolist()
    [-1, 0]
    """
    eta, phi, other_eta, other_phi = (
        np.ascontiguousarray(c, dtype=np.float64) for c in (gen_eta, gen_phi, reco_eta, reco_phi)
    )
    counts, other_counts = (np.asarray(c, dtype=np.int64) for c in (gen_counts, reco_counts))
    sizes = [len(counts), int(counts.sum()), int(other_counts.sum())]
    every = zip(sizes, ([len(other_counts)], [len(eta), len(phi)], [len(other_eta), len(other_phi)]), strict=True)
    got = [next((n for n in lengths if n != size), size) for size, lengths in every]
    if sizes != got:
        expected, found = (f"{n} events, {n_gen} gen jets and {n_reco} reco jets" for n, n_gen, n_reco in (sizes, got))
        msg = f"match_jets: expected arrays that agree with the counts, {expected}, got {found}"
        raise ValueError(msg)  # compiled code would read out of bounds
    match: Ints = _match(eta, phi, other_eta, other_phi, counts, other_counts, cone**2)
    return match


def match_tables(gen: JetTable, reco: JetTable, cone: float) -> tuple[Ints, Ints]:
    """Return the rows of the gen jets that match a reco jet, (M,), and of these reco jets, (M,); see `match_jets`."""
    (gen_eta, gen_phi), (reco_eta, reco_phi) = (table.values[:, ETA : PHI + 1].T for table in (gen, reco))
    match = match_jets(gen_eta, gen_phi, gen.counts, reco_eta, reco_phi, reco.counts, cone=cone)
    rows = np.flatnonzero(match >= 0)
    return rows, match[rows]


@kernel
def _match(
    gen_eta: Doubles,
    gen_phi: Doubles,
    reco_eta: Doubles,
    reco_phi: Doubles,
    gen_counts: Ints,
    reco_counts: Ints,
    cone2: float,
) -> Ints:
    match = np.full(len(gen_eta), -1, dtype=np.int64)
    taken = np.zeros(len(reco_eta), dtype=np.bool_)
    nearest, distance2 = np.empty_like(match), np.empty(len(match))  # for each gen jet, among the free reco jets
    gen_end = reco_end = 0
    for event in range(len(gen_counts)):
        gen_start, gen_end = gen_end, gen_end + gen_counts[event]
        reco = reco_end, reco_end + reco_counts[event]
        reco_end = reco[1]
        for i in range(gen_start, gen_end):
            nearest[i], distance2[i] = _nearest(gen_eta[i], gen_phi[i], reco_eta, reco_phi, taken, reco, cone2)
        for _ in range(gen_start, gen_end):
            best = gen_start
            for i in range(gen_start, gen_end):
                if distance2[i] < distance2[best]:  # the first of ties
                    best = i
            if not distance2[best] < cone2:
                break
            j = nearest[best]
            match[best], taken[j], distance2[best] = j, True, np.inf
            for i in range(gen_start, gen_end):
                if nearest[i] == j and match[i] < 0:
                    nearest[i], distance2[i] = _nearest(gen_eta[i], gen_phi[i], reco_eta, reco_phi, taken, reco, cone2)
    return match


@part
def _nearest(
    eta: float, phi: float, reco_eta: Doubles, reco_phi: Doubles, taken: Bools, reco: tuple[int, int], cone2: float
) -> tuple[int, float]:
    """Return the nearest free reco jet of a range, the first of ties, and (ΔR)²; −1 and infinity if there is none."""
    nearest, least = -1, np.inf
    for j in range(*reco):
        d_eta = eta - reco_eta[j]
        d_phi = phi - reco_phi[j]
        d_phi = wrapped(d_phi)
        distance2 = d_eta * d_eta + d_phi * d_phi
        if distance2 < min(cone2, least) and not taken[j]:
            nearest, least = j, distance2
    return nearest, least


@kernel
def nearest(jets: Floats, event: Ints, gen: Floats, counts: Ints) -> tuple[Ints, Doubles]:
    """Return the row of the gen jet nearest to each jet, and ΔR; −1 and infinity if the event has no gen jet.

    Parameters
    ----------
    jets, event: jets, (M, 4), and the index of the event of each, (M,).
    gen, counts: gen jets of all events, concatenated, (N, 4), and the number of gen jets in each event, (events,).
    """
    row, distance = np.full(len(jets), -1, dtype=np.int64), np.full(len(jets), np.inf)
    ends = np.cumsum(counts)
    for jet in range(len(jets)):
        stop = ends[event[jet]]
        for other in range(stop - counts[event[jet]], stop):
            d_eta = np.float64(jets[jet, ETA]) - np.float64(gen[other, ETA])
            d_phi = wrapped(np.float64(jets[jet, PHI]) - np.float64(gen[other, PHI]))
            this = math.sqrt(d_eta * d_eta + d_phi * d_phi)
            if this < distance[jet]:
                row[jet], distance[jet] = other, this
    return row, distance


@kernel
def crowded(limit: float, jets: Floats, there: Bools, counts: Ints, events: Ints) -> Bools:
    """Return which jets have a harder jet of their event (or an earlier one of equal pt) within a distance ΔR, (N,).

    Parameters
    ----------
    limit: greatest ΔR.
    jets, there: jets of all events, concatenated, (N, 4), and which of them exist, (N,).
    counts: number of jets in each event, (events,).
    events: indices of the events to look at; jets of others are False.
    """
    out, ends = np.zeros(len(jets), dtype=np.bool_), np.cumsum(counts)
    for event in events:
        stop = ends[event]
        for i in range(stop - counts[event], stop):
            for j in range(i + 1, stop):
                d_eta = np.float64(jets[i, ETA]) - np.float64(jets[j, ETA])
                if abs(d_eta) < limit and there[i] and there[j]:  # skips most pairs, before the costly angle
                    d_phi = wrapped(np.float64(jets[i, PHI]) - np.float64(jets[j, PHI]))
                    if d_eta * d_eta + d_phi * d_phi < limit * limit:
                        out[i if jets[i, PT] < jets[j, PT] else j] = True
    return out


@kernel
def any_within(limit: float, jets: Floats, event: Ints, others: Floats, counts: Ints) -> Bools:
    """Return whether any other jet lies within a distance ΔR of each jet, (M,).

    Parameters
    ----------
    limit: greatest ΔR.
    jets, event: jets, (M, 4), and the index of the event of each, (M,).
    others, counts: other jets of all events, concatenated, (N, 4), and the number of them in each event, (events,).
    """
    out, ends = np.zeros(len(jets), dtype=np.bool_), np.cumsum(counts)
    for jet in range(len(jets)):
        eta, phi = np.float64(jets[jet, ETA]), np.float64(jets[jet, PHI])
        stop = ends[event[jet]]
        for other in range(stop - counts[event[jet]], stop):
            d_eta = eta - np.float64(others[other, ETA])
            if abs(d_eta) < limit:  # skips most pairs, before the costly angle
                d_phi = wrapped(phi - np.float64(others[other, PHI]))
                if d_eta * d_eta + d_phi * d_phi < limit * limit:
                    out[jet] = True
                    break
    return out


@kernel
def overlapping(jets: Floats, counts: Ints, reach: float) -> tuple[Ints, Ints]:
    """Return the rows of the nearest harder and of the nearest softer jet within ΔR < reach of each jet, or −1, (N,).

    Parameters
    ----------
    jets, counts: jets of all events, (N, 4), and the number of jets in each event, (events,). Of two jets with equal
        pt, neither is harder.
    reach: greatest ΔR.
    """
    harder, softer = np.full(len(jets), -1, dtype=np.int64), np.full(len(jets), -1, dtype=np.int64)
    to_harder, to_softer = np.full(len(jets), reach * reach), np.full(len(jets), reach * reach)
    stop = 0
    for n in counts:
        start, stop = stop, stop + n
        for i in range(start, stop):
            for j in range(i + 1, stop):
                d_eta = np.float64(jets[i, ETA]) - np.float64(jets[j, ETA])
                if abs(d_eta) < reach and jets[i, PT] != jets[j, PT]:  # skips most pairs, before the costly angle
                    d_phi = wrapped(np.float64(jets[i, PHI]) - np.float64(jets[j, PHI]))
                    squared = d_eta * d_eta + d_phi * d_phi
                    hard, soft = (i, j) if jets[i, PT] > jets[j, PT] else (j, i)
                    if squared < to_harder[soft]:
                        harder[soft], to_harder[soft] = hard, squared
                    if squared < to_softer[hard]:
                        softer[hard], to_softer[hard] = soft, squared
    return harder, softer
