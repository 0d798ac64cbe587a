"""Checks of jets before they are folded or corrected, and the warnings that these checks issue."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import awkward as ak
import numpy as np

from coffea_iqn.events.identity import equal_keys, metadata_of
from coffea_iqn.jets.constituents import Constituents, charge_of
from coffea_iqn.jets.features import ETA, MASS, PT
from coffea_iqn.jets.prompt import PromptParticles
from coffea_iqn.jets.table import JetTable
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints
from coffea_iqn.objects.kinds import KINDS
from coffea_iqn.ranges import expect

OF_GEN = re.compile(r"(gen|truth).*jet", re.IGNORECASE)  # names of collections of gen jets
# collections of reconstructed objects in NanoAOD, PFNano and Delphes
RECONSTRUCTED = re.compile(
    r"(Fat|Sub|CorrT1MET|ParticleFlow|Calo|Track|Puppi)?Jet(CHS|Puppi)?(AK)?\d*|SoftActivityJet\w*|btagWeight"
    r"|(LowPt)?Electron|Muon|(Fsr)?Photon|(boosted)?Tau|(Raw|Puppi|RawPuppi|Chs|Calo|Tk|Trk|PF|RawPF)?MET|DeepMET\w*"
    r"|METFixEE2017|(Fat)?Jet(PFCands?|SVs)|PFCands?|SV|IsoTrack|TrigObj|(Puppi)?MissingET|ScalarHT|Tower|Track|EFlow\w*"
)
CENTRAL = 2.5  # |eta|
ENOUGH, BEGINS = 100, 1.15  # number of objects that tell a threshold, and how far above that of the training it is
# number of central jets that tell where |eta| ends, and that end over the training's: a few % of all jets lie beyond
MANY, ENDS = 300, 0.7
FLAVOURS = 20  # least number of heavy jets, and of those without a flavour, that tell how jets are labelled
# PDG codes of jets: partons, and the leptons and photons that some files name
OF_JETS = (0, 1, 2, 3, 4, 5, 6, 11, 13, 15, 21, 22)
# GeV, GeV, and the least 98 % quantile of τ1 × radius × pt / mass above these: 0.78 to 0.85 in all processes
HEAVY, OF_HEAVY, NEARLY_ALL, NARROW = 2.0, 20.0, 0.98, 0.7
HARD = 300.0  # GeV, above which trainings have few leptons and photons
FORWARD = 2.1  # |eta| that hundreds of leptons reach
TURN = 6.3  # rad
HIGHEST = 100.0  # TeV: no collider has more
# PDG codes of particles that a detector identifies, the share of the jet's pt that makes one isolated, and the fraction
# and number of such jets that are too many to be jets of hadrons (0.3 % of W jets)
IDENTIFIED, ISOLATED, RARE, FEW = (11, 13, 22), 0.9, 0.01, 10
SWAPPED = 1e-3  # fraction of charges that are measured wrongly, below which few analyses depend on them
# numbers of particles that tell codes from others, of those in jets of at least as many as jets of hadrons have; bounds
# of the fractions of charged ones (0.6), and of those with negative codes among them (0.5)
TELLING, SEVERAL, CHARGED, NEGATIVE = 1000, 5, (0.3, 0.9), (0.25, 0.75)
OF_FLOW = (11, 13, 22, 130, 211)  # codes of a detector's particle flow: these alone are no particles of a generator
SOFTER = 0.5  # fraction of the least pt of the training of particles, down to which their response hardly changes
N_KEPT = 4  # least keys of each chunk that are remembered
_WARNED: set[tuple[type[Warning], str]] = set()
_EVENT_OF: dict[tuple[str, int], tuple[str, list[float]]] = {}  # file and jets' pt of the event of a dataset and key


class OutsideDomainWarning(UserWarning):
    """Some jets lie outside the range a bundle was trained for; they are folded or corrected all the same."""


class MissingContextWarning(UserWarning):
    """Gen jets lack conditioning variables that a bundle can use: it treats these as unknown."""


class OddContextWarning(UserWarning):
    """Gen jets have conditioning variables that are impossible, or seem to have another definition."""


class MixedWeightsWarning(UserWarning):
    """Some files of a dataset have event weights, which count as 1 in others, or jets to compare with, others not."""


class PartOfEventWarning(UserWarning):
    """Jets are an unidentified subset of their collection, or in another order: they may get levels of other jets."""


class EqualEventsWarning(UserWarning):
    """Some events have equal quantile levels: their jets fluctuate together, not independently."""


class ThresholdWarning(UserWarning):
    """Gen jets or leptons begin at a higher pt, or end at a lower |eta|, than those of the training, or are harder.

    Or gen jets are far softer than those whose particles a bundle knows.
    """


class IgnoredWeightsWarning(UserWarning):
    """Events have different weights, and a training whose result depends on their spectrum does not use them."""


class NotEmulatedWarning(UserWarning):
    """Something is not emulated: reconstructed objects of the file were left out, or isolated leptons are in jets."""


def _stack_level() -> int:
    """Return the stack level of the line outside this package that called it, for a warning of the caller."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").startswith("coffea_iqn."):
        frame, level = frame.f_back, level + 1
    return level


