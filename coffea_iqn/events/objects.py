"""Read reco electrons, muons, photons and missing momentum from coffea's events; check what they are drawn from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import awkward as ak
import numpy as np

from coffea_iqn.events.checks import CENTRAL, extension_of, least_central, warn_few_leptons, warn_hard, warn_threshold
from coffea_iqn.events.collections import FIELDS, GenEvents, pt_and_phi, without_leptons
from coffea_iqn.jets.features import ETA, PT
from coffea_iqn.jets.matching import any_within, match_jets
from coffea_iqn.jets.prompt import CODES, PT_MIN, PromptParticles
from coffea_iqn.jets.table import JetTable, places
from coffea_iqn.numerics.arrays import Doubles
from coffea_iqn.objects.kinds import CONE, KINDS, REACH, Found
from coffea_iqn.ranges import expect

# names of the isolation in NanoAOD and Delphes: the transverse momentum around an object over its own
ISOLATION = ("relIso", "pfRelIso04_all", "pfRelIso03_all", "IsolationVar")
CHARGE = ("charge", "Charge")
MISSING = ("MET", "PuppiMET", "MissingET")  # missing momentum at reco level
# of prompt particles: pt [GeV] above which they make a gen jet, number that tells, share that may lack one
HARD, FEW, MOST_BARE = 20.0, 10, 0.2

OBJECT_BRANCHES = (
    *(f"n{kind.name}" for kind in KINDS),
    *(
        f"{kind.name}?{name}"
        for kind in KINDS
        for known in FIELDS
        for name in FIELDS[known]
        if kind.charged or known != "mass"  # coffea itself adds a mass and a charge to photons
    ),
    *(f"{kind.name}?{name}" for kind in KINDS for name in (*ISOLATION, *(CHARGE if kind.charged else ()))),
    *(pattern for name in MISSING for pattern in (f"{name}_pt", f"{name}_phi", f"{name}.*")),
)
"""Patterns of the branches of objects and missing momentum, with the counters of their collections."""


def _first(known: Collection[str], fields: Collection[str]) -> str:
    """Return the first of these names that is among the fields, or ""."""
    return next((name for name in known if name in fields), "")


def isolation_of(objects: ak.Array) -> str:
    """Return the name of the isolation of these objects, or "" if they have none."""
    return _first(ISOLATION, objects.fields)


def reco_missing(events: ak.Array) -> Doubles:
    """Return pt [GeV] and phi [rad] of the missing momentum at reco level, (events, 2).

    Raises
    ------
    ValueError: if the events have none.
    """
    name = _first(MISSING, events.fields)
    expect(name, f"events: expected missing momentum ({', '.join(MISSING)}), found none")
    return pt_and_phi(events[name])


def of_kinds(particles: PromptParticles) -> dict[str, JetTable]:
    """Split particles by the name of their kind, each a table with pt, eta and phi."""
    values, counts = particles.values.astype(np.float64), particles.counts
    return Found(values, particles.kind, particles.event, places(counts), values[:, 0]).tables(len(counts))


def reco_objects(events: ak.Array, particles: PromptParticles) -> Found:
    """Return the reco electrons, muons and photons of events, each matched to a prompt particle of its kind.

    Nearest pairs are matched first within `kinds.CONE`, each particle at most once; source_pt is the particle's pt.

    Raises
    ------
    ValueError: if the events lack a collection or one of its fields.
    """
    # by row of the particle; the last entries are those of no particle, row −1
    place, pt = np.append(places(particles.counts), -1), np.append(particles.values[:, 0], 0.0)
    parts = []
    for k, kind in enumerate(KINDS):
        found = events[kind.name] if kind.name in events.fields else None
        names = [_first(FIELDS[name], [] if found is None else found.fields) for name in ("pt", "eta", "phi")]
        if found is None or not all(names):
            msg = f"events: expected {kind.name} with pt, eta and phi, found {', '.join(sorted(events.fields))}"
            raise ValueError(msg)
        names += [isolation_of(found), _first(CHARGE, found.fields)]
        counts = ak.to_numpy(ak.num(found[names[0]], axis=1)).astype(np.int64)
        values = np.zeros((int(counts.sum()), len(names)))
        for column, name in enumerate(names):
            if name:
                values[:, column] = ak.to_numpy(ak.flatten(found[name]))
        rows = np.flatnonzero(particles.kind == k)
        of_kind, source = particles.values[rows], np.full(len(values), -1)
        n_of_kind = np.bincount(particles.event[rows], minlength=len(events))
        match = match_jets(of_kind[:, 1], of_kind[:, 2], n_of_kind, values[:, 1], values[:, 2], counts, cone=CONE)
        source[match[match >= 0]] = rows[match >= 0]
        event = np.repeat(np.arange(len(events)), counts)
        parts.append(Found(values, np.full(len(values), k), event, place[source], pt[source]))
    return Found.joined(parts)


def check_prompt(gen: ak.Array, known: GenEvents, card: Mapping[str, Any], model: str) -> None:
    """Check the prompt particles and missing momentum at gen level that whole events are drawn from, besides gen jets.

    What becomes of a lepton depends on the particles around it, so on its gen jet: without one it is mostly lost.

    Raises
    ------
    ValueError: if the events do not have both; if missing momentum is not finite or its pt is below 0; if many fewer
        prompt particles have a gen jet than in the training.
    """
    removed = without_leptons(gen.layout.purelist_parameter("collection_name"))
    particles, missing, jets = None if removed else known.prompt, known.missing, known.jets
    if particles is None or missing is None:
        lacks = "missing momentum (GenMET)"
        if particles is None:
            lacks = "GenDressedLepton and GenIsolatedPhoton, GenPart, or Particle"
        msg = f"events: expected {lacks} to fold whole events, found none"
        raise ValueError(msg)
    n_bad = int((~(np.isfinite(missing).all(axis=1) & (missing[:, 0] >= 0.0))).sum())
    expect(n_bad == 0, f"missing momentum: expected finite phi and pt from 0 on, got {n_bad} of {len(missing)} others")
    warn_hard(particles.values[:, PT], model)
    lepton_pt = particles.values[particles.kind < CODES.index(22), PT]
    if len(lepton_pt):
        begin = float(lepton_pt.min())
        warn_threshold("prompt leptons", begin, len(lepton_pt), PT_MIN[0], model, factor=2.0, enough=300)
    warn_few_leptons(particles, model)
    least, _, reach = least_central(jets.values)
    inside = np.abs(particles.values[:, ETA]) < min(CENTRAL, reach - REACH)  # jets may have been cut
    rows = np.flatnonzero(inside & (particles.values[:, PT] > max(HARD, 2.0 * least)))
    if len(rows) < FEW:
        return
    own = any_within(REACH, particles.values[rows], particles.event[rows], jets.values, jets.counts)
    trained = extension_of(card, "in_jets").get("in_jets", 1.0)
    got = f"got no gen jet within ΔR of {REACH} for {int((~own).sum())} of {len(rows)} hard ones"
    fits = own.mean() > trained - MOST_BARE
    expect(fits, f"gen jets: expected prompt leptons and photons among their particles, as in the training, {got}")
