"""Regions of phase space given as text: `30<pt<35,abs(eta)<1,5<mass<10`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

COLUMNS = {"pt": 0, "eta": 1, "phi": 2, "mass": 3}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_SIGN = re.compile(r"(<=|>=|<|>)")
_TURNED = str.maketrans("<>", "><")
_VARIABLE = re.compile(r"(abs\()?(" + "|".join(COLUMNS) + r")(\))?")


@dataclass(frozen=True)
class _Comparison:
    """Comparison of a variable, or its absolute value, with a number."""

    column: int
    absolute: bool
    sign: str
    bound: float

    def holds(self, jets: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        values = np.abs(jets[:, self.column]) if self.absolute else jets[:, self.column]
        compare = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}[self.sign]
        return np.asarray(compare(values, self.bound))


@dataclass(frozen=True)
class Box:
    """A region of gen jets, in which all of its comparisons hold.

    Attributes
    ----------
    text: the selection as text, without blanks.
    comparisons: the parsed comparisons.
    """

    text: str
    comparisons: tuple[_Comparison, ...]

    @classmethod
    def parse(cls, text: str) -> Box:
        """Parse comma-separated comparisons of pt [GeV], eta, phi [rad], mass [GeV], or abs() of one, with numbers.

        >>> Box.parse("30<pt<35,abs(eta)<1").contains(np.array([[32.0, -0.5, 0.0, 5.0], [32.0, -1.5, 0.0, 5.0]]))
        array([ True, False])

        Raises
        ------
        ValueError: for anything else; the message quotes the invalid part.
        """
        comparisons = [one for part in text.split(",") for one in _chain(part.replace(" ", ""))]
        return cls(text.replace(" ", ""), tuple(comparisons))

    def contains(self, jets: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """Return which of the jets (N, 4) are inside, (N,)."""
        inside = np.ones(len(jets), dtype=bool)
        for comparison in self.comparisons:
            inside &= comparison.holds(jets)
        return inside


def _chain(part: str) -> list[_Comparison]:
    """Parse `variable < number` or `number < variable < number` into one or two comparisons."""
    pieces = _SIGN.split(part)
    terms, signs = pieces[::2], pieces[1::2]
    found = [_comparison(*sides, sign) for sides, sign in zip(pairwise(terms), signs, strict=True)]
    known = [one for one in found if one is not None]
    if len(known) != len(found) or len(found) not in {1, 2}:
        example = "such as 30<pt<35 or abs(eta)<1"
        msg = f"select: expected comparisons of {', '.join(COLUMNS)} with numbers, {example}, got {part!r}"
        raise ValueError(msg)
    return known


def _comparison(left: str, right: str, sign: str) -> _Comparison | None:
    """Parse the comparison of a variable and a number, in either order; None for anything else."""
    if _NUMBER.fullmatch(left):
        return _comparison(right, left, sign.translate(_TURNED)) if not _NUMBER.fullmatch(right) else None
    variable = _VARIABLE.fullmatch(left)
    if variable is None or bool(variable[1]) != bool(variable[3]) or not _NUMBER.fullmatch(right):
        return None
    return _Comparison(COLUMNS[variable[2]], bool(variable[1]), sign, float(right))
