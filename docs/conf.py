"""How Sphinx builds the documentation; `make docs` runs it. Nothing here needs a network."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from coffea_iqn import __version__

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the notebooks' kernels

project = "coffea-iqn"
author = "The coffea-iqn developers"
copyright = author  # noqa: A001
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinxarg.ext", "citation", "docstrings", "mathml"]
exclude_patterns = ["_build", "closure", "cluster", "rendered"]  # the last for those who read on GitHub
nitpicky = True
nitpick_ignore = [("py:class", "torch.Tensor"), ("py:class", "collections.abc.Callable")]  # neither is linked to
default_role = "ours"  # single backticks in docstrings, see extensions/docstrings.py

myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "attrs_inline"]
myst_heading_anchors = 4


def _digest() -> str:
    """Of the library and what it ships: what a notebook shows is true for as long as these stay as they are."""
    root = HERE.parent
    parts = [path for room in ("coffea_iqn", "processors", "data") for path in sorted((root / room).rglob("*"))]
    kept = (path for path in parts if path.suffix in {".py", ".json", ".root", ".safetensors"})
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in kept)).hexdigest()[:12]


nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / "notebooks" / _digest())
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_ipywidgets_js: dict[str, Any] = {}  # coffea's progress bars stay in the kernel
nb_merge_streams = True
nb_render_markdown_format = "gfm"

autodoc_typehints = "none"  # docstrings give shapes and units, which types do not
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 100

html_theme = "pydata_sphinx_theme"
html_title = f"coffea-iqn {version}"
html_static_path = ["static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navigation_depth": 3,
    "show_toc_level": 2,
    "header_links_before_dropdown": 5,
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "secondary_sidebar_items": ["page-toc"],
}
# pages without others beside them need no list of these
alone = "index quickstart how_it_works glossary closure performance limits command_line citing changelog"
html_sidebars: dict[str, list[str]] = {page: [] for page in alone.split()}

PAGES = ("closure", "cluster")  # folders of pages that stand alone


def _copy_pages(app: Any, error: Exception | None) -> None:
    """Reports go as they are beside the pages that link to them."""
    if error is None and app.builder.format == "html":
        for name in PAGES:
            shutil.copytree(HERE / name, Path(app.outdir) / name, dirs_exist_ok=True)


def setup(app: Any) -> None:
    app.connect("build-finished", _copy_pages)
