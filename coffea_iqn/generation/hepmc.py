"""Read HepMC events of any generator with pyhepmc."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import numpy as np

from coffea_iqn.generation.listings import Listing
from coffea_iqn.generation.pythia import Particles, needed
from coffea_iqn.jets.prompt import CODES, PROTON
from coffea_iqn.numerics.arrays import Doubles, Ints
from coffea_iqn.ranges import expect

NOMINAL = ("weight", "default", "nominal", "0", "")  # names of the nominal weight in the order of preference
STABLE, BEAM = 1, 4  # status of particles of the final state, and of the beams
UNITS = re.compile(rb"^U (?:GEV|MEV) (?:MM|CM)\s*$", re.MULTILINE)


class NoHistoryWarning(UserWarning):
    """Event records have final-state particles only, so jet flavours and prompt leptons and photons are unknown."""


def read(listing: Listing, data: Any) -> tuple[Particles, Ints, tuple[float, float], bool]:
    """Read events.

    Parameters
    ----------
    listing: the events.
    data: Pythia's particle data, which define charged and invisible particles.

    Returns
    -------
    Particles; the number of each event, (events,); cross section and uncertainty [pb] from the last event, NaN if
    it has none; whether the records have partons and the ancestors of leptons and photons.

    Raises
    ------
    ValueError: if pyhepmc cannot read the events, for other units, events without stable particles, or stable particles
        that Pythia does not know.
    """
    import pyhepmc

    where = f"{listing.path}: events {listing.place + 1} to {listing.place + listing.n_events}"
    n_units, wanted = len(UNITS.findall(listing.text)), "expected a line of units in each event, as 'U GEV MM'"
    expect(n_units == listing.n_events, f"{where}: {wanted}, got {n_units} of GEV or MEV with MM or CM")
    pyhepmc.Setup.print_errors = pyhepmc.Setup.print_warnings = False
    numbers, weights, records, mothers = [], [], [], []
    cross_section = _cross_section(None, 0)
    with pyhepmc.open(io.BytesIO(listing.text)) as file:
        for event in file:
            event.set_units(pyhepmc.Units.GEV, pyhepmc.Units.MM)
            record = pyhepmc.GenEventData()
            event.write_data(record)
            numbers.append(event.event_number)
            nominal = _place_of_nominal(event)
            weights.append(float(event.weights[nominal]) if len(event.weights) else None)
            records.append(record.particles)
            mothers.append(_mothers(record))
            cross_section = _cross_section(event.cross_section, nominal)
    fits = len(records) >= listing.n_events
    expect(fits, f"{where}: expected {listing.n_events} that pyhepmc can read, got {len(records)}")
    fits = None not in weights or b"\nW " not in listing.text.partition(b"\nE ")[2]  # for example, not a number
    expect(fits, f"{where}: expected finite weights, got some that pyhepmc cannot read")
    flat = np.concatenate(records)
    momentum = np.stack([flat[name] for name in ("px", "py", "pz", "e")], axis=1)
    code, stable, mother = flat["pid"].astype(np.int64), flat["status"] == STABLE, np.concatenate(mothers)
    number, weight = np.array(numbers, dtype=np.int64), np.array([1.0 if one is None else one for one in weights])
    counts = np.array([len(record) for record in records], dtype=np.int64)
    _check(listing.path, data, number, weight, counts, code, flat["status"], momentum, mother)
    particles = needed(data, weight=weight, counts=counts, code=code, stable=stable, momentum=momentum, mother=mother)
    known = len(particles.parton_code) > 0 and bool(np.all(mother[stable & np.isin(np.abs(code), CODES)] >= 0))
    return particles, number, cross_section, known


def _cross_section(found: Any, nominal: int) -> tuple[float, float]:
    """Return cross section and uncertainty [pb] of the nominal weight; NaN for none, or 0, or a negative uncertainty.

    HepMC2 has one for all weights, which pyhepmc reads as that of the first, and 0 for the others.
    """
    if found is None:
        return math.nan, math.nan
    every = ((found.xsec(place), found.xsec_err(place)) for place in dict.fromkeys((nominal, 0)))
    return next(((value, error) for value, error in every if value and error >= 0.0), (math.nan, math.nan))


def _mothers(record: Any) -> Ints:
    """Return the index in the event of the first mother of each particle, (particles,); −1 for none.

    A link goes from a particle (positive) to its end vertex, or from a vertex (negative) to a particle.
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
    status: Ints,
    momentum: Doubles,
    mother: Ints,
) -> None:
    """Raise for events that would be misread, or whose particles are there twice, or are of several collisions.

    Arguments are those of `pythia.needed`, and the status of each particle.
    """
    event, stable = np.repeat(np.arange(len(counts)), counts), status == STABLE

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
        how = f"--set '{one}:new = ...' says what it is, '{one}:isVisible = off' that no detector sees it"
        refuse("stable particles that Pythia knows", event[wrong], f"{one}: {how}")
    above = (np.cumsum(counts) - counts)[event] + mother
    if len(wrong := event[(mother >= 0) & stable & stable[above]]):
        n_found = int((wrong == wrong[0]).sum())
        got = f"{n_found} that come from others of status {STABLE}: both would be in jets"
        refuse(f"particles of status {STABLE} that do not decay", wrong, got)
    protons = np.bincount(event[(mother < 0) & (status == BEAM) & (np.abs(code) == PROTON)], minlength=len(counts))
    if len(wrong := np.flatnonzero(protons > 2)):  # a nucleus has another code
        refuse("one collision", wrong, f"{protons[wrong[0]]} beam protons: gen jets are without pile-up")


def _place_of_nominal(event: Any) -> int:
    """Return the place of the weight that is named as nominal, or else 0."""
    try:
        names = [name.strip().lower() for name in event.weight_names]
    except RuntimeError:  # without names, or a run that has some
        names = []
    return next((names.index(name) for name in NOMINAL if name in names), 0)
