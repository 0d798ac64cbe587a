"""Bundles and small samples shipped with the package; `README.md` in this folder describes their origin."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

BUNDLES = (
    "cms-delphes-ak4",
    "cms-delphes-ak5",
    "atlas-delphes-ak4",
    "cms-delphes-ak4-fast",
    "cms-delphes-ak4-events",  # with electrons, muons, photons, missing momentum, and columns of jets
    "cms-delphes-ak5-particles",  # which follows the particles in jets
)
CORRECTIONS = ("cms-delphes-ak4-correct", "cms-delphes-ak5-correct")  # from reco jets to gen jets


def bundle_path(name: str) -> Path:
    """Return the folder of a shipped bundle."""
    return Path(str(files(__name__))) / "bundles" / name


def sample_path(name: str) -> Path:
    """Return the path of a shipped sample, such as `qcd_ak4.root`.

    Raises
    ------
    FileNotFoundError: if there is none of this name; the message lists those there are.
    """
    folder = Path(str(files(__name__))) / "samples"
    path = folder / name
    if not path.is_file():
        known = ", ".join(sorted(p.name for p in folder.glob("*.root")))
        msg = f"sample {name!r}: expected one of {known}"
        raise FileNotFoundError(msg)
    return path
