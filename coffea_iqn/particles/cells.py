"""What shares the cells of calorimeters: what becomes of the tracks in one, and what is left beside them.

Flat arrays in and out; no knowledge of awkward, of files or of networks.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from coffea_iqn.jets.table import hardest_first, places
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints, Singles
from coffea_iqn.numerics.compiling import kernel
from coffea_iqn.numerics.double import exps, log, logs
from coffea_iqn.particles.calorimeter import NO_CELL, Hits
from coffea_iqn.particles.columns import SOFT, Incoming, edges
from coffea_iqn.particles.decays import N_CHARGED

N_MOMENTUM, N_SHARE, N_CELL = 24, 27, 16  # columns of what follows
LOGARITHMS = (4, 5, 6, 7, 9, 10, 14, 15)  # which of a cell's columns are
MOST = 8.0  # roots of a cell's energy [GeV]: with so much more than should be left in it, what is left is another's
DEVIATION = 1.0  # GeV: excesses count in roots of energies from this on
LEAST = 1e-6  # GeV: less than any particle has, where a number has to be above 0


class Shared(NamedTuple):
    """What shares the cells of a detector: energy [GeV] in each, (C,).

    Attributes
    ----------
    found, lost, neutral: of charged particles with a track, of those without, and of neutral particles.
    gone: of what began behind all that measures, it seems; it is in none of the others.
    away: of what began away from the beam, and may be in another cell; it is in one of the others as well.
    drawn, seen: of the tracks that were drawn already, the energy of their particles, and their own.
    together: of all tracks, their own; of no meaning before that is drawn.
    tracks: how many have a track.
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

    @property
    def every(self) -> Doubles:
        """All that is there, (C,)."""
        return self.found + self.lost + self.neutral

    @classmethod
    def of(cls, incoming: Incoming, has_track: Bools, gone: Bools, away: Bools) -> Shared:
        """Before any track is drawn."""
        is_charged = incoming.charge != 0
        parts = (has_track, is_charged & ~has_track & ~gone, ~is_charged & ~gone, gone, away & ~gone)
        found, lost, neutral, lacking, moved = (incoming.in_cells(np.flatnonzero(part)) for part in parts)
        cell = incoming.hits.cell[has_track]
        tracks = np.bincount(cell[cell != NO_CELL], minlength=len(found))
        drawn, seen, together = np.zeros((3, len(found)))
        return cls(found, lost, neutral, lacking, moved, drawn, seen, together, tracks)

    def with_all(self, incoming: Incoming, hardest: Ints, ratio: Doubles) -> Shared:
        """With so much of the energy of all tracks that share a cell, (K,), given the hardest of each."""
        of_cells = np.zeros_like(self.found)
        cell = incoming.hits.cell[hardest]
        of_cells[cell[cell != NO_CELL]] = ratio[cell != NO_CELL]
        return self._replace(together=self.found * of_cells)

    def with_tracks(self, incoming: Incoming, rows: Ints, ratio: Doubles) -> Shared:
        """After tracks of particles in these rows were drawn, with so much of their momenta, (K,)."""
        energy = incoming.hits.energy[rows]
        drawn, seen = incoming.in_cells(rows), incoming.in_cells(rows, energy * ratio)
        return self._replace(drawn=self.drawn + drawn, seen=self.seen + seen)


class Round(NamedTuple):
    """Tracks of which no two share a cell: their rows, and which of them are the last of their cells, (K,) both."""

    rows: Ints
    last: Bools


def rounds(incoming: Incoming, has_track: Bools) -> list[Round]:
    """Particles with a track in rounds: in each cell the hardest first, one a round; what meets no cell is alone."""
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
        made.append(Round(of_round[order], last[order]))
    return made


def momentum_columns(incoming: Incoming, rows: Ints, charged: Singles, shared: Shared) -> Singles:
    """What the momentum of all tracks in a cell depends on, given the hardest (K,), (K, 24).

    Those of the particle of the hardest, and what shares its cell. Of what meets no cell its own alone.

    Parameters
    ----------
    incoming: particles, of which those in rows (K,) are asked.
    charged: `charged_columns` of all.
    shared: what is in their cells.
    """
    out = np.zeros((len(rows), N_MOMENTUM), dtype=np.float32)
    _see_tracks(rows, charged, incoming.hits.energy, incoming.hits.cell, shared, out)
    return out


def share_columns(incoming: Incoming, rows: Ints, charged: Singles, shared: Shared) -> Singles:
    """What the momentum of a track depends on, given that of all tracks in its cell, (K, 27).

    As `momentum_columns`; and what was drawn of the cell, what all have beyond their particles, and what is left over.
    """
    out = np.zeros((len(rows), N_SHARE), dtype=np.float32)
    _see_tracks(rows, charged, incoming.hits.energy, incoming.hits.cell, shared, out)
    return out


