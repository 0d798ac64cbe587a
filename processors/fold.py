"""Processor that folds gen jets to reco jets and fills histograms."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
from coffea import processor

from coffea_iqn import __version__, bundle
from coffea_iqn.emulator.particles import Reconstructed
from coffea_iqn.events.checks import least_central, warn_no_central
from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.events.constituents import RECO, constituents_of
from coffea_iqn.events.identity import counted, event_weights, n_weighted
from coffea_iqn.events.objects import MISSING, isolation_of, of_kinds, reco_missing, reco_objects
from coffea_iqn.files.inputs import cross_sections
from coffea_iqn.files.skims import Skim, ending_of
from coffea_iqn.folder import Folded, IQNFolder
from coffea_iqn.folder.constituents import FoldedParticles, candidates, check_particles, counts_of, fold_particles
from coffea_iqn.folder.events import check_whole
from coffea_iqn.histograms import filling
from coffea_iqn.histograms.filling import ETA_MAX, OBJECT_PT_MIN, PT_MIN
from coffea_iqn.jets import radii
from coffea_iqn.jets.constituents import Constituents
from coffea_iqn.jets.features import PT, SCALES
from coffea_iqn.jets.matching import match_tables
from coffea_iqn.jets.shapes import shapes
from coffea_iqn.jets.table import NOMINAL, JetTable, interleaved, interleaving, places
from coffea_iqn.numerics.arrays import Doubles, Floats, Ints
from coffea_iqn.objects.kinds import COLUMNS, KINDS, fields_of
from coffea_iqn.processors.made_by import WEIGHTS, MadeBy, checked
from coffea_iqn.ranges import ABS_ETA, GEV, check_choice, expect
from coffea_iqn.variations import JETS, OBJECTS, OF_THE_SAME, RequestedVariation, Size, of_jets

WITHOUT_ISOLATION = COLUMNS[:3]  # columns of a table of objects without an isolation


class BelowThresholdWarning(UserWarning):
    """Variations would raise jets from below the detector's threshold, but the nominal sample has no such jets."""


class Processed(NamedTuple):
    """A chunk of events, folded: the result, and what it was computed from.

    Attributes
    ----------
    result: result of the processor.
    folded: the fold.
    jets: jets at each level, one table for each draw.
    objects, missing: objects by kind, and missing momentum [GeV, rad], at each level, for each draw; empty without.
    """

    result: dict[str, Any]
    folded: Folded
    jets: dict[str, list[JetTable]]
    objects: dict[str, list[dict[str, JetTable]]]
    missing: dict[str, list[Doubles]]


