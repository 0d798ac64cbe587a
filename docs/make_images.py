"""The pictures of README and documentation, from files that no bundle was trained on.

    python docs/make_images.py [--ttbar FILES] [--qcd FILES] [--flat FILES] [--whole FILES]

NanoAOD-like files with gen and reco jets of R = 0.4, as `data/README.md` describes them; after `--whole` of ttbar, with
electrons, muons, photons and missing momentum. A report's picture is that of `docs/closure/cms-delphes-ak4.html` in
Chromium, where this is installed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from coffea_iqn import cli
from coffea_iqn.data import sample_path

IMAGES = Path(__file__).parent / "images"
REPORT = Path(__file__).parent / "closure" / "cms-delphes-ak4.html"
SAYS = ("--label", "Delphes simulation", "--energy", "13", "--reference-label", "Delphes")
VARIED = ("jes=0.02", "jer=0.1", "eff=0.02")
WIDTH = 1520  # pixels
WINDOW = (1160, 1560)  # of the browser


def plots(command: str, dataset: str, files: list[str], folder: Path, *more: str) -> Path:
    """The folder of the plots of a command."""
    code = cli.main([command, *(f"{dataset}={file}" for file in files), *SAYS, *more, "--output", str(folder)])
    if code != cli.EXIT_OK:
        raise SystemExit(code)
    return folder / "plots"


def side_by_side(paths: list[Path], output: Path) -> None:
    """Pictures of one height beside each other."""
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    whole = Image.fromarray(np.concatenate(pictures, axis=1))
    height = round(whole.height * WIDTH / whole.width)
    whole.resize((WIDTH, height), Image.Resampling.LANCZOS).save(output, optimize=True)


def vary(folder: Path) -> None:
    """The picture of systematic variations, of a shipped sample."""
    more = ("--replicas", "20", "--variations", *VARIED)
    drawn = plots("fold", "qcd", [str(sample_path("qcd_ak4.root"))], folder, *more)
    side_by_side([drawn / "pt.png", drawn / "njet.png"], IMAGES / "systematics.png")


def photograph(page: Path, output: Path, browser: str) -> None:
    """The top of a page as a browser shows it."""
    with tempfile.TemporaryDirectory() as name:
        picture = Path(name) / "page.png"
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={name}/profile",
        ]
        size = f"--window-size={WINDOW[0]},{WINDOW[1]}"
        subprocess.run([browser, *options, size, f"--screenshot={picture}", page.as_uri()], check=True)
        Image.open(picture).convert("P", palette=Image.Palette.ADAPTIVE).save(output, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--ttbar", "--qcd", "--flat", "--whole"):
        parser.add_argument(name, nargs="+", default=[])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if arguments.ttbar:
            ttbar = plots("fold", "ttbar", arguments.ttbar, Path(name) / "ttbar")
            side_by_side([ttbar / "pt.png", ttbar / "mass.png"], IMAGES / "ttbar.png")
        if arguments.qcd:
            qcd = plots("fold", "qcd", arguments.qcd, Path(name) / "qcd")
            side_by_side([qcd / "njet.png", qcd / "dijet_dphi.png"], IMAGES / "events.png")
            side_by_side([qcd / "response_slices.png"], IMAGES / "response.png")
        if arguments.flat:
            flat = plots("correct", "Flat QCD", arguments.flat, Path(name) / "flat")
            side_by_side([flat / "response.png"], IMAGES / "correction.png")
        if arguments.whole:
            whole = plots("fold", "ttbar", arguments.whole, Path(name) / "whole", "--objects")
            side_by_side([whole / "muon_pt.png", whole / "met_pt.png"], IMAGES / "whole.png")
        vary(Path(name) / "varied")
    browser = shutil.which("chromium")
    if browser is None:
        print("no chromium: the picture of the report stays as it was")
    else:
        photograph(REPORT, IMAGES / "report.png", browser)


if __name__ == "__main__":
    main()
