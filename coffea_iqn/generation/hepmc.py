"""HepMC: whole events that any generator made, read by pyhepmc."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import numpy as np

from coffea_iqn.generation.listings import Listing
from coffea_iqn.generation.pythia import Particles, needed
from coffea_iqn.jets.prompt import CODES
from coffea_iqn.numerics.arrays import Bools, Doubles, Ints

STABLE = 1  # status of a particle that leaves the event
UNITS = re.compile(rb"^U (?:GEV|MEV) (?:MM|CM)\s*$", re.MULTILINE)


class NoHistoryWarning(UserWarning):
    """Records of final particles alone: no flavour of a jet is known, nor which leptons and photons are prompt."""


def read(listing: Listing, data: Any) -> tuple[Particles, Ints, tuple[float, float], bool]:
    """Read events.

    Parameters
    ----------
    listing: the events.
    data: Pythia's tables of particles, which say what has a charge and what is invisible.

    Returns
    -------
    Particles; the number of each event, (events,); cross section and uncertainty [pb], as the last event has them, NaN
    where it does not; whether partons and the ancestors of leptons and photons are there.

    Raises
    ------
    ValueError: for what pyhepmc cannot read, other units, no stable particle, a stable one that Pythia does not know.
    """
    import pyhepmc

    where = f"{listing.path}: events {listing.place + 1} to {listing.place + listing.n_events}"
    if (n_units := len(UNITS.findall(listing.text))) != listing.n_events:
        msg = f"{where}: expected a line of units with each, as 'U GEV MM', got {n_units} of GEV or MEV with MM or CM"
        raise ValueError(msg)
    pyhepmc.Setup.print_errors = pyhepmc.Setup.print_warnings = False
    numbers, weights, records, mothers = [], [], [], []
    cross_section = (math.nan, math.nan)
    with pyhepmc.open(io.BytesIO(listing.text)) as file:
        for event in file:
            event.set_units(pyhepmc.Units.GEV, pyhepmc.Units.MM)
            record = pyhepmc.GenEventData()
            event.write_data(record)
            numbers.append(event.event_number)
            weights.append(event.weights[0] if len(event.weights) else None)
            records.append(record.particles)
            mothers.append(_mothers(record))
            found = event.cross_section
            cross_section = (math.nan, math.nan) if found is None else (found.xsec(), found.xsec_err())
    if len(records) < listing.n_events:
        msg = f"{where}: expected {listing.n_events} that pyhepmc can read, got {len(records)}"
        raise ValueError(msg)
    if None in weights and b"\nW " in listing.text.partition(b"\nE ")[2]:  # as of one that is not a number
        msg = f"{where}: expected finite weights, got some that pyhepmc cannot read"
        raise ValueError(msg)
    flat = np.concatenate(records)
    momentum = np.stack([flat[name] for name in ("px", "py", "pz", "e")], axis=1)
    code, stable, mother = flat["pid"].astype(np.int64), flat["status"] == STABLE, np.concatenate(mothers)
    number, weight = np.array(numbers, dtype=np.int64), np.array([1.0 if one is None else one for one in weights])
    counts = np.array([len(record) for record in records], dtype=np.int64)
    _check(listing.path, data, number, weight, counts, code, stable, momentum)
    particles = needed(data, weight=weight, counts=counts, code=code, stable=stable, momentum=momentum, mother=mother)
    known = len(particles.parton_code) > 0 and bool(np.all(mother[stable & np.isin(np.abs(code), CODES)] >= 0))
    return particles, number, cross_section, known


def _mothers(record: Any) -> Ints:
    """The first mother of each particle, its place in the event, (particles,); −1 for none.

    A link goes from a particle, above zero, to the vertex where it ends, or from a vertex, below zero, to a particle.
    """
    start, end = np.asarray(record.links1, dtype=np.int64), np.asarray(record.links2, dtype=np.int64)
    into, out = start > 0, start < 0
    none = len(record.particles)
    first = np.full(len(record.vertices) + 1, none, dtype=np.int64)
    np.minimum.at(first, -end[into], start[into] - 1)
    mother = np.full(none, none, dtype=np.int64)
    mother[end[out] - 1] = first[-start[out]]
    return np.where(mother < none, mother, -1)


def _check(
    path: str,
    data: Any,
    number: Ints,
    weight: Doubles,
    counts: Ints,
    code: Ints,
    stable: Bools,
    momentum: Doubles,
) -> None:
    """Refuse what would be other events than they seem; arguments as of `pythia.needed`."""
    event = np.repeat(np.arange(len(counts)), counts)

    def refuse(expected: str, which: Ints, found: object) -> None:
        msg = f"{path}, event {number[which[0]]}: expected {expected}, got {found}"
        raise ValueError(msg)

    if len(wrong := np.flatnonzero(number < 0)):
        refuse("a number of 0 or more", wrong, number[wrong[0]])
    if len(wrong := np.flatnonzero(~np.isfinite(weight))):
        refuse("a finite weight", wrong, weight[wrong[0]])
    if len(wrong := np.flatnonzero(np.bincount(event[stable], minlength=len(counts)) == 0)):
        refuse(f"stable particles, of status {STABLE}", wrong, "none")
    if len(wrong := np.flatnonzero(stable & ~np.isfinite(momentum).all(axis=1))):
        refuse("finite momenta", event[wrong], momentum[wrong[0]].tolist())
    unknown = [one for one in np.unique(code[stable]) if not data.isParticle(int(one))]
    if len(wrong := np.flatnonzero(stable & np.isin(code, unknown))):
        one = code[wrong[0]]
        refuse("stable particles that Pythia knows", event[wrong], f"{one}: --set '{one}:new = ...' says what it is")
