"""Les Houches events: read the cross section from a file, and shower the events with Pythia."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import awkward as ak
import numpy as np

from coffea_iqn.generation.listings import Listing
from coffea_iqn.generation.pythia import Particles, particles_of
from coffea_iqn.numerics.arrays import Ints
from coffea_iqn.ranges import expect

AS_THEY_ARE = (3, 4)  # values of |IDWTUP| for which Pythia does not unweight events
WEIGHT = re.compile(rb"<event[^>]*>\s*\S+\s+\S+\s+(\S+)")  # XWGTUP in the first line of an event
SUBTRACTED = re.compile(rb"^\s*(\w+)\s*=\s*parton_shower\b", re.MULTILINE | re.IGNORECASE)  # in that of MC@NLO
MATCHED = re.compile(  # in MadGraph's run card: matching, or the scale of merging if above zero
    rb"^\s*(-?[1-9]\d*\s*=\s*ickkw|(?=[\d.]*[1-9])[\d.]+(?:[de][+-]?\d+)?\s*=\s*(?:ktdurham|ptlund))\b",
    re.MULTILINE | re.IGNORECASE,
)
EQUAL = 0.01  # by how much weights may differ that count as equal
AS_SUBTRACTED = (  # how Pythia showers what MC@NLO has subtracted, by its manual
    "SpaceShower:pTmaxMatch = 1",
    "SpaceShower:MEcorrections = off",
    "TimeShower:pTmaxMatch = 1",
    "TimeShower:MEcorrections = off",
    "TimeShower:globalRecoil = on",
    "TimeShower:weightGluonToQuark = 1",
)


def cross_section(listing: Listing) -> tuple[float, float]:
    """Return the sum of XSECUP over processes, and that of XERRUP in quadrature [pb]; NaN if the file has none.

    E. Boos et al., hep-ph/0109068; J. Alwall et al., Comput. Phys. Commun. 176 (2007) 300.

    Raises
    ------
    ValueError: if the header is invalid, or declares events that are not unweighted yet, or of weight 1 (3) or ±1 (−3)
        although their weights differ; or events of several multiplicities that overlap once they are showered.
    """
    found = re.search(rb"<init[^>]*>(.*?)</init>", listing.text, re.DOTALL)
    if matched := MATCHED.search(listing.text, 0, found.start() if found else 0):
        why = "showers make their jets a second time; match them with Pythia, and read its HepMC events"
        msg = f"{listing.path}: expected events that need no matching, got {matched[1].decode()}: {why}"
        raise ValueError(msg)
    try:
        first, *lines = (found[1] if found else b"").decode().strip().splitlines()
        strategy, n_processes = map(int, first.split()[8:10])
        values = np.array([line.split()[:2] for line in lines[:n_processes]], dtype=np.float64)
        total, error = float(values[:, 0].sum()), float(np.hypot.reduce(values[:, 1]))
    except (ValueError, IndexError):
        msg = f"{listing.path}: expected <init> with a line of ten numbers and one of four for each process"
        raise ValueError(msg) from None
    fits = abs(strategy) in AS_THEY_ARE
    expect(fits, f"{listing.path}: expected events that need no unweighting, IDWTUP of ±3 or ±4, got {strategy}")
    if abs(strategy) == AS_THEY_ARE[0]:
        _check_equal(listing, strategy)
    return (total, error) if total else (math.nan, math.nan)


def check_shower(pythia: Any, listing: Listing) -> None:
    """Raise if MC@NLO has subtracted another shower from the events than the one that Pythia is about to add."""
    found = SUBTRACTED.search(listing.text, 0, listing.text.find(b"<init"))
    if found is None:
        return
    name = found[1].decode()
    wanted = "expected events for showers of Pythia 8"
    expect(name.upper() == "PYTHIA8", f"{listing.path}: {wanted}, got {name} = parton_shower")
    other = [line for line in AS_SUBTRACTED if not _is_set(pythia, *line.split(" = "))]
    why = "without them it adds other emissions than those that MC@NLO has subtracted"
    expect(not other, f"{listing.path}: expected the settings '{', '.join(other)}' (--set), got others: {why}")


def _is_set(pythia: Any, name: str, value: str) -> bool:
    settings = pythia.settings
    if settings.isFlag(name):
        return bool(settings.flag(name) == (value == "on"))
    return bool((settings.mode if settings.isMode(name) else settings.parm)(name) == float(value))


def _check_equal(listing: Listing, strategy: int) -> None:
    """Raise for events of different weights in a file that declares them equal: Pythia would ignore the weights."""
    try:
        weights = np.array(WEIGHT.findall(listing.text), dtype=np.float64)
    except ValueError:  # Pythia says what it cannot read
        return
    weights = np.abs(weights) if strategy < 0 else weights
    if len(weights):
        got = f"got {weights.min():.4g} to {weights.max():.4g}: if they are weights, IDWTUP has to be -4"
        fits = not np.ptp(weights) > EQUAL * np.abs(weights).max()  # also of weights that are no numbers
        expect(fits, f"{listing.path}: expected equal weights XWGTUP, as IDWTUP is {strategy}, {got}")


def showered(pythia: Any, listing: Listing, batch: int, said: Callable[[], str]) -> Iterator[tuple[Particles, Ints]]:
    """Shower and hadronise each event of the file that Pythia was started with, once.

    Yields
    ------
    Particles of up to `batch` events, and their indices in the listing; events that Pythia cannot shower are left out.

    Raises
    ------
    ValueError: if Pythia cannot read an event, or cannot shower any.
    """
    done: list[Any] = []
    places: list[int] = []
    n_read = n_made = 0
    while n_read < listing.n_events and not pythia.infoPython().atEndOfFile():
        one = pythia.nextBatch(1, "none")
        n_read = pythia.infoPython().nTried(0)  # increases by two if Pythia gave up an event before its shower
        if not ak.is_none(one, axis=0)[0]:
            done.append(one)
            places.append(n_read - 1)
        if done and (len(done) == batch or n_read == listing.n_events):
            yield particles_of(pythia, ak.drop_none(ak.concatenate(done), axis=0)), np.array(places)
            n_made += len(done)
            done, places = [], []
    where = f"{listing.path}: events {listing.place + 1} to {listing.place + listing.n_events}"
    fits = n_read >= listing.n_events
    expect(fits, f"{where}: expected {listing.n_events} that Pythia can read, got {n_read}: {said()}")
    expect(n_made, f"{where}: expected some that Pythia can shower, got none: {said()}")
