"""Regions of phase space given as text: `30<pt<35,abs(eta)<1,5<mass<10`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from coffea_iqn.jets.features import VARIABLES
from coffea_iqn.numerics.arrays import Bools, Floats
from coffea_iqn.ranges import expect

SIGNS = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}
TURNED = str.maketrans("<>", "><")
_SIGN, _NUMBER = "([<>]=?)", r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
_VARIABLE = r"({0}|abs\((?:{0})\))".format("|".join(VARIABLES))
_COMPARISON = re.compile(f"(?:{_NUMBER}{_SIGN})?{_VARIABLE}(?:{_SIGN}{_NUMBER})?")


class Comparison(NamedTuple):
    """A variable, or its abs(), a sign of `SIGNS`, and the number after it."""

    variable: str
    sign: str
    number: float


@dataclass(frozen=True)
class Box:
    """A region of gen jets, in which all of its comparisons hold.

    Attributes
    ----------
    text: the selection as text, without blanks.
    comparisons: the parsed comparisons.
    """

    text: str
    comparisons: tuple[Comparison, ...]

    @classmethod
    def parse(cls, text: str) -> Box:
        """Parse comma-separated comparisons of pt [GeV], eta, phi [rad], mass [GeV], or abs() of one, with numbers.

        >>> Box.parse("30<pt<35,abs(eta)<1").contains(np.array([[32.0, -0.5, 0.0, 5.0], [32.0, -1.5, 0.0, 5.0]]))
        array([ True, False])

        Raises
        ------
        ValueError: for anything else, with the invalid part, and for a region without any jets, such as 5<pt<3.
        """
        text = text.replace(" ", "")
        box = cls(text, tuple(one for part in text.split(",") for one in _comparisons(part)))
        for name in {one.variable: None for one in box.comparisons}:
            edges = [(one.sign[0], one.number) for one in box.comparisons if one.variable == name]
            least = -math.inf if name in ("eta", "phi") else 0.0
            low = max([least, *(edge for sign, edge in edges if sign == ">")])
            high = min([math.inf, *(edge for sign, edge in edges if sign == "<")])
            got = f"got {name} from {low:g} to {high:g}: {text}"
            expect(low <= high, f"select: expected a region that jets can be in, {got}")
        return box

    def contains(self, jets: Floats) -> Bools:
        """Return which of the jets (N, 4) are inside, (N,)."""
        inside = np.ones(len(jets), dtype=bool)
        for name, sign, number in self.comparisons:
            values = jets[:, VARIABLES.index(name.removeprefix("abs(").removesuffix(")"))]
            inside &= SIGNS[sign](np.abs(values) if name.startswith("abs") else values, number)
        return inside


def _comparisons(part: str) -> list[Comparison]:
    """Parse `variable < number`, `number < variable` or `number < variable < number`, with any signs."""
    found = _COMPARISON.fullmatch(part)
    if found is None or found[3] == part:
        example = "such as 30<pt<35 or abs(eta)<1"
        msg = f"select: expected comparisons of {', '.join(VARIABLES)} with numbers, {example}, got {part!r}"
        raise ValueError(msg)
    number, sign, name, sign_after, number_after = found.groups()
    sides = (number, sign and sign.translate(TURNED)), (number_after, sign_after)
    return [Comparison(name, sign, float(number)) for number, sign in sides if number is not None]
