"""Training of an emulator on pairs of jets: `train` has all steps, `recipes` the settings that may differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.emulator.preprocessing import Variables
from coffea_iqn.iqn.members.member import Member
from coffea_iqn.iqn.network import BOUNDED, EXACT
from coffea_iqn.iqn.networks import AcceptanceNetwork, OriginNetwork, build
from coffea_iqn.iqn.standardisation import Standardisation
from coffea_iqn.jets.context import MOOT, OF_EVENT, WIDTHS, known_levels
from coffea_iqn.jets.features import INPUTS, PHI, PT, SCALES, VARIABLES, Compression
from coffea_iqn.jets.support import Support
from coffea_iqn.jets.targets import TARGETS, Column, encode
from coffea_iqn.numerics.arrays import Bools, Floats, Ints
from coffea_iqn.ranges import expect
from coffea_iqn.training.batches import with_origin
from coffea_iqn.training.optimise import Watch, fixed_weights
from coffea_iqn.training.pairs import JetPairs, UnmatchedJets, check_pairs
from coffea_iqn.training.pretrained import Pretrained, networks_of
from coffea_iqn.training.recipes import TrainingSettings, shorter
from coffea_iqn.training.run import TrainingRun, came_from, learnt
from coffea_iqn.training.unmatched import learn_unmatched

BELOW = 1e-3  # fraction of jets that may be below a threshold, due to rounding
MOST_OUTSIDE = 1e-4  # fraction of pairs that may be beyond a bound, as smeared energies are; with more, it is wrong


def train(
    pairs: JetPairs,
    settings: TrainingSettings,
    unmatched: UnmatchedJets | None = None,
    *,
    pretrained: Emulator | None = None,
    checkpoint: Path | None = None,
    watch: Watch | None = None,
    device: str = "cpu",
) -> Emulator:
    """Train an emulator on pairs of jets.

    Parameters
    ----------
    pairs: training sample, including the part to be held out.
    settings: training settings.
    unmatched: jets y of the same events without a jet x; None for an emulator that draws no unmatched jets.
    pretrained: emulator with a `SplineIQN`, for another detector or sample: networks begin with its weights instead of
        random ones, and have its sizes.
    checkpoint: folder for the state of an unfinished training, created if missing; the same call continues from there,
        and ends with the weights of an uninterrupted training.
    watch: called at each check of the validation loss.
    device: torch device to compute on. Batches are drawn on the CPU and are the same for every device.

    Returns
    -------
    the emulator; its card has "training" (settings, number of pairs, losses, steps, minutes).

    Raises
    ------
    ValueError: if a part of the sample is empty, jets x and y are of different events or units, the checkpoint belongs
        to another training, the network cannot represent the threshold, jets lie below it, or settings contradict those
        of the pretrained emulator.
    FloatingPointError: if a loss becomes infinite or NaN.
    """
    check_columns(pairs.y)
    begin: dict[str, Pretrained] = {}
    owner, known = "", {}
    if pretrained is not None:
        begin, settings = networks_of(pretrained, settings)
        owner, known = str(pretrained.card.get("hash")), {"pretrained": came_from(pretrained)}
    learn, check = split(pairs, settings)
    n_pairs = {"pairs": int(learn.matched.sum()), "validation_pairs": int(check.matched.sum())}
    if settings.reflect:
        learn = with_mirrored(learn)
    variables, parts = _variables(learn, settings), (learn, check)
    levels = variables.context
    network, gate, origin = _networks(learn, variables, settings, pretrained)
    unmatched = unmatched if settings.unmatched else None
    to_come = {"origin": origin is not None, "quantiles": True, "acceptance": settings.acceptance}
    to_come |= dict.fromkeys(("near number", "near jets", "far number", "far jets"), unmatched is not None)
    sample = [*pairs, *(unmatched or ())]
    run = TrainingRun(settings, to_come, sample, owner, begin, checkpoint=checkpoint, watch=watch, device=device)

    def origin_loss(inputs: Tensor, sample: Tensor, _: torch.Generator) -> Tensor:
        assert origin is not None
        return functional.cross_entropy(origin(inputs), sample)

    def quantile_loss(
        inputs: Tensor, target: Tensor, least: Tensor, most: Tensor, generator: torch.Generator
    ) -> Tensor:
        return network.loss(with_origin(origin, inputs), target, (least, most), generator)

    def acceptance_loss(inputs: Tensor, found: Tensor, _: torch.Generator) -> Tensor:
        return functional.binary_cross_entropy_with_logits(gate(with_origin(origin, inputs)), found)

    short = shorter(settings, 1, batch_size=4 * settings.batch_size)
    # no weight decay: it would smooth the steep rise of the efficiency at a threshold
    less_short = shorter(settings, 2, batch_size=4 * settings.batch_size, weight_decay=0.0)
    if origin is not None:
        run.fit("origin", origin, origin_loss, (_with_sample(part, variables) for part in parts), short, levels)
    run.fit("quantiles", network, quantile_loss, (with_targets(part, variables) for part in parts), settings, levels)
    if settings.acceptance:
        rows = (_with_match(part, variables) for part in parts)
        run.fit("acceptance", gate, acceptance_loss, rows, less_short, levels)
    model = None if unmatched is None else learn_unmatched(pairs, unmatched, variables, run)
    networks = learnt(network=network, acceptance=gate if settings.acceptance else None, origin=origin)
    card = {"training": run.report(gen_jets=len(pairs.x), **n_pairs, **known)}
    return Emulator(variables=variables, unmatched=model, card=card, **networks)


def check_columns(y: Floats, columns: Sequence[Column] = ()) -> None:
    """Check that jets y have the columns of the four-momentum, and these further ones."""
    names = (*VARIABLES, *(column.name for column in columns))
    expect(
        y.shape[1] == len(names), f"pairs: expected jets y with columns {', '.join(names)}, got {y.shape[1]} columns"
    )


def continuous(y: Floats, columns: Sequence[Column], seed: int) -> Floats:
    """Return jets y (N, n) with a uniform random number in (0, 1), determined by the seed, added to each count."""
    check_columns(y, columns)
    y, generator = y.astype(np.float32), np.random.default_rng(seed)
    for k, column in enumerate(columns, len(VARIABLES)):
        if column.kind == "count":
            y[:, k] += generator.uniform(size=len(y))
    return y


def split(pairs: JetPairs, settings: TrainingSettings) -> tuple[JetPairs, JetPairs]:
    """Split pairs into those to train on and those held out, after checking them, also against the settings."""
    check_pairs(pairs)
    held_out = pairs.split_key < settings.holdout
    n_learn, n_check = (int((pairs.matched & part).sum()) for part in (~held_out, held_out))
    counts = f"got {n_learn} and {n_check} of {len(held_out)} jets x"
    more = "take more files, as a split by file holds out whole ones, or another holdout"
    expect(n_learn and n_check, f"training: expected matched pairs to train and to validate on, {counts}: {more}")
    n_lost = len(np.setdiff1d(pairs.sample, pairs.sample[~held_out]))
    expect(not n_lost, f"training: expected jets of each dataset to train on, got {n_lost} that are held out entirely")
    y = pairs.y[pairs.matched].astype(np.float64)
    n_below = int((SCALES[settings.scale].undo(y)[:, PT] < settings.raw_pt_min).sum())
    what = f"got {n_below} of {len(y)} below {settings.raw_pt_min:g} GeV before the scale {settings.scale}"
    expect(n_below <= BELOW * len(y), f"raw_pt_min: expected matched jets y above the threshold, {what}")
    n_samples, shares = int(pairs.sample.max()) + 1, settings.shares
    fit = not shares or (len(shares) == n_samples and min(shares) > 0.0)
    expect(fit, f"shares: expected one above 0 for each of {n_samples} samples, got {shares}")
    return part_of(pairs, ~held_out), part_of(pairs, held_out)


def _networks(
    pairs: JetPairs, variables: Variables, settings: TrainingSettings, pretrained: Emulator | None
) -> tuple[Member, AcceptanceNetwork, OriginNetwork | None]:
    """Return the untrained networks, as large as those of a pretrained emulator; they depend on the seed only."""
    n_inputs = variables.network_inputs(pairs.x[:1], pairs.context[:1]).shape[1]
    n_event = sum(WIDTHS[level] for level in variables.context if level in OF_EVENT)
    sizes = {"hidden": settings.hidden, "slope": settings.slope, "penalty": settings.penalty}
    given: dict[str, Any] = {name: value for name, value in sizes.items() if value is not None}
    as_before: dict[str, dict[str, Any]] = {"acceptance": {}, "origin": {}}
    for name, of in as_before.items():
        before = None if pretrained is None else pretrained.networks.get(name)
        if before is not None:
            of["hidden"] = tuple(before.description["hidden"])
    with fixed_weights(settings.seed):
        origin = None
        if n_event:
            n_samples = int(pairs.sample.max()) + 1
            moot = variables.column_of(MOOT)
            origin = OriginNetwork(n_inputs, n_event=n_event, n_samples=n_samples, moot=moot, **as_before["origin"])
            n_inputs = origin.n_outputs
        given |= {"n_inputs": n_inputs, "n_targets": len(variables.table)}
        if settings.network in EXACT:
            given |= variables.atoms
        network = build({"type": settings.network, **given})
        network.begin_training()
        got = f"got {settings.raw_pt_min:g}: its quantiles may cross, so a threshold cannot be imposed on its draws"
        fits = settings.raw_pt_min <= 0.0 or settings.network in BOUNDED
        expect(fits, f"raw_pt_min: expected 0 for {settings.network}, {got}")
        return network, AcceptanceNetwork(n_inputs, **as_before["acceptance"]), origin


def part_of(pairs: JetPairs, rows: Bools | Ints) -> JetPairs:
    return JetPairs(*(column[rows] for column in pairs))  # type: ignore[arg-type]


def with_mirrored(pairs: JetPairs) -> JetPairs:
    """Return the pairs, followed by the same pairs with phi of x and y mirrored to −phi."""
    x, y = (jets.copy() for jets in (pairs.x, pairs.y))
    for jets in (x, y):
        jets[:, PHI] *= -1.0
    both = zip(pairs, pairs._replace(x=x, y=y), strict=True)
    return JetPairs(*(np.concatenate(columns) for columns in both))


def _variables(pairs: JetPairs, settings: TrainingSettings) -> Variables:
    """Return the variables with standardisations, compression and support from the training part.

    Raises
    ------
    ValueError: if more than `MOST_OUTSIDE` of the pairs lie beyond the bounds that the settings give.
    """
    x, y = (jets[pairs.matched].astype(np.float64) for jets in (pairs.x, pairs.y))
    four = encode(TARGETS[settings.targets], SCALES[settings.scale].undo(y)[:, : len(VARIABLES)], x)
    compression = Compression.of(four, x) if settings.compress else None
    if compression is not None:
        four = compression.apply(four, x)
    target_scale = Standardisation.of(four)
    # no levels of context without training data, whose weights would be arbitrary
    unknown = OF_EVENT if pairs.sample.min() == pairs.sample.max() else ()
    levels = [level for level in known_levels(pairs.context) if level in settings.context and level not in unknown]
    known = {name: getattr(settings, name) for name in ("cone", "abs_eta_max", "energy_max")}
    pt_target = target_scale.apply(four)[:, PT]
    support = Support.of(x, SCALES[settings.scale].undo(y), y, pt_target, **known)
    n_outside = int((~support.holds(x, y)).sum())
    bounds = f"cone {support.cone:g}, |eta| {support.abs_eta_max:g} and energy {support.energy_max:g} GeV"
    inside = n_outside <= MOST_OUTSIDE * len(x)
    expect(inside, f"training: expected jets y within {bounds}, got {n_outside} of {len(x)} beyond")
    return Variables(
        inputs=settings.inputs,
        targets=settings.targets,
        scale=settings.scale,
        input_scale=Standardisation.of(INPUTS[settings.inputs](pairs.x)),
        target_scale=target_scale,
        support=support,
        compression=compression,
        context=tuple(levels),
        raw_pt_min=settings.raw_pt_min,
    )


def with_targets(pairs: JetPairs, variables: Variables) -> tuple[Tensor, ...]:
    """Return network inputs (N, n), targets and their bounds (N, 4) each, and samples (N,) of pairs in the support."""
    pairs = part_of(pairs, pairs.matched)
    pairs = part_of(pairs, variables.support.holds(pairs.x, pairs.y))
    target, bounds = variables.encode_within(pairs.y, pairs.x, variables.raw_pt_min)
    columns = (variables.network_inputs(pairs.x, pairs.context), target, *bounds, pairs.sample)
    inside = target[:, PT] <= bounds[1][:, PT]  # of the greatest pt, which few jets exceed
    return tuple(torch.from_numpy(column[inside]) for column in columns)


def target_rows(
    learn: JetPairs, check: JetPairs, variables: Variables, settings: TrainingSettings
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return `with_targets` of the pairs to train on, with mirrored ones if so set, and of those held out."""
    learn = with_mirrored(learn) if settings.reflect else learn
    return with_targets(learn, variables), with_targets(check, variables)


def _with_sample(pairs: JetPairs, variables: Variables) -> tuple[Tensor, ...]:
    """Return network inputs (N, n) of all jets x, and twice the sample of each, (N,): as target and for balancing."""
    inputs = torch.from_numpy(variables.network_inputs(pairs.x, pairs.context))
    sample = torch.from_numpy(pairs.sample)
    return inputs, sample, sample


def _with_match(pairs: JetPairs, variables: Variables) -> tuple[Tensor, ...]:
    """Return network inputs (N, n) of all jets x, 1 for those with a jet y, else 0, (N,), and samples (N,)."""
    inputs, sample, _ = _with_sample(pairs, variables)
    return inputs, torch.from_numpy(pairs.matched.astype(np.float32)), sample
