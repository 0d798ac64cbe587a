"""The histograms of a fold: booked, and filled from the jets of one level.

Every histogram has the axes `dataset` (growing), `level` (gen, reco: emulated, truth) and one or more variables.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import awkward as ak
import hist
import numpy as np
import numpy.typing as npt
from coffea.nanoevents.methods import vector as coffea_vector

from coffea_iqn.events import FlatJets
from coffea_iqn.exact import Weights, bin_sums, event_sums, merge
from coffea_iqn.features import ETA, MASS, PHI, PT, Array, wrap_phi

LEVELS = ("gen", "reco", "truth")

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
COUNTED = {"njet": 0.0, "njet30": 30.0, "njet50": 50.0}  # GeV, pt above which a jet counts, beside the processor's own


def book(datasets: Sequence[str] = ()) -> dict[str, hist.Hist]:
    """Empty histograms, by name, with weighted storage, with bins for the datasets to begin with."""
    gev = {"pt": "Jet $p_T$ [GeV]", "mass": "Jet mass [GeV]", "ht": "$H_T$ [GeV]"}
    axes: dict[str, list[Any]] = {
        "pt": [hist.axis.Variable(PT_EDGES, name="pt", label=gev["pt"])],
        "eta": [hist.axis.Regular(50, -5, 5, name="eta", label=r"Jet $\eta$")],
        "phi": [hist.axis.Regular(32, -np.pi, np.pi, name="phi", label=r"Jet $\phi$ [rad]")],
        "mass": [hist.axis.Variable(MASS_EDGES, name="mass", label=gev["mass"])],
        "pt_eta": [
            hist.axis.Variable(PT_EDGES, name="pt", label=gev["pt"]),
            hist.axis.Variable(ETA_SLICES, name="abs_eta", label=r"Jet $|\eta|$"),
        ],
        "njet": [hist.axis.Integer(0, 16, name="njet", label="Number of jets")],
        "njet30": [hist.axis.Integer(0, 16, name="njet30", label="Number of jets, $p_T$ > 30 GeV")],
        "njet50": [hist.axis.Integer(0, 16, name="njet50", label="Number of jets, $p_T$ > 50 GeV")],
        "ht": [hist.axis.Variable([*PT_EDGES, 4000, 5000, 7000], name="ht", label=gev["ht"])],
        "leading_pt": [hist.axis.Variable(PT_EDGES, name="leading_pt", label="Leading jet $p_T$ [GeV]")],
        "second_pt": [hist.axis.Variable(PT_EDGES, name="second_pt", label="Second jet $p_T$ [GeV]")],
        "dijet_mass": [hist.axis.Variable(DIJET_MASS_EDGES, name="dijet_mass", label="Dijet mass [GeV]")],
        "dijet_deta": [hist.axis.Regular(40, 0, 8, name="dijet_deta", label=r"Dijet $|\Delta\eta|$")],
        "dijet_dphi": [hist.axis.Regular(32, 0, np.pi, name="dijet_dphi", label=r"Dijet $|\Delta\phi|$ [rad]")],
        "response": [
            hist.axis.Variable(RESPONSE_PT_EDGES, name="gen_pt", label="Gen jet $p_T$ [GeV]"),
            hist.axis.Variable(ETA_SLICES, name="gen_abs_eta", label=r"Gen jet $|\eta|$"),
            hist.axis.Regular(150, 0, 3, name="response", label=r"$p_T^{reco}\,/\,p_T^{gen}$"),
        ],
    }
    return {
        name: hist.Hist(
            hist.axis.StrCategory(datasets, growth=True, name="dataset", label="Dataset"),
            hist.axis.StrCategory(LEVELS, name="level", label="Level"),
            *variables,
            storage=hist.storage.Weight(),
        )
        for name, variables in axes.items()
    }


BELOW_PI = np.nextafter(np.pi, 0.0)  # back-to-back jets belong to the last bin, which ends before π

Events = npt.NDArray[np.int64]
Entries = tuple[Events, tuple[npt.NDArray[Any], ...]]
"""Of a histogram's entries the event of each, (N,), and a column (N,) for each variable."""

Sums = dict[tuple[str, str, str, int], npt.NDArray[np.float64]]
"""What chunks add up to: for (histogram, dataset, level, limb) the arrays of `exact.bin_sums`."""


