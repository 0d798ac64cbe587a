"""Table of the quantities drawn for a reco jet, with the transformation of each to a network target and back.

The first four rows are the four-momentum, in one of several forms (`TARGETS`). Further rows may follow, each drawn
conditionally on the preceding ones: any column of the jets in a training sample can become a `Column`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace as _xp

from coffea_iqn.jets.features import (
    ETA,
    MASS,
    MAX_LOG,
    PHI,
    PT,
    RATIO_OFFSET,
    Columns,
    beam_side,
    log_mass,
    mass_from_log,
    paper_variables,
    wrap_phi,
)
from coffea_iqn.jets.support import HEADROOM
from coffea_iqn.numerics.arrays import Floats, Ints
from coffea_iqn.ranges import expect

CLEAR = 0.5  # distance beyond an end at which a standardised number is taken for an atom
Way = Callable[[Columns, Columns], Any]


class Target(NamedTuple):
    """A component of the four-momentum of a reco jet.

    Attributes
    ----------
    name: name of the jet field.
    encode: function from the component, (N,), and gen jets, (N, 4), to the target before standardisation, (N,).
    decode: the inverse.
    atom: whether the least value has a finite probability, such as zero mass for jets of one massless constituent.
    """

    name: str
    encode: Way
    decode: Way
    atom: bool = False


# residuals are suggested by Kronheim et al. (2024) as an improvement over their ratios
_PT = Target(
    "pt",
    lambda y, gen: _xp(gen).log(y / gen[:, PT]),
    lambda t, gen: gen[:, PT] * _xp(gen).exp(t.clip(-MAX_LOG, MAX_LOG)),
)
_ETA = Target("eta", lambda y, gen: y - gen[:, ETA], lambda t, gen: gen[:, ETA] + t)
_ETA_TO_BEAM = Target(  # makes the two ends of the detector equivalent
    "eta",
    lambda y, gen: (y - gen[:, ETA]) * beam_side(gen[:, ETA]),
    lambda t, gen: gen[:, ETA] + t * beam_side(gen[:, ETA]),
)
_PHI = Target("phi", lambda y, gen: wrap_phi(y - gen[:, PHI]), lambda t, gen: wrap_phi(gen[:, PHI] + t))
_MASS = Target(
    "mass",
    lambda y, gen: log_mass(y) - log_mass(gen[:, MASS]),
    lambda t, gen: mass_from_log(log_mass(gen[:, MASS]) + t),
)


def _ratio(name: str, k: int, there: Way, back: Callable[[Columns], Any]) -> Target:
    """Return the paper's target (y + 10) / (x + 10), where y and x are `paper_variables` of reco and gen jets."""

    def encode(y: Columns, gen: Columns) -> Any:
        return (there(y, gen) + RATIO_OFFSET) / (paper_variables(gen)[:, k] + RATIO_OFFSET)

    def decode(t: Columns, gen: Columns) -> Any:
        return back(t * (paper_variables(gen)[:, k] + RATIO_OFFSET) - RATIO_OFFSET)

    return Target(name, encode, decode)


TARGETS: dict[str, tuple[Target, ...]] = {
    "ratio": (
        _ratio("pt", PT, lambda y, _: _xp(y).log(y), lambda z: _xp(z).exp(z.clip(-MAX_LOG, MAX_LOG))),
        _ratio("eta", ETA, lambda y, _: y, lambda z: z),
        # first shifted to within π of the gen angle, so that jets near φ = π stay close
        _ratio("phi", PHI, lambda y, gen: gen[:, PHI] + wrap_phi(y - gen[:, PHI]), wrap_phi),
        _ratio("mass", MASS, lambda y, _: log_mass(y), mass_from_log),
    ),
    "residual": (_PT, _ETA, _PHI, _MASS),
    "symmetric": (_PT, _ETA_TO_BEAM, _PHI, _MASS),
    "massless": (_PT, _ETA_TO_BEAM, _PHI, _MASS._replace(atom=True)),
}
"""Available forms of the four-momentum."""


LABELS = {
    "nCharged": "Number of charged constituents",
    "nNeutral": "Number of neutral constituents",
    "chEF": "Charged energy fraction",
    "btag": "b tag",
    "tau1": r"$\tau_1$",
    "tau2": r"$\tau_2$",
    "tau3": r"$\tau_3$",
}
"""Labels of known columns."""

