"""Particles in emulated jets compared with Delphes: distances, classifier two-sample tests (judges) and a figure.

    python benchmarks/particles.py --train wwhad_train.root qcdhard_train.root \
        --test WW=wwhad_test.root QCD=qcdhard_test.root --vae VAE.safetensors --figure particles.png \
        --model cms-delphes-ak5-particles --jets cms-delphes-ak5

The files have the particles in gen and reco jets of R = 0.5 (`data/README.md`); pairs are matched within the cone. The
autoencoder of `particle_vae.py` is trained on the training files, with gen jets above 130 GeV, for some minutes on one
core, or read if it was saved; the bundle with particles folds whole events, and its reco jets are matched like the true
ones. For the test files and gen jets above 200 GeV, prints for each observable the Wasserstein-1 distance of emulated
and true jets divided by that between halves of the true jets (`closure.split_half_distance`), for all pairs and for
jets above 200 GeV at reco level; Kullback-Leibler divergences, relative in the same way; the Fréchet and the kernel
distance of the observables other than η and φ; and the areas under the curve of boosted trees and of a network on all
particles, both conditioned on the gen jet, with the null from two emulations of the same gen jets. The last area is
that of trees on the four-momenta of reco jets, after the detector's scale and rounded as in the files, and residuals,
which is also given for a bundle of jets only.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import awkward as ak
import numpy as np
import torch
from inputs import events_of, markdown, named
from particle_vae import DROPOUT, LATENT, LEARNING_RATE, Trained, train
from scipy.stats import wasserstein_distance
from torch import nn

from coffea_iqn import IQNFolder
from coffea_iqn.closure import (
    area_under_curve,
    divergence,
    frechet_distance,
    judge,
    kernel_distance,
    residual_features,
    residuals,
    shape_features,
    split_half_distance,
)
from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.events.constituents import RECO, constituents_of
from coffea_iqn.events.names import Names
from coffea_iqn.folder.constituents import fold_particles
from coffea_iqn.jets.constituents import Constituents
from coffea_iqn.jets.features import ETA, MASS, PHI, PT, SCALES, wrap_phi
from coffea_iqn.jets.matching import default_cone, match_jets
from coffea_iqn.jets.shapes import NAMES, four_momenta, shapes
from coffea_iqn.jets.table import JetTable
from coffea_iqn.numerics.arrays import Floats, Ints
from coffea_iqn.numerics.uniforms import Words, event_keys, levels
from coffea_iqn.plotting.labels import OBSERVABLES, styled
from coffea_iqn.plotting.panels import COLOURS, header, make_panels
from coffea_iqn.plotting.saving import save

RADIUS = 0.5
TRAINED_FROM, PT_MIN = 130.0, 200.0  # minimum gen pt of training and test [GeV]
SEED = 1
RESPONSES = ("log pt'/pt", "Δη", "Δφ", "log mass ratio")
PANELS = {
    "flow 1": (0.0, 1.0),
    "flow 2": (0.0, 0.6),
    "flow 3": (0.0, 0.3),
    "flow 4": (0.0, 0.2),
    "tau21": (0.0, 1.0),
    "multiplicity": (-0.5, 79.5),
    "mass": (0.0, 120.0),
    "soft-drop mass": (0.0, 120.0),
    "pTD": (0.0, 1.0),
}

OF_JETS = "trees on four-momenta, area"
ANGLE_BITS, PT_BITS, MASS_BITS = 13, 12, 17  # of numbers of jets in the files
DIVERGENCES = ("mass", "pt", "energy", "eta", "phi")
WIDTH, SHARE, EPOCHS, BATCH = 64, 30.0, 20, 128  # of the network over particles, whose sums are of about so many

SCALE = SCALES["delphes-cms"]

Draw = Callable[["Pairs", int], "Drawn"]  # reco jets of the gen jets of pairs, for a replica


class Drawn(NamedTuple):
    """Reco jets, row by row those of the gen jets.

    Attributes
    ----------
    particles: particles in each jet; an emulated jet without particles does not exist.
    jets: jets after the detector's scale, (N, 4).
    folded: number of gen jets folded for them.
    """

    particles: Constituents
    jets: Floats
    folded: int


class File(NamedTuple):
    """A file: its events, its gen jets, and the rows of those in pairs."""

    events: ak.Array
    gen: JetTable
    rows: Ints


class Pairs(NamedTuple):
    """Matched gen and reco jets, row by row, with their particles and the keys of the quantile levels.

    Attributes
    ----------
    gen, reco: particles of each jet.
    jets: gen jets, and reco jets after the detector's scale, (N, 4) each.
    keys: key of the event of each pair, (N, 4).
    place: index of each gen jet in its event, (N,).
    files: files of the pairs.
    """

    gen: Constituents
    reco: Constituents
    jets: tuple[Floats, Floats]
    keys: Words
    place: Ints
    files: tuple[File, ...]


def matched(gen: JetTable, reco: JetTable) -> Ints:
    """Return the row of the reco jet of each gen jet, or -1, (N,)."""
    places = [jets.values[:, k] for jets in (gen, reco) for k in (ETA, PHI)]
    return match_jets(*places[:2], gen.counts, *places[2:], reco.counts, cone=default_cone(RADIUS))


def read(path: str, pt_min: float, seed: int = SEED) -> Pairs:
    """Read the pairs of a file with gen jets above a pt [GeV]."""
    events = events_of(path)
    gen, reco = flatten_jets(events.GenJet), flatten_jets(events.Jet, "reco")
    inside = [constituents_of(events, gen, Names()), constituents_of(events, reco, RECO)]
    match = matched(gen, reco)
    rows = np.flatnonzero((match >= 0) & (gen.values[:, PT] > pt_min))
    number = [np.asarray(events[name]) for name in ("run", "luminosityBlock", "event")]
    keys = event_keys(seed, Path(path).stem, *number, stream="particles")[gen.event]
    particles, of_reco = (side.rows(some) for side, some in zip(inside, (rows, match[rows]), strict=True))
    jets = gen.values[rows], reco.values[match[rows]]
    return Pairs(particles, of_reco, jets, keys[rows], gen.place[rows], (File(events, gen, rows),))


def joined(pairs: Sequence[Pairs]) -> Pairs:
    """Concatenate the pairs of several files."""
    gen, reco, jets, keys, place, files = zip(*pairs, strict=True)
    sides = (Constituents(*map(np.concatenate, zip(*side, strict=True))) for side in (gen, reco))
    both = tuple(np.concatenate(side) for side in zip(*jets, strict=True))
    return Pairs(*sides, both, np.concatenate(keys), np.concatenate(place), sum(files, ()))


def autoencoder(trained: Trained) -> Draw:
    """Return jets made from the particles that an autoencoder draws."""

    def draw(pairs: Pairs, replica: int) -> Drawn:
        particles = trained.draw(pairs.gen, levels(pairs.keys, pairs.place, replica=replica, n=LATENT))
        return Drawn(particles, SCALE.apply(four_momenta(particles)), len(pairs.place))

    return draw


def folded(model: str) -> Draw:
    """Return jets made from the particles that a bundle follows in whole events."""

    def draw(pairs: Pairs, replica: int) -> Drawn:
        folder, particles, jets = IQNFolder(model, seed=SEED + replica), [], []
        for events, gen, rows in pairs.files:
            (made,) = fold_particles(folder, events.GenJet, events, gen).reco
            match = matched(gen, made.jets)[rows]
            there = made.particles.rows(match[match >= 0])
            counts = np.zeros(len(rows), dtype=np.int64)
            counts[match >= 0] = there.counts
            particles.append(there._replace(counts=counts))
            jets.append(np.where(match[:, None] >= 0, made.jets.values[match], 0.0))
        every = Constituents(*map(np.concatenate, zip(*particles, strict=True)))
        return Drawn(every.massless, np.concatenate(jets), sum(len(file.gen.values) for file in pairs.files))

    return draw


def area_of_jets(model: str, pairs: Pairs) -> tuple[float, float]:
    """Return the area of trees, and its null, for the jets that a bundle of jets only draws in whole events."""
    drawn = []
    for replica in range(2):
        of_files = []
        for events, gen, rows in pairs.files:
            (reco,) = IQNFolder(model, seed=SEED + replica).fold_table(events.GenJet, events, jets=gen).reco
            match = matched(gen, reco)[rows]
            of_files.append(np.where(match[:, None] >= 0, reco.values[match, :4], 0.0))
        drawn.append(np.concatenate(of_files))
    return judged_by_trees(pairs.jets, *drawn)


def stored(jets: Floats) -> Floats:
    """Round jets like these files, or trees would detect the difference: angles to 2^-13, pt and mass in bits."""
    rounded = jets.astype(np.float64)
    rounded[:, ETA:MASS] = np.rint(rounded[:, ETA:MASS] * 2.0**ANGLE_BITS) / 2.0**ANGLE_BITS
    for column, bits in ((PT, PT_BITS), (MASS, MASS_BITS)):
        mantissa, exponent = np.frexp(rounded[:, column])
        rounded[:, column] = np.ldexp(np.rint(mantissa * 2.0**bits) / 2.0**bits, exponent)
    return rounded


def judged_by_trees(pairs: tuple[Floats, Floats], first: Floats, second: Floats) -> tuple[float, float]:
    """Return the area of trees on four-momenta and residuals, and its null, for gen jets with a reco jet in both."""
    there = (first[:, PT] > 0.0) & (second[:, PT] > 0.0)
    gen, *reco = (jets[there].astype(np.float64) for jets in (*pairs, stored(first), stored(second)))
    true, *drawn = (residual_features(gen, jets) for jets in reco)
    return judge(true, drawn[0]).auc, judge(drawn[1], drawn[0]).auc


class Comparison(NamedTuple):
    """Results of an emulator on a sample.

    Attributes
    ----------
    jets: numbers of pairs, and of true and emulated jets above the cut at reco level.
    distances: Wasserstein-1 distances divided by their nulls, for all pairs and jets above the cut, by observable.
    divergences: Kullback-Leibler divergences with their nulls, in the same way.
    others: distances with their uncertainties; areas under the curve with their nulls.
    """

    jets: tuple[int, ...]
    distances: dict[str, tuple[float, float]]
    divergences: dict[str, tuple[tuple[float, float], tuple[float, float]]]
    others: dict[str, tuple[float, float]]


def compare(pairs: Pairs, drawn: Drawn, second: Drawn) -> Comparison:
    """Compare emulated and true jets of the same gen jets; `second` is another emulation of these, for nulls."""
    emulated, true, gen, again = drawn.particles, pairs.reco, pairs.gen, second.particles
    of_gen, *made = (shapes(jets, RADIUS) for jets in (gen, emulated, true, again))
    values = [observables(jets, of_gen) for jets in made[:2]]
    distances, divergences, numbers = [], [], []
    for cut in (0.0, PT_MIN):
        above = [jets[:, PT] > cut for jets in made[:2]]
        of_jets = [a.astype(np.int64) for a in above]
        of_particles = [np.where(a, jets.counts, 0) for a, jets in zip(above, (emulated, true), strict=True)]
        clouds = [cartesian(j.rows(np.flatnonzero(a))) for a, j in zip(above, (emulated, true), strict=True)]
        columns = {name: [v[name][a] for v, a in zip(values, above, strict=True)] for name in values[0]}
        found = {
            name: split_half_distance(wasserstein_distance, *c, counts=of_jets).ratio for name, c in columns.items()
        }
        for k, name in enumerate(("px", "py", "pz")):
            of_cloud = split_half_distance(
                wasserstein_distance, *(c[k] for c in clouds), counts=of_particles, repeats=5
            )
            found[f"{name} of particles"] = of_cloud.ratio
        distances.append(found)
        halves = {
            name: split_half_distance(divergence(columns[name][1]), *columns[name], counts=of_jets)
            for name in DIVERGENCES
        }
        divergences.append({name: tuple(float(side.mean()) for side in h) for name, h in halves.items()})
        numbers.append([int(n.sum()) for n in of_jets[::-1]])
    there = np.flatnonzero((made[0][:, PT] > 0.0) & (made[2][:, PT] > 0.0))
    rows = [jets[there] for jets in (of_gen, *made)]
    features = [shape_features(rows[0], jets) for jets in rows[1:]]
    clouds = [jets.rows(there) for jets in (gen, emulated, true, again)]
    some = [k for k, name in enumerate(NAMES) if name not in ("eta", "phi")]
    others = {
        "Fréchet distance": frechet_distance(rows[1][:, some], rows[2][:, some]),
        "kernel distance": kernel_distance(rows[1][:, some], rows[2][:, some]),
        "trees, area": tuple(judge(features[k], features[0]).auc for k in (1, 2)),
        "network, area": tuple(judged_by_network(clouds[0], clouds[k], clouds[1]) for k in (2, 3)),
        OF_JETS: judged_by_trees(pairs.jets, drawn.jets, second.jets),
    }
    cuts = ({name: (one[name], two[name]) for name in one} for one, two in (distances, divergences))
    return Comparison((len(of_gen), *numbers[1]), *cuts, others)


def observables(jets: Floats, gen: Floats) -> dict[str, Floats]:
    """Return shapes, energy and residuals of jets by name; NaN for jets without pt."""
    energy = np.sqrt((jets[:, PT] * np.cosh(jets[:, ETA])) ** 2 + jets[:, MASS] ** 2)
    with np.errstate(divide="ignore"):
        of_pairs = residuals(gen[:, :4], jets[:, :4])
    return dict(zip((*NAMES, "energy", *RESPONSES), (*jets.T, energy, *of_pairs.T), strict=True))


def cartesian(jets: Constituents) -> Floats:
    """Return px, py and pz of particles, (3, M)."""
    pt, eta, phi, _ = jets.values.T
    return np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])


class Clouds(nn.Module):
    """Network for the log odds that jets are emulated, from sums over all particles of gen and reco jets."""

    def __init__(self) -> None:
        super().__init__()
        self.each = nn.ModuleList(
            nn.Sequential(nn.Linear(3, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()) for _ in range(2)
        )
        self.together = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))

    def forward(self, *sides: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Of particles (M, 3), and their numbers (N,), of both sides."""
        sums = []
        for each, (particles, counts) in zip(self.each, sides, strict=True):
            jet = torch.repeat_interleave(torch.arange(len(counts)), counts)
            sums.append(torch.zeros(len(counts), WIDTH).index_add(0, jet, each(particles)) / SHARE)
        return self.together(torch.cat(sums, dim=1))[:, 0]


