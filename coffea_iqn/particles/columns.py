"""Input of the reconstruction of particles, and conditioning variables that depend on jets only.

All functions work on flat arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from coffea_iqn.jets.constituents import Constituents, charge_of
from coffea_iqn.jets.features import ETA, PT
from coffea_iqn.jets.pseudojets import ENERGY, kinematics
from coffea_iqn.numerics.arrays import Doubles, Floats, Ints, Singles
from coffea_iqn.numerics.compiling import kernel, part
from coffea_iqn.numerics.double import log
from coffea_iqn.particles.calorimeter import CHARGED, ELECTRON, MUON, NO_CELL, PHOTON, Hits, hits_of, species_of

N_JET, N_TAG = 10, 10  # numbers of columns of the functions below
FLAVOURS = ((5,), (4,), (1, 2, 3), (21,))  # PDG codes of partons for each flavour of jets
EDGES = ((0.5, 0.05), (1.5, 0.05), (2.5, 0.05))  # |eta| and width of transitions between parts of the detector
SOFT = 0.1  # GeV, added to energies before taking logarithms


class Incoming(NamedTuple):
    """The particles of gen jets on their way into a detector.

    Attributes
    ----------
    particles: particles of the jets.
    momenta: px, py and pz [GeV] of each particle, (3, M).
    species, charge: species and charge of each particle, (M,).
    hits: calorimeter cells that the particles hit.
    jets: gen jets, (N, 4).
    """

    particles: Constituents
    momenta: Doubles
    species: Ints
    charge: Ints
    hits: Hits
    jets: Doubles

    @classmethod
    def of(cls, particles: Constituents, jets: Floats) -> Incoming:
        """Prepare the particles of jets, (N, 4)."""
        values = np.ascontiguousarray(particles.values, dtype=np.float64)
        particles = particles._replace(values=values)
        species = species_of(particles.code)
        charge = np.where(species < CHARGED, charge_of(particles.code), 0)
        momenta, hits = kinematics(values, ENERGY + 1)[:ENERGY], hits_of(particles, species, charge)
        return cls(particles, momenta, species, charge, hits, np.ascontiguousarray(jets, dtype=np.float64))

    def in_cells(self, rows: Ints, energy: Doubles | None = None) -> Doubles:
        """Sum the energies [GeV] of the particles in these rows, or the given energies (K,), in each cell, (C,)."""
        cell = self.hits.cell[rows]
        meet = cell != NO_CELL
        weights = (self.hits.energy[rows] if energy is None else energy)[meet]
        return np.bincount(cell[meet], weights=weights, minlength=len(self.hits.jet)).astype(np.float64)

    def track_codes(self) -> Ints:
        """Return the PDG code of the track of each particle, 0 for neutral particles, (M,)."""
        code = np.where(self.species == ELECTRON, -11, np.where(self.species == MUON, -13, 211))
        return self.charge * code


@part
def edges(eta: float, row: Singles, first: int) -> None:
    row[first] = abs(eta)
    for k in range(len(EDGES)):
        row[first + 1 + k] = min(max((abs(eta) - EDGES[k][0]) / EDGES[k][1], -1.0), 1.0)


@kernel
def jet_columns(incoming: Incoming) -> Singles:
    """Return the conditioning variables of constituents that enter a jet from outside, (N, 10).

    The logarithm of pt, |eta| and its position relative to `EDGES`, mass over pt, and the logarithms of 1 + the numbers
    of charged particles, photons, neutral hadrons and all particles.
    """
    species, counts, jets = incoming.species, incoming.particles.counts, incoming.jets
    out = np.zeros((len(jets), N_JET), np.float32)
    first = 0
    for j in range(len(counts)):
        row = out[j]
        charged = photons = 0
        for i in range(first, first + counts[j]):
            charged += 1 if species[i] < CHARGED else 0
            photons += 1 if species[i] == PHOTON else 0
        first += counts[j]
        row[0] = log(jets[j, PT])
        edges(jets[j, ETA], row, 1)
        row[5] = max(jets[j, 3], 0.0) / jets[j, PT]
        row[6] = log(1.0 + charged)
        row[7] = log(1.0 + photons)
        row[8] = log(1.0 + counts[j] - charged - photons)
        row[9] = log(1.0 + counts[j])
    return out


def tag_columns(jets: Doubles, parton: Ints | None) -> Singles:
    """Return the conditioning variables of the b tag of reco jets, (N, 10).

    The logarithm of pt, |eta| and its position relative to `EDGES`, a one-hot encoding of the gen jet's flavour in
    `FLAVOURS` (all zero for other flavours), and whether the flavour is known.

    Parameters
    ----------
    jets: reco jets, (N, 4).
    parton: PDG code of the parton of each jet, or None.
    """
    out = np.zeros((len(jets), N_TAG), dtype=np.float32)
    _see_tagged(np.ascontiguousarray(jets, dtype=np.float64), out)
    if parton is not None:
        for k, codes in enumerate(FLAVOURS):
            out[:, 5 + k] = np.isin(np.abs(parton), codes)
        out[:, 9] = 1.0
    return out


@kernel
def _see_tagged(jets: Doubles, out: Singles) -> None:
    for j in range(len(jets)):
        out[j, 0] = log(jets[j, PT])
        edges(jets[j, ETA], out[j], 1)
