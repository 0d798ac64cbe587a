"""Columns of awkward's collections as numpy has them: a number for each object, or for each event."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt


def flat(collection: ak.Array, field: str) -> npt.NDArray[Any]:
    """A field of all objects of a collection, events × var, in a row, (N,) or (N, n).

    Raises
    ------
    ValueError: when the field has missing values.
    """
    return plain(ak.flatten(collection[field], axis=1), f"{name_of(collection)}.{field}")


def numbers(column: ak.Array, name: str) -> npt.NDArray[Any]:
    """One number an event, (events,), of what is called so; Delphes wraps them in lists of one.

    Raises
    ------
    ValueError: when some are missing.
    """
    return plain(ak.flatten(column, axis=1) if column.ndim > 1 else column, name)


def plain(column: ak.Array, name: str) -> npt.NDArray[Any]:
    """An array of awkward that is one of numpy but for its type.

    Raises
    ------
    ValueError: when it has missing values.
    """
    if has_option(column):
        n_missing = int(ak.sum(ak.is_none(column)))
        if n_missing:
            advice = "drop them, or put numbers in their place (ak.drop_none, ak.fill_none)"
            msg = f"{name}: expected no missing values, got {n_missing} of {len(column)}: {advice}"
            raise ValueError(msg)
    return np.asarray(column)


def name_of(collection: ak.Array) -> str:
    """What a collection is called."""
    parameter = collection.layout.purelist_parameter
    return str(parameter("collection_name") or parameter("__record__") or "events")


def has_option(column: ak.Array) -> bool:
    """Whether the type is optional at any depth."""
    layout: Any = column.layout
    while layout is not None:
        if layout.is_option:
            return True
        layout = getattr(layout, "content", None)
    return False
