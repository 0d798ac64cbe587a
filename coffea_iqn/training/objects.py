"""Electrons, muons, photons and missing momentum of files to the model of them, beside an emulator's jets."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.emulator.objects import FAR, JETS, MISSING, NEAR, PARTICLE, Objects
from coffea_iqn.iqn.distribution import Law
from coffea_iqn.jets.support import HEADROOM
from coffea_iqn.numerics.arrays import Doubles, Floats
from coffea_iqn.objects.columns import ACROSS, COMPOSITION, ISOLATION, NONE, isolation_targets
from coffea_iqn.objects.kinds import CONE, KINDS, REACH
from coffea_iqn.training.batches import TrainingRun
from coffea_iqn.training.laws import learn_law
from coffea_iqn.training.optimise import Watch
from coffea_iqn.training.pairs import LawSample, ObjectsSample
from coffea_iqn.training.recipes import TrainingSettings, shorter

RARE = 20  # so few objects of no particle, of a kind and origin, say nothing of what they are like
SMALL = 1000  # so few are learnt by small networks
# angles of tracks are those of particles, but for rounding in files: so much is added that they have a density
BLUR = 1e-4
EDGE = 1e-3  # the ends of isolation are those of training, and this of them further out: files round
NARROW = 1e-6  # width of what has none
SIZES = {PARTICLE: (16, 16), NEAR: (16, 16), FAR: (16, 16), JETS: (16, 16), MISSING: (64, 64)}
SMALL_SIZES = (8,)
WEIGHT_DECAY = 0.3  # with less, so few objects are learnt by heart
LOOKS = 40  # at the validation loss: what is so small is best before its end
ROUND = 0.02  # thresholds are round numbers: of so much the least object may be above a whole number of GeV


def with_objects(
    emulator: Emulator,
    sample: ObjectsSample,
    settings: TrainingSettings,
    *,
    checkpoint: Path | None = None,
    watch: Watch | None = None,
    device: str = "cpu",
) -> Emulator:
    """An emulator of whole events: its jets as they are, and the model of objects.

    Parameters
    ----------
    emulator: whose jets the sample was made for.
    sample: of the laws.
    settings: schedule, shares, blind, reflect and holdout of them are used.
    checkpoint, watch, device: as of `training.train`.

    Returns
    -------
    the emulator, whose card has this training among "extended".

    Raises
    ------
    ValueError: as of `learn_objects`.
    """
    columns = [column for law in sample.laws.values() for column in law[:6]]
    n_of = {name: len(law.source) for name, law in sample.laws.items()}
    phases = {f"{name} {asked}": n >= RARE for name, n in n_of.items() for asked in parse_variations(name)}
    owner = str(emulator.card.get("hash"))
    run = TrainingRun.begin(settings, phases, columns, checkpoint, watch, device, owner)
    objects = learn_objects(sample, settings, run)
    return run.extended(emulator, settings, {"objects": n_of}, objects=objects)


def parse_variations(name: str) -> tuple[str, ...]:
    """What is learnt of the law of this name."""
    return {JETS: ("number",), MISSING: ("jets",)}.get(name, ("number", "jets"))


def learn_objects(sample: ObjectsSample, settings: TrainingSettings, run: TrainingRun) -> Objects:
    """Train the model of objects.

    Parameters
    ----------
    sample: the training sample, the part to be held out included.
    settings, run: the recipe, and how networks are fitted.

    Raises
    ------
    ValueError: when there is no object of a kind, or no jet with prompt particles, to learn from.
    """
    sample = sample._replace(pt_min=tuple(_threshold(least) for least in sample.pt_min))
    laws: dict[str, Law] = {}
    ends = tuple(_ends_of_isolation(sample, kind.name) for kind in KINDS)
    for name, of_law in sample.laws.items():
        kind, what = _parts(name)
        if what in (NEAR, FAR) and len(of_law.source) < RARE:
            continue
        if len(of_law.source) < RARE:
            msg = f"objects: expected at least {RARE} of {name} to learn from, got {len(of_law.source)}"
            raise ValueError(msg)
        prepared = of_law
        if kind is not None:
            prepared = _blurred(of_law, settings.seed)._replace(least=of_law.least + np.log(sample.pt_min[kind]))
            prepared.targets[:, ISOLATION] = isolation_targets(of_law.targets[:, ISOLATION], _pt(of_law), ends[kind])
        if what == PARTICLE:
            prepared = LawSample.joined([prepared, _without_composition(prepared)])
        elif what == MISSING and settings.reflect:
            prepared = _with_mirrored(of_law)
        hidden = SIZES[what] if len(of_law.source) > SMALL else SMALL_SIZES
        options: dict[str, Any] = {"hidden": hidden, "asks": parse_variations(name)}
        if kind is not None:
            options["atoms"] = (ISOLATION,) if (prepared.targets[:, ISOLATION] == NONE).any() else ()
        decay = max(settings.weight_decay, WEIGHT_DECAY)
        schedule = shorter(settings, 3 if what == MISSING else 1, weight_decay=decay)
        if what != MISSING:
            schedule = replace(schedule, check_every=max(schedule.steps // LOOKS, 1), patience=LOOKS)
        bounds = _bounds(what, prepared.targets, 0.0 if kind is None else np.log(sample.pt_min[kind]))
        learn, check = prepared.split(settings.holdout)
        if not len(learn.source) or not len(check.source):  # so few are all needed
            learn = check = prepared
        laws[name] = learn_law(name, learn, check, schedule, run, bounds, **options)
    return Objects(laws, sample.pt_min, sample.isolation, ends, sample.inputs, sample.context)


def _pt(sample: LawSample) -> Doubles:
    """The pt [GeV] of objects: their first target is its logarithm, less that of their source's where they have one."""
    return np.asarray(np.exp(sample.targets[:, 0] - np.where(np.isfinite(sample.least), sample.least, 0.0)))


