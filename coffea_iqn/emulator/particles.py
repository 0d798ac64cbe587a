"""Emulate the particles of reco jets from those of gen jets, in the order in which a detector measures them.

1. Tracks: which charged particles have one, and which of these are displaced, because the particle was produced away
   from the beam.
2. Momenta: first of all tracks in a calorimeter cell together, because they share its measurement, then of each track,
   the hardest first.
3. Neutral particles: a photon or a neutral hadron somewhere in a cell, for the energy left next to its tracks.
4. Particles that enter from outside the gen jet.

Each step is a `Law`. All particles of an event are then clustered with anti-k_T.

Input and output are flat arrays; randomness enters only as quantile levels. The problem is that of M. Touranakou et
al., Mach. Learn.: Sci. Technol. 3 (2022) 035003.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from coffea_iqn.iqn.distribution import Law
from coffea_iqn.jets.constituents import Constituents
from coffea_iqn.jets.features import ETA, MASS, PHI, PT, SCALES, wrap_phi
from coffea_iqn.jets.pseudojets import anti_kt
from coffea_iqn.jets.shapes import four_momenta
from coffea_iqn.jets.table import JetTable, hardest_first, places
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints, Singles
from coffea_iqn.numerics.compiling import kernel
from coffea_iqn.numerics.double import exps, sines_and_cosines
from coffea_iqn.numerics.uniforms import STREAM_CELL, STREAM_CONSTITUENT, STREAM_ENTERED, Keys
from coffea_iqn.particles import cells
from coffea_iqn.particles.calorimeter import CRYSTAL, MASSES, NO_CELL, PION, TOWER
from coffea_iqn.particles.columns import N_JET, N_TAG, Incoming, jet_columns, tag_columns
from coffea_iqn.particles.decays import (
    DISPLACED,
    LOST,
    N_CHARGED,
    N_DECAY,
    N_TURN,
    Turns,
    both_lost,
    charged_columns,
    decays_of,
    is_second,
    with_mates,
)
from coffea_iqn.ranges import expect

TRACK, DIRECTION, DECAY, MOMENTUM, SHARE = "track", "direction", "decay", "momentum", "share"
CELLS = {CRYSTAL: "photon", TOWER: "neutral hadron"}
SHIFTED = {CRYSTAL: "photon shifted", TOWER: "neutral hadron shifted"}
TAG = "b-tag"
ENTERED = ("track entered", "photon entered", "neutral hadron entered")
CODES = (211, 22, 130)  # PDG codes of particles that enter, and of those left in cells


class Known(NamedTuple):
    """The numbers of inputs and targets of a law, and which of its networks it has: "number", "jets" (the targets)."""

    inputs: int
    targets: int
    asks: tuple[str, ...]


LAWS = {
    TRACK: Known(N_CHARGED, 0, ("number",)),
    DIRECTION: Known(N_TURN, 1, ("jets",)),
    DECAY: Known(N_DECAY, 0, ("number",)),
    MOMENTUM: Known(cells.N_MOMENTUM, 1, ("jets",)),
    SHARE: Known(cells.N_SHARE, 1, ("jets",)),
    **{name: Known(cells.N_CELL, 1, ("number", "jets")) for name in CELLS.values()},
    **{name: Known(cells.N_CELL, 2, ("number", "jets")) for name in SHIFTED.values()},
    **{name: Known(N_JET, 3, ("number", "jets")) for name in ENTERED},
    TAG: Known(N_TAG, 0, ("number",)),
}
MOST = 4096  # greatest number of particles, or cells, of one jet
PLACES = 64  # level indices reserved for the particles of one kind that enter a jet
# rows of tables are gathered with `take`, which needs a fraction of the time of an index
BLOCK = 1024  # events drawn at a time: reusing memory is cheaper than allocating fresh pages
TAGS = 2**31  # first level index of b-tags, after those of particles that enter


class Reconstructed(NamedTuple):
    """Reco jets of events, and the particles in them.

    Attributes
    ----------
    jets: reco jets after the detector's jet scale, the hardest of each event first. Place and row are those of the gen
        jet from which most of the pt comes, or −1 if a harder reco jet has that gen jet.
    tag: b-tag of each jet, 0 or 1, (N,); None without a law of b-tags.
    particles: particles of each jet, the hardest first, before the jet scale; tracks have the masses of their
        particles, others have none.
    row: row of the gen particle of each track, −1 for other particles, (K,).
    """

    jets: JetTable
    tag: Ints | None
    particles: Constituents
    row: Ints

    def after(self, n_jets: int, n_particles: int) -> Reconstructed:
        """Return the same jets with rows shifted by the numbers of preceding gen jets and gen particles."""
        of_jets, jets = self.jets.row, self.jets
        assert of_jets is not None
        moved = jets._replace(row=np.where(of_jets >= 0, of_jets + n_jets, -1))
        return self._replace(jets=moved, row=np.where(self.row >= 0, self.row + n_particles, -1))

    @classmethod
    def joined(cls, parts: Sequence[Reconstructed]) -> Reconstructed:
        """Concatenate the jets of blocks of events."""
        if len(parts) == 1:
            return parts[0]
        tables, tags, particles, rows = zip(*parts, strict=True)
        values, counts, place, row = (np.concatenate([table[k] for table in tables]) for k in range(4))
        jets = JetTable(values, counts, place, row)
        tag = None if tags[0] is None else np.concatenate(tags)
        return cls(jets, tag, Constituents(*map(np.concatenate, zip(*particles, strict=True))), np.concatenate(rows))


@dataclass(frozen=True, eq=False)
class Particles:
    """The model of the particles in jets.

    Attributes
    ----------
    laws: laws by name:
        "track": the number is `decays.LOST`, `FOUND` or `DISPLACED`;
        "direction": turn in phi of displaced tracks, with the sign of the charge, see `decays.Turns`;
        "decay": the number is 0 for a neutral particle that decays beyond the calorimeters;
        "momentum": log of the energy of all tracks in a cell over that of their particles;
        "share": the same for each track but the last, see `cells.Left`;
        "photon", "neutral hadron": energy left in a cell, see `cells.Expected`;
        "photon shifted", "neutral hadron shifted": the number is 1 if that is in another cell nearby, with the
        displacement in cell widths;
        "track entered", "photon entered", "neutral hadron entered": log pt, ΔR to the axis of the reconstructed
        particles (`axes_of`), and the angle around it, of particles that enter;
        "b-tag", optional: the number is 1 for a tagged jet.
    least: least energy left in a cell, in GeV and in units of the root of the cell's energy, by calorimeter.
    radius: jet radius.
    scale: key of `features.SCALES`, the detector's jet scale.
    """

    laws: Mapping[str, Law]
    least: tuple[tuple[float, float], ...]
    radius: float
    scale: str

    def draw(
        self, particles: Constituents, jets: JetTable, keys: Keys, parton: Ints | None = None, *, raw_pt_min: float
    ) -> Reconstructed:
        """Draw the particles of events, and cluster them to reco jets.

        Parameters
        ----------
        particles: particles of the gen jets.
        jets: gen jets of the events.
        keys: keys of the events.
        parton: PDG code of the parton of each gen jet, (N,), or None.
        raw_pt_min: least pt [GeV] of a reco jet before the detector's jet scale.

        Raises
        ------
        ValueError: if a jet has more than `MOST` particles.
        """
        most = particles.counts.max(initial=0)
        expect(most <= MOST, f"particles: expected at most {MOST} in a jet, got {most}")
        parts, first, first_particle = [], 0, 0
        for start in range(0, max(len(jets.counts), 1), BLOCK):
            events = slice(start, start + BLOCK)
            rows = slice(first, first + int(jets.counts[events].sum()))
            block = JetTable(jets.values[rows], jets.counts[events], jets.place[rows])
            inside = slice(first_particle, first_particle + int(particles.counts[rows].sum()))
            of_block = Constituents(particles.values[inside], particles.code[inside], particles.counts[rows])
            known = None if parton is None else parton[rows]
            made = self._draw(of_block, block, keys.take(events), known, raw_pt_min)
            parts.append(made.after(first, first_particle))
            first, first_particle = rows.stop, inside.stop
        return Reconstructed.joined(parts)

    def _draw(
        self, particles: Constituents, jets: JetTable, keys: Keys, parton: Ints | None, raw_pt_min: float
    ) -> Reconstructed:
        """Same as `draw`, for one block of events."""
        incoming, of_jets = Incoming.of(particles, jets.values), keys.take(jets.event)
        own = _Part.joined(self._tracks(incoming, of_jets, jets.place))
        axes = axes_of(own.values, own.source, incoming.jets, self.radius)
        every = _Part.joined([own, self._entered(incoming, axes, of_jets, jets.place)])
        order = np.argsort(jets.event[every.source], kind="stable")
        made = _Part(every.values.take(order, axis=0), every.code[order], every.source[order], every.row[order])
        reco, particles_of, row = self._jets(made, jets, raw_pt_min)
        return Reconstructed(reco, self._tags(reco, keys, parton), particles_of, row)

    def _jets(self, made: _Part, jets: JetTable, raw_pt_min: float) -> tuple[JetTable, Constituents, Ints]:
        """Cluster reconstructed particles, ordered by event; return the jets, their particles, and rows of these."""
        event, n_events = jets.event[made.source], len(jets.counts)
        of, n_jets = anti_kt(made.values, np.bincount(event, minlength=n_events), self.radius, raw_pt_min)
        inside = np.flatnonzero(of >= 0)
        jet = (np.cumsum(n_jets) - n_jets)[event[inside]] + of[inside]
        counts = np.bincount(jet, minlength=int(n_jets.sum()))
        inside = inside[hardest_first(made.values.take(inside, axis=0), jet, inside, counts)]
        found = Constituents(made.values.take(inside, axis=0), inside, counts)
        values = SCALES[self.scale].apply(four_momenta(found)).astype(np.float32)
        # the jet scale depends on eta, so it can change the order in pt
        event, place = np.repeat(np.arange(n_events), n_jets), np.arange(len(values))
        order = hardest_first(values, event, place, n_jets)
        values, found = values.take(order, axis=0), found.rows(order)
        inside = found.code
        particles = found._replace(code=made.code[inside])
        owner = _owner(made.source[inside], made.values[inside, PT], particles.counts, len(jets.values))
        place = np.where(owner >= 0, jets.place.take(owner, mode="clip") if len(jets.place) else owner, -1)
        return JetTable(values, n_jets, place, owner), particles, made.row[inside]

    def _tags(self, reco: JetTable, keys: Keys, parton: Ints | None) -> Ints | None:
        """Draw the b-tags of reco jets."""
        if TAG not in self.laws:
            return None
        assert reco.row is not None
        known = None if parton is None else np.where(reco.row >= 0, parton.take(reco.row, mode="clip"), 0)
        u = keys.take(reco.event).levels(TAGS + places(reco.counts), STREAM_ENTERED)[:, 0]
        return self.laws[TAG].draw_numbers(tag_columns(reco.values.astype(np.float64), known), u)

    def _tracks(self, incoming: Incoming, keys: Keys, place: Ints) -> list[_Part]:
        """Draw tracks, and the neutral particles left in cells next to them."""
        values, codes, counts = incoming.particles
        jet = incoming.particles.jet
        charged, mate = charged_columns(incoming)
        rows = np.flatnonzero(incoming.charge != 0)
        index = place[jet[rows]] * MOST + places(counts)[rows]
        tau = keys.take(jet[rows]).levels(index, STREAM_CONSTITUENT)
        status, second = np.full(len(codes), LOST), is_second(mate, rows)
        for some in (~second, second):  # if two particles may come from one decay, the second depends on the first
            of_some = with_mates(charged, rows[some], mate, status)
            status[rows[some]] = self.laws[TRACK].draw_numbers(of_some, tau[some, 0])
        has_track, of_each = status != LOST, np.zeros((len(codes), 4), dtype=np.float32)
        of_each[rows] = tau  # levels of the track, of the momentum of all tracks in its cell, the turn and the share
        decays = decays_of(incoming)
        of_decay = jet[decays.first]
        index = place[of_decay] * MOST + places(counts)[decays.first]
        u = keys.take(of_decay).levels(index, STREAM_CONSTITUENT)[:, 0]
        measured = np.append(self.laws[DECAY].draw_numbers(decays.columns, u), 1) > 0
        gone = both_lost(charged, mate, has_track) | ~measured[decays.of]
        away = (status == DISPLACED) | (decays.of >= 0)
        shared = cells.Shared.of(incoming, has_track, gone, away)
        ratio, shared = self._momenta(incoming, has_track, charged, shared, of_each[:, 1::2])
        turn = np.zeros(len(codes))
        for some in (~second, second):
            turned = rows[some & (status[rows] == DISPLACED)]
            turns = Turns.of(incoming, charged, turned, mate, status, turn)
            drawn = self.laws[DIRECTION].draw(turns.columns, of_each[turned, 2:3], least=turns.least)
            turn[turned] = turns.of_targets(drawn[:, 0])
        tracks = np.flatnonzero(has_track)
        momenta = values.take(tracks, axis=0)
        momenta[:, MASS] = MASSES[incoming.species[tracks]]  # not measured by detectors, but in Delphes' jets
        momenta[:, PT] *= ratio[tracks]
        momenta[:, PHI] = wrap_phi(momenta[:, PHI] + turn[tracks] * incoming.charge[tracks])
        found = _Part(momenta, incoming.track_codes()[tracks], jet[tracks], tracks)
        return [found, *self._left(incoming, gone, shared, keys, place)]

    def _momenta(
        self, incoming: Incoming, has_track: Bools, charged: Singles, shared: cells.Shared, tau: Floats
    ) -> tuple[Doubles, cells.Shared]:
        """Draw the momenta of tracks over those of their particles, (M,); return them and the updated cells.

        The columns of tau (M, 2) are levels for all tracks in the cell, used at the hardest, and for each track.
        """
        ratio, in_rounds = np.ones(len(has_track)), cells.rounds(incoming, has_track)
        if not in_rounds:
            return ratio, shared
        hardest, _ = in_rounds[0]
        columns = cells.track_columns(incoming, hardest, charged, shared, cells.N_MOMENTUM)
        drawn = self.laws[MOMENTUM].draw(columns, tau[hardest, :1])
        ratio[hardest] = exps(np.ascontiguousarray(drawn[:, 0]))
        shared = shared.with_all(incoming, hardest, ratio[hardest])
        for rows, last in in_rounds:
            among, alone = rows[~last], rows[last]
            columns = cells.track_columns(incoming, among, charged, shared, cells.N_SHARE)
            drawn = self.laws[SHARE].draw(columns, tau[among, 1:])
            ratio[among] = cells.Left.of(incoming, among, shared).of_targets(drawn[:, 0])
            alone = alone[incoming.hits.cell[alone] != NO_CELL]
            left = cells.Left.of(incoming, alone, shared)
            ratio[alone] = left.tracks / left.energy
            shared = shared.with_tracks(incoming, rows, ratio[rows])
        return ratio, shared

    def _left(self, incoming: Incoming, gone: Bools, shared: cells.Shared, keys: Keys, place: Ints) -> list[_Part]:
        """Draw the neutral particles left in cells next to tracks."""
        hits = incoming.hits
        columns = cells.cell_columns(incoming, gone, shared)
        index = place[hits.jet] * MOST + places(hits.counts)
        tau = keys.take(hits.jet).levels(index, STREAM_CELL, 5)
        parts = []
        for which, name in CELLS.items():
            law, rows = self.laws[name], np.flatnonzero(hits.calorimeter == which)
            rows = rows[law.draw_numbers(columns.take(rows, axis=0), tau[rows, 0]) > 0]
            there, u, width = columns.take(rows, axis=0), tau.take(rows, axis=0), hits.width.take(rows, axis=0)
            expected = cells.Expected.of(there)
            least = expected.least(self.least[which])
            drawn = law.draw(there, u[:, 1:], least=expected.targets(least))
            energy = np.maximum(np.minimum(expected.of_targets(drawn[:, 0]), expected.most), least)
            # a calorimeter only measures which cell a particle hits
            low = hits.low.take(rows, axis=0)
            where = low + width * u[:, 2:4]
            law = self.laws[SHIFTED[which]]
            some = np.flatnonzero(law.draw_numbers(there, u[:, 4]))
            turn = law.draw(there[some], u[some, 2:])
            where[some] = low[some] + 0.5 * width[some] + turn * width[some]
            where[some, 1] = wrap_phi(where[some, 1])
            grown = exps(np.ascontiguousarray(where[:, 0]))
            pt = 2.0 * energy / (grown + 1.0 / grown)
            momenta = np.stack([pt, *where.T, np.zeros(len(rows))], axis=1)
            parts.append(_Part(momenta, np.full(len(rows), CODES[1 + which]), hits.jet[rows], np.full(len(rows), -1)))
        return parts

    def _entered(self, incoming: Incoming, axes: Doubles, keys: Keys, place: Ints) -> _Part:
        """Draw particles that enter jets from outside, around the axes of the jets' own reconstructed particles."""
        columns = jet_columns(incoming)
        u = keys.levels(place * MOST, STREAM_ENTERED)
        parts = []
        for k, name in enumerate(ENTERED):
            law = self.laws[name]
            numbers = law.draw_numbers(columns, u[:, k])
            rows = np.repeat(np.arange(len(numbers)), numbers)
            index = place[rows] * MOST + 1 + k * PLACES + places(numbers)
            tau = keys.take(rows).levels(index, STREAM_ENTERED)
            drawn = law.draw(columns[rows], tau)
            code = np.full(len(rows), CODES[k])
            if k == 0:
                code = np.where(tau[:, 3] < 0.5, -code, code)
            momenta = around(drawn, axes[rows])
            momenta[:, MASS] = MASSES[PION] if k == 0 else 0.0
            parts.append(_Part(momenta, code, rows, np.full(len(rows), -1)))
        return _Part.joined(parts)


