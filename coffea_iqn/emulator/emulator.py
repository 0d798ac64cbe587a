"""Conditional quantiles composed into p(jet y | jet x), and what draws from it."""

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
from coffea_iqn.emulator.particles import Particles
from coffea_iqn.emulator.preprocessing import Variables, check_jets
from coffea_iqn.emulator.refinement import Candidates, take
from coffea_iqn.emulator.unmatched import Unmatched
from coffea_iqn.iqn.device import find_device, in_blocks, in_blocks_of_torch
from coffea_iqn.iqn.network import N_TARGETS, Network
from coffea_iqn.jets.context import N_COLUMNS, WIDTHS
from coffea_iqn.jets.features import ETA, MASS, MASSLESS, PT, SCALES, VARIABLES
from coffea_iqn.numerics.arrays import Doubles, Floats, Ints
from coffea_iqn.numerics.dense import singles

BACKENDS = ("auto", "numba", "torch")


@dataclass(frozen=True, eq=False)
class Emulator:
    """The detector's answer to one jet x at a time: p(y | x), and P(reconstructed | x).

    Attributes
    ----------
    network: the member of the IQN family that draws the targets.
    variables: the way from jets to the network's inputs and targets, and back.
    acceptance: the network of P(reconstructed | x); None keeps every jet.
    origin: the network of P(training sample | x), whose answer the other two see in place of the event's columns;
        None where there is one sample.
    unmatched: the model of jets y that match no jet x; None makes none.
    objects: the model of electrons, muons, photons and missing momentum; None where it makes none.
    particles: the model of the particles in jets; None where there is none.
    ratio: the network of log p(y | x), that of true jets, less that of what the network draws: by it draws are refined
        (`refinement.take`); None where they are not.
    card: what a user needs to know: jets, domain of validity, training.

    Of gen jets x it draws reco jets y; where it corrects, the other way round.

    An emulator is deterministic: all randomness comes in as quantile levels. Jets are rows (pt [GeV], eta,
    phi [rad], mass [GeV]); context is what `context.encode` gives, (N, 68), or None where nothing is known.
    """

    network: Network
    variables: Variables
    acceptance: Network | None = None
    origin: Network | None = None
    unmatched: Unmatched | None = None
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
        """One jet y for each jet x, by the chain of conditional quantiles.

        Parameters
        ----------
        x: jets x (N, 4).
        tau: quantile levels (N, 4) in (0, 1), in the order pt, eta, phi, mass; a column more for each of what is drawn
            beside, where that is wanted. Of a member that draws all at once, and of a refined emulator, (N, n_levels).
        context: (N, 68) or None.
        raw_pt_min: draw from the jets above this pt [GeV], before the detector's scale, alone; by default the
            threshold of the training sample, below which nothing is known.
        backend: "torch", the reference; "numba", which equals it to rounding; or "auto" for the faster one that the
            network has on this device.
        device: "cpu"; "cuda" or "cuda:N" for a GPU; "auto" for a GPU where there is one.
        levels: of context that these jets have, where they have none of the others: saves time.

        Returns
        -------
        jets y (N, 4), float32, columns as x.

        Raises
        ------
        ValueError: when the shapes do not agree, an array is masked, a number is not finite, a pt is not above 0 or a
            level not in (0, 1); when the backend is unknown, or there is no such device.
        NotImplementedError: for another threshold, when the network is no SplineIQN; for a backend it has not.
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
        """What `sample` and `efficiency` give for the same jets, (N, 4) and (N,); arguments as of `sample`."""
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
        """The levels at which `sample` gives these jets y: its inverse, (N, 4); arguments as there.

        Each column is a conditional distribution function, given the jet x and the variables before it; of
        real jets they are uniform and independent when the emulator is right (M. Rosenblatt, Ann. Math. Stat. 23
        (1952) 470).

        A mass of zero is an atom, which many levels give: that of a jet lighter than `features.MASSLESS` is the last of
        them, P(mass = 0), or the fraction within_atom (N,) of it. Uniform fractions make uniform levels
        (A. E. Brockwell, Stat. Probab. Lett. 77 (2007) 1473).

        Raises
        ------
        NotImplementedError: when the network's quantiles may cross; here and below, where draws are refined.
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
        """The conditional quantiles at levels tau (N, 4) of each variable of jets y, given those before it.

        The inverse of `cdf`, one column at a time: that of the mass is the quantile of the mass given the jet x
        and the pt, eta and phi of y (N, 4), whose mass does not enter; `sample` takes its own draws instead.
        What the detector's scale makes of pt depends on the eta of y.

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
        """Log p(pt', eta', phi', mass' | x) of jets y (N, 4), in 1/GeV² (and 1/rad), (N,).

        Parameters
        ----------
        x, y, context, raw_pt_min: as of `cdf`.
        acceptance: whether to add the logarithm of the efficiency: what then integrates to the efficiency is the
            density of being found, as this jet.
        each: whether to give the terms that this is the sum of, (N, 4): those of pt', of eta' given pt', and so on;
            with acceptance, (N, 5), the efficiency last.

        A mass that is an atom counts with the logarithm of its probability, so that the density is in 1/GeV: where a
        bundle knows them for massless, that of jets lighter than `features.MASSLESS`; elsewhere that of zero, as which
        masses below zero are drawn; a member that draws all at once cannot tell, and says NaN. A jet that cannot be,
        beyond a bound, has −infinity.

        Raises
        ------
        ValueError: as of `sample`, also for jets y.
        NotImplementedError: when the network has no density, or none of each variable, or its targets are no residuals.
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
        """The law of one variable of the jet y, whatever the others are, with cdf, quantile and log_density.

        Parameters
        ----------
        variable: "pt", "eta", "phi" or "mass".
        points: at which the law given the variables before it is averaged over these, by a lattice of their levels;
            that of pt is exact where the detector has no jet scale, which makes pt depend on eta. By default 8 for pt
            and 256 for the others, with which levels are off by up to 3e-5 (pt), 3e-4 (eta) and 5e-3 (phi, mass).
        raw_pt_min: as of `sample`.

        Raises
        ------
        ValueError: when there is no such variable, or no point.
        NotImplementedError: when the network's quantiles may cross, or its targets are no residuals.
        """
        if variable not in VARIABLES or (points is not None and points < 1):
            msg = f"marginal: expected one of {', '.join(VARIABLES)} and points from 1 on, got {variable!r}, {points}"
            raise ValueError(msg)
        if not self.network.exact:
            msg = f"marginal: expected a SplineIQN, got {self.network.type}"
            raise NotImplementedError(msg)
        check_unrefined(self, "marginal")
        points = POINTS[variable] if points is None else points
        return Marginal(self._functions, variable, points, self.variables.threshold(raw_pt_min))

    def most_likely(self, y: Floats, context: Floats | None = None, *, raw_pt_min: float | None = None) -> Doubles:
        """The jet x of which each jet y (N, 4) is most likely: the maximum of p(y | x) over x, (N, 4).

        The maximum likelihood estimate, which depends on no spectrum of jets x, where the median of p(x | y)
        does (`IQNCorrector`); it scatters more. About a thousand times as slow as a draw: it follows the gradient of
        `log_density` with torch. Context is what is known of the jets x, commonly nothing; arguments as of `cdf`.

        Raises
        ------
        ValueError: as of `sample`.
        NotImplementedError: when the network's quantiles may cross.
        """
        check_jets(y, y, context, other_is="jets y")
        if not self.network.has_density:
            msg = f"most_likely: expected a network that has a density, got {self.network.type}"
            raise NotImplementedError(msg)
        check_unrefined(self, "most_likely")
        from coffea_iqn.emulator.likelihood import most_likely

        on, threshold = self.on("cpu", double=True), self.variables.threshold(raw_pt_min)
        # not in `_with_torch`, which does without gradients
        return np.asarray(in_blocks(partial(most_likely, on, threshold), *doubles(y, context), rows=on.block))

    def efficiency(self, x: Floats, context: Floats | None = None, *, raw_pt_min: float | None = None) -> Floats:
        """P(a jet y is matched to the jet x), (N,) float32, of jets x (N, 4); ones without acceptance.

        With a raw_pt_min, as of `sample`, P(matched, and above it).
        """
        check_jets(x, x, context, other_is="jets x")
        return self._evaluate("efficiency", x, context, raw_pt_min=raw_pt_min).astype(np.float32, copy=False)

    def weights(self, x: Floats, y: Floats, context: Floats | None = None) -> Floats:
        """Weights of jets y that the unrefined emulator drew, (N,) float32: their ratios, of mean 1 on held-out jets.

        The mean over the jets y of one jet x may differ from 1; that of refined draws, which need no weight, does not.

        Raises
        ------
        ValueError: as of `sample`, also for jets y; when the emulator has no ratio network.
        """
        check_jets(x, y, context, other_is="jets y", widths=(N_TARGETS, len(self.variables.table)))
        if self.ratio is None:
            msg = "weights: expected a refined emulator, got one without a ratio network"
            raise ValueError(msg)
        return self._evaluate("weights", x, y, context, raw_pt_min=None).astype(np.float32, copy=False)

    @property
    def candidates(self) -> Candidates | None:
        """Of which refined draws are taken; None where there is no ratio network."""
        return None if self.ratio is None else Candidates.of(self.network, self.ratio.description)

    @property
    def n_levels(self) -> int:
        """How many levels a draw takes."""
        return self.network.n_levels if self.candidates is None else self.candidates.n_levels

    @property
    def widths(self) -> tuple[int, ...]:
        """As of `Network`."""
        return self.network.widths if self.candidates is None else (self.candidates.n_levels,)

    @property
    def draws_by(self) -> str:
        """The name of its member, as errors say it."""
        return f"{'a refined ' * (self.ratio is not None)}{self.network.type}"

    @property
    def exact(self) -> bool:
        """Whether it has a distribution function of each target given those before."""
        return self.network.exact and self.ratio is None

    @cached_property
    def unrefined(self) -> Emulator:
        """The same without the ratio network: its draws are those of the network."""
        return self if self.ratio is None else replace(self, ratio=None)

    def _evaluate(self, name: str, *arrays: Floats | None, raw_pt_min: float | None) -> Doubles:
        """One of our `Functions` of arrays: by numpy in double precision, or by torch for networks that need it."""
        threshold = self.variables.threshold(raw_pt_min)
        self._check_threshold(threshold)
        if not self.network.exact:
            on, given = self.on("cpu", double=self.network.has_density), doubles(*arrays)
            if not self.network.has_density:
                given = [array.astype(np.float32) for array in given]
            found = _with_torch(partial(getattr(on, name), threshold=threshold), *given, on=on)
            return found.astype(np.float64)
        with np.errstate(divide="ignore"):  # the logarithm of a probability may be that of zero
            return np.asarray(
                in_blocks(partial(getattr(self._functions, name), threshold=threshold), *doubles(*arrays))
            )

    def _check_autoregressive(self, what: str) -> None:
        """Raise NotImplementedError for a member that draws all of a jet at once."""
        if not self.network.autoregressive:
            msg = f"{what}: expected a member that draws one variable after the other, got {self.network.type}"
            raise NotImplementedError(msg)

    def _check_threshold(self, threshold: float) -> None:
        """Raise NotImplementedError for a threshold other than that of the training, unless the law can be cut off."""
        if not self.network.exact and threshold != self.variables.raw_pt_min:
            own = f"{self.variables.raw_pt_min:g} of the training"
            msg = f"raw_pt_min: expected {own} for {self.network.type}, which cannot be cut off, got {threshold:g}"
            raise NotImplementedError(msg)

    @cached_property
    def _functions(self) -> Functions:
        return Functions.of_arrays(self)

    def on(self, device: str, *, double: bool = False) -> Any:
        """Networks and variables on a device, a `device.Resident`, for jets that are there as tensors; made once.

        Parameters
        ----------
        device: as of `sample`.
        double: whether in double precision, for densities and their derivatives.

        Raises
        ------
        ValueError: when there is no such device.
        """
        where = find_device(device)
        from coffea_iqn.emulator.device import Resident  # and with it torch, which a fold on the CPU does without

        if (where, double) not in self._residents:
            self._residents[where, double] = Resident.of(self, where, double=double)
        return self._residents[where, double]

    @cached_property
    def _residents(self) -> dict[Any, Any]:
        return {}

    @property
    def radius(self) -> float | None:
        """Of its jets; None where the card does not say."""
        radius: float | None = self.card.get("jets", {}).get("radius")
        return radius

    @property
    def networks(self) -> dict[str, Network | None]:
        """Its own networks by name, without those of unmatched jets and objects."""
        names = ("network", "acceptance", "origin", "ratio")
        return {name: getattr(self, name) for name in names}

    @property
    def is_compiled(self) -> bool:
        """Whether there is a compiled form, the backend "numba"."""
        return compiled.serves(self)

    def prepared(self, *, raw_pt_min: float | None = None, backend: str = "auto", device: str = "cpu") -> Prepared:
        """The emulator with threshold, backend and device decided, as of `sample`.

        Raises
        ------
        ValueError: when the backend is unknown, or there is no such device.
        NotImplementedError: for a backend that the network has not.
        """
        if backend not in BACKENDS:
            msg = f"backend: expected one of {', '.join(BACKENDS)}, got {backend!r}"
            raise ValueError(msg)
        if backend == "numba" and not self.is_compiled:
            msg = f"backend numba: expected a SplineIQN of residuals, got {self.network.type}"
            raise NotImplementedError(msg)
        self._check_threshold(self.variables.threshold(raw_pt_min))
        on_cpu = device == "cpu" or find_device(device).type == "cpu"
        return Prepared(
            self,
            compiled=backend != "torch" and on_cpu and self.is_compiled,
            by_torch=backend == "torch",
            device=device,
            threshold=self.variables.threshold(raw_pt_min),
        )

    def compiled_for(self, known: tuple[str, ...]) -> compiled.Model:
        """The compiled form for jets of which these levels of context may be known, made once."""
        if known not in self._models:
            self._models[known] = compiled.compile_model(self, known)
        return self._models[known]

    @cached_property
    def _models(self) -> dict[tuple[str, ...], compiled.Model]:
        return {}


