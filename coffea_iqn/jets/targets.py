"""What is drawn of a reco jet, as a table: a number a row, with the way to what a network learns of it, and back.

The first four rows are the four-momentum, in one of several forms (`TARGETS`); `MORE` has what may be drawn beside it,
after it, each given those before. A further one is a row there, and nothing else has to know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

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

KINDS = ("continuous", "fraction", "count", "flag")
WHOLE = ("count", "flag")  # kinds that are whole numbers
Way = Callable[[Columns, Columns], Any]


class Target(NamedTuple):
    """A number of a reco jet.

    Attributes
    ----------
    name: what a field of jets is called that has it.
    unit: of it, or "".
    label: in matplotlib's mathtext.
    kind: "continuous"; "fraction", from 0 to 1; "count" or "flag", whole numbers, which a network learns with a number
        from 0 to 1 added, and what is drawn is rounded down (L. Theis, A. van den Oord and M. Bethge, ICLR 2016).
    encode: from the number, (N,), and gen jets, (N, 4), to what a network learns before standardisation, (N,).
    decode: the inverse.
    support: the least and the greatest value; of the four-momentum `Variables.bounds` knows more.
    atom: whether some are exactly at the least value, as the mass of jets of one massless constituent is zero.
    """

    name: str
    unit: str
    label: str
    kind: str
    encode: Way
    decode: Way
    support: tuple[float, float] = (-np.inf, np.inf)
    atom: bool = False


def _xp(column: Columns) -> Any:
    return array_namespace(column)


def _unit(name: str) -> tuple[str, str, str, str]:
    labels = {"pt": "$p_T$", "eta": r"$\eta$", "phi": r"$\phi$", "mass": "Mass"}
    return name, {"pt": "GeV", "mass": "GeV", "phi": "rad"}.get(name, ""), labels[name], "continuous"


# residuals are what Kronheim et al. (2024) name as the likely improvement on their ratios
_PT = Target(
    *_unit("pt"),
    lambda y, gen: _xp(gen).log(y / gen[:, PT]),
    lambda t, gen: gen[:, PT] * _xp(gen).exp(t.clip(-MAX_LOG, MAX_LOG)),
)
_ETA = Target(*_unit("eta"), lambda y, gen: y - gen[:, ETA], lambda t, gen: gen[:, ETA] + t)
_ETA_TO_BEAM = Target(  # both ends of the detector are then alike
    *_unit("eta"),
    lambda y, gen: (y - gen[:, ETA]) * beam_side(gen[:, ETA]),
    lambda t, gen: gen[:, ETA] + t * beam_side(gen[:, ETA]),
)
_PHI = Target(*_unit("phi"), lambda y, gen: wrap_phi(y - gen[:, PHI]), lambda t, gen: wrap_phi(gen[:, PHI] + t))
_MASS = Target(
    *_unit("mass"),
    lambda y, gen: log_mass(y) - log_mass(gen[:, MASS]),
    lambda t, gen: mass_from_log(log_mass(gen[:, MASS]) + t),
)


def _ratio(name: str, k: int, there: Way, back: Callable[[Columns], Any]) -> Target:
    """The paper's target (y + 10) / (x + 10), for y and x the `paper_variables` of reco and gen jets."""

    def encode(y: Columns, gen: Columns) -> Any:
        return (there(y, gen) + RATIO_OFFSET) / (paper_variables(gen)[:, k] + RATIO_OFFSET)

    def decode(t: Columns, gen: Columns) -> Any:
        return back(t * (paper_variables(gen)[:, k] + RATIO_OFFSET) - RATIO_OFFSET)

    return Target(*_unit(name), encode, decode)


TARGETS: dict[str, tuple[Target, ...]] = {
    "ratio": (
        _ratio("pt", PT, lambda y, _: _xp(y).log(y), lambda z: _xp(z).exp(z.clip(-MAX_LOG, MAX_LOG))),
        _ratio("eta", ETA, lambda y, _: y, lambda z: z),
        # first moved to within π of the gen angle, so that a jet that crosses φ = π stays near
        _ratio("phi", PHI, lambda y, gen: gen[:, PHI] + wrap_phi(y - gen[:, PHI]), wrap_phi),
        _ratio("mass", MASS, lambda y, _: log_mass(y), mass_from_log),
    ),
    "residual": (_PT, _ETA, _PHI, _MASS),
    "symmetric": (_PT, _ETA_TO_BEAM, _PHI, _MASS),
    "massless": (_PT, _ETA_TO_BEAM, _PHI, _MASS._replace(atom=True)),
}
"""The forms of the four-momentum."""


def _count(name: str, label: str) -> Target:
    return Target(
        name,
        "",
        label,
        "count",
        lambda y, _: _xp(y).log(y + 1.0),
        lambda t, _: _xp(t).exp(t.clip(-MAX_LOG, MAX_LOG)) - 1.0,
        (0.0, 1000.0),
    )


def _itself(y: Columns, _: Columns) -> Any:
    return y


MORE: dict[str, Target] = {
    target.name: target
    for target in (
        _count("nCharged", "Number of charged constituents"),
        _count("nNeutral", "Number of neutral constituents"),
        Target("chEF", "", "Charged energy fraction", "fraction", _itself, _itself, (0.0, 1.0)),
        Target("btag", "", "b tag", "flag", _itself, _itself, (0.0, 2.0)),
    )
}
"""What may be drawn beside the four-momentum, by name."""


def encode(targets: Sequence[Target], reco: Columns, gen: Columns) -> Any:
    """What a network learns of reco jets (N, n) whose columns are the first of these targets, (N, n)."""
    columns = [target.encode(reco[:, k], gen) for k, target in enumerate(targets[: reco.shape[1]])]
    return _xp(gen).stack(columns, axis=1)


def decode(targets: Sequence[Target], values: Columns, gen: Columns) -> Any:
    """The inverse of `encode`, whole numbers not yet rounded down."""
    columns = [target.decode(values[:, k], gen) for k, target in enumerate(targets[: values.shape[1]])]
    return _xp(gen).stack(columns, axis=1)
