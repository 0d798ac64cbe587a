"""Training of the model of unmatched reco jets."""

from __future__ import annotations

import numpy as np

from coffea_iqn.emulator.preprocessing import Variables
from coffea_iqn.emulator.unmatched import (
    CONTEXT,
    MASS_FLOOR,
    Frames,
    Unmatched,
    balance,
    far_targets,
    near_columns,
    near_targets,
)
from coffea_iqn.iqn.distribution import Law
from coffea_iqn.jets.features import MASS, PT, SCALES
from coffea_iqn.jets.support import HEADROOM
from coffea_iqn.numerics.arrays import Floats
from coffea_iqn.training.laws import learn_law
from coffea_iqn.training.pairs import JetPairs, LawSample, UnmatchedJets
from coffea_iqn.training.recipes import of_few
from coffea_iqn.training.run import TrainingRun

WEIGHT_DECAY = 0.1  # minimum; with less, the few jets are memorised


def learn_unmatched(pairs: JetPairs, jets: UnmatchedJets, variables: Variables, run: TrainingRun) -> Unmatched | None:
    """Train the model of unmatched jets.

    Parameters
    ----------
    pairs, jets: training sample, including the part to be held out.
    variables: variables of the emulator: inputs, scale, levels of context.
    run: the running training.

    Returns
    -------
    the model, or None if near or far unmatched jets are too rare.
    """
    near, far = (SCALES[variables.scale].undo(j.astype(np.float64)) for j in (jets.near, jets.far))
    settings = run.settings
    raw_pt_min = settings.raw_pt_min
    if raw_pt_min <= 0.0:
        raw_pt_min = min((float(raw[:, PT].min()) for raw in (near, far) if len(raw)), default=1.0)
    context = tuple(level for level in CONTEXT if level in variables.context)
    outcome = pairs.four_momenta, pairs.matched
    balanced = balance(pairs.x, jets.counts, *outcome, jets.reach)
    of_gen_jets = near_columns(pairs.x, *outcome, balanced, pairs.context, inputs=variables.inputs, levels=context)
    targets = near_targets(near, pairs.x[jets.near_row].astype(np.float64))
    of_near = LawSample.of(of_gen_jets, pairs.split_key, jets.near_row, targets, context)
    targets = far_targets(far, Frames(*jets.frames[jets.far_event].T))
    of_far = LawSample.of(jets.events, jets.split_key, jets.far_event, targets)
    samples = {"near": of_near._replace(sample=pairs.sample), "far": of_far._replace(sample=jets.sample)}
    parts = {kind: sample.split(settings.holdout) for kind, sample in samples.items()}
    if not all(len(part.source) for both in parts.values() for part in both):
        return None
    schedule = of_few(settings, WEIGHT_DECAY)
    laws: dict[str, Law] = {}
    for kind, (learn, check) in parts.items():
        bounds = _bounds(kind, learn.targets, np.log(raw_pt_min), jets.reach, variables.support.abs_eta_max)
        laws[kind] = learn_law(kind, learn, check, schedule, run, bounds)
    return Unmatched(
        laws["near"],
        laws["far"],
        variables.inputs,
        variables.scale,
        context,
        jets.reach,
        raw_pt_min,
        variables.support,
        balanced=True,
    )


def _bounds(kind: str, targets: Floats, log_pt_min: float, reach: float, abs_eta_max: float) -> Floats:
    """Return lower and upper bounds of each target of unmatched jets, (2, 4): known, or extremes with a margin."""
    low, high = targets.min(axis=0), targets.max(axis=0)
    margin = HEADROOM * (high - low)
    place = [(0.0, reach), (-np.pi, np.pi)] if kind == "near" else [(-abs_eta_max, abs_eta_max), (-np.pi, np.pi)]
    lightest = np.log(MASS_FLOOR) - (high[PT] + margin[PT])  # for zero mass
    return np.array(
        [(log_pt_min, high[PT] + margin[PT]), *place, (min(lightest, low[MASS]), high[MASS] + margin[MASS])]
    ).T
