"""Processor that corrects reco jets and fills histograms."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from coffea import processor

from coffea_iqn import __version__
from coffea_iqn.corrector import IQNCorrector
from coffea_iqn.events.checks import check_level
from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.events.identity import counted, entry_keys, event_weights, identity_keys, least_keys, n_weighted
from coffea_iqn.files.inputs import cross_sections
from coffea_iqn.files.skims import Skim
from coffea_iqn.histograms import filling
from coffea_iqn.histograms.filling import ETA_MAX, PT_MIN
from coffea_iqn.jets.features import PT, VARIABLES
from coffea_iqn.jets.matching import match_tables
from coffea_iqn.jets.table import JetTable
from coffea_iqn.processors.made_by import WEIGHTS, MadeBy, checked
from coffea_iqn.ranges import ABS_ETA, GEV, check_choice, expect

LEVELS = ("gen", "reco", "corrected")
TAKE = {"median": 0.5, "mean": None, "draw": None}  # estimates from p(gen | reco), with the level of a quantile


class IQNCorrectProcessor(processor.ProcessorABC):  # type: ignore[misc]
    """Correct the reco jets of a fileset and fill histograms of corrected, reco and, if the files have them, gen jets.

    Parameters
    ----------
    model: name of a shipped bundle that corrects, or the path of one.
    reco: name of the collection of reco jets.
    gen: name of the collection of gen jets to compare with; left out if None or not in the file.
    take: "median", which is closest to the gen jet on average; "mean"; or "draw", which
        reproduces gen spectra like those of the training.
    seed, points, identity, any_radius: see `IQNCorrector`.
    pt_min, eta_max: minimum pt [GeV] and maximum |eta| of the jets in the histograms, at every level.
    skim: where and how to write the corrected jets of every chunk; None for no skim.

    A run returns `{"made_by": ..., "hists": ..., "cutflow": ..., "files": ...}` as `IQNFoldProcessor` does, with the
    levels gen, reco and corrected. Jets in skims are in the order of the reco jets and have pt, eta, phi, mass and
    purity; medians and means also the uncertainties pt_unc, eta_unc, phi_unc, mass_unc.

    Raises
    ------
    bundle.BundleError: if the bundle does not exist, cannot be read, or folds.
    ValueError: see `IQNCorrector`; if generated files of a dataset are of several processes, by their cross sections.

    Warns
    -----
    EqualEventsWarning: at the end of a run, if events of a dataset are in it twice, or draws of different events have
        equal levels, see `IQNFoldProcessor`.
    MixedWeightsWarning: at the end of a run, if only some events of a dataset have weights, or gen jets.
    """

    def __init__(
        self,
        model: str | Path = "cms-delphes-ak4-correct",
        *,
        reco: str = "Jet",
        gen: str | None = "GenJet",
        take: str = "median",
        seed: int = 0,
        points: int = 101,
        identity: str = "event",
        any_radius: bool = False,
        pt_min: float = PT_MIN,
        eta_max: float = ETA_MAX,
        skim: Skim | None = None,
    ) -> None:
        GEV.check(pt_min=pt_min)
        ABS_ETA.check(eta_max=eta_max)
        check_choice(TAKE, take=take)
        self.corrector = IQNCorrector(model, seed=seed, points=points, identity=identity, any_radius=any_radius)
        self.take = take
        self.reco = reco
        self.gen = gen
        self.pt_min = pt_min
        self.eta_max = eta_max
        self.skim = skim

    @property
    def identity(self) -> str:
        """Digest of everything besides the events that the results depend on."""
        settings = {**vars(self), "hash": self.corrector.card["hash"]}
        return hashlib.sha256(repr((__version__, sorted(settings.items()))).encode()).hexdigest()

    def process(self, events: ak.Array) -> dict[str, Any]:
        dataset = str(events.metadata.get("dataset", "events"))
        expect(self.reco in events.fields, f"reco jets: expected a collection {self.reco}, found none")
        filler = filling.Filler(dataset, event_weights(events))
        self.corrector.check_collection(events[self.reco], events)
        reco = flatten_jets(events[self.reco], "reco")
        context, n_outside = self.corrector.known(reco)
        if self.take == "draw":
            keys = identity_keys(events, self.corrector.seed, self.corrector.identity)
            made = self.corrector.draw_known(reco, context, keys)
        else:
            keys = entry_keys(events)  # without draws, events may have equal numbers, or none
            made = self.corrector.correct_flat(reco.values, context, tau=TAKE[self.take]).columns()
        values = np.stack([made[name] for name in VARIABLES], axis=1)
        levels = {"reco": reco, "corrected": reco._replace(values=values)}
        if self.gen is not None and self.gen in events.fields:
            check_level(events[self.gen], events, "gen")
            levels["gen"] = gen = flatten_jets(events[self.gen])
            of_gen, of_reco = match_tables(gen, reco, self.corrector.card["jets"]["cone"])
            pairs = gen.values[of_gen], gen.event[of_gen]
            for level in ("reco", "corrected"):
                filler.fill_response(level, [(pairs[0], levels[level].values[of_reco, PT], pairs[1])])
        cutflow: dict[str, Any] = {"events": len(events), "reco_jets": len(reco.values), "outside_domain": n_outside}
        for level, jets in levels.items():
            n_selected = filler.fill_jets(level, [jets], pt_min=self.pt_min, eta_max=self.eta_max)
            cutflow[f"{level}_jets_selected"] = n_selected
        files = [] if self.skim is None else [self._write(self.skim, events, reco, made)]
        there = {WEIGHTS: n_weighted(events)}
        if self.gen is not None:
            there["gen jets"] = counted(events, "gen" in levels)
        file, corrector = str(events.metadata.get("filename", "")), self.corrector
        # without draws, events may have equal numbers, or none
        drawn = self.take == "draw"
        keys = identity_keys(events, corrector.seed, corrector.identity) if drawn else entry_keys(events)
        return {
            "sums": filler.sums,
            "least_keys": {dataset: {file: least_keys(keys)[0]}},
            "there": {dataset: there},
            "processes": {dataset: {file: set(cross_sections(events))}},
            "cutflow": {dataset: cutflow},
            "files": files,
        }

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        made_by = checked(accumulator, self._made_by)
        cutflow = {dataset: accumulator["cutflow"][dataset] for dataset in sorted(accumulator["cutflow"])}
        hists = filling.to_hists(accumulator["sums"], cutflow, levels=LEVELS, pt_min=self.pt_min)
        return {"made_by": made_by, "hists": hists, "cutflow": cutflow, "files": sorted(accumulator["files"])}

    def _made_by(self, dataset: str, *of_events: Any) -> MadeBy:
        corrector = self.corrector
        settings = {"model": corrector.model, "hash": corrector.card["hash"]}
        settings |= {name: getattr(corrector, name) for name in ("seed", "points", "identity")}
        settings |= {name: getattr(self, name) for name in ("reco", "gen", "take", "pt_min", "eta_max")}
        return MadeBy(dataset, settings, *of_events)

    def _write(self, skim: Skim, events: ak.Array, reco: JetTable, columns: dict[str, Any]) -> str:
        corrector = self.corrector
        about = {
            "version": __version__,
            "model": corrector.model,
            "bundle_hash": corrector.card["hash"],
            "take": self.take,
            "reco": self.reco,
            "points": corrector.points,
            **({"seed": corrector.seed, "identity": corrector.identity} if self.take == "draw" else {}),
        }
        values = np.stack([*columns.values()], axis=1)
        jets = reco._replace(values=values, columns=tuple(columns))
        return str(skim.write(events, reco, [jets], about, index="jetIdx"))
