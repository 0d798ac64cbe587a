"""What files call what they know of gen jets and events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

# of `Names`, what is no field of a jet
COLLECTIONS = ("missing", "leptons", "photons", "particles", "constituents", "candidates")


@dataclass(frozen=True)
class Names:
    """What files call what they know of gen jets and events: of each, the first of these names that is there.

    missing is a collection, with pt (or MET) and phi; leptons and photons are those of prompt ones, of which particles
    are the source in a file that has not both; constituents are particles in jets, or their places among candidates, or
    of Delphes the field of jets that refers to these; the others are fields of the gen jets, NanoAOD's name first.
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
    def of(cls, given: Mapping[str, str] | None) -> Names:
        """The usual names, but for some: `{"flavour": "hadronFlavour"}`.

        Raises
        ------
        ValueError: for a key that is none of ours.
        """
        known = [field.name for field in fields(cls)]
        unknown = [key for key in given or {} if key not in known]
        if unknown:
            msg = f"names: expected of {', '.join(known)}, got {unknown[0]!r}"
            raise ValueError(msg)
        return cls(**{key: (name,) for key, name in (given or {}).items()})

    @property
    def of_jets(self) -> tuple[str, ...]:
        """All names of fields of gen jets."""
        columns = [getattr(self, field.name) for field in fields(self) if field.name not in COLLECTIONS]
        return tuple(name for names in columns for name in names)
