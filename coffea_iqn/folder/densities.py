"""What a folder's bundle says of jagged pairs without drawing: densities, levels and quantiles of reco jets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import awkward as ak

from coffea_iqn import bundle
from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.events.checks import check_valid, outside_domain, warn_missing_context
from coffea_iqn.events.collections import GenEvents, flatten_jets, gen_events
from coffea_iqn.events.pairs import JaggedPairs, collection_of
from coffea_iqn.jets import radii
from coffea_iqn.jets.context import known_levels, nearest_distance
from coffea_iqn.jets.features import VARIABLES
from coffea_iqn.jets.table import JetTable
from coffea_iqn.numerics.arrays import Bools, Floats, Ints
from coffea_iqn.ranges import expect


class Densities:
    """A bundle, and what is asked of it of pairs of a gen jet and a reco jet; attributes as of `IQNFolder`."""

    model: str | Path
    hash: str
    invalid: str
    raw_pt_min: float | None
    names: Any
    any_radius: bool
    refinement: str
    others: tuple[tuple[str, str, str], ...]

    @property
    def emulator(self) -> Emulator:
        """The emulator of this folder's bundle, read once a process; unrefined but where draws are refined."""
        return self.as_drawn(bundle.load(self.model, expected_hash=self.hash))

    def as_drawn(self, emulator: Emulator) -> Emulator:
        """An emulator as it draws."""
        return emulator if self.refinement == "draw" else emulator.unrefined

    @property
    def card(self) -> dict[str, Any]:
        """The bundle's card: jets, domain, training, hash."""
        return self.emulator.card

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
        pairs, (x, known) = self._pairs(gen, reco, events, "reco jets")
        law, columns = self._law("log_density", variable, points)
        return pairs.jagged(law(x, pairs.other[columns], known, acceptance=acceptance))

    def cdf(
        self, gen: ak.Array, reco: ak.Array, events: ak.Array, *, variable: str | None = None, points: int | None = None
    ) -> ak.Array:
        """The quantile levels of reco jets, records with pt, eta, phi and mass, as of `Emulator.cdf`.

        With a variable numbers, P(variable ≤ that of the reco jet | gen jet). Arguments and errors as of `log_density`.
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
        pairs, (x, known) = self._pairs(gen, tau, events, "tau")
        law, _ = self._law("quantile", variable, points)
        if variable is not None:
            return pairs.jagged(law(x, pairs.other, known))
        expect(reco is not None, "quantile: expected reco jets, or a variable, got neither")
        given = JaggedPairs.of(gen, reco, other_is="reco jets")
        both = (given.there == pairs.there).all()
        expect(both, "quantile: expected None for the same of tau and reco jets, got it for others")
        return pairs.jagged(law(x, pairs.other, given.other, known))

    def _pairs(
        self, gen: ak.Array, other: ak.Array, events: ak.Array, other_is: str
    ) -> tuple[JaggedPairs, tuple[Floats, Floats | None]]:
        """Pairs in a row, and of each the gen jet, (N, 4), and its context, (N, 68), as in a fold of all gen jets."""
        pairs = JaggedPairs.of(gen, other, other_is=other_is)
        whole = collection_of(gen, events)
        known, _ = self.known(whole, events, flatten_jets(whole))
        rows = pairs.rows(known.jets)
        context = known.context()
        if len(rows):
            warn_missing_context(str(self.model), self.emulator.variables.context, known_levels(context, known.levels))
            self.distances(whole, context)
            outside_domain(known.jets.values[rows], self.card, str(self.model), "gen")
        takes_context = bool(self.emulator.variables.context)
        return pairs, (known.jets.values[rows], context[rows] if takes_context else None)

    def known(self, gen: ak.Array, events: ak.Array, jets: JetTable) -> tuple[GenEvents, Bools]:
        """The gen jets that are fit to be folded, with what is known of them, and which these are.

        Parameters
        ----------
        gen, events: jagged gen jets, and what they belong to.
        jets: the gen jets from `flatten_jets`.

        Raises
        ------
        ValueError: for jets that are not fit, unless they are to be dropped.
        """
        valid = check_valid(jets, "gen jets", drop=self.invalid == "drop")
        # N-subjettiness made of particles takes longer than all else: where no network takes it, it is left out
        wanted = self.others or "substructure" in self.emulator.variables.context
        return gen_events(gen, events, jets, valid, self.names, radius=self.emulator.radius if wanted else None), valid

    def _law(self, name: str, variable: str | None, points: int | None) -> tuple[Callable[..., Any], Any]:
        """A function of the emulator, or of the law of one variable, and the columns of reco jets that it takes."""
        if variable is None:
            return partial(getattr(self.emulator, name), raw_pt_min=self.raw_pt_min), ...
        law = self.emulator.marginal(variable, points=points, raw_pt_min=self.raw_pt_min)
        return getattr(law, name), (slice(None), VARIABLES.index(variable))

    def distances(self, gen: ak.Array, context: Floats) -> Ints:
        """`radii.histogram` of the nearest neighbours of gen jets, which have to be of the bundle's radius."""
        distances = radii.histogram(nearest_distance(context))
        self._check_radius(gen, distances)
        return distances

    def _check_radius(self, gen: ak.Array, distances: Ints) -> None:
        """Refuse jets of another radius than the bundle's, where there is one and they tell."""
        radius = self.emulator.radius
        if self.any_radius or radius is None:
            return
        width = radii.of_widths(ak.to_numpy(ak.flatten(gen["DeltaPhi"]))) if "DeltaPhi" in gen.fields else None
        collection = gen.layout.purelist_parameter("collection_name")
        radii.check(radius, distances, bundle.shipped_radii(), collection=collection, width=width)