def _warn_once(category: type[Warning], key: str, msg: str, dataset: str = "") -> None:
    """Warn unless this process has already issued a warning of this category, key and, if given, dataset."""
    if dataset:
        key, msg = f"{dataset}: {key}", f"{dataset}: {msg}"
    if (category, key) not in _WARNED:
        _WARNED.add((category, key))
        warnings.warn(msg, category, stacklevel=_stack_level())


def check_valid(jets: JetTable, what: str, *, drop: bool = False, events: ak.Array | None = None) -> Bools:
    """Return which jets are valid, that is finite with pt above zero, (N,); what names them in the error.

    drop: whether invalid ones are permitted.
    events: their events, whose file is named as well.

    Raises
    ------
    ValueError: if some are invalid and drop is False.
    """
    valid = jets.valid()
    n_invalid = int((~valid).sum())
    if n_invalid and not drop:
        where = "" if events is None else f" of {metadata_of(events).get('filename', 'events')}"
        msg = f"{what}{where}: expected finite numbers and pt above 0, got {n_invalid} of {len(valid)} jets without"
        raise ValueError(msg)
    return valid


def check_units(values: Floats, energy: float | None, what: str) -> None:
    """Check pt and mass of jets (N, 4), called what: none is above the energy [TeV] of the collisions, as if in MeV.

    energy: None if it is unknown.

    Raises
    ------
    ValueError: if one is, if none of many jets has a mass, or if the masses of most are above pt, as energies are.
    """
    for column, name in ((PT, "pt"), (MASS, "mass")):
        check_below_beam(values[:, column], energy, f"{what}: expected {name}")
    n, enough = len(values), len(values) >= ENOUGH
    without = enough and not values[:, MASS].max() > 0.0
    expect(not without, f"{what}: expected jets with masses, got none above 0 in {n}: their response differs")
    n_heavy = int((values[:, MASS] > values[:, PT]).sum())
    fits = not enough or n_heavy <= n // 2
    expect(fits, f"{what}: expected masses, at most about pt, got {n_heavy} of {n} above: are they energies?")


def check_below_beam(values: Floats, energy: float | None, what: str) -> None:
    """Raise ValueError if one of some momenta [GeV] is above the energy [TeV] of the collisions; None if unknown."""
    most, energy = float(values.max(initial=0.0)), HIGHEST if energy is None else energy
    fits = not 1000.0 * energy < most < np.inf
    expect(fits, f"{what} in GeV, at most the {energy:g} TeV of the collisions, got {most:g}")


def check_momenta(pt: Floats, phi: Floats, energy: float | None, what: str) -> None:
    """Check pt [GeV] and phi [rad] of objects, called what, at collisions of an energy [TeV], as `check_units` does.

    Raises
    ------
    ValueError: if one is above the energy, as if in MeV, or an angle is above a full turn, as if in degrees.
    """
    check_below_beam(pt, energy, f"{what}: expected pt")
    most = float(np.abs(phi).max(initial=0.0))
    expect(not TURN < most < np.inf, f"{what}: expected phi in radians, got {most:g}")


