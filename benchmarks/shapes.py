"""Search for shapes of gen jets that their response depends on, with boosted trees.

    python benchmarks/shapes.py --train qcdhard_train.root --check qcdhard_test.root --other wwhad_train.root

The files have the particles of gen jets (`data/README.md`). Trees learn the median of log(m'/m) and log(pt'/pt) on one
process from the inputs of a bundle (four-momentum, flavour, composition, N-subjettiness), and with a further shape
added. Prints the mean absolute and the median residual for independent jets of the same process and of another one: a
shape that affects the response reduces the first, and also the second if the processes differ in it.
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

import numpy as np
import xgboost
from inputs import events_of
from rich.console import Console
from rich.table import Table

from coffea_iqn.events.collections import flatten_jets, gen_events
from coffea_iqn.events.constituents import constituents_of
from coffea_iqn.events.names import Names
from coffea_iqn.jets.constituents import Constituents, charge_of
from coffea_iqn.jets.features import ETA, MASS, PHI, PT, wrap_phi
from coffea_iqn.jets.matching import default_cone, match_tables
from coffea_iqn.numerics.arrays import Floats

PHOTON, HARD = 22, 1.0  # PDG code; GeV
RESPONSES = ("log mass", "log pt")


class Sample(NamedTuple):
    """Pairs: inputs known to a bundle (N, n), each shape (N,), and the responses (N,) by name."""

    known: Floats
    shapes: dict[str, Floats]
    responses: dict[str, Floats]


def read(path: str, radius: float) -> Sample:
    """Read the pairs of a file."""
    events = events_of(path)
    gen, reco = flatten_jets(events.GenJet), flatten_jets(events.Jet, "reco")
    known = gen_events(events.GenJet, events, gen, gen.valid(), radius=radius)
    inside = constituents_of(events, gen, Names())
    assert inside is not None
    assert known.composition is not None
    assert known.n_subjettiness is not None
    row, match = match_tables(gen, reco, default_cone(radius))
    pt, mass = gen.values[:, PT], np.maximum(gen.values[:, MASS], 0.0)
    four = [np.log(pt), np.abs(gen.values[:, ETA]), np.log(mass + 2.0), np.log((mass + 0.5) / pt)]
    base = np.column_stack([*four, known.composition, known.n_subjettiness, known.parton])
    other = reco.values[match]
    responses = {
        "log mass": np.log((np.maximum(other[:, MASS], 0.0) + 2.0) / (mass[row] + 2.0)),
        "log pt": np.log(other[:, PT] / pt[row]),
    }
    return Sample(base[row], {name: shape[row] for name, shape in shapes(inside, gen.values).items()}, responses)


def shapes(inside: Constituents, jets: Floats) -> dict[str, Floats]:
    """Return further shapes of jets, (N,) each."""
    pt, eta, phi, _ = inside.values.T
    jet = inside.jet

    def total(weights: Any) -> Floats:
        return np.asarray(np.bincount(jet, weights=weights, minlength=len(inside.counts)))

    def mass(which: Any) -> Floats:
        momenta = (np.cosh(eta), np.cos(phi), np.sin(phi), np.sinh(eta))
        energy, x, y, z = (total(which * pt * of) for of in momenta)
        of_all = np.maximum(jets[:, MASS], 1.0)
        return np.asarray(np.sqrt(np.maximum(energy**2 - x**2 - y**2 - z**2, 0.0)) / of_all)

    charged, photon = charge_of(inside.code) != 0, np.abs(inside.code) == PHOTON
    neutral_hadron, of_all = ~charged & ~photon, total(pt)
    distance2 = (eta - jets[jet, ETA]) ** 2 + wrap_phi(phi - jets[jet, PHI]) ** 2
    hardest = np.zeros(len(inside.counts))
    np.maximum.at(hardest, jet, pt)
    return {
        "pTD": np.sqrt(total(pt**2)) / of_all,
        "hardest particle": hardest / of_all,
        "photons": total(pt * photon) / of_all,
        "neutral hadrons": total(pt * neutral_hadron) / of_all,
        "charged below 1 GeV": total(pt * (charged & (pt < HARD))) / of_all,
        "width": np.sqrt(total(pt * distance2) / of_all),
        "mass of particles above 1 GeV": mass(pt > HARD),
        "mass without neutral hadrons": mass(~neutral_hadron),
    }


def residuals(train: Sample, check: Sample, other: Sample, response: str, names: list[str]) -> list[Floats]:
    """Return the residuals of a response on the check sample and on the other sample."""

    def rows(sample: Sample) -> Any:
        columns = np.column_stack([sample.known, *(sample.shapes[name] for name in names)])
        return xgboost.DMatrix(columns, label=sample.responses[response])

    settings = {
        "max_depth": 5,
        "eta": 0.05,
        "subsample": 0.8,
        "objective": "reg:absoluteerror",
        "seed": 1,
        "nthread": 1,
    }
    trees = xgboost.train(
        settings, rows(train), 400, evals=[(rows(check), "stop")], early_stopping_rounds=30, verbose_eval=False
    )
    until = (0, trees.best_iteration + 1)
    return [s.responses[response] - trees.predict(rows(s), iteration_range=until) for s in (check, other)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("train", "check", "other"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--radius", type=float, default=0.5)
    arguments = parser.parse_args()
    samples = [read(getattr(arguments, name), arguments.radius) for name in ("train", "check", "other")]
    table = Table("response", "beside what is known", "mean |r|, same", "median", "mean |r|, other", "median")
    for response in RESPONSES:
        for names in ([], *([name] for name in samples[0].shapes), list(samples[0].shapes)):
            what = "all of these" if len(names) > 1 else "".join(names) or "nothing"
            cells = [
                f"{value:.4f}" if k == 0 else f"{100 * value:+.2f} %"
                for r in residuals(*samples, response, names)
                for k, value in enumerate((np.abs(r).mean(), np.median(r)))
            ]
            table.add_row(response, what, *cells)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
