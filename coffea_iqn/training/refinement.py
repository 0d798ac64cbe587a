"""Refinement of an emulator with a classifier of true and drawn jets y for the same jets x.

The logit of the classifier is the logarithm of the ratio of true and drawn densities, by which draws are weighted or
accepted (S. Diefenbacher et al., JINST 15 (2020) P11004). It is shrunk towards a ratio of 1 to maximise the likelihood
of held-out jets; if the classifier cannot distinguish true and drawn jets, the emulator stays unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, Unpack

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.emulator.refinement import Candidates
from coffea_iqn.iqn.conditional import sigmoid
from coffea_iqn.iqn.device import BLOCK
from coffea_iqn.iqn.network import N_TARGETS
from coffea_iqn.iqn.networks import RatioNetwork
from coffea_iqn.numerics.arrays import Doubles
from coffea_iqn.numerics.uniforms import LEAST_LEVEL
from coffea_iqn.ranges import expect
from coffea_iqn.training.batches import drawing, hide, with_origin
from coffea_iqn.training.emulators import part_of, with_mirrored
from coffea_iqn.training.optimise import fixed_weights
from coffea_iqn.training.pairs import JetPairs
from coffea_iqn.training.recipes import TrainingSettings
from coffea_iqn.training.run import How, TrainingRun, learnt, warn_other_response

HIDDEN = (64, 64)
SHRINKAGES = np.linspace(0.0, 1.0, 21)  # factors of log r to try
TURNS = 10  # iterations of Newton's method
SURE = 2.0  # minimum gain of the log-loss, in standard errors
CLIPPED, LEFT = 1e-3, 1e-3  # fraction of the true law that may be clipped; of jets without an accepted candidate
MOST_BOUND, MOST_CANDIDATES = 4.0, 12
BINS = 10  # bins of the reliability
OF_ONE, JETS_OF_ONE = 16, 5_000  # draws per jet x and number of jets x for the spread of the mean ratio


class Ratios(NamedTuple):
    """Logarithms of the density ratio at true and at drawn jets y of the same jets x, (N,) each."""

    true: Doubles
    drawn: Doubles

    def shrunk(self, s: float) -> Ratios:
        """Scale by s and shift such that the mean predicted probability is 1/2, which minimises the log-loss."""
        offset = 0.0
        for _ in range(TURNS):
            said = sigmoid(s * np.stack(self) + offset)
            offset -= float(np.clip((said.mean() - 0.5) / (said * (1.0 - said)).mean(), -1.0, 1.0))
        return Ratios(s * self.true + offset, s * self.drawn + offset)

    def gains(self) -> Doubles:
        """Return the cross entropy of random guessing, log 2, minus that of each pair, (N,)."""
        return math.log(2.0) - 0.5 * (np.logaddexp(0.0, -self.true) + np.logaddexp(0.0, self.drawn))


def refine(
    emulator: Emulator,
    pairs: JetPairs,
    settings: TrainingSettings,
    **how: Unpack[How],
) -> Emulator:
    """Train a ratio network that refines the draws of an emulator.

    Parameters
    ----------
    emulator: emulator with any network; an existing refinement is replaced.
    pairs: training sample: jets x, their context and jets y, including the part to be held out.
    settings: training settings; uses schedule, hidden (64, 64 by default), shares, blind, reflect and holdout. One half
        of the held-out pairs selects the best state of the network, the other half calibrates it.
    how: checkpoint, watch and device, see `training.train`.

    Returns
    -------
    the emulator; its card has this training as "refinement". It has no ratio network if the network cannot
    distinguish true and drawn jets.

    Raises
    ------
    ValueError: if a part of the pairs has no matched jets, or the checkpoint belongs to another training.
    FloatingPointError: if a loss becomes infinite or NaN.

    Warns
    -----
    UserWarning: if the emulator is a bundle of another response than the pairs, as of another radius or detector.
    """
    emulator = emulator.unrefined
    warn_other_response(emulator, pairs)
    v, member = emulator.variables, emulator.network
    owner = f"{emulator.card.get('hash')} refined"
    run = TrainingRun(settings, {"ratio": True}, pairs, owner, **how)
    ends = (0.5 * settings.holdout, settings.holdout)
    learn, check, calibrate = (part_of(pairs, np.digitize(pairs.split_key, ends) == k) for k in (2, 0, 1))
    learn = with_mirrored(learn) if settings.reflect else learn
    of_learn, of_check, of_calibrate = (_rows(part, emulator) for part in (learn, check, calibrate))
    with fixed_weights(settings.seed):
        network = RatioNetwork(member.n_inputs + N_TARGETS, hidden=settings.hidden or HIDDEN)
    last: Any = network.net[-1]
    with torch.no_grad():
        last.weight.mul_(0.01)  # start near a ratio of 1
    judge = _Judge(network, emulator.on(run.device), N_TARGETS if member.autoregressive else member.n_levels)

    def loss(inputs: Tensor, x: Tensor, z: Tensor, generator: torch.Generator) -> Tensor:
        true, drawn = judge.log_ratios(inputs, x, z, generator)
        return 0.5 * (functional.softplus(-true) + functional.softplus(drawn)).mean()

    run.fit("ratio", network, loss, (of_learn, of_check), settings, v.context)
    generator = torch.Generator().manual_seed(settings.seed)
    rows = torch.arange(len(of_calibrate[0]))
    if settings.shares:  # give held-out jets the shares of a batch
        rows = drawing(of_calibrate[-1], settings.shares)(len(rows), generator)
    inputs, x, z, _ = (t[rows] for t in of_calibrate)
    shown = hide(inputs, v.context, settings.blind, generator), x, z
    found = judge.ratios(shown, generator)
    about: dict[str, Any] = {"refines": emulator.card.get("hash"), "gen_jets": len(pairs.x)}
    about["held_out_pairs"] = n_pairs = len(np.unique(rows.numpy()))
    s, *gain = shrinkage(found, n_pairs)
    about |= {"shrinkage": s, "log_loss_gain": gain}
    if s > 0.0:
        calibrated = found.shrunk(s)
        # weights of drawn jets miss the part of the true law where nothing is drawn: normalise their mean to 1
        mean = float(np.exp(calibrated.drawn).mean())
        about["never_drawn"] = max(1.0 - mean, 0.0)
        about |= candidates_of(np.exp(calibrated.drawn) / mean, min(MOST_CANDIDATES, Candidates.most_of(member)))
        network.bound, network.candidates = about["bound"], about["candidates"]
        with torch.no_grad():
            last.weight.mul_(s)
            last.bias.mul_(s).add_(float(calibrated.true[0] - s * found.true[0]) - math.log(mean))
        few = [t[:: len(x) // JETS_OF_ONE + 1].repeat_interleave(OF_ONE, dim=0) for t in shown]
        of_one = np.exp(judge.ratios(few, generator).drawn).clip(max=network.bound).reshape(-1, OF_ONE)
        spread = of_one.mean(axis=1).var(ddof=1) - of_one.var(axis=1, ddof=1).mean() / OF_ONE
        about |= {"spread_of_mean_weight": math.sqrt(max(float(spread), 0.0)), "reliability": reliability(calibrated)}
    card = {key: value for key, value in emulator.card.items() if key != "hash"}
    card["refinement"] = run.report(**about)
    return replace(emulator, card=card, **learnt(ratio=network if s > 0.0 else None))


class _Judge(NamedTuple):
    """A ratio network, its emulator on the same device, and the number of levels for a four-momentum."""

    network: RatioNetwork
    known: Any
    n_levels: int

    def log_ratios(self, inputs: Tensor, x: Tensor, z: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return log r at true and at newly drawn jets y, (N,) each, given the context that the draws use."""
        known, v = self.known, self.known.variables
        tau = torch.rand(len(x), self.n_levels, generator=generator).clamp(LEAST_LEVEL, 1.0 - LEAST_LEVEL).to(x.device)
        seen = with_origin(known.origin, inputs)
        with torch.no_grad():
            drawn = known.network.sample(tau, seen, partial(v.bounds, x=x, raw_pt_min=v.raw_pt_min))
            sides = [torch.cat([seen, v.as_decoded(side, x)], dim=1) for side in (z, drawn)]
        true, of_drawn = self.network(torch.cat(sides)).chunk(2)
        return true, of_drawn

    def ratios(self, rows: Sequence[Tensor], generator: torch.Generator) -> Ratios:
        """Return log r for all rows, computed in blocks."""
        with torch.inference_mode():
            blocks = zip(*(torch.split(t.to(self.known.device), BLOCK) for t in rows), strict=True)
            sides = [torch.stack(self.log_ratios(inputs, x, z, generator)) for inputs, x, z in blocks]
            both = [side.cpu().double().numpy() for side in sides]
        return Ratios(*np.concatenate(both, axis=1))