class Left(NamedTuple):
    """Of tracks in cells, the energy [GeV] of their particles, and what is left of all in their cells, (K,) each.

    Attributes
    ----------
    energy: of each particle.
    particles, tracks: of what was not drawn yet, with these: energy of the particles, and of the tracks.
    """

    energy: Doubles
    particles: Doubles
    tracks: Doubles

    @classmethod
    def of(cls, incoming: Incoming, rows: Ints, shared: Shared) -> Left:
        """Of tracks in these rows."""
        cell = incoming.hits.cell[rows]
        particles, tracks = (shared.found - shared.drawn)[cell], (shared.together - shared.seen)[cell]
        return cls(incoming.hits.energy[rows], particles, tracks)

    def targets(self, ratio: Doubles) -> Doubles:
        """Targets (K,) of momenta of tracks over those of their particles: logarithms of these, over the others'.

        What the calorimeter makes of all tracks in a cell is common to them, and drops out.
        """
        rest = np.maximum(self.tracks - self.energy * ratio, LEAST) / np.maximum(self.particles - self.energy, LEAST)
        return logs(ratio / rest)

    def of_targets(self, targets: Floats) -> Doubles:
        """The inverse of `targets`: whatever the targets, something is left for the others."""
        of_others = np.maximum(self.particles - self.energy, LEAST)
        odds = exps(np.ascontiguousarray(targets, dtype=np.float64)) * self.energy / of_others
        return np.asarray(self.tracks * odds / (1.0 + odds) / self.energy)


@kernel
def _see_tracks(rows: Ints, charged: Singles, energy: Doubles, cell: Ints, shared: Shared, out: Singles) -> None:
    for k in range(len(rows)):
        i, row = rows[k], out[k]
        for c in range(N_CHARGED):
            row[c] = charged[i, c]
        c = cell[i]
        e = energy[i]
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
    """What is left in a cell beside its tracks depends on, (C, 16).

    Parameters
    ----------
    incoming: particles, of which some are gone, (M,).
    shared: what is in their cells, after all tracks were drawn.
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
    asked = np.empty((len(LOGARITHMS), len(out)))
    for c in range(len(out)):
        row, eta = out[c], hits.low[c, 0] + 0.5 * hits.width[c, 0]
        every = shared.found[c] + shared.lost[c] + shared.neutral[c]
        excess = every - shared.seen[c]
        edges(eta, row, 0)
        asked[0, c] = every + SOFT
        asked[1, c] = (shared.neutral[c] + SOFT) / (every + SOFT)
        asked[2, c] = (shared.lost[c] + SOFT) / (every + SOFT)
        asked[3, c] = (shared.seen[c] + SOFT) / (every + SOFT)
        row[8] = excess / math.sqrt(every + DEVIATION)
        asked[4, c] = max(excess, 0.0) + SOFT
        asked[5, c] = (hardest[c] + SOFT) / (shared.neutral[c] + SOFT)
        row[11], row[12] = min(neutrals[c], 4), min(shared.tracks[c], 4)
        row[13] = (shared.found[c] - shared.seen[c]) / math.sqrt(every + DEVIATION)
        asked[6, c] = (shared.gone[c] + SOFT) / (every + SOFT)
        asked[7, c] = (shared.away[c] + SOFT) / (every + SOFT)
    for k, column in enumerate(LOGARITHMS):
        of = asked[k]
        for c in range(len(of)):  # several cells at a time
            of[c] = log(of[c])
        out[:, column] = of


def left_of(columns: Singles, targets: Floats) -> Doubles:
    """Energies [GeV] of what is left in cells with these columns, (K,), of targets: the inverse of `left_targets`."""
    excess, root = _excess(columns)
    grown = exps(np.ascontiguousarray(targets, dtype=np.float64))
    return excess + root * 0.5 * (grown - 1.0 / grown)


def left_targets(columns: Singles, energy: Floats | float) -> Doubles:
    """Targets (K,) of energies [GeV] of what is left in cells: above what tracks leave over, in roots of all there is.

    The energy resolution of a calorimeter grows as the root of the energy. The area hyperbolic sine keeps what is far
    from there near.
    """
    excess, root = _excess(columns)
    x = (energy - excess) / root
    size = np.abs(x)
    return np.asarray(np.where(x < 0.0, -1.0, 1.0) * logs(size + np.sqrt(size * size + 1.0)))


def least_left(columns: Singles, least: tuple[float, float]) -> Doubles:
    """The least energy [GeV] of what is left in cells, (K,): of any, and in roots of all there is."""
    _, root = _excess(columns)
    return np.maximum(least[0], least[1] * root)


def most_left(columns: Singles) -> Doubles:
    """The greatest energy [GeV] of what is left in cells, (K,): more is of something else (`matching.origins_of`)."""
    excess, root = _excess(columns)
    every = exps(columns[:, 4].astype(np.float64))
    parts = [every * exps(columns[:, k].astype(np.float64)) for k in (5, 6, 14)]  # neutral, lost and gone
    return np.asarray(np.maximum(parts[0] + parts[1] + parts[2], excess) + MOST * root)


def _excess(columns: Singles) -> tuple[Doubles, Doubles]:
    """Of cells, (K,) both: what tracks leave over, and the root of all there is, from their `cell_columns`."""
    root = np.sqrt(exps(columns[:, 4].astype(np.float64)) - SOFT + DEVIATION)
    return columns[:, 8].astype(np.float64) * root, root
