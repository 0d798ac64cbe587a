"""Emulators made wrong on purpose: what a validation must find, and a way to see how much it can.

What makes them wrong are entries of `variations.VARIATIONS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, NoReturn

import numpy as np

from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.numerics.arrays import Floats
from coffea_iqn.variations import SPOILINGS, VARIATIONS, Draw

OWN = 0x5B011


@dataclass(frozen=True, eq=False, repr=False)
class Spoilt(Emulator):
    """An emulator whose jets are wrong in one way, one of `SPOILINGS`; it has no densities.

    What it changes at random is drawn from its generator, not from the quantile levels.
    """

    how: str = "pt-smeared"
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def sample(self, x: Floats, tau: Floats, context: Floats | None = None, **options: Any) -> Floats:
        """As of `Emulator.sample`, spoilt."""

        def draw(levels: Floats) -> Floats:
            return Emulator.sample(self, x, levels, context, **options)

        variation = VARIATIONS[self.how]
        assert variation.change is not None
        return variation.change(Draw(draw(tau), at=draw, tau=tau, generator=self.generator), variation.size)

    def cdf(self, *_: Any, **__: Any) -> NoReturn:
        """None: that of the emulator is another one's."""
        msg = f"densities: expected an emulator as it was trained, got one spoilt: {self.how}"
        raise NotImplementedError(msg)

    quantile = log_density = marginal = most_likely = cdf


def spoil(emulator: Emulator, how: str, *, seed: int = 0) -> Spoilt:
    """An emulator with jets wrong in one way.

    Raises
    ------
    ValueError: when how is none of `SPOILINGS`.
    """
    if how not in SPOILINGS:
        msg = f"spoil: expected one of {', '.join(SPOILINGS)}, got {how!r}"
        raise ValueError(msg)
    parts = {part.name: getattr(emulator, part.name) for part in fields(Emulator)}
    # not the numbers that a caller with the same seed draws its quantile levels from
    return Spoilt(**parts, how=how, generator=np.random.default_rng([seed, OWN]))