class Filler:
    """Fills the histograms of one chunk of one dataset; the result does not depend on the order of chunks.

    Parameters
    ----------
    dataset: the category to fill.
    weights: of the events, (events,).

    Attributes
    ----------
    sums: what was filled, to be added to those of other chunks; `to_hists` makes histograms of them.

    Raises
    ------
    ValueError: when a weight is not finite.
    """

    def __init__(self, dataset: str, weights: npt.NDArray[np.float64]) -> None:
        self.dataset = dataset
        self.n_events = len(weights)
        self.event_weights = weights
        self.weights = Weights.of(weights)
        self.sums: Sums = {}
        self._axes = {name: histogram.axes[2:] for name, histogram in book().items()}

    def fill_jets(self, level: str, replicas: Sequence[FlatJets], *, pt_min: float, eta_max: float) -> int:
        """Fill the spectra of one level: one entry a jet, and one an event.

        Parameters
        ----------
        level: the category to fill.
        replicas: the jets of all events, any order in an event; several times where events were drawn several times.
        pt_min: least pt [GeV] of the jets that count.
        eta_max: greatest |eta| of the jets that count.

        Returns
        -------
        the number of jets that count, of all replicas together.
        """
        selected = [_selected(jets, pt_min, eta_max) for jets in replicas]
        entries = [_entries(jets) for jets in selected]
        for name in entries[0]:
            self._fill(name, level, [of_replica[name] for of_replica in entries])
        return sum(len(jets.values) for jets in selected)

    def fill_response(self, level: str, replicas: Sequence[tuple[Array, Array, Events]]) -> None:
        """Fill pt_reco / pt_gen of matched pairs: of each replica gen jets (N, 4), reco pt [GeV] and events (N,)."""
        entries = [(event, (gen[:, PT], np.abs(gen[:, ETA]), reco_pt / gen[:, PT])) for gen, reco_pt, event in replicas]
        self._fill("response", level, entries)

    def _fill(self, name: str, level: str, replicas: Sequence[Entries]) -> None:
        axes = self._axes[name]
        event = np.concatenate([event for event, _ in replicas])
        columns = [np.concatenate(column) for column in zip(*(columns for _, columns in replicas), strict=True)]
        if len(replicas) == 1:
            sums = bin_sums(axes, columns, self.weights.take(event))
        else:
            sums = event_sums(axes, columns, event, self.event_weights, share=1.0 / len(replicas))
        for limb, part in sums.items():
            self.sums[(name, self.dataset, level, limb)] = part


def _selected(jets: FlatJets, pt_min: float, eta_max: float) -> FlatJets:
    """The jets that count, sorted by pt in each event."""
    jets = jets.where((jets.values[:, PT] > pt_min) & (np.abs(jets.values[:, ETA]) < eta_max))
    order = np.lexsort((-jets.values[:, PT], jets.event))
    return FlatJets(jets.values[order], jets.counts, jets.local_index[order])


def _entries(jets: FlatJets) -> dict[str, Entries]:
    """What each histogram of jets is filled with: the events of the entries, and a column for each variable."""
    values, event, counts = jets.values, jets.event, jets.counts
    every = np.arange(len(counts))
    some, two = np.flatnonzero(counts > 0), np.flatnonzero(counts > 1)
    first = np.cumsum(counts) - counts
    leading, second = values[first[two]], values[first[two] + 1]
    d_phi = np.abs(wrap_phi(leading[:, PHI].astype(np.float64) - second[:, PHI]))
    entries: dict[str, Entries] = {
        "pt": (event, (values[:, PT],)),
        "eta": (event, (values[:, ETA],)),
        "phi": (event, (values[:, PHI],)),
        "mass": (event, (values[:, MASS],)),
        "pt_eta": (event, (values[:, PT], np.abs(values[:, ETA]))),
        "ht": (some, (np.bincount(event, weights=values[:, PT], minlength=len(counts))[some],)),
        "leading_pt": (some, (values[first[some], PT],)),
        "second_pt": (two, (second[:, PT],)),
        "dijet_mass": (two, (ak.to_numpy((_vectors(leading) + _vectors(second)).mass),)),
        "dijet_deta": (two, (np.abs(leading[:, ETA] - second[:, ETA]),)),
        "dijet_dphi": (two, (np.minimum(d_phi, BELOW_PI),)),
    }
    for name, pt_min in COUNTED.items():
        entries[name] = (every, (np.bincount(event[values[:, PT] > pt_min], minlength=len(counts)),))
    return entries


def to_hists(sums: Sums, datasets: Iterable[str]) -> dict[str, hist.Hist]:
    """Histograms, by name, of added-up `Filler.sums`, with bins for datasets even where nothing was filled."""
    limbs: dict[tuple[str, str, str], dict[int, npt.NDArray[np.float64]]] = {}
    for (name, dataset, level, limb), part in sums.items():
        limbs.setdefault((name, dataset, level), {})[limb] = part
    hists = book(sorted(datasets))
    for (name, dataset, level), parts in limbs.items():
        axes = hists[name].axes
        bins = (axes["dataset"].index(dataset), axes["level"].index(level))
        view = hists[name].view(flow=True)[bins]
        values, variances = merge(parts)
        view["value"] = values.reshape(view.shape)
        view["variance"] = variances.reshape(view.shape)
    return hists


def _vectors(values: Array) -> ak.Array:
    """Jets (N, 4) as Lorentz vectors."""
    columns = {"pt": PT, "eta": ETA, "phi": PHI, "mass": MASS}
    fields = {name: values[:, k].astype(np.float64) for name, k in columns.items()}
    return ak.zip(fields, with_name="PtEtaPhiMLorentzVector", behavior=coffea_vector.behavior)
