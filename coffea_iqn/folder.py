"""IQNFolder: jagged gen jets in, jagged reco jets out. The only place where awkward meets the emulator."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import numpy.typing as npt
import torch
import vector
from coffea.nanoevents.methods import vector as coffea_vector

from coffea_iqn import bundle
from coffea_iqn.context import known_levels
from coffea_iqn.data import BUNDLES
from coffea_iqn.emulator import BACKENDS, Emulator
from coffea_iqn.events import FlatJets, Names, flatten_jets, identity_keys, jet_context, missing_momentum
from coffea_iqn.features import ETA, MASS, PHI, PT, SCALES, Array
from coffea_iqn.ordering import hardest_first
from coffea_iqn.uniforms import STREAM_ACCEPTANCE, STREAM_FAR, STREAM_NEAR, Words, levels

INVALID = ("raise", "drop")


class OutsideDomainWarning(UserWarning):
    """Gen jets lie outside the range a bundle was trained for; they are folded all the same."""


class MissingContextWarning(UserWarning):
    """The gen jets lack something that a bundle knows to use; it folds them as jets of which that is unknown."""


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


class _Placed(NamedTuple):
    """Jets (N, 4), the event of each, (N,), and the place of its gen jet in the event, (N,)."""

    values: Array
    event: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]

    def where(self, keep: npt.NDArray[np.bool_]) -> _Placed:
        """The jets where keep (N,) is true."""
        return _Placed(self.values[keep], self.event[keep], self.place[keep])

    def and_others(self, others: _Placed) -> _Placed:
        """These jets, and others after them."""
        return _Placed(
            np.concatenate([self.values, others.values]),
            np.concatenate([self.event, others.event]),
            np.concatenate([self.place, others.place]),
        )


_WARNED: set[str] = set()
MOST_UNMATCHED = 256  # levels of a gen jet's unmatched jets lie so far apart


@dataclass(frozen=True, init=False, repr=False)
class IQNFolder:
    """The detector as a function of jagged gen jets.

    Parameters
    ----------
    model: name of a shipped bundle, or the path of one.
    seed: of the quantile levels. Equal seeds give equal jets, whatever the chunk, executor or machine.
    acceptance: whether gen jets may be lost, with the bundle's P(reconstructed | gen jet); False gives exactly
        one reco jet for every gen jet.
    unmatched: whether reco jets that match no gen jet are added, with genJetIdx −1, where the bundle has a model of
        them. They depend on all gen jets of an event: fold whole collections.
    replicas: independent draws of each event. Above 1 the result has an axis more: events × replicas × var.
    backend: what evaluates the network: "torch", the reference; "numba", which equals it to rounding and serves a
        SplineIQN; "auto" for the fastest that the bundle's network has.
    invalid: "raise", or "drop" gen jets with a number that is not finite or a pt not above zero.
    raw_pt_min: keep only reco jets above this pt [GeV], before the detector's scale: drawn from above it, and lost
        with the chance to lie below; None for the threshold of the bundle.
    names: what the files call what they know of gen jets, where it differs from `events.Names`:
        `{"flavour": "hadronFlavour"}`.

    A folder is immutable and small to pickle: it carries the bundle's name (or absolute path) and hash, and each
    process that uses it reads the bundle once. Workers elsewhere must find the same bundle there.

    Raises
    ------
    bundle.BundleError: when the bundle does not exist or cannot be read.
    ValueError: when an option has no such value.
    """

    model: str
    seed: int
    acceptance: bool
    unmatched: bool
    replicas: int
    backend: str
    invalid: str
    raw_pt_min: float | None
    names: Names
    hash: str

    def __init__(
        self,
        model: str | Path,
        *,
        seed: int = 0,
        acceptance: bool = True,
        unmatched: bool = False,
        replicas: int = 1,
        backend: str = "auto",
        invalid: str = "raise",
        raw_pt_min: float | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        for name, value, known in (("backend", backend, BACKENDS), ("invalid", invalid, INVALID)):
            if value not in known:
                msg = f"{name}: expected one of {', '.join(known)}, got {value!r}"
                raise ValueError(msg)
        if not isinstance(replicas, int) or not 1 <= replicas < 2**24:
            msg = f"replicas: expected an integer from 1 to 2^24 − 1, got {replicas!r}"
            raise ValueError(msg)
        # a shipped bundle goes by its name, for a worker may have the package elsewhere
        model = str(model) if str(model) in BUNDLES else str(bundle.find(model))
        emulator = bundle.load(model)
        values = {
            "model": model,
            "seed": int(seed),
            "acceptance": bool(acceptance),
            "unmatched": bool(unmatched) and emulator.unmatched is not None,
            "replicas": replicas,
            "backend": backend,
            "invalid": invalid,
            "raw_pt_min": raw_pt_min,
            "names": Names.of(names),
            "hash": emulator.card["hash"],
        }
        network = emulator.network
        if raw_pt_min is not None and not network.exact:
            msg = f"raw_pt_min: expected None for {type(network).__name__}, whose quantiles may cross, got {raw_pt_min}"
            raise ValueError(msg)
        if backend == "numba" and not emulator.is_compiled:
            msg = f"backend: expected 'torch' or 'auto' for {type(network).__name__}, got 'numba'"
            raise ValueError(msg)
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        options = {name: getattr(self, name) for name in ("seed", "acceptance", "unmatched", "replicas")}
        return f"IQNFolder({self.model!r}, {', '.join(f'{name}={value}' for name, value in options.items())})"

    @property
    def emulator(self) -> Emulator:
        """The emulator of this folder's bundle, read once a process."""
        return bundle.load(self.model, expected_hash=self.hash)

    @property
    def card(self) -> dict[str, Any]:
        """The bundle's card: jets, domain, training, closure, hash."""
        return self.emulator.card

    def fold_flat(self, x: Array, tau: Array, context: Array | None = None) -> Array:
        """Reco jets at given quantile levels, without acceptance.

        Parameters
        ----------
        x: gen jets (N, 4): pt [GeV], eta, phi [rad], mass [GeV].
        tau: levels (N, 4) in (0, 1), in the order pt, eta, phi, mass.
        context: what else is known of the jets, (N, 57), as `context.encode` gives it; None for nothing.

        Returns
        -------
        reco jets (N, 4) float32, columns as x.

        Raises
        ------
        ValueError: when the shapes do not agree, or a level is not in (0, 1).
        """
        x, tau = np.asarray(x, dtype=np.float32), np.asarray(tau, dtype=np.float32)
        if tau.size and not (tau.min() > 0.0 and tau.max() < 1.0):
            msg = f"tau: expected levels in (0, 1), got {tau.min()} to {tau.max()}"
            raise ValueError(msg)
        return self._one_thread().sample(x, tau, context, raw_pt_min=self.raw_pt_min, backend=self.backend)

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
        reco jets, events × var, sorted by pt, of the same vector behavior as gen, with pt, eta, phi, mass
        and genJetIdx, the place of each one's gen jet, or −1.

        Raises
        ------
        TypeError: when gen is not a jagged array of jets, or is option-typed (masked).
        ValueError: when gen and events differ in length, or jets are invalid (named with their count).
        """
        return self.fold(gen, events)[0]

    def fold(self, gen: ak.Array, events: ak.Array) -> tuple[ak.Array, FoldCounts]:
        """As calling the folder, with the counts of what became of the gen jets."""
        jets = flatten_jets(gen)
        if len(jets.counts) != len(events):
            msg = f"gen jets: expected one list for each of the {len(events)} events, got {len(jets.counts)}"
            raise ValueError(msg)
        valid = jets.valid()
        n_invalid = int((~valid).sum())
        if n_invalid and self.invalid == "raise":
            msg = f"gen jets: expected finite numbers and pt above 0, got {n_invalid} of {len(valid)} jets otherwise"
            raise ValueError(msg)
        known = jets.where(valid)
        event, place = known.event, known.local_index
        n_outside = self._outside_domain(known.values)
        event_keys = identity_keys(events, self.seed)
        keys = event_keys[event]

        emulator = self._one_thread()
        context = self._context(gen, events, jets, valid) if emulator.variables.context else None
        # whether a gen jet was found, if only below the threshold, decides which unmatched jets it has
        raw_pt_min = None if self.unmatched else self.raw_pt_min
        missing = missing_momentum(events, self.names) if self.unmatched else None
        drawn = []
        lost = extra = 0
        for replica in range(self.replicas):
            tau = levels(keys, place, replica=replica)
            reco, efficiency = emulator.respond(known.values, tau, context, raw_pt_min=raw_pt_min, backend=self.backend)
            if self.acceptance:
                kept = levels(keys, place, replica=replica, stream=STREAM_ACCEPTANCE)[:, 0] < efficiency
            else:
                kept = np.ones(len(reco), dtype=bool)
            made = _Placed(reco, event, place).where(kept)
            if self.unmatched:
                others = self._draw_unmatched(known, reco, kept, context, missing, event_keys, replica)
                made = self._above_threshold(made.and_others(others))
            extra += int((made.place < 0).sum())
            lost += len(reco) - int((made.place >= 0).sum())
            drawn.append(_jagged(made, len(events), like=gen))
        reco_jets = drawn[0] if self.replicas == 1 else ak.concatenate([d[:, np.newaxis] for d in drawn], axis=1)
        return reco_jets, FoldCounts(len(valid), n_invalid, n_outside, lost, extra)

    def _draw_unmatched(
        self,
        gen: FlatJets,
        reco: Array,
        kept: npt.NDArray[np.bool_],
        context: Array | None,
        missing: Array | None,
        event_keys: Words,
        replica: int,
    ) -> _Placed:
        """Reco jets of no gen jet: near one of them, which may be lost or not, or from the event."""
        model = self.emulator.unmatched
        assert model is not None
        event_of_gen = gen.event

        def of_gen_jets(rows: npt.NDArray[np.int64], number: npt.NDArray[np.int64]) -> Array:
            index = gen.local_index[rows] * MOST_UNMATCHED + number
            return levels(event_keys[event_of_gen[rows]], index, replica=replica, stream=STREAM_NEAR)

        def of_events(rows: npt.NDArray[np.int64], number: npt.NDArray[np.int64]) -> Array:
            return levels(event_keys[rows], number, replica=replica, stream=STREAM_FAR)

        near, row = model.draw_near(gen.values, gen.counts, reco, kept, context, of_gen_jets, backend=self.backend)
        far, event = model.draw_far(gen.values, gen.counts, missing, of_events, backend=self.backend)
        values, event = np.concatenate([near, far]), np.concatenate([event_of_gen[row], event])
        return _Placed(values, event, np.full(len(event), -1))

    def _above_threshold(self, jets: _Placed) -> _Placed:
        """The jets above raw_pt_min, where one is given."""
        if self.raw_pt_min is None:
            return jets
        raw = SCALES[self.emulator.variables.scale].undo(jets.values.astype(np.float64))
        return jets.where(raw[:, PT] > self.raw_pt_min)

    def _context(self, gen: ak.Array, events: ak.Array, jets: FlatJets, valid: npt.NDArray[np.bool_]) -> Array:
        """What is known of the valid jets, (N, 57); warns once a process of what a bundle could use and they lack."""
        context = jet_context(gen, events, jets, valid, self.names)
        lacking = [level for level in self.emulator.variables.context if level not in known_levels(context)]
        warned = f"{self.hash} {lacking}"
        if len(context) and lacking and warned not in _WARNED:
            _WARNED.add(warned)
            told = [level for level in lacking if level != "flavours" or "flavour" not in lacking]
            msg = f"gen jets lack {', '.join(told)}, which {self.model} knows to use: folded as unknown"
            warnings.warn(msg, MissingContextWarning, stacklevel=4)
        return context

    def _one_thread(self) -> Emulator:
        # Workers are many: torch must not start a thread per core in each of them.
        if torch.get_num_threads() != 1:
            torch.set_num_threads(1)
        return self.emulator

    def _outside_domain(self, values: Array) -> int:
        """How many jets lie outside the bundle's domain; warns of it once a process."""
        domain = self.card.get("domain")
        if domain is None:
            return 0
        (pt_min, pt_max), (eta_min, eta_max) = domain["gen_pt"], domain["gen_abs_eta"]
        pt, abs_eta = values[:, PT], np.abs(values[:, ETA])
        n = int(((pt < pt_min) | (pt > pt_max) | (abs_eta < eta_min) | (abs_eta > eta_max)).sum())
        if n and self.hash not in _WARNED:
            _WARNED.add(self.hash)
            msg = (
                f"{n} of {len(values)} gen jets are outside the domain of {self.model} "
                f"(pt {pt_min:g} to {pt_max:g} GeV, |eta| {eta_min:g} to {eta_max:g}); they are folded all the same"
            )
            warnings.warn(msg, OutsideDomainWarning, stacklevel=4)
        return n


def _jagged(jets: _Placed, n_events: int, *, like: ak.Array) -> ak.Array:
    """Flat reco jets as jagged ones, sorted by pt, with the vector behavior of the gen jets."""
    counts = np.bincount(jets.event, minlength=n_events)
    order = hardest_first(jets.values, jets.event, jets.place, counts)
    reco, index = jets.values[order], jets.place[order]
    columns = {"pt": PT, "eta": ETA, "phi": PHI, "mass": MASS}
    fields = {name: np.ascontiguousarray(reco[:, k]) for name, k in columns.items()}
    if isinstance(like, vector.Lorentz):
        with_name, behavior = like.layout.purelist_parameter("__record__"), like.behavior
    else:
        with_name, behavior = "PtEtaPhiMLorentzVector", coffea_vector.behavior
    flat = ak.zip(fields | {"genJetIdx": index}, with_name=with_name, behavior=behavior)
    return ak.unflatten(flat, counts)
