"""Short descriptions of an emulator for interactive Python: one line, or an HTML table."""

from __future__ import annotations

import html
from typing import Any

from coffea_iqn.iqn.network import hidden_of

LONGEST = 200  # maximum characters of a value: cards may hold any text


def facts(emulator: Any) -> dict[str, str]:
    """Return the main facts about an `emulator.Emulator` by name, without those that its card lacks."""
    card, v, network = emulator.card, emulator.variables, emulator.network
    jets, domain, training = (card.get(name) or {} for name in ("jets", "domain", "training"))
    found: dict[str, str] = {}
    if "radius" in jets:
        found["jets"] = f"{jets.get('algorithm', 'jets')} R = {jets['radius']:g}"
    for level in ("gen", "reco"):  # level of the input jets
        if {f"{level}_pt", f"{level}_abs_eta"} <= set(domain):
            (low, high), (_, outer) = domain[f"{level}_pt"], domain[f"{level}_abs_eta"]
            found["domain"] = f"{level} pt {low:g} to {high:g} GeV, |η| below {outer:g}"
    hidden = " × ".join(str(width) for width in hidden_of(network.description["hidden"], 0))
    found["network"] = f"{network.type} {hidden}"
    parts = {
        "acceptance": emulator.acceptance,
        "origin": emulator.origin,
        "unmatched jets": emulator.unmatched,
        "overlapping jets": emulator.overlaps,
        "objects": emulator.objects,
        "particles": emulator.particles,
        "refinement": emulator.ratio,
    }
    found["other parts"] = ", ".join(name for name, part in parts.items() if part is not None) or "nothing"
    if v.columns:
        found["columns"] = ", ".join(column.name for column in v.columns)
    found["context"] = ", ".join(v.context) or "none"
    threshold = f"{v.raw_pt_min:g} GeV" if v.raw_pt_min > 0.0 else "none"
    found["detector"] = f"scale {v.scale}, threshold {threshold}"
    if card.get("detector"):
        found["detector"] += f"; {card['detector']}"
    if isinstance(training, dict) and "gen_jets" in training:
        found["training"] = f"{training['gen_jets']} gen jets, {training.get('minutes', '?')} minutes"
    if "hash" in card:
        found["hash"] = str(card["hash"])[:12]
    return {name: value if len(value) <= LONGEST else value[:LONGEST] + " …" for name, value in found.items()}


def line(emulator: Any) -> str:
    """Describe an emulator in one line."""
    known = facts(emulator)
    told = [known[name] for name in ("jets", "domain", "network") if name in known]
    told += [f"hash {known['hash']}"] if "hash" in known else []
    return f"{type(emulator).__name__}({'; '.join(told)})"


def table(emulator: Any) -> str:
    """Describe an emulator as an HTML table, for notebooks."""
    rows = "".join(
        f'<tr><th style="text-align: left">{html.escape(name)}</th>'
        f'<td style="text-align: left">{html.escape(value)}</td></tr>'
        for name, value in facts(emulator).items()
    )
    return f"<table><caption>{type(emulator).__name__}</caption>{rows}</table>"
