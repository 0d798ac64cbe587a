"""Context of a gen jet: conditioning variables in addition to its four-momentum, in groups called levels.

Levels of the jet, each of which may be missing in a file::

    flavour       flavour label in the file: gluon, light, s, c, b, or none (NanoAOD, Delphes, PHYSLITE)
    neighbours    other gen jets near it; available whenever the whole event is
    composition   numbers of charged and neutral particles, charged energy fraction (Delphes)
    substructure  N-subjettiness τ1, τ2, τ3 with β = 1 (files produced with it)
    prompt        prompt electrons, muons and photons in and near the jet (NanoAOD, Delphes with particles)

Levels of its event, which indicate the physics process::

    event         number, momenta and directions of the jets; available whenever the whole event is
    flavours      flavours of the other jets
    missing       gen missing transverse momentum (GenMET)

A level takes a few columns, the last of which is 1 if the level is known; otherwise all of them are zero. All functions
work on flat arrays.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from coffea_iqn.jets.features import ETA, MASS, PHI, PT
from coffea_iqn.jets.prompt import N_COLUMNS as N_PROMPT
from coffea_iqn.jets.prompt import PromptParticles, write_prompt
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints, Singles
from coffea_iqn.numerics.compiling import inlined_part, kernel, part
from coffea_iqn.numerics.double import exp, log, sine_and_cosine, take_logs, wrapped
from coffea_iqn.ranges import expect

NEIGHBOURHOOD = 1.0  # ΔR within which the pt of other jets is summed
FAR = 3.0  # ΔR beyond which neighbours are ignored
NEARLY_ALL = 0.01  # resolution of energy fractions near 0 and 1
COUNTED = 20.0  # GeV, pt threshold of the event's number of jets
LEAST_TAU = 2.0**-14  # rounding of N-subjettiness in files
SURELY_FINITE = 1e30  # smaller N-subjettiness has finite ratios in single precision


class _Made(NamedTuple):
    """Buffers: quantities of all N jets, and of the n jets of one event, as long as the largest event needs.

    pt, eta, phi, mass, px, py, pz, energy: kinematics of each jet, in GeV and rad, (N,).
    log_pt, log_ratio: logarithms of pt, and of mass over pt, (N,).
    logs: logarithms for the levels composition (four of them) and missing (the last), (5, N).
    by_pt: the jets sorted by pt, hardest first, ties in their original order, (n,); a "place" is an index into it.
    log_mass: log mass of the pair of the jet at each place with the hardest and with the second hardest jet, (n, 2).
    family: flavour family of each jet, (n,).
    n_family: number of jets of each family, (5,).
    log_of: table of the logarithms of integers up to n + 1.
    """

    pt: Floats
    eta: Floats
    phi: Floats
    mass: Floats
    px: Floats
    py: Floats
    pz: Floats
    energy: Floats
    log_pt: Floats
    log_ratio: Floats
    logs: Doubles
    by_pt: Ints
    log_mass: Floats
    family: Ints
    n_family: Ints
    log_of: Floats


@kernel
def write(
    columns: Floats,
    starts: tuple[int, ...],
    jets: Floats,
    counts: Ints,
    parton: Ints,
    composition: Floats,
    n_subjettiness: Floats,
    missing: Floats,
    prompt: PromptParticles,
    told: Bools,
) -> None:
    """Write all known levels into columns, and zeros for the others.

    Parameters
    ----------
    columns: output, (N, 68) float32.
    starts: the first column of each level, in the order of `context.WIDTHS`.
    jets, counts, parton, composition, n_subjettiness, missing, prompt, told: same as in `conditioning_variables`; of
        length 0 if not available.
    """
    # slice here, so that all views have one numba type; numpy may mark slices with few rows as contiguous
    of_flavour, of_neighbours = columns[:, starts[0] :], columns[:, starts[1] :]
    of_composition, of_substructure = columns[:, starts[2] :], columns[:, starts[3] :]
    of_prompt, of_event = columns[:, starts[4] :], columns[:, starts[5] :]
    of_flavours, of_missing = columns[:, starts[6] :], columns[:, starts[7] :]
    most = 0
    for n in counts:
        most = max(most, n)
    n_jets = len(jets)
    made = _Made(
        np.empty(n_jets),
        np.empty(n_jets),
        np.empty(n_jets),
        np.empty(n_jets),
        np.empty(n_jets),
        np.empty(n_jets),
        np.empty(n_jets),
        np.empty(n_jets),
        np.empty(n_jets),
        np.empty(n_jets),
        np.ones((5, n_jets)),
        np.empty(most, dtype=np.int64),
        np.empty((most, 2)),
        np.empty(most, dtype=np.int64),
        np.empty(5, dtype=np.int64),
        np.empty(most + 2),
    )
    for number in range(1, most + 2):
        made.log_of[number] = log(number)
    _fill_kinematics(jets, bool(told.any()), made)
    _fill_logs(counts, composition, missing, told, made)
    first = first_prompt = 0
    for which in range(len(counts)):
        n = counts[which]
        for row in range(first, first + n):  # here rather than up front, as these rows are about to enter the cache
            for column in range(columns.shape[1]):
                columns[row, column] = 0.0
        _sort(first, n, made)
        _neighbours(first, n, made, of_neighbours)
        if told[which]:
            _pair(first, n, made)
            _event(first, n, made, of_event)
        if len(parton):
            _flavours(parton, first, n, made, of_flavour, of_flavours, told[which])
        if len(composition):
            _composition(composition, first, n, made, of_composition)
        if len(n_subjettiness):
            _substructure(n_subjettiness, first, n, of_substructure)
        if len(missing) and told[which]:
            _missing(first, n, made, missing[which, 0], missing[which, 1], of_missing)
        if len(prompt.counts):
            those = slice(first_prompt, first_prompt + prompt.counts[which])
            write_prompt(jets[first : first + n], prompt.values[those], prompt.kind[those], of_prompt[first:])
            first_prompt = those.stop
        first += n


@part
def _fill_kinematics(jets: Floats, of_events: bool, made: _Made) -> None:
    """Fill in the quantities of each jet alone, in loops that the compiler vectorises; all if for levels of events."""
    pt, mass, log_pt, log_ratio = made.pt, made.mass, made.log_pt, made.log_ratio
    for i in range(len(jets)):
        pt[i], made.eta[i], made.phi[i], mass[i] = jets[i, PT], jets[i, ETA], jets[i, PHI], max(jets[i, MASS], 0.0)
    for i in range(len(jets)):
        log_pt[i] = log(pt[i])
    if not of_events:
        return
    for i in range(len(jets)):
        log_ratio[i] = log(mass[i] + 0.5)
    for i in range(len(jets)):
        log_ratio[i] -= log_pt[i] - 2.0
    for i in range(len(jets)):
        made.py[i], made.px[i] = sine_and_cosine(made.phi[i])
    for i in range(len(jets)):
        made.pz[i] = exp(min(max(made.eta[i], -10.0), 10.0))
    for i in range(len(jets)):
        made.px[i] *= pt[i]
        made.py[i] *= pt[i]
        made.pz[i] = pt[i] * 0.5 * (made.pz[i] - 1.0 / made.pz[i])
        px, py, pz = made.px[i], made.py[i], made.pz[i]
        made.energy[i] = math.sqrt(px * px + py * py + pz * pz + mass[i] * mass[i])


@part
def _fill_logs(counts: Ints, composition: Floats, missing: Floats, told: Bools, made: _Made) -> None:
    """Fill in the logarithms for the levels composition and missing."""
    logs = made.logs
    for i in range(len(composition)):
        fraction = composition[i, 2]
        logs[0, i], logs[1, i] = 1.0 + composition[i, 0], 1.0 + composition[i, 1]
        logs[2, i] = min(max(fraction, 0.0), 1.0) + NEARLY_ALL
        logs[3, i] = min(max(1.0 - fraction, 0.0), 1.0) + NEARLY_ALL
    first = 0
    for which in range(len(missing)):
        for i in range(first, first + counts[which] * told[which]):
            logs[4, i] = 1.0 + missing[which, 0] / made.pt[i]
        first += counts[which]
    take_logs(logs[: 4 + told.any()])


@inlined_part
def _sort(first: int, n: int, made: _Made) -> None:
    """Fill in the order by pt of an event's jets."""
    by_pt = made.by_pt
    for i in range(n):
        place = i
        while place > 0 and made.pt[first + by_pt[place - 1]] < made.pt[first + i]:
            by_pt[place] = by_pt[place - 1]
            place -= 1
        by_pt[place] = i


