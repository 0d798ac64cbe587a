"""Settings of the generation: processes by name, cards, event files, seeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from coffea_iqn.ranges import GEV_ABOVE_ZERO, RADIUS, Range, expect

BLOCK = 1000  # events that share a seed of Pythia and its startup time of half a second
BLOCKS_PER_SEED = 10_000
LAST_SEED = 900_000_000 // BLOCKS_PER_SEED - 1  # Pythia has 900 million seeds; none is used twice
MOST_EVENTS = BLOCK * BLOCKS_PER_SEED
EVENTS = Range(least=1, most=MOST_EVENTS, whole=True)
SEEDS = Range(least=1, most=LAST_SEED, whole=True)


@dataclass(frozen=True)
class Process:
    """A process by name.

    commands: Pythia commands.
    pt_hat_min: minimum pt of the hard process [GeV], if it has one.
    bias: power of pt-hat that weights the generation towards harder events.
    """

    commands: tuple[str, ...]
    pt_hat_min: float | None = None
    bias: float | None = None


PROCESSES = {
    "qcd": Process(("HardQCD:all = on",), 20.0),
    "qcdflat": Process(("HardQCD:all = on",), 15.0, 4.5),
    "ttbar": Process(("Top:gg2ttbar = on", "Top:qqbar2ttbar = on")),
    "wzjets": Process(("WeakBosonAndParton:all = on",), 20.0),
}


@dataclass(frozen=True)
class Settings:
    """Definition of the generated events and of the output.

    process: one of PROCESSES (13 TeV proton-proton, Monash), or path of a file of Pythia commands.
    n_events: number of events; None for all events of files.
    seed: random seed, which is also the luminosityBlock of the events.
    radius: radius of the anti-kt jets.
    pt_min: minimum jet pt [GeV].
    pt_hat_min: minimum pt of the hard process [GeV]; None for the default of the process.
    commands: further Pythia commands, such as "Beams:eCM = 13600", read last.
    substructure: whether to compute N-subjettiness.
    particles: whether to keep the particles in the jets.
    block: number of events that share a seed of Pythia.
    lhe: path of a file of Les Houches events for Pythia to shower, instead of a process.
    hepmc: paths of files of HepMC events, instead of a process.

    Raises
    ------
    ValueError: for invalid settings.
    FileNotFoundError: if an event file does not exist.
    """

    process: str | None = None
    n_events: int | None = None
    seed: int = 1
    radius: float = 0.4
    pt_min: float = 10.0
    pt_hat_min: float | None = None
    commands: tuple[str, ...] = ()
    substructure: bool = False
    particles: bool = False
    block: int = BLOCK
    lhe: str | None = None
    hepmc: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        fits = (self.process is not None) + (self.lhe is not None) + bool(self.hepmc) == 1
        expect(fits, "events: expected one of a process, a file of Les Houches events and files of HepMC")
        for path in self.files:
            found = "a folder" if Path(path).is_dir() else "none"
            fits = Path(path).exists() and not Path(path).is_dir()
            expect(fits, f"{path}: expected a file of events, found {found}", FileNotFoundError)
        fits = len({Path(path).resolve() for path in self.files}) == len(self.files)
        expect(fits, f"hepmc: expected each file once, got {', '.join(self.files)}")
        if self.files and self.pt_hat_min is not None:
            msg = f"pt_hat_min: expected none with events from files, got {self.pt_hat_min:g}"
            raise ValueError(msg)
        fits = self.process is None or self.n_events is not None
        expect(fits, f"n_events: expected {EVENTS} of a process, got none")
        wanted = f"one of {', '.join(PROCESSES)} or a file of Pythia's commands"
        fits = self.card is None or self.card.is_file()
        expect(fits, f"process: expected {wanted}, got {self.process!r}")
        EVENTS.check(events=self.n_events)
        SEEDS.check(seed=self.seed)
        fits = self.n_blocks <= BLOCKS_PER_SEED
        expect(fits, f"block: expected at most {BLOCKS_PER_SEED} blocks, got {self.n_blocks}")
        RADIUS.check(radius=self.radius)
        GEV_ABOVE_ZERO.check(pt_min=self.pt_min, pt_hat_min=self.pt_hat_min)

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the input files."""
        return self.hepmc if self.lhe is None else (self.lhe,)

    @property
    def name(self) -> str:
        """Name of the process or of the input files."""
        return self.process or ", ".join(Path(path).name for path in self.files)

    @property
    def n_blocks(self) -> int:
        """Number of blocks of a process; 0 for files, whose number of events is not known in advance."""
        return -(-(self.n_events or 0) // self.block)

    def size(self, block: int) -> int:
        """Return the number of events in a block of a process; the last block may have fewer."""
        return min(self.block, (self.n_events or 0) - block * self.block)

    def pythia_seed(self, block: int) -> int:
        """Return Pythia's seed for a block, which differs between blocks and between seeds.

        Raises
        ------
        ValueError: if there are too many blocks.
        """
        fits = block < BLOCKS_PER_SEED
        expect(fits, f"{self.name}: expected at most {BLOCKS_PER_SEED * self.block:,} events for a seed, got more")
        return 1 + self.seed * BLOCKS_PER_SEED + block

    @property
    def card(self) -> Path | None:
        """Path of the file of Pythia commands; None for a process by name or event files."""
        return None if self.process is None or self.process in PROCESSES else Path(self.process)

    def all_commands(self) -> list[str]:
        """Return Pythia's commands in order, without those of a card and the seed."""
        process = PROCESSES.get(self.process or "")
        commands = [] if process is None else ["Beams:eCM = 13000", *process.commands]
        default = None if process is None else process.pt_hat_min
        pt_hat_min = default if self.pt_hat_min is None else self.pt_hat_min
        if pt_hat_min is not None:
            commands.append(f"PhaseSpace:pTHatMin = {pt_hat_min:g}")
        if process is not None and process.bias is not None:
            commands += [
                "PhaseSpace:bias2Selection = on",
                f"PhaseSpace:bias2SelectionPow = {process.bias:g}",
                f"PhaseSpace:bias2SelectionRef = {pt_hat_min:g}",  # where the weight is 1
            ]
        return [*commands, *self.commands]
