"""Response matrices: expected number of jets of each gen bin in each reco bin, from probabilities instead of draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import awkward as ak
import hist
import numpy as np

from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.events.columns import plain
from coffea_iqn.events.identity import event_weights
from coffea_iqn.folder import IQNFolder
from coffea_iqn.folder.folding import BLOCK
from coffea_iqn.histograms.binning import finder
from coffea_iqn.iqn.device import one_thread
from coffea_iqn.jets.features import ETA, MASS, PT
from coffea_iqn.numerics.arrays import Doubles, Floats, Ints
from coffea_iqn.numerics.exact_sums import Weights, add, merge
from coffea_iqn.ranges import Range, expect

LABELS = {"pt": "jet $p_T$ [GeV]", "abs_eta": r"jet $|\eta|$", "mass": "jet mass [GeV]"}
POINTS = Range(least=1, most=64, whole=True)
Axes = Any  # a hist axis, bin edges, or a pair of these


@dataclass(frozen=True, eq=False)
class Response:
    """Response matrix as exact sums: adding chunks in any order gives the same bits as one pass over all events.

    Attributes
    ----------
    gen, reco: one or two named axes each, equally many.
    sums: sums of weights and of their squares by limb, (bins, 2), see `exact_sums`.
    made_by: the folder that they are of; matrices of different ones are not added.
    """

    gen: tuple[Any, ...]
    reco: tuple[Any, ...]
    sums: dict[int, Doubles]
    made_by: str = ""

    def __add__(self, other: Response) -> Response:
        fits = (self.gen, self.reco) == (other.gen, other.reco)
        expect(fits, f"response: expected matrices of equal axes to add, got {self._named()} and {other._named()}")
        got = f"got {self.made_by} and {other.made_by}"
        expect(self.made_by == other.made_by, f"response: expected matrices of one model and its options, {got}")
        both = dict(self.sums)
        for limb, sums in other.sums.items():
            both[limb] = both.get(limb, 0.0) + sums
        return Response(self.gen, self.reco, both, self.made_by)

    def _named(self) -> str:
        return ", ".join(f"{axis.name} of {axis.size} bins" for axis in (*self.gen, *self.reco))

    @property
    def hist(self) -> hist.Hist:
        """The matrix as a histogram with weighted storage."""
        made = hist.Hist(*self.gen, *self.reco, storage=hist.storage.Weight())
        if self.sums:
            value, variance = merge(self.sums).T
            view = made.view(flow=True)
            view.value, view.variance = value.reshape(view.shape), variance.reshape(view.shape)
        return made


def response(
    model: str | Path, gen: ak.Array, events: ak.Array, gen_axis: Axes, reco_axis: Axes, **how: Any
) -> hist.Hist:
    """Return the response matrix as a histogram, with the arguments and errors of `response_sums`."""
    return response_sums(model, gen, events, gen_axis, reco_axis, **how).hist


def response_sums(
    model: str | Path,
    gen: ak.Array,
    events: ak.Array,
    gen_axis: Axes,
    reco_axis: Axes,
    *,
    weights: Doubles | None = None,
    points: int = 4,
    replicas: int = 10,
    **options: Any,
) -> Response:
    """Return the expected number of jets in bins of gen and reco jets.

    For each gen jet, the probabilities of all reco bins are integrated from the conditional distribution functions of
    the bundle and its efficiency. Random numbers are used only for gen jets that overlap, which are drawn given each
    other (`emulator.overlaps`), and for reco jets that match no gen jet.

    Parameters
    ----------
    model: name of a shipped bundle, or path of a bundle, whose network is a `SplineIQN`.
    gen, events: jagged gen jets and their events, as for `IQNFolder`.
    gen_axis, reco_axis: hist axis with edges and flow bins, or bin edges, of the jet pt [GeV]; or a pair of pt and a
        second axis named "abs_eta" or "mass" [GeV]; equally many on both sides.
    weights: event weights, (events,); None for genWeight if the file has it, and 1 otherwise.
    points: nodes of the Gauss-Legendre rule for each level that is integrated over.
    replicas: draws of each event, for overlapping gen jets, and for reco jets that match no gen jet.
    options: further options of `IQNFolder`.

    Names of axes get the prefix "gen" or "reco" if they lack it. A lost gen jet is in the reco underflow of all axes;
    one that is reconstructed outside the reco bins is in their flow bins. A reco jet that matches no gen jet is in the
    gen underflow of all axes, together with those of gen jets below the gen bins. Sums over reco bins are therefore
    the gen jets, and sums over gen bins the reco jets, flow bins included. The variances are those of sums over events,
    in the limit of infinitely many `replicas`. The redraw of jets that a fold finds within a radius of each other is
    included for gen jets that overlap only, which are hardly ever found this close otherwise.

    Raises
    ------
    ValueError: for invalid axes, a network that is not a `SplineIQN`, and input that a folder refuses.
    """
    POINTS.check(points=points)
    reco_axes, gen_axes = _axes(reco_axis, "reco"), _axes(gen_axis, "gen")
    same = len(gen_axes) == len(reco_axes)
    expect(same, f"response: expected as many gen as reco axes, got {len(gen_axes)} and {len(reco_axes)}")
    folder = IQNFolder(model, replicas=replicas, **options)
    got = f"got {', '.join(map(str, folder.variations))}: a bundle of its own has a matrix of its own"
    expect(not folder.variations, f"variations: expected none for a response matrix, {got}")
    weighted = "expected off for a response matrix, whose jets have no weights, got weight"
    expect(folder.refinement != "weight", f"refinement: {weighted}")
    emulator = folder.emulator
    fits = emulator.exact
    expect(fits, f"model {model}: expected a SplineIQN, got {emulator.draws_by}, which has no distribution function")
    weights = event_weights(events) if weights is None else _weights(weights, len(events))
    from coffea_iqn.unfolding.probabilities import Cells

    one_thread()
    edges = [np.asarray(axis.edges) for axis in reco_axes]
    second = _variable(reco_axes[1]) if len(reco_axes) == 2 else ""
    threshold = emulator.variables.threshold(folder.raw_pt_min)
    cells = Cells(emulator.on("cpu"), edges[0], second, edges[-1] if second else np.empty(0), threshold, points)
    jets = flatten_jets(gen)
    folded = folder.fold_table(gen, events, jets=jets)  # checks the gen jets, and draws the unmatched reco jets
    known, _ = folder.known(gen, events, jets)
    extents = [axis.extent for axis in (*gen_axes, *reco_axes)]
    n_reco = int(np.prod(extents[len(gen_axes) :]))
    overlaps = emulator.overlaps if folder.acceptance else None
    every = np.ones(len(known.jets.values), dtype=bool)
    apart = every if overlaps is None else ~overlaps.overlap(known.jets.values, known.jets.counts)
    entries: list[Entries] = []
    first = 0
    for block, part in known.blocks(BLOCK):
        rows = np.flatnonzero(apart[first : first + len(part.jets.values)])
        first += len(part.jets.values)
        gen, context = part.jets.values[rows], part.context()[rows] if emulator.variables.context else None
        found = cells(gen, context).reshape(-1, n_reco)
        if folder.acceptance:
            efficiency = emulator.efficiency(gen, context, raw_pt_min=threshold).astype(np.float64)
            found *= efficiency[:, None]
            found[:, 0] += 1.0 - efficiency
        jet, of_reco = np.nonzero(found)
        of_gen = _bins(gen_axes, gen) * n_reco
        entries.append((part.jets.event[rows[jet]] + block.start, of_gen[jet] + of_reco, found[jet, of_reco]))
    overlapping_rows = np.flatnonzero(~apart)
    of_gen = _bins(gen_axes, known.jets.values[overlapping_rows]) * n_reco
    for made in folded.reco:
        assert made.row is not None
        place, alone = _bins(reco_axes, made.values), made.row == -1
        of_row = np.zeros(len(apart), dtype=np.int64)  # the underflow, for the lost ones
        of_row[made.row[~alone]] = place[~alone]
        for event, cell in (
            (made.event[alone], place[alone]),
            (known.jets.event[overlapping_rows], of_gen + of_row[overlapping_rows]),
        ):
            entries.append((event, cell, np.full(len(cell), 1.0 / replicas)))
    sums = _sums(entries, weights, int(np.prod(extents)))
    return Response(gen_axes, reco_axes, sums, f"{folder!r} of hash {folder.hash[:12]}")


def _weights(given: Any, n_events: int) -> Doubles:
    """Return the given weights, (events,), after checking that there is one for each event."""
    array = None if np.isscalar(given) or getattr(given, "shape", None) == () else ak.Array(given)
    got = repr(given) if array is None else f"{array.type}"
    fits = array is not None and array.ndim == 1 and len(array) == n_events
    expect(fits, f"weights: expected one for each of the {n_events} events, got {got}")
    return plain(array, "weights").astype(np.float64)


Entries = tuple[Ints, Ints, Doubles]
"""Event, bin and expected number of each entry, (N,) each."""


def _sums(entries: Sequence[Entries], weights: Doubles, n_bins: int) -> dict[int, Doubles]:
    """Return sums of weights and of their squares; entries of an event in the same bin are correlated, thus one."""
    event, place, number = (np.concatenate(column) for column in zip(*entries, strict=True))
    cells, of_cell = np.unique(event * n_bins + place, return_inverse=True)
    expected = Weights.of(np.bincount(of_cell, number, len(cells)) * weights[cells // n_bins])
    totals = np.zeros((len(expected.limbs), n_bins, 2))
    add(totals, (cells % n_bins).astype(np.uint32)[None], np.arange(len(cells)), expected.parts)
    return dict(zip(expected.limbs, totals, strict=True))


def _bins(axes: Sequence[Any], jets: Floats) -> Ints:
    """Return the bin number of each jet (N, 4) over all axes, flow bins included, (N,)."""
    columns = {"pt": jets[:, PT].copy(), "abs_eta": np.abs(jets[:, ETA]), "mass": jets[:, MASS].copy()}
    place = np.zeros(len(jets), dtype=np.int64)
    for axis in axes:
        place = place * axis.extent + finder(axis)(columns[_variable(axis)])
    return place


def _variable(axis: Any) -> str:
    """Return the variable of an axis from its name: "pt" for "pt", "gen_pt" or just "gen"."""
    name = str(axis.name).removeprefix("gen").removeprefix("reco").removeprefix("_")
    return name or "pt"


def _axes(given: Axes, side: str) -> tuple[Any, ...]:
    """Return the one or two named axes of a side."""
    several = isinstance(given, list | tuple) and not all(isinstance(one, Real) for one in given)
    axes = tuple(_axis(one, side) for one in (given if several else [given]))
    variables = [_variable(axis) for axis in axes]
    fits = variables in (["pt"], ["pt", "abs_eta"], ["pt", "mass"])
    expect(fits, f"{side} axis: expected one of pt, or a pair named pt and abs_eta or mass, got {', '.join(variables)}")
    if len(axes) == 1 or axes[0].name != side:
        return axes
    return (_renamed(axes[0], f"{side}_pt"), axes[1])


def _axis(given: Any, side: str) -> Any:
    name, other = str(getattr(given, "name", "")), "reco" if side == "gen" else "gen"
    expect(not name.startswith(other), f"{side} axis: expected an axis of {side} jets, got one named {name}")
    if not hasattr(given, "edges"):
        try:
            edges = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError):  # not numeric
            edges = np.empty(0)
        fits = edges.ndim == 1 and len(edges) > 1 and np.isfinite(edges).all() and (np.diff(edges) > 0.0).all()
        expect(fits, f"{side} axis: expected increasing edges, got {given!r}")
        given = hist.axis.Variable(edges)
    try:
        finder(given)
    except TypeError as error:
        msg = f"{side} {error}"
        raise ValueError(msg) from None
    variable = _variable(given)
    expect(given.edges[0] >= 0.0, f"{side} axis: expected edges of {variable} from 0 on, got {given.edges[0]:g}")
    return _renamed(given, side if given.name in ("", side) else f"{side}_{variable}")


def _renamed(axis: Any, name: str) -> Any:
    label = axis.label
    if label in ("", axis.name):
        label = f"{name.partition('_')[0].capitalize()} {LABELS.get(_variable(axis), '')}"
    if isinstance(axis, hist.axis.Regular):
        return hist.axis.Regular(axis.size, axis.edges[0], axis.edges[-1], name=name, label=label)
    return hist.axis.Variable(axis.edges, name=name, label=label)