@inlined_part
def _pair(first: int, n: int, made: _Made) -> None:
    """Fill in the pair masses of an event's jets."""
    by_pt = made.by_pt
    for place in range(1, n):
        made.log_mass[place, 0] = _log_mass_of_pair(made, first + by_pt[place], first + by_pt[0])
        if place > 1:
            made.log_mass[place, 1] = _log_mass_of_pair(made, first + by_pt[place], first + by_pt[1])


@part
def _log_mass_of_pair(made: _Made, i: int, j: int) -> float:
    """`_log_mass` of a pair of jets."""
    px, py = made.px[i] + made.px[j], made.py[i] + made.py[j]
    return _log_mass(px, py, made.pz[i] + made.pz[j], made.energy[i] + made.energy[j])


@part
def _log_mass(px: float, py: float, pz: float, energy: float) -> float:
    """Logarithm of the invariant mass, minus 4: about zero for two very soft jets."""
    squared = energy * energy - (px * px + py * py + pz * pz)
    return 0.5 * log(max(squared, 0.0) + 1.0) - 4.0


@inlined_part
def _neighbours(first: int, n: int, made: _Made, out: Floats) -> None:
    """Write the level neighbours of each jet, three columns.

    ΔR to the nearest other jet, at most 3, over 3; the logarithm of its pt over the jet's, within ±3, weighted down
    linearly with the distance; the logarithm of 1 + (summed pt of other jets within ΔR < 1) / pt.
    """
    for i in range(n):
        nearest, least, activity = i, FAR * FAR, 0.0
        eta, phi = made.eta[first + i], made.phi[first + i]
        for j in range(n):
            d_eta, d_phi = eta - made.eta[first + j], wrapped(phi - made.phi[first + j])
            squared = d_eta * d_eta + d_phi * d_phi if j != i else FAR * FAR  # no jet is its own neighbour
            nearest, least = (j, squared) if squared < least else (nearest, least)
            activity += made.pt[first + j] if squared < NEIGHBOURHOOD * NEIGHBOURHOOD else 0.0
        near = math.sqrt(least) / FAR
        ratio = min(max(made.log_pt[first + nearest] - made.log_pt[first + i], -3.0), 3.0)
        row = first + i
        out[row, 0] = near
        out[row, 1] = ratio * (1.0 - near)
        out[row, 2] = log(1.0 + activity / made.pt[first + i]) if activity > 0.0 else 0.0
        out[row, 3] = 1.0


