"""Input from coffea's events: jets, their conditioning variables, event identity and event weights."""

from __future__ import annotations

from coffea_iqn.events.collections import GenEvents, flatten_jets, gen_events
from coffea_iqn.events.names import Names

__all__ = ["GenEvents", "Names", "flatten_jets", "gen_events"]
