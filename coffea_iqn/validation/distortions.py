"""Emulators made wrong on purpose: what a validation must find, and a way to see how much it can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, NoReturn

import numpy as np
from scipy.stats import norm

from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.jets.features import ETA, MASS, PT
from coffea_iqn.numerics.arrays import Floats

SMEARING = 0.02
MASS_SHIFT = 0.01
OWN = 0x5B011
CUT = 3.0  # half central 68 % widths


@dataclass(frozen=True, eq=False, repr=False)
class Spoilt(Emulator):
    """An emulator whose jets are wrong in one way, a key of `SPOILINGS`; it has no cdf.

    What it changes at random is drawn from its generator, not from the quantile levels.
    """

    how: str = "pt-smeared"
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def sample(self, gen: Floats, tau: Floats, context: Floats | None = None, **options: Any) -> Floats:
        """As of `Emulator.sample`, spoilt."""

        def draw(levels: Floats) -> Floats:
            return Emulator.sample(self, gen, levels, context, **options)

        return SPOILINGS[self.how](draw, tau, self.generator)

    def cdf(self, *_: Any, **__: Any) -> NoReturn:
        """None: that of the emulator is another one's."""
        msg = f"cdf: expected an emulator as it was trained, got one spoilt: {self.how}"
        raise NotImplementedError(msg)


def spoil(emulator: Emulator, how: str, *, seed: int = 0) -> Spoilt:
    """An emulator with jets wrong in one way.

    Raises
    ------
    ValueError: when how is no key of `SPOILINGS`.
    """
    if how not in SPOILINGS:
        msg = f"spoil: expected one of {', '.join(SPOILINGS)}, got {how!r}"
        raise ValueError(msg)
    parts = {part.name: getattr(emulator, part.name) for part in fields(Emulator)}
    # not the numbers that a caller with the same seed draws its quantile levels from
    return Spoilt(**parts, how=how, generator=np.random.default_rng([seed, OWN]))


Draw = Callable[[Floats], Floats]


def _pt_smeared(draw: Draw, tau: Floats, generator: np.random.Generator) -> Floats:
    reco = draw(tau)
    reco[:, PT] *= 1.0 + SMEARING * generator.standard_normal(len(reco)).astype(np.float32)
    return reco


def _mass_shifted(draw: Draw, tau: Floats, _: np.random.Generator) -> Floats:
    reco = draw(tau)
    reco[:, MASS] *= 1.0 + MASS_SHIFT
    return reco


def _tails_cut(draw: Draw, tau: Floats, _: np.random.Generator) -> Floats:
    """Within so many half widths of the median: phi, which would have to be unwound, is left as it is."""
    reco = draw(tau)
    low, median, high = (draw(np.full_like(tau, level)) for level in norm.cdf([-1.0, 0.0, 1.0]))
    for k in (PT, ETA, MASS):
        reach = CUT * np.abs(high[:, k] - low[:, k]) / 2.0  # eta of jets behind falls where their level rises
        reco[:, k] = np.clip(reco[:, k], median[:, k] - reach, median[:, k] + reach)
    return reco


def _independent(draw: Draw, tau: Floats, generator: np.random.Generator) -> Floats:
    """Each variable from a draw of its own."""
    columns = [draw(tau)[:, 0]]
    for k in range(1, tau.shape[1]):
        levels = generator.uniform(tau.min(), tau.max(), tau.shape).astype(np.float32)
        columns.append(draw(levels)[:, k])
    return np.stack(columns, axis=1)


SPOILINGS: dict[str, Callable[[Draw, Floats, np.random.Generator], Floats]] = {
    "pt-smeared": _pt_smeared,
    "mass-shifted": _mass_shifted,
    "tails-cut": _tails_cut,
    "independent": _independent,
}