@inlined_part
def _event(first: int, n: int, made: _Made, out: Floats) -> None:
    """Write the level event of each jet, 19 columns.

    HT, and HT over the jet's pt; the number of jets above 20 GeV; the vector sum of pt over HT; the jet's rank in pt;
    the mass of all jets. Then, for the hardest and for the second hardest other jet: the mass of the pair, |Δφ|, |Δη|,
    the ratio of pt, and its mass over its pt. Then the mass of those two jets, and whether each of them exists.
    """
    ht = px = py = pz = energy = 0.0
    n_hard = 0
    for i in range(n):
        ht += made.pt[first + i]
        n_hard += made.pt[first + i] > COUNTED
        px += made.px[first + i]
        py += made.py[first + i]
        pz += made.pz[first + i]
        energy += made.energy[first + i]
    log_ht, log_n, log_mass = log(ht), made.log_of[1 + n_hard], _log_mass(px, py, pz, energy)
    imbalance = math.sqrt(px * px + py * py) / ht
    for place in range(n):
        i = made.by_pt[place]
        row = first + i
        out[row, 0] = log_ht - 4.0
        out[row, 1] = log_ht - made.log_pt[first + i]
        out[row, 2] = log_n
        out[row, 3] = imbalance
        out[row, 4] = min(place, 5) / 5.0
        out[row, 5] = log_mass
        for k in range(2):
            other = _other(place, k)
            if other < n:
                j = made.by_pt[other]
                column = 6 + 5 * k
                d_phi = wrapped(made.phi[first + i] - made.phi[first + j])
                d_eta = made.eta[first + i] - made.eta[first + j]
                out[row, column] = made.log_mass[max(place, other), min(place, other)]
                out[row, column + 1] = abs(d_phi) / math.pi
                out[row, column + 2] = min(abs(d_eta), 6.0) / 3.0
                out[row, column + 3] = made.log_pt[first + j] - made.log_pt[first + i]
                out[row, column + 4] = made.log_ratio[first + j]
                out[row, 17 + k] = 1.0
        if n > 2:
            out[row, 16] = made.log_mass[_other(place, 1), _other(place, 0)]
        out[row, 19] = 1.0


