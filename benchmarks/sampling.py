"""How fast a bundle draws, as ratios to the paper's network in the same run.

    OMP_NUM_THREADS=1 python benchmarks/sampling.py [MODEL ...]

One thread, jets of the shipped samples with all that is known of them: the networks alone, in blocks of 4096 rows, and
the whole way from jets to jets. Each figure is the best of several rounds, the candidates taking turns, for the machine
is shared.
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
from coffea_iqn.blocks import BLOCK
from coffea_iqn.data import sample_path
from coffea_iqn.files import inspect
from coffea_iqn.networks import QuantileNetwork
from coffea_iqn.processors import PairsProcessor
from coffea_iqn.recipes import RECIPES
from coffea_iqn.training import train

JETS = 98_304  # whole blocks
ROUNDS = 7


def main() -> None:
    torch.set_num_threads(1)
    source = inspect(str(sample_path("qcd_ak4.root")), collections=["GenJet", "Jet"])
    with running.open_executor("iterative", status=False) as executor:
        pairs, _ = running.run(PairsProcessor(), {"x": [source]}, executor, collections=["GenJet", "Jet"], status=False)
    # what its weights are does not change its speed
    paper = train(pairs, replace(RECIPES["paper-iqnx4"], steps=20, check_every=20, stages=1, acceptance=False))
    rows = np.arange(JETS) % len(pairs.gen)
    gen, context = pairs.gen[rows], pairs.context[rows]
    tau = np.random.default_rng(0).uniform(0.001, 0.999, gen.shape).astype(np.float32)

    def drawing(emulator: Emulator, known: Any, backend: str) -> Callable[[], Any]:
        return lambda: emulator.sample(gen, tau, known, backend=backend)

    def network_alone(network: QuantileNetwork, backend: str) -> Callable[[], Any]:
        levels, inputs = torch.from_numpy(tau[:BLOCK]), torch.randn(BLOCK, network.n_context)
        lower = [torch.full((BLOCK,), -3.0)] if network.exact else []
        draw = network.sample_compiled if backend == "numba" else network.sample

        def blocks() -> None:
            with torch.inference_mode():
                for _ in range(JETS // BLOCK):
                    draw(levels, inputs, *lower)

        return blocks

    candidates: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "paper's IQNx4, torch": (network_alone(paper.network, "torch"), drawing(paper, None, "torch"))
    }
    for model in sys.argv[1:] or ["cms-delphes-ak4"]:
        emulator = bundle.load(model)
        for backend in ("torch", "numba"):
            pair = network_alone(emulator.network, backend), drawing(emulator, context, backend)
            candidates[f"{model}, {backend}"] = pair
    seconds = {name: [np.inf, np.inf] for name in candidates}
    for _ in range(ROUNDS):
        for name, pair in candidates.items():
            for k, draw in enumerate(pair):
                started = time.perf_counter()
                draw()
                seconds[name][k] = min(seconds[name][k], time.perf_counter() - started)
    alone, whole = next(iter(seconds.values()))
    print("| | networks alone, jets/s | of the paper's | jets to jets, jets/s | of the paper's |")
    print("| --- " * 5 + "|")
    for name, (first, second) in seconds.items():
        row = [name, f"{JETS / first:,.0f}", f"{alone / first:.2f}", f"{JETS / second:,.0f}", f"{whole / second:.2f}"]
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
