"""Allowed ranges of numeric options, and how wrong input is refused, in the library and on the command line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any


@dataclass(frozen=True)
class Range:
    """A range of finite numbers.

    Parameters
    ----------
    least, most: inclusive bounds.
    above, below: exclusive bounds.
    whole: whether only integers are allowed.

    Calling a range with a string parses and checks the number, so that it can serve as an argparse `type`.
    """

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    whole: bool = False

    def __str__(self) -> str:
        words = (("above", self.above), ("of at least", self.least), ("below", self.below), ("of at most", self.most))
        bounds = " and ".join(f"{word} {bound:.10g}" for word, bound in words if math.isfinite(bound))
        if math.isfinite(self.least) and math.isfinite(self.most):
            bounds = f"from {self.least:.10g} to {self.most:.10g}"
        return f"{'a whole' if self.whole else 'a finite'} number {bounds}".rstrip()

    def __contains__(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, Integral if self.whole else Real):
            return False
        number: Any = value
        return math.isfinite(number) and self.least <= number <= self.most and self.above < number < self.below

    def check(self, **values: Any) -> None:
        """Raise ValueError, naming the keyword, if a value is outside the range; None is accepted."""
        for name, value in values.items():
            expect(value is None or value in self, f"{name}: expected {self}, got {value!r}")

    def __call__(self, text: str) -> Any:
        try:
            value = int(text) if self.whole else float(text)
        except ValueError:
            value = math.nan
        expect(value in self, f"expected {self}, got {text!r}", argparse.ArgumentTypeError)
        return value


def expect(holds: Any, message: str, error: type[Exception] = ValueError) -> None:
    """Raise an error with this message, "where: expected ..., got ...", unless the condition holds."""
    if not holds:
        raise error(message)


def check_choice(known: Iterable[str], **values: Any) -> None:
    """Raise ValueError, naming the keyword, if a value is not among the known ones."""
    names = list(known)  # a list, so that unhashable values can be compared too
    for name, value in values.items():
        expect(value in names, f"{name}: expected one of {', '.join(names)}, got {value!r}")


GEV = Range(least=0, most=1e6)
GEV_ABOVE_ZERO = Range(above=0, most=1e6)
RADIUS = Range(least=0.1, most=1.5)
CONE = Range(above=0, most=1.5)
ETA_EDGE = Range(above=0, most=20)
ABS_ETA = Range(above=0, most=100)  # of a cut, which may be none
ENERGY = Range(above=0, most=1e3)  # TeV
FRACTION = Range(above=0, below=1)
PROBABILITY = Range(least=0, most=1)
SEED = Range(least=0, most=2**63 - 1, whole=True)
WORKERS = Range(least=1, most=4096, whole=True)
COUNT = Range(least=1, most=10**9, whole=True)
