"""What the laws of the particles in jets are trained on, from files, made by coffea."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
from coffea import processor

from coffea_iqn.emulator.particles import (
    CELLS,
    DECAY,
    DIRECTION,
    ENTERED,
    MOMENTUM,
    SHARE,
    SHIFTED,
    TAG,
    TRACK,
    axes_of,
    relative_to,
)
from coffea_iqn.events.collections import flatten_jets, gen_events
from coffea_iqn.events.constituents import B_TAG, RECO, constituents_of
from coffea_iqn.events.identity import file_uuid
from coffea_iqn.events.names import Names
from coffea_iqn.jets.constituents import Constituents
from coffea_iqn.jets.features import ETA, PHI, PT, wrap_phi
from coffea_iqn.jets.matching import nearest
from coffea_iqn.jets.table import JetTable
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints, Singles
from coffea_iqn.particles.calorimeter import NO_CELL, PHOTON
from coffea_iqn.particles.cells import Left, Shared, cell_columns, left_targets, momentum_columns, rounds, share_columns
from coffea_iqn.particles.columns import Incoming, jet_columns, tag_columns
from coffea_iqn.particles.decays import DISPLACED, LOST, Turns, both_lost, charged_columns, decays_of, with_mates
from coffea_iqn.particles.matching import Origins, kinds_of, origins_of
from coffea_iqn.processors.fold import match_tables
from coffea_iqn.processors.pairs import chunks_in_order, split_keys
from coffea_iqn.training.pairs import LawSample, ParticlesSample

RIM = 0.1  # of the radius: what is so far from the rim of a reco jet is in it, or was not reconstructed
TELLING, ENOUGH = 1.0, 2  # GeV: photons of so much are seen, where they are there; so many say whether they are


class ParticlesProcessor(processor.ProcessorABC):  # type: ignore[misc]
    """Samples of every law of `emulator.particles.Particles`.

    Parameters
    ----------
    radius, cone: of the jets, and their matching distance.
    gen, reco: names of the collections of jets.
    pt_min: least pt [GeV] of gen jets: so far above the threshold of the reco jets in the files that hardly one of
        their reco jets is below it.
    split: "event" or "file", what stays together when a part is held out for validation.
    names: what the files call what they know at gen level, where it differs from `events.Names`.

    The result of a run is a `pairs.ParticlesSample`, in an order that depends on the fileset alone.
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

    def process(self, events: ak.Array) -> dict[tuple[str, str, int], ParticlesSample]:
        x, y = flatten_jets(events[self.gen]), flatten_jets(events[self.reco], "reco")
        known = gen_events(events[self.gen], events, x, x.valid(), self.names)
        jets, there = known.jets, y.valid()
        y = y.where(there)
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
            tags = np.asarray(ak.flatten(events[self.reco][tag])).astype(np.int64)[there]
            parton = None if known.parton is None else known.parton[of_x].astype(np.int64)
            laws[TAG] = tag_sample(y.values[of_y].astype(np.float64), parton, tags[of_y] & 1, split_key)
        key = (str(events.metadata["dataset"]), file_uuid(events), int(events.metadata.get("entrystart", 0)))
        return {key: ParticlesSample(laws, self.radius, len(of_x))}

    def postprocess(self, accumulator: dict[tuple[str, str, int], ParticlesSample]) -> Any:
        return ParticlesSample.joined(chunks_in_order(accumulator))


def samples_of(
    particles: Constituents,
    jets: JetTable,
    reco_particles: Constituents,
    reco: JetTable,
    pairs: tuple[Ints, Ints],
    split_key: Floats,
    radius: float,
) -> dict[str, LawSample]:
    """What the laws of particles are learnt from, but for the b-tag.

    Only what lies well within a reco jet says whether a particle was reconstructed: what is at its rim may be in
    another jet, or in none, and so may a whole prong.

    Parameters
    ----------
    particles, jets: gen jets of events, all of them.
    reco_particles, reco: likewise reco jets.
    pairs: rows of gen jets to learn from, and of the reco jet of each.
    split_key: of each pair, as of `pairs.JetPairs`, (N,).
    radius: of the jets.
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
    made[DECAY], of_decay = _of_decays(pair, measured)
    gone = both_lost(charged, mate, pair.has_track) | ~measured
    away = of_decay | (origins.status == DISPLACED)
    of_momenta, shared = _of_momenta(pair, charged, gone, away)
    made |= of_momenta | _of_cells(pair, gone, shared)
    # what is nearer to another gen jet is more likely of that
    own = in_reco.jet
    nearest_jet, _ = nearest(in_reco.values, jets.event[of_x][own], jets.values.astype(np.float64), jets.counts)
    entered = origins.entered[nearest_jet[origins.entered] == of_x[own[origins.entered]]]
    of_jets, kind = jet_columns(incoming), kinds_of(in_reco.code)
    is_own = np.ones(len(own), dtype=bool)
    is_own[origins.entered] = False
    around = axes_of(in_reco.values[is_own], own[is_own], incoming.jets, radius)
    for k, name in enumerate(ENTERED):
        mine = entered[kind[entered] == k]
        made[name] = LawSample.of(of_jets, split_key, own[mine], relative_to(in_reco.values[mine], around[own[mine]]))
    return made


class _Pairs(NamedTuple):
    """Gen jets with the reco jet of each.

    Attributes
    ----------
    incoming: particles of the gen jets.
    reco: particles of the reco jets.
    origins: which of these come from which of those.
    axes: of the reco jets, (N, 4).
    split_key: of each pair, (N,).
    inside: which particles lie well within the reco jet, (M,).
    has_track: which have a track, (M,).
    radius: of the jets.
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
    """Which particles have a track, and how those turn that do."""
    incoming, status, split_key = pair.incoming, pair.origins.status, pair.split_key[pair.incoming.particles.jet]
    rows = np.flatnonzero((incoming.charge != 0) & pair.inside)
    source = np.repeat(np.arange(len(rows)), status[rows])  # the number of a law is the status
    turned, values = rows[status[rows] == DISPLACED], incoming.particles.values
    turn, tracks = np.zeros(len(status)), np.flatnonzero(pair.has_track)
    after = pair.reco.values[pair.origins.track[tracks], PHI]
    turn[tracks] = wrap_phi(after - values[tracks, PHI]) * incoming.charge[tracks]
    turns = Turns.of(incoming, charged, turned, mate, status, turn)
    targets = turns.targets(turn[turned])[:, None]
    of_turns = LawSample.of(turns.columns, split_key[turned], np.arange(len(turned)), targets)
    return {
        TRACK: LawSample.of(with_mates(charged, rows, mate, status), split_key[rows], source),
        DIRECTION: of_turns._replace(least=turns.least),
    }


