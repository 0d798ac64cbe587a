"""An emulator on disk: a folder with `model.safetensors` (weights) and `model.json` (everything else).

Nothing in a bundle is unpickled or executed. `model.json` holds::

    schema_version   integer; this library reads version 10, and converts versions 4 to 9
    network          type and sizes of the network, a member of the IQN family; `acceptance`, `origin` likewise, or null
    objects          the model of electrons, muons, photons and missing momentum (`objects.Objects`) with its laws;
                     null or absent if there is none
    particles        the model of the particles in jets (`particles.Particles`) with its laws; null or absent if none
    overlaps         the model of overlapping jets (`overlaps.Overlaps`) with its law; null or absent if there is none
    ratio            the network that refines draws (`emulator.refinement`), with the upper limit of the ratio and the
                     number of candidates; null or absent if draws are not refined
    unmatched        the model of reco jets without a gen jet (`unmatched.Unmatched`) with its laws; or null
    variables        the encoding of jets for the network (`emulator.Variables`): names of inputs, targets and jet
                     scale, standardisations, compression, levels of context, threshold, support, columns
                     (`targets.Column`)
    card             jets (algorithm, radius, cone), direction, domain (gen_pt, gen_abs_eta; reco_ for corrections),
                     detector, energy, training; later trainings: extended, refinement
    hash             SHA-256 of the weights and of all of the above
"""

from __future__ import annotations

from coffea_iqn.bundle.checks import DIRECTIONS, direction_of
from coffea_iqn.bundle.disk import (
    CARD,
    WEIGHTS,
    BundleError,
    check_place,
    find,
    load,
    members,
    read_card,
    save,
    shipped_radii,
)
from coffea_iqn.bundle.schema import assemble, describe, migrated, weights_of

__all__ = [
    "CARD",
    "DIRECTIONS",
    "WEIGHTS",
    "BundleError",
    "assemble",
    "check_place",
    "describe",
    "direction_of",
    "find",
    "load",
    "members",
    "migrated",
    "read_card",
    "save",
    "shipped_radii",
    "weights_of",
]
