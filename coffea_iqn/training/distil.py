"""A large emulator to a small one: `distil` teaches smaller networks what the teacher's say, on the same jets x.

Smaller networks fold faster. Taught by an emulator instead of by jets y, they see as many draws as they like, and
the exact density of each, so that what they learn is limited by their size alone. Of the far tails a teacher's draws
say too little: in the end they learn from the jets y themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.iqn.networks import AcceptanceNetwork, OriginNetwork, SplineIQN
from coffea_iqn.jets.features import PHI
from coffea_iqn.training.batches import Course, learnt
from coffea_iqn.training.emulators import continuous, part_of, target_rows
from coffea_iqn.training.optimise import Schedule, Watch
from coffea_iqn.training.pairs import JetPairs
from coffea_iqn.training.recipes import TrainingSettings, shorter

Rows = tuple[Tensor, ...]

TINY = 1e-6  # levels are drawn no nearer to 0 and 1
# The mean of log p − log q is the Kullback-Leibler divergence, but its terms scatter even where the laws agree; those
# of the distance of the levels do not, and tie the small network to the large one draw by draw.
TIE = 0.5
# of the score of the tails, in which some per cent of the jets are; the mass keeps to its likelihood
TAILS_WEIGHTS = (10.0, 10.0, 10.0, 0.0)
HIDDEN, OF_ORIGIN, OF_ACCEPTANCE = (36, 36), (24, 24), (24, 24)  # sizes of hidden layers


def distil(
    teacher: Emulator,
    pairs: JetPairs,
    settings: TrainingSettings,
    *,
    checkpoint: Path | None = None,
    watch: Watch | None = None,
    device: str = "cpu",
) -> Emulator:
    """An emulator of smaller networks that draws as the teacher does.

    Parameters
    ----------
    teacher: with a `SplineIQN`, whose variables and unmatched jets the new emulator takes over.
    pairs: jets x, their context, and their jets y.
    settings: schedule, hidden (36, 36 by default), shares, blind, reflect and holdout of them are used; then come
        two thirds as many on the jets y, with twice the batch size and half the learning rate.
    checkpoint, watch, device: as of `training.train`.

    Returns
    -------
    the emulator, whose card is the teacher's, with "training" of its own.

    Raises
    ------
    TypeError: when the teacher's network has no density.
    FloatingPointError: when a loss is no longer finite.
    """
    if not teacher.network.exact:
        msg = f"teacher: expected a SplineIQN, which has a density, got {teacher.network.type}"
        raise TypeError(msg)
    v, y = teacher.variables, continuous(pairs.y, teacher.variables.columns, settings.seed)
    pairs = pairs._replace(y=y)
    origin, network, gate = _students(teacher, settings)
    to_come = {"origin": origin is not None, "quantiles": True, "far tails": True, "acceptance": gate is not None}
    course = Course.begin(settings, to_come, pairs, checkpoint, watch, device, str(teacher.card.get("hash")))
    known, held_out = teacher.on(device), pairs.lot < settings.holdout
    learn, check = (_tensors(pairs, part, teacher, reflect=settings.reflect) for part in (~held_out, held_out))

    def fit(
        phase: str,
        module: nn.Module,
        loss: Callable[..., Tensor],
        schedule: Schedule,
        rows: tuple[Rows, Rows] = (learn, check),
    ) -> None:
        course.fit(phase, module, loss, *rows, schedule, v.context, more_prompt=phase != "origin")

    def described(by: OriginNetwork | None, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            return inputs if by is None else by.with_origin(inputs)

    def origin_loss(inputs: Tensor, _x: Tensor, _: torch.Generator) -> Tensor:
        assert origin is not None
        with torch.no_grad():
            likely = functional.softmax(known.origin(inputs), dim=1)
        return functional.cross_entropy(origin(inputs), likely)

    def quantile_loss(inputs: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        seen, seen_by_teacher = described(origin, inputs), described(known.origin, inputs)
        tau = torch.rand(len(inputs), network.n_targets, generator=generator).clamp(TINY, 1.0 - TINY).to(inputs.device)
        with torch.no_grad():
            bounds_of = partial(known.variables.bounds, x=x, raw_pt_min=v.raw_pt_min)
            y = known.network.sample(tau, seen_by_teacher, bounds_of)
            bounds = known.variables.all_bounds(y, x, v.raw_pt_min)
            levels, log_densities = known.network.levels_and_log_densities(y, seen_by_teacher, bounds)
        own_levels, own_log_densities = network.levels_and_log_densities(y, seen, bounds)
        divergence: Tensor = (log_densities - own_log_densities).sum(dim=1).mean()
        return divergence + TIE * (_logit(own_levels) - _logit(levels)).square().sum(dim=1).mean()

    def tails_loss(inputs: Tensor, target: Tensor, least: Tensor, most: Tensor, _: torch.Generator) -> Tensor:
        weights = (*TAILS_WEIGHTS, *(0.0 for _ in v.columns))
        return network.tail_loss(described(origin, inputs), target, (least, most), weights=weights)

    def acceptance_loss(inputs: Tensor, _x: Tensor, _: torch.Generator) -> Tensor:
        assert gate is not None
        with torch.no_grad():
            found = torch.sigmoid(known.acceptance(described(known.origin, inputs)))
        return functional.binary_cross_entropy_with_logits(gate(described(origin, inputs)), found)

    short = shorter(settings, 1)
    if origin is not None:
        fit("origin", origin, origin_loss, short)
    fit("quantiles", network, quantile_loss, settings)
    parts = part_of(pairs, ~held_out), part_of(pairs, held_out)
    last = shorter(settings, 2, batch_size=2 * settings.batch_size, learning_rate=0.5 * settings.learning_rate)
    fit("far tails", network, tails_loss, last, target_rows(*parts, v, settings))
    if gate is not None:
        fit("acceptance", gate, acceptance_loss, replace(short, weight_decay=0.0))
    taught_by = {"hash": teacher.card.get("hash"), "training": teacher.card.get("training")}
    report = course.report(settings, teacher=taught_by, gen_jets=len(pairs.x))
    card = {key: value for key, value in teacher.card.items() if key != "hash"} | {"training": report}
    networks = learnt(network=network, acceptance=gate, origin=origin)
    return Emulator(variables=v, unmatched=teacher.unmatched, card=card, **networks)


def _logit(levels: Tensor) -> Tensor:
    return torch.logit(levels, eps=TINY)


def _students(
    teacher: Emulator, settings: TrainingSettings
) -> tuple[OriginNetwork | None, SplineIQN, AcceptanceNetwork | None]:
    """The smaller networks before their training, by the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        old = teacher.origin
        origin = None
        if old is not None:
            sizes = {name: int(old.description[name]) for name in ("n_event", "n_samples", "moot")}
            origin = OriginNetwork(old.n_inputs, **sizes, hidden=OF_ORIGIN)
        n_inputs, n_targets = teacher.network.n_inputs, teacher.network.n_targets
        network = SplineIQN(n_inputs, n_targets, hidden=settings.hidden or HIDDEN, **teacher.variables.atoms)
        gate = AcceptanceNetwork(n_inputs, hidden=OF_ACCEPTANCE)
        return origin, network, gate if teacher.acceptance is not None else None


def _tensors(pairs: JetPairs, part: np.ndarray, teacher: Emulator, *, reflect: bool) -> tuple[Tensor, ...]:
    """Network inputs, jets x and samples of some jets x, half of them mirrored in phi if so asked."""
    x, context = pairs.x[part].copy(), pairs.context[part]
    if reflect:
        x[::2, PHI] *= -1.0
    v = teacher.variables
    columns = (v.network_inputs(x, context), x, pairs.sample[part])
    return tuple(torch.from_numpy(column) for column in columns)
