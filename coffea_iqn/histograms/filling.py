"""Book the histograms of a fold and fill them, one level at a time.

Every histogram has the axes `dataset` (growing), `level` (gen, reco for emulated jets, truth) and one or more
variables. With systematic variations there is an axis `systematic` (growing) before the variables, with nominal first;
gen and truth are filled as nominal only.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import hist
import numpy as np
import numpy.typing as npt

from coffea_iqn.histograms.binning import Binning
from coffea_iqn.histograms.observables import observables, pair_masses, separations
from coffea_iqn.jets.features import ETA, PHI, PT, wrap_phi
from coffea_iqn.jets.prompt import PromptParticles
from coffea_iqn.jets.shapes import NAMES, RINGS
from coffea_iqn.jets.table import NOMINAL, Drawn, JetTable
from coffea_iqn.numerics.arrays import Doubles, Floats, Ints
from coffea_iqn.numerics.double import sines_and_cosines
from coffea_iqn.numerics.exact_sums import Weights, add, event_entries, merge
from coffea_iqn.objects.kinds import COLUMNS, KINDS, Kind

LEVELS = ("gen", "reco", "truth")
PT_MIN, ETA_MAX = 20.0, 5.0  # GeV, and |eta|: default selection of jets
OBJECT_PT_MIN = 10.0  # GeV: selection of electrons, muons and photons
SHOWN = ("pt", "eta", "isolation")  # columns of objects in histograms

# fmt: off
PT_EDGES = [20, 22, 24, 26, 28, 30, 33, 36, 40, 45, 50, 57, 64, 74, 84, 97, 114, 133, 153, 174, 196, 220, 245, 272,
            300, 330, 362, 395, 430, 468, 507, 548, 592, 638, 686, 737, 790, 846, 905, 967, 1032, 1101, 1172, 1248,
            1327, 1410, 1497, 1588, 1684, 1784, 1890, 2000, 2238, 2500, 2787, 3103, 3450]
MASS_EDGES = [*range(30), *range(30, 60, 2), *range(60, 120, 5), 120, 140, 160, 200, 250, 300, 400, 600]
DIJET_MASS_EDGES = [20, 30, 40, 50, 60, 70, 80, 90, 100, 115, 130, 150, 175, 200, 230, 260, 300, 350, 400, 460, 530,
                    600, 700, 800, 900, 1050, 1200, 1400, 1600, 1850, 2100, 2400, 2800, 3200, 3700, 4200, 5000, 6000,
                    7000]
RESPONSE_PT_EDGES = [15, 20, 25, 30, 40, 50, 70, 100, 150, 200, 300, 500, 800, 1300, 2000, 3500]
ETA_SLICES = [0, 1.3, 2.5, 3, 5]
# fmt: on
COUNTED = {"njet": 0.0, "njet30": 30.0, "njet50": 50.0}  # minimum pt [GeV] of counted jets, on top of the selection

LOW_EDGES = [OBJECT_PT_MIN, 12, 14, 16, 18]  # GeV, below those of selected jets
PT_AXIS = hist.axis.Variable(PT_EDGES, name="pt", label="Jet $p_T$ [GeV]")
AXES: dict[str, tuple[Any, ...]] = {
    "pt": (PT_AXIS,),
    "eta": (hist.axis.Regular(50, -5, 5, name="eta", label=r"Jet $\eta$"),),
    "phi": (hist.axis.Regular(32, -np.pi, np.pi, name="phi", label=r"Jet $\phi$ [rad]"),),
    "mass": (hist.axis.Variable(MASS_EDGES, name="mass", label="Jet mass [GeV]"),),
    "pt_eta": (PT_AXIS, hist.axis.Variable(ETA_SLICES, name="abs_eta", label=r"Jet $|\eta|$")),
    "njet": (hist.axis.Integer(0, 16, name="njet", label="Number of jets"),),
    "njet30": (hist.axis.Integer(0, 16, name="njet30", label="Number of jets, $p_T$ > 30 GeV"),),
    "njet50": (hist.axis.Integer(0, 16, name="njet50", label="Number of jets, $p_T$ > 50 GeV"),),
    "ht": (hist.axis.Variable([*PT_EDGES, 4000, 5000, 7000], name="ht", label="$H_T$ [GeV]"),),
    "leading_pt": (hist.axis.Variable(PT_EDGES, name="leading_pt", label="Leading jet $p_T$ [GeV]"),),
    "second_pt": (hist.axis.Variable(PT_EDGES, name="second_pt", label="Second jet $p_T$ [GeV]"),),
    "dijet_mass": (hist.axis.Variable(DIJET_MASS_EDGES, name="dijet_mass", label="Dijet mass [GeV]"),),
    "dijet_deta": (hist.axis.Regular(40, 0, 8, name="dijet_deta", label=r"Dijet $|\Delta\eta|$"),),
    "dijet_dphi": (hist.axis.Regular(32, 0, np.pi, name="dijet_dphi", label=r"Dijet $|\Delta\phi|$ [rad]"),),
    "response": (
        hist.axis.Variable(RESPONSE_PT_EDGES, name="gen_pt", label="Gen jet $p_T$ [GeV]"),
        hist.axis.Variable(ETA_SLICES, name="gen_abs_eta", label=r"Gen jet $|\eta|$"),
        hist.axis.Regular(150, 0, 3, name="response", label=r"$p_T^{reco}\,/\,p_T^{gen}$"),
    ),
    "unmatched_pt": (
        hist.axis.Variable([*LOW_EDGES, *PT_EDGES], name="unmatched_pt", label="Unmatched jet $p_T$ [GeV]"),
    ),
}
"""Axes of each histogram; an axis has the name of the column that fills it."""
MET_LESS_GEN = "Missing $p_T$ less gen,"
AROUND_ZERO = [-200, -150, -120, -100, -80, -70, -60, -50, *range(-40, 41, 4), 50, 60, 70, 80, 100, 120, 150, 200]
TRANSVERSE_MASS = "Transverse mass of hardest lepton and missing $p_T$ [GeV]"


def _of_kind(kind: Kind) -> dict[str, tuple[Any, ...]]:
    name, edges, cut = kind.name.lower(), [*LOW_EDGES, *PT_EDGES], f"$p_T$ > {OBJECT_PT_MIN:g} GeV"
    isolation, response = (f"{kind.name} {what}, {cut}" for what in ("isolation", r"$p_T^{reco}\,/\,p_T^{gen}$"))
    mass_edges, pair = [*range(0, 70, 5), *range(70, 110, 2), *DIJET_MASS_EDGES[9:]], f"Mass of two {name}s [GeV]"
    return {
        f"{name}_pt": (hist.axis.Variable(edges, name=f"{name}_pt", label=f"{kind.name} $p_T$ [GeV]"),),
        f"{name}_eta": (hist.axis.Regular(30, -3, 3, name=f"{name}_eta", label=rf"{kind.name} $\eta$, {cut}"),),
        f"n{name}": (hist.axis.Integer(0, 8, name=f"n{name}", label=f"Number of {name}s, {cut}"),),
        f"{name}_isolation": (hist.axis.Regular(30, 0, 0.3, name=f"{name}_isolation", label=isolation),),
        f"{name}_response": (hist.axis.Regular(80, 0.8, 1.2, name=f"{name}_response", label=response),),
        f"{name}_deta": (
            hist.axis.Regular(41, -0.0205, 0.0205, name=f"{name}_deta", label=rf"{kind.name} $\Delta\eta$"),
        ),
        f"{name}_dphi": (
            hist.axis.Regular(41, -0.0205, 0.0205, name=f"{name}_dphi", label=rf"{kind.name} $\Delta\phi$ [rad]"),
        ),
        f"di{name}_mass": (hist.axis.Variable(mass_edges, name=f"di{name}_mass", label=pair),),
    }


EVENT_AXES: dict[str, tuple[Any, ...]] = {
    **AXES,
    **{name: axes for kind in KINDS for name, axes in _of_kind(kind).items()},
    "met_pt": (hist.axis.Variable([*range(0, 50, 5), *PT_EDGES[10:]], name="met_pt", label="Missing $p_T$ [GeV]"),),
    "met_phi": (hist.axis.Regular(32, -np.pi, np.pi, name="met_phi", label=r"$\phi$ of missing $p_T$ [rad]"),),
    "met_parallel": (hist.axis.Variable(AROUND_ZERO, name="met_parallel", label=f"{MET_LESS_GEN} along gen [GeV]"),),
    "met_across": (hist.axis.Variable(AROUND_ZERO, name="met_across", label=f"{MET_LESS_GEN} across gen [GeV]"),),
    "met_dphi": (
        hist.axis.Regular(32, 0, np.pi, name="met_dphi", label=r"Missing $p_T$ to leading jet $|\Delta\phi|$ [rad]"),
    ),
    "ht_met": (hist.axis.Variable([*PT_EDGES, 4000, 5000, 7000], name="ht_met", label="$H_T$ + missing $p_T$ [GeV]"),),
    "transverse_mass": (
        hist.axis.Variable([*range(0, 120, 5), *DIJET_MASS_EDGES[10:]], name="transverse_mass", label=TRANSVERSE_MASS),
    ),
}
"""Axes of the histograms of whole events: with electrons, muons, photons and missing momentum."""


PARTICLE_AXES: dict[str, tuple[Any, ...]] = {
    **AXES,
    "nconst": (hist.axis.Integer(0, 120, name="nconst", label="Number of particles in jet"),),
    "ptd": (hist.axis.Regular(40, 0, 1, name="ptd", label=r"Jet $p_T^D$"),),
    "width": (hist.axis.Regular(40, 0, 0.4, name="width", label="Jet width"),),
    "tau21": (hist.axis.Regular(44, 0, 1.1, name="tau21", label=r"Jet $\tau_2 / \tau_1$"),),
    "tau32": (hist.axis.Regular(44, 0, 1.1, name="tau32", label=r"Jet $\tau_3 / \tau_2$"),),
    "msoftdrop": (hist.axis.Variable(MASS_EDGES, name="msoftdrop", label="Soft-drop mass [GeV]"),),
    **{
        f"flow{k}": (hist.axis.Regular(40, 0, 1, name=f"flow{k}", label=f"Jet momentum flow, ring {k}"),)
        for k in range(1, RINGS + 1)
    },
}
"""Axes of the histograms of jets with their particles."""
SHAPES = {
    "nconst": "multiplicity",
    "ptd": "pTD",
    "width": "width",
    "tau21": "tau21",
    "tau32": "tau32",
    "msoftdrop": "soft-drop mass",
    **{f"flow{k}": f"flow {k}" for k in range(1, RINGS + 1)},
}
"""Entry of `shapes.NAMES` that each of these histograms shows."""


def book(
    datasets: Sequence[str] = (),
    systematics: Sequence[str] = (NOMINAL,),
    levels: Sequence[str] = LEVELS,
    axes: Mapping[str, tuple[Any, ...]] = AXES,
) -> dict[str, hist.Hist]:
    """Return empty histograms with weighted storage, by name, with bins for the given datasets.

    They have an axis `systematic` if there are systematics besides the nominal one.
    """
    dataset = hist.axis.StrCategory(datasets, growth=True, name="dataset", label="Dataset")
    level = hist.axis.StrCategory(levels, name="level", label="Level")
    varied = hist.axis.StrCategory(systematics, growth=True, name="systematic", label="Systematic")
    first = (dataset, level, varied) if len(systematics) > 1 else (dataset, level)
    return {name: hist.Hist(*first, *of_it, storage=hist.storage.Weight()) for name, of_it in axes.items()}


Entries = tuple[Ints, dict[str, npt.NDArray[Any]]]
"""Index of the event of each entry, (N,), and the columns of the entries by name, each (N,)."""

Sums = dict[tuple[str, str, str, str, int], Doubles]
"""Sums of weights and of their squares, (2, bins), by (histogram, dataset, level, systematic, limb); chunks add up."""

BLOCK = 32768  # events or pairs at a time, so that intermediate results stay in the CPU cache


class Filler:
    """Fill the histograms of one chunk of one dataset. The sum over chunks does not depend on their order.

    Parameters
    ----------
    dataset: category to fill.
    weights: event weights, (events,).

    Raises
    ------
    ValueError: if a weight is not finite.
    """

    def __init__(self, dataset: str, weights: Doubles) -> None:
        self.dataset = dataset
        self.event_weights = weights
        self.weights = Weights.of(weights)
        # sums of `exact_sums.add` in all histograms that the columns fill, by level, systematic, columns and limbs
        self._totals: dict[tuple[str, str, tuple[str, ...], tuple[int, ...]], Doubles] = {}

    @property
    def sums(self) -> Sums:
        """Sums of all entries, to be added to those of other chunks and converted with `to_hists`."""
        sums: Sums = {}
        for (level, systematic, columns, limbs), totals in self._totals.items():
            for name, place in _binning(columns).places.items():
                for k, limb in enumerate(limbs):
                    key = (name, self.dataset, level, systematic, limb)
                    sums[key] = sums.get(key, 0.0) + totals[k, place].T
        return sums

    def fill_jets(
        self,
        level: str,
        replicas: Sequence[JetTable],
        *,
        pt_min: float,
        eta_max: float,
        systematic: str = NOMINAL,
        missing: Sequence[Doubles] = (),
        gen_missing: Doubles | None = None,
    ) -> int:
        """Fill the spectra of one level, with one entry per jet or one per event.

        Parameters
        ----------
        level: category to fill.
        replicas: jets of all events, in any order within an event; one table for each draw of the events.
        pt_min: jets with a greater pt [GeV] are selected.
        eta_max: jets with a smaller |eta| are selected.
        systematic: variation of the jets.
        missing: for whole events, pt [GeV] and phi [rad] of the missing momentum in each replica, (events, 2).
        gen_missing: that at gen level, for the difference from it.

        Returns
        -------
        number of selected jets in all replicas.
        """
        n_selected = 0
        ends = [np.cumsum(jets.counts) for jets in replicas]
        of_replicas: Sequence[Doubles | None] = missing or [None] * len(replicas)
        for start in range(0, len(self.event_weights), BLOCK):
            events = slice(start, start + BLOCK)
            found = []
            for jets, end, of_events in zip(replicas, ends, of_replicas, strict=True):
                rows = slice(end[start] - jets.counts[start], end[events][-1])
                of_block = None if of_events is None else of_events[events]
                found.append(_entries(jets.values[rows], jets.counts[events], pt_min, eta_max, of_block))
            for entries in zip(*found, strict=True):
                self._fill((level, systematic), entries, start)
            n_selected += sum(len(event) for (event, _), *_ in found)
        if missing and gen_missing is not None:
            event = np.arange(len(self.event_weights))
            self._fill((level, systematic), [(event, _missing_less_gen(one, gen_missing)) for one in missing])
        return n_selected

    def fill_objects(
        self,
        level: str,
        replicas: Sequence[Mapping[str, JetTable]],
        missing: Sequence[Doubles] = (),
        *,
        particles: PromptParticles | None = None,
        systematic: str = NOMINAL,
    ) -> dict[str, int]:
        """Fill the spectra of electrons, muons and photons, with one entry per object, pair or event.

        Parameters
        ----------
        level: category to fill.
        replicas: objects of all events by kind, sorted by pt, with the first columns of `kinds.COLUMNS`: isolation is
            filled if they have it; one for each draw of the events.
        missing: missing momentum for the transverse mass, see `fill_jets`.
        particles: prompt particles of the events, whose places those of the objects are, for response and angles.
        systematic: variation of the objects.

        Returns
        -------
        number of selected objects of each kind in all replicas.
        """
        of, n_selected = (level, systematic), {}
        for kind in KINDS:
            name = kind.name.lower()
            kept = [table.where(table.values[:, PT] > OBJECT_PT_MIN) for table in (one[kind.name] for one in replicas)]
            shown = {f"{name}_{field}": kept[0].columns.index(field) for field in SHOWN if field in kept[0].columns}
            columns = [np.ascontiguousarray(table.values.T) for table in kept]
            entries = [{field: of_table[k] for field, k in shown.items()} for of_table in columns]
            self._fill(of, [(table.event, each) for table, each in zip(kept, entries, strict=True)])
            self._fill(of, [(np.arange(len(self.event_weights)), {f"n{name}": table.counts}) for table in kept])
            self._fill(of, [_pairs(kind, table) for table in kept])
            if particles is not None:
                self._fill(of, [_object_response(kind, table, particles) for table in kept])
            n_selected[kind.name] = sum(len(table.values) for table in kept)
        if missing:
            self._fill(of, [_transverse_mass(*of_replica) for of_replica in zip(replicas, missing, strict=True)])
        return n_selected

    def fill_shapes(
        self, level: str, replicas: Sequence[tuple[JetTable, Doubles]], *, pt_min: float, eta_max: float
    ) -> None:
        """Fill the jet shapes of selected jets, from jets and their `shapes.shapes`, (N, 20), in each replica."""
        entries = []
        for table, of in replicas:
            counts = (table.values[:, PT] > pt_min) & (np.abs(table.values[:, ETA]) < eta_max)
            columns = np.ascontiguousarray(of[counts].T)
            entries.append((table.event[counts], {n: columns[NAMES.index(name)] for n, name in SHAPES.items()}))
        self._fill((level, NOMINAL), entries)

    def fill_unmatched(
        self, level: str, replicas: Sequence[tuple[Floats, Ints]], *, eta_max: float, systematic: str = NOMINAL
    ) -> None:
        """Fill the pt of reco jets without a gen jet, of any pt: jets (N, 4) and their events (N,) in each replica."""
        within = [np.abs(jets[:, ETA]) < eta_max for jets, _ in replicas]
        kept = zip(replicas, within, strict=True)
        self._fill((level, systematic), [(event[of], {"unmatched_pt": jets[of, PT]}) for (jets, event), of in kept])

    def fill_response(
        self, level: str, replicas: Sequence[tuple[Floats, Floats, Ints]], *, systematic: str = NOMINAL
    ) -> None:
        """Fill pt_reco / pt_gen of matched pairs: gen jets (N, 4), reco pt [GeV] and events (N,) in each replica."""
        if len(replicas) == 1:
            gen, reco_pt, event = replicas[0]
            for start in range(0, len(event), BLOCK):
                rows = slice(start, start + BLOCK)
                self._fill((level, systematic), [_response(gen[rows], reco_pt[rows], event[rows])])
        else:  # all entries of an event have to be filled together
            self._fill((level, systematic), [_response(*columns) for columns in replicas])

    def _fill(self, of: tuple[str, str], replicas: Sequence[Entries], first_event: int = 0) -> None:
        """Fill all histograms whose columns the entries have.

        of: level and systematic.
        first_event: event from which those of the entries count.
        """
        columns = tuple(replicas[0][1])
        binning = _binning(columns)
        event = _joined([event for event, _ in replicas]) + first_event
        bins = _joined([binning.bins(of_replica) for _, of_replica in replicas])
        weights = self.weights
        if len(replicas) > 1:
            bins, of_cells = event_entries(bins, event, self.event_weights, share=1.0 / len(replicas))
            event, weights = np.arange(len(of_cells)), Weights.of(of_cells)
        key = *of, columns, weights.limbs
        if key not in self._totals:
            self._totals[key] = np.zeros((len(weights.limbs), binning.n_bins, 2))
        add(self._totals[key], bins, event, weights.parts)


def _joined(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=-1)


@functools.cache
def _binning(columns: tuple[str, ...]) -> Binning:
    """Return the binning of all histograms whose variables are among the columns."""
    there = set(columns)
    return Binning(
        {name: axes for name, axes in (EVENT_AXES | PARTICLE_AXES).items() if {axis.name for axis in axes} <= there}
    )


def _in_range(phi: Floats) -> Floats:
    """Return angles [rad] between −π and π; those of files may go from 0 to 2π."""
    return phi if np.abs(phi).max(initial=0.0) <= np.pi else np.asarray(wrap_phi(phi))


def _entries(
    values: Floats, counts: Ints, pt_min: float, eta_max: float, missing: Doubles | None
) -> tuple[Entries, ...]:
    """Return the entries of selected jets, of all events, of events with a jet, and of events with two jets."""
    thresholds = list(COUNTED.values())
    of = observables(values, counts, pt_min=pt_min, eta_max=eta_max, thresholds=thresholds)
    pt, eta, phi, mass = of.jets
    phi = _in_range(phi)
    dijet = {"dijet_mass": of.dijet_mass, "dijet_deta": of.dijet_deta, "dijet_dphi": of.dijet_dphi}
    of_events, of_some = dict(zip(COUNTED, of.n_jets, strict=True)), {"ht": of.ht, "leading_pt": of.leading_pt}
    if missing is not None:
        met, met_phi = np.ascontiguousarray(missing.T)
        of_events |= {"met_pt": met, "met_phi": _in_range(met_phi)}
        of_some |= {"ht_met": of.ht + met[of.some], "met_dphi": separations(of.leading_phi, met_phi[of.some])}
    return (
        (of.event, {"pt": pt, "eta": eta, "phi": phi, "mass": mass, "abs_eta": np.abs(eta)}),
        (np.arange(len(counts)), of_events),
        (of.some, of_some),
        (of.two, {"second_pt": of.second_pt, **dijet}),
    )


def _pairs(kind: Kind, table: JetTable) -> Entries:
    """Return the masses of the two hardest objects of events, from a table sorted by pt."""
    event = np.flatnonzero(table.counts > 1)
    first = (np.cumsum(table.counts) - table.counts)[event]
    mass = np.full(len(table.values), kind.mass, dtype=np.float32)
    masses = pair_masses(np.column_stack([table.values[:, :3], mass]), np.stack([first, first + 1], axis=1))
    return event, {f"di{kind.name.lower()}_mass": masses}


def _object_response(kind: Kind, table: JetTable, particles: PromptParticles) -> Entries:
    matched = np.flatnonzero(table.place >= 0)
    event, name = table.event[matched], kind.name.lower()
    source = (np.cumsum(particles.counts) - particles.counts)[event] + table.place[matched]
    (pt, eta, phi), of_particles = (table.values[matched, :3].T.astype(np.float64), particles.values[source].T)
    d_phi = wrap_phi(phi - of_particles[PHI])
    columns = {"response": pt / of_particles[PT], "deta": eta - of_particles[ETA], "dphi": d_phi}
    return event, {f"{name}_{of}": column for of, column in columns.items()}


def _missing_less_gen(missing: Doubles, gen: Doubles) -> dict[str, Doubles]:
    """Return the difference of missing momenta, (events, 2) each, along the one at gen level and to the left of it."""
    (pt, phi), (gen_pt, gen_phi) = missing.T.astype(np.float64), gen.T.astype(np.float64)
    sine, cosine = sines_and_cosines(phi - gen_phi)
    return {"met_parallel": pt * cosine - gen_pt, "met_across": pt * sine}


def _transverse_mass(objects: Mapping[str, JetTable], missing: Doubles) -> Entries:
    """Return the transverse masses of events with a lepton: the masses of two massless objects at eta = 0."""
    charged = [objects[kind.name] for kind in KINDS if kind.charged]
    parts = [Drawn(table.values[:, :3], table.event, table.place, table.place) for table in charged]
    leptons = Drawn.joined(parts).table(len(missing), COLUMNS[:3])
    leptons = leptons.where(leptons.values[:, PT] > OBJECT_PT_MIN)
    event = np.flatnonzero(leptons.counts)
    hardest = leptons.values[(np.cumsum(leptons.counts) - leptons.counts)[event]]
    both = np.zeros((len(event), 2, 4), dtype=np.float32)
    both[:, 0, [PT, PHI]], both[:, 1, [PT, PHI]] = hardest[:, [PT, PHI]], missing[event]
    pairs = np.arange(2 * len(event)).reshape(-1, 2)
    return event, {"transverse_mass": pair_masses(both.reshape(-1, 4), pairs)}


def _response(gen: Floats, reco_pt: Floats, event: Ints) -> Entries:
    gen_pt = np.ascontiguousarray(gen[:, PT])
    return event, {"gen_pt": gen_pt, "gen_abs_eta": np.abs(gen[:, ETA]), "response": reco_pt / gen_pt}


def to_hists(
    sums: Sums,
    datasets: Iterable[str],
    systematics: Sequence[str] = (NOMINAL,),
    levels: Sequence[str] = LEVELS,
    axes: Mapping[str, tuple[Any, ...]] = AXES,
    *,
    pt_min: float = PT_MIN,
) -> dict[str, hist.Hist]:
    """Return histograms by name, from the sum of `Filler.sums` over chunks.

    datasets: names of datasets that get a bin even if nothing was filled.
    systematics: names of the filled systematics, nominal first.
    levels: categories of the axis `level`.
    axes: axes of the histograms, `AXES`, `EVENT_AXES` or `PARTICLE_AXES`.
    pt_min: see `Filler.fill_jets`; numbers of jets above a lower pt than that are left out.
    """
    limbs: dict[tuple[str, str, str, str], dict[int, Doubles]] = {}
    for (name, dataset, level, systematic, limb), part in sums.items():
        limbs.setdefault((name, dataset, level, systematic), {})[limb] = part
    names = sorted({*datasets, *(dataset for _, dataset, *_ in limbs)})
    hists = book(names, systematics, levels, axes)
    views = {name: histogram.view(flow=True) for name, histogram in hists.items()}
    for (name, dataset, level, systematic), parts in limbs.items():
        view = views[name][names.index(dataset), levels.index(level)]
        view = view[systematics.index(systematic)] if len(systematics) > 1 else view
        values, variances = merge(parts)
        view["value"] = values.reshape(view.shape)
        view["variance"] = variances.reshape(view.shape)
    return {name: one for name, one in hists.items() if not 0.0 < COUNTED.get(name, 0.0) < pt_min}
