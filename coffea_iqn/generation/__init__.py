"""Generate gen jets from a process or from event files, with Pythia and FastJet, and write a NanoAOD-like file.

`Settings` define the events, `generate` makes them. The libraries come with the extra `generate`.
"""

from __future__ import annotations

from coffea_iqn.generation.generate import generate
from coffea_iqn.generation.hepmc import NoHistoryWarning
from coffea_iqn.generation.settings import BLOCK, LAST_SEED, MOST_EVENTS, PROCESSES, Settings
from coffea_iqn.generation.writing import Totals

__all__ = ["BLOCK", "LAST_SEED", "MOST_EVENTS", "PROCESSES", "NoHistoryWarning", "Settings", "Totals", "generate"]