def outside_domain(values: Floats, card: Mapping[str, Any], model: str, level: str) -> int:
    """Count the jets (N, 4) outside a bundle's domain and warn if there are any; level is "gen" or "reco".

    Raises
    ------
    ValueError: see `check_units`.
    """
    check_units(values, card.get("energy"), f"{level} jets")
    domain = card.get("domain") or {}
    if not domain:
        return 0
    (pt_min, pt_max), (eta_min, eta_max) = domain[f"{level}_pt"], domain[f"{level}_abs_eta"]
    pt, abs_eta = values[:, PT], np.abs(values[:, ETA])
    n = int(((pt < pt_min) | (pt > pt_max) | (abs_eta < eta_min) | (abs_eta > eta_max)).sum())
    if n:
        msg = (
            f"{n} of {len(values)} {level} jets are outside the domain of {model} (pt {pt_min:g} to {pt_max:g} GeV, "
            f"|eta| {eta_min:g} to {eta_max:g}); they are {'folded' if level == 'gen' else 'corrected'} all the same"
        )
        _warn_once(OutsideDomainWarning, card["hash"], msg)
    return n


def warn_isolated(particles: Constituents, pt: Floats, model: str) -> None:
    """Warn once per process if many jets (N,) are one isolated lepton or photon, given the particles in them.

    Detectors identify these, and analyses remove the jets made by them.
    """
    hard = np.isin(np.abs(particles.code), IDENTIFIED) & (particles.values[:, PT] > ISOLATED * pt[particles.jet])
    n = int(hard.sum())
    if n >= FEW and n > RARE * len(pt):
        msg = (
            f"{n} of {len(pt)} gen jets are one electron, muon or photon with more than {ISOLATED:.0%} of the pt: "
            f"{model} neither identifies nor removes these, and draws reco jets for them"
        )
        _warn_once(NotEmulatedWarning, f"isolated {model}", msg)


