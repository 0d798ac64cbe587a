"""Regions of phase space given as text: `30<pt<35,abs(eta)<1,5<mass<10`."""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from coffea_iqn.jets.features import VARIABLES
from coffea_iqn.numerics.arrays import Bools, Floats

COMPARE = {ast.Lt: np.less, ast.LtE: np.less_equal, ast.Gt: np.greater, ast.GtE: np.greater_equal}


@dataclass(frozen=True)
class Box:
    """A region of gen jets, in which all of its comparisons hold.

    Attributes
    ----------
    text: the selection as text, without blanks.
    comparisons: the parsed comparisons.
    """

    text: str
    comparisons: tuple[ast.Compare, ...]

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
        box = cls(text, tuple(_comparison(part) for part in text.split(",")))
        box._check_possible()
        return box

    def contains(self, jets: Floats) -> Bools:
        """Return which of the jets (N, 4) are inside, (N,)."""
        inside = np.ones(len(jets), dtype=bool)
        for chain in self.comparisons:
            values = [_value(node, jets) for node in (chain.left, *chain.comparators)]
            for (left, right), sign in zip(pairwise(values), chain.ops, strict=True):
                inside &= COMPARE[type(sign)](left, right)
        return inside

    def _check_possible(self) -> None:
        ends: dict[str, list[float]] = {}  # of each variable, or its abs
        for chain in self.comparisons:
            for (left, right), sign in zip(pairwise((chain.left, *chain.comparators)), chain.ops, strict=True):
                below = isinstance(sign, ast.Lt | ast.LtE) == isinstance(left, ast.Name | ast.Call)
                variable, number = (left, right) if isinstance(left, ast.Name | ast.Call) else (right, left)
                name = ast.unparse(variable)
                low, high = ends.get(name, [-math.inf if name in ("eta", "phi") else 0.0, math.inf])
                edge = float(ast.literal_eval(number))
                ends[name] = [low, min(high, edge)] if below else [max(low, edge), high]
        for name, (low, high) in ends.items():
            if low > high:
                msg = f"select: expected a region that jets can be in, got {name} from {low:g} to {high:g}: {self.text}"
                raise ValueError(msg)


def _comparison(part: str) -> ast.Compare:
    """Parse `variable < number`, `number < variable` or `number < variable < number`, with any signs."""
    try:
        node = ast.parse(part, mode="eval").body
        if isinstance(node, ast.Compare) and all(type(sign) in COMPARE for sign in node.ops):
            terms = [_value(term, np.full((1, len(VARIABLES)), np.nan)) for term in (node.left, *node.comparators)]
            is_variable = [isinstance(term, np.ndarray) for term in terms]
            if is_variable in ([True, False], [False, True], [False, True, False]):
                return node
    except (SyntaxError, ValueError):
        pass
    example = "such as 30<pt<35 or abs(eta)<1"
    msg = f"select: expected comparisons of {', '.join(VARIABLES)} with numbers, {example}, got {part!r}"
    raise ValueError(msg)


def _value(node: ast.expr, jets: Floats) -> Floats | float:
    """Return the value of a variable of jets, (N,), or a number; ValueError for anything else."""
    match node:
        case ast.Name(id=name) if name in VARIABLES:
            return jets[:, VARIABLES.index(name)]
        case ast.Call(func=ast.Name(id="abs"), args=[ast.Name() as variable], keywords=[]):
            return np.abs(_value(variable, jets))
    number = ast.literal_eval(node)
    if type(number) not in (int, float) or math.isnan(number):
        raise ValueError
    return float(number)