@part
def _other(place: int, k: int) -> int:
    """For a jet at a place by pt, return the place of the hardest (k = 0) or second hardest (k = 1) other jet."""
    return k if place > k else k + 1


@part
def _kind(code: int) -> int:
    """Return the column of a PDG code's flavour: gluon, light, s, c, b; 5 for any other code."""
    code = abs(code)
    if code == 21:
        return 0
    return max(code - 1, 1) if 1 <= code <= 5 else 5


@inlined_part
def _flavours(parton: Ints, first: int, n: int, made: _Made, own: Floats, out: Floats, told: bool) -> None:
    """Write the jet's own flavour (gluon, light, s, c, b: five columns) and those of the other jets (12 columns).

    The latter, for each of gluon, light or s, c, b: log(1 + number of other jets); whether the hardest other jet has
    this flavour; whether the second hardest has. They are a level of the event, written only if told.
    """
    family, n_family = made.family, made.n_family
    any_there = False
    for one in range(5):
        n_family[one] = 0
    for i in range(n):
        kind = _kind(parton[first + i])
        family[i] = kind if kind < 2 else kind - 1  # gluon, light or s, c, b; 4 for any other
        n_family[family[i]] += 1
        any_there |= parton[first + i] != 0
    if not any_there:  # Delphes writes zeros if the card does not compute flavours
        return
    for place in range(n):
        i = made.by_pt[place]
        row = first + i
        own[row, _kind(parton[row])] = 1.0
        own[row, 5] = 1.0
        if not told:
            continue
        hardest, next_one = _other(place, 0), _other(place, 1)
        hardest = family[made.by_pt[hardest]] if hardest < n else 4
        next_one = family[made.by_pt[next_one]] if next_one < n else 4
        for one in range(4):
            out[row, one] = made.log_of[1 + n_family[one] - int(family[i] == one)]
            out[row, 4 + one] = hardest == one
            out[row, 8 + one] = next_one == one
        out[row, 12] = 1.0


@inlined_part
def _composition(given: Floats, first: int, n: int, made: _Made, out: Floats) -> None:
    """Write log(1 + n) − 2 for charged and for neutral particles, and the charged energy fraction, five columns.

    The fraction is given as such and as the logarithms of the charged and of the neutral fraction: the response of a
    jet with 1 % neutral energy, such as one made of a lepton, differs much from that of a jet with 10 %.
    """
    for i in range(first, first + n):
        charged, neutral, fraction = made.logs[0, i], made.logs[1, i], given[i, 2]
        if _finite(charged + neutral + fraction):
            out[i, 0] = charged - 2.0
            out[i, 1] = neutral - 2.0
            out[i, 2] = fraction - 0.5
            out[i, 3] = made.logs[2, i] / 2.0 + 0.5
            out[i, 4] = made.logs[3, i] / 2.0 + 0.5
            out[i, 5] = 1.0


@inlined_part
def _substructure(n_subjettiness: Floats, first: int, n: int, out: Floats) -> None:
    """Write log τ1, τ2/τ1 and τ3/τ2; 0/0 is taken as 0."""
    any_there = False
    for i in range(first, first + n):
        any_there |= n_subjettiness[i, 0] != 0.0
    if not any_there:
        return
    for i in range(first, first + n):
        log_tau1 = log(max(n_subjettiness[i, 0], LEAST_TAU)) / 2.0 + 1.0
        ratio21 = n_subjettiness[i, 1] / n_subjettiness[i, 0] if n_subjettiness[i, 0] > LEAST_TAU else 0.0
        ratio32 = n_subjettiness[i, 2] / n_subjettiness[i, 1] if n_subjettiness[i, 1] > LEAST_TAU else 0.0
        if _finite(log_tau1 + ratio21 + ratio32):
            out[i, 0] = log_tau1
            out[i, 1] = ratio21
            out[i, 2] = ratio32
            out[i, 3] = 1.0


