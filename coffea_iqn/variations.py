"""Systematic variations: reco jets of another detector, or deliberately distorted ones, at the same quantile levels.

A variation changes drawn jets, efficiencies, or the emulator. The levels stay the same, so varied and nominal jets
differ by the variation and not by chance. `VARIATIONS` lists all: those a fold may apply, and the distortions that a
validation must detect.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.jets.features import ETA, MASS, PT
from coffea_iqn.numerics.arrays import Doubles, Floats, Ints
from coffea_iqn.numerics.compiling import kernel
from coffea_iqn.numerics.double import exp, log
from coffea_iqn.numerics.uniforms import LEAST_LEVEL
from coffea_iqn.objects.columns import propagated_met
from coffea_iqn.objects.kinds import KINDS
from coffea_iqn.ranges import Range, expect

MOST_BEYOND = 0.1  # fraction of pairs to morph that may be beyond the bounds of the first detector
# pt [GeV] and eta at which functions are compared, finer than the bins of uncertainties of jets, and not at their edges
GRID_PT, GRID_ETA = np.geomspace(3.1, 7100.0, 60), np.linspace(-5.23, 5.23, 105)
SIDES = {"up": 1.0, "down": -1.0}
JETS, FOUND, EMULATOR, WRONG = "jets", "found", "emulator", "wrong"  # what a variation changes, see `Variation`
MISSING, OBJECTS = "missing", tuple(kind.name for kind in KINDS)  # the same, in whole events


class Draw(NamedTuple):
    """Drawn jets and the further inputs of variations.

    Attributes
    ----------
    jets: reco jets (N, 4) or more columns, or objects (N, 3) or more; read, never written.
    median_pt: median reco pt [GeV] given the gen jet of each reco jet, NaN for jets without a gen jet, (N,).
    at: function of levels (N, 4) that returns reco jets of the same gen jets, (N, 4).
    tau: the levels of the jets, (N, 4).
    generator: for random numbers other than the levels.
    missing, event: missing momentum, pt [GeV] and phi [rad], (events, 2), and the event of each jet, (N,).
    """

    jets: Floats
    median_pt: Doubles | None = None
    at: Callable[[Floats], Floats] | None = None
    tau: Floats | None = None
    generator: np.random.Generator | None = None
    missing: Doubles | None = None
    event: Ints | None = None


def _scaled(*columns: int) -> Callable[[Draw, Any], Floats]:
    """Return the function that multiplies these columns by 1 + by."""
    return lambda draw, by: _times(draw.jets, 1.0 + by, columns)


def _stretched(draw: Draw, by: Any) -> Floats:
    """Multiply pt and mass by (pt / median)^by, which stretches the quantile function of log pt about its median.

    To first order y' = m + (1 + by) (y − m), but never below zero. Jets without a gen jet are left unchanged.
    """
    assert draw.median_pt is not None
    by = np.array(np.broadcast_to(by, len(draw.jets)), dtype=np.float64)
    return _times(draw.jets, _power(draw.jets[:, PT].astype(np.float64), draw.median_pt, by), (PT, MASS))


@kernel
def _power(pt: Doubles, median: Doubles, by: Doubles) -> Doubles:
    factor = np.ones(len(pt))
    for i in range(len(pt)):
        if median[i] > 0.0:  # false for NaN
            factor[i] = exp(by[i] * (log(pt[i]) - log(median[i])))
    return factor


def _times(jets: Floats, factor: Any, columns: Iterable[int]) -> Floats:
    varied = jets.copy()
    for k in columns:
        varied[:, k] = jets[:, k] * factor
    return varied


def _more_found(efficiency: Floats, by: Any) -> Floats:
    """Add by to efficiencies, clipped to 0 to 1; zero outside the detector stays zero.

    For overlapping jets, whose law is drawn at a level and not evaluated, a fold shifts the level by as much instead.
    """
    return np.where(efficiency > 0.0, np.clip(efficiency + by, 0.0, 1.0), 0.0).astype(np.float32)


def _unclustered_scaled(draw: Draw, by: Any) -> Doubles:
    """Missing momentum with 1 + by times the momentum that balances it together with jets and objects."""
    assert draw.missing is not None
    assert draw.event is not None
    missing = draw.missing * np.array([1.0 + by, 1.0])
    return np.asarray(propagated_met(missing, draw.event, draw.jets, _times(draw.jets, 1.0 - by, (PT,))))


def _pt_smeared(draw: Draw, by: Any) -> Floats:
    assert draw.generator is not None
    return _times(draw.jets, 1.0 + by * draw.generator.standard_normal(len(draw.jets)).astype(np.float32), (PT,))


def _tails_cut(draw: Draw, by: Any) -> Floats:
    """Clip pt, eta and mass to within `by` half widths of the median; phi, which is periodic, is left unchanged."""
    assert draw.at is not None
    reco = draw.jets.copy()
    levels = [NormalDist().cdf(z) for z in (-1.0, 0.0, 1.0)]
    low, median, high = (draw.at(np.full_like(draw.tau, level)) for level in levels)
    for k in (PT, ETA, MASS):
        reach = by * np.abs(high[:, k] - low[:, k]) / 2.0  # at negative eta, quantiles of eta fall with the level
        reco[:, k] = np.clip(reco[:, k], median[:, k] - reach, median[:, k] + reach)
    return reco


def _independent(draw: Draw, _: Any) -> Floats:
    """Draw each variable at independent levels, which removes their correlations."""
    assert draw.at is not None
    assert draw.tau is not None
    assert draw.generator is not None
    tau, columns = draw.tau, [draw.jets[:, 0]]
    for k in range(1, tau.shape[1]):
        levels = draw.generator.uniform(tau.min(), tau.max(), tau.shape).astype(np.float32)
        columns.append(draw.at(levels)[:, k])
    return np.stack(columns, axis=1)


class Variation(NamedTuple):
    """An entry of the table.

    Attributes
    ----------
    of: what it changes: `JETS` pt and mass of the same jets; one of `OBJECTS` pt of the same electrons, muons or
        photons; `MISSING` missing momentum; `FOUND` the efficiency; `EMULATOR` the emulator; `WRONG` is a distortion
        that only validation reports use.
    says: description in one line.
    change: function of a `Draw`, or of efficiencies (N,), and of a signed size. None for another emulator.
    size: default size.
    sizes: allowed sizes.
    """

    of: str
    says: str
    change: Callable[[Any, Any], Floats] | None = None
    size: float | None = None
    sizes: Range = Range(least=0, below=1)


VARIATIONS = {
    "JES": Variation(JETS, "jet energy scale: pt and mass scaled (by default 0.01)", _scaled(PT, MASS), 0.01),
    "JER": Variation(JETS, "jet energy resolution: the response stretched about its median (0.1)", _stretched, 0.1),
    "JMS": Variation(JETS, "jet mass scale (0.01)", _scaled(MASS), 0.01),
    "EES": Variation("Electron", "electron energy scale: pt scaled (0.01)", _scaled(PT), 0.01),
    "MES": Variation("Muon", "muon energy scale (0.01)", _scaled(PT), 0.01),
    "PES": Variation("Photon", "photon energy scale (0.01)", _scaled(PT), 0.01),
    "UES": Variation(MISSING, "unclustered energy scale, in missing momentum (0.1)", _unclustered_scaled, 0.1),
    "EFF": Variation(FOUND, "probability that a gen jet has a reco jet, absolute shift (0.01)", _more_found, 0.01),
    "MODEL": Variation(EMULATOR, "another bundle: model=NAME"),
    "ENS": Variation(EMULATOR, "the members of an ensemble, the bundle's own or ens=FOLDER"),
    "pt-smeared": Variation(WRONG, "pt smeared at random", _pt_smeared, 0.02),
    "mass-shifted": Variation(WRONG, "mass scaled", _scaled(MASS), 0.01),
    "tails-cut": Variation(WRONG, "tails cut off beyond a number of half widths", _tails_cut, 3.0),
    "independent": Variation(WRONG, "each variable drawn independently", _independent),
}
"""All variations and distortions by name."""

OF_THE_SAME = (JETS, *OBJECTS, MISSING)  # variations of the same jets and objects, neither more nor fewer of them
FOLDED = [name for name, variation in VARIATIONS.items() if variation.of != WRONG]
SPOILINGS = [name for name, variation in VARIATIONS.items() if variation.of == WRONG]
Size = float | str | Callable[[Floats, Floats], Any] | None


@dataclass(frozen=True, repr=False)
class RequestedVariation:
    """A requested variation and its size.

    Parameters
    ----------
    name: key of `VARIATIONS`, in upper or lower case.
    size: a number; or a function that can be pickled, from pt [GeV] and eta, (N,) each, to sizes, (N,); for another
        emulator its name or path; None for the default. A function gets pt and eta of nominal reco jets, or of gen jets
        for an efficiency.

    Raises
    ------
    ValueError: if there is no such variation, or the size is not allowed.
    """

    name: str
    size: Size = None
    of: str = field(init=False)

    def __post_init__(self) -> None:
        name = str(self.name).upper()
        expect(name in FOLDED, f"variations: expected one of {', '.join(map(str.lower, FOLDED))}, got {self.name!r}")
        entry = VARIATIONS[name]
        size = entry.size if self.size is None else self.size
        if entry.change is None:
            fits = (isinstance(size, str | Path) and str(size)) or (size is None and name != "MODEL")
            expect(fits, f"variations: expected {name.lower()} to be a bundle's name or path, got {size!r}")
            size = None if size is None else str(size)
        elif callable(size):
            fits = entry.of != MISSING
            expect(fits, f"variations: expected {name.lower()} of a number, for it is not of jets, got a function")
            try:
                pickle.dumps(size)
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                what = f"{name.lower()} to be a function that can be pickled, such as one defined in a module"
                msg = f"variations: expected {what}: {error}"
                raise ValueError(msg) from None
        else:
            if isinstance(size, str):
                with contextlib.suppress(ValueError):
                    size = float(size)
            expect(size in entry.sizes, f"variations: expected {name.lower()} to be {entry.sizes}, got {size!r}")
        for key, value in (("name", name), ("size", size), ("of", entry.of)):
            object.__setattr__(self, key, value)

    @classmethod
    def parse(cls, given: str) -> RequestedVariation:
        """Parse text such as "jes" or "jes=0.02"."""
        name, equals, size = given.partition("=")
        expect(size or not equals, f"variations: expected NAME or NAME=SIZE, got {given!r}")
        return cls(name, size or None)

    def __repr__(self) -> str:
        """Return name and size; a function by a hash of pickle, code and sizes: equal texts mean equal variations."""
        size = self.size
        if callable(size):
            name = getattr(size, "__qualname__", type(size).__qualname__)
            content = pickle.dumps(size) + repr((_code_of(size), _sizes_on_grid(size))).encode()
            size = f"{name}:{hashlib.sha256(content).hexdigest()[:12]}"
        return self.name.lower() if size is None else f"{self.name.lower()}={size}"

    @property
    def systematics(self) -> dict[str, float]:
        """Names of the up and down variations in histograms, and their signs; empty for another emulator."""
        return {} if self.of == EMULATOR else {f"{self.name}_{side}": sign for side, sign in SIDES.items()}

    def size_of(self, jets: Floats) -> Any:
        """Return the size for jets (N, 4): a number or (N,).

        Raises
        ------
        ValueError: if a function returns sizes that are not allowed, or not one for each jet.
        """
        if not callable(self.size):
            return self.size
        # copies: a function may write into its arguments, and jets are drawn, or nominal ones
        sizes = np.asarray(self.size(jets[:, PT].copy(), jets[:, ETA].copy()), dtype=np.float64)
        wanted = f"expected {self.name.lower()} of one size, or of {len(jets)}"
        expect(sizes.shape in ((), (len(jets),)), f"variations: {wanted}, got shape {sizes.shape}")
        sizes = np.broadcast_to(sizes, len(jets))
        for end in (sizes.min(), sizes.max()) if len(sizes) else ():  # both are NaN if any size is
            VARIATIONS[self.name].sizes.check(**{f"variations: {self.name.lower()}": float(end)})
        return sizes

    def change(self, nominal: Draw | Floats, jets: Floats, sign: float) -> Floats:
        """Return varied jets or efficiencies for one sign; the size depends on pt and eta of the given jets (N, 4)."""
        change = VARIATIONS[self.name].change
        assert change is not None
        return change(nominal, sign * self.size_of(jets))


def _sizes_on_grid(function: Callable[[Floats, Floats], Any]) -> list[str]:
    """Return the sizes of a function as text: they depend on constants and on other functions, not only on its code.

    To a few digits, as other platforms round otherwise; and the error where a function does not reach.
    """

    def sizes_at(pt: Floats, eta: Floats) -> list[str]:
        try:
            sizes = np.asarray(function(pt.copy(), eta.copy()), dtype=np.float64)
        except Exception as error:  # noqa: BLE001 # a user's function
            return [type(error).__name__]
        return [f"{size + 0.0:.6g}" for size in sizes.flat]  # -0 is 0

    pt, eta = (axis.ravel() for axis in np.meshgrid(GRID_PT, GRID_ETA))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = sizes_at(pt, eta)
        if len(whole) == len(pt):
            return whole
        return whole + [size for k in range(len(pt)) for size in sizes_at(pt[k : k + 1], eta[k : k + 1])]


def _code_of(function: Any) -> Any:
    """Return the code of a function, or of an object that is called: the pickle of a function has only its name."""
    function = getattr(function, "func", function)  # of a functools.partial
    return _content(getattr(function, "__code__", getattr(type(function).__call__, "__code__", None)))


def _content(code: CodeType | None) -> Any:
    """Return instructions, names and constants: not the place in the file, which other lines change."""
    if code is None:
        return None
    constants = (
        _content(one) if isinstance(one, CodeType) else sorted(map(repr, one)) if isinstance(one, frozenset) else one
        for one in code.co_consts
    )
    return code.co_code, code.co_names, [*constants]


def of_jets(variations: Iterable[RequestedVariation]) -> list[RequestedVariation]:
    """Return the variations that keep the set of jets."""
    return [asked for asked in variations if asked.of == JETS]


def parse_variations(given: Iterable[str | RequestedVariation] | Mapping[str, Size]) -> tuple[RequestedVariation, ...]:
    """Parse requested variations, given as text such as "jes=0.02" or as a mapping of names to sizes.

    Raises
    ------
    ValueError: see `RequestedVariation`; also if a variation is requested twice.

    >>> parse_variations(["jes", "eff=0.02"]), parse_variations({"JER": 0.05})
    ((jes=0.01, eff=0.02), (jer=0.05,))
    """
    if isinstance(given, Mapping):
        made = tuple(RequestedVariation(name, size) for name, size in given.items())
    else:
        each = [given] if isinstance(given, str) else given
        made = tuple(one if isinstance(one, RequestedVariation) else RequestedVariation.parse(one) for one in each)
    names = [one.name if one.name != "MODEL" else repr(one) for one in made]
    for name in names:
        fits = names.count(name) <= 1
        expect(fits, f"variations: expected each only once, got {name.lower()} {names.count(name)} times")
    return made


def morphed(
    gen: Floats,
    reco: Floats,
    source: Emulator,
    target: Emulator,
    context: Floats | None = None,
    *,
    within_atom: Floats | None = None,
) -> Floats:
    """Morph reco jets of one detector to another: find their levels in the first, return quantiles of the second.

    Parameters
    ----------
    gen, context: gen jets (N, 4) and their conditioning variables, (N, 68) or None.
    reco: reco jet of each gen jet in the detector of source, (N, 4).
    source, target: emulators of the two detectors; quantiles of source must not cross.
    within_atom: for jets without a mass, see `Emulator.cdf`.

    Returns
    -------
    reco jets (N, 4). Jets that source emulated become those that target emulates at the same levels.

    Raises
    ------
    ValueError: if the emulators differ in direction or jet radius, more than `MOST_BEYOND` of the reco jets are beyond
        the bounds of source, or arrays are invalid.
    """
    ours, theirs = ((one.card.get("direction", "fold"), one.radius) for one in (source, target))
    same = "expected emulators of one direction and one jet radius"
    expect(ours == theirs, f"morphed: {same}, got {ours[0]} of {ours[1]} and {theirs[0]} of {theirs[1]}")
    tau = source.cdf(gen, reco, context, within_atom=within_atom).clip(LEAST_LEVEL, 1.0 - LEAST_LEVEL)
    n_beyond = int((~source.variables.support.holds(gen, reco)).sum())
    cone = f"expected the reco jet of each gen jet, within ΔR of {source.variables.support.cone:g}"
    expect(n_beyond <= MOST_BEYOND * len(gen), f"morphed: {cone}, got {n_beyond} of {len(gen)} that are not")
    return target.sample(gen, tau, context)
