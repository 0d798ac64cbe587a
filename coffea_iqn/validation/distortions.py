"""Emulators that are wrong on purpose, to test the sensitivity of a validation.

The distortions are entries of `variations.VARIATIONS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, NoReturn

import numpy as np

from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.numerics.arrays import Floats
from coffea_iqn.ranges import check_choice
from coffea_iqn.variations import SPOILINGS, VARIATIONS, Draw

OWN = 0x5B011


@dataclass(frozen=True, eq=False, repr=False)
class Spoilt(Emulator):
    """Emulator with one of `SPOILINGS` applied to its jets; it has no densities.

    Random changes use the generator, not the quantile levels.
    """

    how: str = "pt-smeared"
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def sample(self, x: Floats, tau: Floats, context: Floats | None = None, **options: Any) -> Floats:
        """Same as `Emulator.sample`, with the distortion."""

        def draw(levels: Floats) -> Floats:
            return Emulator.sample(self, x, levels, context, **options)

        variation = VARIATIONS[self.how]
        assert variation.change is not None
        return variation.change(Draw(draw(tau), at=draw, tau=tau, generator=self.generator), variation.size)

    def cdf(self, *_: Any, **__: Any) -> NoReturn:
        """Raise, because the cdf of the emulator does not describe the distorted jets."""
        msg = f"densities: expected an emulator without distortion, got one spoilt: {self.how}"
        raise NotImplementedError(msg)

    quantile = log_density = marginal = most_likely = cdf


def spoil(emulator: Emulator, how: str, *, seed: int = 0) -> Spoilt:
    """Return an emulator with distorted jets.

    Raises
    ------
    ValueError: if `how` is not one of `SPOILINGS`.
    """
    check_choice(SPOILINGS, spoil=how)
    parts = {part.name: getattr(emulator, part.name) for part in fields(Emulator)}
    # independent of the quantile levels that a caller draws with the same seed
    return Spoilt(**parts, how=how, generator=np.random.default_rng([seed, OWN]))
