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
from coffea_iqn.exact import Weights, bin_sums, merge
from coffea_iqn.features import ETA, MASS, PHI, PT, Array

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
RESPONSE_ETA_EDGES = [0, 1.3, 2.5, 3, 5]
# fmt: on


def book(datasets: Sequence[str] = ()) -> dict[str, hist.Hist]:
    """Empty histograms, by name, with weighted storage, with bins for the datasets to begin with."""
    gev = {"pt": "Jet $p_T$ [GeV]", "mass": "Jet mass [GeV]", "ht": "$H_T$ [GeV]"}
    axes: dict[str, list[Any]] = {
        "pt": [hist.axis.Variable(PT_EDGES, name="pt", label=gev["pt"])],
        "eta": [hist.axis.Regular(50, -5, 5, name="eta", label=r"Jet $\eta$")],
        "phi": [hist.axis.Regular(32, -np.pi, np.pi, name="phi", label=r"Jet $\phi$ [rad]")],
        "mass": [hist.axis.Variable(MASS_EDGES, name="mass", label=gev["mass"])],
        "njet": [hist.axis.Integer(0, 16, name="njet", label="Number of jets")],
        "ht": [hist.axis.Variable([*PT_EDGES, 4000, 5000, 7000], name="ht", label=gev["ht"])],
        "leading_pt": [hist.axis.Variable(PT_EDGES, name="leading_pt", label="Leading jet $p_T$ [GeV]")],
        "dijet_mass": [hist.axis.Variable(DIJET_MASS_EDGES, name="dijet_mass", label="Dijet mass [GeV]")],
        "response": [
            hist.axis.Variable(RESPONSE_PT_EDGES, name="gen_pt", label="Gen jet $p_T$ [GeV]"),
            hist.axis.Variable(RESPONSE_ETA_EDGES, name="gen_abs_eta", label=r"Gen jet $|\eta|$"),
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
        self.weights = Weights.of(weights)
        self.sums: Sums = {}
        self._axes = {name: histogram.axes[2:] for name, histogram in book().items()}

    def fill_jets(self, level: str, jets: FlatJets, *, pt_min: float, eta_max: float) -> int:
        """Fill the spectra of one level: one entry a jet, and one an event.

        Parameters
        ----------
        level: the category to fill.
        jets: of all events, any order in an event.
        pt_min: least pt [GeV] of the jets that count.
        eta_max: greatest |eta| of the jets that count.

        Returns
        -------
        the number of jets that count.
        """
        values, event = jets.values, jets.event
        counted = (values[:, PT] > pt_min) & (np.abs(values[:, ETA]) < eta_max)
        values, event = values[counted], event[counted]
        order = np.lexsort((-values[:, PT], event))
        values, event = values[order], event[order]
        counts = np.bincount(event, minlength=self.n_events)

        of_jets = self.weights.take(event)
        for name, column in {"pt": PT, "eta": ETA, "phi": PHI, "mass": MASS}.items():
            self._fill(name, level, of_jets, values[:, column])

        some, two = counts > 0, counts > 1
        first = np.cumsum(counts) - counts
        ht = np.bincount(event, weights=values[:, PT], minlength=self.n_events)
        mass = (_vectors(values[first[two]]) + _vectors(values[first[two] + 1])).mass
        self._fill("njet", level, self.weights, counts)
        self._fill("ht", level, self.weights.take(some), ht[some])
        self._fill("leading_pt", level, self.weights.take(some), values[first[some], PT])
        self._fill("dijet_mass", level, self.weights.take(two), ak.to_numpy(mass))
        return len(values)

    def fill_response(self, level: str, gen: Array, reco_pt: Array, event: npt.NDArray[np.int64]) -> None:
        """Fill pt_reco / pt_gen of matched pairs: gen jets (N, 4), reco pt [GeV] (N,), their events (N,)."""
        response = reco_pt / gen[:, PT]
        self._fill("response", level, self.weights.take(event), gen[:, PT], np.abs(gen[:, ETA]), response)

    def _fill(self, name: str, level: str, weights: Weights, *columns: npt.NDArray[Any]) -> None:
        for limb, sums in bin_sums(self._axes[name], columns, weights).items():
            self.sums[(name, self.dataset, level, limb)] = sums


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
