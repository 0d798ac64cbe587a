"""Processor for the training samples of the laws of the particles in jets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import awkward as ak
import numpy as np

from coffea_iqn.emulator import particles as model
from coffea_iqn.events.checks import check_valid
from coffea_iqn.events.collections import flatten_jets, gen_events
from coffea_iqn.events.constituents import B_TAG, RECO, constituents_of
from coffea_iqn.events.names import Names
from coffea_iqn.jets.constituents import Constituents
from coffea_iqn.jets.features import ETA, PHI, PT, wrap_phi
from coffea_iqn.jets.matching import match_tables, nearest
from coffea_iqn.jets.table import JetTable
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints, Singles
from coffea_iqn.particles.calorimeter import NO_CELL, PHOTON
from coffea_iqn.particles.cells import N_MOMENTUM, N_SHARE, Expected, Left, Shared, cell_columns, rounds, track_columns
from coffea_iqn.particles.columns import Incoming, jet_columns, tag_columns
from coffea_iqn.particles.decays import DISPLACED, LOST, Turns, both_lost, charged_columns, decays_of, with_mates
from coffea_iqn.particles.matching import Origins, kinds_of, origins_of
from coffea_iqn.processors.ordered import OrderedProcessor
from coffea_iqn.processors.pairs import split_keys
from coffea_iqn.ranges import expect
from coffea_iqn.training.pairs import LawSample, ParticlesSample

RIM = 0.1  # ΔR from the rim of a reco jet; a particle further inside is in this jet or was not reconstructed
TELLING, ENOUGH = 1.0, 2  # energy above which photons are always found [GeV]; number of such photons that decides


class ParticlesProcessor(OrderedProcessor):  # type: ignore[misc]
    """Make the training sample of each law of `emulator.particles.Particles`.

    Parameters
    ----------
    radius, cone: jet radius, and matching distance in ΔR.
    gen, reco: names of the collections of jets.
    pt_min: minimum pt [GeV] of gen jets; it must be so far above the threshold of the reco jets in the files that
        almost all of the gen jets have their reco jet above it.
    split: see `PairsProcessor`.
    names: names of gen-level quantities in the files, if different from `events.Names`.

    The result of a run is a `pairs.ParticlesSample`, in an order that depends on the fileset only.
    """

    def __init__(
        self,
        *,
        radius: float,
        cone: float,
        gen: str = "GenJet",
        reco: str = "Jet",
        pt_min: float = 0.0,
        split: str = "event",
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.radius, self.cone = radius, cone
        self.gen, self.reco = gen, reco
        self.pt_min = pt_min
        self.split = split
        self.names = Names.of(names)

    def chunk(self, events: ak.Array) -> ParticlesSample:
        x, y = flatten_jets(events[self.gen]), flatten_jets(events[self.reco], "reco")
        known = gen_events(events[self.gen], events, x, x.valid(), self.names)
        check_valid(y, "reco jets", events=events)
        jets = known.jets
        particles = constituents_of(events, jets, self.names, self.gen)
        reco = constituents_of(events, y, RECO, self.reco)
        if particles is None or reco is None:
            lacks = f"in {self.gen if particles is None else self.reco}"
            msg = f"events: expected GenJetCands and PFCands with jetIdx, pt, eta, phi and pdgId, found none {lacks}"
            raise ValueError(msg)
        of_x, of_y = match_tables(jets, y, self.cone)
        keep = jets.values[of_x, PT] >= self.pt_min
        of_x, of_y = of_x[keep], of_y[keep]
        split_key = split_keys(events, self.split)[jets.event[of_x]]
        laws = samples_of(particles, jets, reco, y, (of_x, of_y), split_key, self.radius)
        tag = next((name for name in B_TAG if name in events[self.reco].fields), None)
        if tag is not None:
            given = np.asarray(ak.flatten(events[self.reco][tag]))
            n_odd = int((~(given >= 0) | (given != np.rint(given))).sum())
            what = f"{self.reco}.{tag}: expected whole numbers, of which the first bit is the b tag"
            expect(n_odd == 0, f"{what}, got others for {n_odd} of {len(given)} jets")
            tags = given.astype(np.int64)
            parton = None if known.parton is None else known.parton[of_x].astype(np.int64)
            columns = tag_columns(y.values[of_y].astype(np.float64), parton)
            laws[model.TAG] = LawSample.of(columns, split_key, np.flatnonzero(tags[of_y] & 1))
        return ParticlesSample(laws, self.radius, len(of_x))


def samples_of(
    particles: Constituents,
    jets: JetTable,
    reco_particles: Constituents,
    reco: JetTable,
    pairs: tuple[Ints, Ints],
    split_key: Floats,
    radius: float,
) -> dict[str, LawSample]:
    """Return the training samples of all laws of particles except the b-tag.

    Only particles well within a reco jet show whether they were reconstructed: a particle at its rim may be in another
    jet, or in none, and so may a whole prong.

    Parameters
    ----------
    particles, jets: all gen jets of the events, with their particles.
    reco_particles, reco: all reco jets, with their particles.
    pairs: rows of the gen jets to train on, and of the reco jet of each.
    split_key: split_key of each pair, see `pairs.JetPairs`, (N,).
    radius: jet radius.
    """
    of_x, of_y = pairs
    axes, in_reco = reco.values[of_y].astype(np.float64), reco_particles.rows(of_y)
    incoming = Incoming.of(particles.rows(of_x), jets.values[of_x])
    jet, values = incoming.particles.jet, incoming.particles.values
    origins = origins_of(incoming, in_reco)
    inside = _distance(values[:, ETA], values[:, PHI], axes[jet]) < radius - RIM
    pair = _Pairs(incoming, in_reco, origins, axes, split_key, inside, origins.status != LOST, radius)
    charged, mate = charged_columns(incoming)
    made, measured = _of_tracks(pair, charged, mate), np.ones(len(values), dtype=bool)
    made[model.DECAY], of_decay = _of_decays(pair, measured)
    gone = both_lost(charged, mate, pair.has_track) | ~measured
    away = of_decay | (origins.status == DISPLACED)
    of_momenta, shared = _of_momenta(pair, charged, gone, away)
    made |= of_momenta | _of_cells(pair, gone, shared)
    # a particle nearer to another gen jet more likely comes from that one
    own = in_reco.jet
    nearest_jet, _ = nearest(in_reco.values, jets.event[of_x][own], jets.values.astype(np.float64), jets.counts)
    entered = origins.entered[nearest_jet[origins.entered] == of_x[own[origins.entered]]]
    of_jets, kind = jet_columns(incoming), kinds_of(in_reco.code)
    is_own = np.ones(len(own), dtype=bool)
    is_own[origins.entered] = False
    around = model.axes_of(in_reco.values[is_own], own[is_own], incoming.jets, radius)
    for k, name in enumerate(model.ENTERED):
        mine = entered[kind[entered] == k]
        made[name] = LawSample.of(
            of_jets, split_key, own[mine], model.relative_to(in_reco.values[mine], around[own[mine]])
        )
    return made


class _Pairs(NamedTuple):
    """Matched pairs of gen and reco jets.

    Attributes
    ----------
    incoming: particles of the gen jets.
    reco: particles of the reco jets.
    origins: which reconstructed particle comes from which gen particle.
    axes: four-momenta of the reco jets, (N, 4).
    split_key: split_key of each pair, (N,).
    inside: whether each gen particle lies well within the reco jet, (M,).
    has_track: whether each gen particle has a track, (M,).
    radius: jet radius.
    """

    incoming: Incoming
    reco: Constituents
    origins: Origins
    axes: Doubles
    split_key: Floats
    inside: Bools
    has_track: Bools
    radius: float


def _of_tracks(pair: _Pairs, charged: Singles, mate: Ints) -> dict[str, LawSample]:
    """Return samples of the track efficiency, and of the directions of tracks."""
    incoming, status, split_key = pair.incoming, pair.origins.status, pair.split_key[pair.incoming.particles.jet]
    rows = np.flatnonzero((incoming.charge != 0) & pair.inside)
    source = np.repeat(np.arange(len(rows)), status[rows])  # the law's number is the status
    turned, values = rows[status[rows] == DISPLACED], incoming.particles.values
    turn, tracks = np.zeros(len(status)), np.flatnonzero(pair.has_track)
    after = pair.reco.values[pair.origins.track[tracks], PHI]
    turn[tracks] = wrap_phi(after - values[tracks, PHI]) * incoming.charge[tracks]
    turns = Turns.of(incoming, charged, turned, mate, status, turn)
    targets = turns.targets(turn[turned])[:, None]
    of_turns = LawSample.of(turns.columns, split_key[turned], np.arange(len(turned)), targets)
    return {
        model.TRACK: LawSample.of(with_mates(charged, rows, mate, status), split_key[rows], source),
        model.DIRECTION: of_turns._replace(least=turns.least),
    }


def _of_decays(pair: _Pairs, measured: Bools) -> tuple[LawSample, Bools]:
    """Return the sample of measured neutral decays, and which particles are from decays, (M,).

    Sets `measured` to false for the particles of decays that were not measured.
    """
    incoming, hits = pair.incoming, pair.incoming.hits
    decays, left = decays_of(incoming), pair.origins.left[hits.cell]
    # hard photons show whether the decay that they come from was measured
    tells = np.flatnonzero((decays.of >= 0) & (incoming.species == PHOTON) & (hits.energy > TELLING))
    n_seen, n_all, n_inside = (
        np.bincount(decays.of[tells], weights=weights, minlength=len(decays.first))
        for weights in (left[tells] >= 0, np.ones(len(tells)), pair.inside[tells])
    )
    seen = (n_seen > 0) | (n_all < ENOUGH)
    measured[:] = (decays.of < 0) | np.append(seen, True)[decays.of]
    known = np.flatnonzero((n_all >= ENOUGH) & (n_inside == n_all))
    split_key = pair.split_key[incoming.particles.jet[decays.first[known]]]
    return LawSample.of(decays.columns[known], split_key, np.flatnonzero(seen[known])), decays.of >= 0


def _of_momenta(pair: _Pairs, charged: Singles, gone: Bools, away: Bools) -> tuple[dict[str, LawSample], Shared]:
    """Return samples of the momenta of tracks, per cell and individually, and the state of the cells after them."""
    incoming, has_track, cell = pair.incoming, pair.has_track, pair.incoming.hits.cell
    ratio = pair.origins.ratio
    shared, tracks = Shared.of(incoming, has_track, gone, away), np.flatnonzero(has_track)
    seen = incoming.in_cells(tracks, incoming.hits.energy[tracks] * ratio[tracks])
    in_rounds = rounds(incoming, has_track)
    hardest = in_rounds[0][0] if in_rounds else tracks
    together, meets = ratio[hardest], cell[hardest] != NO_CELL
    together[meets] = (seen / np.where(shared.found > 0.0, shared.found, 1.0))[cell[hardest[meets]]]
    first = track_columns(incoming, hardest, charged, shared, N_MOMENTUM), hardest, np.log(together)
    shared, none = shared.with_all(incoming, hardest, together), tracks[:0]
    parts = [(track_columns(incoming, none, charged, shared, N_SHARE), none, together[:0])]
    for of_round, last in in_rounds:  # in the order of drawing
        among = of_round[~last]
        targets = Left.of(incoming, among, shared).targets(ratio[among])
        parts.append((track_columns(incoming, among, charged, shared, N_SHARE), among, targets))
        shared = shared.with_tracks(incoming, of_round, ratio[of_round])
    made = {}
    for name, several in ((model.MOMENTUM, [first]), (model.SHARE, parts)):
        columns, rows, targets = (np.concatenate(column) for column in zip(*several, strict=True))
        known = np.flatnonzero(pair.inside[rows])
        split_key = pair.split_key[incoming.particles.jet[rows[known]]]
        made[name] = LawSample.of(columns[known], split_key, np.arange(len(known)), targets[known, None])
    return made, shared


def _of_cells(pair: _Pairs, gone: Bools, shared: Shared) -> dict[str, LawSample]:
    """Return samples of the remaining energy in cells besides tracks, and of its position."""
    hits, reco, origins = pair.incoming.hits, pair.reco.values, pair.origins
    columns = cell_columns(pair.incoming, gone, shared)
    inside = _distance(hits.centre[:, 0], hits.centre[:, 1], pair.axes[hits.jet]) < pair.radius - RIM
    energy, split_key, made = reco[:, PT] * np.cosh(reco[:, ETA]), pair.split_key[hits.jet], {}
    for which, name in model.CELLS.items():
        cells = np.flatnonzero((hits.calorimeter == which) & inside)
        source = np.flatnonzero(origins.left[cells] >= 0)
        there = cells[source]
        targets = Expected.of(columns[there]).targets(energy[origins.left[there]])[:, None]
        made[name] = LawSample.of(columns[cells], split_key[cells], source, targets)
        moved = np.flatnonzero(origins.shifted[there])
        way = reco[origins.left[there[moved]], ETA : PHI + 1] - hits.centre[there[moved]]
        way[:, 1] = wrap_phi(way[:, 1])
        made[model.SHIFTED[which]] = LawSample.of(
            columns[there], split_key[there], moved, way / hits.width[there[moved]]
        )
    return made


def _distance(eta: Doubles, phi: Doubles, axes: Doubles) -> Doubles:
    """Return ΔR to the axes of jets (K, 4)."""
    return np.hypot(eta - axes[:, ETA], wrap_phi(phi - axes[:, PHI]))
