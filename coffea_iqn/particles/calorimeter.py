"""Calorimeter cells, and the propagation of particles to them through the magnetic field.

The geometry is that of Delphes' CMS card (J. de Favereau et al., JHEP 02 (2014) 057; `delphes_card_CMS.tcl`): its
field, the cylinder that the field fills, and the edges of its cells. The response of the cells is not modelled here.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from coffea_iqn.jets.constituents import Constituents
from coffea_iqn.jets.features import TOWER_EDGES, TOWERS_IN_PHI
from coffea_iqn.numerics.arrays import Doubles, Ints
from coffea_iqn.numerics.compiling import kernel, part
from coffea_iqn.numerics.double import HALF_TURN, TURN, arctan2, exp, log, sine_and_cosine, wrapped

FIELD = 3.8  # tesla, along the beam
RADIUS, HALF_LENGTH = 1.29, 3.0  # m, of the cylinder filled by the field
BEND = 0.299792458 * FIELD  # GeV/m: pt divided by this is the radius of curvature of a track
MOST_ETA = 20.0

PION, KAON, PROTON, ELECTRON, MUON, PHOTON, NEUTRAL, INVISIBLE = range(8)
"""Species of gen particles, distinguished by the detector response or the mass."""
CHARGED = 5  # species below this are charged
SPECIES = {211: PION, 321: KAON, 2212: PROTON, 11: ELECTRON, 13: MUON, 22: PHOTON} | dict.fromkeys(
    (12, 14, 16), INVISIBLE
)
SPECIES |= dict.fromkeys((3112, 3222, 3312, 3334), PROTON)  # charged hyperons that reach the detector
MASSES = np.array(
    [0.13957, 0.49368, 0.93827, 0.000511, 0.10566, 0.0, 0.497614]
)  # GeV, by species; that of a K_L for neutral hadrons

CRYSTAL, TOWER = 0, 1  # electromagnetic and hadronic calorimeter
NO_CELL = -1
CRYSTAL_STEP = 0.0174  # in |eta|; a degree in phi
CRYSTAL_EDGES = np.concatenate([CRYSTAL_STEP * np.arange(87), 1.4964 + CRYSTAL_STEP * np.arange(1, 85)])
CRYSTALS_IN_PHI = 360
EDGES = np.stack([CRYSTAL_EDGES, np.pad(TOWER_EDGES, (0, len(CRYSTAL_EDGES) - len(TOWER_EDGES)), mode="edge")])
N_EDGES = np.array([len(CRYSTAL_EDGES), len(TOWER_EDGES)])
FINE = 128  # parts of a unit of |eta| for which `FIRST` has the index of the first cell
FIRST = np.stack(
    [
        (np.searchsorted(edges[:n], np.arange(int(FINE * TOWER_EDGES[-1])) / FINE, side="right") - 1).clip(0, n - 2)
        for edges, n in zip(EDGES, N_EDGES, strict=True)
    ]
)
_PHI_EDGES = np.array([edge for edge, _ in TOWERS_IN_PHI])
_PHI_TOWERS = np.array([n for _, n in TOWERS_IN_PHI])
IN_PHI = np.full((2, EDGES.shape[1]), CRYSTALS_IN_PHI)
IN_PHI[TOWER, : len(TOWER_EDGES)] = _PHI_TOWERS[np.searchsorted(_PHI_EDGES, TOWER_EDGES + 1e-9, side="right")]
PHI_CELLS = 512  # more than the number of cells in phi; used in the keys of cells
MIXED = 0x9E3779B1  # multiplies keys of cells, so that neighbours get distant places in a table


def species_of(code: Ints) -> Ints:
    """Return the species for PDG codes, (M,)."""
    code = np.abs(code)
    out = np.full(len(code), NEUTRAL)
    for known, species in SPECIES.items():
        out[code == known] = species
    return out


class Hits(NamedTuple):
    """The calorimeter cells hit by the particles of jets.

    Attributes
    ----------
    energy: energy of each particle [GeV], (M,).
    cell: index of the cell hit by each particle, −1 for none, (M,).
    jet, calorimeter: jet and calorimeter of each cell, (C,).
    low, width: lower edges and widths of each cell in eta and phi, (C, 2).
    counts: number of cells of each jet, (N,).
    """

    energy: Doubles
    cell: Ints
    jet: Ints
    calorimeter: Ints
    low: Doubles
    width: Doubles
    counts: Ints

    @property
    def centre(self) -> Doubles:
        """Eta and phi of the centre of each cell, (C, 2)."""
        return self.low + 0.5 * self.width


def hits_of(particles: Constituents, species: Ints, charge: Ints) -> Hits:
    """Find the cells hit by particles; cells are grouped by jet, in the order of the first particle that hits them.

    Parameters
    ----------
    particles: particles of the jets, which originate from the centre of the detector.
    species, charge: species and charge of each particle, (M,).
    """
    n = len(species)
    mass = np.append(MASSES, 0.0)[species]
    energy, places = np.empty(n), np.empty((2, n))
    _reach(np.ascontiguousarray(particles.values.T, dtype=np.float64), mass, charge, energy, places)
    cell, jet, calorimeter = np.empty((3, n), dtype=np.int64)
    low, width = np.empty((n, 2)), np.empty((n, 2))
    hits = Hits(energy, cell, jet, calorimeter, low, width, np.zeros(len(particles.counts), dtype=np.int64))
    m = _meet(places, particles.counts, species, hits)
    return hits._replace(jet=jet[:m], calorimeter=calorimeter[:m], low=low[:m], width=width[:m])


@kernel
def _reach(values: Doubles, mass: Doubles, charge: Ints, energy: Doubles, places: Doubles) -> None:
    """Compute the energy of particles, and eta and phi at the calorimeters, (2, M); branch-free for speed.

    Charged particles follow a helix from the centre, which leaves the field through the barrel or an endcap.
    """
    pt, etas, phis = values[0], values[1], values[2]
    eta_there, phi_there = places[0], places[1]
    for i in range(len(pt)):
        eta = min(max(etas[i], -MOST_ETA), MOST_ETA)
        grown = exp(eta)
        sinh = 0.5 * (grown - 1.0 / grown)
        energy[i] = math.sqrt(pt[i] * pt[i] * (1.0 + sinh * sinh) + mass[i] * mass[i])
        diameter = 2.0 * (pt[i] / (BEND * max(abs(charge[i]), 1)))
        # half the turning angle at the barrel, if the track reaches it, and at an endcap
        sine = min(RADIUS / diameter, 1.0)
        at_barrel = arctan2(sine, math.sqrt(1.0 - sine * sine))
        at_endcap = min(HALF_LENGTH / (diameter * max(abs(sinh), 1e-6)), 1e4)
        is_barrel = (diameter > RADIUS) & (diameter * at_barrel * abs(sinh) <= HALF_LENGTH)
        half = at_barrel if is_barrel else at_endcap
        sine, _ = sine_and_cosine(half)
        slope = diameter * half * sinh / max(diameter * abs(sine), 1e-6)
        there = log(abs(slope) + math.sqrt(slope * slope + 1.0))
        turned = half if sine >= 0.0 else half + HALF_TURN
        bent = wrapped(phis[i] - (turned if charge[i] > 0 else -turned))
        eta_there[i] = eta if charge[i] == 0 else there if slope >= 0.0 else -there
        phi_there[i] = phis[i] if charge[i] == 0 else bent


@kernel
def _meet(places: Doubles, of_jet: Ints, species: Ints, hits: Hits) -> int:
    """Fill the arrays of hits about cells, which are long enough for any number; return the number of cells."""
    _, cell, jet, calorimeter, low, width, counts = hits
    keys = np.empty(len(species), dtype=np.int64)
    most, n_slots = 1, 16
    for n in of_jet:
        most = max(most, n)
    while n_slots < 2 * most:
        n_slots *= 2
    slots = np.full(n_slots, NO_CELL)  # a hash table; cells of earlier jets count as none
    first = n_cells = 0
    for j in range(len(of_jet)):
        start = n_cells
        for i in range(first, first + of_jet[j]):
            kind, eta = species[i], places[0, i]
            if kind in (MUON, INVISIBLE):
                cell[i] = NO_CELL
                continue
            which = CRYSTAL if kind in (ELECTRON, PHOTON) else TOWER
            in_eta = _row(abs(eta), which)
            n_phi = IN_PHI[which, in_eta]
            turn = wrapped(places[1, i]) / TURN + 0.5
            in_phi = min(int(turn * n_phi), n_phi - 1)
            key = ((which * 2 + (1 if eta < 0.0 else 0)) * EDGES.shape[1] + in_eta) * PHI_CELLS + in_phi
            slot = (key * MIXED >> 16) & (n_slots - 1)
            while slots[slot] >= start and keys[slots[slot]] != key:
                slot = (slot + 1) & (n_slots - 1)
            at = slots[slot]
            if at < start:
                slots[slot] = at = n_cells
                n_cells += 1
                keys[at], jet[at], calorimeter[at] = key, j, which
                width[at, 0] = EDGES[which, in_eta + 1] - EDGES[which, in_eta]
                width[at, 1] = TURN / n_phi
                low[at, 0] = EDGES[which, in_eta] if eta >= 0.0 else -EDGES[which, in_eta + 1]
                low[at, 1] = in_phi * width[at, 1] - HALF_TURN
            cell[i] = at
        counts[j] = n_cells - start
        first += of_jet[j]
    return n_cells


@part
def _row(abs_eta: float, which: int) -> int:
    """Return the index of a cell in |eta|; beyond the last edge that of the last cell."""
    position = FINE * abs_eta
    row = FIRST[which, int(position)] if position < FIRST.shape[1] else 0
    while row + 2 < N_EDGES[which] and EDGES[which, row + 1] <= abs_eta:
        row += 1
    return row
