"""Reference jets of an export, their response in the bundle, and the closure of the export.

A table has to average over all inputs of a bundle other than pt, |eta| and flavour, such as mass, context and position
within a calorimeter tower. The average is over the gen jets of files. It uses the exact quantile function of each jet,
without statistical fluctuations of draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from coffea.nanoevents import NanoEventsFactory

from coffea_iqn.data import sample_path
from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.events.collections import flatten_jets, gen_events
from coffea_iqn.files.filesets import expand
from coffea_iqn.files.inputs import SCHEMAS, first_jets, inspect
from coffea_iqn.iqn.conditional import logit, sigmoid
from coffea_iqn.jets import radii
from coffea_iqn.jets.context import columns_of
from coffea_iqn.jets.features import ETA, PT
from coffea_iqn.numerics.arrays import Bools, Floats, Ints
from coffea_iqn.ranges import expect

SAMPLES = {0.4: ("qcd_ak4.root", "qcdflat_ak4.root", "ttbar_ak4_genonly.root"), 0.5: ("qcd_ak5.root",)}
GEN = "GenJet"
FLAVOURS = {"gluon": (21,), "light": (1, 2, 3), "charm": (4,), "bottom": (5,)}  # |PDG codes|
_OF_COLUMN = np.array([0, 1, 1, 2, 3, -1])  # index in FLAVOURS of each flavour column of the context; −1 for none
HELD_OUT = 5  # one event in HELD_OUT is used for the closure test instead of the average

Z_MAX = 9.2  # logit of the outermost levels of exports, 1e-4 and 1 − 1e-4
Z = np.linspace(-Z_MAX, Z_MAX, 47)  # logits of the levels of `curves`
GRID = 400  # responses at which distribution functions are averaged

CELLS_PT = (15.0, 22.0, 35.0, 60.0, 120.0, 300.0, np.inf)  # GeV, different from the edges of a table
CELLS_ETA = (0.0, 1.3, 2.5, 3.1, 5.1)
LEAST = 50  # minimum number of jets in a cell
LEVELS = (0.025, 0.16, 0.5, 0.84, 0.975)


class Reference(NamedTuple):
    """Reference gen jets with their conditioning variables.

    Attributes
    ----------
    gen, context: inputs of an emulator, (N, 4) and (N, 68).
    flavour: index of the flavour of each jet in FLAVOURS, −1 for others, (N,).
    held_out: whether a jet is for the closure test instead of the average, (N,).
    given: whether a jet was given its flavour instead of its own, see `with_missing_flavours`, (N,).
    files: names of the files that the jets come from.
    """

    gen: Floats
    context: Floats
    flavour: Ints
    held_out: Bools
    given: Bools
    files: tuple[str, ...]

    @classmethod
    def of(cls, emulator: Emulator, files: Sequence[str] = ()) -> Reference:
        """Read the gen jets in an emulator's domain, by default from the shipped samples of its radius.

        Raises
        ------
        ValueError: if there are no such samples, gen jets have another radius, or a file cannot be read.
        """
        radius: Any = emulator.radius
        if not files and radius not in SAMPLES:
            msg = f"reference: expected files with gen jets of radius {radius}, which no shipped sample has, got none"
            raise ValueError(msg)
        named = expand(files or [str(sample_path(name)) for name in SAMPLES[radius]])
        parts = [_read(one.path, one.tree, radius) for one in named]
        gen, context, event = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        domain = emulator.card.get("domain") or {}
        low, high = domain.get("gen_pt", (0.0, np.inf))
        inside = (gen[:, PT] > low) & (gen[:, PT] < high)
        inside &= np.abs(gen[:, ETA]) < domain.get("gen_abs_eta", (0.0, np.inf))[1]
        flavour = context[:, columns_of("flavour")]
        place = np.where(flavour[:, -1] == 1.0, _OF_COLUMN[flavour.argmax(axis=1)], -1)
        names = tuple(Path(one.path).name for one in named)
        held_out, given = event[inside] % HELD_OUT == 0, np.zeros(int(inside.sum()), dtype=bool)
        return cls(gen[inside], context[inside], place[inside], held_out, given, names)

    def with_missing_flavours(self) -> Reference:
        """Return the jets and further ones, for the closure of flavours where the sample has none.

        For each flavour, these are the held-out jets of every cell of the closure with too few held-out jets of it,
        given this flavour.
        """
        parts, level = [self], columns_of("flavour")
        for number in range(len(FLAVOURS)):
            own, rows = self.flavour == number, np.zeros(len(self.gen), dtype=bool)
            for cell in _grid(self):
                if (cell & own & self.held_out).sum() < LEAST:
                    rows |= cell & ~own & self.held_out
            told = self.where(rows)
            told.context[:, level] = 0.0
            told.context[:, [level.start + _OF_COLUMN.tolist().index(number), level.stop - 1]] = 1.0
            parts.append(told._replace(flavour=np.full_like(told.flavour, number), given=np.ones_like(told.given)))
        names = [name for name in self._fields if name != "files"]
        joined: dict[str, Any] = {name: np.concatenate([getattr(one, name) for one in parts]) for name in names}
        return self._replace(**joined)

    def where(self, rows: Bools) -> Reference:
        """Return a selection of the jets."""
        return self._replace(**{name: getattr(self, name)[rows] for name in self._fields if name != "files"})


def _read(path: str, tree: str | None, radius: float | None) -> tuple[Floats, Floats, Ints]:
    """Return the gen jets of a file, their context, and their event numbers; check their radius."""
    source = inspect(path, tree=tree, collections=[GEN])
    if radius is not None:
        _, distances, width = first_jets(source, GEN)
        against = radii.objection(radius, distances, collection=GEN, width=width)
        expect(against is None, f"{path}: expected gen jets of radius {radius:g}, as the model's, got {against}")
    events = NanoEventsFactory.from_root({path: source.tree}, schemaclass=SCHEMAS[source.layout]).events()
    jets = flatten_jets(events[GEN])
    of_events = gen_events(events[GEN], events, jets, jets.valid(), radius=radius)
    return of_events.jets.values, of_events.context(), of_events.jets.event


def curves(emulator: Emulator, jets: Reference) -> Floats:
    """Return the log response, reco pt over gen pt, of jets at the levels with logits `Z`, (N, 47).

    These are the exact conditional quantiles of pt, with the detector's jet energy scale at the median of eta.
    """
    drawn, out = emulator.prepared(), np.empty((len(jets.gen), len(Z)), dtype=np.float32)
    tau = np.full((len(jets.gen), emulator.network.n_targets), 0.5, dtype=np.float32)
    for k, level in enumerate(sigmoid(Z)):
        tau[:, PT] = level
        out[:, k] = np.log(drawn.sample(jets.gen, tau, jets.context)[:, PT] / jets.gen[:, PT])
    return np.maximum.accumulate(out, axis=1)  # monotone despite rounding


def averaged(of_jets: Floats) -> Callable[[Floats], Floats]:
    """Return the quantile function of a sample of jets: the inverse of the mean of their distribution functions.

    Parameters
    ----------
    of_jets: `curves` of the jets, (N, 47).

    Returns
    -------
    function from logits of levels to responses.
    """
    grid = np.linspace(of_jets.min(), of_jets.max(), GRID)
    below = np.zeros(GRID)
    for curve in of_jets:
        below += sigmoid(np.interp(grid, curve, Z))
    z = logit(below / len(of_jets))
    return lambda at: np.exp(np.interp(at, z, grid))


class Closure(NamedTuple):
    """Differences of an export from its bundle on held-out jets, in cells of pt and |eta|, inclusive and by flavour.

    A cell with few jets of a flavour has those of `Reference.with_missing_flavours`.

    Attributes
    ----------
    jets, cells: numbers of jets, without those given a flavour, and cells.
    quantiles: root mean square and greatest of (export − bundle) / bundle of the response quantiles, by level.
    efficiency: root mean square and greatest of export − bundle of the efficiencies; None without efficiencies.
    """

    jets: int
    cells: int
    quantiles: dict[str, tuple[float, float]]
    efficiency: tuple[float, float] | None

    @classmethod
    def of(cls, jets: Reference, bundle: tuple[Floats, Floats | None], export: tuple[Floats, Floats | None]) -> Closure:
        """Compare `curves` and efficiencies (N,), or None, of bundle and export."""
        names = [f"{level:g}" for level in LEVELS]
        z, found, efficiency = logit(np.array(LEVELS)), [], []
        for rows in _cells(jets):
            one, other = (averaged(of_jets[rows])(z) for of_jets, _ in (export, bundle))
            found.append(one / other - 1.0)
            if bundle[1] is not None and export[1] is not None:
                efficiency.append(float(np.mean(export[1][rows]) - np.mean(bundle[1][rows])))
        n_jets = int((~jets.given).sum())
        expect(found, f"reference: expected a cell with {LEAST} held-out jets, got {n_jets} jets in total")
        columns = dict(zip(names, map(_summary, np.array(found).T), strict=True))
        return cls(n_jets, len(found), columns, _summary(np.array(efficiency)) if efficiency else None)

    def lines(self) -> list[str]:
        """Return the lines that a command prints."""
        cells = f"{self.cells} cells of {self.jets:,} held-out jets"
        by_level = ", ".join(f"{level}: {rms:.2%} ({most:.2%})" for level, (rms, most) in self.quantiles.items())
        told = [f"Closure      response quantiles, rms (greatest) relative difference in {cells}: {by_level}"]
        if self.efficiency is not None:
            rms, most = self.efficiency
            told.append(f"             efficiency, rms (greatest) difference: {rms:.2%} ({most:.2%})")
        return told


def _grid(jets: Reference) -> list[Bools]:
    """Return the mask of the jets in each cell of pt and |eta|."""
    pt, abs_eta = jets.gen[:, PT], np.abs(jets.gen[:, ETA])
    which = np.searchsorted(CELLS_PT, pt), np.searchsorted(CELLS_ETA, abs_eta)
    n_pt, n_eta = len(CELLS_PT), len(CELLS_ETA)
    return [(which[0] == p) & (which[1] == e) for p in range(1, n_pt) for e in range(1, n_eta)]


def _cells(jets: Reference) -> list[Bools]:
    """Return the mask of the jets in each cell that has enough of them, inclusive and by flavour."""
    selections = [~jets.given, *(jets.flavour == k for k in range(len(FLAVOURS)))]
    every = [cell & selection for cell in _grid(jets) for selection in selections]
    return [rows for rows in every if rows.sum() >= LEAST]


def _summary(differences: Floats) -> tuple[float, float]:
    """Return root mean square and greatest absolute value, with four digits."""
    rms, most = np.sqrt(np.mean(differences**2)), np.abs(differences).max()
    return float(f"{rms:.4g}"), float(f"{most:.4g}")
