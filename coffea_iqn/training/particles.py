"""Pairs of jets with their particles to the model of these, beside an emulator's jets."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

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
    TAG,
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
from coffea_iqn.numerics.arrays import Doubles, Floats, Ints
from coffea_iqn.particles.calorimeter import PHOTON
from coffea_iqn.particles.columns import (
    DISPLACED,
    LOST,
    SOFT,
    Incoming,
    Shared,
    cell_columns,
    both_lost,
    charged_columns,
    decays_of,
    jet_columns,
    rounds,
    tag_columns,
    track_columns,
    with_mates,
)
from coffea_iqn.particles.matching import kinds_of, origins_of
from coffea_iqn.training.batches import Budget, Course
from coffea_iqn.training.emulators import claim
from coffea_iqn.training.laws import learn_law
from coffea_iqn.training.optimise import Fitted, Watch
from coffea_iqn.training.pairs import LawSample, ParticlesSample
from coffea_iqn.training.recipes import TrainingSettings

RIM = 0.1  # of the radius: what is so far from the rim of a reco jet is in it, or was not reconstructed
RARE = 20  # so few ys of a law say nothing of what they are like
TELLING = 1.0  # GeV: photons of so much are seen, where they are there
ROUND = 1e-3  # by how much files round the least energy of a cell, and some more
SIZES = {TRACK: (32, 32), MOMENTUM: (32, 32), CELLS[0]: (32, 32), CELLS[1]: (32, 32)}
SMALL = (16, 16)  # sizes of the hidden layers of other laws
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
    hits, values, jet = incoming.hits, incoming.particles.values, incoming.particles.jet
    origins = origins_of(incoming.particles, incoming.track_codes(), hits, in_reco)
    charged, mate = charged_columns(incoming)
    inside = _distance(values[:, ETA], values[:, PHI], axes[jet]) < radius - RIM
    rows = np.flatnonzero((incoming.charge != 0) & inside)
    status = origins.status[rows]
    made = {TRACK: law_sample(with_mates(charged, rows, mate, origins.status), lot[jet[rows]], np.repeat(np.arange(len(rows)), status))}
    turned = rows[status == DISPLACED]
    turn = wrap_phi(in_reco.values[origins.track[turned], PHI] - values[turned, PHI]) * incoming.charge[turned]
    made[DIRECTION] = law_sample(charged[turned], lot[jet[turned]], np.arange(len(turned)), turn[:, None])
    has_track = origins.status != LOST
    ratio = np.ones(len(values))
    ratio[has_track] = in_reco.values[origins.track[has_track], PT] / values[has_track, PT]
    decays, left = decays_of(incoming), origins.left[hits.cell]
    # photons that are hard enough say whether what they would be from was measured
    tells = np.flatnonzero((decays.of >= 0) & (incoming.species == PHOTON) & (hits.energy > TELLING))
    n_seen, n_all, n_inside = (
        np.bincount(decays.of[tells], weights=weights, minlength=len(decays.first))
        for weights in (left[tells] >= 0, np.ones(len(tells)), inside[tells])
    )
    known = np.flatnonzero((n_all > 1) & (n_inside == n_all))
    measured = np.append(n_seen > 0, True) | ~np.append(n_all > 1, False)
    made[DECAY] = law_sample(decays.columns[known], lot[jet[decays.first[known]]], np.flatnonzero(measured[known]))
    gone = both_lost(charged, mate, has_track) | ~measured[decays.of]
    shared, parts, order = Shared.of(incoming, has_track, gone), [], rounds(incoming, has_track)
    for of_round in order:  # as they are drawn
        parts.append(track_columns(incoming, of_round, charged, shared))
        shared = shared.with_tracks(incoming, of_round, ratio[of_round])
    tracks = np.concatenate([np.zeros(0, dtype=np.int64), *order])
    seen = np.concatenate(parts) if parts else track_columns(incoming, tracks, charged, shared)
    of_tracks = np.flatnonzero(inside[tracks])
    seen, tracks = seen[of_tracks], tracks[of_tracks]
    made[MOMENTUM] = law_sample(seen, lot[jet[tracks]], np.arange(len(tracks)), np.log(ratio[tracks])[:, None])
    columns, every = cell_columns(incoming, has_track, gone, shared), shared.every + SOFT
    energy = in_reco.values[:, PT] * np.cosh(in_reco.values[:, ETA])
    cell_inside = _distance(*hits.centre.T, axes[hits.jet]) < radius - RIM
    for which, name in CELLS.items():
        cells = np.flatnonzero((hits.calorimeter == which) & cell_inside)
        left = origins.left[cells]
        source = np.flatnonzero(left >= 0)
        targets = np.log(energy[left[source]] / every[cells[source]])[:, None]
        least = -np.log(every[cells[source]])
        made[name] = law_sample(columns[cells], lot[hits.jet[cells]], source, targets, least)
        there = cells[source]
        moved = np.flatnonzero(origins.shifted[there])
        way = in_reco.values[origins.left[there[moved]], ETA : PHI + 1] - hits.centre[there[moved]]
        way[:, 1] = wrap_phi(way[:, 1])
        way /= hits.width[there[moved]]
        made[SHIFTED[which]] = law_sample(columns[there], lot[hits.jet[there]], moved, way)
    of_jets, kind, own = jet_columns(incoming), kinds_of(in_reco.code), in_reco.jet
    # what is nearer to another gen jet is more likely of that
    nearest_jet, _ = nearest(in_reco.values, jets.event[of_x][own], jets.values.astype(np.float64), jets.counts)
    entered = origins.entered[nearest_jet[origins.entered] == of_x[own[origins.entered]]]
    for k, name in enumerate(ENTERED):
        mine = entered[kind[entered] == k]
        source = own[mine]
        made[name] = law_sample(of_jets, lot, source, relative_to(in_reco.values[mine], incoming.jets[source]))
    return made


def _distance(eta: Doubles, phi: Doubles, axes: Doubles) -> Doubles:
    """ΔR to the axes of jets (K, 4)."""
    return np.hypot(eta - axes[:, ETA], wrap_phi(phi - axes[:, PHI]))


def tag_sample(jets: Floats, parton: Ints | None, tag: Ints, lot: Floats) -> LawSample:
    """What the law of b-tags is learnt from: reco jets (N, 4), the partons of their gen jets, and their tags (N,)."""
    return law_sample(tag_columns(jets, parton), lot, np.flatnonzero(tag > 0))


def law_sample(
    columns: Floats, lot: Floats, source: Ints, targets: Floats | None = None, least: Floats | None = None
) -> LawSample:
    """Sources with these columns, and the ys of some; of one training sample."""
    targets = np.zeros((len(source), 0)) if targets is None else targets
    least = np.full(len(source), -np.inf) if least is None else least
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
    if checkpoint is not None:
        columns = [column for law in sample.laws.values() for column in law[:6]]
        claim(checkpoint, columns, settings, str(emulator.card.get("hash")))
    phases = [f"{name} {asked}" for name in sample.laws for asked in LAWS[name].asks]
    course = Course(0.0, settings.shares, device, checkpoint, watch, Budget(settings.minutes, phases))
    laws: dict[str, Law] = {}
    fits: dict[str, Fitted] = {}
    least = [0.0] * len(CELLS)
    schedule = replace(settings, batch_size=BATCH * settings.batch_size)
    for name, of_law in sample.laws.items():
        if len(of_law.source) < RARE:
            msg = f"particles: expected at least {RARE} of {name} to learn from, got {len(of_law.source)}"
            raise ValueError(msg)
        prepared, bounds = of_law, _bounds(of_law.targets)
        for which, cell in CELLS.items():
            if name == cell:
                least[which] = float((1.0 - ROUND) * np.exp((of_law.targets[:, 0] - of_law.least).min()))
                prepared = of_law._replace(least=of_law.least + np.log(least[which]))
                bounds[0, 0] = min(bounds[0, 0], prepared.least.min())
        if name in ENTERED:
            bounds[0, 1] = 0.0
            bounds[:, 2] = -np.pi, np.pi
        learn, check = prepared.split(settings.holdout)
        laws[name], of_networks = learn_law(
            name, learn, check, schedule, course, bounds, hidden=SIZES.get(name, SMALL), asks=LAWS[name].asks
        )
        fits |= of_networks
    report = {
        "particles": {name: len(law.source) for name, law in sample.laws.items()},
        "jets": sample.n_jets,
        "settings": asdict(settings),
        "validation_loss": {phase: fit.loss for phase, fit in fits.items()},
        "steps": {phase: fit.steps for phase, fit in fits.items()},
        "minutes": round(sum(fit.seconds for fit in fits.values()) / 60.0, 2),
    }
    card: dict[str, Any] = {key: value for key, value in emulator.card.items() if key != "hash"}
    card["extended"] = [*card.get("extended", []), report]
    model = Particles(laws, (least[0], least[1]), sample.radius, emulator.variables.scale)
    return replace(emulator, particles=model, card=card)


def _bounds(targets: Floats) -> Doubles:
    """The least and the greatest of each target and some head-room, (2, n)."""
    low, high = targets.min(axis=0), targets.max(axis=0)
    margin = HEADROOM * (high - low) + ROUND
    return np.stack([low - margin, high + margin]).astype(np.float64)
