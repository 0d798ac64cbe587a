"""Distillation of a large emulator: `distil` trains smaller networks to imitate the teacher's on the same jets x.

Smaller networks fold faster. Trained on an emulator instead of jets y, they get an unlimited number of draws and the
exact density of each, so that only their size limits them. The teacher's draws contain too few jets in the far tails,
so the last phase trains on the jets y themselves.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Unpack

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.iqn.members.member import Member
from coffea_iqn.iqn.members.spline import SplineIQN
from coffea_iqn.iqn.networks import AcceptanceNetwork, OriginNetwork
from coffea_iqn.jets.features import PHI
from coffea_iqn.ranges import expect
from coffea_iqn.training.batches import with_origin
from coffea_iqn.training.emulators import continuous, part_of, target_rows
from coffea_iqn.training.optimise import fixed_weights
from coffea_iqn.training.pairs import JetPairs
from coffea_iqn.training.recipes import TrainingSettings, shorter
from coffea_iqn.training.run import How, TrainingRun, came_from, learnt, warn_other_response

# weights of the score of the tails, which contain a few per cent of the jets; the mass uses only its likelihood
TAILS_WEIGHTS = (10.0, 10.0, 10.0)
OF_ORIGIN, OF_ACCEPTANCE = (24, 24), (24, 24)  # sizes of hidden layers


def distil(
    teacher: Emulator,
    pairs: JetPairs,
    settings: TrainingSettings,
    **how: Unpack[How],
) -> Emulator:
    """Train an emulator with smaller networks to draw the same distributions as a teacher.

    Parameters
    ----------
    teacher: emulator with a `SplineIQN`, or a `FlowMatching` to be imitated in one step; the new emulator takes over
        its variables and unmatched jets.
    pairs: training sample: jets x, their context, and their jets y.
    settings: training settings; uses schedule, hidden (36, 36 by default), shares, blind, reflect and holdout. A
        `SplineIQN` then gets two thirds as many steps on the jets y, with twice the batch size and half the learning
        rate.
    how: checkpoint, watch and device, see `training.train`.

    Returns
    -------
    the emulator; its card is the teacher's with its own "training".

    Raises
    ------
    TypeError: if the teacher is refined, or no network can imitate its network.
    FloatingPointError: if a loss becomes infinite or NaN.

    Warns
    -----
    UserWarning: if the teacher is a bundle of another response than the pairs, as of another radius or detector.
    """
    fits = teacher.ratio is None
    expect(fits, f"teacher: expected a bundle that is not refined, got a refined {teacher.network.type}", TypeError)
    warn_other_response(teacher, pairs)
    v, y = teacher.variables, continuous(pairs.y, teacher.variables.columns, settings.seed)
    pairs = pairs._replace(y=y)
    origin, network, gate = _students(teacher, settings)
    to_come = {
        "origin": origin is not None,
        "quantiles": True,
        "far tails": isinstance(network, SplineIQN),
        "acceptance": gate is not None,
    }
    run = TrainingRun(settings, to_come, pairs, str(teacher.card.get("hash")), **how)
    known, held_out = teacher.on(run.device), pairs.split_key < settings.holdout
    rows = [_tensors(pairs, part, teacher, reflect=settings.reflect) for part in (~held_out, held_out)]

    def origin_loss(inputs: Tensor, _x: Tensor, _: torch.Generator) -> Tensor:
        assert origin is not None
        with torch.no_grad():
            likely = functional.softmax(known.origin(inputs), dim=1)
        return functional.cross_entropy(origin(inputs), likely)

    def quantile_loss(inputs: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        seen, seen_by_teacher = with_origin(origin, inputs), with_origin(known.origin, inputs)
        bounds = partial(known.variables.bounds, x=x, raw_pt_min=v.raw_pt_min)
        return network.imitation_loss(known.network, (seen, seen_by_teacher), bounds, generator)

    def tails_loss(inputs: Tensor, target: Tensor, least: Tensor, most: Tensor, _: torch.Generator) -> Tensor:
        assert isinstance(network, SplineIQN)
        return network.tail_loss(with_origin(origin, inputs), target, (least, most), weights=TAILS_WEIGHTS)

    def acceptance_loss(inputs: Tensor, _x: Tensor, _: torch.Generator) -> Tensor:
        assert gate is not None
        with torch.no_grad():
            found = torch.sigmoid(known.acceptance(with_origin(known.origin, inputs)))
        return functional.binary_cross_entropy_with_logits(gate(with_origin(origin, inputs)), found)

    short = shorter(settings, 1)
    if origin is not None:
        run.fit("origin", origin, origin_loss, rows, short, v.context)
    run.fit("quantiles", network, quantile_loss, rows, settings, v.context)
    if to_come["far tails"]:
        parts = part_of(pairs, ~held_out), part_of(pairs, held_out)
        last = shorter(settings, 2, batch_size=2 * settings.batch_size, learning_rate=0.5 * settings.learning_rate)
        run.fit("far tails", network, tails_loss, target_rows(*parts, v, settings), last, v.context)
    if gate is not None:
        run.fit("acceptance", gate, acceptance_loss, rows, replace(short, weight_decay=0.0), v.context)
    report = run.report(teacher=came_from(teacher), gen_jets=len(pairs.x))
    card = {k: value for k, value in teacher.card.items() if k not in {"hash", "extended"}} | {"training": report}
    networks = learnt(network=network, acceptance=gate, origin=origin)
    return Emulator(variables=v, unmatched=teacher.unmatched, overlaps=teacher.overlaps, card=card, **networks)


def _students(
    teacher: Emulator, settings: TrainingSettings
) -> tuple[OriginNetwork | None, Member, AcceptanceNetwork | None]:
    """Return the untrained smaller networks; they depend on the seed only."""
    with fixed_weights(settings.seed):
        old = teacher.origin
        origin = None
        if old is not None:
            sizes = {name: int(old.description[name]) for name in ("n_event", "n_samples", "moot")}
            origin = OriginNetwork(old.n_inputs, **sizes, hidden=OF_ORIGIN)
        network = teacher.network.module.student(settings.hidden)
        gate = AcceptanceNetwork(network.n_inputs, hidden=OF_ACCEPTANCE)
        return origin, network, gate if teacher.acceptance is not None else None


def _tensors(pairs: JetPairs, part: np.ndarray, teacher: Emulator, *, reflect: bool) -> tuple[Tensor, ...]:
    """Return network inputs, jets x and samples of part of the pairs; `reflect` mirrors every second jet in phi."""
    x, context = pairs.x[part].copy(), pairs.context[part]
    if reflect:
        x[::2, PHI] *= -1.0
    v = teacher.variables
    columns = (v.network_inputs(x, context), x, pairs.sample[part])
    return tuple(torch.from_numpy(column) for column in columns)