class IQNFoldProcessor(processor.ProcessorABC):  # type: ignore[misc]
    """Fold the gen jets of a fileset and fill histograms of gen, folded and, if the files have them, true reco jets.

    Parameters
    ----------
    model: name of a shipped bundle, or the path of one.
    gen: name of the collection of gen jets.
    truth: name of the collection of true reco jets; left out if None or not in the file.
    seed, acceptance, unmatched, replicas, device, invalid, names, any_radius, identity, variations: see `IQNFolder`.
        With replicas, histograms are filled with 1 / replicas of the event weight, and their variances are those of
        sums over events, because the draws of an event are correlated.
    refinement: see `IQNFolder`; only "draw" or "off", because histograms do not use jet weights.
    pt_min: minimum pt [GeV] of the jets in the histograms, at every level.
    eta_max: maximum |eta| of the jets in the histograms, at every level.
    skim: where and how to write all emulated jets of every chunk; None for no skim.
    objects: whether to fold whole events like `EventFolder`: electrons, muons, photons and missing momentum are added
        to the histograms at gen and reco level, at truth level if the files have Electron, Muon, Photon and MET, and to
        skims.
    particles: whether to make jets from particles like `ConstituentFolder`, for files with GenJetCands: jet shapes are
        added to the histograms at gen and reco level, at truth level if the files have PFCands; particles to skims.

    With variations, the histograms have an axis `systematic`: nominal, JES_up, JES_down, ...

    The input is NanoAOD (`NanoAODSchema`) or Delphes (`DelphesSchema`). A run returns
    `{"made_by": {dataset: MadeBy}, "hists": {name: Hist}, "cutflow": {dataset: {...}}, "files": [...]}`: histograms as
    `histograms.book` makes them, filled with genWeight if the files have it, the files of the skim, and what made the
    histograms: coffea's `accumulate` refuses to add results of a dataset that other models or options made.

    Raises
    ------
    bundle.BundleError: if the bundle does not exist or cannot be read.
    ValueError: if an option is invalid; if a chunk, or a dataset as a whole, has gen jets of another radius than the
        bundle's; if generated files of a dataset are of several processes, by their cross sections, or only some have
        true objects or particles; for a skim or whole events together with variations that change which jets there are;
        for whole events if the bundle has no objects or `EventFolder` refuses the events.

    Warns
    -----
    BelowThresholdWarning: if a variation of the jet energy needs jets from below the detector's threshold.
    EqualEventsWarning: at the end of a run, if events of a dataset have equal identities; found if a file, or a large
        part of it, has the same event numbers as another one.
    MixedWeightsWarning: at the end of a run, if only some events of a dataset have weights, or true jets. `accumulate`
        repeats these checks for what it adds.
    """

    REFINEMENTS = ("draw", "off")

    def __init__(
        self,
        model: str | Path = "cms-delphes-ak4",
        *,
        gen: str = "GenJet",
        truth: str | None = "Jet",
        seed: int = 0,
        acceptance: bool = True,
        unmatched: bool | None = None,
        replicas: int = 1,
        device: str = "cpu",
        invalid: str = "raise",
        names: Mapping[str, str] | None = None,
        pt_min: float = PT_MIN,
        eta_max: float = ETA_MAX,
        any_radius: bool = False,
        identity: str = "event",
        refinement: str = "draw",
        skim: Skim | None = None,
        variations: Iterable[str | RequestedVariation] | Mapping[str, Size] = (),
        objects: bool = False,
        particles: bool = False,
    ) -> None:
        GEV.check(pt_min=pt_min)
        ABS_ETA.check(eta_max=eta_max)
        check_choice(self.REFINEMENTS, refinement=refinement)
        self.folder = IQNFolder(
            model,
            seed=seed,
            acceptance=acceptance,
            unmatched=unmatched,
            replicas=replicas,
            device=device,
            invalid=invalid,
            names=names,
            any_radius=any_radius,
            identity=identity,
            refinement=refinement,
            variations=variations,
        )
        radius = self.folder.emulator.radius
        if radius is not None and not any_radius:
            radii.check(radius, None, bundle.shipped_radii(), collection=truth, what="true jets")
        self.gen = gen
        self.truth = truth
        self.pt_min = pt_min
        self.eta_max = eta_max
        self.skim = skim
        self.objects = objects
        self.particles = particles
        expect(not (objects and particles), "objects: expected False with particles, which make jets alone, got True")
        if objects:
            check_whole(self.folder, replicas=replicas)
        else:
            self.folder.check_jets_vary()
        if particles:
            check_particles(self.folder)
        of_others = [asked for asked in self.folder.variations if asked.of not in OF_THE_SAME]
        if skim is not None and of_others:
            msg = f"skim: expected variations of the nominal jets, which become branches of these, got {of_others[0]}"
            raise ValueError(msg)
        self._warn_of_threshold()

    def _warn_of_threshold(self) -> None:
        """Warn if a variation would raise jets or objects above the selection from below the detector's threshold."""
        emulator = self.folder.emulator
        at = np.array([[emulator.variables.raw_pt_min, 0.0, 0.0, 0.0]])  # at eta = 0 the scale is largest
        edge = SCALES[emulator.variables.scale].apply(at)[0, PT] if emulator.variables.raw_pt_min else 0.0
        begins = {JETS: (edge, self.pt_min, "jets")}
        if self.objects and emulator.objects is not None:
            of_kinds = zip(KINDS, emulator.objects.pt_min, strict=True)
            begins |= {kind.name: (pt, OBJECT_PT_MIN, kind.plural) for kind, pt in of_kinds}
        for asked in self.folder.variations:
            edge, pt_min, what = begins.get(asked.of, (0.0, 0.0, ""))
            if edge and edge * (1.0 + float(np.max(asked.size_of(np.array([[edge, 0.0, 0.0, 0.0]]))))) > pt_min:
                msg = (
                    f"pt_min: expected more than the detector's threshold of {edge:.3g} GeV plus the size of {asked}, "
                    f"got {pt_min:g} for {what} in histograms: those that it raises from below are missing"
                )
                warnings.warn(msg, BelowThresholdWarning, stacklevel=3)

    @property
    def identity(self) -> str:
        """Digest of everything besides the events that the results depend on."""
        settings = {f.name: getattr(self.folder, f.name) for f in fields(self.folder) if f.name != "any_radius"}
        settings |= {key: value for key, value in vars(self).items() if key != "folder"}
        return hashlib.sha256(repr((__version__, sorted(settings.items()))).encode()).hexdigest()

    def process(self, events: ak.Array) -> dict[str, Any]:
        return self.processed(events).result

    def processed(self, events: ak.Array) -> Processed:
        """Return the result of a chunk together with what it was computed from."""
        dataset = str(events.metadata.get("dataset", "events"))
        names = ", ".join(name for name in events.fields if "jet" in name.lower() and "." not in name)
        found = f"found {names or 'no jet collection at all'}"
        expect(self.gen in events.fields, f"gen jets: expected a collection {self.gen}, {found}")
        gen_table = flatten_jets(events[self.gen])
        made: FoldedParticles | None = None
        if self.particles:
            made = fold_particles(self.folder, events[self.gen], events, gen_table)
            folded = made.with_shapes()
        else:
            folded = self.folder.fold_table(events[self.gen], events, jets=gen_table, objects=self.objects)
        levels = {"gen": [folded.gen], "reco": folded.reco}
        if self.truth is not None and self.truth in events.fields:
            levels["truth"] = [flatten_jets(events[self.truth], "reco")]
        objects, missing = self._objects(events, folded) if self.objects else ({}, {})

        files = []
        if self.skim is not None:
            others = self._others(folded) if self.objects else _candidates(made.reco) if made else None
            kept = of_jets(self.folder.variations)
            varied = {name: folded.varied[name] for asked in kept for name in asked.systematics}
            files = [str(self.skim.write(events, gen_table, folded.reco, self._about(), varied, others=others))]
        filler = filling.Filler(dataset, event_weights(events))
        cuts: dict[str, Any] = {"pt_min": self.pt_min, "eta_max": self.eta_max}
        cutflow: dict[str, Any] = {"events": len(events), **folded.counts._asdict()}
        for level, replicas in levels.items():
            of_gen = folded.gen_missing if level != "gen" else None
            n_selected = filler.fill_jets(level, replicas, missing=missing.get(level, ()), gen_missing=of_gen, **cuts)
            cutflow[f"{level}_jets_selected"] = n_selected
            if level in objects:
                particles, of_level = folded.prompt if level != "gen" else None, missing.get(level, ())
                selected = filler.fill_objects(level, objects[level], of_level, particles=particles)
                cutflow |= {f"{level}_{name.lower()}s_selected": n for name, n in selected.items()}
        of_particles = self._shapes(events, levels, made) if made else {}
        for level, shapes_of in of_particles.items():
            filler.fill_shapes(level, shapes_of, **cuts)
        for name, of_replicas in folded.varied_objects.items():
            varied_objects, of_missing = [self._with_isolation(one) for one in of_replicas], folded.varied_missing[name]
            filler.fill_objects("reco", varied_objects, of_missing, particles=folded.prompt, systematic=name)
        for name, replicas in folded.varied.items():
            varied_missing = folded.varied_missing.get(name, ())
            of_gen = folded.gen_missing
            n_selected = filler.fill_jets(
                "reco", replicas, systematic=name, missing=varied_missing, gen_missing=of_gen, **cuts
            )
            cutflow[f"reco_jets_selected_{name}"] = n_selected
        self._fill_pairs(filler, folded, levels.get("truth", ()))
        file = str(events.metadata.get("filename", ""))
        compared: dict[str, Mapping[str, Any]] = {"true jets": levels}  # else histograms are not comparable
        if self.objects:
            compared |= {"Electron, Muon and Photon": objects, " or ".join(MISSING): missing}
        if self.particles:
            compared["true particles"] = of_particles
        true = {what: counted(events, "truth" in of) for what, of in compared.items() if self.truth is not None}
        result = {
            "sums": filler.sums,  # converted to histograms at the end
            "there": {dataset: {WEIGHTS: n_weighted(events)} | true},
            "processes": {dataset: {file: set(cross_sections(events))}},
            "cutflow": {dataset: cutflow},
            "distances": {dataset: folded.distances},
            "least_pt": {dataset: [least_central(folded.gen.values)]},
            "least_keys": {dataset: {file: folded.least_keys}},
            "files": files,
        }
        return Processed(result, folded, levels, objects, missing)

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        folds_all = self.folder.acceptance and not self.particles
        if not self.folder.any_radius:  # small chunks may have too few jets to determine the radius
            for distances in accumulator["distances"].values():
                radii.check(self.folder.card["jets"]["radius"], distances, bundle.shipped_radii())
        for dataset, of_chunks in accumulator["least_pt"].items() if folds_all else ():
            least, n, reach = zip(*of_chunks, strict=True)
            self.folder.check_threshold(min(least), sum(n), max(reach), dataset)
            if not sum(n):
                warn_no_central(dataset, accumulator["cutflow"][dataset]["events"])
        made_by = checked(accumulator, self._made_by)
        cutflow = {dataset: accumulator["cutflow"][dataset] for dataset in sorted(accumulator["cutflow"])}
        axes = filling.EVENT_AXES if self.objects else filling.PARTICLE_AXES if self.particles else filling.AXES
        hists = filling.to_hists(accumulator["sums"], cutflow, self.folder.systematics, axes=axes, pt_min=self.pt_min)
        for dataset, flow in cutflow.items():
            every_event = hists["njet"][{"dataset": dataset, "level": "gen"}]  # gen jets are filled once, as nominal
            flow["sum_of_weights"] = float(every_event.sum(flow=True).value)
        # made_by first, so that a sum is refused before histograms are added
        return {"made_by": made_by, "hists": hists, "cutflow": cutflow, "files": sorted(accumulator["files"])}

    def _fill_pairs(self, filler: filling.Filler, folded: Folded, truth: Sequence[JetTable]) -> None:
        """Fill the response of matched pairs and the pt of unmatched jets."""
        eta_max = self.eta_max
        for name, replicas in {NOMINAL: folded.reco, **folded.varied}.items():
            filler.fill_response("reco", [emulated_pairs(folded.gen, jets) for jets in replicas], systematic=name)
            free = [unmatched(jets) for jets in replicas]
            filler.fill_unmatched("reco", free, eta_max=eta_max, systematic=name)
        for jets in truth:
            gen = folded.gen
            of_gen, of_jets = match_tables(gen, jets, self.folder.card["jets"]["cone"])
            filler.fill_response("truth", [(gen.values[of_gen], jets.values[of_jets, PT], gen.event[of_gen])])
            rest = np.delete(np.arange(len(jets.values)), of_jets)
            filler.fill_unmatched("truth", [(jets.values[rest], jets.event[rest])], eta_max=eta_max)

    def _objects(
        self, events: ak.Array, folded: Folded
    ) -> tuple[dict[str, list[dict[str, JetTable]]], dict[str, list[Doubles]]]:
        """Return the objects by kind, and the missing momentum, of the events at each level."""
        particles, of_gen = folded.prompt, folded.gen_missing
        assert particles is not None
        assert of_gen is not None
        objects = {"gen": [of_kinds(particles)], "reco": [self._with_isolation(one) for one in folded.objects]}
        missing = {"gen": [of_gen], "reco": [*folded.missing]}
        if self.truth is not None and self.truth in events.fields:
            if all(kind.name in events.fields for kind in KINDS):
                true = reco_objects(events, particles).tables(len(events))
                columns = {name: COLUMNS if isolation_of(events[name]) else WITHOUT_ISOLATION for name in true}
                objects["truth"] = [{name: one._replace(columns=columns[name]) for name, one in true.items()}]
            if any(name in events.fields for name in MISSING):
                missing["truth"] = [reco_missing(events)]
        return objects, missing

    def _with_isolation(self, objects: Mapping[str, JetTable]) -> dict[str, JetTable]:
        """Return emulated objects by kind, without the isolation of those kinds for which the model has none."""
        model = self.folder.emulator.objects
        assert model is not None
        columns = [COLUMNS if name else WITHOUT_ISOLATION for name in model.isolation]
        return {k.name: objects[k.name]._replace(columns=of) for k, of in zip(KINDS, columns, strict=True)}

    def _shapes(
        self, events: ak.Array, levels: Mapping[str, list[JetTable]], made: FoldedParticles
    ) -> dict[str, list[tuple[JetTable, Doubles]]]:
        """Return the jets and their shapes from massless particles at each level that has particles."""
        radius = self.folder.card["jets"]["radius"]

        def of(level: str, particles: Constituents) -> list[tuple[JetTable, Doubles]]:
            return [(levels[level][0], shapes(particles.massless, radius, triplets=False))]

        found = {"gen": of("gen", made.gen), "reco": list(zip(levels["reco"], made.shapes, strict=True))}
        true = constituents_of(events, levels["truth"][0], RECO, self.truth) if "truth" in levels else None
        return found if true is None else found | {"truth": of("truth", true)}

    def _others(self, folded: Folded) -> dict[str, ak.Array]:
        """Return the branches of a skim for electrons, muons, photons and missing momentum."""
        model = self.folder.emulator.objects
        assert model is not None
        made: dict[str, ak.Array] = {}
        for kind, isolation in zip(KINDS, model.isolation, strict=True):
            table = interleaved([one[kind.name] for one in folded.objects])
            fields = fields_of(kind, table, isolation)
            made |= {f"{kind.name}_{name}": ak.unflatten(field, table.counts) for name, field in fields.items()}
        for asked in self.folder.variations:
            for name in asked.systematics if asked.of in OBJECTS else ():
                varied = interleaved([one[asked.of] for one in folded.varied_objects[name]])
                pt = ak.unflatten(np.ascontiguousarray(varied.values[:, PT]), varied.counts)
                made[f"{asked.of}_pt_{ending_of(name)}"] = pt
        for name, of_replicas in {NOMINAL: folded.missing, **folded.varied_missing}.items():
            ending = "" if name == NOMINAL else f"_{ending_of(name)}"
            missing = np.stack(of_replicas, axis=1).reshape(-1, 2).astype(np.float32)
            made |= {f"MET_{field}{ending}": ak.Array(missing[:, k]) for k, field in enumerate(("pt", "phi"))}
        return made

    def _made_by(self, dataset: str, *of_events: Any) -> MadeBy:
        folder = self.folder
        of_model = {"model": folder.model, "hashes": [folder.hash, *(known_hash for *_, known_hash in folder.others)]}
        own = {name: getattr(self, name) for name in ("gen", "truth", "pt_min", "eta_max", "objects", "particles")}
        settings = {name: value for name, value in folder.settings.items() if name != "device"}  # equal up to rounding
        return MadeBy(dataset, of_model | settings | own, *of_events)

    def _about(self) -> dict[str, Any]:
        """Return the metadata of a skim: what made its jets."""
        folder = self.folder
        made_by = {"version": __version__, "model": folder.model, "bundle_hash": folder.hash, "gen": self.gen}
        return {**made_by, "objects": self.objects, "particles": self.particles, **folder.settings}


