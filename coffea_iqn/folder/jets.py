"""IQNFolder: jagged gen jets in, jagged reco jets out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import vector

from coffea_iqn import bundle
from coffea_iqn.data import BUNDLES
from coffea_iqn.emulator.emulator import BACKENDS, Emulator
from coffea_iqn.emulator.marginals import Marginal
from coffea_iqn.events.checks import (
    check_level,
    check_valid,
    outside_domain,
    warn_of_a_part,
    warn_of_what_lacks,
)
from coffea_iqn.events.collections import flatten_jets, gen_events
from coffea_iqn.events.identity import KINDS, identity_keys, least_keys
from coffea_iqn.events.names import Names
from coffea_iqn.events.pairs import JaggedPairs, collection_of
from coffea_iqn.folder.folding import Beside, Folding
from coffea_iqn.iqn.device import check_device
from coffea_iqn.jets import radii
from coffea_iqn.jets.context import N_COLUMNS, known_levels, nearest_distance
from coffea_iqn.jets.features import VARIABLES
from coffea_iqn.jets.table import NOMINAL, Drawn, JetTable, interleaved
from coffea_iqn.numerics.arrays import Doubles, Floats, Ints
from coffea_iqn.objects.kinds import COLUMNS, Found
from coffea_iqn.ranges import GEV, Range, check_choice
from coffea_iqn.variations import EMULATOR, FOUND, JETS, SIDES, Asked, Draw, Size, asked_of

INVALID = ("raise", "drop")


class FoldCounts(NamedTuple):
    """What became of the gen jets of a fold.

    Attributes
    ----------
    gen_jets: gen jets that came in.
    invalid: of these, dropped for a pt, eta, phi or mass that is not finite, or a pt not above zero.
    outside_domain: folded although outside the bundle's domain.
    not_accepted: not reconstructed.
    unmatched: reco jets that belong to none of them.

    With replicas, the last two are of all of them together.
    """

    gen_jets: int
    invalid: int
    outside_domain: int
    not_accepted: int
    unmatched: int


class Folded(NamedTuple):
    """What a fold gives.

    Attributes
    ----------
    gen: the gen jets that were folded: all that came in but invalid ones.
    reco: reco jets of each replica, whose rows are those of gen.
    counts: what became of the gen jets.
    distances: `radii.histogram` of the nearest neighbours of the gen jets.
    least_keys: `identity.least_keys` of the events.
    varied: by systematic, as reco; of variations of the same jets row by row those of reco, whatever their pt.
    objects: of each replica electrons, muons and photons by the name of their kind, of whole events alone; their rows
        and places are those of prompt particles in their events, or −1.
    missing: of each replica pt [GeV] and phi [rad] of the missing momentum, (events, 2), likewise.
    """

    gen: JetTable
    reco: list[JetTable]
    counts: FoldCounts
    distances: Ints
    least_keys: list[int]
    varied: dict[str, list[JetTable]]
    objects: list[dict[str, JetTable]]
    missing: list[Doubles]


REPLICAS = Range(least=1, most=2**24 - 1, whole=True)
SEED = Range(whole=True)
BLOCK = 16384  # events folded at a time: memory that is used again costs less than fresh pages


@dataclass(frozen=True, init=False, repr=False)
class IQNFolder:
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

    model: str
    seed: int
    acceptance: bool
    unmatched: bool
    replicas: int
    backend: str
    device: str
    invalid: str
    raw_pt_min: float | None
    names: Names
    any_radius: bool
    identity: str
    hash: str
    variations: tuple[Asked, ...]
    others: tuple[tuple[str, str, str], ...]

    def __init__(
        self,
        model: str | Path,
        *,
        seed: int = 0,
        acceptance: bool = True,
        unmatched: bool | None = None,
        replicas: int = 1,
        backend: str = "auto",
        device: str = "cpu",
        invalid: str = "raise",
        raw_pt_min: float | None = None,
        names: Mapping[str, str] | None = None,
        any_radius: bool = False,
        identity: str = "event",
        variations: Iterable[str | Asked] | Mapping[str, Size] = (),
    ) -> None:
        check_choice(BACKENDS, backend=backend)
        check_choice(INVALID, invalid=invalid)
        check_choice(KINDS, identity=identity)
        SEED.check(seed=seed)
        REPLICAS.check(replicas=replicas)
        GEV.check(raw_pt_min=raw_pt_min)
        check_device(device)
        if backend == "numba" and device != "cpu":
            msg = f"device: expected cpu for backend 'numba', got {device!r}"
            raise ValueError(msg)
        # a shipped bundle goes by its name, for a worker may have the package elsewhere
        model = str(model) if str(model) in BUNDLES else str(bundle.find(model))
        emulator = bundle.load(model)
        values = {
            "model": model,
            "seed": int(seed),
            "acceptance": bool(acceptance),
            "unmatched": bool(acceptance if unmatched is None else unmatched) and emulator.unmatched is not None,
            "replicas": int(replicas),
            "backend": backend,
            "device": device,
            "invalid": invalid,
            "raw_pt_min": raw_pt_min,
            "names": Names.of(names),
            "any_radius": bool(any_radius),
            "identity": identity,
            "hash": emulator.card["hash"],
            "variations": asked_of(variations),
        }
        values["others"] = _others(model, emulator, values["variations"])
        network = emulator.network
        if raw_pt_min is not None and not network.exact:
            msg = f"raw_pt_min: expected None for {network.type}, whose quantiles may cross, got {raw_pt_min}"
            raise ValueError(msg)
        if backend == "numba" and not emulator.is_compiled:
            msg = f"backend: expected 'torch' or 'auto' for {network.type}, got 'numba'"
            raise ValueError(msg)
        for name, value in values.items():
            object.__setattr__(self, name, value)
        if not self.acceptance and any(asked.of == FOUND for asked in self.variations):
            msg = "variations: expected acceptance True with eff, got False: every gen jet is found"
            raise ValueError(msg)

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
        varied = {"variations": [repr(asked) for asked in self.variations]} if self.variations else {}
        return {name: getattr(self, name) for name in names} | varied

    @property
    def emulator(self) -> Emulator:
        """The emulator of this folder's bundle, read once a process."""
        return bundle.load(self.model, expected_hash=self.hash)

    @property
    def card(self) -> dict[str, Any]:
        """The bundle's card: jets, domain, training, closure, hash."""
        return self.emulator.card

    def fold_flat(self, x: Floats, tau: Floats, context: Floats | None = None) -> Floats:
        """Reco jets at given quantile levels, without acceptance.

        Parameters
        ----------
        x: gen jets (N, 4): pt [GeV], eta, phi [rad], mass [GeV].
        tau: levels (N, 4) in (0, 1), in the order pt, eta, phi, mass; a column more for what is drawn beside.
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
            name: _jagged(made._replace(reco=[table.by_pt() for table in of_replicas]), gen, jets)
            for name, of_replicas in every.items()
        }

    def fold(self, gen: ak.Array, events: ak.Array) -> tuple[ak.Array, FoldCounts]:
        """As calling the folder, with the counts of what became of the gen jets."""
        jets = flatten_jets(gen)
        others = [asked for asked in self.variations if asked.of != JETS]
        if others:
            msg = f"variations: expected those of the same jets, got {others[0]}: IQNFolder.varied has the jets of each"
            raise ValueError(msg)
        made = self.fold_table(gen, events, jets=jets)
        return self.jagged(made, gen, jets), made.counts

    def jagged(self, made: Folded, gen: ak.Array, jets: JetTable) -> ak.Array:
        """What `fold_table` made of gen jets, which are flat as jets, as calling the folder gives it."""
        return _jagged(made, gen, jets, self._of_jets)

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
        jets = flatten_jets(gen) if jets is None else jets
        if len(jets.counts) != len(events):
            msg = f"gen jets: expected one list for each of the {len(events)} events, got {len(jets.counts)}"
            raise ValueError(msg)
        check_level(gen, events, "gen")
        warn_of_a_part(gen, events, len(jets.values), "gen jets")
        valid = check_valid(jets, "gen jets", drop=self.invalid == "drop")
        known = gen_events(gen, events, jets, valid, self.names, radius=self._radius)
        n_outside = outside_domain(known.jets.values, self.card, self.model, "gen")
        keys = identity_keys(events, self.seed, self.identity)
        foldings = self._foldings(objects=objects)
        takes_context = objects or any(folding.emulator.emulator.variables.context for folding in foldings)
        drawn: dict[str, list[list[Drawn]]] = {}
        beside: list[list[Beside]] = [[] for _ in range(self.replicas)]
        told: set[str] = set()
        distances = np.zeros(radii.N_BINS, dtype=np.int64)
        blocks = list(known.blocks(BLOCK))
        buffer = np.empty((max(len(part.jets.values) for _, part in blocks), N_COLUMNS), dtype=np.float32)
        first_row = 0
        for block, part in blocks:
            context = part.context(buffer) if takes_context else None
            told |= set(() if context is None else known_levels(context, part.levels))
            if not self.any_radius and (context is not None or block.start == 0):
                distances += radii.histogram(nearest_distance(part.context(buffer) if context is None else context))
            for replica, folding in product(range(self.replicas), foldings):
                of_jets, others = folding.draw(part, context, keys[block], replica)
                if others is not None:
                    moved = others.found._replace(event=others.found.event + block.start)
                    beside[replica].append(others._replace(found=moved))
                for name, found in of_jets.items():
                    row = np.where(found.row >= 0, found.row + first_row, -1)
                    of_replicas = drawn.setdefault(name, [[] for _ in range(self.replicas)])
                    of_replicas[replica].append(found._replace(event=found.event + block.start, row=row))
            first_row += len(part.jets.values)
        if len(known.jets.values):
            for model, folding in zip((self.model, *(where for _, where, _ in self.others)), foldings, strict=True):
                warn_of_what_lacks(model, folding.emulator.emulator.variables.context, told)
            self._check_radius(gen, distances)
        columns = {folding.name: folding.emulator.emulator.variables.names for folding in foldings}
        tables = {
            name: [
                Drawn.joined(made).table(len(jets.counts), columns.get(name, columns[NOMINAL])) for made in drawn[name]
            ]
            for name in drawn
        }
        tables |= self._vary_jets(tables[NOMINAL])
        reco = tables[NOMINAL]
        n_made = sum(len(table.place) for table in reco)
        n_matched = sum(int((table.place >= 0).sum()) for table in reco)
        n_lost = self.replicas * len(known.jets.values) - n_matched
        counts = FoldCounts(len(valid), int((~valid).sum()), n_outside, n_lost, n_made - n_matched)
        varied = {name: tables[name] for name in self.systematics[1:]}
        of_kinds, missing = [], []
        for made in beside if objects else []:
            every = Found.joined([one.found for one in made]).drawn()
            of_kinds.append({name: one.table(len(jets.counts), COLUMNS) for name, one in every.items()})
            missing.append(np.concatenate([one.missing for one in made]))
        return Folded(known.jets, reco, counts, distances, least_keys(keys), varied, of_kinds, missing)

    def _vary_jets(self, drawn: list[JetTable]) -> dict[str, list[JetTable]]:
        """The nominal jets, without the column of the median where there is one, and variations of them."""
        made: dict[str, list[JetTable]] = {NOMINAL: []}
        for table in drawn:
            n = len(table.columns)
            median = table.values[:, n].astype(np.float64) if table.values.shape[1] > n else None
            values = table.values if median is None else np.ascontiguousarray(table.values[:, :n])
            made[NOMINAL].append(table._replace(values=values))
            for asked in self._of_jets:
                for name, sign in asked.systematics.items():
                    changed = asked.change(Draw(values, median), values, sign)
                    made.setdefault(name, []).append(table._replace(values=changed))
        return made

    @property
    def _of_jets(self) -> list[Asked]:
        """The variations of the same jets."""
        return [asked for asked in self.variations if asked.of == JETS]

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
        """Log p(reco jet | gen jet) of pairs, events × var, in 1/GeV² (and 1/rad), as of `Emulator.log_density`.

        Parameters
        ----------
        gen, reco: gen jets and the reco jet of each, in lists of the same lengths: `reco.matched_gen, reco` of what a
            folder makes. Where either is None the result is.
        events: what they belong to, with all gen jets, for what is known of a gen jet depends on the others.
        variable: "pt", "eta", "phi" or "mass", for the density of that alone, whatever the others are, as of
            `Emulator.marginal`; None for that of all four.
        points: as of `Emulator.marginal`.
        acceptance: as of `Emulator.log_density`.

        It is the law of a gen jet by itself, above the folder's raw_pt_min: nothing of jets drawn again because a
        harder one is near, nor of unmatched jets.

        Raises
        ------
        TypeError, ValueError: for what are no such pairs, no jets, or gen jets that are not as the events have them.
        NotImplementedError: as of `Emulator.log_density`.
        """
        pairs, of_gen = self._pairs(gen, reco, events, "reco jets")
        known: dict[str, Any] = {"acceptance": acceptance}
        if variable is None:
            of_pairs = self.emulator.log_density(of_gen[0], pairs.other, of_gen[1], raw_pt_min=self.raw_pt_min, **known)
        else:
            of_one, column = self._marginal(variable, points)
            of_pairs = of_one.log_density(of_gen[0], pairs.other[:, column], of_gen[1], **known)
        return pairs.jagged(of_pairs)

    def cdf(
        self, gen: ak.Array, reco: ak.Array, events: ak.Array, *, variable: str | None = None, points: int | None = None
    ) -> ak.Array:
        """The quantile levels of reco jets, records with pt, eta, phi and mass, as of `Emulator.cdf`.

        With a variable numbers, P(variable ≤ that of the reco jet | gen jet). Arguments and errors as of `log_density`.
        """
        pairs, of_gen = self._pairs(gen, reco, events, "reco jets")
        if variable is None:
            return pairs.jagged(self.emulator.cdf(of_gen[0], pairs.other, of_gen[1], raw_pt_min=self.raw_pt_min))
        of_one, column = self._marginal(variable, points)
        return pairs.jagged(of_one.cdf(of_gen[0], pairs.other[:, column], of_gen[1]))

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
        """The inverse of `cdf` at levels tau in (0, 1).

        Parameters
        ----------
        gen, events, points: as of `log_density`.
        tau: records with pt, eta, phi and mass, as `cdf` gives them, or, with a variable, numbers, events × var.
        reco: without a variable the reco jets, for each quantile is given the variables before it, as of
            `Emulator.quantile`.
        variable: as of `log_density`.

        Returns
        -------
        records with pt [GeV], eta, phi [rad] and mass [GeV], or numbers.
        """
        pairs, of_gen = self._pairs(gen, tau, events, "tau")
        if variable is not None:
            of_one, _ = self._marginal(variable, points)
            return pairs.jagged(of_one.quantile(of_gen[0], pairs.other, of_gen[1]))
        if reco is None:
            msg = "quantile: expected reco jets, or a variable, got neither"
            raise ValueError(msg)
        given = JaggedPairs.of(gen, reco, other_is="reco jets")
        if (given.there != pairs.there).any():
            msg = "quantile: expected None for the same of tau and reco jets, got it for others"
            raise ValueError(msg)
        quantiles = self.emulator.quantile(of_gen[0], pairs.other, given.other, of_gen[1], raw_pt_min=self.raw_pt_min)
        return pairs.jagged(quantiles)

    def _pairs(
        self, gen: ak.Array, other: ak.Array, events: ak.Array, other_is: str
    ) -> tuple[JaggedPairs, tuple[Floats, Floats | None]]:
        """Pairs in a row, and of each the gen jet, (N, 4), and its context, (N, 68), as in a fold of all gen jets."""
        pairs = JaggedPairs.of(gen, other, other_is=other_is)
        whole = collection_of(gen, events)
        jets = flatten_jets(whole)
        valid = check_valid(jets, "gen jets", drop=self.invalid == "drop")
        known = gen_events(whole, events, jets, valid, self.names, radius=self._radius)
        rows = pairs.rows(known.jets)
        context = known.context()
        if len(rows):
            warn_of_what_lacks(self.model, self.emulator.variables.context, known_levels(context, known.levels))
            self._check_radius(whole, radii.histogram(nearest_distance(context)))
            outside_domain(known.jets.values[rows], self.card, self.model, "gen")
        takes_context = bool(self.emulator.variables.context)
        return pairs, (known.jets.values[rows], context[rows] if takes_context else None)

    def _marginal(self, variable: str, points: int | None) -> tuple[Marginal, int]:
        """The law of one variable, and its column."""
        made = self.emulator.marginal(variable, points=points, raw_pt_min=self.raw_pt_min)
        return made, VARIABLES.index(variable)

    @property
    def _radius(self) -> float | None:
        return _radius_of(self.emulator)

    def _foldings(self, *, objects: bool = False) -> list[Folding]:
        """The nominal one, and those of other bundles."""
        # whether a gen jet was found, if only below the threshold, decides which unmatched jets it has
        raw_pt_min = None if self.unmatched else self.raw_pt_min
        made = []
        for name, model, known_hash in ((NOMINAL, self.model, self.hash), *self.others):
            emulator = self._one_thread(bundle.load(model, expected_hash=known_hash))
            prepared = emulator.prepared(raw_pt_min=raw_pt_min, backend=self.backend, device=self.device)
            made.append(
                Folding(prepared, self.acceptance, self.unmatched, self.raw_pt_min, self._radius, objects, name)
            )
        found = tuple(asked for asked in self.variations if asked.of == FOUND)
        with_median = any(asked.name == "JER" for asked in self.variations)
        return [replace(made[0], found=found, with_median=with_median), *made[1:]]

    def _check_radius(self, gen: ak.Array, distances: Ints) -> None:
        """Refuse jets of another radius than the bundle's, where there is one and they tell."""
        radius = self._radius
        if self.any_radius or radius is None:
            return
        width = radii.of_widths(ak.to_numpy(ak.flatten(gen["DeltaPhi"]))) if "DeltaPhi" in gen.fields else None
        collection = gen.layout.purelist_parameter("collection_name")
        radii.check(radius, distances, bundle.shipped_radii(), collection=collection, width=width)

    def _one_thread(self, emulator: Emulator) -> Emulator:
        if self.backend == "torch" or self.device != "cpu" or not emulator.is_compiled:  # else torch is not imported
            import torch

            # workers are many: torch must not start a thread per core in each of them
            if torch.get_num_threads() != 1:
                torch.set_num_threads(1)
        return emulator