class _Part(NamedTuple):
    """Reconstructed particles: values (K, 4), PDG codes, and rows of their gen jets and gen particles, (K,) each."""

    values: Doubles
    code: Ints
    source: Ints
    row: Ints

    @classmethod
    def joined(cls, parts: Sequence[_Part]) -> _Part:
        """Concatenate parts."""
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@kernel
def _owner(source: Ints, pt: Doubles, counts: Ints, n_gen: int) -> Ints:
    """Return the row of the gen jet from which most pt of each reco jet comes, (N,); −1 if a harder reco jet has it.

    Parameters
    ----------
    source: row of the gen jet of each particle, (K,).
    pt: pt of the particles, (K,).
    counts: number of particles in each reco jet, (N,); the reco jets of a gen jet come the hardest first.
    n_gen: number of gen jets.
    """
    owner, taken, shares = np.full(len(counts), -1), np.zeros(n_gen, np.bool_), np.zeros(n_gen)
    first = 0
    for jet in range(len(counts)):
        best = -1
        for i in range(first, first + counts[jet]):
            shares[source[i]] += pt[i]
        for i in range(first, first + counts[jet]):
            if best < 0 or shares[source[i]] > shares[best]:
                best = source[i]
        for i in range(first, first + counts[jet]):
            shares[source[i]] = 0.0
        first += counts[jet]
        if best >= 0 and not taken[best]:
            owner[jet], taken[best] = best, True
    return owner


