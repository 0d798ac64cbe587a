"""coffea-iqn generate: write the gen jets of a process, or of events made by another generator, to a file."""

from __future__ import annotations

import argparse
import math
import time
from datetime import timedelta

import loky
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from coffea_iqn import generation
from coffea_iqn.commands.options import add_output_option, text
from coffea_iqn.commands.terminal import Bars, complain, say
from coffea_iqn.files.atomic import at_work, check_new, folder_of, unfinished
from coffea_iqn.files.finished import SUFFIX
from coffea_iqn.generation import PROCESSES, Settings
from coffea_iqn.generation.settings import EVENTS, SEEDS
from coffea_iqn.ranges import GEV_ABOVE_ZERO, RADIUS, WORKERS, expect

SETTLED_SECONDS = 5.0  # before this, the rate is not yet meaningful


EXAMPLES = """examples:
  coffea-iqn generate --process ttbar --events 10000 --output ttbar.root
  coffea-iqn generate --process qcd --pt-hat-min 100 --set "Beams:eCM = 13600" --events 10000 --output qcd.root
  coffea-iqn generate --process my.cmnd --events 10000 --seed 7 --workers 4 --output mine.root
  coffea-iqn generate --lhe unweighted_events.lhe.gz --output showered.root
  coffea-iqn generate --hepmc first.hepmc.gz second.hepmc.gz --output theirs.root
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `generate`."""
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument(
        "--process",
        type=text,
        metavar="PROCESS",
        help=f"process to generate: {', '.join(PROCESSES)} (proton-proton at 13 TeV), or a file of Pythia commands",
    )
    origin.add_argument(
        "--lhe", type=text, metavar="FILE", help="Les Houches events to shower with Pythia; may be compressed (.gz)"
    )
    origin.add_argument(
        "--hepmc",
        type=text,
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="complete events, HepMC3 or HepMC2 in ASCII; may be compressed (.gz)",
    )
    parser.add_argument(
        "--events", type=EVENTS, metavar="N", help="number of events (default: all events of --lhe or --hepmc files)"
    )
    add_output_option(parser, "FILE", "output ROOT file, in the layout of NanoAOD")
    parser.add_argument("--seed", type=SEEDS, default=1, help="seed of all random numbers (default: %(default)s)")
    parser.add_argument(
        "--workers", type=WORKERS, help="number of parallel processes; events do not depend on it (default: all cores)"
    )
    parser.add_argument("--radius", type=RADIUS, default=0.4, help="radius of the anti-kt jets (default: %(default)s)")
    parser.add_argument(
        "--pt-min", type=GEV_ABOVE_ZERO, default=10.0, metavar="GEV", help="minimum jet pt (default: %(default)s)"
    )
    parser.add_argument(
        "--pt-hat-min",
        type=GEV_ABOVE_ZERO,
        metavar="GEV",
        help="minimum pt of the hard process (default: 20 for qcd and wzjets, 15 for qcdflat)",
    )
    parser.add_argument(
        "--set",
        action="append",
        type=text,
        default=[],
        metavar="SETTING",
        help="a further Pythia setting, such as 'Beams:eCM = 13600'; may be repeated",
    )
    parser.add_argument("--substructure", action="store_true", help="also write the N-subjettiness of the jets")
    parser.add_argument("--particles", action="store_true", help="also write the particles in the jets, as GenJetCands")
    parser.set_defaults(run=generate)


def generate(arguments: argparse.Namespace) -> None:
    """Generate events and write their gen jets."""
    output = arguments.output
    check_new(output, force=arguments.force)
    rightly_named = output.suffix == ".root" or output.is_dir()  # which is refused where it would be written
    expect(rightly_named, f"output {output}: expected a name that ends in .root, got {output.name}")
    settings = Settings(
        process=arguments.process,
        n_events=arguments.events,
        seed=arguments.seed,
        radius=arguments.radius,
        pt_min=arguments.pt_min,
        pt_hat_min=arguments.pt_hat_min,
        commands=tuple(arguments.set),
        substructure=arguments.substructure,
        particles=arguments.particles,
        lhe=arguments.lhe,
        hepmc=tuple(arguments.hepmc),
    )
    workers = loky.cpu_count() if arguments.workers is None else arguments.workers
    started = time.perf_counter()
    with at_work(output), unfinished(folder_of(output)) as parts, _GeneratingProgress(settings, arguments) as progress:
        try:
            totals = generation.generate(settings, output, workers=workers, checkpoints=parts, watch=progress.watch)
        except BaseException:
            if n_parts := len([*parts.glob(f"*{SUFFIX}")]):
                again = "run the same command again to continue"
                complain(f"coffea-iqn: {n_parts} finished blocks of events are kept in {parts}: {again}")
            raise
    rate = totals.events / (time.perf_counter() - started)
    say(f"Events         {totals.events:,} of {settings.name}, {rate:,.0f} events/s")
    say(f"Gen jets       {totals.gen_jets:,} of R = {settings.radius:g} above {settings.pt_min:g} GeV")
    if not totals.gen_jets:
        complain(f"coffea-iqn: warning: {settings.name}: expected gen jets, got none in {totals.events:,} events")
    if totals.failed:
        say(f"Failed         {totals.failed:,} events that Pythia could not shower, left out")
    found = f"{totals.cross_section:.5g} ± {totals.uncertainty:.2g} pb"
    say(f"Cross section  {found if math.isfinite(totals.cross_section) else 'not in the files'}")
    say(f"Sum of weights {totals.sum_of_weights:.8g}")
    say(f"File           {output}")


class _GeneratingProgress(Bars):
    """A progress bar with the rate and the remaining time."""

    def __init__(self, settings: Settings, arguments: argparse.Namespace) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}{task.fields[of]} events  {task.fields[rate]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        super().__init__(*columns, arguments=arguments)
        self.n_events = settings.n_events
        self.of = "" if settings.n_events is None else f" of {settings.n_events:,}"  # unknown until the end of a file
        self.task = self.progress.add_task(settings.name, total=settings.n_events, rate="", of=self.of)
        self.begun: tuple[float, int] | None = None  # time and number of events at the first call with any events

    def watch(self, n_done: int) -> None:
        """Show the number of events done so far."""
        now = time.monotonic()
        if self.begun is None:
            self.begun = (now, n_done) if n_done else None
            return
        seconds, n_since = now - self.begun[0], n_done - self.begun[1]
        self.progress.update(self.task, completed=n_done)
        if not n_since or seconds < SETTLED_SECONDS:
            return
        rate = n_since / seconds
        self.progress.update(self.task, rate=f"{rate:,.0f} events/s")
        left = "" if self.n_events is None else f", {timedelta(seconds=round((self.n_events - n_done) / rate))} left"
        self.line(f"generate: {n_done:,}{self.of} events, {rate:,.0f} events/s{left}")
