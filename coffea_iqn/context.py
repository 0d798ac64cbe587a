"""What is known of a gen jet beside its four-momentum, in levels, each of which a file may have or lack.

Of the jet::

    flavour       as the file labels it: gluon, light, s, c, b, or none (NanoAOD, Delphes, PHYSLITE)
    neighbours    the other gen jets near it: always known where the event is
    composition   numbers of charged and neutral particles, charged energy fraction (Delphes)
    substructure  N-subjettiness τ1, τ2, τ3 of β = 1 (files made for it)

Of its event, which tell what kind of process a jet may come from::

    event         how many jets, how hard, where: always known where the event is
    flavours      of the other jets
    missing       transverse momentum that no gen jet can have (GenMET)

A level takes a few columns, the last of which says 1 where it is known; where it is not, all are zero.
Flat arrays in and out. The arithmetic is in `surroundings`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt

from coffea_iqn.surroundings import FAR, write

Floats = npt.NDArray[np.floating]

OF_JET = {"flavour": 6, "neighbours": 4, "composition": 6, "substructure": 4}
OF_EVENT = {"event": 20, "flavours": 13, "missing": 4}
WIDTHS = OF_JET | OF_EVENT
NANOAOD = ("flavour", "neighbours", *OF_EVENT)  # levels that CMS NanoAOD has
N_COLUMNS = sum(WIDTHS.values())


def columns_of(level: str) -> slice:
    """The columns of a level."""
    before = list(WIDTHS)[: list(WIDTHS).index(level)]
    start = sum(WIDTHS[name] for name in before)
    return slice(start, start + WIDTHS[level])


_STARTS = tuple(columns_of(level).start for level in WIDTHS)


def nearest_distance(columns: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """ΔR of each jet's nearest other one, (N,), at most 3; from columns whose level neighbours is known."""
    return columns[:, columns_of("neighbours").start] * np.float32(FAR)


def encode(n_jets: int, levels: Mapping[str, Floats]) -> npt.NDArray[np.float32]:
    """The columns of all levels, (N, 57), put together.

    Parameters
    ----------
    n_jets: N, needed where no level is known.
    levels: by name, their columns but for the last of each; rows of NaN are unknown.
    """
    out = np.zeros((n_jets, N_COLUMNS), dtype=np.float32)
    for name, values in levels.items():
        columns = columns_of(name)
        known = np.asarray(np.isfinite(values).all(axis=1))
        out[:, columns.start : columns.stop - 1] = np.where(known[:, None], values, 0.0)
        out[:, columns.stop - 1] = known
    return out


def known_levels(columns: Floats, among: Collection[str] = tuple(WIDTHS)) -> tuple[str, ...]:
    """The levels, of some or all, that are known of any jet."""
    return tuple(name for name in WIDTHS if name in among and _any(columns, columns_of(name).stop - 1))


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _any(columns: Floats, column: int) -> bool:
    """Whether a column has anything but zeros; the first one found ends the search."""
    row = 0
    while row < len(columns) and columns[row, column] == 0.0:
        row += 1
    return row < len(columns)


def select(columns: Floats, levels: Sequence[str]) -> list[Floats]:
    """The columns of some levels, (N, n) each."""
    if tuple(levels) == tuple(WIDTHS):
        return [columns]
    return [columns[:, columns_of(level)] for level in levels]


def describe(
    jets: Floats,
    counts: npt.NDArray[np.integer],
    *,
    parton: npt.NDArray[Any] | None = None,
    composition: npt.NDArray[Any] | None = None,
    tau: npt.NDArray[Any] | None = None,
    missing: npt.NDArray[Any] | None = None,
    out: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float32]:
    """The columns of all levels, (N, 57), from what is known; `surroundings` says what each column is.

    Parameters
    ----------
    jets: all jets of the events in a row, (N, 4): pt [GeV], eta, phi [rad], mass [GeV], finite, pt above zero.
    counts: jets in each event, (events,).
    parton: signed PDG codes that label the jets, (N,); events in which all are 0 have no flavours.
    composition: numbers of charged and neutral particles, charged energy fraction, (N, 3).
    tau: N-subjettiness τ1, τ2, τ3, (N, 3); events in which τ1 is 0 of all jets have none.
    missing: pt [GeV] and phi [rad] of the missing momentum, (events, 2).
    out: N or more rows of so many columns to write them into, which is what comes back; None for new ones.

    A level is unknown of a jet where a number for it is not finite.

    Raises
    ------
    ValueError: when the shapes do not agree.
    """
    n_jets, n_events = len(jets), len(counts)
    if np.sum(counts) != n_jets:
        msg = f"counts: expected {n_jets} jets in all, got {np.sum(counts)}"
        raise ValueError(msg)
    columns = np.empty((n_jets, N_COLUMNS), dtype=np.float32) if out is None else out[:n_jets]
    write(
        columns,
        _STARTS,
        _plain("jets", jets, np.float32, (n_jets, 4)),
        _plain("counts", counts, np.int64, (n_events,)),
        _plain("parton", parton, np.int64, (n_jets,)),
        _plain("composition", composition, np.float64, (n_jets, 3)),
        _plain("tau", tau, np.float64, (n_jets, 3)),
        _plain("missing", missing, np.float64, (n_events, 2)),
    )
    return columns


def flavour(parton: npt.NDArray[np.integer]) -> Floats:
    """Gluon, light, s, c or b as one of five columns, from (signed) PDG codes (N,); other codes are none of them.

    >>> flavour(np.array([21, -1, 5, 0])).argmax(axis=1).tolist()
    [0, 1, 4, 0]
    """
    alone = np.ones(len(parton), dtype=np.int64)
    return _level("flavour", describe(np.ones((len(parton), 4)), alone, parton=parton))


def neighbours(jets: Floats, counts: npt.NDArray[np.integer]) -> Floats:
    """What surrounds each jet, (N, 3); jets and counts as of `describe`."""
    return _level("neighbours", describe(jets, counts))


def event(jets: Floats, counts: npt.NDArray[np.integer]) -> Floats:
    """The event as a jet of it sees it, (N, 19); jets and counts as of `describe`."""
    return _level("event", describe(jets, counts))


def _level(name: str, columns: Floats) -> Floats:
    """The columns of a level, but for the one that says whether it is known."""
    return columns[:, columns_of(name)][:, :-1]


def _plain(name: str, values: npt.NDArray[Any] | None, dtype: type, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """An array of this shape and of one type to the compiler, wherever it comes from; an empty one for None."""
    if values is None:
        return np.empty((0, *shape[1:]), dtype=dtype)
    plain = np.require(values, dtype, ["C", "A", "W"])
    if plain.shape != shape:
        msg = f"{name}: expected shape {shape}, got {plain.shape}"
        raise ValueError(msg)
    return plain
