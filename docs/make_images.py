"""The pictures of the README, from files that no bundle was trained on.

    python docs/make_images.py --ttbar FILES --qcd FILES

NanoAOD-like files with gen and reco jets of R = 0.4, as `data/README.md` describes them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from coffea_iqn import cli

IMAGES = Path(__file__).parent / "images"
WIDTH = 1520  # pixels


def fold(dataset: str, files: list[str], folder: Path) -> Path:
    """The folder of the plots of a fold."""
    code = cli.main(["fold", *(f"{dataset}={file}" for file in files), "--output", str(folder)])
    if code != cli.EXIT_OK:
        raise SystemExit(code)
    return folder / "plots"


def side_by_side(paths: list[Path], output: Path) -> None:
    """Pictures of one height beside each other."""
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    whole = Image.fromarray(np.concatenate(pictures, axis=1))
    height = round(whole.height * WIDTH / whole.width)
    whole.resize((WIDTH, height), Image.Resampling.LANCZOS).save(output, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ttbar", nargs="+", required=True)
    parser.add_argument("--qcd", nargs="+", required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        ttbar = fold("ttbar", arguments.ttbar, Path(name) / "ttbar")
        qcd = fold("qcd", arguments.qcd, Path(name) / "qcd")
        side_by_side([ttbar / "pt.png", ttbar / "mass.png"], IMAGES / "ttbar.png")
        side_by_side([qcd / "njet.png", qcd / "dijet_dphi.png"], IMAGES / "events.png")
        side_by_side([qcd / "response_slices.png"], IMAGES / "response.png")


if __name__ == "__main__":
    main()
