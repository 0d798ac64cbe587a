"""Training of the model of electrons, muons, photons and missing momentum, added to an emulator of jets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Unpack

import numpy as np
import torch

from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.emulator.objects import FAR, JETS, MISSING, NEAR, PARTICLE, Objects, asks_of
from coffea_iqn.iqn.distribution import Law
from coffea_iqn.iqn.standardisation import Standardisation, core
from coffea_iqn.jets.context import WIDTHS
from coffea_iqn.jets.prompt import N_INSIDE
from coffea_iqn.jets.support import HEADROOM
from coffea_iqn.numerics.arrays import Doubles, Floats
from coffea_iqn.objects.columns import (
    ACROSS,
    COMPOSITION,
    HARDEST,
    ISOLATION,
    NONE,
    isolation_targets,
    share_in_jets,
    widening,
)
from coffea_iqn.objects.kinds import CONE, KINDS, REACH
from coffea_iqn.ranges import expect
from coffea_iqn.training.laws import Part, learn_laws
from coffea_iqn.training.pairs import LawSample, ObjectsSample
from coffea_iqn.training.recipes import TrainingSettings, of_few
from coffea_iqn.training.run import How, TrainingRun

RARE = 20  # fewer objects of a kind and origin are not modelled
SMALL = 1000  # laws of no more objects that match no particle get small networks
PARTICLES = "particles"  # the laws of prompt particles share networks: isolation is much the same for all kinds
# angles of tracks equal those of the particles up to rounding in files; this smearing gives them a density
BLUR = 1e-4
EDGE = 1e-3  # margin of the range of isolation around that of the training sample: files round
NARROW = 1e-6  # minimum width of a range
SIZES = {PARTICLE: (32, 32), NEAR: (16, 16), FAR: (16, 16), JETS: (16, 16), MISSING: (64, 64)}
SMALL_SIZES = (8,)
WEIGHT_DECAY = 0.3  # with less, objects are memorised
CHECKS = 40  # checks of the validation loss: small samples have the best state before the end
OF_WIDTH, SIGNIFICANT = 100, 3.0  # objects of one pt whose resolution is measured; its growth, in standard deviations
MARGIN = 2.0  # ceilings of probabilities are so many times the greatest ones of the training sample
ROUND = 0.02  # a threshold is a whole number of GeV if the least pt is above it by at most this fraction


def with_objects(
    emulator: Emulator,
    sample: ObjectsSample,
    settings: TrainingSettings,
    **how: Unpack[How],
) -> Emulator:
    """Add a model of objects to an emulator, for whole events; its jets are unchanged.

    Parameters
    ----------
    emulator: the emulator of jets that the sample was made for.
    sample: training samples of the laws.
    settings: training settings; uses schedule, shares, blind, reflect and holdout.
    how: checkpoint, watch and device, see `training.train`.

    Returns
    -------
    the emulator; its card has this training under "extended".

    Raises
    ------
    ValueError: if there are too few objects of a kind, or too few jets with prompt particles.
    """
    arrays = [array for law in sample.laws.values() for array in law[:6]]
    n_of = {name: len(law.source) for name, law in sample.laws.items()}
    phases = {
        f"{first} {asked}": n_of[names[0]] >= RARE
        for first, names in _together(n_of).items()
        for asked in asks_of(names[0])
    }
    run = TrainingRun(settings, phases, arrays, str(emulator.card.get("hash")), **how)
    objects = _learn(sample, run)
    in_jets = share_in_jets(np.concatenate([sample.laws[kind.name + PARTICLE].columns for kind in KINDS]))
    return run.extended(emulator, {"objects": n_of, "in_jets": round(in_jets, 4)}, objects=objects)


def check_enough(sample: ObjectsSample) -> None:
    """Raise ValueError if there are too few objects of prompt particles, of jets with these, or of missing momentum."""
    for name, law in sample.laws.items():
        n = len(law.source)
        enough = n >= RARE or _parts(name)[1] in (NEAR, FAR)
        expect(enough, f"objects: expected at least {RARE} of {name} to learn from, got {n}")


def _learn(sample: ObjectsSample, run: TrainingRun) -> Objects:
    check_enough(sample)
    settings = run.settings
    pt_min = tuple(_threshold(sample.least_pt(kind.plural)) for kind in KINDS)
    ends = tuple(_ends_of_isolation(sample, kind.name) for kind in KINDS)
    shares = tuple(_track_share(sample.laws[kind.name]) for kind in KINDS)
    parts: dict[str, Part] = {}
    for name, of_law in sample.laws.items():
        (kind, what), n = _parts(name), len(of_law.source)
        if what in (NEAR, FAR) and n < RARE:
            continue
        log_pt_min, prepared = 0.0, of_law
        if kind is not None:
            log_pt_min = np.log(pt_min[kind])
            prepared = _encoded(of_law, log_pt_min, ends[kind], settings.seed)
        if what == PARTICLE and kind is not None:
            prepared = _of_particles(prepared, widening(_source_pt(of_law), shares[kind]))
        elif what == MISSING and settings.reflect:
            prepared = _with_mirrored(of_law)
        learn, check = prepared.split(settings.holdout)
        if not len(learn.source) or not len(check.source):  # too few to split
            learn = check = prepared
        if what == PARTICLE:
            # a few badly measured objects would set the scale, and the few in the core could not narrow it down
            scale = Standardisation.of_core(prepared.targets, ISOLATION)
        else:
            scale = Standardisation.of(learn.targets)
        parts[name] = Part(learn, check, _bounds(what, prepared.targets, log_pt_min), scale)
    laws: dict[str, Law] = {}
    for first, names in _together(parts).items():
        (_, what), own = _parts(names[0]), [parts[name] for name in names]
        small = what != PARTICLE and len(sample.laws[names[0]].source) <= SMALL
        has_isolated = any((part.learn.targets[:, ISOLATION:] == NONE).any() for part in own)
        learnt = learn_laws(
            first,
            own,
            _schedule(settings, what),
            run,
            hidden=SMALL_SIZES if small else SIZES[what],
            atoms=(ISOLATION,) if has_isolated else (),
            asks=asks_of(names[0]),
        )
        laws |= zip(names, learnt, strict=True)
    near = ((laws.get(kind.name + NEAR), sample.laws[kind.name + NEAR]) for kind in KINDS)
    ceilings = tuple(1.0 if law is None else _ceiling(law, of.columns, sample.context) for law, of in near)
    return Objects(laws, pt_min, sample.isolation, ends, shares, sample.inputs, sample.context, ceilings)


def _ceiling(law: Law, columns: Floats, context: Sequence[str]) -> float:
    """Return one of `Objects.ceilings` from the law of objects near gen jets and the `jet_columns` of its sample.

    context: the levels in the last columns.
    """
    assert law.number is not None
    levels = columns[:, columns.shape[1] - sum(WIDTHS[level] for level in context) :]
    first = sum(WIDTHS[level] for level in context[: context.index("prompt")])
    ordinary = columns[levels[:, first + N_INSIDE] == 0.0]
    with torch.no_grad():
        none = law.number.module(law.inputs(ordinary)).double().softmax(dim=1)[:, 0]
    return min(MARGIN * (1.0 - float(none.min())), 1.0) if len(none) else 1.0


def _together(names: Iterable[str]) -> dict[str, list[str]]:
    """Group the names of laws that share networks, by the name of their phases."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(PARTICLES if _parts(name)[1] == PARTICLE else name, []).append(name)
    return groups


