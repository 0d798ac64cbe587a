"""Numerics with bit-identical results on every processor: elementary functions, dense layers, levels, exact sums."""
