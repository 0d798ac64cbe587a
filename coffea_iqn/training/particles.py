"""Pairs of jets with their particles to the model of these, beside an emulator's jets."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.emulator.particles import (
    CELLS,
    DECAY,
    DIRECTION,
    ENTERED,
    LAWS,
    MOMENTUM,
    SHIFTED,
    TRACK,
    Particles,
    relative_to,
)
from coffea_iqn.iqn.distribution import Law
from coffea_iqn.jets.constituents import Constituents
from coffea_iqn.jets.features import ETA, PHI, PT, wrap_phi
from coffea_iqn.jets.matching import nearest
from coffea_iqn.jets.support import HEADROOM
from coffea_iqn.jets.table import JetTable
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints, Singles
from coffea_iqn.particles.calorimeter import PHOTON
from coffea_iqn.particles.columns import (
    DISPLACED,
    LOST,
    Incoming,
    Shared,
    both_lost,
    cell_columns,
    charged_columns,
    decays_of,
    jet_columns,
    least_left,
    left_of,
    left_targets,
    rounds,
    tag_columns,
    track_columns,
    with_mates,
)
from coffea_iqn.particles.matching import Origins, kinds_of, origins_of
from coffea_iqn.training.batches import Course
from coffea_iqn.training.laws import learn_law
from coffea_iqn.training.optimise import Watch
from coffea_iqn.training.pairs import LawSample, ParticlesSample
from coffea_iqn.training.recipes import TrainingSettings, shorter

RIM = 0.1  # of the radius: what is so far from the rim of a reco jet is in it, or was not reconstructed
RARE = 20  # so few ys of a law say nothing of what they are like
TELLING, ENOUGH = 1.0, 2  # GeV: photons of so much are seen, where they are there; so many say whether they are
ROUND = 1e-3  # by how much files round the least energy of a cell, and some more
SIZES = {TRACK: (32, 32), MOMENTUM: (40, 40), CELLS[0]: (32, 32), CELLS[1]: (32, 32)}
SMALL = (16, 16)  # sizes of the hidden layers of other laws, which are learnt in a third of the steps
HARDLY = 1e-2  # so few of what is left in cells are below its least: cells that are not where they seem
BATCH = 2  # batches of so many times what a recipe says: particles are many


def samples_of(
    particles: Constituents,
    jets: JetTable,
    reco_particles: Constituents,
    reco: JetTable,
    pairs: tuple[Ints, Ints],
    lot: Floats,
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
    lot: of each pair, as of `pairs.JetPairs`, (N,).
    radius: of the jets.
    """
    of_x, of_y = pairs
    axes, in_reco = reco.values[of_y].astype(np.float64), reco_particles.rows(of_y)
    incoming = Incoming.of(particles.rows(of_x), jets.values[of_x])
    jet, values = incoming.particles.jet, incoming.particles.values
    origins = origins_of(incoming.particles, incoming.track_codes(), incoming.hits, in_reco)
    inside = _distance(values[:, ETA], values[:, PHI], axes[jet]) < radius - RIM
    pair = _Pairs(incoming, in_reco, origins, axes, lot, inside, origins.status != LOST, radius)
    charged, mate = charged_columns(incoming)
    made, measured = _of_tracks(pair, charged, mate), np.ones(len(values), dtype=bool)
    made[DECAY], of_decay = _of_decays(pair, measured)
    gone = both_lost(charged, mate, pair.has_track) | ~measured
    away = of_decay | (origins.status == DISPLACED)
    made[MOMENTUM], shared = _of_momenta(pair, charged, gone, away)
    made |= _of_cells(pair, gone, shared)
    # what is nearer to another gen jet is more likely of that
    own = in_reco.jet
    nearest_jet, _ = nearest(in_reco.values, jets.event[of_x][own], jets.values.astype(np.float64), jets.counts)
    entered = origins.entered[nearest_jet[origins.entered] == of_x[own[origins.entered]]]
    of_jets, kind = jet_columns(incoming), kinds_of(in_reco.code)
    for k, name in enumerate(ENTERED):
        mine = entered[kind[entered] == k]
        made[name] = law_sample(of_jets, lot, own[mine], relative_to(in_reco.values[mine], incoming.jets[own[mine]]))
    return made