def axes_of(values: Doubles, source: Ints, jets: Doubles, radius: float) -> Doubles:
    """Return eta and phi, (N, 2), of the pt-weighted mean of the particles reconstructed within a radius of their jet.

    Parameters
    ----------
    values, source: reconstructed particles, (K, 4), and the rows of their jets, (K,).
    jets, radius: jets (N, 4), whose own axis is returned if no particle is near, and their radius.
    """
    axes = jets[:, ETA : PHI + 1]
    away = np.stack([values[:, ETA] - axes[source, 0], wrap_phi(values[:, PHI] - axes[source, 1])], axis=1)
    pt = np.where((away * away).sum(axis=1) < radius * radius, values[:, PT], 0.0)
    sums = [np.bincount(source, weights=weights, minlength=len(jets)) for weights in (pt, *(pt * away.T))]
    total = np.where(sums[0] > 0.0, sums[0], 1.0)
    return np.stack([axes[:, 0] + sums[1] / total, wrap_phi(axes[:, 1] + sums[2] / total)], axis=1)


def around(targets: Floats, axes: Doubles) -> Doubles:
    """Return massless particles (K, 4) from axes (K, 2) and targets (K, 3): log pt, ΔR to the axis, angle around it."""
    log_pt, distance, angle = np.ascontiguousarray(targets.T)
    sines, cosines = sines_and_cosines(angle)
    eta, phi = axes[:, 0] + distance * cosines, wrap_phi(axes[:, 1] + distance * sines)
    return np.stack([exps(log_pt), eta, phi, np.zeros(len(eta))], axis=1)


def relative_to(values: Doubles, axes: Doubles) -> Doubles:
    """Invert `around`: return the targets (K, 3) of particles."""
    d_eta, d_phi = values[:, ETA] - axes[:, 0], wrap_phi(values[:, PHI] - axes[:, 1])
    return np.stack([np.log(values[:, 0]), np.hypot(d_eta, d_phi), np.arctan2(d_phi, d_eta)], axis=1)