@inlined_part
def _missing(first: int, n: int, made: _Made, pt: float, phi: float, out: Floats) -> None:
    """Write log(1 + missing pt / 10 GeV), log(1 + missing pt / jet pt), and the cosine of the angle to the jet."""
    y, x = sine_and_cosine(phi)
    log_missing = log(1.0 + pt / 10.0)
    for i in range(n):
        row = first + i
        log_ratio, cosine = made.logs[4, row], (made.px[row] * x + made.py[row] * y) / made.pt[row]
        if pt >= 0.0 and _finite(log_missing + log_ratio + cosine):
            out[row, 0] = log_missing
            out[row, 1] = log_ratio
            out[row, 2] = cosine
            out[row, 3] = 1.0


@part
def _finite(number: float) -> bool:
    """Return whether a number is finite in single precision."""
    return math.isfinite(np.float32(number))


OF_JET = {"flavour": 6, "neighbours": 4, "composition": 6, "substructure": 4, "prompt": N_PROMPT + 1}
OF_EVENT = {"event": 20, "flavours": 13, "missing": 4}
MOOT = "substructure"  # if this level is known, the response of a jet does not depend on its process
WIDTHS = OF_JET | OF_EVENT
NANOAOD = ("flavour", "neighbours", "prompt", *OF_EVENT)  # levels available in CMS NanoAOD
N_COLUMNS = sum(WIDTHS.values())


def columns_of(level: str) -> slice:
    """Return the columns of a level."""
    before = list(WIDTHS)[: list(WIDTHS).index(level)]
    start = sum(WIDTHS[name] for name in before)
    return slice(start, start + WIDTHS[level])


_STARTS = tuple(columns_of(level).start for level in WIDTHS)


def contents(columns: Floats) -> Ints:
    """Return what each jet is made by, (N,), where known.

    0 to 4 for gluon, light, s, c, b; 5 for any other parton, or none known; 6 to 8 for an electron, muon or photon with
    more than half of the pt.

    columns: the conditioning variables of the jets, (N, 68).
    """
    flavour, prompt = columns[:, columns_of("flavour")][:, :5], columns[:, columns_of("prompt")][:, :3]
    of_parton = np.where(flavour.any(axis=1), flavour.argmax(axis=1), 5)
    return np.where(prompt.max(axis=1) > 0.5, 6 + prompt.argmax(axis=1), of_parton)


def nearest_distance(columns: Singles) -> Singles:
    """Return ΔR of each jet to the nearest other jet, (N,), at most 3; the level neighbours must be known."""
    return columns[:, columns_of("neighbours").start] * np.float32(FAR)


def encode(n_jets: int, levels: Mapping[str, Floats]) -> Singles:
    """Assemble the columns of all levels, (N, 68).

    Parameters
    ----------
    n_jets: N, required as `levels` may be empty.
    levels: columns of each known level by name, without its last column; a level is unknown for rows with NaN.
    """
    out = np.zeros((n_jets, N_COLUMNS), dtype=np.float32)
    for name, values in levels.items():
        columns = columns_of(name)
        known = np.asarray(np.isfinite(values).all(axis=1))
        out[:, columns.start : columns.stop - 1] = np.where(known[:, None], values, 0.0)
        out[:, columns.stop - 1] = known
    return out


def known_levels(columns: Floats, among: Collection[str] = tuple(WIDTHS)) -> tuple[str, ...]:
    """Return the levels, among the given ones, that are known for at least one jet."""
    return tuple(name for name in WIDTHS if name in among and _any(columns, columns_of(name).stop - 1))


@kernel
def _any(columns: Floats, column: int) -> bool:
    """Return whether a column has a nonzero entry; stops at the first one."""
    row = 0
    while row < len(columns) and columns[row, column] == 0.0:
        row += 1
    return row < len(columns)


def select(columns: Floats, levels: Sequence[str]) -> list[Floats]:
    """Return the columns of the given levels, (N, n) each."""
    if tuple(levels) == tuple(WIDTHS):
        return [columns]
    return [columns[:, columns_of(level)] for level in levels]


