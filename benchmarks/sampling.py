"""How fast a bundle draws, as ratios to the paper's network in the same run.

    OMP_NUM_THREADS=1 python benchmarks/sampling.py [MODEL ...]

One thread, jets of the shipped samples with all that is known of them, network inputs and decoding included. Each
figure is the best of several rounds, the candidates taking turns, for the machine is shared.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from coffea_iqn import Emulator, bundle, running
from coffea_iqn.data import sample_path
from coffea_iqn.files import inspect
from coffea_iqn.processors import PairsProcessor
from coffea_iqn.training import RECIPES, train

JETS = 100_000
ROUNDS = 7


def main() -> None:
    torch.set_num_threads(1)
    source = inspect(str(sample_path("qcd_ak4.root")), collections=["GenJet", "Jet"])
    with running.open_executor("iterative", status=False) as executor:
        pairs = running.run(PairsProcessor(), {"x": [source]}, executor, collections=["GenJet", "Jet"], status=False)
    # what its weights are does not change its speed
    paper = train(pairs, replace(RECIPES["paper-iqnx4"], steps=20, check_every=20, stages=1, acceptance=False))
    rows = np.arange(JETS) % len(pairs.gen)
    gen, context = pairs.gen[rows], pairs.context[rows]
    tau = np.random.default_rng(0).uniform(0.001, 0.999, gen.shape).astype(np.float32)

    def drawing(emulator: Emulator, known: Any, backend: str) -> Callable[[], Any]:
        return lambda: emulator.sample(gen, tau, known, backend=backend)

    candidates = {"paper's IQNx4, torch": drawing(paper, None, "torch")}
    for model in sys.argv[1:] or ["cms-delphes-ak4"]:
        for backend in ("torch", "numba"):
            candidates[f"{model}, {backend}"] = drawing(bundle.load(model), context, backend)
    seconds = dict.fromkeys(candidates, np.inf)
    for _ in range(ROUNDS):
        for name, draw in candidates.items():
            started = time.perf_counter()
            draw()
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    first = next(iter(seconds.values()))
    for name, value in seconds.items():
        print(f"{name:40s} {JETS / value:10,.0f} jets/s   {first / value:5.2f} of the paper's")


if __name__ == "__main__":
    main()