KINDS = ("continuous", "fraction", "count", "flag")
RARE = 0.01  # fraction of jets exactly at an end above which the end is an atom
FEW = 20  # jets with a number, up to which its neighbours may be missing by chance
RESERVED = ("pt", "eta", "phi", "mass", "genJetIdx", "matched_gen", "weight")  # fields of jets
# coordinates of vectors, which would have two energies or directions
OF_VECTORS = ("x", "y", "z", "t", "px", "py", "pz", "E", "e", "energy", "M", "m", "rho", "theta", "tau")
LEAST_VALUES = 20  # distinct values of a continuous column: between fewer, such as working points, there is nothing
PEAK = 10.0  # ratio to the numbers of jets with values beside it above which a value inside the range is an atom
NEIGHBOURS = 3  # of these on each side
MOST_ATOMS = 2  # of a column
APART = 0.25  # distance of an end that several jets have from all other values, relative to their range, for an atom
SKEWED = 4.0  # ratio of the distances of the 99th and 1st percentile from the median above which a logarithm is used


class Rule(NamedTuple):
    """Which jets have an atom, if others decide: those, and only those, in which some numbers add up to few.

    Attributes
    ----------
    counts: names of one or two preceding columns, such as the numbers of charged and neutral particles.
    most: their greatest sum in jets with the atom.
    """

    counts: tuple[str, ...]
    most: float


class Column(NamedTuple):
    """An additional quantity of a reco jet, drawn conditionally on the preceding rows of the table.

    Attributes
    ----------
    name: name of the jet field.
    kind: "continuous"; "fraction", from 0 to 1; "count", integers, drawn from a continuous law and rounded down;
        "flag", 0 or 1.
    low, high: range of the values that are not atoms; for a count before rounding down.
    mean, scale: standardisation of the target.
    unit: the target is log(1 + (y − low) / unit), or y itself if unit is 0.
    atom, top: exact values with a finite probability, or None: below low and above high, or one of those between, such
        as a charge of zero. A flag is either the atom or its only other value.
    under: a preceding column that this one never exceeds, such as τ1 for τ2, or None.
    atom_if, top_if: rules that decide about atom and top, such as that of τ2, which is zero for jets of one or two
        particles; None if they are drawn. Rules decide about all atoms of a column or about none.
    """

    name: str
    kind: str
    low: float
    high: float
    mean: float
    scale: float
    unit: float = 0.0
    atom: float | None = None
    top: float | None = None
    under: str | None = None
    atom_if: Rule | None = None
    top_if: Rule | None = None

    @classmethod
    def of(cls, name: str, values: Floats) -> Column:
        """Define the column from its values in a training sample, (N,).

        Raises
        ------
        ValueError: when the values are not finite, or all equal, or fractions of fewer than 20 values, or whole numbers
            that are codes, or when more than two have a finite probability.
        """
        values = np.asarray(values, dtype=np.float64)
        if not np.isfinite(values).all() or values.min() == values.max():
            what = "none that is finite" if not np.isfinite(values).any() else f"{values.min():g} to {values.max():g}"
            msg = f"column {name}: expected finite values that differ, got {what} in {len(values)} jets"
            raise ValueError(msg)
        if np.isin(values, (0.0, 1.0)).all():
            return cls(name, "flag", 1.0, 1.0, 1.0, 1.0, atom=0.0)
        found, n = np.unique(values, return_counts=True)
        whole = bool((found == np.floor(found)).all())
        atom = float(found[0]) if _is_atom(found, n) else None
        top = float(found[-1]) if not whole and _is_atom(-found[::-1], n[::-1]) else None
        if not whole:
            atom, top = _with_peaks(name, atom, top, found, n)
        rest = values[(values != atom) & (values != top)]
        if whole:
            _check_counted(name, rest)
        elif len(found) - (atom is not None) - (top is not None) < LEAST_VALUES < len(values):
            msg = f"column {name}: expected many values or whole numbers, got only {', '.join(f'{y:g}' for y in found)}"
            raise ValueError(msg)
        low, high = float(rest.min()), float(rest.max())
        margin = HEADROOM * (high - low)
        if whole:
            kind, high, unit = "count", high + 1.0 + np.round(margin), 1.0
            rest = rest + 0.5
        else:
            kind = "fraction" if low >= 0.0 and high <= 1.0 else "continuous"
            # assume that values, other than an atom such as −1, cannot be negative if none is, nor positive
            if atom is None or atom > low:
                low = low - margin if low < 0.0 else 0.0
            if top is None or top < high:
                high = min(high + margin, 1.0 if kind == "fraction" else 0.0 if high <= 0.0 else np.inf)
            below, middle, above = np.quantile(rest, [0.01, 0.5, 0.99])
            unit = float(middle - low) if above - middle > SKEWED * (middle - below) else 0.0
        learnt = np.log1p((rest - low) / unit) if unit else rest
        return cls(
            name, kind, low, high, float(learnt.mean()), float(learnt.std()) if np.ptp(learnt) else 1.0, unit, atom, top
        )

    @property
    def label(self) -> str:
        """Axis label, in matplotlib's mathtext."""
        return LABELS.get(self.name, self.name.replace("_", " "))

    @property
    def ends(self) -> tuple[float, float]:
        """Standardised values of low and high."""
        low, high = (
            float(np.log1p((end - self.low) / self.unit)) if self.unit else end for end in (self.low, self.high)
        )
        return (low - self.mean) / self.scale, (high - self.mean) / self.scale

    @property
    def has_peak(self) -> bool:
        """Whether an atom is inside the range: its standardised target says nothing about its value."""
        return any(value is not None and self.low < value < self.high for value in (self.atom, self.top))

    def encode(self, y: Columns, _: Columns) -> Any:
        """Return the standardised target, (N,), without regard to atoms; beyond an end that of the end."""
        y = y.clip(self.low, self.high)
        learnt = _xp(y).log(1.0 + (y - self.low) / self.unit) if self.unit else y
        return (learnt - self.mean) / self.scale

    def decode(self, z: Columns, _: Columns) -> Any:
        """Return the value from the target: the inverse of `encode`; counts are rounded down."""
        low, high = self.ends
        learnt = z.clip(low, high) * self.scale + self.mean
        y = self.low + self.unit * (_xp(z).exp(learnt) - 1.0) if self.unit else learnt
        y = y.clip(self.low, self.high)
        if self.kind == "count":
            y = _xp(z).floor(y).clip(max=self.high - 1.0)
        if self.atom is not None:
            y = _xp(z).where(z < low - CLEAR, self.atom, y)
        return y if self.top is None else _xp(z).where(z > high + CLEAR, self.top, y)


