"""IQNFolder: jagged gen jets in, jagged reco jets out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from coffea_iqn import bundle
from coffea_iqn.data import BUNDLES
from coffea_iqn.emulator.emulator import BACKENDS, Emulator
from coffea_iqn.events.checks import check_level, outside_domain, warn_missing_context, warn_partial_collection
from coffea_iqn.events.collections import INDEX, flatten_jets
from coffea_iqn.events.identity import KINDS, identity_keys
from coffea_iqn.events.names import Names
from coffea_iqn.folder.densities import Densities
from coffea_iqn.folder.folding import Folding, Whole, draw_events, vary_event, vary_jets
from coffea_iqn.folder.jagged import FoldCounts, Folded, Given, jagged
from coffea_iqn.iqn.device import check_device, one_thread
from coffea_iqn.jets.table import NOMINAL, JetTable
from coffea_iqn.numerics.arrays import Floats
from coffea_iqn.ranges import GEV, Range, check_choice, expect
from coffea_iqn.variations import EMULATOR, FOUND, JETS, MISSING, OBJECTS, RequestedVariation, parse_variations

INVALID = ("raise", "drop")
REFINEMENTS = ("draw", "weight", "off")
REPLICAS = Range(least=1, most=2**24 - 1, whole=True)
SEED = Range(whole=True)
PLAIN = {"seed": int, "replicas": int, "acceptance": bool, "any_radius": bool}  # whatever of numpy is given


@dataclass(frozen=True, repr=False)
class IQNFolder(Densities):
    """The detector as a function of jagged gen jets.

    Parameters
    ----------
    model: name of a shipped bundle, or the path of one.
    seed: of the quantile levels. Equal seeds give equal jets, whatever the chunk, executor or machine.
    acceptance: whether gen jets may be lost, with the bundle's P(reconstructed | gen jet), and reco jets that come out
        within a radius of a harder one are drawn again; False gives exactly one reco jet for every gen jet.
    unmatched: whether reco jets that match no gen jet are added, with genJetIdx −1, where the bundle has a model of
        them; None for as acceptance. They depend on all gen jets of an event: fold whole collections.
    replicas: independent draws of each event. Above 1 the result has an axis more: events × replicas × var.
    backend: what evaluates the network: "torch", the reference; "numba", which equals it to rounding and serves a
        SplineIQN; "auto" for the fastest that the bundle's network has on the device.
    device: where the network is: "cpu"; "cuda" or "cuda:N", a GPU, which draws the same jets but for rounding; "auto",
        a GPU where a process finds one. Bits are the same everywhere on the CPU alone. What surrounds the network,
        from context to unmatched jets, stays on the CPU.
    invalid: "raise", or "drop" gen jets with a number that is not finite or a pt not above zero.
    raw_pt_min: keep only reco jets above this pt [GeV], before the detector's scale: drawn from above it, and lost
        with the probability to lie below; None for the threshold of the bundle.
    names: what the files call what they know of gen jets, where it differs from `events.Names`:
        `{"flavour": "hadronFlavour"}`.
    any_radius: whether gen jets of another radius than the bundle's are folded as well; else they are an error, where
        their collection's name or their nearest neighbours tell.
    identity: "event", by run, luminosityBlock and event; "file", by the file as well, for files of one dataset that
        number their events alike, as private productions do: they would draw equal levels. Delphes events are always
        known by their file.
    refinement: of a bundle that was refined (`coffea-iqn refine`): "draw", draw from the refined law; "weight", draw as
        before the refinement, and give jets a field `weight`; "off", draw as before.
    variations: systematic variations to draw as well, at the same levels: names of `variations.VARIATIONS`,
        `["jes", "jer=0.05", "model=atlas-delphes-ak4"]`, or a mapping of them to sizes, which may be functions of pt
        [GeV] and eta.

    A folder is immutable and small to pickle: it carries the bundle's name (or absolute path) and hash, and each
    process that uses it reads the bundle once. Workers elsewhere must find the same bundle there.

    Raises
    ------
    bundle.BundleError: when the bundle does not exist or cannot be read.
    ValueError: when an option has no such value, or another bundle is of other jets.
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
        # a shipped bundle goes by its name, for a worker may have the package elsewhere
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
            others=_others(model, emulator, variations),
        )
        network, fits = emulator.network, self.raw_pt_min is None or emulator.network.exact
        expect(fits, f"raw_pt_min: expected None for {network.type}, which cannot be cut off, got {self.raw_pt_min}")
        fits = (network.autoregressive and emulator.ratio is None) or all(asked.name != "JER" for asked in variations)
        what = network.type if emulator.ratio is None else "refined draws"
        expect(fits, f"variations: expected none of JER for {what}, of which there is no median of pt alone, got one")
        fits = self.raw_pt_min is None or emulator.ratio is None or unmatched or not self.acceptance
        got = f"got {self.raw_pt_min}: how many refined jets are above it is not known"
        expect(fits, f"raw_pt_min: expected None without unmatched jets, {got}")
        fits = self.backend != "numba" or emulator.is_compiled
        expect(fits, f"backend: expected 'torch' or 'auto' for {network.type}, got 'numba'")
        fits = self.acceptance or all(asked.of != FOUND for asked in variations)
        expect(fits, "variations: expected acceptance True with eff, got False: every gen jet is found")

    @property
    def systematics(self) -> tuple[str, ...]:
        """What is drawn, the nominal jets first: "nominal", "JES_up", "JES_down", ..., and other bundles by name."""
        sides = (name for asked in self.variations for name in asked.systematics)
        return (NOMINAL, *sides, *(name for name, *_ in self.others))

    def __repr__(self) -> str:
        return f"IQNFolder({self.model!r}, {', '.join(f'{name}={value!r}' for name, value in self.settings.items())})"

    @property
    def settings(self) -> dict[str, Any]:
        """What is to be told of a fold, beside the model."""
        names = ("seed", "identity", "acceptance", "unmatched", "replicas", "device")
        renamed = {} if self.names == Names() else {"names": repr(self.names)}
        varied = {"variations": [repr(asked) for asked in self.variations]} if self.variations else {}
        refined = {} if self.refinement == "draw" else {"refinement": self.refinement}
        return {name: getattr(self, name) for name in names} | refined | varied | renamed

    def fold_flat(self, x: Floats, tau: Floats, context: Floats | None = None) -> Floats:
        """Reco jets at given quantile levels, without acceptance.

        Parameters
        ----------
        x: gen jets (N, 4): pt [GeV], eta, phi [rad], mass [GeV].
        tau: levels (N, 4) in (0, 1), in the order pt, eta, phi, mass; a column more for what is drawn beside; as of
            `Emulator.sample`.
        context: conditioning variables of the jets, (N, 68), as `context.encode` gives it; None for nothing.

        Returns
        -------
        reco jets (N, 4) float32, columns as x, and those of what is drawn beside.

        Raises
        ------
        ValueError: as of `Emulator.sample`.
        """
        x, tau = np.asanyarray(x, dtype=np.float32), np.asanyarray(tau, dtype=np.float32)  # masks stay, to be refused
        return self._one_thread(self.emulator).sample(
            x, tau, context, raw_pt_min=self.raw_pt_min, backend=self.backend, device=self.device
        )

    def __call__(self, gen: ak.Array, events: ak.Array) -> ak.Array:
        """Fold the gen jets of events.

        Parameters
        ----------
        gen: jagged gen jets, events × var, with pt, eta, phi, mass, and what the bundle knows to use beside them:
            flavour, numbers of constituents, N-subjettiness; neighbours are found here. To fold a part of a
            collection, give its jets a field `genJetIdx` first (`ak.local_index(events.GenJet.pt)`): a jet is
            known by its place before any cut.
        events: the events they belong to: run, luminosityBlock and event, or Delphes' Event.Number, name the jets.

        Returns
        -------
        reco jets, events × var, sorted by pt, of the same vector behavior as gen, with pt, eta, phi, mass,
        what else the bundle draws, and genJetIdx, the place of each one's gen jet, or −1; and matched_gen, that gen
        jet as it came in, or None. With variations there are, as of coffea's `CorrectedJetsFactory`, JES.up and
        JES.down, jets as well, in the order of the nominal ones.

        Raises
        ------
        TypeError: when gen is not a jagged array of jets, or is option-typed (masked).
        ValueError: when gen and events differ in length, jets are invalid (named with their count), reco jets by their
            collection's name, or of another radius than the bundle's, or this process finds no such device; for a
            variation of which jets there are.
        """
        return self.fold(gen, events)[0]

    def varied(self, gen: ak.Array, events: ak.Array) -> dict[str, ak.Array]:
        """As calling the folder, by systematic: the jets that an analysis takes in place of the nominal ones.

        Each has jets of its own, sorted by their own pt.
        """
        jets = flatten_jets(gen)
        made = self.fold_table(gen, events, jets=jets)
        every = {NOMINAL: made.reco, **made.varied}
        return {
            name: jagged(made._replace(reco=[table.by_pt() for table in of_replicas]), gen, jets)
            for name, of_replicas in every.items()
        }

    def fold(self, gen: ak.Array, events: ak.Array) -> tuple[ak.Array, FoldCounts]:
        """As calling the folder, with the counts of what became of the gen jets."""
        jets, other = flatten_jets(gen), next((asked for asked in self.variations if asked.of != JETS), None)
        got = f"got {other}: IQNFolder.varied has the jets of each"
        expect(other is None, f"variations: expected those of the same jets, {got}")
        made = self.fold_table(gen, events, jets=jets)
        return self.jagged(made, gen, jets), made.counts

    def jagged(self, made: Folded, gen: ak.Array, jets: JetTable) -> ak.Array:
        """What `fold_table` made of gen jets, which are flat as jets, as calling the folder gives it."""
        return jagged(made, gen, jets, self._of_jets)

    def fold_table(
        self, gen: ak.Array, events: ak.Array, *, jets: JetTable | None = None, objects: bool = False
    ) -> Folded:
        """As calling the folder, but flat, with all that is found out on the way.

        Parameters
        ----------
        gen, events: as of calling the folder.
        jets: the same gen jets as a table, `events.flatten_jets(gen)`, where the caller has it.
        objects: whether to draw whole events, as `EventFolder` does.
        """
        if not objects:
            self.check_jets_vary()
        jets = flatten_jets(gen) if jets is None else jets
        given = self.given(gen, events, jets)
        known, foldings = given.known, self._foldings(objects=objects)
        tables, of_kinds, missing, told, distances = draw_events(
            known, foldings, given.keys, self.replicas, with_distances=not self.any_radius
        )
        if len(known.jets.values):
            for model, folding in zip(
                (str(self.model), *(where for _, where, _ in self.others)), foldings, strict=True
            ):
                warn_missing_context(model, folding.emulator.variables.context, told)
            self._check_radius(gen, distances)
        tables |= vary_jets(tables[NOMINAL], self._of_jets)
        nominal = tables[NOMINAL]
        varied = {name: tables.get(name, nominal) for name in self.systematics[1:]}
        whole = self._varied(list(map(Whole, nominal, of_kinds, missing)), varied) if objects else {}
        beside = {
            "objects": of_kinds,
            "missing": missing,
            "varied_objects": {name: [one.objects for one in of_it] for name, of_it in whole.items()},
            "varied_missing": {name: [one.missing for one in of_it] for name, of_it in whole.items()},
        }
        return given.folded(nominal, distances, varied=varied, **beside)

    def _varied(self, drawn: Sequence[Whole], jets: Mapping[str, Sequence[JetTable]]) -> dict[str, list[Whole]]:
        """Whole events of each systematic, of each replica, from those drawn and the jets of each systematic."""
        scale = self.emulator.variables.scale
        return {
            name: [vary_event(one, asked, sign, of_it, scale) for one, of_it in zip(drawn, jets[name], strict=True)]
            for asked in self.variations
            for name, sign in asked.systematics.items()
        }

    def given(self, gen: ak.Array, events: ak.Array, jets: JetTable) -> Given:
        """The gen jets of events, which are flat as jets, looked at.

        Raises
        ------
        ValueError: as of calling the folder.
        """
        n, n_lists = len(events), len(jets.counts)
        expect(n == n_lists, f"gen jets: expected one list for each of the {n} events, got {n_lists}")
        check_level(gen, events, "gen")
        warn_partial_collection(gen, events, len(jets.values), "gen jets", INDEX["gen"])
        known, valid = self.known(gen, events, jets)
        n_outside = outside_domain(known.jets.values, self.card, str(self.model), "gen")
        return Given(known, valid, n_outside, identity_keys(events, self.seed, self.identity))

    def check_jets_vary(self) -> None:
        """Raise ValueError for variations that whole events alone have."""
        others = [str(asked) for asked in self.variations if asked.of in (*OBJECTS, MISSING)]
        got = f"got {', '.join(others)}, which whole events have (EventFolder, --objects)"
        expect(not others, f"variations: expected those of jets where jets alone are folded, {got}")

    @property
    def _of_jets(self) -> list[RequestedVariation]:
        """The variations of the same jets."""
        return [asked for asked in self.variations if asked.of == JETS]

    def _foldings(self, *, objects: bool = False) -> list[Folding]:
        """The nominal one, and those of other bundles."""
        # whether a gen jet was found, if only below the threshold, decides which unmatched jets it has
        raw_pt_min = None if self.unmatched else self.raw_pt_min
        made = []
        for name, model, known_hash in ((NOMINAL, self.model, self.hash), *self.others):
            loaded = bundle.load(model, expected_hash=known_hash)
            emulator = self._one_thread(self.as_drawn(loaded))
            prepared = emulator.prepared(raw_pt_min=raw_pt_min, backend=self.backend, device=self.device)
            made.append(
                Folding(
                    prepared,
                    self.acceptance,
                    bool(self.unmatched),
                    self.raw_pt_min,
                    objects,
                    name,
                    weighing=loaded if self.refinement == "weight" else None,
                )
            )
        found = tuple(asked for asked in self.variations if asked.of == FOUND)
        with_median = any(asked.name == "JER" for asked in self.variations)
        return [replace(made[0], found=found, with_median=with_median), *made[1:]]

    def _one_thread(self, emulator: Emulator) -> Emulator:
        if self.backend == "torch" or self.device != "cpu" or not emulator.is_compiled:  # else torch is not imported
            one_thread()
        return emulator


def _others(
    model: str, emulator: Emulator, variations: Iterable[RequestedVariation]
) -> tuple[tuple[str, str, str], ...]:
    """The other bundles of variations: what each is called as a systematic, where it is, and its hash."""
    made: dict[str, tuple[str, str, str]] = {}
    for asked in (asked for asked in variations if asked.of == EMULATOR):
        of = str(asked.size or model)
        for name, path in bundle.members(of).items() if asked.name == "ENS" else [(Path(of).name, of)]:
            where = path if path in BUNDLES else str(bundle.find(path))
            other = bundle.load(where)
            for what, wanted, got in (
                ("radius", emulator.radius, other.radius),
                ("unmatched jets", emulator.unmatched is not None, other.unmatched is not None),
            ):
                wrong = f"expected a bundle of {what} {wanted} as {model}, got {path} of {got}"
                expect(wanted == got, f"variations: {wrong}")
            expect(name not in made, f"variations: expected bundles of different names, got {name} twice")
            made[name] = (name, where, other.card["hash"])
    return tuple(made.values())
