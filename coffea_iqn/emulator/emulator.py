"""Emulator: p(jet y | jet x) from conditional quantile networks, with sampling, densities and efficiencies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from coffea_iqn.emulator import compiled, summaries
from coffea_iqn.emulator.functions import Functions, check_unrefined
from coffea_iqn.emulator.marginals import POINTS, Marginal, doubles
from coffea_iqn.emulator.objects import Objects
from coffea_iqn.emulator.overlaps import Overlaps
from coffea_iqn.emulator.particles import Particles
from coffea_iqn.emulator.preprocessing import Variables, check_jets
from coffea_iqn.emulator.refinement import Candidates, take
from coffea_iqn.emulator.unmatched import Unmatched
from coffea_iqn.iqn.device import find_device, in_blocks, in_blocks_of_torch
from coffea_iqn.iqn.network import N_TARGETS, Network
from coffea_iqn.jets.context import MOOT, N_COLUMNS, WIDTHS
from coffea_iqn.jets.features import ETA, MASS, MASSLESS, PT, SCALES, VARIABLES
from coffea_iqn.numerics.arrays import Doubles, Floats, Ints
from coffea_iqn.numerics.dense import singles
from coffea_iqn.ranges import check_choice, expect

BACKENDS = ("auto", "numba", "torch")


@dataclass(frozen=True, eq=False)
class Emulator:
    """Emulate one jet y for each jet x: p(y | x) and P(reconstructed | x).

    Attributes
    ----------
    network: member of the IQN family that draws the targets.
    variables: conversion of jets to the network's inputs and targets, and back.
    acceptance: network for P(reconstructed | x); None to keep every jet.
    origin: network for P(training sample | x), whose output replaces the event's columns as input of network and
        acceptance; None if there is one training sample.
    unmatched: model of jets y that match no jet x; None for none.
    overlaps: model of overlapping jets x; None to draw them independently.
    objects: model of electrons, muons, photons and missing momentum; None for none.
    particles: model of the particles in jets; None for none.
    ratio: network for the log ratio of p(y | x) of true jets to that of the network's draws, used to refine draws
        (`refinement.take`); None for unrefined draws.
    card: description for users: jets, domain of validity, training.

    A folding emulator draws reco jets y from gen jets x; a correcting emulator does the reverse.

    An emulator is deterministic: all randomness enters as quantile levels. Jets are rows (pt [GeV], eta, phi [rad],
    mass [GeV]); context holds their conditioning variables, (N, 68), from `context.encode`, or is None if none are
    known.
    """

    network: Network
    variables: Variables
    acceptance: Network | None = None
    origin: Network | None = None
    unmatched: Unmatched | None = None
    overlaps: Overlaps | None = None
    objects: Objects | None = None
    particles: Particles | None = None
    ratio: Network | None = None
    card: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return summaries.line(self)

    def _repr_html_(self) -> str:
        return summaries.table(self)

    def sample(
        self,
        x: Floats,
        tau: Floats,
        context: Floats | None = None,
        *,
        raw_pt_min: float | None = None,
        backend: str = "auto",
        device: str = "cpu",
        levels: Sequence[str] | None = None,
    ) -> Floats:
        """Draw one jet y for each jet x, from the chain of conditional quantiles.

        Parameters
        ----------
        x: jets x (N, 4).
        tau: quantile levels (N, 4) in (0, 1), in the order pt, eta, phi, mass; optionally another column for each
            further column the emulator draws. For a member that draws all targets at once, and for a refined
            emulator, (N, n_levels).
        context: (N, 68) or None.
        raw_pt_min: draw only jets above this pt [GeV], before the detector's jet scale; by default the threshold of the
            training sample, which contains no jets below it.
        backend: "torch", the reference; "numba", equal up to rounding; "auto", the faster one available for the network
            on this device.
        device: "cpu"; "cuda" or "cuda:N" for a GPU; "auto" for a GPU if available.
        levels: the context levels known for any of these jets; saves time if given.

        Returns
        -------
        jets y (N, 4), float32, with the columns of x.

        Raises
        ------
        ValueError: if shapes do not match, an array is masked, a number is not finite, a pt is not above 0, a level is
            not in (0, 1), the backend is unknown or the device does not exist.
        NotImplementedError: for another threshold, unless the network is a SplineIQN; for a backend that does not
            support the network.
        """
        return self.prepared(raw_pt_min=raw_pt_min, backend=backend, device=device).sample(
            x, tau, context, levels=levels
        )

    def respond(
        self,
        x: Floats,
        tau: Floats,
        context: Floats | None = None,
        *,
        levels: Sequence[str] | None = None,
        **prepared: Any,
    ) -> tuple[Floats, Floats]:
        """Return both `sample` and `efficiency` of the same jets, (N, 4) and (N,); arguments as in `sample`."""
        return self.prepared(**prepared).respond(x, tau, context, levels=levels)

    def cdf(
        self,
        x: Floats,
        y: Floats,
        context: Floats | None = None,
        *,
        raw_pt_min: float | None = None,
        within_atom: Floats | None = None,
    ) -> Doubles:
        """Return the levels at which `sample` gives these jets y, (N, 4): its inverse, with the same arguments.

        Each column is a conditional distribution function, given the jet x and the preceding variables. For real jets
        they are uniform and independent if the emulator is right (M. Rosenblatt, Ann. Math. Stat. 23 (1952) 470).

        A mass of zero is an atom, which a range of levels gives. For a jet lighter than `features.MASSLESS` the level
        is the upper end of this range, P(mass = 0), or the fraction within_atom (N,) of it. Uniform fractions give
        uniform levels (A. E. Brockwell, Stat. Probab. Lett. 77 (2007) 1473).

        Raises
        ------
        NotImplementedError: if the network's quantiles may cross, or draws are refined; also in `quantile`.
        """
        check_jets(x, y, context, other_is="jets y")
        massless = y[:, MASS] < MASSLESS
        as_zero = np.where(massless[:, np.newaxis] & (np.arange(y.shape[1]) == MASS), 0, y)
        levels = self._evaluate("levels", x, as_zero, context, raw_pt_min=raw_pt_min)
        if within_atom is not None and self.network.exact:
            levels[:, MASS] *= np.where(massless, within_atom, 1.0)
        return levels

    def quantile(
        self, x: Floats, tau: Floats, y: Floats, context: Floats | None = None, *, raw_pt_min: float | None = None
    ) -> Doubles:
        """Return the conditional quantile of each variable at levels tau (N, 4), given the preceding variables of y.

        This is the inverse of `cdf`, one column at a time. The quantile of the mass, for example, is conditional on the
        jet x and on pt, eta and phi of the jet y (N, 4), but not on its mass; `sample` instead conditions on the
        variables it has drawn. Pt is after the detector's jet scale, at the eta of y.

        Returns
        -------
        (N, 4): pt [GeV], eta, phi [rad], mass [GeV].
        """
        check_jets(x, tau, context, other_is="tau")
        check_jets(x, y, context, other_is="jets y")
        self._check_autoregressive("quantile")
        return self._evaluate("quantiles", x, tau, y, context, raw_pt_min=raw_pt_min)

    def log_density(
        self,
        x: Floats,
        y: Floats,
        context: Floats | None = None,
        *,
        raw_pt_min: float | None = None,
        acceptance: bool = False,
        each: bool = False,
    ) -> Doubles:
        """Return log p(pt', eta', phi', mass' | x) of jets y (N, 4), in 1/GeV² (and 1/rad), (N,).

        Parameters
        ----------
        x, y, context, raw_pt_min: see `cdf`.
        acceptance: whether to add the log efficiency. The result is then the density for the jet to be found as y,
            which integrates to the efficiency.
        each: whether to return the terms of the sum, (N, 4): those of pt', of eta' given pt', and so on; with
            acceptance (N, 5), the efficiency last.

        A mass that is an atom contributes the logarithm of its probability, so that the density is in 1/GeV. If the
        bundle models massless jets, the atom is the jets lighter than `features.MASSLESS`; otherwise it is mass zero,
        as which masses below zero are drawn. A member that draws all targets at once cannot tell, and gives NaN. A jet
        beyond a bound has −infinity.

        Raises
        ------
        ValueError: see `sample`; also for jets y.
        NotImplementedError: if the network has no density, or none of each variable, its targets are not residuals, or
            draws are refined.
        """
        check_jets(x, y, context, other_is="jets y")
        if each:
            self._check_autoregressive("log_density of each")
        terms = self._evaluate("log_densities", x, y, context, raw_pt_min=raw_pt_min)
        if acceptance:
            p = self._evaluate("efficiency", x, context, raw_pt_min=raw_pt_min)
            with np.errstate(divide="ignore"):
                terms = np.concatenate([terms, np.log(p)[:, np.newaxis]], axis=1)
        return terms if each else np.asarray(terms.sum(axis=1))

    def marginal(self, variable: str, *, points: int | None = None, raw_pt_min: float | None = None) -> Marginal:
        """Return the marginal law of one variable of the jet y, with methods cdf, quantile and log_density.

        Parameters
        ----------
        variable: "pt", "eta", "phi" or "mass".
        points: number of points of the lattice of levels with which the law is averaged over the other variables. The
            default is 8 for pt and 256 for the others, with errors of the levels of up to 3e-5 (pt), 3e-4 (eta) and
            5e-3 (phi, mass). The law of pt is exact if the detector has no jet scale, which makes pt depend on eta.
        raw_pt_min: see `sample`.

        Raises
        ------
        ValueError: if the variable is unknown, or points is below 1.
        NotImplementedError: if the network's quantiles may cross, its targets are not residuals, or draws are refined.
        """
        if variable not in VARIABLES or (points is not None and points < 1):
            msg = f"marginal: expected one of {', '.join(VARIABLES)} and points from 1 on, got {variable!r}, {points}"
            raise ValueError(msg)
        expect(self.network.exact, f"marginal: expected a SplineIQN, got {self.network.type}", NotImplementedError)
        check_unrefined(self, "marginal")
        points = POINTS[variable] if points is None else points
        return Marginal(self._functions, variable, points, self.variables.threshold(raw_pt_min))

    def most_likely(self, y: Floats, context: Floats | None = None, *, raw_pt_min: float | None = None) -> Doubles:
        """Return the jet x that maximises p(y | x) for each jet y (N, 4), (N, 4).

        This maximum likelihood estimate does not depend on the spectrum of jets x, unlike the median of p(x | y)
        (`IQNCorrector`), but it scatters more. It follows the gradient of `log_density` with torch, and is about a
        thousand times slower than a draw. Context is that of the jets x, commonly None; arguments as in `cdf`.

        Raises
        ------
        ValueError: see `sample`.
        NotImplementedError: if the network has no density, or draws are refined.
        """
        check_jets(y, y, context, other_is="jets y")
        fits = self.network.has_density
        expect(fits, f"most_likely: expected a network with a density, got {self.network.type}", NotImplementedError)
        check_unrefined(self, "most_likely")
        from coffea_iqn.emulator.likelihood import most_likely

        on, threshold = self.on("cpu", double=True), self.variables.threshold(raw_pt_min)
        # not with `_with_torch`, which computes no gradients
        return np.asarray(in_blocks(partial(most_likely, on, threshold), *doubles(y, context), rows=on.block))

    def efficiency(self, x: Floats, context: Floats | None = None, *, raw_pt_min: float | None = None) -> Floats:
        """Return P(a jet y is matched to the jet x), (N,) float32, for jets x (N, 4); ones without acceptance.

        With a raw_pt_min (see `sample`), return P(matched and above it); this is not available if draws are refined.
        """
        check_jets(x, x, context, other_is="jets x")
        return self._evaluate("efficiency", x, context, raw_pt_min=raw_pt_min).astype(np.float32, copy=False)

    def weights(self, x: Floats, y: Floats, context: Floats | None = None) -> Floats:
        """Return weights, (N,) float32, of jets y drawn by the unrefined emulator: density ratios to true jets.

        Their mean on held-out jets is 1. The mean over the jets y of one jet x may differ from 1. Refined draws need no
        weights.

        Raises
        ------
        ValueError: see `sample`; also for jets y, and if the emulator has no ratio network.
        """
        check_jets(x, y, context, other_is="jets y", widths=(N_TARGETS, len(self.variables.table)))
        fits = self.ratio is not None
        expect(fits, "weights: expected a refined emulator, got one without a ratio network")
        return self._evaluate("weights", x, y, context, raw_pt_min=None).astype(np.float32, copy=False)

    @property
    def four_levels(self) -> list[slice]:
        """Which levels draw the four-momentum, of each candidate; empty unless there is one level for each variable."""
        if not self.network.exact:
            return []
        return [slice(N_TARGETS)] if self.candidates is None else self.candidates.own_levels()

    @property
    def candidates(self) -> Candidates | None:
        """Layout of the candidates that refined draws are taken from; None without a ratio network."""
        return None if self.ratio is None else Candidates.of(self.network, self.ratio.description)

    @property
    def n_levels(self) -> int:
        """Number of quantile levels that a draw uses."""
        return self.network.n_levels if self.candidates is None else self.candidates.n_levels

    @property
    def widths(self) -> tuple[int, ...]:
        """Allowed numbers of quantile levels; see `Network.widths`."""
        return self.network.widths if self.candidates is None else (self.candidates.n_levels,)

    @property
    def draws_by(self) -> str:
        """Name of the member, for error messages."""
        return f"{'a refined ' * (self.ratio is not None)}{self.network.type}"

    @property
    def exact(self) -> bool:
        """Whether each target has a distribution function given the preceding ones."""
        return self.network.exact and self.ratio is None

    @cached_property
    def unrefined(self) -> Emulator:
        """The same emulator without the ratio network."""
        return self if self.ratio is None else replace(self, ratio=None)

    def _evaluate(self, name: str, *arrays: Floats | None, raw_pt_min: float | None) -> Doubles:
        """Evaluate one of the `Functions` of arrays: by numpy in double precision, or by torch if needed."""
        threshold = self.variables.threshold(raw_pt_min)
        self._check_threshold(threshold)
        if not self.network.exact:
            on, given = self.on("cpu", double=self.network.has_density), doubles(*arrays)
            if not self.network.has_density:
                given = [array.astype(np.float32) for array in given]
            found = _with_torch(partial(getattr(on, name), threshold=threshold), *given, on=on)
            return found.astype(np.float64)
        with np.errstate(divide="ignore"):  # a probability may be zero
            return np.asarray(
                in_blocks(partial(getattr(self._functions, name), threshold=threshold), *doubles(*arrays))
            )

    def _check_autoregressive(self, what: str) -> None:
        """Raise NotImplementedError for a member that draws all variables of a jet at once."""
        if not self.network.autoregressive:
            msg = f"{what}: expected a member that draws one variable after the other, got {self.network.type}"
            raise NotImplementedError(msg)

    def _check_threshold(self, threshold: float) -> None:
        """Raise NotImplementedError if the threshold is not that of the training and the law cannot be truncated."""
        if not self.network.exact and threshold != self.variables.raw_pt_min:
            own = f"{self.variables.raw_pt_min:g} of the training"
            msg = f"raw_pt_min: expected {own} for {self.network.type}, which cannot be cut off, got {threshold:g}"
            raise NotImplementedError(msg)

    @cached_property
    def _functions(self) -> Functions:
        return Functions.of_arrays(self)

    def on(self, device: str, *, double: bool = False) -> Any:
        """Return the networks and variables on a device, as a cached `device.Resident`, for jets as tensors there.

        Parameters
        ----------
        device: see `sample`.
        double: whether to use double precision, for densities and their derivatives.

        Raises
        ------
        ValueError: if the device does not exist.
        """
        where = find_device(device)
        from coffea_iqn.emulator.device import Resident  # imports torch, which a fold on the CPU does not need

        if (where, double) not in self._residents:
            self._residents[where, double] = Resident.of(self, where, double=double)
        return self._residents[where, double]

    @cached_property
    def _residents(self) -> dict[Any, Any]:
        return {}

    @property
    def radius(self) -> float | None:
        """Jet radius; None if the card does not give it."""
        radius: float | None = self.card.get("jets", {}).get("radius")
        return radius

    @property
    def has_moot(self) -> bool:
        """Whether levels of the event have no effect on jets for which the level `context.MOOT` is known."""
        column = self.variables.column_of(MOOT)
        return self.origin is not None and 0 <= column == self.origin.description["moot"]

    @property
    def networks(self) -> dict[str, Network | None]:
        """The emulator's own networks by name, without those of unmatched jets, objects and particles."""
        names = ("network", "acceptance", "origin", "ratio")
        return {name: getattr(self, name) for name in names}

    @property
    def is_compiled(self) -> bool:
        """Whether the emulator has a compiled form, for backend "numba"."""
        return compiled.serves(self)

    def prepared(self, *, raw_pt_min: float | None = None, backend: str = "auto", device: str = "cpu") -> Prepared:
        """Return the emulator with a fixed threshold, backend and device; for the arguments see `sample`.

        Raises
        ------
        ValueError: if the backend is unknown, or the device does not exist.
        NotImplementedError: if the backend does not support the network.
        """
        check_choice(BACKENDS, backend=backend)
        fits = backend != "numba" or self.is_compiled
        expect(fits, f"backend numba: expected a SplineIQN of residuals, got {self.network.type}", NotImplementedError)
        self._check_threshold(self.variables.threshold(raw_pt_min))
        on_cpu = device == "cpu" or find_device(device).type == "cpu"
        return Prepared(
            self._by_torch if backend == "torch" else self,
            compiled=backend != "torch" and on_cpu and self.is_compiled,
            device=device,
            threshold=self.variables.threshold(raw_pt_min),
        )

    @cached_property
    def _by_torch(self) -> Emulator:
        """The same emulator, with unmatched and overlapping jets and objects drawn by torch."""
        models = {name: getattr(self, name) for name in ("unmatched", "overlaps", "objects")}
        return replace(self, **{name: model.with_torch for name, model in models.items() if model is not None})

    def compiled_for(self, known: tuple[str, ...]) -> compiled.Model:
        """Return the compiled form, cached, for jets with these context levels known."""
        if known not in self._models:
            self._models[known] = compiled.compile_model(self, known)
        return self._models[known]

    @cached_property
    def _models(self) -> dict[tuple[str, ...], compiled.Model]:
        return {}


