"""Implicit quantile networks for p(y | x) with several targets y; independent of jets and files."""
