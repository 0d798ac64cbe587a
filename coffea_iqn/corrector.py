"""IQNCorrector: corrects jagged reco jets with a bundle's p(gen | reco), to the median gen jet, a mean, or a draw."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import numpy as np

from coffea_iqn import bundle
from coffea_iqn.data import CORRECTIONS
from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.events.checks import (
    check_level,
    check_valid,
    outside_domain,
    warn_equal_events,
    warn_partial_collection,
    warn_unchecked_collection,
)
from coffea_iqn.events.collections import INDEX, GenEvents, flatten_jets
from coffea_iqn.events.identity import KINDS, identity_keys, least_keys
from coffea_iqn.folder.jagged import vectors
from coffea_iqn.jets import radii
from coffea_iqn.jets.features import PHI, VARIABLES, wrap_phi
from coffea_iqn.jets.table import JetTable
from coffea_iqn.numerics.arrays import Doubles, Floats, Singles
from coffea_iqn.numerics.lattice import lattice
from coffea_iqn.numerics.uniforms import STREAM_CORRECT, Words, levels
from coffea_iqn.ranges import FRACTION, SEED, Range, check_choice, expect

POINTS = Range(least=5, most=10_000, whole=True)
CENTRAL = (0.1587, 0.8413)  # levels that enclose 68 %
BLOCK = 2048  # jets at a time, each with many lattice points


class Corrected(NamedTuple):
    """Corrected jets as flat arrays.

    Attributes
    ----------
    values: pt [GeV], eta, phi [rad], mass [GeV] after the correction, (N, 4) float32.
    uncertainty: half the width of the central 68 % interval of each variable, (N, 4) float32.
    purity: P(there is a gen jet | reco jet), (N,) float32.
    """

    values: Singles
    uncertainty: Singles
    purity: Singles

    def columns(self) -> dict[str, Singles]:
        """Return all columns by name: pt, eta, phi, mass, pt_unc, eta_unc, phi_unc, mass_unc and purity, (N,) each."""
        found = dict(zip(VARIABLES, self.values.T, strict=True))
        found |= {f"{name}_unc": column for name, column in zip(VARIABLES, self.uncertainty.T, strict=True)}
        return found | {"purity": self.purity}


@dataclass(frozen=True)
class IQNCorrector:
    """Correct jagged reco jets to gen jets with the conditional distribution p(gen | reco) of a bundle.

    Parameters
    ----------
    model: name of a shipped correction bundle, or path of one (`coffea-iqn train --direction correct`).
    seed: seed of the levels of `draw`.
    points: number of lattice points for medians, means and quantiles of each variable. With 101, medians of eta, phi
        and mass are about 0.03 of their uncertainty from those with thousands of points; that of pt is exact. The
        levels of quantiles go from 0.5 / points to 1 − 0.5 / points.
    identity: see `IQNFolder`; used by `draw`.
    any_radius: whether to correct jets of another radius than the bundle's, too.

    p(gen | reco) ∝ p(reco | gen) p(gen) depends on the gen spectrum, here that of the training files. The bias for a
    sample with another spectrum is measured in `docs/correction.md`; `Emulator.most_likely` uses p(reco | gen) alone.

    Jets keep their order and number. A jet without a gen jet (noise, pile-up) is corrected as if it had one: `purity`
    is the probability that it has one.

    Raises
    ------
    bundle.BundleError: if the bundle does not exist, cannot be read, or folds.
    ValueError: if an option has an invalid value; if jets are gen jets by the name of their collection, have another
        radius than the bundle, or are not finite.
    """

    model: str | Path
    seed: int = 0
    points: int = 101
    identity: str = "event"
    any_radius: bool = False

    def __post_init__(self) -> None:
        SEED.check(seed=self.seed)
        POINTS.check(points=self.points)
        check_choice(KINDS, identity=self.identity)
        if str(self.model) not in CORRECTIONS:  # shipped ones keep their names: a worker may have them elsewhere
            object.__setattr__(self, "model", str(bundle.find(self.model)))
        object.__setattr__(self, "hash", self.emulator.card["hash"])

    @property
    def emulator(self) -> Emulator:
        """The emulator of p(gen | reco), read once per process."""
        return bundle.load(self.model, expected_hash=getattr(self, "hash", None), direction="correct")

    @property
    def card(self) -> dict[str, Any]:
        """The bundle's card: jets, domain, training, hash."""
        return self.emulator.card

    def __call__(self, jets: ak.Array, events: ak.Array | None = None) -> ak.Array:
        """Correct jets to the median of p(gen | reco), for each variable separately.

        Parameters
        ----------
        jets: jagged reco jets, events × var, all jets of each event, since their neighbours are among them; a subset
            needs a field jetIdx with the index of each jet in its event.
        events: events of the jets, to check that these are all; only `draw` requires them.

        Returns
        -------
        jets with pt, eta, phi, mass, their uncertainties pt_unc, eta_unc, phi_unc, mass_unc (half the central 68 %),
        and purity, as Lorentz vectors.
        """
        return self.quantile(0.5, jets, events)

    def quantile(self, tau: float, jets: ak.Array, events: ak.Array | None = None) -> ak.Array:
        """Correct jets to the quantile at level tau of each variable separately; otherwise same as `__call__`.

        Raises
        ------
        ValueError: also for a level beyond those that the lattice reaches, see `points`.
        """
        FRACTION.check(tau=tau)
        table = self._table(jets, events)
        return _jagged(table, self.correct_table(table, tau=tau).columns())

    def mean(self, jets: ak.Array, events: ak.Array | None = None) -> ak.Array:
        """Correct jets to the mean of each variable; otherwise same as `__call__`."""
        table = self._table(jets, events)
        return _jagged(table, self.correct_table(table, tau=None).columns())

    def draw(self, jets: ak.Array, events: ak.Array) -> ak.Array:
        """Draw a gen jet for each reco jet, at levels that depend only on seed, event and index of the jet.

        Arguments and result are those of `__call__`, without uncertainties; the events are required.
        """
        expect(events is not None, "events: expected those of the jets, whose identity the draws depend on, got None")
        table = self._table(jets, events)
        context, keys = self.known(table)[0], identity_keys(events, self.seed, self.identity)
        drawn = self.draw_known(table, context, keys)
        warn_equal_events(*least_keys(keys), jets)
        return _jagged(table, drawn)

    def draw_table(self, jets: JetTable, events: ak.Array) -> dict[str, Singles]:
        """Same as `draw` for flat jets: returns pt, eta, phi, mass and purity by name, (N,) each."""
        return self.draw_known(jets, self.known(jets)[0], identity_keys(events, self.seed, self.identity))

    def draw_known(self, jets: JetTable, context: Singles, keys: Words) -> dict[str, Singles]:
        """Same as `draw_table` for jets checked by `known`, with the context from there, and the keys of the events."""
        of_jets, n = keys.take(jets.event, axis=0), self.emulator.network.n_levels
        tau = levels(of_jets, jets.place, stream=STREAM_CORRECT, n=n)
        drawn, purity = self.emulator.respond(jets.values, tau, context)
        return dict(zip(VARIABLES, drawn.T, strict=True)) | {"purity": purity}

    def correct_table(self, jets: JetTable, *, tau: float | None = 0.5) -> Corrected:
        """Same as `__call__` for flat jets.

        Parameters
        ----------
        jets: all reco jets of each event.
        tau: level of the quantiles; None for means.
        """
        return self.correct_flat(jets.values, self.known(jets)[0], tau=tau)

    def correct_flat(self, x: Floats, context: Floats | None = None, *, tau: float | None = 0.5) -> Corrected:
        """Correct reco jets given as arrays, without their events.

        Parameters
        ----------
        x: reco jets (N, 4): pt [GeV], eta, phi [rad], mass [GeV].
        context: their `context.conditioning_variables`, (N, 68); None if unknown.
        tau: level of the quantiles; None for means.

        Raises
        ------
        ValueError: see `Emulator.sample`; for a level beyond those that the lattice reaches.
        """
        edge = 0.5 / self.points
        reached = tau is None or edge <= tau <= 1.0 - edge
        where = f"{edge:.3g} to {1.0 - edge:.6g}, which {self.points} points reach"
        expect(reached, f"tau: expected a level from {where}, got {tau}: more points reach further")
        x = np.asanyarray(x, dtype=np.float32)
        purity = self.emulator.efficiency(x, context)  # which checks the jets, too
        values, uncertainty = np.empty_like(x), np.empty_like(x)
        for rows, shifts in self._shifts(x, context):
            # "hazen" since lattice points have equal weights
            low, high, middle = np.quantile(shifts, [*CENTRAL, 0.5 if tau is None else tau], axis=1, method="hazen")
            values[rows] = x[rows] + (shifts.mean(axis=1) if tau is None else middle)
            uncertainty[rows] = 0.5 * (high - low)
        values[:, PHI] = wrap_phi(values[:, PHI])
        return Corrected(values, uncertainty, purity)

    def _shifts(self, jets: Singles, context: Floats | None) -> Iterator[tuple[slice, Doubles]]:
        """Yield the rows of each block of jets, and gen minus reco jets at all lattice points, (n, points, 4)."""
        emulator = self.emulator
        tau, sample = lattice(self.points, emulator.network.n_levels).astype(np.float32), emulator.prepared().sample
        for start in range(0, len(jets), BLOCK):
            rows = slice(start, min(start + BLOCK, len(jets)))
            n = rows.stop - start
            many = np.repeat(jets[rows], self.points, axis=0)
            known = None if context is None else np.repeat(context[rows], self.points, axis=0)
            shifts = (sample(many, np.tile(tau, (n, 1)), known) - many).astype(np.float64)
            shifts[:, PHI] = wrap_phi(shifts[:, PHI])
            yield rows, shifts.reshape(n, self.points, len(VARIABLES))

    def check_collection(self, jets: ak.Array, events: ak.Array | None) -> None:
        """Refuse gen jets and, unless any_radius, jets of another radius, judging by the name of their collection.

        Raises
        ------
        ValueError: for such jets, and for those that a corrector returned.
        """
        check_level(jets, events, "reco")
        got = "got corrected ones, by their field purity: drop it, if they are not"
        expect("purity" not in jets.fields, f"reco jets: expected uncorrected ones, {got}")
        if not self.any_radius:
            name, shipped = jets.layout.purelist_parameter("collection_name"), bundle.shipped_radii("correct")
            radii.check(self.card["jets"]["radius"], None, shipped, collection=name, what="reco jets")

    def _table(self, jets: ak.Array, events: ak.Array | None) -> JetTable:
        self.check_collection(jets, events)
        table = flatten_jets(jets, "reco")
        if events is not None:
            fits = len(events) == len(table.counts)
            expect(fits, f"reco jets: expected one list for each of the {len(events)} events, got {len(table.counts)}")
            warn_partial_collection(jets, events, len(table.values), "reco jets", INDEX["reco"])
        else:
            warn_unchecked_collection(jets, "reco jets", INDEX["reco"])
        return table

    def known(self, jets: JetTable) -> tuple[Singles, int]:
        """Check reco jets; return their conditioning variables, (N, 68), and how many are outside the domain."""
        check_valid(jets, "reco jets")
        n_outside = outside_domain(jets.values, self.card, str(self.model), "reco")
        context = GenEvents(jets).context()
        if not self.any_radius:
            distances = radii.neighbours(context)
            shipped = bundle.shipped_radii("correct")
            radii.check(self.card["jets"]["radius"], distances, shipped, what="reco jets")
        return context, n_outside


def _jagged(table: JetTable, fields: dict[str, Any]) -> ak.Array:
    columns = {name: np.ascontiguousarray(column) for name, column in fields.items()}
    return ak.unflatten(vectors(columns), table.counts)
