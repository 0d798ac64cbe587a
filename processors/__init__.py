"""Coffea processors: thin wrappers around the library."""

from __future__ import annotations

from coffea_iqn.processors.correct import IQNCorrectProcessor
from coffea_iqn.processors.events import EventsProcessor
from coffea_iqn.processors.fold import IQNFoldProcessor
from coffea_iqn.processors.objects import ObjectsProcessor
from coffea_iqn.processors.pairs import PairsProcessor
from coffea_iqn.processors.particles import ParticlesProcessor
from coffea_iqn.processors.shapes import ShapesProcessor

__all__ = [
    "EventsProcessor",
    "IQNCorrectProcessor",
    "IQNFoldProcessor",
    "ObjectsProcessor",
    "PairsProcessor",
    "ParticlesProcessor",
    "ShapesProcessor",
]