@dataclass(frozen=True, eq=False)
class Prepared:
    """An emulator with a fixed threshold, backend and device.

    Attributes
    ----------
    emulator: the emulator; for the backend torch, torch also draws its unmatched jets and objects, which compiled code
        draws otherwise, on any device.
    compiled: whether compiled code draws the jets; otherwise torch does.
    device: device on which torch draws.
    threshold: least pt [GeV] of a jet y, before the detector's jet scale, or 0.
    """

    emulator: Emulator
    compiled: bool
    device: str
    threshold: float

    def sample(
        self, x: Floats, tau: Floats, context: Floats | None = None, *, levels: Sequence[str] | None = None
    ) -> Floats:
        """See `Emulator.sample`."""
        return self._draw(x, tau, context, levels, with_efficiency=False)[0]

    def respond(
        self, x: Floats, tau: Floats, context: Floats | None = None, *, levels: Sequence[str] | None = None
    ) -> tuple[Floats, Floats]:
        """See `Emulator.respond`."""
        return self._draw(x, tau, context, levels, with_efficiency=True)

    def efficiency(self, x: Floats, context: Floats | None = None, *, levels: Sequence[str] | None = None) -> Floats:
        """Return the efficiencies that `respond` does, to the last bit, without drawing jets."""
        if self.compiled and self._compiles_efficiency:
            # with one level only the first conditional is evaluated
            return self._compiled(x, np.full((len(x), 1), 0.5), context, levels, len(x))[1]
        half = np.full((len(x), self.emulator.n_levels), 0.5, dtype=np.float32)
        return self.respond(x, half, context, levels=levels)[1]

    def median_pt(
        self, x: Floats, eta: Floats, context: Floats | None = None, *, levels: Sequence[str] | None = None
    ) -> Floats:
        """Return the median pt [GeV] of jets y at eta (N,), (N,) float64: one evaluation of the first conditional."""
        check_unrefined(self.emulator, "median pt")
        scale = SCALES[self.emulator.variables.scale]
        if self.compiled:
            drawn, *_ = self._compiled(x, np.full((len(x), 1), 0.5), context, levels, 0)
            raw_pt = scale.undo(drawn.astype(np.float64))[:, PT]
        else:
            on = self.emulator.on(self.device)
            raw_pt = _with_torch(partial(on.median_pt, threshold=self.threshold), x, context, on=on)
        jets = np.zeros((len(x), N_TARGETS))
        jets[:, PT], jets[:, ETA] = raw_pt, eta
        return np.asarray(scale.apply(jets)[:, PT])

    def _compiled(
        self, x: Floats, tau: Floats, context: Floats | None, levels: Sequence[str] | None, n_efficiencies: int
    ) -> tuple[Floats, Floats, Floats]:
        """Return, from compiled code, jets y, the first n_efficiencies efficiencies, and ratios if refined."""
        n, n_shares = max(tau.shape[1], N_TARGETS), 0 if self.emulator.ratio is None else len(x)
        y = np.empty((len(x), n), dtype=np.float32)
        found, share = (np.empty(size, dtype=np.float32) for size in (n_efficiencies, n_shares))
        columns = np.empty((0, N_COLUMNS)) if context is None else context
        model = self.emulator.compiled_for(() if context is None else tuple(WIDTHS if levels is None else levels))
        compiled.draw(model, singles(x), singles(tau), singles(columns), np.float32(self.threshold), y, found, share)
        return y, found, share

    @property
    def _compiles_efficiency(self) -> bool:
        """Whether compiled code has the efficiency: only for the threshold of the training sample; others are rare."""
        own = self.threshold == self.emulator.variables.raw_pt_min
        return self.emulator.acceptance is not None and own

    def _draw(
        self, x: Floats, tau: Floats, context: Floats | None, levels: Sequence[str] | None, *, with_efficiency: bool
    ) -> tuple[Floats, Floats]:
        """Return jets y and, if requested, efficiencies."""
        of = self.emulator.candidates
        check_jets(x, tau, context, other_is="tau", widths=self.emulator.widths)
        if of is None:
            return self._draw_once(x, tau, context, levels, with_efficiency=with_efficiency)[:2]
        first, found, share = self._draw_once(x, of.levels(tau, 0), context, levels, with_efficiency=with_efficiency)

        def draw(rows: Ints, tau: Floats) -> Floats:
            known = None if context is None else context[rows]
            y, _, share = self._draw_once(x[rows], tau, known, levels, with_efficiency=False)
            return np.concatenate([y, share[:, np.newaxis]], axis=1)

        return take(of, tau, np.concatenate([first, share[:, np.newaxis]], axis=1), draw), found

    def _draw_once(
        self, x: Floats, tau: Floats, context: Floats | None, levels: Sequence[str] | None, *, with_efficiency: bool
    ) -> tuple[Floats, Floats, Floats]:
        """Return jets y as the network draws them, efficiencies if requested, and ratios if refined."""
        emulator, threshold = self.emulator, self.threshold
        if not self.compiled:
            on = emulator.on(self.device)
            answer = partial(on.answer, threshold=threshold, with_efficiency=with_efficiency)
            both = _with_torch(answer, x, tau.astype(np.float32, copy=False), context, on=on)
            n = min(tau.shape[1], emulator.network.n_targets)
            end = n + with_efficiency
            return both[:, :n], both[:, n:end].ravel(), both[:, end:].ravel()
        own = self._compiles_efficiency
        y, found, share = self._compiled(x, tau, context, levels, len(x) if with_efficiency and own else 0)
        if with_efficiency and not own:
            found = emulator.efficiency(x, context, raw_pt_min=threshold)
        return y, found, share


def _with_torch(function: Callable[..., Any], *arrays: Floats | None, on: Any) -> Floats:
    """Evaluate a function of tensors on the device of a `Resident` (on), for numpy arrays, in blocks."""
    import torch

    def there(*blocks: Floats) -> Floats:
        # a copy: the blocks may be read-only, which tensors cannot be
        return np.asarray(function(*(torch.tensor(block, device=on.device) for block in blocks)).cpu().numpy())

    made: Floats = in_blocks_of_torch(there, *arrays, rows=on.block)
    return made
