"""Write figures to files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from coffea_iqn.files.atomic import whole_file


def save(figure: Figure, to: str | Path | IO[bytes], *, kind: str = "png", dpi: float = 150, **options: Any) -> None:
    """Write a figure of `plotting` in the style in which it was made.

    Parameters
    ----------
    figure: the figure.
    to: path, or binary file open for writing.
    kind: file format of matplotlib.
    dpi: resolution.
    options: further options of `Figure.savefig`.
    """
    figure.savefig(to, format=kind, dpi=dpi, **options)


def save_all(figures: Mapping[str, Figure], directory: str | Path, *, stem_prefix: str = "") -> list[Path]:
    """Write each figure atomically as `<stem_prefix><name>.png` and `.pdf`, and close it.

    Parameters
    ----------
    figures: figures by name.
    directory: output folder, created if it does not exist.
    stem_prefix: prefix of the file names.

    Returns
    -------
    paths of the files, whose bytes are the same for equal figures.
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
