"""Cluster particles to jets with FastJet, and compute their conditioning variables as Delphes does."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from coffea_iqn.generation.pythia import GLUON, Particles
from coffea_iqn.jets.constituents import Constituents, subjettiness
from coffea_iqn.jets.features import wrap_phi
from coffea_iqn.jets.prompt import CODES, kinds
from coffea_iqn.jets.table import places
from coffea_iqn.numerics.arrays import Bools, Floats, Ints

PARTON_PT_MIN = 1.0  # GeV
PARTON_ETA_MAX = 2.5
PARTS_OF_CHEF = 1024  # inverse resolution of an energy fraction in the samples
PHOTON = 22

Columns = dict[str, npt.NDArray[Any]]


def make_jets(
    particles: Particles, radius: float, pt_min: float, *, substructure: bool = False
) -> tuple[tuple[Ints, Columns], tuple[Ints, Columns]]:
    """Cluster anti-kt jets, hardest first.

    Parameters
    ----------
    particles: particles of some events.
    radius: jet radius.
    pt_min: minimum jet pt [GeV].
    substructure: whether to compute N-subjettiness.

    Returns
    -------
    Number of jets in each event, (events,), and columns of all jets:
    pt [GeV], eta, phi [rad], mass [GeV];
    partonFlavour: absolute PDG code of the heaviest quark with pt > 1 GeV and |eta| < 2.5 within the radius; otherwise
    21 for such a gluon, or 0;
    nCharged, nNeutral: number of constituents; chEF: charged energy fraction, in steps of 1/1024;
    tau1, tau2, tau3: see `jets.constituents.subjettiness`.

    Likewise counts and columns of the particles in the jets, in the order of the jets, hardest first within a jet:
    jetIdx, index of the jet in its event; pt [GeV], eta, phi [rad], mass [GeV]; pdgId.
    """
    import fastjet

    components = zip(("px", "py", "pz", "E"), particles.momentum.T, strict=True)
    vectors = ak.zip({name: ak.unflatten(one, particles.counts) for name, one in components}, with_name="Momentum4D")
    clustered = fastjet.ClusterSequence(vectors, fastjet.JetDefinition(fastjet.antikt_algorithm, float(radius)))
    jagged = clustered.inclusive_jets(pt_min)
    counts = ak.to_numpy(ak.num(jagged)).astype(np.int64)
    flat = ak.flatten(jagged)
    momentum = np.stack([ak.to_numpy(flat[name]) for name in ("px", "py", "pz", "E")], axis=1)
    event = np.repeat(np.arange(len(counts)), counts)
    pt, eta, phi = _directions(momentum)

    inside = clustered.constituent_index(pt_min)
    size = ak.to_numpy(ak.flatten(ak.num(inside, axis=2))).astype(np.int64)
    jet = np.repeat(np.arange(len(size)), size)
    first = np.cumsum(particles.counts) - particles.counts
    constituent = ak.to_numpy(ak.flatten(inside, axis=None)).astype(np.int64) + first[event[jet]]
    charged = particles.charged[constituent]
    n_charged = np.bincount(jet[charged], minlength=len(size))
    energy = particles.momentum[constituent, 3]
    charged_energy = np.bincount(jet[charged], weights=energy[charged], minlength=len(size))
    columns: Columns = {
        "pt": pt,
        "eta": eta,
        "phi": phi,
        "mass": _mass(momentum),
        "partonFlavour": _flavour(eta, phi, counts, particles, radius),
        "nCharged": n_charged,
        "nNeutral": size - n_charged,
        "chEF": np.rint(charged_energy / momentum[:, 3] * PARTS_OF_CHEF) / PARTS_OF_CHEF,
    }
    inside_momentum = particles.momentum[constituent]
    values = np.stack([*_directions(inside_momentum), np.maximum(_mass(inside_momentum), 0.0)], axis=1)
    if substructure:
        tau = subjettiness(Constituents(values, np.zeros(len(jet), dtype=np.int64), size), radius)
        columns |= {f"tau{n + 1}": tau[:, n] for n in range(tau.shape[1])}
    order = np.lexsort((-pt, event))
    rank = np.argsort(order)[jet]  # position of each particle's jet among the sorted jets
    within = np.lexsort((-values[:, 0], rank))
    of_particles: Columns = {"jetIdx": places(counts)[rank[within]]}
    of_particles |= dict(zip(("pt", "eta", "phi", "mass"), values[within].T, strict=True))
    of_particles["pdgId"] = particles.code[constituent][within]
    n_inside = np.bincount(event[jet], minlength=len(counts)).astype(np.int64)
    return (counts, {name: column[order] for name, column in columns.items()}), (n_inside, of_particles)


def prompt_particles(particles: Particles) -> tuple[tuple[Ints, Columns], tuple[Ints, Columns]]:
    """Return counts per event and columns of prompt leptons and of prompt photons, hardest first.

    These are the particles that `jets.prompt` uses, with pt [GeV], eta, phi [rad], mass [GeV] and, for leptons, pdgId.
    Leptons are bare, without added photons.
    """
    counts, momentum, code = particles.prompt_counts, particles.prompt_momentum, particles.prompt_code
    pt, eta, phi = _directions(momentum)
    columns: Columns = {"pt": pt, "eta": eta, "phi": phi, "mass": _mass(momentum)}
    kind, event = kinds(pt, eta, code), np.repeat(np.arange(len(counts)), counts)
    photon = CODES.index(PHOTON)

    def some(which: Bools, columns: Columns) -> tuple[Ints, Columns]:
        order = np.lexsort((-pt, event))
        rows = order[which[order]]
        n_found = np.bincount(event[rows], minlength=len(counts)).astype(np.int64)
        return n_found, {name: column[rows] for name, column in columns.items()}

    leptons = some((kind >= 0) & (kind != photon), {**columns, "pdgId": code})
    return leptons, some(kind == photon, columns)


def missing_momentum(particles: Particles) -> tuple[Floats, Floats]:
    """Return pt [GeV] and phi [rad] of the missing momentum of each event, (events,) each."""
    event = np.repeat(np.arange(len(particles.counts)), particles.counts)
    x, y = (-np.bincount(event, particles.momentum[:, k], minlength=len(particles.counts)) for k in (0, 1))
    return np.hypot(x, y), np.arctan2(y, x)


def _directions(momentum: Floats) -> tuple[Floats, Floats, Floats]:
    """Return pt, eta and phi."""
    px, py, pz = momentum[:, :3].T
    pt = np.hypot(px, py)
    with np.errstate(divide="ignore"):  # eta is infinite along the beam, as for photons radiated from electrons
        return pt, np.arcsinh(pz / pt), np.arctan2(py, px)


def _mass(momentum: Floats) -> Floats:
    """Return masses, negative if rounding makes the square negative, as in ROOT."""
    squared = momentum[:, 3] ** 2 - np.sum(momentum[:, :3] ** 2, axis=1)
    return np.asarray(np.copysign(np.sqrt(np.abs(squared)), squared))


def _flavour(eta: Floats, phi: Floats, counts: Ints, particles: Particles, radius: float) -> Ints:
    """Return jet flavours, (N,), as Delphes' JetFlavorAssociation, in which a gluon is lighter than any quark."""
    moving = np.hypot(particles.parton_momentum[:, 0], particles.parton_momentum[:, 1]) > PARTON_PT_MIN
    _, parton_eta, parton_phi = _directions(particles.parton_momentum[moving])
    central = np.abs(parton_eta) <= PARTON_ETA_MAX
    event = np.repeat(np.arange(len(counts)), particles.parton_counts)[moving][central]
    parton_eta, parton_phi = parton_eta[central], parton_phi[central]
    code = particles.parton_code[moving][central]
    code[code == GLUON] = 0
    n_partons = np.bincount(event, minlength=len(counts))

    # all pairs of a jet and a parton in the same event
    pairs = np.repeat(n_partons, counts)
    jet = np.repeat(np.arange(len(eta)), pairs)
    parton = places(pairs) + np.repeat(np.repeat(np.cumsum(n_partons) - n_partons, counts), pairs)
    turn = wrap_phi(phi[jet] - parton_phi[parton])
    near = (eta[jet] - parton_eta[parton]) ** 2 + turn**2 <= radius**2
    heaviest = np.full(len(eta), -1, dtype=np.int64)
    np.maximum.at(heaviest, jet[near], code[parton[near]])
    return np.select([heaviest < 0, heaviest == 0], [0, GLUON], heaviest)