@dataclass(frozen=True, eq=False)
class Prepared:
    """An emulator of which threshold, backend and device are decided: what draws jets.

    Attributes
    ----------
    emulator: which.
    compiled: whether its jets are drawn by compiled code; else by torch.
    by_torch: whether torch also draws unmatched jets and objects, which have compiled code on any device.
    device: where torch draws.
    threshold: least pt [GeV] of a jet y, before the detector's scale, or 0.
    """

    emulator: Emulator
    compiled: bool
    by_torch: bool
    device: str
    threshold: float

    @cached_property
    def unmatched(self) -> Unmatched | None:
        """The model of unmatched jets, drawn as decided."""
        model = self.emulator.unmatched
        return model.with_torch if model is not None and self.by_torch else model

    @cached_property
    def objects(self) -> Objects | None:
        """The model of objects, drawn as decided."""
        model = self.emulator.objects
        return model.with_torch if model is not None and self.by_torch else model

    def sample(
        self, x: Floats, tau: Floats, context: Floats | None = None, *, levels: Sequence[str] | None = None
    ) -> Floats:
        """As of `Emulator.sample`."""
        return self._draw(x, tau, context, levels, with_efficiency=False)[0]

    def respond(
        self, x: Floats, tau: Floats, context: Floats | None = None, *, levels: Sequence[str] | None = None
    ) -> tuple[Floats, Floats]:
        """As of `Emulator.respond`."""
        return self._draw(x, tau, context, levels, with_efficiency=True)

    def median_pt(
        self, x: Floats, eta: Floats, context: Floats | None = None, *, levels: Sequence[str] | None = None
    ) -> Floats:
        """The median pt [GeV] of a jet y at some eta (N,), (N,) float64: one evaluation of the first conditional."""
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
        """Jets y of as many targets as there are levels, the first efficiencies, and ratios, by compiled code."""
        n, n_shares = max(tau.shape[1], N_TARGETS), 0 if self.emulator.ratio is None else len(x)
        y = np.empty((len(x), n), dtype=np.float32)
        found, share = (np.empty(size, dtype=np.float32) for size in (n_efficiencies, n_shares))
        columns = np.empty((0, N_COLUMNS)) if context is None else context
        model = self.emulator.compiled_for(() if context is None else tuple(WIDTHS if levels is None else levels))
        compiled.draw(model, singles(x), singles(tau), singles(columns), np.float32(self.threshold), y, found, share)
        return y, found, share

    def _draw(
        self, x: Floats, tau: Floats, context: Floats | None, levels: Sequence[str] | None, *, with_efficiency: bool
    ) -> tuple[Floats, Floats]:
        """Jets y and, where they are wanted, efficiencies."""
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
        """Jets y as the network draws them, efficiencies where they are wanted, and ratios where there are any."""
        emulator, threshold = self.emulator, self.threshold
        if not self.compiled:
            on = emulator.on(self.device)
            answer = partial(on.answer, threshold=threshold, with_efficiency=with_efficiency)
            both = _with_torch(answer, x, tau.astype(np.float32, copy=False), context, on=on)
            n = min(tau.shape[1], emulator.network.n_targets)
            end = n + with_efficiency
            return both[:, :n], both[:, n:end].ravel(), both[:, end:].ravel()
        # a threshold above that of the training sample is rare, and left to the reference
        own = emulator.acceptance is not None and threshold == emulator.variables.raw_pt_min
        y, found, share = self._compiled(x, tau, context, levels, len(x) if with_efficiency and own else 0)
        if with_efficiency and not own:
            found = emulator.efficiency(x, context, raw_pt_min=threshold)
        return y, found, share


def _with_torch(function: Callable[..., Any], *arrays: Floats | None, on: Any) -> Floats:
    """A function of tensors where an emulator is, for arrays that are here, in blocks."""
    import torch

    def there(*blocks: Floats) -> Floats:
        # a copy, for arrays that others may only read
        return np.asarray(function(*(torch.tensor(block, device=on.device) for block in blocks)).cpu().numpy())

    made: Floats = in_blocks_of_torch(there, *arrays, rows=on.block)
    return made
