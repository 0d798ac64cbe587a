"""Checks of the content of `model.json`: objects and numbers of JSON, standardisations, cards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from coffea_iqn.iqn.standardisation import Standardisation
from coffea_iqn.jets.context import WIDTHS
from coffea_iqn.numerics.arrays import Floats
from coffea_iqn.ranges import check_choice, expect

GREATEST = 1e30  # numbers must be below this
DIRECTIONS = {"fold": "gen", "correct": "reco"}
"""The directions of a bundle, with the level of the jets that it takes as input; it draws those of the other level."""


def an_object(name: str, value: Any) -> dict[str, Any]:
    """Check that a value is a JSON object, and return it."""
    expect(isinstance(value, dict), f"{name}: expected an object, got {type(value).__name__}", TypeError)
    return dict(value)


def number(name: str, value: Any, *, above: float = -math.inf, least: float = -math.inf) -> float:
    """Check that a value is a finite number in its range, and return it."""
    finite = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < GREATEST
    expect(finite, f"{name}: expected a finite number, got {value!r}")
    bound = f"above {above:g}" if above > -math.inf else f"from {least:g} on"
    expect(value > above and value >= least, f"{name}: expected a number {bound}, got {value!r}")
    return float(value)


def array(name: str, values: Any, shape: tuple[int, ...]) -> Floats:
    """Return an array of finite numbers of this shape."""
    try:
        made = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        msg = f"{name}: expected {shape} finite numbers: {error}"
        raise ValueError(msg) from None
    fits = made.shape == shape and (np.abs(made) < GREATEST).all()
    expect(fits, f"{name}: expected {shape} finite numbers, got shape {made.shape}")
    return made


def rising(name: str, values: Any) -> tuple[float, float]:
    """Return two numbers, after checking that the second is greater than the first."""
    low, high = array(name, values, (2,)).tolist()
    expect(low < high, f"{name}: expected two rising numbers, got {low} and {high}")
    return low, high


def standardisation(name: str, content: Mapping[str, Any], n: int) -> Standardisation:
    """Return the standardisation of this name, of n columns."""
    described = an_object(name, content[name])
    made = Standardisation(*(array(name, described[key], (n,)).astype(np.float32) for key in Standardisation._fields))
    expect((made.scale > 0.0).all(), f"{name}: expected scales above 0, got some that are not")
    return made


def levels(names: Any) -> tuple[str, ...]:
    """Return levels of context, after checking their names and order."""
    known = [name for name in WIDTHS if isinstance(names, list) and name in names]
    expect(names == known, f"context: expected of {', '.join(WIDTHS)}, in this order, got {names!r}")
    return tuple(known)


def direction_of(card: Mapping[str, Any]) -> str:
    """Return the direction of the bundle with this card, one of `DIRECTIONS`."""
    return str(card.get("direction", "fold"))


def card(content: Any) -> dict[str, Any]:
    """Return a card, after checking the entries that this library reads."""
    content = an_object("card", content)
    jets = an_object("card jets", content.get("jets", {}))
    domain = an_object("card domain", content.get("domain") or {})
    for key in jets.keys() & {"radius", "cone"}:
        number(f"card jets {key}", jets[key], above=0.0)
    if "energy" in content:
        number("card energy", content["energy"], above=0.0)
    check_choice(DIRECTIONS, direction=direction_of(content))
    level = DIRECTIONS[direction_of(content)]
    for key in (f"{level}_pt", f"{level}_abs_eta") if domain else ():
        rising(f"card domain {key}", domain[key])
    return dict(content)