def _candidates(made: list[Reconstructed]) -> dict[str, ak.Array]:
    """Return the branches of a skim for the particles in jets, in the layout of PFNano."""
    fields, n_inside = [candidates(one) for one in made], [one.particles.counts for one in made]
    order, counts = interleaving([counts_of(one) for one in made])
    of_jets, n_jets = interleaving([one.jets.counts for one in made])
    particles = {name: np.concatenate([of[name] for of in fields])[order] for name in fields[0]}
    flat = {f"PFCands_{name}": field for name, field in particles.items()}
    flat |= {"JetPFCands_jetIdx": particles["jetIdx"], "JetPFCands_pFCandsIdx": places(counts).astype(np.int32)}
    columns = {name: ak.unflatten(field, counts) for name, field in flat.items()}
    return columns | {"Jet_nConstituents": ak.unflatten(np.concatenate(n_inside)[of_jets].astype(np.int32), n_jets)}


def emulated_pairs(gen: JetTable, reco: JetTable) -> tuple[Floats, Floats, Ints]:
    """Return gen jets, pt of their reco jets and event of each pair: emulated jets have the row of their gen jet."""
    assert reco.row is not None
    matched = np.flatnonzero(reco.row >= 0)
    return gen.values.take(reco.row[matched], axis=0), reco.values[matched, PT], reco.event[matched]


def unmatched(reco: JetTable) -> tuple[Floats, Ints]:
    """Return the emulated jets without a gen jet, and their events."""
    assert reco.row is not None
    rows = np.flatnonzero(reco.row < 0)
    return reco.values[rows], reco.event[rows]