def shrinkage(found: Ratios, n_pairs: int) -> tuple[float, float, float]:
    """Return the best factor of log r, 0 if the gain is not significant, the gain of the log-loss, and its error.

    n_pairs: number of different pairs; some may have been drawn several times.
    """
    every = [found.shrunk(s).gains() for s in SHRINKAGES]
    best = int(np.argmax([gains.mean() for gains in every]))
    gain, error = float(every[best].mean()), float(every[best].std() / math.sqrt(n_pairs))
    return (float(SHRINKAGES[best]) if gain > SURE * error else 0.0), gain, error


def candidates_of(ratios: Doubles, most: int) -> dict[str, Any]:
    """Return the upper bound of the ratios of drawn jets, (N,), the number of candidates, and their consequences."""
    bound = bound_of(ratios)
    weights = np.minimum(ratios, bound)
    misses = float(1.0 - weights.mean() / bound)  # probability to reject a candidate
    candidates = min(max(math.ceil(math.log(LEFT) / math.log(misses)), 2), most)
    return {
        "bound": bound,
        "candidates": candidates,
        "clipped": float(1.0 - weights.sum() / ratios.sum()),
        "none_taken": misses**candidates,
        "draws_of_a_jet": (1.0 - misses**candidates) / (1.0 - misses),
        "dilution": float(weights.sum() ** 2 / (len(weights) * (weights**2).sum())),
    }