def _is_atom(found: Floats, n: Ints) -> bool:
    """Whether the first of the rising distinct numbers, which n jets have, is frequent or, as −999, far from others."""
    is_apart = n[0] > 1 and found[1] - found[0] > APART * (found[-1] - found[1])
    return bool(is_apart or n[0] > RARE * n.sum())


def _with_peaks(
    name: str, atom: float | None, top: float | None, found: Floats, n: Ints
) -> tuple[float | None, float | None]:
    """Return the atoms, in place of None those inside the range: far more frequent than the values beside them."""
    around = np.lib.stride_tricks.sliding_window_view(np.pad(n, NEIGHBOURS), 2 * NEIGHBOURS + 1)
    most = np.sort(np.delete(around, NEIGHBOURS, axis=1), axis=1)[:, -2]  # one of them may be an atom as well
    peaks = [float(y) for y in found[1:-1][((n > RARE * n.sum()) & (n > PEAK * most))[1:-1]]]
    atoms = [value for value in (atom, top) if value is not None] + peaks
    got = ", ".join(f"{value:g}" for value in sorted(atoms))
    fits = len(atoms) <= MOST_ATOMS
    expect(fits, f"column {name}: expected at most two values that many jets have exactly, got {got}")
    if atom is None and peaks:
        atom = peaks.pop(0)
    return atom, peaks[0] if peaks else top


def _check_counted(name: str, values: Floats) -> None:
    """Raise ValueError for codes such as PDG codes: their law would draw the numbers between them, which no jet has."""
    found, n = np.unique(values, return_counts=True)
    often = n > max(RARE * len(values), FEW)
    codes = np.flatnonzero(often[:-1] & often[1:] & (np.diff(found) > 1.0))
    if len(codes):
        one, other = found[codes[0]], found[codes[0] + 1]
        got = f"got codes: many jets have {one:g} or {other:g} and none a number between"
        msg = f"column {name}: expected numbers that count something, {got}: make a column of 0 and 1 of each code"
        raise ValueError(msg)


def check_names(names: Sequence[Any]) -> None:
    """Raise ValueError unless the names are distinct, can be used for new fields of jets, and are of no index."""
    taken = [*RESERVED, *OF_VECTORS]
    for k, name in enumerate(names):
        fits = isinstance(name, str) and name.isidentifier() and name not in [*taken, *names[:k]]
        expect(fits, f"columns: expected distinct names of new fields of jets, got {name!r}")
        refers = re.search(r"Idx\d*G?$", name)  # drawn, it would refer to any object
        expect(not refers, f"columns: expected quantities of a jet, got {name!r}, which refers to objects of the event")


def encode(targets: Sequence[Target | Column], reco: Columns, gen: Columns) -> Any:
    """Return the network targets, (N, n), for reco jets (N, n) whose columns are the first n of these targets."""
    columns = [target.encode(reco[:, k], gen) for k, target in enumerate(targets[: reco.shape[1]])]
    return _xp(gen).stack(columns, axis=1)


def decode(targets: Sequence[Target | Column], values: Columns, gen: Columns) -> Any:
    """The inverse of `encode`."""
    columns = [target.decode(values[:, k], gen) for k, target in enumerate(targets[: values.shape[1]])]
    return _xp(gen).stack(columns, axis=1)
