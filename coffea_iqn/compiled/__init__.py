"""The way of jets through an emulator, compiled by numba, many jets at a time."""
