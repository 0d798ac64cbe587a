"""IQNFolder: fold jagged gen jets to jagged reco jets; densities, levels and quantiles of jagged pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from coffea_iqn import bundle
from coffea_iqn.data import BUNDLES
from coffea_iqn.emulator.emulator import BACKENDS, Emulator
from coffea_iqn.events.checks import (
    BEGINS,
    check_level,
    check_momenta,
    check_valid,
    least_central,
    outside_domain,
    warn_missing_context,
    warn_partial_collection,
    warn_reach,
    warn_threshold,
)
from coffea_iqn.events.collections import INDEX, GenEvents, flatten_jets, gen_events
from coffea_iqn.events.constituents import GEN_JET
from coffea_iqn.events.identity import KINDS, identity_keys, metadata_of
from coffea_iqn.events.names import Names
from coffea_iqn.events.objects import check_prompt
from coffea_iqn.events.pairs import JaggedPairs
from coffea_iqn.folder.folding import Folding, Whole, draw_events, vary_event, vary_jets
from coffea_iqn.folder.jagged import FoldCounts, Folded, Given, jagged
from coffea_iqn.iqn.device import check_device, one_thread
from coffea_iqn.jets import radii
from coffea_iqn.jets.context import known_levels
from coffea_iqn.jets.features import VARIABLES
from coffea_iqn.jets.table import NOMINAL, JetTable
from coffea_iqn.numerics.arrays import Bools, Floats, Ints
from coffea_iqn.ranges import GEV, Range, check_choice, expect
from coffea_iqn.variations import EMULATOR, FOUND, JETS, MISSING, OBJECTS, RequestedVariation, parse_variations

INVALID = ("raise", "drop")
REFINEMENTS = ("draw", "weight", "off")
REPLICAS = Range(least=1, most=2**24 - 1, whole=True)
SEED = Range(whole=True)
PLAIN = {"seed": int, "replicas": int, "acceptance": bool, "any_radius": bool}  # converts numpy scalars


@dataclass(frozen=True, repr=False)
class IQNFolder:
    """Fold jagged gen jets to reco jets.

    Parameters
    ----------
    model: name of a shipped bundle or path of a bundle.
    seed: seed of the quantile levels. Equal seeds give equal jets, whatever the chunk, executor or machine.
    acceptance: True: gen jets are lost with the bundle's inefficiency, 1 − P(reconstructed | gen jet), and reco jets
        within a radius of a harder one are redrawn. False: every gen jet gives exactly one reco jet.
    unmatched: whether to add reco jets that match no gen jet, with genJetIdx −1, if the bundle has a model of them;
        None for the value of acceptance. They depend on all gen jets of an event, so fold whole collections.
    replicas: number of independent draws of each event. Above 1 the result has another axis: events × replicas × var.
    backend: "torch", the reference; "numba", compiled code for a SplineIQN, equal up to rounding; "auto", the fastest
        one available for the bundle's network on the device.
    device: device of the network: "cpu"; "cuda" or "cuda:N", a GPU, which draws the same jets up to rounding; "auto", a
        GPU if the process finds one. Only on the CPU are the bits the same everywhere. The rest of the fold, from
        context to unmatched jets, runs on the CPU.
    invalid: "raise" an error for, or "drop", gen jets with pt, eta, phi or mass not finite or pt not above zero.
    raw_pt_min: threshold on the reco pt [GeV] before the detector's jet scale: jets below it are lost; without
        acceptance, jets are drawn above it. None for the bundle's threshold.
    names: field names of conditioning variables in the files, if they differ from `events.Names`:
        `{"flavour": "parton"}`.
    any_radius: whether to fold gen jets of another radius than the bundle's; otherwise they are an error, if the
        collection's name or the distances between jets reveal them.
    identity: how events are identified for their levels: "event", by run, luminosityBlock and event; "file", by the
        file as well, for datasets whose files repeat event numbers, such as private productions: these events would
        draw equal levels. Delphes events are always identified by their file as well.
    refinement: for a refined bundle (`coffea-iqn refine`): "draw" from the refined law; "weight", draw from the
        unrefined law and add a field `weight`; "off", draw from the unrefined law.
    variations: systematic variations to draw at the same levels: names from `variations.VARIATIONS`,
        `["jes", "jer=0.05", "model=atlas-delphes-ak4"]`, or a mapping of names to sizes, which may be functions of pt
        [GeV] and eta.

    A folder is immutable and small to pickle: it contains the bundle's name (or absolute path) and hash, and each
    process reads the bundle once. Remote workers must find the same bundle under that name or path.

    Raises
    ------
    bundle.BundleError: if the bundle does not exist or cannot be read.
    ValueError: if an option has an invalid value, or the bundle of a variation is for other jets.
    """

    model: str | Path
    _: KW_ONLY
    seed: int = 0
    acceptance: bool = True
    unmatched: bool | None = None
    replicas: int = 1
    backend: str = "auto"
    device: str = "cpu"
    invalid: str = "raise"
    raw_pt_min: float | None = None
    names: Any = None
    any_radius: bool = False
    identity: str = "event"
    refinement: str = "draw"
    variations: Any = ()
    hash: str = field(init=False)
    others: tuple[tuple[str, str, str], ...] = field(init=False)

    def __post_init__(self) -> None:
        check_choice(BACKENDS, backend=self.backend)
        check_choice(INVALID, invalid=self.invalid)
        check_choice(REFINEMENTS, refinement=self.refinement)
        check_choice(KINDS, identity=self.identity)
        SEED.check(seed=self.seed)
        REPLICAS.check(replicas=self.replicas)
        GEV.check(raw_pt_min=self.raw_pt_min)
        check_device(self.device)
        fits = self.backend != "numba" or self.device == "cpu"
        expect(fits, f"device: expected cpu for backend 'numba', got {self.device!r}")
        # keep the name of a shipped bundle: on a worker the package may be installed elsewhere
        model = str(self.model) if str(self.model) in BUNDLES else str(bundle.find(self.model))
        loaded, variations = bundle.load(model), parse_variations(self.variations)
        fits = self.refinement != "weight" or loaded.ratio is not None
        expect(fits, f"refinement: expected 'draw' or 'off' for {model}, which was not refined, got 'weight'")
        emulator = self.as_drawn(loaded)
        unmatched = (self.acceptance if self.unmatched is None else self.unmatched) and emulator.unmatched is not None
        self.__dict__.update(
            {name: kind(getattr(self, name)) for name, kind in PLAIN.items()},
            model=model,
            unmatched=bool(unmatched),
            names=Names.of(self.names),
            hash=emulator.card["hash"],
            variations=variations,
            others=_others(model, emulator, variations, self.refinement),
        )
        network, fits = emulator.network, self.raw_pt_min is None or emulator.network.exact
        expect(fits, f"raw_pt_min: expected None for {network.type}, which cannot be cut off, got {self.raw_pt_min}")
        fits = (network.autoregressive and emulator.ratio is None) or all(asked.name != "JER" for asked in variations)
        what = network.type if emulator.ratio is None else "refined draws"
        expect(fits, f"variations: expected no JER for {what}, which have no median of pt alone, got one")
        both = sorted({column.name for column in emulator.variables.columns} & {asked.name for asked in variations})
        expect(not both, f"variations: expected names that no column of the bundle has, got {', '.join(both)}")
        fits = self.backend != "numba" or emulator.is_compiled
        expect(fits, f"backend: expected 'torch' or 'auto' for {network.type}, got 'numba'")
        fits = self.acceptance or all(asked.of != FOUND for asked in variations)
        expect(fits, "acceptance: expected True with the variation eff, got False, with which every gen jet is found")

    @property
    def emulator(self) -> Emulator:
        """The emulator of this folder's bundle, read once per process; unrefined unless refinement is "draw"."""
        return self.as_drawn(bundle.load(self.model, expected_hash=self.hash))

    def as_drawn(self, emulator: Emulator) -> Emulator:
        """Return the emulator that this folder draws from: unrefined unless refinement is "draw"."""
        return emulator if self.refinement == "draw" else emulator.unrefined

    @property
    def card(self) -> dict[str, Any]:
        """The bundle's card: jets, domain, training, hash."""
        return self.emulator.card

    @property
    def systematics(self) -> tuple[str, ...]:
        """Names of the systematics drawn: "nominal", "JES_up", "JES_down", ..., then other bundles by name."""
        sides = (name for asked in self.variations for name in asked.systematics)
        return (NOMINAL, *sides, *(name for name, *_ in self.others))

    def __repr__(self) -> str:
        return f"IQNFolder({self.model!r}, {', '.join(f'{name}={value!r}' for name, value in self.settings.items())})"

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the fold other than the model, for `repr` and summaries."""
        names = ("seed", "identity", "acceptance", "unmatched", "replicas", "device")
        renamed = {} if self.names == Names() else {"names": repr(self.names)}
        cut = {} if self.raw_pt_min is None else {"raw_pt_min": self.raw_pt_min}
        varied = {"variations": [repr(asked) for asked in self.variations]} if self.variations else {}
        refined = {} if self.refinement == "draw" else {"refinement": self.refinement}
        return {name: getattr(self, name) for name in names} | cut | refined | varied | renamed

    def fold_flat(self, x: Floats, tau: Floats, context: Floats | None = None) -> Floats:
        """Return reco jets at given quantile levels, without acceptance.

        Parameters
        ----------
        x: gen jets (N, 4): pt [GeV], eta, phi [rad], mass [GeV].
        tau: levels (N, 4) in (0, 1), in the order pt, eta, phi, mass; see `Emulator.sample` for further columns.
        context: conditioning variables of the jets, (N, 68), from `context.encode`; None if none are known.

        Returns
        -------
        reco jets (N, 4) float32, with the columns of x, and any further columns that the bundle draws.

        Raises
        ------
        ValueError: see `Emulator.sample`.
        """
        # asanyarray keeps masks, which are then rejected
        x, tau = np.asanyarray(x, dtype=np.float32), np.asanyarray(tau, dtype=np.float32)
        return self._one_thread(self.emulator).sample(
            x, tau, context, raw_pt_min=self.raw_pt_min, backend=self.backend, device=self.device
        )

    def __call__(self, gen: ak.Array, events: ak.Array) -> ak.Array:
        """Fold the gen jets of events.

        Parameters
        ----------
        gen: jagged gen jets, events × var, with pt, eta, phi, mass, and the conditioning variables that the bundle uses
            (flavour, numbers of constituents, N-subjettiness); neighbours are computed here. To fold only part of a
            collection, first give its jets a field `genJetIdx` (`ak.local_index(events.GenJet.pt)`): a jet is
            identified by its index before any cut.
        events: the events of the jets, identified by run, luminosityBlock and event, or by Delphes' Event.Number.

        Returns
        -------
        reco jets, events × var, sorted by pt, with the vector behavior of gen: pt, eta, phi, mass, any further columns
        that the bundle draws, genJetIdx (the index of the gen jet, or −1) and matched_gen (that gen jet, or None).
        Variations are fields such as JES.up and JES.down, as in coffea's `CorrectedJetsFactory`: jets in the order of
        the nominal ones.

        Raises
        ------
        TypeError: if gen is not a jagged array of jets, or is option-typed (masked).
        ValueError: if gen and events differ in length; if jets are invalid, are reco jets by their collection's name,
            or have another radius than the bundle's; if the device is not found; if a variation changes the set of
            jets.
        """
        return self.fold(gen, events)[0]

    def varied(self, gen: ak.Array, events: ak.Array) -> dict[str, ak.Array]:
        """Return the jets of each systematic, for an analysis to use in place of the nominal ones.

        Arguments are those of calling the folder. The jets of each systematic are sorted by their own pt.
        """
        jets = flatten_jets(gen)
        made = self.fold_table(gen, events, jets=jets)
        every = {NOMINAL: made.reco, **made.varied}
        return {
            name: jagged(made._replace(reco=[table.by_pt() for table in of_replicas]), gen, jets)
            for name, of_replicas in every.items()
        }

    def fold(self, gen: ak.Array, events: ak.Array) -> tuple[ak.Array, FoldCounts]:
        """Same as calling the folder, but also return the numbers of jets lost, dropped and unmatched."""
        jets, other = flatten_jets(gen), next((asked for asked in self.variations if asked.of != JETS), None)
        got = f"got {other}: use IQNFolder.varied"
        expect(other is None, f"variations: expected only ones that keep the set of jets, {got}")
        made = self.fold_table(gen, events, jets=jets)
        return jagged(made, gen, jets, self.variations), made.counts

    def fold_table(
        self, gen: ak.Array, events: ak.Array, *, jets: JetTable | None = None, objects: bool = False
    ) -> Folded:
        """Same as calling the folder, but return flat tables, with everything else that the fold computes.

        Parameters
        ----------
        gen, events: see `__call__`.
        jets: the same gen jets as a table, `events.flatten_jets(gen)`, if the caller has it.
        objects: whether to draw whole events, as `EventFolder` does.
        """
        if not objects:
            self.check_jets_vary()
        jets = flatten_jets(gen) if jets is None else jets
        given = self.given(gen, events, jets)
        known, foldings = given.known, self._foldings(objects=objects)
        if objects:
            check_prompt(gen, known, self.card, str(self.model))
        tables, of_kinds, missing, context_levels, distances = draw_events(
            known, foldings, given.keys, self.replicas, with_distances=not self.any_radius
        )
        if len(known.jets.values):
            models = (str(self.model), *(where for _, where, _ in self.others))
            for model, folding in zip(models, foldings, strict=True):
                warn_missing_context(model, folding.emulator.variables.context, context_levels)
            self._check_radius(gen, distances)
            if self.acceptance:
                dataset = str(metadata_of(events).get("dataset", ""))
                self.check_threshold(*least_central(known.jets.values), dataset)
        tables |= vary_jets(tables[NOMINAL], self.variations)
        nominal = tables[NOMINAL]
        varied = {name: tables.get(name, nominal) for name in self.systematics[1:]}
        drawn, scale = list(map(Whole, nominal, of_kinds, missing)), self.emulator.variables.scale
        whole = {
            name: [vary_event(one, asked, sign, of_it, scale) for one, of_it in zip(drawn, varied[name], strict=True)]
            for asked in (self.variations if objects else ())
            for name, sign in asked.systematics.items()
        }
        rest = {
            "objects": of_kinds,
            "missing": missing,
            "varied_objects": {name: [one.objects for one in of_it] for name, of_it in whole.items()},
            "varied_missing": {name: [one.missing for one in of_it] for name, of_it in whole.items()},
        }
        return given.folded(nominal, distances, varied=varied, **rest)

    def log_density(
        self,
        gen: ak.Array,
        reco: ak.Array,
        events: ak.Array,
        *,
        variable: str | None = None,
        points: int | None = None,
        acceptance: bool = False,
    ) -> ak.Array:
        """Return log p(reco jet | gen jet) of pairs, events × var, in 1/GeV² (and 1/rad); see `Emulator.log_density`.

        Parameters
        ----------
        gen, reco: gen jets and the reco jet of each, in lists of equal length, such as `reco.matched_gen, reco` from a
            folder. If either jet of a pair is None, so is the result.
        events: events of the gen jets, with all their gen jets: the context of a gen jet depends on the others.
        variable: "pt", "eta", "phi" or "mass", for the marginal density of this variable, see `Emulator.marginal`;
            None for the joint density of all four.
        points: see `Emulator.marginal`.
        acceptance: see `Emulator.log_density`.

        This is the law of a single gen jet, above the folder's raw_pt_min. It does not include what overlapping jets
        do to each other, nor unmatched jets.

        Raises
        ------
        TypeError, ValueError: if gen and reco are not such pairs of jets, or the events lack one of the gen jets.
        NotImplementedError: see `Emulator.log_density`.
        """
        pairs, (x, known) = self._pairs(gen, reco, events, "reco jets")
        law, columns = self._law("log_density", variable, points)
        return pairs.jagged(law(x, pairs.other[columns], known, acceptance=acceptance))

    def cdf(
        self, gen: ak.Array, reco: ak.Array, events: ak.Array, *, variable: str | None = None, points: int | None = None
    ) -> ak.Array:
        """Return the quantile levels of reco jets, as records with pt, eta, phi and mass; see `Emulator.cdf`.

        With a variable, return numbers: P(variable ≤ its value in the reco jet | gen jet). Arguments and errors: see
        `log_density`.
        """
        pairs, (x, known) = self._pairs(gen, reco, events, "reco jets")
        law, columns = self._law("cdf", variable, points)
        return pairs.jagged(law(x, pairs.other[columns], known))

    def quantile(
        self,
        gen: ak.Array,
        tau: ak.Array,
        events: ak.Array,
        *,
        reco: ak.Array | None = None,
        variable: str | None = None,
        points: int | None = None,
    ) -> ak.Array:
        """Return the quantiles at levels tau in (0, 1): the inverse of `cdf`.

        Parameters
        ----------
        gen, events, points: see `log_density`.
        tau: levels, events × var: records with pt, eta, phi and mass, as `cdf` returns them, or, with a variable,
            numbers.
        reco: reco jets, needed without a variable: each quantile is conditional on the preceding variables of the reco
            jet, see `Emulator.quantile`.
        variable: see `log_density`.

        Returns
        -------
        records with pt [GeV], eta, phi [rad] and mass [GeV], or, with a variable, numbers.
        """
        pairs, (x, known) = self._pairs(gen, tau, events, "tau")
        law, _ = self._law("quantile", variable, points)
        if variable is not None:
            return pairs.jagged(law(x, pairs.other, known))
        expect(reco is not None, "quantile: expected reco jets or a variable, got neither")
        given = JaggedPairs.of(gen, reco, other_is="reco jets")
        both = (given.there == pairs.there).all()
        expect(both, "quantile: expected None at the same places in tau and reco jets, got different places")
        return pairs.jagged(law(x, pairs.other, given.other, known))

    def _pairs(
        self, gen: ak.Array, other: ak.Array, events: ak.Array, other_is: str
    ) -> tuple[JaggedPairs, tuple[Floats, Floats | None]]:
        """Return the flat pairs, and the gen jet (N, 4) and context (N, 68) of each, as in a fold of all gen jets."""
        pairs = JaggedPairs.of(gen, other, other_is=other_is)
        name = gen.layout.purelist_parameter("collection_name") or GEN_JET
        found = ", ".join(events.fields)
        expect(name in events.fields, f"events: expected the gen jets' collection {name}, found {found}")
        whole = events[name]  # all their neighbours are in it
        known, _ = self.known(whole, events, flatten_jets(whole))
        rows = pairs.rows(known.jets)
        context = known.context()
        if len(rows):
            warn_missing_context(str(self.model), self.emulator.variables.context, known_levels(context, known.levels))
            self.distances(whole, context)
            self.check_threshold(*least_central(known.jets.values), str(metadata_of(events).get("dataset", "")))
            outside_domain(known.jets.values[rows], self.card, str(self.model), "gen")
        takes_context = bool(self.emulator.variables.context)
        return pairs, (known.jets.values[rows], context[rows] if takes_context else None)

    def _law(self, name: str, variable: str | None, points: int | None) -> tuple[Callable[..., Any], Any]:
        """Return a function of the emulator, or of the law of one variable, and the columns of reco jets it takes."""
        if variable is None:
            return partial(getattr(self.emulator, name), raw_pt_min=self.raw_pt_min), ...
        law = self.emulator.marginal(variable, points=points, raw_pt_min=self.raw_pt_min)
        return getattr(law, name), (slice(None), VARIABLES.index(variable))

    def given(self, gen: ak.Array, events: ak.Array, jets: JetTable) -> Given:
        """Check the gen jets of events, and return them with their conditioning variables; jets: gen as a table.

        Raises
        ------
        ValueError: see `__call__`.
        """
        n, n_lists = len(events), len(jets.counts)
        expect(n == n_lists, f"gen jets: expected one list for each of the {n} events, got {n_lists}")
        check_level(gen, events, "gen")
        warn_partial_collection(gen, events, len(jets.values), "gen jets", INDEX["gen"])
        known, valid = self.known(gen, events, jets)
        n_outside = outside_domain(known.jets.values, self.card, str(self.model), "gen")
        for card, model in self._narrower():
            outside_domain(known.jets.values, card, model, "gen")
        if known.prompt is not None:
            pt, _, phi = known.prompt.values.T
            check_momenta(pt, phi, self.card.get("energy"), "prompt leptons and photons")
        if known.missing is not None:
            check_momenta(known.missing[:, 0], known.missing[:, 1], self.card.get("energy"), "missing momentum")
        return Given(known, valid, n_outside, identity_keys(events, self.seed, self.identity))

    def known(self, gen: ak.Array, events: ak.Array, jets: JetTable) -> tuple[GenEvents, Bools]:
        """Return the valid gen jets with their conditioning variables, and a mask of all gen jets that marks them.

        Parameters
        ----------
        gen, events: jagged gen jets, and their events.
        jets: the same gen jets, from `flatten_jets`.

        Raises
        ------
        ValueError: if there are invalid jets, unless the folder drops them.
        """
        valid = check_valid(jets, "gen jets", drop=self.invalid == "drop")
        # N-subjettiness from particles takes longer than everything else: skip it if no network uses it
        wanted = self.others or "substructure" in self.emulator.variables.context
        return gen_events(gen, events, jets, valid, self.names, radius=self.emulator.radius if wanted else None), valid

    def distances(self, gen: ak.Array, context: Floats) -> Ints:
        """Check the radius of gen jets, and return `radii.histogram` of their distances to the nearest neighbour."""
        distances = radii.neighbours(context)
        self._check_radius(gen, distances)
        return distances

    def _check_radius(self, gen: ak.Array, distances: Ints) -> None:
        """Raise an error if the jets can be seen to have another radius than the bundle's."""
        radius = self.emulator.radius
        if self.any_radius or radius is None:
            return
        width = radii.of_widths(ak.to_numpy(ak.flatten(gen["DeltaPhi"]))) if "DeltaPhi" in gen.fields else None
        collection = gen.layout.purelist_parameter("collection_name")
        radii.check(radius, distances, bundle.shipped_radii(), collection=collection, width=width)

    def check_threshold(self, least: float, n: int, reach: float, dataset: str) -> None:
        """Warn if gen jets, n of them central, begin at a pt [GeV], or end at an |eta|, inside those of the training.

        Arguments are those that `least_central` returns, and the dataset of the jets, or "".
        """
        for card, model in ((self.card, str(self.model)), *self._narrower()):
            trained, domain = card["training"].get("gen_pt_min"), card.get("domain")
            if domain:
                warn_reach(n, reach, domain["gen_abs_eta"][1], model, dataset)
            if trained:
                warn_threshold("gen jets", least, n, trained, model, dataset=dataset)

    def _narrower(self) -> list[tuple[dict[str, Any], str]]:
        """Return card and name of the bundles of variations whose domain, or gen jets, are fewer than the nominal's.

        A few per cent at the edges do not count: those of the members of an ensemble differ by that.
        """
        own, found = self.card, []
        for _, model, known_hash in self.others:
            card = bundle.load(model, expected_hash=known_hash).card
            begin, own_begin = (one["training"].get("gen_pt_min") or 0.0 for one in (card, own))
            narrower = begin > BEGINS * own_begin
            if card.get("domain") and own.get("domain"):
                (low, high), (own_low, own_high) = (one["domain"]["gen_pt"] for one in (card, own))
                reach, own_reach = (one["domain"]["gen_abs_eta"][1] for one in (card, own))
                narrower |= low > BEGINS * own_low or BEGINS * high < own_high or BEGINS * reach < own_reach
            if narrower:
                found.append((card, model))
        return found

    def check_jets_vary(self) -> None:
        """Raise ValueError for variations that whole events alone have."""
        others = [str(asked) for asked in self.variations if asked.of in (*OBJECTS, MISSING)]
        got = f"got {', '.join(others)}, which whole events have (EventFolder, --objects)"
        expect(not others, f"variations: expected those of jets where jets alone are folded, {got}")

    def _foldings(self, *, objects: bool = False) -> list[Folding]:
        """Return the nominal folding, then those of other bundles."""
        # what becomes of other jets depends on all that are found, even if below raw_pt_min
        raw_pt_min = None if self.acceptance else self.raw_pt_min
        made = []
        for name, model, known_hash in ((NOMINAL, self.model, self.hash), *self.others):
            loaded = bundle.load(model, expected_hash=known_hash)
            emulator = self._one_thread(self.as_drawn(loaded))
            prepared = emulator.prepared(raw_pt_min=raw_pt_min, backend=self.backend, device=self.device)
            weighing = loaded if self.refinement == "weight" else None
            options = self.acceptance, bool(self.unmatched), self.raw_pt_min, objects, name
            made.append(Folding(prepared, *options, weighing=weighing))
        found = tuple(asked for asked in self.variations if asked.of == FOUND)
        with_median = any(asked.name == "JER" for asked in self.variations)
        return [replace(made[0], found=found, with_median=with_median), *made[1:]]

    def _one_thread(self, emulator: Emulator) -> Emulator:
        if self.backend == "torch" or self.device != "cpu" or not emulator.is_compiled:  # else torch is not imported
            one_thread()
        return emulator


