"""What may differ between trainings: settings, and the recipes that name useful ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from coffea_iqn.context import WIDTHS
from coffea_iqn.fitting import Schedule


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(Schedule):
    """Everything that decides which weights come out, the pairs aside; with the fields of `fitting.Schedule`.

    Attributes
    ----------
    network, inputs, targets: keys of `networks.MEMBERS`, `features.INPUTS` and `features.TARGETS`.
    hidden, slope, penalty: layer sizes, LeakyReLU slope, and λ of the penalty on crossing quantiles; None leaves
        the member's own.
    compress: whether the targets' tails are compressed.
    context: levels of `context` to learn from. Those of the event serve to tell samples apart, where there are several.
    blind: chance that a jet is shown with levels of context hidden at random, beside what `batches.SHOWN` hides.
    shares: of each sample in a batch, in their order; none for each as its number of pairs.
    scale: key of `features.SCALES`, what the detector does to jets after its threshold.
    raw_pt_min: that threshold [GeV], on pt before the scale; 0 for none.
    reflect: whether to learn from the jets mirrored in phi as well.
    holdout: fraction of the pairs held out for validation.
    acceptance: whether to learn P(reconstructed | gen jet) as well.
    unmatched: whether to learn of the reco jets that match no gen jet, where the pairs come with them.
    """

    network: str = "SplineIQN"
    inputs: str = "calorimeter"
    targets: str = "symmetric"
    hidden: tuple[int, ...] | None = None
    slope: float | None = None
    penalty: float | None = None
    compress: bool = True
    context: tuple[str, ...] = tuple(WIDTHS)
    blind: float = 0.1
    shares: tuple[float, ...] = ()
    scale: str = "none"
    raw_pt_min: float = 0.0
    reflect: bool = True
    holdout: float = 0.1
    acceptance: bool = True
    unmatched: bool = True


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


def shorter(settings: TrainingSettings, thirds: int, **others: Any) -> TrainingSettings:
    """Settings with some thirds of the steps, for what is simpler than the quantiles of a jet, and other changes."""
    return replace(settings, steps=max(thirds * settings.steps // 3, 1), **others)
