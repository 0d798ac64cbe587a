"""Electrons, muons, photons and missing momentum: which kinds there are, and what each depends on."""