def _others(
    model: str, emulator: Emulator, variations: Sequence[RequestedVariation], refinement: str
) -> tuple[tuple[str, str, str], ...]:
    """Return the bundles that variations draw from: name of the systematic, name or path of the bundle, and hash."""
    made: dict[str, tuple[str, str, str]] = {}
    drawn = [_drawn_from(emulator, refinement)]
    for asked in (asked for asked in variations if asked.of == EMULATOR):
        of = str(asked.size or model)
        for name, path in bundle.members(of).items() if asked.name == "ENS" else [(Path(of).name, of)]:
            where = path if path in BUNDLES else str(bundle.find(path))
            other = bundle.load(where)
            for what, wanted, got in (
                ("radius", emulator.radius, other.radius),
                ("unmatched jets", emulator.unmatched is not None, other.unmatched is not None),
            ):
                wrong = f"expected a bundle with {what} {wanted} like {model}, got {path} with {got}"
                expect(wanted == got, f"variations: {wrong}")
            low, high = sorted(of.variables.raw_pt_min for of in (emulator, other))
            alike = emulator.variables.scale == other.variables.scale and high <= BEGINS * low
            edges = f"expected members of the detector of {model}, with its jet scale and threshold, got {path}"
            expect(asked.name != "ENS" or alike, f"variations: {edges}: model= compares others")
            unrefined = f"expected refined bundles with refinement 'weight', got {path}, whose jets have no weights"
            expect(refinement != "weight" or other.ratio is not None, f"variations: {unrefined}")
            taken = name == NOMINAL or any(name in one.systematics for one in variations)
            where_else = "of another systematic" if taken else "twice"
            fits = not taken and name not in made
            expect(fits, f"variations: expected bundles of different names, got {name} {where_else}")
            differs = f"expected bundles that differ, got {name}, which is a copy of another one"
            if refinement == "off":
                differs += ", or the same without refinement"
            others = drawn[1:] if asked.name == "ENS" else drawn
            expect(_drawn_from(other, refinement) not in others, f"variations: {differs}")
            drawn.append(_drawn_from(other, refinement))
            made[name] = (name, where, other.card["hash"])
    return tuple(made.values())


def _drawn_from(emulator: Emulator, refinement: str) -> Any:
    """Return the hash of the bundle that draws: with refinement "off", of the one before the refinement."""
    refines = emulator.card.get("refinement", {}).get("refines") if refinement == "off" else None
    return refines or emulator.card.get("hash")