def _schedule(settings: TrainingSettings, what: str) -> TrainingSettings:
    """Return the schedule of a law: all steps for missing momentum, a third of them and more checks for others."""
    if what == MISSING:
        return replace(settings, weight_decay=max(settings.weight_decay, WEIGHT_DECAY))
    return of_few(settings, WEIGHT_DECAY, checks=CHECKS)


def _source_pt(sample: LawSample) -> Doubles:
    """Return the pt [GeV] of the sources of objects, 1 for those that have none."""
    return np.exp(-np.where(np.isfinite(sample.least), sample.least, 0.0))


def _pt(sample: LawSample) -> Doubles:
    """Return the pt [GeV] of objects: the first target is log pt, relative to that of the source if there is one."""
    return np.asarray(np.exp(sample.targets[:, 0]) * _source_pt(sample))


def _track_share(sample: LawSample) -> float:
    """Return the share of `widening` of objects of prompt particles, from a fit of a² + b² pt² to their resolution."""
    pt, ratio = _source_pt(sample), sample.targets[:, 0]
    n_groups = len(pt) // OF_WIDTH
    if n_groups < 4:  # two parameters and their errors
        return 0.0
    of_pt = np.array_split(np.argsort(pt, kind="stable"), n_groups)
    squared = [np.mean(pt[rows] ** 2) / HARDEST**2 for rows in of_pt]
    variance = np.array([core(ratio[rows])[1] ** 2 for rows in of_pt])
    if not variance.all():
        return 0.0
    (growth, constant), errors = np.polyfit(squared, variance, 1, w=1.0 / variance, cov=True)
    if growth < SIGNIFICANT * math.sqrt(errors[0, 0]):
        return 0.0
    return float(min(growth / (growth + max(constant, 0.0)), 1.0))


