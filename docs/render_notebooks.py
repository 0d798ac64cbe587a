"""The notebooks with what comes out of them, as Markdown that GitHub shows: `docs/rendered`.

    python docs/render_notebooks.py [NAME ...]

The notebooks themselves are stored without output. Run this where one has changed, or what it shows: the tests hold
that the copies have the notebooks' cells.
"""

from __future__ import annotations

import argparse
import base64
import io
import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
RENDERED = Path(__file__).parent / "rendered"
WIDTH, COLOURS = 760, 64  # of a picture: some 20 kB
WIDGET = "application/vnd.jupyter.widget-view+json"  # a progress bar, which only a kernel can show
# colours of a terminal, and where things are on this machine
LEFT_OUT = re.compile(
    r"\x1b\[[0-9;?]*[A-Za-z]|[^\s'\"]*/site-packages/|[^\s'\"]*/notebook-of-[^\s/]*/|"
    + re.escape(f"{NOTEBOOKS.parent}/")
)


def executed(path: Path) -> Any:
    """A notebook with its output, from a clean kernel in an empty folder."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix="notebook-of-") as folder:
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}}).execute()
    return notebook


def markdown(notebook: Any, name: str) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures by their file names."""
    parts: list[str] = [f"*This is [{name}.ipynb](../../notebooks/{name}.ipynb) with what comes out of it.*"]
    pictures: dict[str, bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stdout":
                parts.append(_fenced(output.text))
            data = output.get("data", {})
            if "image/png" in data:
                file = f"{name}_{len(pictures)}.png"
                pictures[file] = _small(data["image/png"])
                parts.append(f"![What the cell above draws]({file})")
            elif "text/markdown" in data:
                parts.append(str(data["text/markdown"]))
            elif "text/plain" in data and WIDGET not in data:
                parts.append(_fenced(data["text/plain"]))
    return "\n\n".join(part for part in parts if part) + "\n", pictures


def _fenced(text: str) -> str:
    """Text as it was printed."""
    plain = "\n".join(line.rstrip() for line in LEFT_OUT.sub("", text).splitlines()).strip("\n")
    return f"```text\n{plain}\n```" if plain else ""


def _small(encoded: str) -> bytes:
    """A picture of few bytes."""
    picture = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    if picture.width > WIDTH:
        height = round(picture.height * WIDTH / picture.width)
        picture = picture.resize((WIDTH, height), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(out, format="png", optimize=True)
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="of notebooks, without .ipynb (default: all)")
    names = parser.parse_args().names or sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    RENDERED.mkdir(exist_ok=True)
    for name in names:
        text, pictures = markdown(executed(NOTEBOOKS / f"{name}.ipynb"), name)
        for old in RENDERED.glob(f"{name}_*.png"):
            old.unlink()
        (RENDERED / f"{name}.md").write_text(text, encoding="utf-8")
        for file, content in pictures.items():
            (RENDERED / file).write_bytes(content)
        print(f"{name}: {len(pictures)} pictures, {sum(map(len, pictures.values())) // 1000} kB")


if __name__ == "__main__":
    main()
