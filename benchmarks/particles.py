"""Jets of particles: emulated ones against Delphes', figure by figure.

    python benchmarks/particles.py --train wwhad_train.root qcdhard_train.root \
        --test WW=wwhad_test.root QCD=qcdhard_test.root --vae vae.safetensors --figure particles.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from coffea.nanoevents import NanoEventsFactory

from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.events.constituents import constituents_of
from coffea_iqn.events.names import Names
from coffea_iqn.files.inputs import NanoSchema
from coffea_iqn.jets.constituents import Constituents
from coffea_iqn.jets.features import ETA, PHI, PT
from coffea_iqn.jets.matching import default_cone, match_jets
from coffea_iqn.numerics.arrays import Ints
from coffea_iqn.numerics.uniforms import Words, event_keys

RADIUS = 0.5
PT_MIN = {"train": 130.0, "test": 200.0}  # GeV, of gen jets
SEED = 1


class Pairs(NamedTuple):
    """Gen jets with their reco jets, row by row: particles of both, and what the levels of each gen jet depend on.

    Attributes
    ----------
    gen, reco: particles.
    keys: of the event of each, (N, 4).
    place: of each gen jet in its event, (N,).
    """

    gen: Constituents
    reco: Constituents
    keys: Words
    place: Ints

    def take(self, rows: Ints) -> Pairs:
        return Pairs(of_rows(self.gen, rows), of_rows(self.reco, rows), self.keys[rows], self.place[rows])


def of_rows(jets: Constituents, rows: Ints) -> Constituents:
    """Some jets of all."""
    counts = jets.counts[rows]
    first, made = np.cumsum(jets.counts) - jets.counts, np.cumsum(counts) - counts
    particles = np.arange(counts.sum()) + np.repeat(first[rows] - made, counts)
    return Constituents(jets.values[particles], jets.code[particles], counts)


def read(path: str, pt_min: float, seed: int = SEED) -> Pairs:
    """The pairs of a file with gen jets above a pt [GeV]."""
    events = NanoEventsFactory.from_root({path: "Events"}, schemaclass=NanoSchema).events()
    gen, reco = flatten_jets(events.GenJet), flatten_jets(events.Jet)
    inside = [constituents_of(events, gen, Names()), constituents_of(events, reco, Names(constituents=("PFCands",)))]
    places = (jets.values[:, k] for jets in (gen, reco) for k in (ETA, PHI))
    eta, phi, reco_eta, reco_phi = places
    match = match_jets(eta, phi, gen.counts, reco_eta, reco_phi, reco.counts, cone=default_cone(RADIUS))
    rows = np.flatnonzero((match >= 0) & (gen.values[:, PT] > pt_min))
    number = [np.asarray(events[name]) for name in ("run", "luminosityBlock", "event")]
    keys = event_keys(seed, Path(path).stem, *number, stream="particles")[gen.event]
    particles, of_reco = (of_rows(*side) for side in ((inside[0], rows), (inside[1], match[rows])))
    return Pairs(particles, of_reco, keys[rows], gen.place[rows])


def joined(pairs: Sequence[Pairs]) -> Pairs:
    """Those of several files."""
    sides = [Constituents(*map(np.concatenate, zip(*side, strict=True))) for side in zip(*(p[:2] for p in pairs))]
    return Pairs(*sides, *(np.concatenate([p[k] for p in pairs]) for k in (2, 3)))
