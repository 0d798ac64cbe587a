"""The closure report: one page that stands alone, of the verdict and of sections with embedded figures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2
from matplotlib.figure import Figure

from coffea_iqn import plotting
from coffea_iqn.metrics import line_of
from coffea_iqn.sections import Section
from coffea_iqn.verdict import BY_KEY, CHECKS, Check, outcome

PIXELS = 760  # of a column of a figure


def render(content: Mapping[str, Any], parts: Sequence[Section], others: Sequence[Mapping[str, Any]] = ()) -> str:
    """The page, as HTML.

    Parameters
    ----------
    content: of `metrics.metrics`.
    parts: of `sections.sections`.
    others: metrics of other models, to be shown beside.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    rows = []
    for line in content["verdict"]:
        check = BY_KEY[line["key"]]
        beside = [line_of(other, check.key) for other in others]
        rows.append(
            {
                "line": line,
                "section": check.section,
                "limit": check.text(line["limit"]),
                "null": "" if line["null"] is None else check.text(**line["null"]),
                "values": [None if one is None else _value(check, one) for one in (line, *beside)],
            }
        )
    alone = {
        name: {line["key"]: _value(BY_KEY[line["key"]], line) for line in lines}
        for name, lines in content["datasets"].items()
    }
    package = files("coffea_iqn")
    template = environment.from_string(package.joinpath("report.html").read_text(encoding="utf-8"))
    page: str = template.render(
        content=content,
        rows=rows,
        alone=alone,
        alone_checks=[check for check in CHECKS if any(check.key in lines for lines in alone.values())],
        others=others,
        differing=[other["model"]["name"] for other in others if other["sample"] != content["sample"]],
        sections=parts,
        embed=_embed,
        style=package.joinpath("report.css").read_text(encoding="utf-8"),
    )
    return page


def _value(check: Check, line: Mapping[str, Any]) -> tuple[str, str]:
    """A value with its uncertainty, and its outcome."""
    return check.text(line["value"], line["uncertainty"]), outcome(line)


def _embed(figure: Figure) -> str:
    """A figure as the address of an image that is in the address."""
    columns = max(1.0, figure.get_figwidth() / 10.0)
    image = io.BytesIO()
    dpi = PIXELS * min(columns, 2.0) / figure.get_figwidth()
    # a third of the size of the same pixels as png
    plotting.save(figure, image, kind="webp", dpi=dpi, pil_kwargs={"lossless": True})
    return "data:image/webp;base64," + base64.b64encode(image.getvalue()).decode("ascii")