def judged_by_network(gen: Constituents, real: Constituents, emulated: Constituents) -> float:
    """Return the area under the curve of `Clouds` from two-fold cross-validation."""
    axis = shapes(gen, RADIUS)[:, :4]
    gen, real, emulated = (_around(jets, axis) for jets in (gen, real, emulated))
    areas = []
    for k in range(2):
        torch.manual_seed(k)
        rows, asked = np.arange(k, len(axis), 2), np.arange(1 - k, len(axis), 2)
        network = Clouds()
        optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS * -(-len(rows) // BATCH))
        for _ in range(EPOCHS):
            for some in torch.from_numpy(rows)[torch.randperm(len(rows))].split(BATCH):
                scores = [network(_some(gen, some.numpy()), _some(side, some.numpy())) for side in (real, emulated)]
                optimiser.zero_grad()
                (nn.functional.softplus(scores[0]) + nn.functional.softplus(-scores[1])).mean().backward()
                optimiser.step()
                schedule.step()
        with torch.inference_mode():
            scores = [network(_some(gen, asked), _some(side, asked)).numpy() for side in (real, emulated)]
        areas.append(area_under_curve(*scores))
    return float(np.mean(areas))


def _around(jets: Constituents, axis: Floats) -> Constituents:
    """Return log pt of particles, and ten times Δη and Δφ to an axis."""
    values, jet = jets.values.copy(), jets.jet
    values[:, PT] = np.log(values[:, PT])
    values[:, ETA] -= axis[jet, ETA]
    values[:, PHI] = wrap_phi(values[:, PHI] - axis[jet, PHI])
    values[:, ETA:MASS] *= 10.0
    return Constituents(values, jets.code, jets.counts)


def _some(jets: Constituents, rows: Ints) -> tuple[torch.Tensor, torch.Tensor]:
    some = jets.rows(rows)
    return torch.from_numpy(some.values[:, :MASS].astype(np.float32)), torch.from_numpy(some.counts)


@styled
def picture(true: Constituents, emulated: dict[str, Constituents], path: Path, title: str) -> None:
    """Draw observables of Delphes and emulated jets."""
    real, drawn = shapes(true, RADIUS), {name: shapes(jets, RADIUS) for name, jets in emulated.items()}
    figure, panels = make_panels(3, 3, grid=True, apart=True)
    for panel, (name, (low, high)) in zip(panels.flat, PANELS.items(), strict=True):
        edges = np.linspace(low, high, 41)
        middles, column = (edges[1:] + edges[:-1]) / 2, NAMES.index(name)
        number = np.histogram(real[:, column], edges)[0]
        panel.errorbar(middles, number, np.sqrt(number), fmt="o", color="black", markersize=4, label="Delphes")
        for colour, (emulator, jets) in zip(COLOURS, drawn.items(), strict=False):
            panel.stairs(np.histogram(jets[:, column], edges)[0], edges, color=colour, linewidth=2.5, label=emulator)
        panel.set(xlabel=OBSERVABLES[name], xlim=(low, high))
        if name.startswith("flow"):
            panel.set_yscale("log")
        else:
            panel.set_ylim(0, 1.7 * number.max())
    panels[1, 0].legend(fontsize=20)
    for panel in panels[:, 0]:
        panel.set_ylabel("Jets")
    header(panels[0, 0], panels[0, -1], title, "simulation", 13)
    save(figure, path, dpi=60)


def table(found: dict[str, Comparison], milliseconds: dict[str, float]) -> str:
    """Format a row for each result in Markdown."""
    first = next(iter(found.values()))
    head = ["", *(text for name in found for text in (name, f"{name}, reco $p_T$ > {PT_MIN:g} GeV"))]
    every = found.values()
    rows = [["jets, Delphes'; emulated", *(x for c in every for x in (c.jets[0], f"{c.jets[1]}; {c.jets[2]}"))]]
    rows += [[name, *(f"{x:.2f}" for c in every for x in c.distances[name])] for name in first.distances]
    for name in DIVERGENCES:
        cells = ("{:.3f} ({:.3f})".format(*x) for c in every for x in c.divergences[name])
        rows.append([f"KLD of {name} (null)", *cells])
    for name in first.others:
        form = "{:.4f} ± {:.4f}" if "distance" in name else "{:.3f} ({:.3f})"
        rows.append([name, *(x for c in every for x in (form.format(*c.others[name]), ""))])
    rows.append(["ms a jet, one core", *(x for name in found for x in (f"{milliseconds[name]:.3f}", ""))])
    return markdown(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs="+", required=True)
    parser.add_argument("--test", nargs="+", required=True, help="NAME=PATH[,PATH...]")
    parser.add_argument("--minutes", type=float, default=30.0, help="training time of the autoencoder")
    parser.add_argument("--dropout", type=float, default=DROPOUT, help="of the autoencoder (default: the paper's)")
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE, help="likewise")
    parser.add_argument("--vae", type=Path, nargs="+", required=True, help="files of autoencoders; read if they exist")
    parser.add_argument("--model", required=True, help="a bundle with particles")
    parser.add_argument("--jets", required=True, help="a bundle of jets only")
    parser.add_argument("--figure", type=Path, required=True, help="output file; NAME is inserted before its suffix")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = {"dropout": arguments.dropout, "learning_rate": arguments.learning_rate}
    emulators: dict[str, Draw] = {"coffea-iqn": folded(arguments.model)}
    for to in arguments.vae:
        if not to.is_file():
            pairs = joined([read(path, TRAINED_FROM) for path in arguments.train])
            train(pairs.gen, pairs.reco, arguments.minutes, **settings).save(to)
        emulators[to.stem] = autoencoder(Trained.load(to))
    for sample, paths in named(arguments.test).items():
        pairs = joined([read(path, PT_MIN) for path in paths])
        found, spent, drawn = {}, {}, {}
        for name, draw in emulators.items():
            second = draw(pairs, 1)
            started = time.process_time()  # by now everything is read and compiled
            first = draw(pairs, 0)
            spent[name] = 1e3 * (time.process_time() - started) / first.folded
            found[name], drawn[name] = compare(pairs, first, second), first.particles
        print(f"{sample}\n\n{table(found, spent)}\n", flush=True)
        print("{}, {}: {:.3f} ({:.3f})\n".format(arguments.jets, OF_JETS, *area_of_jets(arguments.jets, pairs)))
        to = arguments.figure.with_stem(f"{arguments.figure.stem}_{sample.lower()}")
        picture(pairs.reco, drawn, to, sample)


if __name__ == "__main__":
    main()
