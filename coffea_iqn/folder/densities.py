"""Densities, quantile levels and quantiles of reco jets in jagged pairs, without drawing."""

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
from coffea_iqn.jets.context import known_levels
from coffea_iqn.jets.features import VARIABLES
from coffea_iqn.jets.table import JetTable
from coffea_iqn.numerics.arrays import Bools, Floats, Ints
from coffea_iqn.ranges import expect


class Densities:
    """The part of `IQNFolder` that evaluates p(reco jet | gen jet) for given pairs; attributes as in `IQNFolder`."""

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
        """The emulator of this folder's bundle, read once per process; unrefined unless refinement is "draw"."""
        return self.as_drawn(bundle.load(self.model, expected_hash=self.hash))

    def as_drawn(self, emulator: Emulator) -> Emulator:
        """Return the emulator that this folder draws from: unrefined unless refinement is "draw"."""
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

    def _law(self, name: str, variable: str | None, points: int | None) -> tuple[Callable[..., Any], Any]:
        """Return a function of the emulator, or of the law of one variable, and the columns of reco jets it takes."""
        if variable is None:
            return partial(getattr(self.emulator, name), raw_pt_min=self.raw_pt_min), ...
        law = self.emulator.marginal(variable, points=points, raw_pt_min=self.raw_pt_min)
        return getattr(law, name), (slice(None), VARIABLES.index(variable))

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