def _jagged(folded: Folded, gen: ak.Array, jets: JetTable, of_jets: Iterable[Asked] = ()) -> ak.Array:
    """Reco jets as awkward has them, with the vector behavior of the gen jets, which came as gen, and flat as jets."""
    k, n_events = len(folded.reco), len(jets.counts)
    reco = interleaved(folded.reco)
    assert reco.row is not None
    if isinstance(gen, vector.Lorentz):
        with_name, behavior = gen.layout.purelist_parameter("__record__"), gen.behavior
    else:
        with_name, behavior = vectors()
    row = reco.row
    if folded.gen is not jets:  # without those that were not valid
        row = np.where(row >= 0, np.flatnonzero(jets.valid()).take(row), -1)
    # an index and the gen jets as they are: nothing is copied, and a reco jet keeps its own wherever it goes
    of_gen = ak.contents.IndexedOptionArray.simplified(ak.index.Index64(row), ak.flatten(gen, axis=1).layout)

    def record(values: Floats, more: Mapping[str, Any]) -> ak.contents.RecordArray:
        fields = dict(zip(reco.columns, np.ascontiguousarray(values.T), strict=True)) | {"genJetIdx": reco.place}
        contents = {name: ak.contents.NumpyArray(field) for name, field in fields.items()}
        contents |= {"matched_gen": of_gen, **more}
        return ak.contents.RecordArray(
            [*contents.values()], [*contents], length=len(row), parameters={"__record__": with_name}
        )

    varied = {}
    for asked in of_jets:
        sides = [record(interleaved(folded.varied[name]).values, {}) for name in asked.systematics]
        as_coffea = {"__record__": "JetSystematic"}  # of CorrectedJetsFactory
        varied[asked.name] = ak.contents.RecordArray(sides, [*SIDES], length=len(row), parameters=as_coffea)
    made = ak.unflatten(ak.Array(record(reco.values, varied), behavior=behavior), reco.counts)
    return made if k == 1 else ak.unflatten(made, np.full(n_events, k))