def _ends_of_isolation(sample: ObjectsSample, kind: str) -> tuple[float, float]:
    """The least around an object of a kind [GeV], and its greatest isolation."""
    around, isolation = [], []
    for what in (PARTICLE, NEAR, FAR):
        of_law = sample.laws[kind + what]
        own = of_law.targets[:, ISOLATION]
        around.append((own * _pt(of_law))[own > 0.0])
        isolation.append(own)
    least = float(np.concatenate(around).min(initial=np.inf))
    if not np.isfinite(least):  # nothing is ever near, or nothing is known of it
        return NARROW, NARROW
    return (1.0 - EDGE) * least, (1.0 + EDGE) * float(np.concatenate(isolation).max())


def _threshold(least: float) -> float:
    """The threshold [GeV] of objects whose least pt this is."""
    whole = float(math.floor(least))
    return whole if least <= (1.0 + ROUND) * whole else least


def _parts(name: str) -> tuple[int | None, str]:
    """The kind that a law is of, and what it is of it."""
    for k, kind in enumerate(KINDS):
        if name.startswith(kind.name):
            return k, name.removeprefix(kind.name)
    return None, name


def _blurred(sample: LawSample, seed: int) -> LawSample:
    targets = sample.targets.copy()
    targets[:, 1:3] += np.random.default_rng(seed).uniform(-BLUR, BLUR, (len(targets), 2))
    return sample._replace(targets=targets)


def _without_composition(sample: LawSample) -> LawSample:
    """The particles, as files that do not know of what jets are made have them."""
    columns = sample.columns.copy()
    columns[:, COMPOSITION] = 0.0
    return sample._replace(columns=columns)


def _with_mirrored(sample: LawSample) -> LawSample:
    """The events, and the same seen in a mirror along the recoil, which turns what lies across."""
    columns, targets = sample.columns.copy(), sample.targets.copy()
    columns[:, ACROSS] *= -1.0
    targets[:, 1] *= -1.0
    return LawSample.joined([sample, sample._replace(columns=columns, targets=targets)])


def _bounds(what: str, targets: Floats, log_pt_min: float) -> Doubles:
    """The least and the greatest of each target, (2, n): known, or extremes and some head-room."""
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
