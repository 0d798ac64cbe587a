"""Fidelity of bundles on files they were not trained on: what a boosted-tree judge makes of them.

    python benchmarks/fidelity.py MODEL [MODEL ...] --files FILES --radius 0.5 [--output FILE.json]

For each model and each file: AUC on the paper's eight features (AUC8) and with residuals (AUCres), on matched
pairs with gen pt above 20 GeV, and the null, the same judge on two independent emulations of the same jets.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from coffea_iqn import IQNFolder, running
from coffea_iqn.closure import jet_features, judge, residual_features
from coffea_iqn.files import inspect
from coffea_iqn.processors import PairsProcessor

GEN_PT_MIN = 20.0
TINY = 2.0**-24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--files", nargs="+", required=True)
    parser.add_argument("--radius", type=float, default=0.4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()

    table = Table("model", "sample", "jets", "AUC8", "AUCres", "null AUC8", "null AUCres")
    results = []
    for path in arguments.files:
        processor = PairsProcessor(radius=arguments.radius, gen_pt_min=GEN_PT_MIN)
        source = inspect(path, collections=["GenJet", "Jet"])
        with running.open_executor("iterative", status=False) as executor:
            pairs = running.run(processor, {"jets": [source]}, executor, collections=["GenJet", "Jet"], status=False)
        gen, real = pairs.gen[pairs.matched], pairs.reco[pairs.matched]
        for model in arguments.models:
            folder = IQNFolder(model)
            generator = np.random.default_rng(arguments.seed)
            first, second = (folder.fold_flat(gen, generator.uniform(TINY, 1.0 - TINY, gen.shape)) for _ in range(2))
            row = {"model": Path(model).name, "sample": Path(path).stem, "jets": len(gen)}
            for name, features in (("AUC8", jet_features), ("AUCres", residual_features)):
                for prefix, truth in (("", real), ("null ", second)):
                    verdict = judge(features(gen, truth), features(gen, first), threads=arguments.threads)
                    row[prefix + name] = [round(verdict.auc, 4), round(verdict.uncertainty, 4)]
            results.append(row)
            columns = ("AUC8", "AUCres", "null AUC8", "null AUCres")
            table.add_row(
                row["model"], row["sample"], f"{len(gen)}", *("{:.3f} ± {:.3f}".format(*row[c]) for c in columns)
            )
            if arguments.output is not None:
                arguments.output.write_text(json.dumps(results, indent=2) + "\n")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
