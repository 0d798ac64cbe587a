"""Pairs of jets to an emulator.

`train` is the recipe, from the pairs to the emulator; `TrainingSettings` and `RECIPES` are what may differ.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from coffea_iqn.context import WIDTHS, known_levels
from coffea_iqn.emulator import Emulator, Variables
from coffea_iqn.features import INPUTS, PHI, SCALES, TARGETS, Array, Compression, Standardisation
from coffea_iqn.fitting import Schedule, Watch, fit
from coffea_iqn.networks import AcceptanceNetwork, build

MAX_VALIDATION = 50_000  # jets a validation loss is taken on: more would not change which state is best


class JetPairs(NamedTuple):
    """What an emulator is trained on.

    Attributes
    ----------
    gen: gen jets (N, 4) float32: pt [GeV], eta, phi [rad], mass [GeV].
    reco: the reco jet matched to each, (N, 4) float32; NaN where there is none.
    context: what else is known of each, (N, 17) float32, as `context.encode` gives it.
    level: a number in (0, 1) that jets which must stay together share, (N,); the lowest are held out.
    """

    gen: Array
    reco: Array
    context: Array
    level: Array

    @property
    def matched(self) -> npt.NDArray[np.bool_]:
        """Where a gen jet has a reco jet, (N,)."""
        return ~np.isnan(self.reco[:, 0])


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(Schedule):
    """Everything that decides which weights come out, the pairs aside; with the fields of `fitting.Schedule`.

    network, inputs, targets: keys of `networks.MEMBERS`, `features.INPUTS` and `features.TARGETS`.
    hidden, slope, penalty: layer sizes, LeakyReLU slope, and λ of the penalty on crossing quantiles; None leaves
        the member's own.
    compress: whether the targets' tails are compressed.
    context: levels of `context` to learn from.
    blind: chance that a level is hidden from a jet in training, so that one bundle serves inputs without it.
    scale: key of `features.SCALES`, what the detector does to jets after its threshold.
    raw_pt_min: that threshold [GeV], on pt before the scale; 0 for none.
    reflect: whether to learn from the jets mirrored in phi as well.
    holdout: fraction of the pairs held out for validation.
    acceptance: whether to learn P(reconstructed | gen jet) as well.
    """

    network: str = "SplineIQN"
    inputs: str = "calorimeter"
    targets: str = "symmetric"
    hidden: tuple[int, ...] | None = None
    slope: float | None = None
    penalty: float | None = None
    compress: bool = True
    context: tuple[str, ...] = tuple(WIDTHS)
    blind: float = 0.3
    scale: str = "none"
    raw_pt_min: float = 0.0
    reflect: bool = True
    holdout: float = 0.1
    acceptance: bool = True


PAPER = TrainingSettings(
    network="IQNx4",
    inputs="paper",
    targets="ratio",
    compress=False,
    context=(),
    reflect=False,
    schedule="stages",
    batch_size=512,
    learning_rate=1e-3,
    weight_decay=0.0,
    average=0.0,
    stages=3,
    steps=15_000,
    patience=10,
)
RECIPES: dict[str, TrainingSettings] = {
    "default": TrainingSettings(),
    "paper-iqnx4": PAPER,
    "paper-iqnx1": replace(PAPER, network="IQNx1"),
    "residual-iqnx4": replace(PAPER, inputs="calorimeter", targets="symmetric"),
}


def train(
    pairs: JetPairs,
    settings: TrainingSettings,
    *,
    checkpoint: Path | None = None,
    watch: Watch | None = None,
) -> Emulator:
    """Train an emulator on pairs of jets.

    Parameters
    ----------
    pairs: the training sample, the part to be held out included.
    settings: the recipe.
    checkpoint: a folder for the state of an unfinished training, made when missing; a call with the same
        pairs and settings goes on from there, and ends with the weights of an uninterrupted one.
    watch: called at each look at the validation loss.

    Returns
    -------
    the emulator, whose card holds "training" (settings, number of pairs, losses, minutes).

    Raises
    ------
    ValueError: when a part of the sample is empty, the checkpoint belongs to another training, or the network
        cannot take the threshold.
    FloatingPointError: when the loss is no longer finite.
    """
    started = time.monotonic()
    held_out = pairs.level < settings.holdout
    n_train, n_valid = (int((pairs.matched & part).sum()) for part in (~held_out, held_out))
    if n_train == 0 or n_valid == 0:
        counts = f"got {n_train} and {n_valid} of {len(held_out)} gen jets"
        msg = f"training: expected matched pairs to train and to validate on, {counts}"
        raise ValueError(msg)
    if checkpoint is not None:
        _claim(checkpoint, pairs, settings)

    learn, check = _part(pairs, ~held_out), _part(pairs, held_out)
    if settings.reflect:
        learn = _with_mirrored(learn)
    variables = _variables(learn, settings)
    n_context = variables.network_inputs(learn.gen[:1], learn.context[:1]).shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        sizes = {"hidden": settings.hidden, "slope": settings.slope, "penalty": settings.penalty}
        given = {name: value for name, value in sizes.items() if value is not None}
        network = build({"type": settings.network, "n_context": n_context, **given})
        gate = AcceptanceNetwork(n_context)
    if settings.raw_pt_min > 0.0 and not network.exact:
        network_and_value = f"expected 0 for {settings.network}, got {settings.raw_pt_min:g}"
        msg = f"raw_pt_min: {network_and_value}: its quantiles may cross, so it learns the sample as it was cut"
        raise ValueError(msg)

    def hide(inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Hide some levels of context, the last columns, from some jets."""
        inputs = inputs.clone()
        stop = inputs.shape[1]
        for level in reversed(variables.context):
            seen = torch.rand(len(inputs), 1, generator=generator) >= settings.blind
            inputs[:, stop - WIDTHS[level] : stop] *= seen
            stop -= WIDTHS[level]
        return inputs

    context, targets, lower = _tensors(learn, variables)
    valid = [t[:MAX_VALIDATION] for t in _tensors(check, variables)]

    def quantile_loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        return network.loss(hide(context[rows], generator), targets[rows], lower[rows], generator)

    def quantile_validation() -> Tensor:
        same_each_time = torch.Generator().manual_seed(0)
        return network.loss(hide(valid[0], same_each_time), valid[1], valid[2], same_each_time)

    follow = partial(fit, checkpoint=checkpoint, watch=watch)
    losses = {"quantiles": follow("quantiles", network, quantile_loss, quantile_validation, len(targets), settings)}

    if settings.acceptance:
        inputs, label = _labelled(learn, variables)
        valid_inputs, valid_label = (t[:MAX_VALIDATION] for t in _labelled(check, variables))
        entropy = nn.functional.binary_cross_entropy_with_logits

        def gate_loss(rows: Tensor, generator: torch.Generator) -> Tensor:
            return entropy(gate(hide(inputs[rows], generator)), label[rows])

        def gate_validation() -> Tensor:
            return entropy(gate(hide(valid_inputs, torch.Generator().manual_seed(0))), valid_label)

        # a smooth probability: larger batches, fewer steps
        steps = max(settings.steps // 3, settings.check_every)
        shorter = replace(settings, batch_size=4 * settings.batch_size, steps=steps)
        losses["acceptance"] = follow("acceptance", gate, gate_loss, gate_validation, len(label), shorter)

    report = {
        "settings": asdict(settings),
        "gen_jets": len(pairs.gen),
        "pairs": n_train,
        "validation_pairs": n_valid,
        "validation_loss": losses,
        "minutes": round((time.monotonic() - started) / 60.0, 2),
    }
    acceptance = gate.eval() if settings.acceptance else None
    return Emulator(network.eval(), variables, acceptance, card={"training": report})


def _part(pairs: JetPairs, rows: npt.NDArray[np.bool_]) -> JetPairs:
    return JetPairs(*(column[rows] for column in pairs))


def _with_mirrored(pairs: JetPairs) -> JetPairs:
    """The pairs, and the same with phi and phi' turned to −phi and −phi'."""
    mirrored = [jets.copy() for jets in (pairs.gen, pairs.reco)]
    for jets in mirrored:
        jets[:, PHI] *= -1.0
    both = zip(pairs, (*mirrored, pairs.context, pairs.level), strict=True)
    return JetPairs(*(np.concatenate(columns) for columns in both))


def _variables(pairs: JetPairs, settings: TrainingSettings) -> Variables:
    """Standardisations and compression, from the training part."""
    gen, reco = (jets[pairs.matched].astype(np.float64) for jets in (pairs.gen, pairs.reco))
    raw_targets = TARGETS[settings.targets].encode(SCALES[settings.scale].undo(reco), gen)
    compression = Compression.of(raw_targets, gen) if settings.compress else None
    if compression is not None:
        raw_targets = compression.apply(raw_targets, gen)
    return Variables(
        inputs=settings.inputs,
        targets=settings.targets,
        scale=settings.scale,
        input_scale=Standardisation.of(INPUTS[settings.inputs](pairs.gen)),
        target_scale=Standardisation.of(raw_targets),
        compression=compression,
        # a level that no training file has must not speak up later
        context=tuple(level for level in known_levels(pairs.context) if level in settings.context),
        raw_pt_min=settings.raw_pt_min,
    )


def _tensors(pairs: JetPairs, variables: Variables) -> tuple[Tensor, Tensor, Tensor]:
    """Network inputs (N, n), targets (N, 4) and lower bounds (N,) of the matched pairs."""
    gen, reco, context = (column[pairs.matched] for column in pairs[:3])
    return (
        torch.from_numpy(variables.network_inputs(gen, context)),
        torch.from_numpy(variables.encode(reco, gen)),
        torch.from_numpy(variables.lower_bound(gen, variables.raw_pt_min)),
    )


def _labelled(pairs: JetPairs, variables: Variables) -> tuple[Tensor, Tensor]:
    """Network inputs (N, n) of all gen jets, and 1 where one has a reco jet, (N,)."""
    inputs = variables.network_inputs(pairs.gen, pairs.context)
    return torch.from_numpy(inputs), torch.from_numpy(pairs.matched.astype(np.float32))


def _claim(checkpoint: Path, pairs: JetPairs, settings: TrainingSettings) -> None:
    """Make the checkpoint folder, or make sure that it belongs to this training."""
    digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode())
    for column in pairs:
        digest.update(np.ascontiguousarray(column).tobytes())
    owner = checkpoint / "training.txt"
    if not owner.is_file():
        checkpoint.mkdir(parents=True, exist_ok=True)
        owner.write_text(digest.hexdigest() + "\n")
    elif owner.read_text().strip() != digest.hexdigest():
        msg = f"checkpoint {checkpoint}: expected one of this training, got one of other pairs or settings"
        raise ValueError(msg)
