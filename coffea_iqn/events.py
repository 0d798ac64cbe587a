"""What the library needs of coffea's events: jets as flat arrays, identity, weight.

NanoAOD-like and Delphes files differ only here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import numpy.typing as npt

from coffea_iqn import context
from coffea_iqn.uniforms import Words, event_keys

# names of what a file may know of its gen jets, NanoAOD's first
FLAVOUR = ("partonFlavour", "Flavor")
N_CHARGED, N_NEUTRAL = ("nCharged", "NCharged"), ("nNeutral", "NNeutrals")
CHARGED_FRACTION = ("chEF", "ChargedEnergyFraction")
N_SUBJETTINESS = ("tau1", "tau2", "tau3")
CONTEXT_FIELDS = (*FLAVOUR, *N_CHARGED, *N_NEUTRAL, *CHARGED_FRACTION, *N_SUBJETTINESS)
FIELDS = {"pt": "PT", "eta": "Eta", "phi": "Phi", "mass": "Mass"}  # NanoAOD's name: Delphes' name


class FlatJets(NamedTuple):
    """The jets of all events in a row.

    Attributes
    ----------
    values: (N, 4) float32: pt [GeV], eta, phi [rad], mass [GeV].
    counts: jets in each event, (events,).
    local_index: of each jet in its event, (N,).
    """

    values: npt.NDArray[np.float32]
    counts: npt.NDArray[np.int64]
    local_index: npt.NDArray[np.int64]

    @property
    def event(self) -> npt.NDArray[np.int64]:
        """Which event each jet belongs to, (N,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def where(self, keep: npt.NDArray[np.bool_]) -> FlatJets:
        """The jets where keep (N,) is true, each with the index it had."""
        counts = np.bincount(self.event[keep], minlength=len(self.counts))
        return FlatJets(self.values[keep], counts, self.local_index[keep])

    def places_of(self, others: FlatJets) -> npt.NDArray[np.int64]:
        """The place in a row of the jet that each of others, of the same events, names by its index, (M,)."""
        width = int(max(self.local_index.max(initial=0), others.local_index.max(initial=0))) + 1
        known = self.event * width + self.local_index
        return np.searchsorted(known, others.event * width + others.local_index)

    def valid(self) -> npt.NDArray[np.bool_]:
        """Where all four numbers are finite and pt is above zero, (N,)."""
        return np.isfinite(self.values).all(axis=1) & (self.values[:, 0] > 0.0)


def flatten_jets(jets: ak.Array) -> FlatJets:
    """Jagged jets (events × var) with pt, eta, phi, mass (or Delphes' PT, Eta, Phi, Mass) to flat arrays.

    A field `genJetIdx`, where the jets have one, gives the index of each jet before any cut.

    Raises
    ------
    TypeError: when the jets are not events × var records with these fields, or are option-typed (masked).
    """
    if not isinstance(jets, ak.Array) or jets.ndim != 2:
        shape = f"{jets.ndim} dimensions" if isinstance(jets, ak.Array) else type(jets).__name__
        msg = f"jets: expected an awkward array of events × var records, got {shape}"
        raise TypeError(msg)
    fields = set(jets.fields)
    names = [nano if nano in fields else delphes for nano, delphes in FIELDS.items()]
    missing = [nano for nano, name in zip(FIELDS, names, strict=True) if name not in fields]
    if missing:
        msg = f"jets: expected fields pt, eta, phi and mass, found no {', '.join(missing)}"
        raise TypeError(msg)
    columns = [jets[name] for name in names]
    if any(_has_option(column) for column in columns):
        msg = f"jets: expected jets without missing values, got type {columns[0].type}: drop them with ak.drop_none"
        raise TypeError(msg)
    counts = ak.to_numpy(ak.num(columns[0], axis=1)).astype(np.int64)
    values = np.empty((int(counts.sum()), 4), dtype=np.float32)
    for k, column in enumerate(columns):
        values[:, k] = ak.to_numpy(ak.flatten(column))
    if "genJetIdx" in fields:
        index = ak.to_numpy(ak.flatten(jets["genJetIdx"])).astype(np.int64)
    else:
        index = np.arange(len(values)) - np.repeat(np.cumsum(counts) - counts, counts)
    return FlatJets(values, counts, index)


def levels_of(fields: Collection[str]) -> tuple[str, ...]:
    """The levels of context that jets with these fields have, beside the neighbours, which all have."""
    needed = {
        "flavour": (FLAVOUR,),
        "composition": (N_CHARGED, N_NEUTRAL, CHARGED_FRACTION),
        "substructure": tuple((name,) for name in N_SUBJETTINESS),
    }
    found = {level for level, names in needed.items() if all(set(n) & set(fields) for n in names)} | {"neighbours"}
    return tuple(level for level in context.WIDTHS if level in found)


def jet_context(jets: ak.Array, flat: FlatJets, keep: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """What the file and the event know of each jet beside its four-momentum: see `context.encode`.

    Parameters
    ----------
    jets: jagged gen jets, all of the event, for the neighbours are computed from them.
    flat: the same from `flatten_jets`.
    keep: which jets are to be used, (N,); the others are nobody's neighbours.

    Returns
    -------
    (kept jets, 17).
    """
    kept = flat.where(keep)
    levels = {"neighbours": context.neighbours(kept.values, kept.counts)}
    parton = _field(jets, FLAVOUR, keep)
    if parton is not None:
        levels["flavour"] = context.flavour(parton)
    charged, neutral, fraction = (_field(jets, names, keep) for names in (N_CHARGED, N_NEUTRAL, CHARGED_FRACTION))
    if charged is not None and neutral is not None and fraction is not None:
        levels["composition"] = context.composition(charged, neutral, fraction)
    tau = [column for name in N_SUBJETTINESS if (column := _field(jets, (name,), keep)) is not None]
    if len(tau) == len(N_SUBJETTINESS):
        levels["substructure"] = context.substructure(np.stack(tau, axis=1))
    return context.encode(len(kept.values), levels)


def _field(jets: ak.Array, names: tuple[str, ...], keep: npt.NDArray[np.bool_]) -> npt.NDArray[Any] | None:
    """The first of these fields that the jets have, flat, of the kept jets; or None."""
    for name in names:
        if name in jets.fields:
            return np.asarray(ak.flatten(jets[name]))[keep]
    return None


def _has_option(column: ak.Array) -> bool:
    """Whether the type is optional at any depth."""
    kind: Any = column.type
    while kind is not None:
        if isinstance(kind, ak.types.OptionType):
            return True
        kind = getattr(kind, "content", None)
    return False


def identity_keys(events: ak.Array, seed: int) -> Words:
    """The `uniforms.event_keys` of events, (events, 4), from what identifies them.

    NanoAOD events are known by dataset, run, luminosityBlock and event; Delphes events, which have no run,
    by dataset, the uuid of their file and Event.Number.

    Raises
    ------
    ValueError: when the events have neither.
    """
    metadata = events.metadata if hasattr(events, "metadata") else {}
    dataset = str(metadata.get("dataset", ""))
    fields = set(events.fields)
    if {"run", "luminosityBlock", "event"} <= fields:
        run, block, event = (_numbers(events[n]) for n in ("run", "luminosityBlock", "event"))
        return event_keys(seed, dataset, run, block, event)
    if "Event" in fields and "Number" in events["Event"].fields:
        event = _numbers(events["Event"]["Number"])
        zero = np.zeros(len(event), dtype=np.uint32)
        return event_keys(seed, f"{dataset}\n{file_uuid(events)}", zero, zero, event)
    msg = "events: expected run, luminosityBlock and event (NanoAOD) or Event.Number (Delphes), found neither"
    raise ValueError(msg)


def _numbers(column: ak.Array) -> npt.NDArray[Any]:
    """One number an event as numpy; Delphes wraps them in lists of one."""
    return np.asarray(ak.flatten(column, axis=None) if column.ndim > 1 else column)


def file_uuid(events: ak.Array) -> str:
    """The uuid of the file the events were read from, as the Runner or NanoEventsFactory gives it, or ''."""
    metadata = events.metadata if hasattr(events, "metadata") else {}
    if "fileuuid" in metadata:
        return str(metadata["fileuuid"])
    factory = events.attrs.get("@events_factory")
    return str(getattr(getattr(factory, "file_handle", None), "uuid", ""))


def event_weights(events: ak.Array) -> npt.NDArray[np.float64] | None:
    """GenWeight (NanoAOD) or Event.Weight (Delphes), (events,); None where the file has neither."""
    if "genWeight" in events.fields:
        weight = events["genWeight"]
    elif "Event" in events.fields and "Weight" in events["Event"].fields:
        weight = events["Event"]["Weight"]
    else:
        return None
    return _numbers(weight).astype(np.float64)
