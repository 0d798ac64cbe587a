"""Conditioning variables and targets that depend on the contents of calorimeter cells.

These are the momenta of the tracks that share a cell, and the energy in the cell in excess of the tracks, from which
neutral particles are made. All functions work on flat arrays.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from coffea_iqn.jets.table import hardest_first, places
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints, Singles
from coffea_iqn.numerics.compiling import kernel
from coffea_iqn.numerics.double import exps, log, logs, write_logs
from coffea_iqn.particles.calorimeter import NO_CELL, Hits
from coffea_iqn.particles.columns import SOFT, Incoming, edges
from coffea_iqn.particles.decays import N_CHARGED

N_MOMENTUM, N_SHARE, N_CELL = 24, 27, 16  # numbers of columns of the functions below
LOGARITHMS = (4, 5, 6, 7, 9, 10, 14, 15)  # columns of a cell that are logarithms
MOST = 8.0  # in units of the root of a cell's energy [GeV]: a greater excess over expectation has another origin
DEVIATION = 1.0  # GeV, added to energies whose root is the unit of excesses
AT_ONCE = 256  # cells at a time, so that intermediate results stay in the CPU cache
LEAST = 1e-6  # GeV, below the energy of any particle, to keep numbers positive


class Shared(NamedTuple):
    """The contents of calorimeter cells: energies [GeV] and number of tracks in each, (C,).

    Attributes
    ----------
    found, lost, neutral: energy of charged particles with and without a track, and of neutral particles.
    gone: energy of particles that probably originate behind the detectors; not included in the other energies.
    away: energy of particles that originate away from the beam, and may hit another cell; included in another energy.
    drawn, seen: for the tracks drawn so far, the energy of their particles, and of the tracks.
    together: energy of all tracks; undefined until it is drawn.
    tracks: number of charged particles with a track.
    """

    found: Doubles
    lost: Doubles
    neutral: Doubles
    gone: Doubles
    away: Doubles
    drawn: Doubles
    seen: Doubles
    together: Doubles
    tracks: Ints

    @classmethod
    def of(cls, incoming: Incoming, has_track: Bools, gone: Bools, away: Bools) -> Shared:
        """Return the contents before any track is drawn."""
        is_charged = incoming.charge != 0
        parts = (has_track, is_charged & ~has_track & ~gone, ~is_charged & ~gone, gone, away & ~gone)
        found, lost, neutral, lacking, moved = (incoming.in_cells(np.flatnonzero(part)) for part in parts)
        cell = incoming.hits.cell[has_track]
        tracks = np.bincount(cell[cell != NO_CELL], minlength=len(found))
        drawn, seen, together = np.zeros((3, len(found)))
        return cls(found, lost, neutral, lacking, moved, drawn, seen, together, tracks)

    def with_all(self, incoming: Incoming, hardest: Ints, ratio: Doubles) -> Shared:
        """Set the energy of all tracks in each cell, given its ratio to that of their particles, (K,).

        hardest: row of the particle of the hardest track in each cell, (K,).
        """
        of_cells = np.zeros_like(self.found)
        cell = incoming.hits.cell[hardest]
        of_cells[cell[cell != NO_CELL]] = ratio[cell != NO_CELL]
        return self._replace(together=self.found * of_cells)

    def with_tracks(self, incoming: Incoming, rows: Ints, ratio: Doubles) -> Shared:
        """Add drawn tracks of the particles in these rows, with a ratio of track to particle momentum, (K,).

        No two of them share a cell.
        """
        cell = incoming.hits.cell[rows]
        energy, meet = incoming.hits.energy[rows], cell != NO_CELL
        drawn, seen = self.drawn.copy(), self.seen.copy()
        drawn[cell[meet]] += energy[meet]
        seen[cell[meet]] += (energy * ratio)[meet]
        return self._replace(drawn=drawn, seen=seen)


def rounds(incoming: Incoming, has_track: Bools) -> list[tuple[Ints, Bools]]:
    """Divide tracks into rounds, one track per cell and round, hardest first; those without a cell are in the first.

    Return the rows of the tracks of each round, and whether each is the last of its cell, (K,) each.
    """
    rows = np.flatnonzero(has_track)
    cell = incoming.hits.cell[rows]
    meets, alone = rows[cell != NO_CELL], rows[cell == NO_CELL]
    cell = cell[cell != NO_CELL]
    counts = np.bincount(cell, minlength=len(incoming.hits.jet))
    meets = meets[hardest_first(incoming.particles.values[meets], cell, meets, counts)]
    place, of_cell = places(counts), np.repeat(counts, counts)
    made = []
    for k in range(int(counts.max(initial=min(len(alone), 1)))):
        some = np.flatnonzero(place == k)
        of_round, last = meets[some], of_cell[some] == k + 1
        if k == 0:
            of_round, last = np.concatenate([of_round, alone]), np.concatenate([last, np.ones(len(alone), dtype=bool)])
        order = np.argsort(of_round)
        made.append((of_round[order], last[order]))
    return made


def track_columns(incoming: Incoming, rows: Ints, charged: Singles, shared: Shared, n_columns: int) -> Singles:
    """Return the conditioning variables of the momenta of tracks, (K, n_columns).

    With `N_MOMENTUM`, those of the summed momentum of the tracks in a cell: `charged_columns` of the particle of the
    hardest track, and the contents of its cell; the latter are zero for particles that hit no cell. With `N_SHARE`,
    those of the momentum of a track given that sum: also the energy already drawn in the cell, the excess of all tracks
    over their particles, and the ratio of tracks to particles among those not drawn yet.

    Parameters
    ----------
    incoming: particles on their way into the detector.
    rows: row of the particle of each track, (K,).
    charged: `charged_columns` of all particles.
    shared: contents of the cells.
    """
    out = np.zeros((len(rows), n_columns), dtype=np.float32)
    _see_tracks(rows, charged, incoming.hits, shared, out)
    return out


class Left(NamedTuple):
    """Energies [GeV] that determine the next track in each cell, (K,) each.

    Attributes
    ----------
    energy: energy of the particle of the track.
    particles, tracks: energy of the particles and of the tracks in the cell not drawn yet, including this one.
    """

    energy: Doubles
    particles: Doubles
    tracks: Doubles

    @classmethod
    def of(cls, incoming: Incoming, rows: Ints, shared: Shared) -> Left:
        """Return the energies for the tracks in these rows."""
        cell = incoming.hits.cell[rows]
        particles, tracks = shared.found[cell] - shared.drawn[cell], shared.together[cell] - shared.seen[cell]
        return cls(incoming.hits.energy[rows], particles, tracks)

    def targets(self, ratio: Doubles) -> Doubles:
        """Return targets (K,): log of a track's momentum ratio to its particle, over that of the remaining tracks.

        A common effect of the calorimeter on all tracks in a cell cancels.
        """
        rest = np.maximum(self.tracks - self.energy * ratio, LEAST) / np.maximum(self.particles - self.energy, LEAST)
        return logs(ratio / rest)

    def of_targets(self, targets: Floats) -> Doubles:
        """Invert `targets`; for any target, some energy is left for the other tracks."""
        of_others = np.maximum(self.particles - self.energy, LEAST)
        odds = exps(np.ascontiguousarray(targets, dtype=np.float64)) * self.energy / of_others
        return np.asarray(self.tracks * odds / (1.0 + odds) / self.energy)


@kernel
def _see_tracks(rows: Ints, charged: Singles, hits: Hits, shared: Shared, out: Singles) -> None:
    for k in range(len(rows)):
        i, row = rows[k], out[k]
        for c in range(N_CHARGED):
            row[c] = charged[i, c]
        c, e = hits.cell[i], hits.energy[i]
        row[18] = log(e)
        if c == NO_CELL:
            continue
        row[19] = 1.0
        row[20] = log((max(shared.found[c] - shared.drawn[c] - e, 0.0) + SOFT) / e)
        row[21] = log((shared.lost[c] + SOFT) / e)
        row[22] = log((shared.neutral[c] + SOFT) / e)
        row[23] = log(float(shared.tracks[c]))
        if out.shape[1] > N_MOMENTUM:
            row[24] = log((shared.drawn[c] + SOFT) / e)
            row[25] = (shared.together[c] - shared.found[c]) / math.sqrt(shared.found[c] + DEVIATION)
            left, of_particles = shared.together[c] - shared.seen[c], shared.found[c] - shared.drawn[c]
            row[26] = log(max(left, LEAST) / max(of_particles, LEAST))


def cell_columns(incoming: Incoming, gone: Bools, shared: Shared) -> Singles:
    """Return the conditioning variables of the energy in a cell in excess of its tracks, (C, 16).

    Parameters
    ----------
    incoming: particles on their way into the detector.
    gone: which of them originate behind the detectors, (M,).
    shared: contents of the cells, after all tracks are drawn.
    """
    hits, n_cells = incoming.hits, len(incoming.hits.jet)
    out = np.zeros((n_cells, N_CELL), dtype=np.float32)
    rows = np.flatnonzero((incoming.charge == 0) & (hits.cell != NO_CELL) & ~gone)
    hardest = np.zeros(n_cells)
    np.maximum.at(hardest, hits.cell[rows], hits.energy[rows])
    _see_cells(hits, shared, hardest, np.bincount(hits.cell[rows], minlength=n_cells), out)
    return out


@kernel
def _see_cells(hits: Hits, shared: Shared, hardest: Doubles, neutrals: Ints, out: Singles) -> None:
    asked = np.empty((len(LOGARITHMS), AT_ONCE))
    for start in range(0, len(out), AT_ONCE):
        n = min(AT_ONCE, len(out) - start)
        for t in range(n):
            c = start + t
            row, eta = out[c], hits.low[c, 0] + 0.5 * hits.width[c, 0]
            every = shared.found[c] + shared.lost[c] + shared.neutral[c]
            excess, root = every - shared.seen[c], math.sqrt(every + DEVIATION)
            edges(eta, row, 0)
            asked[0, t] = every + SOFT
            asked[1, t] = (shared.neutral[c] + SOFT) / (every + SOFT)
            asked[2, t] = (shared.lost[c] + SOFT) / (every + SOFT)
            asked[3, t] = (shared.seen[c] + SOFT) / (every + SOFT)
            row[8] = excess / root
            asked[4, t] = max(excess, 0.0) + SOFT
            asked[5, t] = (hardest[c] + SOFT) / (shared.neutral[c] + SOFT)
            row[11], row[12] = min(neutrals[c], 4), min(shared.tracks[c], 4)
            row[13] = (shared.found[c] - shared.seen[c]) / root
            asked[6, t] = (shared.gone[c] + SOFT) / (every + SOFT)
            asked[7, t] = (shared.away[c] + SOFT) / (every + SOFT)
        write_logs(asked[:, :n], LOGARITHMS, out[start : start + n])


class Expected(NamedTuple):
    """What the contents of cells say of the energy [GeV] left in them, (K,) each.

    Attributes
    ----------
    excess: expectation, the excess of particles over tracks.
    root: root of the cell's energy, to which the resolution of a calorimeter is proportional.
    every, columns: energy of all particles, and the `cell_columns`, (K, 16).
    """

    excess: Doubles
    root: Doubles
    every: Doubles
    columns: Singles

    @classmethod
    def of(cls, columns: Singles) -> Expected:
        """Derive the expectation from `cell_columns`."""
        every = exps(columns[:, 4].astype(np.float64))
        root = np.sqrt(every - SOFT + DEVIATION)
        return cls(columns[:, 8].astype(np.float64) * root, root, every, columns)

    def targets(self, energy: Floats | float) -> Doubles:
        """Return targets (K,) for energies [GeV]: arsinh of the difference to the expectation, in units of the root.

        The arsinh compresses the tails.
        """
        x = (energy - self.excess) / self.root
        size = np.abs(x)
        return np.asarray(np.where(x < 0.0, -1.0, 1.0) * logs(size + np.sqrt(size * size + 1.0)))

    def of_targets(self, targets: Floats) -> Doubles:
        """Invert `targets`."""
        grown = exps(np.ascontiguousarray(targets, dtype=np.float64))
        return self.excess + self.root * 0.5 * (grown - 1.0 / grown)

    def least(self, least: tuple[float, float]) -> Doubles:
        """Return the least energy [GeV], (K,): an absolute minimum, and one in roots of the cell's energy."""
        return np.maximum(least[0], least[1] * self.root)

    @property
    def most(self) -> Doubles:
        """The greatest energy [GeV], (K,); more has another origin, see `matching.origins_of`."""
        # neutral, lost and gone
        parts = [self.every * exps(self.columns[:, k].astype(np.float64)) for k in (5, 6, 14)]
        return np.asarray(np.maximum(parts[0] + parts[1] + parts[2], self.excess) + MOST * self.root)