def _ends_of_isolation(sample: ObjectsSample, kind: str) -> tuple[float, float]:
    """Return the least energy around an object of a kind [GeV], and its greatest isolation."""
    of_laws = [sample.laws[kind + what] for what in (PARTICLE, NEAR, FAR)]
    isolation = np.concatenate([of_law.targets[:, ISOLATION] for of_law in of_laws])
    around = isolation * np.concatenate([_pt(of_law) for of_law in of_laws])
    least = float(around[isolation > 0.0].min(initial=np.inf))
    if not np.isfinite(least):  # isolation is always zero, or unknown
        return NARROW, NARROW
    return (1.0 - EDGE) * least, (1.0 + EDGE) * float(isolation.max())


def _threshold(least: float) -> float:
    """Return the pt threshold [GeV] of objects with this least pt."""
    whole = float(math.floor(least))
    return whole if least <= (1.0 + ROUND) * whole else least


def _parts(name: str) -> tuple[int | None, str]:
    """Split the name of a law into the index of its kind, if any, and the rest."""
    for k, kind in enumerate(KINDS):
        if name.startswith(kind.name):
            return k, name.removeprefix(kind.name)
    return None, name


def _encoded(sample: LawSample, log_pt_min: float, ends: tuple[float, float], seed: int) -> LawSample:
    """Return the sample of objects with blurred angles, encoded isolation, and pt_min included in `least`."""
    targets = sample.targets.copy()
    targets[:, 1:3] += np.random.default_rng(seed).uniform(-BLUR, BLUR, (len(targets), 2))
    targets[:, ISOLATION] = isolation_targets(sample.targets[:, ISOLATION], _pt(sample), ends)
    return sample._replace(targets=targets, least=sample.least + log_pt_min)


def _of_particles(sample: LawSample, wider: Doubles) -> LawSample:
    """Return the sample with log pt in units of its `widening`, and again as in files without composition of jets."""
    targets, columns = sample.targets.copy(), sample.columns.copy()
    targets[:, 0] /= wider
    columns[:, COMPOSITION] = 0.0
    sample = sample._replace(targets=targets, least=sample.least / wider)
    return LawSample.joined([sample, sample._replace(columns=columns)])


def _with_mirrored(sample: LawSample) -> LawSample:
    """Return the events, followed by the same events mirrored along the recoil, which flips transverse components."""
    columns, targets = sample.columns.copy(), sample.targets.copy()
    columns[:, ACROSS] *= -1.0
    targets[:, 1] *= -1.0
    return LawSample.joined([sample, sample._replace(columns=columns, targets=targets)])


def _bounds(what: str, targets: Floats, log_pt_min: float) -> Doubles:
    """Return lower and upper bounds of each target, (2, n): known ones, or extremes with a margin."""
    low, high = targets.min(axis=0, initial=np.inf), targets.max(axis=0, initial=-np.inf)
    margin = np.maximum(HEADROOM * (high - low), NARROW)
    bounds = np.stack([low - margin, high + margin])
    if targets.shape[1] > ISOLATION:
        bounds[:, ISOLATION] = 0.0, 1.0
        if what == FAR:
            bounds[0, 0] = log_pt_min
            bounds[:, 2] = -np.pi, np.pi
        else:
            reach = CONE if what == PARTICLE else REACH
            bounds[:, 1:3] = np.clip(bounds[:, 1:3], -reach - BLUR, reach + BLUR)
    return bounds
