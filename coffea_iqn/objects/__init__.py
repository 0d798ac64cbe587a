"""Electrons, muons, photons and missing momentum: kinds of objects, and their conditioning variables."""