def _of_decays(pair: _Pairs, measured: Bools) -> tuple[LawSample, Bools]:
    """Which neutral decays were measured, and of which there are, (M,); measured becomes false for those of others."""
    incoming, hits = pair.incoming, pair.incoming.hits
    decays, left = decays_of(incoming), pair.origins.left[hits.cell]
    # photons that are hard enough say whether what they would be from was measured
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
    """The momenta of tracks, those of a cell together and each; and what shares their cells after them."""
    incoming, has_track, cell = pair.incoming, pair.has_track, pair.incoming.hits.cell
    ratio = pair.origins.ratio
    shared, tracks = Shared.of(incoming, has_track, gone, away), np.flatnonzero(has_track)
    seen = incoming.in_cells(tracks, incoming.hits.energy[tracks] * ratio[tracks])
    in_rounds = rounds(incoming, has_track)
    hardest = in_rounds[0].rows if in_rounds else tracks
    together, meets = ratio[hardest], cell[hardest] != NO_CELL
    together[meets] = (seen / np.where(shared.found > 0.0, shared.found, 1.0))[cell[hardest[meets]]]
    first = momentum_columns(incoming, hardest, charged, shared), hardest, np.log(together)
    shared, none = shared.with_all(incoming, hardest, together), tracks[:0]
    parts = [(share_columns(incoming, none, charged, shared), none, together[:0])]
    for of_round in in_rounds:  # as they are drawn
        among = of_round.rows[~of_round.last]
        targets = Left.of(incoming, among, shared).targets(ratio[among])
        parts.append((share_columns(incoming, among, charged, shared), among, targets))
        shared = shared.with_tracks(incoming, of_round.rows, ratio[of_round.rows])
    made = {}
    for name, several in ((MOMENTUM, [first]), (SHARE, parts)):
        columns, rows, targets = (np.concatenate(column) for column in zip(*several, strict=True))
        known = np.flatnonzero(pair.inside[rows])
        split_key = pair.split_key[incoming.particles.jet[rows[known]]]
        made[name] = LawSample.of(columns[known], split_key, np.arange(len(known)), targets[known, None])
    return made, shared


def _of_cells(pair: _Pairs, gone: Bools, shared: Shared) -> dict[str, LawSample]:
    """What is left in cells beside tracks, and where."""
    hits, reco, origins = pair.incoming.hits, pair.reco.values, pair.origins
    columns = cell_columns(pair.incoming, gone, shared)
    inside = _distance(hits.centre[:, 0], hits.centre[:, 1], pair.axes[hits.jet]) < pair.radius - RIM
    energy, split_key, made = reco[:, PT] * np.cosh(reco[:, ETA]), pair.split_key[hits.jet], {}
    for which, name in CELLS.items():
        cells = np.flatnonzero((hits.calorimeter == which) & inside)
        source = np.flatnonzero(origins.left[cells] >= 0)
        there = cells[source]
        targets = left_targets(columns[there], energy[origins.left[there]])[:, None]
        made[name] = LawSample.of(columns[cells], split_key[cells], source, targets)
        moved = np.flatnonzero(origins.shifted[there])
        way = reco[origins.left[there[moved]], ETA : PHI + 1] - hits.centre[there[moved]]
        way[:, 1] = wrap_phi(way[:, 1])
        made[SHIFTED[which]] = LawSample.of(columns[there], split_key[there], moved, way / hits.width[there[moved]])
    return made


def _distance(eta: Doubles, phi: Doubles, axes: Doubles) -> Doubles:
    """ΔR to the axes of jets (K, 4)."""
    return np.hypot(eta - axes[:, ETA], wrap_phi(phi - axes[:, PHI]))


def tag_sample(jets: Doubles, parton: Ints | None, tag: Ints, split_key: Floats) -> LawSample:
    """What the law of b-tags is learnt from: reco jets (N, 4), the partons of their gen jets, and their tags (N,)."""
    return LawSample.of(tag_columns(jets, parton), split_key, np.flatnonzero(tag > 0))
