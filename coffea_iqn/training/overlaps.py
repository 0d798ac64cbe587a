"""Training of the model of overlapping gen jets, added to an emulator of jets."""

from __future__ import annotations

from typing import Unpack

import numpy as np

from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.emulator.overlaps import Overlaps, logits, pair_columns, steps
from coffea_iqn.emulator.unmatched import REACH as NEAR
from coffea_iqn.jets.context import NANOAOD, WIDTHS, columns_of
from coffea_iqn.jets.features import VARIABLES
from coffea_iqn.numerics.arrays import Ints
from coffea_iqn.numerics.uniforms import LEAST_LEVEL
from coffea_iqn.ranges import expect
from coffea_iqn.training.emulators import part_of, with_mirrored
from coffea_iqn.training.laws import learn_law
from coffea_iqn.training.pairs import JetPairs, LawSample, UnmatchedJets
from coffea_iqn.training.pretrained import networks_of
from coffea_iqn.training.recipes import TrainingSettings, of_few
from coffea_iqn.training.run import How, TrainingRun, warn_other_response

RARE = 5000  # fewer overlapping jets do not determine the networks
HIDDEN = (48, 48)
WEIGHT_DECAY = 0.5  # minimum; with less, the few jets are memorised
CHECKS = 40  # checks of the validation loss: the best state may come early
KNOWN = (tuple(WIDTHS), NANOAOD)  # context that levels are computed with: bundles serve files of both types
BOUND = 1.01 * float(logits(np.full((1, 1), 1.0 - LEAST_LEVEL))[0, 0])


def has_overlaps(pairs: JetPairs, unmatched: UnmatchedJets, settings: TrainingSettings) -> bool:
    """Return whether there are enough overlapping jets to learn from, also among those held out."""
    return _are_enough(_find(pairs, unmatched)[0], pairs, settings)


def _are_enough(rows: Ints, pairs: JetPairs, settings: TrainingSettings) -> bool:
    n_held_out = int((pairs.split_key[rows] < settings.holdout).sum())
    return len(rows) >= RARE and n_held_out >= settings.holdout * RARE / 2.0


def _find(pairs: JetPairs, unmatched: UnmatchedJets) -> tuple[Ints, Ints]:
    """Return the rows of overlapping jets x, (M,), and of the jet that each overlaps with, (M,); see `steps`."""
    rows, others = zip(*steps(pairs.x, unmatched.counts, unmatched.reach / NEAR), strict=True)
    return np.concatenate(rows), np.concatenate(others)


def with_overlaps(
    emulator: Emulator,
    pairs: JetPairs,
    unmatched: UnmatchedJets,
    settings: TrainingSettings,
    *,
    pretrained: Emulator | None = None,
    **how: Unpack[How],
) -> Emulator:
    """Add a model of overlapping gen jets to an emulator, whose own networks are kept.

    Parameters
    ----------
    emulator: emulator with a `SplineIQN`, which has levels, and an efficiency.
    pairs, unmatched: training sample.
    settings: training settings; uses schedule, shares, reflect and holdout.
    pretrained: emulator whose model of overlapping jets the networks begin with, if it has one.
    how: checkpoint, watch and device, see `training.train`.

    Returns
    -------
    the emulator; its card has this training under "extended".

    Raises
    ------
    ValueError: if there are fewer than `RARE` overlapping jets, or hardly any of them are held out.

    Warns
    -----
    UserWarning: if the emulator is a bundle of another response than the pairs, as of another radius or detector.
    """
    radius, rows = unmatched.reach / NEAR, _find(pairs, unmatched)
    n = len(rows[0])
    what = f"expected {RARE} overlapping jets or more, {settings.holdout:.0%} of them held out, got {n}"
    expect(_are_enough(rows[0], pairs, settings), f"overlaps: {what}")
    warn_other_response(emulator, pairs)
    pairs = pairs._replace(y=pairs.four_momenta)
    owner = " ".join(str(of.card.get("hash")) for of in (emulator, pretrained) if of is not None)
    begin = {} if pretrained is None else networks_of(pretrained, settings)[0]
    phases = {"overlaps number": True, "overlaps jets": True}
    run = TrainingRun(settings, phases, [*pairs, unmatched.x_event], owner, begin, **how)
    both = [pairs]
    if settings.reflect:
        both.append(part_of(with_mirrored(pairs), np.arange(2 * len(pairs.x)) >= len(pairs.x)))
    parts = [_sample(emulator, one, rows, radius, levels) for one in both for levels in KNOWN]
    learn, check = LawSample.joined(parts).split(settings.holdout)
    schedule = of_few(settings, WEIGHT_DECAY, checks=CHECKS)
    bounds = np.repeat([[-BOUND], [BOUND]], len(VARIABLES), axis=1)
    law = learn_law("overlaps", learn, check, schedule, run, bounds, hidden=HIDDEN)
    return run.extended(emulator, {"overlapping_jets": n}, overlaps=Overlaps(law, radius))


def _sample(
    emulator: Emulator, pairs: JetPairs, overlaps: tuple[Ints, Ints], radius: float, known: tuple[str, ...]
) -> LawSample:
    """Return the training sample of overlapping jets of which these levels of context are known."""
    own, other = (part_of(pairs, rows) for rows in overlaps)
    context = own.context.copy()
    for level in set(WIDTHS) - set(known):
        context[:, columns_of(level)] = 0.0
    efficiency = emulator.efficiency(own.x, context)
    columns = pair_columns(own.x, other.x, other.y, other.matched, efficiency, radius)
    found = np.flatnonzero(own.matched)
    within_atom = np.random.default_rng(0).uniform(size=len(found))
    levels = emulator.cdf(own.x[found], own.y[found], context[found], within_atom=within_atom)
    return LawSample.of(columns, own.split_key, found, logits(levels))._replace(sample=own.sample)
