"""Names of the fields and collections that hold conditioning variables in files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from coffea_iqn.ranges import check_choice

# attributes of `Names` that are collections, not fields of a jet
COLLECTIONS = ("missing", "leptons", "photons", "particles", "constituents", "candidates")


@dataclass(frozen=True)
class Names:
    """Names of fields and collections in files; the first one of each tuple that a file has is used.

    missing is a collection with pt (or MET) and phi. leptons and photons are collections of prompt ones; if one of the
    two is missing, prompt ones are selected from particles. constituents are the particles in jets, their indices into
    candidates, or Delphes' field of references to candidates. All others are fields of gen jets, NanoAOD's name first.
    """

    flavour: tuple[str, ...] = ("partonFlavour", "Flavor", "PartonTruthLabelID")
    n_charged: tuple[str, ...] = ("nCharged", "NCharged")
    n_neutral: tuple[str, ...] = ("nNeutral", "NNeutrals")
    charged_fraction: tuple[str, ...] = ("chEF", "ChargedEnergyFraction")
    tau1: tuple[str, ...] = ("tau1",)
    tau2: tuple[str, ...] = ("tau2",)
    tau3: tuple[str, ...] = ("tau3",)
    missing: tuple[str, ...] = ("GenMET", "GenMissingET", "MET_Truth")
    leptons: tuple[str, ...] = ("GenDressedLepton",)
    photons: tuple[str, ...] = ("GenIsolatedPhoton",)
    particles: tuple[str, ...] = ("GenPart", "Particle")
    constituents: tuple[str, ...] = ("GenJetCands", "GenJet.Constituents")
    candidates: tuple[str, ...] = ("GenCands", "Particle")

    @classmethod
    def of(cls, given: Mapping[str, str] | Names | None) -> Names:
        """Return the default names with some replaced, e.g. `{"flavour": "parton"}`; given names as they are.

        Raises
        ------
        ValueError: for an unknown key.
        """
        if isinstance(given, Names):
            return given
        known = [field.name for field in fields(cls)]
        for key in given or {}:
            check_choice(known, names=key)
        return cls(**{key: (name,) for key, name in (given or {}).items()})

    @property
    def of_jets(self) -> tuple[str, ...]:
        """All names that are fields of gen jets."""
        columns = [getattr(self, field.name) for field in fields(self) if field.name not in COLLECTIONS]
        return tuple(name for names in columns for name in names)
