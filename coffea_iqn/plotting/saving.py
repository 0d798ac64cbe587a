"""Figures into files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from coffea_iqn.files.atomic import whole_file
from coffea_iqn.plotting.panels import STYLE


def save(figure: Figure, to: str | Path | IO[bytes], *, kind: str = "png", dpi: float = 150, **options: Any) -> None:
    """Write a figure of `plotting` in the style it was made in.

    Parameters
    ----------
    figure: what to write.
    to: path, or file open for writing bytes.
    kind: of file, as matplotlib knows it.
    dpi: of its pixels.
    options: others of `Figure.savefig`.
    """
    with plt.style.context(STYLE):
        figure.savefig(to, format=kind, dpi=dpi, **options)


def save_all(figures: Mapping[str, Figure], directory: str | Path, *, stem_prefix: str = "") -> list[Path]:
    """Write each figure as `<stem_prefix><name>.png` and `.pdf`, under a temporary name first, and close it.

    Parameters
    ----------
    figures: by name.
    directory: made when it is not there.
    stem_prefix: what the names of the files begin with.

    Returns
    -------
    the paths of the files, which are the same to the byte when the figures are.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for name, figure in figures.items():
        for suffix, metadata in (("png", {}), ("pdf", {"CreationDate": None})):
            path = directory / f"{stem_prefix}{name}.{suffix}"
            with whole_file(path) as temporary:
                save(figure, temporary, kind=suffix, metadata=metadata)
            paths.append(path)
        plt.close(figure)
    return paths
