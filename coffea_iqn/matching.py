"""Gen-reco pairs, one to one, by distance in ΔR.

Flat arrays with the number of jets of each event go in; no knowledge of awkward, of files or of networks.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]

CONE = {0.4: 0.25, 0.5: 0.35}  # ΔR below which a reco jet of radius R belongs to a gen jet, by default


def default_cone(radius: float) -> float:
    """The matching distance for jets of radius R: below 0.25 for R = 0.4, 0.35 for 0.5, else 0.65 R."""
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
    """The reco jet of each gen jet: nearest pairs first, each jet used at most once.

    Parameters
    ----------
    gen_eta, gen_phi: gen jets of all events in a row, (N,); phi in rad.
    gen_counts: gen jets in each event, (events,).
    reco_eta, reco_phi, reco_counts: the same of reco jets, (M,) and (events,).
    cone: ΔR = sqrt(Δη² + Δφ²) below which a pair may match.

    Returns
    -------
    for each gen jet the flat index of its reco jet, −1 where there is none, (N,).

    >>> gen_eta, reco_eta = np.array([0.0, 0.2]), np.array([0.15, 3.0])
    >>> zero = np.zeros(2)
    >>> match_jets(gen_eta, zero, np.array([2]), reco_eta, zero, np.array([2]), cone=0.4).tolist()
    [-1, 0]
    """
    gen, reco = _pairs_of_each_event(gen_counts.astype(np.int64), reco_counts.astype(np.int64))
    turn = 2.0 * np.pi
    d_phi = gen_phi[gen].astype(np.float64) - reco_phi[reco]
    d_phi -= turn * np.round(d_phi / turn)
    distance2 = (gen_eta[gen].astype(np.float64) - reco_eta[reco]) ** 2 + d_phi**2
    near = distance2 < cone**2
    gen, reco, distance2 = gen[near], reco[near], distance2[near]
    order = np.lexsort((reco, gen, distance2))
    gen, reco = gen[order], reco[order]

    match = np.full(len(gen_eta), -1, dtype=np.int64)
    # A pair that comes first for both its jets is one that taking the nearest pair over and over would take:
    # no nearer pair can touch either jet. So all of them may be taken at once, until none is left.
    while len(gen):
        mutual = _first_of_each(gen) & _first_of_each(reco)
        match[gen[mutual]] = reco[mutual]
        free = ~(np.isin(gen, gen[mutual]) | np.isin(reco, reco[mutual]))
        gen, reco = gen[free], reco[free]
    return match


def _pairs_of_each_event(gen_counts: Ints, reco_counts: Ints) -> tuple[Ints, Ints]:
    """Flat indices of all (gen, reco) combinations within each event."""
    reco_per_gen = np.repeat(reco_counts, gen_counts)
    gen = np.repeat(np.arange(len(reco_per_gen)), reco_per_gen)
    first_reco = np.repeat(np.cumsum(reco_counts) - reco_counts, gen_counts)
    first_pair = np.cumsum(reco_per_gen) - reco_per_gen
    reco = np.arange(len(gen)) + np.repeat(first_reco - first_pair, reco_per_gen)
    return gen, reco


def _first_of_each(values: Ints) -> npt.NDArray[np.bool_]:
    """True where a value occurs for the first time."""
    first = np.zeros(len(values), dtype=bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first