def bound_of(ratios: Doubles) -> float:
    """Return the upper bound of ratios (N,): clipping there removes a fraction `CLIPPED` of their sum."""
    rising = np.sort(ratios)
    above = rising[::-1].cumsum()[::-1] - rising * np.arange(len(rising), 0, -1)  # the sum that each bound would clip
    bound = float(rising[np.argmax(above <= CLIPPED * rising.sum())])
    return min(max(math.ceil(100.0 * bound) / 100.0, 1.01), MOST_BOUND)


def reliability(ratios: Ratios) -> list[dict[str, float]]:
    """Return predicted and observed probability to be true, with its error, in tenths of jets ordered by it."""
    log_ratios = np.concatenate(ratios)
    is_true = np.repeat([1.0, 0.0], [len(side) for side in ratios])
    said = sigmoid(log_ratios)
    found = []
    for rows in np.array_split(np.argsort(log_ratios, kind="stable"), BINS):
        share = float(is_true[rows].mean())
        error = math.sqrt(max(share * (1.0 - share), 0.25 / len(rows)) / len(rows))
        found.append({"said": float(said[rows].mean()), "found": share, "error": error})
    return found


def _rows(pairs: JetPairs, emulator: Emulator) -> tuple[Tensor, ...]:
    """Return network inputs, jets x, standardised four-momenta y and samples of matched pairs in the support."""
    v, pairs = emulator.variables, part_of(pairs, pairs.matched)
    pairs = part_of(pairs, v.support.holds(pairs.x, pairs.y))
    fits = len(pairs.x) > 0
    expect(fits, "refine: expected matched pairs for training, validation and calibration, got none for one of these")
    z, _ = v.encode_within(pairs.four_momenta, pairs.x, v.raw_pt_min)
    columns = (v.network_inputs(pairs.x, pairs.context), pairs.x, z, pairs.sample)
    return tuple(torch.from_numpy(column) for column in columns)