class _Pairs(NamedTuple):
    """Gen jets with the reco jet of each.

    Attributes
    ----------
    incoming: particles of the gen jets.
    reco: particles of the reco jets.
    origins: which of these come from which of those.
    axes: of the reco jets, (N, 4).
    lot: of each pair, (N,).
    inside: which particles lie well within the reco jet, (M,).
    has_track: which have a track, (M,).
    radius: of the jets.
    """

    incoming: Incoming
    reco: Constituents
    origins: Origins
    axes: Doubles
    lot: Floats
    inside: Bools
    has_track: Bools
    radius: float


def _of_tracks(pair: _Pairs, charged: Singles, mate: Ints) -> dict[str, LawSample]:
    """Which particles have a track, and how those turn that do."""
    incoming, status, lot = pair.incoming, pair.origins.status, pair.lot[pair.incoming.particles.jet]
    rows = np.flatnonzero((incoming.charge != 0) & pair.inside)
    source = np.repeat(np.arange(len(rows)), status[rows])  # the number of a law is the status
    turned = rows[status[rows] == DISPLACED]
    before, after = incoming.particles.values[turned, PHI], pair.reco.values[pair.origins.track[turned], PHI]
    turn = wrap_phi(after - before) * incoming.charge[turned]
    return {
        TRACK: law_sample(with_mates(charged, rows, mate, status), lot[rows], source),
        DIRECTION: law_sample(charged[turned], lot[turned], np.arange(len(turned)), turn[:, None]),
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
    lot = pair.lot[incoming.particles.jet[decays.first[known]]]
    return law_sample(decays.columns[known], lot, np.flatnonzero(seen[known])), decays.of >= 0


def _of_momenta(pair: _Pairs, charged: Singles, gone: Bools, away: Bools) -> tuple[LawSample, Shared]:
    """The momenta of tracks; and what shares their cells after them."""
    incoming, has_track = pair.incoming, pair.has_track
    ratio = np.ones(len(has_track))
    ratio[has_track] = pair.reco.values[pair.origins.track[has_track], PT] / incoming.particles.values[has_track, PT]
    none = np.zeros(0, dtype=np.int64)
    shared = Shared.of(incoming, has_track, gone, away)
    rows, parts = [none], [track_columns(incoming, none, charged, shared)]
    for of_round in rounds(incoming, has_track):  # as they are drawn
        rows.append(of_round)
        parts.append(track_columns(incoming, of_round, charged, shared))
        shared = shared.with_tracks(incoming, of_round, ratio[of_round])
    tracks, columns = np.concatenate(rows), np.concatenate(parts)
    known = np.flatnonzero(pair.inside[tracks])
    tracks = tracks[known]
    lot = pair.lot[incoming.particles.jet[tracks]]
    return law_sample(columns[known], lot, np.arange(len(tracks)), np.log(ratio[tracks])[:, None]), shared


def _of_cells(pair: _Pairs, gone: Bools, shared: Shared) -> dict[str, LawSample]:
    """What is left in cells beside tracks, and where."""
    hits, reco, origins = pair.incoming.hits, pair.reco.values, pair.origins
    columns = cell_columns(pair.incoming, pair.has_track, gone, shared)
    inside = _distance(hits.centre[:, 0], hits.centre[:, 1], pair.axes[hits.jet]) < pair.radius - RIM
    energy, lot, made = reco[:, PT] * np.cosh(reco[:, ETA]), pair.lot[hits.jet], {}
    for which, name in CELLS.items():
        cells = np.flatnonzero((hits.calorimeter == which) & inside)
        source = np.flatnonzero(origins.left[cells] >= 0)
        there = cells[source]
        targets = left_targets(columns[there], energy[origins.left[there]])[:, None]
        made[name] = law_sample(columns[cells], lot[cells], source, targets)
        moved = np.flatnonzero(origins.shifted[there])
        way = reco[origins.left[there[moved]], ETA : PHI + 1] - hits.centre[there[moved]]
        way[:, 1] = wrap_phi(way[:, 1])
        made[SHIFTED[which]] = law_sample(columns[there], lot[there], moved, way / hits.width[there[moved]])
    return made


def _distance(eta: Doubles, phi: Doubles, axes: Doubles) -> Doubles:
    """ΔR to the axes of jets (K, 4)."""
    return np.hypot(eta - axes[:, ETA], wrap_phi(phi - axes[:, PHI]))


def tag_sample(jets: Doubles, parton: Ints | None, tag: Ints, lot: Floats) -> LawSample:
    """What the law of b-tags is learnt from: reco jets (N, 4), the partons of their gen jets, and their tags (N,)."""
    return law_sample(tag_columns(jets, parton), lot, np.flatnonzero(tag > 0))


def law_sample(columns: Floats, lot: Floats, source: Ints, targets: Floats | None = None) -> LawSample:
    """Sources with these columns, and the ys of some; of one training sample."""
    targets, least = np.zeros((len(source), 0)) if targets is None else targets, np.full(len(source), -np.inf)
    return LawSample(columns, lot, np.zeros(len(lot), dtype=np.int64), source, targets, least)


def with_particles(
    emulator: Emulator,
    sample: ParticlesSample,
    settings: TrainingSettings,
    *,
    checkpoint: Path | None = None,
    watch: Watch | None = None,
    device: str = "cpu",
) -> Emulator:
    """An emulator of the particles in jets as well: its jets as they are, and the model of particles.

    Parameters
    ----------
    emulator: whose jets the sample was made for.
    sample: of the laws.
    settings: schedule, shares and holdout of them are used.
    checkpoint, watch, device: as of `training.train`.

    Returns
    -------
    the emulator, whose card has this training among "extended".

    Raises
    ------
    ValueError: when there is too little of something to learn from.
    """
    all_of_it = [column for law in sample.laws.values() for column in law[:6]]
    phases = {f"{name} {asked}": True for name in sample.laws for asked in LAWS[name].asks}
    owner = str(emulator.card.get("hash"))
    course = Course.begin(settings, phases, all_of_it, checkpoint, watch, device, owner)
    laws: dict[str, Law] = {}
    least = [(0.0, 0.0)] * len(CELLS)
    for name, of_law in sample.laws.items():
        if len(of_law.source) < RARE:
            msg = f"particles: expected at least {RARE} of {name} to learn from, got {len(of_law.source)}"
            raise ValueError(msg)
        prepared, bounds = of_law, _bounds(of_law.targets)
        for which, cell in CELLS.items():
            if name == cell:
                prepared, least[which] = _with_least(of_law)
                bounds[0, 0] = min(bounds[0, 0], prepared.least.min())
        if name in ENTERED:
            bounds[0, 1] = 0.0
            bounds[:, 2] = -np.pi, np.pi
        learn, check = prepared.split(settings.holdout)
        schedule = shorter(settings, 3 if name in SIZES else 1, batch_size=BATCH * settings.batch_size)
        laws[name], _ = learn_law(
            name, learn, check, schedule, course, bounds, hidden=SIZES.get(name, SMALL), asks=LAWS[name].asks
        )
    model = Particles(laws, tuple(least), sample.radius, emulator.variables.scale)
    n_of = {name: len(law.source) for name, law in sample.laws.items()}
    return course.extended(emulator, settings, {"particles": n_of, "jets": sample.n_jets}, particles=model)


def _with_least(sample: LawSample) -> tuple[LawSample, tuple[float, float]]:
    """What is left in cells, but what is hardly so, and the least of it as of `Particles.least`.

    Detectors ask of what is left that it is significant: more than so many roots of the energy of the cell.
    """
    columns, targets = sample.columns[sample.source], sample.targets[:, 0]
    energy = left_of(columns, targets)
    roots = energy / least_left(columns, (0.0, 1.0))
    least = float((1.0 - ROUND) * energy.min()), float(np.quantile(roots, HARDLY))
    kept = roots >= least[1]
    edge = left_targets(columns[kept], least_left(columns[kept], least))
    return sample._replace(source=sample.source[kept], targets=sample.targets[kept], least=edge), least


def _bounds(targets: Floats) -> Doubles:
    """The least and the greatest of each target and some head-room, (2, n)."""
    low, high = targets.min(axis=0), targets.max(axis=0)
    margin = HEADROOM * (high - low) + ROUND
    return np.stack([low - margin, high + margin]).astype(np.float64)
