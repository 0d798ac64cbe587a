"""Training of the model of the particles in jets, added to an emulator of jets."""

from __future__ import annotations

from typing import Unpack

import numpy as np

from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.emulator.particles import CELLS, DIRECTION, ENTERED, LAWS, MOMENTUM, SHARE, TRACK, Particles
from coffea_iqn.iqn.distribution import Law
from coffea_iqn.jets.support import HEADROOM
from coffea_iqn.numerics.arrays import Doubles, Floats
from coffea_iqn.particles.cells import Expected
from coffea_iqn.ranges import expect
from coffea_iqn.training.laws import learn_law
from coffea_iqn.training.pairs import LawSample, ParticlesSample
from coffea_iqn.training.recipes import TrainingSettings, shorter
from coffea_iqn.training.run import How, TrainingRun

RARE = 20  # minimum number of ys of a law
ROUND = 1e-3  # margin of bounds, above the rounding in files
SIZES = dict.fromkeys((TRACK, DIRECTION, SHARE), (32, 32)) | dict.fromkeys((MOMENTUM, *CELLS.values()), (40, 40))
SMALL = (16, 16)  # sizes of the hidden layers of the other laws, which get a third of the steps
HARDLY = 5e-4  # fraction of remainders in cells below the threshold, which is lower in some directions than in others
BATCH = 2  # batch size relative to the recipe's: there are many particles


def with_particles(
    emulator: Emulator,
    sample: ParticlesSample,
    settings: TrainingSettings,
    **how: Unpack[How],
) -> Emulator:
    """Add a model of the particles in jets to an emulator; its jets are unchanged.

    Parameters
    ----------
    emulator: the emulator of jets that the sample was made for.
    sample: training samples of the laws.
    settings: training settings; uses schedule, shares and holdout.
    how: checkpoint, watch and device, see `training.train`.

    Returns
    -------
    the emulator; its card has this training under "extended".

    Raises
    ------
    ValueError: if a law has too few ys.
    """
    arrays = [array for law in sample.laws.values() for array in law[:6]]
    phases = {f"{name} {asked}": True for name in sample.laws for asked in LAWS[name].asks}
    run = TrainingRun(settings, phases, arrays, str(emulator.card.get("hash")), **how)
    laws: dict[str, Law] = {}
    least = [(0.0, 0.0)] * len(CELLS)
    for name, of_law in sample.laws.items():
        n = len(of_law.source)
        expect(n >= RARE, f"particles: expected at least {RARE} of {name} to learn from, got {n}")
        prepared, bounds = of_law, _bounds(of_law.targets)
        for which, cell in CELLS.items():
            if name == cell:
                prepared, least[which] = _with_least(of_law)
                bounds[0, 0] = min(bounds[0, 0], prepared.least.min())
        if name == DIRECTION:
            bounds[0, 0] = of_law.least.min()
        if name in ENTERED:
            bounds[0, 1] = 0.0
            bounds[:, 2] = -np.pi, np.pi
        learn, check = prepared.split(settings.holdout)
        schedule = shorter(settings, 3 if name in SIZES else 1, batch_size=BATCH * settings.batch_size)
        laws[name] = learn_law(
            name, learn, check, schedule, run, bounds, hidden=SIZES.get(name, SMALL), asks=LAWS[name].asks
        )
    model = Particles(laws, tuple(least), sample.radius, emulator.variables.scale)
    n_of = {name: len(law.source) for name, law in sample.laws.items()}
    return run.extended(emulator, {"particles": n_of, "jets": sample.n_jets}, particles=model)


def _with_least(sample: LawSample) -> tuple[LawSample, tuple[float, float]]:
    """Return the remainders in cells above threshold, with the threshold as in `Particles.least`.

    Detectors require a significant energy: above a multiple of the square root of the energy of the cell.
    """
    columns, targets = sample.columns[sample.source], sample.targets[:, 0]
    expected = Expected.of(columns)
    energy = expected.of_targets(targets)
    roots = energy / expected.root
    least = float((1.0 - ROUND) * energy.min()), float(np.quantile(roots, HARDLY))
    kept = roots >= least[1]
    edge = expected.targets(expected.least(least))[kept]
    return sample._replace(source=sample.source[kept], targets=sample.targets[kept], least=edge), least


def _bounds(targets: Floats) -> Doubles:
    """Return lower and upper bounds of each target, (2, n): extremes with a margin."""
    low, high = targets.min(axis=0), targets.max(axis=0)
    margin = HEADROOM * (high - low) + ROUND
    return np.stack([low - margin, high + margin]).astype(np.float64)
