"""Training settings, and recipes: named sets of them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from coffea_iqn.iqn.network import EXACT, MEMBERS
from coffea_iqn.jets.context import WIDTHS
from coffea_iqn.jets.features import INPUTS, SCALES
from coffea_iqn.jets.targets import TARGETS
from coffea_iqn.ranges import (
    CONE,
    COUNT,
    ETA_EDGE,
    FRACTION,
    GEV,
    GEV_ABOVE_ZERO,
    PROBABILITY,
    SEED,
    Range,
    check_choice,
)

HIDDEN = Range(least=1, most=2**14, whole=True)
SHARE = Range(above=0, most=1e6)
RANGES = {
    "batch_size": Range(least=1, most=2**24, whole=True),
    "learning_rate": Range(above=0, most=10),
    "weight_decay": Range(least=0, most=10),
    "momentum": Range(least=0, below=1),
    "average": Range(least=0, below=1),
    "stages": Range(least=1, most=1000, whole=True),
    "steps": COUNT,
    "minutes": Range(above=0, most=1e6),
    "check_every": COUNT,
    "patience": COUNT,
    "seed": SEED,
    "slope": Range(least=0, most=10),
    "penalty": Range(least=0, most=1e6),
    "blind": PROBABILITY,
    "raw_pt_min": GEV,
    "cone": CONE,
    "abs_eta_max": ETA_EDGE,
    "energy_max": GEV_ABOVE_ZERO,
    "holdout": FRACTION,
}
"""Allowed values of the numeric training settings."""


@dataclass(frozen=True)
class Schedule:
    """Settings of the minimisation of a loss.

    Attributes
    ----------
    schedule: "stages" (AMSGrad; each stage starts from the best state so far, with a tenth of the learning rate) or
        "cosine" (AdamW with clipped gradients; the learning rate rises, then falls to zero).
    batch_size, learning_rate, weight_decay, momentum: settings of the optimiser.
    average: decay of the moving average of the weights, which is validated and kept; 0 for none.
    stages, steps: number of stages, and maximum number of steps in each.
    minutes: training time, instead of steps; the learning rate then follows the elapsed time, so that weights depend on
        the machine. For several networks, the total time (`run.TIMES`).
    check_every, patience: steps between checks of the validation loss; checks without improvement that end a stage.
    seed: random seed of weights and batches.

    Raises
    ------
    ValueError: if a setting is not allowed.
    """

    schedule: str = "cosine"
    batch_size: int = 1024
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    momentum: float = 0.9
    average: float = 0.999
    stages: int = 1
    steps: int = 24_000
    minutes: float | None = None
    check_every: int = 500
    patience: int = 20
    seed: int = 1

    def __post_init__(self) -> None:
        check_choice(("stages", "cosine"), schedule=self.schedule)
        for name in (own.name for own in fields(self) if own.name in RANGES):
            RANGES[name].check(**{name: getattr(self, name)})


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(Schedule):
    """All settings that determine the weights, given the sample; includes the fields of `Schedule`.

    Attributes
    ----------
    network, inputs, targets: one of `network.MEMBERS`, and keys of `features.INPUTS` and `targets.TARGETS`.
    hidden, slope, penalty: layer sizes, LeakyReLU slope, and λ of the penalty on crossing quantiles; None for the
        network's own defaults.
    compress: whether to compress the tails of the targets.
    context: levels of `context` to use; levels of the event are used only to distinguish several samples.
    blind: probability that levels of context of a jet are hidden at random, in addition to `batches.SHOWN`.
    shares: share of each sample in a batch, in order; if empty, proportional to its number of pairs.
    scale: key of `features.SCALES`, the jet scale that the detector applies after its threshold.
    raw_pt_min: the threshold on pt before that scale [GeV]; 0 for none.
    cone, abs_eta_max, energy_max: matching distance in ΔR, detector edge in |eta|, beam energy [GeV]: bounds of reco
        jets; None for those that `support.Support.of` takes.
    reflect: whether to train on jets mirrored in phi as well.
    holdout: fraction of the pairs held out for validation.
    acceptance: whether to train P(reconstructed | gen jet) as well.
    unmatched: whether to train the model of unmatched reco jets, if the sample has them.

    Raises
    ------
    ValueError: if a setting is not allowed.
    """

    network: str = "SplineIQN"
    inputs: str = "calorimeter"
    targets: str = "massless"
    hidden: tuple[int, ...] | None = None
    slope: float | None = None
    penalty: float | None = None
    compress: bool = True
    context: tuple[str, ...] = tuple(WIDTHS)
    blind: float = 0.1
    shares: tuple[float, ...] = ()
    scale: str = "none"
    raw_pt_min: float = 0.0
    cone: float | None = None
    abs_eta_max: float | None = None
    energy_max: float | None = None
    reflect: bool = True
    holdout: float = 0.1
    acceptance: bool = True
    unmatched: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, choices in (("network", MEMBERS), ("inputs", INPUTS), ("targets", TARGETS), ("scale", SCALES)):
            check_choice(choices, **{name: getattr(self, name)})
        if self.network not in EXACT and any(target.atom for target in TARGETS[self.targets]):
            able = ", ".join(name for name, form in TARGETS.items() if not any(target.atom for target in form))
            msg = f"targets: expected one of {able} for {self.network}, which has no atoms, got {self.targets!r}"
            raise ValueError(msg)
        for level in self.context:
            check_choice(WIDTHS, context=level)
        for size in self.hidden or ():
            HIDDEN.check(hidden=size)
        for share in self.shares:
            SHARE.check(shares=share)


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
JOINT = TrainingSettings(targets="symmetric")  # for networks without atoms
REFINEMENT = TrainingSettings(steps=14_000, batch_size=4096)
RECIPES: dict[str, TrainingSettings] = {
    "default": TrainingSettings(),
    "paper-iqnx4": PAPER,
    "paper-iqnx1": replace(PAPER, network="IQNx1"),
    "residual-iqnx4": replace(PAPER, inputs="calorimeter", targets="symmetric"),
    "spline-flow": replace(JOINT, network="SplineFlow"),
    "autoregressive-flow": replace(JOINT, network="AutoregressiveFlow"),
    "flow-matching": replace(JOINT, network="FlowMatching"),
    "distilled-flow": replace(JOINT, network="DistilledFlow"),
    "wasserstein-gan": replace(JOINT, network="WassersteinGAN", learning_rate=5e-4, weight_decay=0.0, momentum=0.0),
    "autoencoder": replace(JOINT, network="Autoencoder"),
}


def shorter(settings: TrainingSettings, thirds: int, **others: Any) -> TrainingSettings:
    """Return settings with some thirds of the steps, for distributions simpler than a jet's, and other changes."""
    return replace(settings, steps=max(thirds * settings.steps // 3, 1), **others)


def of_few(settings: TrainingSettings, weight_decay: float, *, checks: int | None = None) -> TrainingSettings:
    """Return settings for a small sample: a third of the steps, at least this weight decay, and a number of checks."""
    found = shorter(settings, 1, weight_decay=max(settings.weight_decay, weight_decay))
    return found if checks is None else replace(found, check_every=max(found.steps // checks, 1), patience=checks)