def extension_of(card: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return what the card of a bundle says of its last extension with this entry; empty if there is none."""
    return next((of for of in reversed(card.get("extended", [])) if name in of), {})


def warn_odd_codes(particles: Constituents) -> None:
    """Warn once per process if the PDG codes of the particles in gen jets are not those of a generator.

    Charge, mass and kind of a particle are known from its code alone.
    """
    code = particles.code[particles.counts[particles.jet] >= SEVERAL]
    if len(code) < TELLING:
        return
    charge = charge_of(code)
    charged = float((charge != 0).mean())
    negative = float((charge < 0).sum() / max((charge != 0).sum(), 1))
    odd = ""
    if not CHARGED[0] < charged < CHARGED[1]:
        odd = f"{charged:.0%} are charged"
    elif not NEGATIVE[0] < negative < NEGATIVE[1]:
        odd = f"{negative:.0%} of the charged ones are negative"
    elif np.isin(np.abs(code), OF_FLOW).all():
        odd = "there are pions, K_L, photons and leptons alone, as a detector has, which have other masses and decays"
    if odd:
        msg = f"particles in gen jets seem to have other codes than PDG's for generated particles: {odd}"
        _warn_once(OddContextWarning, "codes", msg)


def warn_soft_particles(values: Floats, card: Mapping[str, Any], model: str) -> None:
    """Warn once per process of gen jets (N, 4) far softer than those that a bundle's particles were trained on.

    The domain is that of the bundle's jets, which are trained on other files.
    """
    trained = extension_of(card, "particles").get("gen_pt_min") or 0.0
    least = SOFTER * trained
    n = int((values[:, PT] < least).sum())
    if n:
        msg = (
            f"{n} of {len(values)} gen jets are below {least:g} GeV, and {model} knows the particles of those "
            f"above {trained:g} GeV: in softer and in forward jets they are measured otherwise"
        )
        _warn_once(ThresholdWarning, f"particles {card['hash']}", msg)


def least_central(values: Floats) -> tuple[float, int, float]:
    """Return the lowest pt [GeV] of central gen jets, of all (N, 4), their number, and the greatest |eta| of all.

    Forward jets may begin at a lower pt.
    """
    abs_eta = np.abs(values[:, ETA])
    pt = values[:, PT][abs_eta < CENTRAL]
    return float(pt.min(initial=np.inf)), len(pt), float(abs_eta.max(initial=0.0))


def warn_reach(n: int, reach: float, trained: float, model: str, dataset: str) -> None:
    """Warn once per dataset of gen jets, n of them central, that end at a much lower |eta| than those of a training.

    reach, trained: the greatest |eta| of the jets, and of those of the training.
    """
    if n >= MANY and reach < ENDS * trained:
        msg = (
            f"gen jets end at |eta| of {reach:.3g}, those {model} was trained on at {trained:g}: reconstructed ones of "
            "more forward gen jets are missing"
        )
        _warn_once(ThresholdWarning, f"|eta| {model}", msg, dataset)


def warn_no_central(dataset: str, n_events: int) -> None:
    """Warn once per process of a dataset without any central gen jet in its events, if these are many."""
    if n_events >= ENOUGH:
        msg = (
            f"{dataset}: expected gen jets within |eta| of {CENTRAL:g}, got none in {n_events} events: all reco jets "
            "that others would become are missing"
        )
        _warn_once(ThresholdWarning, f"none {dataset}", msg)


def warn_hard(pt: Floats, model: str) -> None:
    """Warn once per process of prompt leptons and photons, with their pt [GeV], above those of trainings."""
    n = int((pt > HARD).sum())
    if n:
        msg = (
            f"{n} of {len(pt)} prompt leptons and photons are above {HARD:g} GeV, where {model} was trained on few: "
            "their resolution and isolation are extrapolated"
        )
        _warn_once(ThresholdWarning, f"hard {model}", msg)


def warn_threshold(
    what: str,
    least: float,
    n: int,
    trained: float,
    model: str,
    *,
    factor: float = BEGINS,
    enough: int = ENOUGH,
    dataset: str = "",
) -> None:
    """Warn once per dataset of gen jets or leptons that begin at another pt than those a bundle was trained on.

    Parameters
    ----------
    what: plural name of the objects.
    least, n: lowest pt [GeV] of the objects, and their number: few may be hard by chance.
    trained: pt [GeV] from which the bundle was trained.
    model: name of the bundle.
    factor, enough: by how much they may begin higher, or lower, and how many tell.
    dataset: name of their dataset.
    """
    if n >= enough and factor * least < trained:
        msg = (
            f"{what} begin at {least:.3g} GeV, those {model} was trained on at {trained:g} GeV: softer ones count as "
            f"neighbours and as sources of unmatched jets, of which there are too many; cut them at {trained:g} GeV"
        )
        _warn_once(ThresholdWarning, f"soft {what} {model}", msg, dataset)
    if n >= enough and least > factor * trained:
        msg = (
            f"{what} begin at {least:.3g} GeV, those {model} was trained on at {trained:g} GeV: reconstructed ones of "
            f"softer {what} are missing, up to about twice that"
        )
        _warn_once(ThresholdWarning, f"{what} {model}", msg, dataset)


def warn_missing_context(model: str, wanted: Sequence[str], known: Collection[str]) -> None:
    """Warn once per process of context levels that a bundle can use (wanted) but that are not known."""
    lacking = [level for level in wanted if level not in known]
    if lacking:
        told = [level for level in lacking if level != "flavours" or "flavour" not in lacking]
        msg = f"gen jets lack {', '.join(told)}, which {model} can use: treated as unknown"
        _warn_once(MissingContextWarning, f"{model} {lacking}", msg)


def warn_odd_flavours(codes: Ints) -> None:
    """Warn once per process of PDG codes of jets, (N,), that are not those of partons, leptons and photons, or 0.

    Likewise of those of hadrons, which light jets do not have.
    """
    kind = np.abs(codes)
    others = codes[~np.isin(kind, OF_JETS)]
    if len(others):
        msg = (
            f"flavours of gen jets: expected PDG codes of partons, got others for {len(others)} of {len(codes)}, such "
            f"as {others[0]}: taken for jets without a parton; flavour=none treats flavours as unknown"
        )
        _warn_once(OddContextWarning, "codes", msg)
    if (kind == 21).any() or ((kind > 0) & (kind < 4)).any():
        return
    n_heavy = int(((kind == 4) | (kind == 5)).sum())
    if min(n_heavy, len(codes) - n_heavy) >= FLAVOURS:
        msg = (
            f"flavours of {len(codes)} gen jets are never 1, 2, 3 or 21, as of hadrons: a bundle trained on those of "
            "partons, like the shipped ones, takes light jets for jets without a parton; flavour=none is more accurate"
        )
        _warn_once(OddContextWarning, "hadrons", msg)


def warn_impossible_values(what: str, n: int, n_jets: int, example: Sequence[float], dataset: str) -> None:
    """Warn once per dataset that n of n_jets gen jets have impossible values of a quantity, such as the example."""
    such = ", ".join(f"{number:g}" for number in example)
    msg = f"{n} of {n_jets} gen jets have impossible values of {what}, such as {such}: treated as unknown"
    _warn_once(OddContextWarning, what, msg, dataset)


def warn_narrow(tau: Doubles, jets: Floats, dataset: str) -> None:
    """Warn once per dataset of an N-subjettiness that is small for the masses of jets (N, 4); tau: τ1 × radius, (N,).

    The widest of them count: jets made by leptons are narrow.
    """
    mass, pt = jets[:, MASS], jets[:, PT]
    counts = (tau > 0.0) & (mass > HEAVY) & (mass < pt) & (pt > OF_HEAVY)
    n, n_wide = np.count_nonzero(counts), np.count_nonzero(counts & (tau * pt > NARROW * mass))
    if n < MANY or n_wide > (1.0 - NEARLY_ALL) * n + 1.0:  # usually; the quantile takes longer
        return
    most = float(np.quantile(tau[counts] * pt[counts] / mass[counts], NEARLY_ALL))
    if most < NARROW:
        msg = (
            "N-subjettiness of gen jets: expected β = 1, normalised to pt × radius, with τ1 × radius × pt / mass up to "
            f"0.8 or more, got {most:.2g}: masses of reco jets will be wrong; tau1=none treats it as unknown"
        )
        _warn_once(OddContextWarning, "narrow", msg, dataset)


def warn_mixed_weights(dataset: str, weighted: Mapping[str, int]) -> None:
    """Warn of a dataset in which only some events have weights, given its `identity.n_weighted`."""
    if weighted.get("with", 0) and weighted.get("without", 0):
        msg = f"{dataset}: expected weights for all events or for none, got {weighted['without']} without: taken as 1"
        warnings.warn(msg, MixedWeightsWarning, stacklevel=_stack_level())


def warn_equal_files(dataset: str, of_files: Mapping[str, Sequence[int]], identity: str, *, drawn: bool = True) -> None:
    """Warn if files of a dataset have events of equal identity, given `identity.least_keys` of each file.

    drawn: whether their jets are drawn at levels that depend on it; otherwise these are the same events.
    """
    equal = equal_keys(of_files)
    if equal is not None:
        one, other, n = equal
        where = one if one == other else f"{one} and {other}"
        msg = f"{dataset}: expected different events in each file, got {n} or more with equal identity in {where}: "
        msg += "their quantile levels are equal, and their jets fluctuate together" if drawn else "they count twice"
        if drawn and identity == "event" and one != other:
            msg += "; identity 'file' distinguishes files"
        warnings.warn(msg, EqualEventsWarning, stacklevel=_stack_level())


def without_reconstructed(events: ak.Array, emulated: Collection[str]) -> ak.Array:
    """Return events without reconstructed objects other than those emulated; warn once per process of what is removed.

    Taus, large-radius jets, other kinds of missing momentum, ... are those of another simulation of the same event:
    beside emulated jets they would be independent of these.
    """
    others = [name for name in sorted(events.fields) if RECONSTRUCTED.fullmatch(name) and name not in emulated]
    if not others:
        return events
    warn_not_emulated(others, events.fields)
    for name in others:
        events = ak.without_field(events, name)
    return events


def warn_not_emulated(others: Sequence[str], fields: Collection[str]) -> None:
    """Warn once per process of collections left out of emulated events, of all fields that the events have."""
    names, triggers = ", ".join(others), [name for name in ("HLT", "L1", "Flag") if name in fields]
    msg = f"events: left out {names}, which are reconstructed in the file and not emulated"
    msg += f"; {', '.join(triggers)} are those of the file" if triggers else ""
    _warn_once(NotEmulatedWarning, names, msg)


def warn_few_leptons(particles: PromptParticles, model: str) -> None:
    """Warn once per process of many prompt leptons that are all of one kind, or all central: others may have been cut.

    Leptons from W and Z are as often electrons as muons, and one in ten is beyond |η| of 2.
    """
    eta_of = {kind.plural: particles.values[particles.kind == k, ETA] for k, kind in enumerate(KINDS) if kind.charged}
    (few, _), (many, other) = sorted(eta_of.items(), key=lambda item: len(item[1]))
    every = np.concatenate([*eta_of.values()])
    if len(every) < MANY:
        return
    if len(other) == len(every):
        msg = (
            f"all {len(every)} prompt leptons are {many}: {model} draws no prompt {few}, which is right only for "
            "processes without"
        )
        _warn_once(ThresholdWarning, f"kinds {model}", msg)
    reach = float(np.abs(every).max())
    if reach < FORWARD:
        msg = (
            f"prompt leptons end at |eta| of {reach:.3g}: more forward ones, which {model} draws up to 2.5, are "
            "missing, and their jets are taken for jets of hadrons"
        )
        _warn_once(ThresholdWarning, f"|eta| of leptons {model}", msg)


def warn_other_charges(charge: Doubles, of_particle: Ints) -> None:
    """Warn once per process if reconstructed objects (N,) often have another charge than their prompt particles (N,).

    Whole events give objects the charge of their particle: none is measured wrongly.
    """
    n, n_charged = int((charge * of_particle < 0.0).sum()), int((charge != 0.0).sum())
    if n >= FEW and n > SWAPPED * n_charged:
        msg = (
            f"{n} of {n_charged} electrons and muons have another charge than their prompt particle: "
            "emulated ones always have its charge, so that pairs of equal charges will be missing"
        )
        _warn_once(NotEmulatedWarning, "charges", msg)


def warn_ignored_weights(weights: Doubles) -> None:
    """Warn once per process of events whose weights (events,) differ, in the training of a correction."""
    if len(weights) and np.ptp(weights) > 1e-3 * np.abs(weights).max():
        msg = (
            "weights: expected equal ones, for a correction depends on the spectrum of its jets, got "
            f"{weights.min():.3g} to {weights.max():.3g}: the training does not use them"
        )
        _warn_once(IgnoredWeightsWarning, "", msg)


def check_level(jets: ak.Array, events: ak.Array | None, level: str) -> None:
    """Refuse jets of the wrong level ("gen" or "reco"), judging by the name of their collection.

    Raises
    ------
    ValueError: for gen jets if level is "reco"; for other jets if level is "gen" and the events have gen jets.
    """
    name = jets.layout.purelist_parameter("collection_name")
    if name is None:
        return
    gen = [other for other in (() if events is None else events.fields) if OF_GEN.search(other) and "." not in other]
    of_gen = OF_GEN.search(name) is not None
    if of_gen == (level == "gen") or (level == "gen" and not gen):
        return
    advice = "an IQNFolder folds gen jets" if level == "reco" else f"the events have {gen[0]}; an IQNCorrector corrects"
    msg = f"{level} jets: expected a {level}-level collection, got {name}: {advice}"
    raise ValueError(msg)


def warn_equal_events(least_keys: Sequence[int], rows: Ints, jets: ak.Array) -> None:
    """Warn once per process of different events of equal identity that are folded together, or in files of a dataset.

    The latter come from a Runner, one after another. Copies, skims and parts of a file have the same jets, and are no
    other events. least_keys, rows: `identity.least_keys` of the events, and their rows; jets: those of the events.
    """
    n = len(least_keys) - len(set(least_keys))
    if n:
        msg = (
            f"events: expected different run, luminosityBlock and event of each, got {n} or more with those of another "
            "one: their quantile levels are equal, and their jets fluctuate together"
        )
        _warn_once(EqualEventsWarning, "", msg)
    metadata = metadata_of(jets)
    dataset, file = (str(metadata.get(name, "")) for name in ("dataset", "filename"))
    if not file:
        return
    for key, pt in zip(least_keys[:N_KEPT], jets.pt[rows[:N_KEPT]].tolist(), strict=True):
        other, of_other = _EVENT_OF.setdefault((dataset, key), (file, pt))
        if other != file and of_other != pt:
            msg = (
                f"expected other run, luminosityBlock and event in each file, got equal ones in {other} and {file}: "
                "their quantile levels are equal, and their jets fluctuate together; identity 'file' distinguishes them"
            )
            _warn_once(EqualEventsWarning, "files", msg, dataset)


def warn_partial_collection(jets: ak.Array, events: ak.Array, n_jets: int, what: str, index: str) -> None:
    """Warn once per process and collection of jets that lack the index field, and are a subset of their collection.

    Likewise of jets that were sorted again. n_jets: how many jets there are; what: what the message calls them; index:
    name of the field with their index.

    Raises
    ------
    ValueError: if they cannot be jets of these events, because an event has more of them than its collection.
    """
    own = jets.layout.purelist_parameter("collection_name")
    if own in events.fields and index not in jets.fields:
        n_more = int(ak.sum(ak.num(jets, axis=1) > ak.num(events[own], axis=1)))
        got = f"got more than these in {n_more} of {len(events)}: are the events selected or sorted like the jets?"
        expect(n_more == 0, f"{what}: expected jets of events.{own}, {got}")
    of_all = own in events.fields and index in jets.fields and index not in events[own].fields
    if of_all and (PartOfEventWarning, f"{own} elsewhere") not in _WARNED:
        n_elsewhere = _n_elsewhere(jets, events[own], index)
        if n_elsewhere:
            msg = (
                f"{what}: expected {index} to be the index of each jet in events.{own}, got that of another jet for "
                f"{n_elsewhere} of {n_jets}: set it before a cut"
            )
            _warn_once(PartOfEventWarning, f"{own} elsewhere", msg)
    # reco jets without a name may be emulated ones
    collection = own or ("GenJet" if what == "gen jets" else "")
    if index in jets.fields or collection not in events.fields or (PartOfEventWarning, collection) in _WARNED:
        return  # before jets are counted again
    n_all = int(ak.sum(ak.num(events[collection], axis=1)))
    if n_jets == n_all and _is_sorted_again(jets, events[collection]):
        msg = (
            f"{what}: expected the jets of events.{collection} in their order, or a field {index}, got another order: "
            f"their levels and {index} are of this order"
        )
        _warn_once(PartOfEventWarning, collection, msg)
    if 0 < n_jets < n_all:
        msg = (
            f"{what}: expected the {n_all} jets of events.{collection}, got {n_jets} without a field {index}: "
            "treated as the first jets of each event, and the others ignored as neighbours"
        )
        _warn_once(PartOfEventWarning, collection, msg)


def _n_elsewhere(jets: ak.Array, collection: ak.Array, index: str) -> int:
    """Count the jets (events × var) that are not at their index in the collection, by their eta."""
    if "eta" not in jets.fields or "eta" not in collection.fields:
        return 0
    n, place = np.asarray(ak.num(collection["eta"])), np.asarray(ak.flatten(jets[index]))
    event = np.repeat(np.arange(len(n)), np.asarray(ak.num(jets["eta"])))
    rows = np.where(place < n[event], (np.cumsum(n) - n)[event] + place, -1)
    there = np.append(np.asarray(ak.flatten(collection["eta"])), np.nan)
    return int((there[rows] != np.asarray(ak.flatten(jets["eta"]))).sum())


def _is_sorted_again(jets: ak.Array, collection: ak.Array) -> bool:
    """Whether the jets (events × var) are those of the collection in another order."""
    if "eta" not in jets.fields or "eta" not in collection.fields or jets.layout is collection.layout:
        return False
    own, other = jets["eta"], collection["eta"]
    if len(own) != len(other) or not ak.all(ak.num(own) == ak.num(other)) or ak.all(own == other):
        return False
    return bool(ak.all(ak.sort(own, axis=1) == ak.sort(other, axis=1)))


def warn_unchecked_collection(jets: ak.Array, what: str, index: str) -> None:
    """Warn once per process of jets of a collection without an index, whose events are not given either."""
    collection = jets.layout.purelist_parameter("collection_name")
    if collection is None or index in jets.fields:
        return
    msg = (
        f"{what}: expected the events of {collection}, or a field {index}, got neither: the jets are taken for all of "
        "each event, among which their neighbours are"
    )
    _warn_once(PartOfEventWarning, f"{collection} without events", msg)
