"""The particles of reco jets, from those of gen jets, in the order in which a detector measures them.

First which charged particles have a track, and which of these point elsewhere, for their particle began away from the
beam; then the momentum of all tracks of a cell, for they share what the calorimeter makes of them, and that of each,
the hardest first; then what is left in each cell of the calorimeters beside its tracks: a photon, or a neutral hadron,
somewhere in the cell; then what comes from outside. Each of these is a `Law`. Of all that is there in an event anti-k_T
makes jets.

Flat arrays in and out; randomness enters as levels alone. The problem is that of M. Touranakou et al., Mach. Learn.:
Sci. Technol. 3 (2022) 035003.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from coffea_iqn.particles.calorimeter import CRYSTAL, MASSES, NO_CELL, PION, TOWER
from coffea_iqn.particles.cells import (
    N_CELL,
    N_MOMENTUM,
    N_SHARE,
    Left,
    Shared,
    cell_columns,
    least_left,
    left_of,
    left_targets,
    momentum_columns,
    most_left,
    rounds,
    share_columns,
)
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

TRACK, DIRECTION, DECAY, MOMENTUM, SHARE = "track", "direction", "decay", "momentum", "share"
CELLS = {CRYSTAL: "photon", TOWER: "neutral hadron"}
SHIFTED = {CRYSTAL: "photon shifted", TOWER: "neutral hadron shifted"}
TAG = "b-tag"
ENTERED = ("track entered", "photon entered", "neutral hadron entered")
CODES = (211, 22, 130)  # of PDG: what enters, and what is left in cells


class Known(NamedTuple):
    """Of a law, how many inputs and targets it has, and what it asks."""

    inputs: int
    targets: int
    asks: tuple[str, ...]


LAWS = {
    TRACK: Known(N_CHARGED, 0, ("number",)),
    DIRECTION: Known(N_TURN, 1, ("jets",)),
    DECAY: Known(N_DECAY, 0, ("number",)),
    MOMENTUM: Known(N_MOMENTUM, 1, ("jets",)),
    SHARE: Known(N_SHARE, 1, ("jets",)),
    **{name: Known(N_CELL, 1, ("number", "jets")) for name in CELLS.values()},
    **{name: Known(N_CELL, 2, ("number", "jets")) for name in SHIFTED.values()},
    **{name: Known(N_JET, 3, ("number", "jets")) for name in ENTERED},
    TAG: Known(N_TAG, 0, ("number",)),
}
MOST = 4096  # particles, or cells, of one jet
PLACES = 64  # that enter a jet, of a kind
BLOCK = 4096  # events drawn at a time: memory that is used again costs less than fresh pages
TAGS = 2**31  # levels of b-tags begin here, after those of what enters


class Reconstructed(NamedTuple):
    """Reco jets of events, and the particles in them.

    Attributes
    ----------
    jets: after the detector's scale, the hardest of an event first; place and row are those of the gen jet that most of
        its momentum is from, or −1 where that has a harder one.
    tag: the b-tag of each, 0 or 1, (N,); None where that is not known.
    particles: in each, the hardest first, before that scale; tracks have the masses of their particles, others none.
    row: of each particle the row of the gen particle whose track it is, or −1, (K,).
    """

    jets: JetTable
    tag: Ints | None
    particles: Constituents
    row: Ints

    def after(self, n_jets: int, n_particles: int) -> Reconstructed:
        """The same, where so many gen jets and gen particles come before."""
        of_jets, jets = self.jets.row, self.jets
        assert of_jets is not None
        moved = jets._replace(row=np.where(of_jets >= 0, of_jets + n_jets, -1))
        return self._replace(jets=moved, row=np.where(self.row >= 0, self.row + n_particles, -1))

    @classmethod
    def joined(cls, parts: Sequence[Reconstructed]) -> Reconstructed:
        """The jets of several blocks of events, one after the other."""
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
    laws: by name: "track", whose number is `decays.LOST`, `FOUND` or `DISPLACED`; "direction", the turn in phi of what
        is displaced, with the sign of the charge, as `decays.Turns`; "decay", whose number is 0 for what decays behind
        all that measures; "momentum", the logarithm of the energy of all tracks of a cell over that of their particles,
        and "share", that of each but the last, as `cells.Left`; what is left in cells, "photon" and "neutral
        hadron", its energy, as `cells.left_targets`, and "shifted" of both, whose number is 1 where that is
        in another cell nearby, with the way there in widths of the cell; what enters, a
        law of each kind, with log pt, ΔR to the axis of what is reconstructed, `axes_of`, and the angle around it; and,
        where it is known, "b-tag",
        whose number is 1 for a jet with one.
    least: least energy [GeV] of what is left in a cell, and that in roots of the energy of the cell, by calorimeter.
    radius: of the jets.
    scale: key of `features.SCALES`, what the detector does to jets.
    """

    laws: Mapping[str, Law]
    least: tuple[tuple[float, float], ...]
    radius: float
    scale: str

    @property
    def with_torch(self) -> Particles:
        """The same model, drawn by torch."""
        return replace(self, laws={name: law.with_torch for name, law in self.laws.items()})

    def draw(
        self, particles: Constituents, jets: JetTable, keys: Keys, parton: Ints | None = None, *, raw_pt_min: float
    ) -> Reconstructed:
        """The reco jets of events, made of particles.

        Parameters
        ----------
        particles: of the gen jets.
        jets: gen jets of the events.
        keys: of the events.
        parton: PDG code of the parton of each gen jet, (N,), or None.
        raw_pt_min: least pt [GeV] of a reco jet before the detector's scale.

        Raises
        ------
        ValueError: for a jet of more particles than levels are kept for.
        """
        if particles.counts.max(initial=0) > MOST:
            msg = f"particles: expected at most {MOST} in a jet, got {particles.counts.max()}"
            raise ValueError(msg)
        parts, first, first_particle = [], 0, 0
        ends = np.cumsum(jets.counts)
        for start in range(0, max(len(jets.counts), 1), BLOCK):
            events = slice(start, start + BLOCK)
            rows = slice(first, int(ends[events][-1]) if len(ends) else 0)
            block = JetTable(jets.values[rows], jets.counts[events], jets.place[rows])
            of_block = particles.rows(np.arange(rows.start, rows.stop))
            known = None if parton is None else parton[rows]
            of_events = keys._replace(words=keys.words[events])
            made = self._draw(of_block, block, of_events, known, raw_pt_min)
            parts.append(made.after(first, first_particle))
            first, first_particle = rows.stop, first_particle + len(of_block.code)
        return Reconstructed.joined(parts)

    def _draw(
        self, particles: Constituents, jets: JetTable, keys: Keys, parton: Ints | None, raw_pt_min: float
    ) -> Reconstructed:
        """As `draw`, all events at a time."""
        incoming, of_jets = Incoming.of(particles, jets.values), keys.take(jets.event)
        own = _Part.joined(self._tracks(incoming, of_jets, jets.place))
        axes = axes_of(own.values, own.source, incoming.jets, self.radius)
        every = _Part.joined([own, self._entered(incoming, axes, of_jets, jets.place)])
        order = np.argsort(jets.event[every.source], kind="stable")
        made = _Part(every.values[order], every.code[order], every.source[order], every.row[order])
        reco, particles_of, row = self._jets(made, jets, raw_pt_min)
        return Reconstructed(reco, self._tags(reco, keys, parton), particles_of, row)

    def _jets(self, made: _Part, jets: JetTable, raw_pt_min: float) -> tuple[JetTable, Constituents, Ints]:
        """What particles that were reconstructed, event by event, are clustered to."""
        event, n_events = jets.event[made.source], len(jets.counts)
        of, n_jets = anti_kt(made.values, np.bincount(event, minlength=n_events), self.radius, raw_pt_min)
        inside = np.flatnonzero(of >= 0)
        jet = (np.cumsum(n_jets) - n_jets)[event[inside]] + of[inside]
        counts = np.bincount(jet, minlength=int(n_jets.sum()))
        inside = inside[hardest_first(made.values[inside], jet, inside, counts)]
        found = Constituents(made.values[inside], inside, counts)
        values = SCALES[self.scale].apply(four_momenta(found)).astype(np.float32)
        # the scale depends on eta, and may make the second jet the hardest
        event, place = np.repeat(np.arange(n_events), n_jets), np.arange(len(values))
        order = hardest_first(values, event, place, n_jets)
        values, found = values[order], found.rows(order)
        inside = found.code
        particles = found._replace(code=made.code[inside])
        owner = _owner(made.source[inside], made.values[inside, PT], particles.counts, len(jets.values))
        place = np.where(owner >= 0, jets.place.take(owner, mode="clip") if len(jets.place) else owner, -1)
        return JetTable(values, n_jets, place, owner), particles, made.row[inside]

    def _tags(self, reco: JetTable, keys: Keys, parton: Ints | None) -> Ints | None:
        """The b-tags of reco jets."""
        if TAG not in self.laws:
            return None
        assert reco.row is not None
        known = None if parton is None else np.where(reco.row >= 0, parton.take(reco.row, mode="clip"), 0)
        u = keys.take(reco.event).levels(TAGS + places(reco.counts), STREAM_ENTERED)[:, 0]
        return self.laws[TAG].draw_numbers(tag_columns(reco.values.astype(np.float64), known), u)

    def _tracks(self, incoming: Incoming, keys: Keys, place: Ints) -> list[_Part]:
        """Tracks, and what is left in cells beside them."""
        values, codes, counts = incoming.particles
        jet = incoming.particles.jet
        charged, mate = charged_columns(incoming)
        rows = np.flatnonzero(incoming.charge != 0)
        index = place[jet[rows]] * MOST + places(counts)[rows]
        tau = keys.take(jet[rows]).levels(index, STREAM_CONSTITUENT)
        status, second = np.full(len(codes), LOST), is_second(mate, rows)
        for some in (~second, second):  # of two that may come from one the second knows of the first
            of_some = with_mates(charged, rows[some], mate, status)
            status[rows[some]] = self.laws[TRACK].draw_numbers(of_some, tau[some, 0])
        has_track, of_each = status != LOST, np.zeros((len(codes), 3), dtype=np.float32)
        of_each[rows] = tau[:, 1:]  # levels of the momentum, the turn and the share
        decays = decays_of(incoming)
        of_decay = jet[decays.first]
        index = place[of_decay] * MOST + places(counts)[decays.first]
        u = keys.take(of_decay).levels(index, STREAM_CONSTITUENT)[:, 0]
        measured = np.append(self.laws[DECAY].draw_numbers(decays.columns, u), 1) > 0
        gone = both_lost(charged, mate, has_track) | ~measured[decays.of]
        away = (status == DISPLACED) | (decays.of >= 0)
        shared = Shared.of(incoming, has_track, gone, away)
        ratio, shared = self._momenta(incoming, has_track, charged, shared, of_each[:, [0, 2]])
        turn = np.zeros(len(codes))
        for some in (~second, second):
            turned = rows[some & (status[rows] == DISPLACED)]
            turns = Turns.of(incoming, charged, turned, mate, status, turn)
            drawn = self.laws[DIRECTION].draw(turns.columns, of_each[turned, 1:2], least=turns.least)
            turn[turned] = turns.of_targets(drawn[:, 0])
        tracks = np.flatnonzero(has_track)
        momenta = values[tracks]
        momenta[:, MASS] = MASSES[incoming.species[tracks]]  # which detectors do not see, but Delphes' jets have
        momenta[:, PT] *= ratio[tracks]
        momenta[:, PHI] = wrap_phi(momenta[:, PHI] + turn[tracks] * incoming.charge[tracks])
        found = _Part(momenta, incoming.track_codes()[tracks], jet[tracks], tracks)
        return [found, *self._left(incoming, gone, shared, keys, place)]

    def _momenta(
        self, incoming: Incoming, has_track: Bools, charged: Singles, shared: Shared, tau: Floats
    ) -> tuple[Doubles, Shared]:
        """Momenta of tracks over those of their particles, (M,), and what shares cells after them.

        Tau are the levels of all tracks in the cell, that of the hardest, and of each alone, (M, 2).
        """
        ratio, in_rounds = np.ones(len(has_track)), rounds(incoming, has_track)
        if not in_rounds:
            return ratio, shared
        hardest = in_rounds[0].rows
        columns = momentum_columns(incoming, hardest, charged, shared)
        drawn = self.laws[MOMENTUM].draw(columns, tau[hardest, :1])
        ratio[hardest] = exps(np.ascontiguousarray(drawn[:, 0]))
        shared = shared.with_all(incoming, hardest, ratio[hardest])
        for of_round in in_rounds:
            among, alone = of_round.rows[~of_round.last], of_round.rows[of_round.last]
            columns = share_columns(incoming, among, charged, shared)
            drawn = self.laws[SHARE].draw(columns, tau[among, 1:])
            ratio[among] = Left.of(incoming, among, shared).of_targets(drawn[:, 0])
            alone = alone[incoming.hits.cell[alone] != NO_CELL]
            left = Left.of(incoming, alone, shared)
            ratio[alone] = left.tracks / left.energy
            shared = shared.with_tracks(incoming, of_round.rows, ratio[of_round.rows])
        return ratio, shared

    def _left(self, incoming: Incoming, gone: Bools, shared: Shared, keys: Keys, place: Ints) -> list[_Part]:
        """What is left in the cells beside tracks."""
        hits = incoming.hits
        columns = cell_columns(incoming, gone, shared)
        index = place[hits.jet] * MOST + places(hits.counts)
        tau = keys.take(hits.jet).levels(index, STREAM_CELL, 5)
        parts = []
        for which, name in CELLS.items():
            law, rows = self.laws[name], np.flatnonzero(hits.calorimeter == which)
            rows = rows[law.draw_numbers(columns[rows], tau[rows, 0]) > 0]
            there = columns[rows]
            least = least_left(there, self.least[which])
            drawn = law.draw(there, tau[rows, 1:], least=left_targets(there, least))
            energy = np.maximum(np.minimum(left_of(there, drawn[:, 0]), most_left(there)), least)
            # a calorimeter says in which cell a particle was, and nothing more
            where = hits.low[rows] + hits.width[rows] * tau[rows, 2:4]
            law = self.laws[SHIFTED[which]]
            some = np.flatnonzero(law.draw_numbers(columns[rows], tau[rows, 4]))
            shifted = rows[some]
            turn = law.draw(columns[shifted], tau[shifted, 2:])
            where[some] = hits.centre[shifted] + turn * hits.width[shifted]
            where[some, 1] = wrap_phi(where[some, 1])
            grown = exps(np.ascontiguousarray(where[:, 0]))
            pt = 2.0 * energy / (grown + 1.0 / grown)
            momenta = np.stack([pt, *where.T, np.zeros(len(rows))], axis=1)
            parts.append(_Part(momenta, np.full(len(rows), CODES[1 + which]), hits.jet[rows], np.full(len(rows), -1)))
        return parts

    def _entered(self, incoming: Incoming, axes: Doubles, keys: Keys, place: Ints) -> _Part:
        """What comes from none of a jet's particles, around the axes of what does."""
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
    """What was reconstructed: values (K, 4), codes of PDG, and the rows of the gen jet and particle of each, (K,)."""

    values: Doubles
    code: Ints
    source: Ints
    row: Ints

    @classmethod
    def joined(cls, parts: Sequence[_Part]) -> _Part:
        """Several, one after the other."""
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@kernel
def _owner(source: Ints, pt: Doubles, counts: Ints, n_gen: int) -> Ints:
    """The row of the gen jet that most of each reco jet is from, (N,); −1 where a harder one is of that.

    Parameters
    ----------
    source: the gen jet that each particle is from, (K,).
    pt: of the particles.
    counts: how many each reco jet has, (N,); the reco jets of a gen jet come the hardest first.
    n_gen: how many gen jets there are.
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
    """Eta and phi of what is reconstructed of jets (N, 4), (N, 2): means by pt of what is within a radius of them.

    Parameters
    ----------
    values, source: of what is reconstructed, (K, 4), and of which jet it is, (K,).
    jets, radius: whose axis it is where nothing of them is near.
    """
    axes = jets[:, ETA : PHI + 1]
    away = np.stack([values[:, ETA] - axes[source, 0], wrap_phi(values[:, PHI] - axes[source, 1])], axis=1)
    pt = np.where((away * away).sum(axis=1) < radius * radius, values[:, PT], 0.0)
    sums = [np.bincount(source, weights=weights, minlength=len(jets)) for weights in (pt, *(pt * away.T))]
    total = np.where(sums[0] > 0.0, sums[0], 1.0)
    return np.stack([axes[:, 0] + sums[1] / total, wrap_phi(axes[:, 1] + sums[2] / total)], axis=1)


def around(targets: Floats, axes: Doubles) -> Doubles:
    """Massless particles (K, 4) of their log pt, ΔR to axes (K, 2), and the angle around them, (K, 3)."""
    log_pt, distance, angle = np.ascontiguousarray(targets.T)
    sines, cosines = sines_and_cosines(angle)
    eta, phi = axes[:, 0] + distance * cosines, wrap_phi(axes[:, 1] + distance * sines)
    return np.stack([exps(log_pt), eta, phi, np.zeros(len(eta))], axis=1)


def relative_to(values: Doubles, axes: Doubles) -> Doubles:
    """The inverse of `around`, (K, 3)."""
    d_eta, d_phi = values[:, ETA] - axes[:, 0], wrap_phi(values[:, PHI] - axes[:, 1])
    return np.stack([np.log(values[:, 0]), np.hypot(d_eta, d_phi), np.arctan2(d_phi, d_eta)], axis=1)
