"""What may differ between trainings: settings, and the recipes that name useful ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from coffea_iqn.iqn.network import EXACT, MEMBERS
from coffea_iqn.jets.context import WIDTHS
from coffea_iqn.jets.features import INPUTS, SCALES
from coffea_iqn.jets.targets import TARGETS
from coffea_iqn.ranges import CONE, ETA_EDGE, FRACTION, GEV, GEV_ABOVE_ZERO, PROBABILITY, Range, check_choice
from coffea_iqn.training import optimise
from coffea_iqn.training.optimise import Schedule

HIDDEN = Range(least=1, most=2**14, whole=True)
SHARE = Range(above=0, most=1e6)
RANGES = {
    **optimise.RANGES,
    "slope": Range(least=0, most=10),
    "penalty": Range(least=0, most=1e6),
    "blind": PROBABILITY,
    "raw_pt_min": GEV,
    "cone": CONE,
    "abs_eta_max": ETA_EDGE,
    "energy_max": GEV_ABOVE_ZERO,
    "holdout": FRACTION,
}
"""What the settings of a training may be, where they are numbers."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(Schedule):
    """Everything that decides which weights come out, the pairs aside; with the fields of `optimise.Schedule`.

    Attributes
    ----------
    network, inputs, targets: one of `network.MEMBERS`, keys of `features.INPUTS` and `targets.TARGETS`.
    hidden, slope, penalty: layer sizes, LeakyReLU slope, and λ of the penalty on crossing quantiles; None leaves
        the member's own.
    compress: whether the targets' tails are compressed.
    context: levels of `context` to learn from. Those of the event serve to tell samples apart, where there are several.
    blind: probability that a jet is shown with levels of context hidden at random, beside what `batches.SHOWN` hides.
    shares: of each sample in a batch, in their order; none for each as its number of pairs.
    scale: key of `features.SCALES`, what the detector does to jets after its threshold.
    raw_pt_min: that threshold [GeV], on pt before the scale; 0 for none.
    cone, abs_eta_max, energy_max: ΔR of the matching, edge of the detector in |eta|, energy of a beam [GeV]: bounds of
        what reco jets can be (`support.Support`); None for the greatest among the pairs and some head-room.
    reflect: whether to learn from the jets mirrored in phi as well.
    holdout: fraction of the pairs held out for validation.
    acceptance: whether to learn P(reconstructed | gen jet) as well.
    unmatched: whether to learn of the reco jets that match no gen jet, where the pairs come with them.

    Raises
    ------
    ValueError: for a setting that may not be so.
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
        for name, known in RANGES.items():
            known.check(**{name: getattr(self, name)})
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
JOINT = TrainingSettings(targets="symmetric")  # which knows no atoms
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
    """Settings with some thirds of the steps, for what is simpler than the quantiles of a jet, and other changes."""
    return replace(settings, steps=max(thirds * settings.steps // 3, 1), **others)