def conditioning_variables(
    jets: Floats,
    counts: npt.NDArray[np.integer],
    *,
    parton: npt.NDArray[Any] | None = None,
    composition: npt.NDArray[Any] | None = None,
    n_subjettiness: npt.NDArray[Any] | None = None,
    missing: npt.NDArray[Any] | None = None,
    prompt: PromptParticles | None = None,
    told: Bools | None = None,
    out: Singles | None = None,
) -> Singles:
    """Return the columns of all levels, (N, 68), from the inputs that the file provides.

    Parameters
    ----------
    jets: jets of all events, concatenated, (N, 4): pt [GeV], eta, phi [rad], mass [GeV]; finite, pt above zero.
    counts: number of jets in each event, (events,).
    parton: signed PDG codes of the jets' flavours, (N,); flavours are unknown in events in which all are 0.
    composition: numbers of charged and neutral particles, charged energy fraction, (N, 3).
    n_subjettiness: N-subjettiness τ1, τ2, τ3, (N, 3); unknown in events in which τ1 is 0 for all jets.
    missing: pt [GeV] and phi [rad] of the missing momentum, (events, 2).
    prompt: the prompt particles of the events.
    told: events for which to write the levels `OF_EVENT`, (events,), see `not_moot`; None for all.
    out: output buffer with at least N rows, whose first N rows are returned; None to allocate one.

    Levels composition, substructure and missing are unknown for a jet if an input is not finite.

    Raises
    ------
    ValueError: when the shapes do not agree.
    """
    n_jets, n_events = len(jets), len(counts)
    expect(np.sum(counts) == n_jets, f"counts: expected {n_jets} jets in all, got {np.sum(counts)}")
    values, kind, of_event, charge = (None, None, None, None) if prompt is None else prompt
    n_prompt = 0 if kind is None else len(kind)
    if of_event is not None and np.sum(of_event) != n_prompt:
        msg = f"prompt particles: expected {n_prompt} in all, got {np.sum(of_event)}"
        raise ValueError(msg)
    columns = np.empty((n_jets, N_COLUMNS), dtype=np.float32) if out is None else out[:n_jets]
    write(
        columns,
        _STARTS,
        _plain("jets", jets, np.float32, (n_jets, 4)),
        _plain("counts", counts, np.int64, (n_events,)),
        _plain("parton", parton, np.int64, (n_jets,)),
        _plain("composition", composition, np.float64, (n_jets, 3)),
        _plain("n_subjettiness", n_subjettiness, np.float64, (n_jets, 3)),
        _plain("missing", missing, np.float64, (n_events, 2)),
        PromptParticles(
            _plain("prompt particles", values, np.float32, (n_prompt, 3)),
            _plain("kinds of prompt particles", kind, np.int64, (n_prompt,)),
            _plain("counts of prompt particles", of_event, np.int64, (n_events,)),
            _plain("charges of prompt particles", charge, np.int64, (n_prompt,)),
        ),
        _plain("told", np.ones(n_events, dtype=bool) if told is None else told, np.bool_, (n_events,)),
    )
    return columns


def not_moot(n_subjettiness: npt.NDArray[Any], counts: npt.NDArray[np.integer]) -> Bools:
    """Return in which events the level `MOOT` is unknown for a jet, (events,); arguments as above."""
    n_jets, n_events = len(n_subjettiness), len(counts)
    known = _plain("n_subjettiness", n_subjettiness, np.float64, (n_jets, 3))
    return np.asarray(_not_moot(known, _plain("counts", counts, np.int64, (n_events,))))


@kernel
def _not_moot(n_subjettiness: Doubles, counts: Ints) -> Bools:
    unknown, first = np.empty(len(counts), dtype=np.bool_), 0
    for which in range(len(counts)):
        stop, any_there, all_finite = first + counts[which], False, True
        for i in range(first, stop):
            any_there |= n_subjettiness[i, 0] != 0.0
            for k in range(3):
                all_finite &= abs(n_subjettiness[i, k]) < SURELY_FINITE
        unknown[which] = stop > first and not (any_there and all_finite)
        first = stop
    return unknown


def _plain(name: str, values: npt.NDArray[Any] | None, dtype: type, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return a contiguous array of this type and shape, always of the same numba type; an empty array for None."""
    if values is None:
        return np.empty((0, *shape[1:]), dtype=dtype)
    plain = np.require(values, dtype, ["C", "A", "W"])
    expect(plain.shape == shape, f"{name}: expected shape {shape}, got {plain.shape}")
    return plain
