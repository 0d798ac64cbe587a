"""The way from jets to what a network sees, and from what it draws to jets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from array_api_compat import array_namespace, device

from coffea_iqn.context import N_COLUMNS, select
from coffea_iqn.features import ETA, INPUTS, MASS, PHI, PT, SCALES, TARGETS, Columns, Compression, Standardisation
from coffea_iqn.networks import NO_BOUND


@dataclass(frozen=True, eq=False)
class Variables:
    """The way from jets to what a network sees, and back; of numpy's arrays, or of tensors where `on` brought it.

    Attributes
    ----------
    inputs, targets: keys of `features.INPUTS` and `features.TARGETS`.
    scale: key of `features.SCALES`: undone before the targets are made, applied after they are drawn.
    input_scale, target_scale: standardisations.
    compression: of the targets' tails; None leaves them.
    context: levels of `context` that the network takes; none of them adds no columns.
    raw_pt_min: pt [GeV] before the scale below which the detector has no jets, or 0.
    mass_over_pt_max: greatest mass over pt of a reco jet; a mass drawn above comes out there. A jet's radius bounds
        this ratio, which the far tail of a conditional quantile does not know.
    """

    inputs: str
    targets: str
    scale: str
    input_scale: Standardisation
    target_scale: Standardisation
    compression: Compression | None = None
    context: tuple[str, ...] = ()
    raw_pt_min: float = 0.0
    mass_over_pt_max: float = 1.0

    def on(self, device: torch.device) -> Variables:
        """The same for tensors on a device."""
        scales = {name: getattr(self, name).on(device) for name in ("input_scale", "target_scale")}
        return replace(self, **scales, compression=None if self.compression is None else self.compression.on(device))

    def threshold(self, raw_pt_min: float | None) -> float:
        """The one asked for, but no lower than that of the training sample."""
        return self.raw_pt_min if raw_pt_min is None else max(raw_pt_min, self.raw_pt_min)

    def network_inputs(self, gen: Columns, context: Columns | None) -> Any:
        """What a network sees of gen jets (N, 4) and their context (N, 57) or None: (N, n), float32."""
        xp = array_namespace(gen)
        inputs = xp.astype(self.input_scale.apply(INPUTS[self.inputs](gen)), xp.float32, copy=False)
        if not self.context:
            return inputs
        if context is None:
            context = xp.zeros((len(gen), N_COLUMNS), dtype=xp.float32, device=device(gen))
        return xp.concat([inputs, *select(context, self.context)], axis=1)

    def encode(self, reco: Columns, gen: Columns) -> Any:
        """The standardised targets (N, 4) of reco and gen jets, float32."""
        xp = array_namespace(gen)
        reco, gen = xp.astype(reco, xp.float64), xp.astype(gen, xp.float64)
        return self._encode_raw(SCALES[self.scale].undo(reco), gen)

    def _encode_raw(self, raw: Columns, gen: Columns) -> Any:
        xp, targets = array_namespace(gen), TARGETS[self.targets].encode(raw, gen)
        if self.compression is not None:
            targets = self.compression.apply(targets, gen)
        return xp.astype(self.target_scale.apply(targets), xp.float32)

    def decode(self, drawn: Columns, gen: Columns, *, raw_pt_min: float) -> Any:
        """Reco jets (N, 4), float32, of standardised targets (N, 4); the inverse of `encode`."""
        xp, targets = array_namespace(gen), self.target_scale.invert(drawn)
        if self.compression is not None:
            targets = self.compression.invert(targets, gen)
        raw = TARGETS[self.targets].decode(targets, gen)
        raw[:, PT] = raw[:, PT].clip(raw_pt_min)  # rounding must not carry a jet below the threshold
        raw[:, MASS] = xp.minimum(raw[:, MASS], self.mass_over_pt_max * raw[:, PT])
        return xp.astype(SCALES[self.scale].apply(raw), xp.float32, copy=False)

    def lower_bound(self, gen: Columns, raw_pt_min: float) -> Any:
        """The standardised first target of a jet at the threshold, (N,) float32."""
        xp = array_namespace(gen)
        if raw_pt_min <= 0.0:
            return xp.full((len(gen),), NO_BOUND, dtype=xp.float32, device=device(gen))
        edge = xp.stack([xp.full_like(gen[:, PT], raw_pt_min), gen[:, ETA], gen[:, PHI], gen[:, MASS]], axis=1)
        return self._encode_raw(edge, gen)[:, PT]