def vectors() -> tuple[str, Any]:
    """Name and behavior of vectors for jets that are none: coffea's, or without it those of vector itself."""
    try:
        from coffea.nanoevents.methods.vector import behavior
    except ImportError:
        from vector.backends.awkward import behavior

        return "Momentum4D", behavior
    return "PtEtaPhiMLorentzVector", behavior


def _radius_of(emulator: Emulator) -> float | None:
    """Of a bundle's jets; None where it does not say."""
    radius: float | None = emulator.card.get("jets", {}).get("radius")
    return radius


def _others(model: str, emulator: Emulator, variations: Iterable[Asked]) -> tuple[tuple[str, str, str], ...]:
    """The other bundles of variations: what each is called as a systematic, where it is, and its hash."""
    made = []
    for asked in variations:
        if asked.of != EMULATOR:
            continue
        of = str(asked.size or model)
        for name, path in bundle.members(of).items() if asked.name == "ENS" else [(Path(of).name, of)]:
            where = path if path in BUNDLES else str(bundle.find(path))
            other = bundle.load(where)
            for what, wanted, got in (
                ("radius", _radius_of(emulator), _radius_of(other)),
                ("unmatched jets", emulator.unmatched is not None, other.unmatched is not None),
            ):
                if wanted != got:
                    msg = f"variations: expected a bundle of {what} {wanted} as {model}, got {path} of {got}"
                    raise ValueError(msg)
            made.append((name, where, other.card["hash"]))
    names = [name for name, *_ in made]
    for name in names:
        if names.count(name) > 1:
            msg = f"variations: expected bundles of different names, got {name} twice"
            raise ValueError(msg)
    return tuple(made)
