"""Bundles in formats that other frameworks read, each with its closure against the bundle and a test vector."""

from __future__ import annotations




