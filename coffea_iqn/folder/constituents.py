"""ConstituentFolder: the particles of gen jets in, reco jets and the particles in them out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import numpy as np

from coffea_iqn.emulator.particles import Particles
from coffea_iqn.events.checks import check_level, check_valid, outside_domain, warn_of_a_part
from coffea_iqn.events.collections import flatten_jets, gen_events
from coffea_iqn.events.constituents import constituents_of
from coffea_iqn.events.identity import identity_keys, least_keys
from coffea_iqn.folder.jets import FoldCounts, Folded, IQNFolder, vectors
from coffea_iqn.iqn.device import check_device
from coffea_iqn.jets import radii
from coffea_iqn.jets.constituents import Constituents
from coffea_iqn.jets.context import nearest_distance
from coffea_iqn.jets.shapes import NAMES, shapes
from coffea_iqn.jets.table import JetTable

JET, PARTICLES = "Jet", "PFCands"
