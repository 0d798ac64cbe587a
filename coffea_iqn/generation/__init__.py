"""From a process, or events of others, to gen jets: Pythia, FastJet, and a file like NanoAOD's of generated events.

`Settings` say which events, `generate` makes them. The libraries come with the extra `generate`.
"""

from __future__ import annotations

from coffea_iqn.generation.generate import generate
from coffea_iqn.generation.hepmc import NoHistoryWarning
from coffea_iqn.generation.settings import BLOCK, LAST_SEED, MOST_EVENTS, PROCESSES, Settings
from coffea_iqn.generation.writing import Totals

__all__ = ["BLOCK", "LAST_SEED", "MOST_EVENTS", "PROCESSES", "NoHistoryWarning", "Settings", "Totals", "generate"]
