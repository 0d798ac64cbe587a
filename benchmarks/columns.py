"""Further columns that a bundle draws in addition to the four-momentum, compared with Delphes.

    python benchmarks/columns.py MODEL qcd=qcd_test.root ttbar=ttbar_test.root

The NanoAOD-like files must have the columns of the bundle, which must not be trained on them. Compared are, for jets
above 20 GeV with a gen jet above 20 GeV, spectra and the rate of each flag by flavour of the gen jet; and for all jets,
the number of b jets in an event.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import awkward as ak
import numpy as np
from inputs import events_of, run

from coffea_iqn import IQNFolder, bundle, closure
from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.jets.context import columns_of
from coffea_iqn.jets.features import PT
from coffea_iqn.numerics.arrays import Bools, Floats
from coffea_iqn.numerics.uniforms import LEAST_LEVEL
from coffea_iqn.processors import PairsProcessor

DRAWS, PT_MIN = 10, 20.0
FLAVOURS = {"b": slice(4, 5), "c": slice(3, 4), "light": slice(0, 3)}  # columns of the level flavour


class Jets(NamedTuple):
    """Gen jets with their true reco jets, drawn reco jets, and the flavour of each gen jet."""

    gen: Floats
    context: Floats
    real: Floats
    draws: list[Floats]
    flavour: dict[str, Bools]


def jets_of(emulator: Emulator, path: str) -> Jets:
    """Read the pairs of a file and draw reco jets."""
    names = emulator.variables.names[4:]
    pairs, _ = run(PairsProcessor(columns=names), {"x": [path]}, [f"Jet_{name}" for name in names])
    rng = np.random.default_rng(5)
    keep = pairs.matched & (pairs.x[:, PT] > PT_MIN)
    gen, real, context = pairs.x[keep], pairs.y[keep], pairs.context[keep]

    def draw() -> Floats:
        tau = rng.uniform(LEAST_LEVEL, 1.0 - LEAST_LEVEL, real.shape).astype(np.float32)
        return emulator.sample(gen, tau, context)

    level = context[:, columns_of("flavour")]
    return Jets(
        gen, context, real, [draw() for _ in range(DRAWS)], {f: level[:, c].any(axis=1) for f, c in FLAVOURS.items()}
    )


def rates(jets: Jets, column: int, some: Bools, low: float = PT_MIN, high: float = np.inf) -> tuple[Floats, Floats]:
    """Return the rate of a flag for some jets between two reco pt [GeV], in Delphes and drawn, with uncertainties."""

    def rate(reco: Floats) -> Floats:
        return reco[some & (reco[:, PT] > low) & (reco[:, PT] < high), column]

    real, drawn = rate(jets.real), np.array([rate(draw).mean() for draw in jets.draws])
    error = np.sqrt(real.mean() * (1.0 - real.mean()) / len(real))
    return np.array([real.mean(), error]), np.array([drawn.mean(), drawn.std() / np.sqrt(DRAWS)])


def above(reco: Floats, column: int) -> Floats:
    return reco[reco[:, PT] > PT_MIN, column]


def report(model: str, dataset: str, path: str) -> None:
    """Print the comparison for a file."""
    emulator = bundle.load(model)
    jets = jets_of(emulator, path)
    print(f"{dataset}: {len(jets.gen)} pairs")
    for k, column in enumerate(emulator.variables.columns, 4):
        if column.kind == "flag":
            for flavour, some in jets.flavour.items():
                (real, error), (drawn, of_draws) = (100.0 * side for side in rates(jets, k, some))
                sides = f"{real:.2f} ± {error:.2f} %, drawn {drawn:.2f} ± {of_draws:.2f} %"
                print(f"  {column.name} of {flavour}: {sides}, {(drawn - real) / np.hypot(error, of_draws):+.1f} σ")
        whole = column.kind in ("count", "flag")
        first, second = (above(draw, k) for draw in jets.draws[:2])
        truth, null = (closure.marginal_of_column(first, x, whole=whole) for x in (above(jets.real, k), second))
        own, of_null = truth.agreement, null.agreement
        print(f"  {column.name}: χ²/ndf {own.per_bin:.2f} ({own.ndf}), null {of_null.per_bin:.2f}")
    if "btag" in emulator.variables.names:
        events = events_of(path, metadata={"dataset": dataset})
        numbers = [_b_jets(jets) for jets in (events.Jet, IQNFolder(model)(events.GenJet, events))]
        print(f"  events with 0, 1, ... b jets above 30 GeV: {numbers[0].tolist()}, folded {numbers[1].tolist()}")


def _b_jets(jets: ak.Array) -> Floats:
    return np.bincount(
        ak.to_numpy(ak.num(jets[(jets.pt > 30.0) & (abs(jets.eta) < 2.4) & (jets.btag == 1)])), minlength=4
    )


def main() -> None:
    model, *files = sys.argv[1:]
    for file in files:
        report(model, *file.split("=", 1))


if __name__ == "__main__":
    main()
