"""Particles in jets: calorimeter geometry, and conditioning variables of each step of their reconstruction."""
