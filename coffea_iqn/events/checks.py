"""What is looked at of jets before they are folded or corrected, and what is warned of, once a process."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import awkward as ak
import numpy as np

from coffea_iqn.jets.features import ETA, PT
from coffea_iqn.jets.table import JetTable
from coffea_iqn.numerics.arrays import Bools, Floats

OF_GEN = re.compile(r"(gen|truth).*jet", re.IGNORECASE)  # what collections of gen jets are called
_WARNED: set[str] = set()


class OutsideDomainWarning(UserWarning):
    """Jets lie outside the range a bundle was trained for; they are folded, or corrected, all the same."""


class MissingContextWarning(UserWarning):
    """The gen jets lack something that a bundle knows to use; it folds them as jets of which that is unknown."""


class MixedWeightsWarning(UserWarning):
    """Some files of a dataset have weights of events, and others have none: those of the others count as 1."""


class PartOfEventWarning(UserWarning):
    """Gen jets are a part of their collection, of which nobody says which: they get levels and neighbours of others."""


def check_valid(jets: JetTable, what: str, *, drop: bool = False) -> Bools:
    """Which of the jets, so called, are jets: finite, of a pt above zero, (N,).

    Raises
    ------
    ValueError: when some are not, and are not to be dropped.
    """
    valid = jets.valid()
    n_invalid = int((~valid).sum())
    if n_invalid and not drop:
        msg = f"{what}: expected finite numbers and pt above 0, got {n_invalid} of {len(valid)} jets otherwise"
        raise ValueError(msg)
    return valid


def outside_domain(values: Floats, card: Mapping[str, Any], model: str, level: str) -> int:
    """How many jets (N, 4) of a level, "gen" or "reco", are outside a bundle's domain; warns of it."""
    domain = card.get("domain") or {}
    if not domain:
        return 0
    (pt_min, pt_max), (eta_min, eta_max) = domain[f"{level}_pt"], domain[f"{level}_abs_eta"]
    pt, abs_eta = values[:, PT], np.abs(values[:, ETA])
    n = int(((pt < pt_min) | (pt > pt_max) | (abs_eta < eta_min) | (abs_eta > eta_max)).sum())
    if n and card["hash"] not in _WARNED:
        _WARNED.add(card["hash"])
        msg = (
            f"{n} of {len(values)} {level} jets are outside the domain of {model} (pt {pt_min:g} to {pt_max:g} GeV, "
            f"|eta| {eta_min:g} to {eta_max:g}); they are {'folded' if level == 'gen' else 'corrected'} all the same"
        )
        warnings.warn(msg, OutsideDomainWarning, stacklevel=4)
    return n


def warn_missing_context(model: str, wanted: Sequence[str], known: Collection[str]) -> None:
    """Warn once a process of levels of context that a bundle wants and gen jets, of which others are known, lack."""
    lacking = [level for level in wanted if level not in known]
    warned = f"{model} {lacking}"
    if lacking and warned not in _WARNED:
        _WARNED.add(warned)
        told = [level for level in lacking if level != "flavours" or "flavour" not in lacking]
        msg = f"gen jets lack {', '.join(told)}, which {model} knows to use: folded as unknown"
        warnings.warn(msg, MissingContextWarning, stacklevel=4)


def warn_impossible_values(what: str, n: int, n_jets: int, example: Sequence[float]) -> None:
    """Warn once a process of gen jets, n of so many, of which a file says what no jet has."""
    if what not in _WARNED:
        _WARNED.add(what)
        such = ", ".join(f"{number:g}" for number in example)
        msg = f"{n} of {n_jets} gen jets have {what} that no jet has, such as {such}: taken as unknown"
        warnings.warn(msg, MissingContextWarning, stacklevel=5)


def warn_mixed_weights(weighted: Mapping[str, Mapping[str, int]]) -> None:
    """Warn of datasets, of each `identity.n_weighted`, of which some events alone have weights."""
    for dataset, of in weighted.items():
        if of.get("with", 0) and of.get("without", 0):
            msg = f"{dataset}: expected weights of all events or of none, got {of['without']} without, which count as 1"
            warnings.warn(msg, MixedWeightsWarning, stacklevel=4)


def check_level(jets: ak.Array, events: ak.Array | None, level: str) -> None:
    """Refuse jets of the other level, "gen" or "reco", where the name of their collection tells.

    Raises
    ------
    ValueError: for gen jets where reco jets are meant; for others where gen jets are meant, in events that have some.
    """
    name = jets.layout.purelist_parameter("collection_name")
    if name is None:
        return
    gen = [other for other in (() if events is None else events.fields) if OF_GEN.search(other) and "." not in other]
    of_gen = OF_GEN.search(name) is not None
    if of_gen == (level == "gen") or (level == "gen" and not gen):
        return
    advice = "an IQNFolder folds gen jets" if level == "reco" else f"the events have {gen[0]}; an IQNCorrector corrects"
    msg = f"{level} jets: expected a collection of {level} level, got {name}: {advice}"
    raise ValueError(msg)


def warn_partial_collection(jets: ak.Array, events: ak.Array, n_jets: int, what: str, index: str) -> None:
    """Warn once a process of jets, so many of what, that are a part of their collection and have no such index."""
    collection = jets.layout.purelist_parameter("collection_name") or "GenJet"
    if index in jets.fields or collection not in events.fields or collection in _WARNED:
        return
    n_all = int(ak.sum(ak.num(events[collection], axis=1)))
    if 0 < n_jets < n_all:
        _WARNED.add(collection)
        msg = (
            f"{what}: expected the {n_all} jets of events.{collection}, got {n_jets} without a field {index}: "
            "they are taken for the first of each event, and those cut for nobody's neighbours"
        )
        warnings.warn(msg, PartOfEventWarning, stacklevel=4)
