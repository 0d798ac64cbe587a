"""coffea-iqn train: train a bundle on files."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coffea_iqn import bundle
from coffea_iqn.commands import trainings
from coffea_iqn.commands.common import add_file_options, datasets_of
from coffea_iqn.commands.options import add_output_option, text
from coffea_iqn.commands.terminal import complain, say
from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.emulator.particles import TAG
from coffea_iqn.events.checks import BEGINS
from coffea_iqn.events.constituents import B_TAG, PARTICLE_BRANCHES
from coffea_iqn.events.objects import OBJECT_BRANCHES
from coffea_iqn.files.inputs import Source
from coffea_iqn.iqn.device import find_device
from coffea_iqn.iqn.network import BOUNDED, EXACT
from coffea_iqn.jets.context import WIDTHS
from coffea_iqn.jets.features import ETA, PT, VARIABLES
from coffea_iqn.jets.matching import default_cone
from coffea_iqn.jets.targets import Column
from coffea_iqn.objects.kinds import KINDS
from coffea_iqn.processors import ObjectsProcessor, PairsProcessor, ParticlesProcessor
from coffea_iqn.ranges import CONE, ENERGY, ETA_EDGE, GEV, RADIUS, Range, check_choice, expect
from coffea_iqn.training.pairs import JetPairs, ObjectsSample, ParticlesSample, TrainingSample, bootstrapped
from coffea_iqn.training.recipes import HIDDEN, RECIPES, TrainingSettings
from coffea_iqn.training.thresholds import check_alike, find_edge

ENSEMBLE = Range(least=2, most=100, whole=True)
EXTENSIONS = ("overlaps", "objects", "particles")  # what a bundle of jets can be extended by, other than columns
OF_OVERLAPS = 0.1  # fraction of the minutes for jets that the model of overlapping jets gets
OF_JETS = ("cone", "energy", "eta_max", "inputs", "targets", "scale", "raw_pt_min", "context")  # fixed in a bundle
KNOWN_OF_RECO = ("neighbours", "event")  # context available for reco jets; only the first is used by default
PT_SCULPTED = 1.5  # times the pt at which jets begin: up to there the response is sculpted
FEW_PAIRS = 10_000  # fewer do not determine the networks
PT_TRUSTED = 15.0  # GeV; below it, the pt thresholds of typical samples sculpt the response


EXAMPLES = """examples:
  coffea-iqn train qcd=delphes_1.root ttbar=delphes_2.root --radius 0.5 --output my-detector
  coffea-iqn train "qcd=delphes_*.root" --radius 0.5 --minutes 10 --output a-first-try
  coffea-iqn train "qcd=nano_*.root" --recipe paper-iqnx4 --output theirs
  coffea-iqn train "qcd=delphes_*.root" --radius 0.5 --direction correct --output my-correction
  coffea-iqn train fullsim.root --pretrained cms-delphes-ak4 --output from-few-jets
  coffea-iqn train nano.root --teacher my-detector --hidden 40 40 --output smaller
  coffea-iqn train nano.root --extend my-detector --columns btagDeepFlavB nConstituents --output with-b-tags
  coffea-iqn train nano.root --extend from-an-older-release --overlaps --output with-overlaps
  coffea-iqn train nano.root --extend with-b-tags --objects --output whole-events
  coffea-iqn train pfnano.root --radius 0.5 --extend cms-delphes-ak5 --particles --gen-pt-min 130 --output particles

Run the same command again to continue an interrupted training.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `train`."""
    add_file_options(parser)
    add_output_option(parser, "BUNDLE", "folder of the new bundle")
    parser.add_argument(
        "--teacher", type=text, metavar="MODEL", help="train smaller, faster networks to imitate those of a bundle"
    )
    parser.add_argument(
        "--pretrained",
        type=text,
        metavar="MODEL",
        help="begin with the networks of a bundle for another detector or sample, which needs far fewer jets",
    )
    parser.add_argument(
        "--extend",
        type=text,
        metavar="MODEL",
        help="keep the jets of a bundle, and add what --columns, --overlaps, --objects or --particles request",
    )
    parser.add_argument(
        "--columns",
        type=text,
        nargs="+",
        action="extend",
        default=[],
        metavar="FIELD",
        help="fields of reco jets to draw in addition to the four-momentum, each conditioned on those before it "
        "(default: none)",
    )
    parser.add_argument(
        "--overlaps",
        action="store_true",
        help="with --extend, train the model of overlapping jets, which new bundles have anyway and older ones lack",
    )
    parser.add_argument(
        "--objects",
        action="store_true",
        help="also train the model of electrons, muons, photons and missing momentum, for whole events (EventFolder)",
    )
    parser.add_argument(
        "--particles",
        action="store_true",
        help="also train the model of the particles in jets (ConstituentFolder), on files with GenJetCands and "
        "PFCands; set --gen-pt-min well above the threshold of the reco jets in the files",
    )
    parser.add_argument(
        "--direction",
        choices=bundle.DIRECTIONS,
        default="fold",
        help="fold gen jets to reco jets, or correct reco jets to gen jets (default: %(default)s)",
    )
    parser.add_argument(
        "--recipe", choices=RECIPES, default="default", help="set of default settings (default: %(default)s)"
    )
    parser.add_argument("--radius", type=RADIUS, default=0.4, help="radius of the jets (default: %(default)s)")
    parser.add_argument(
        "--cone", type=CONE, help="matching distance in ΔR (default: 0.25 for R = 0.4, 0.35 for R = 0.5, else 0.65 R)"
    )
    parser.add_argument(
        "--energy",
        type=ENERGY,
        metavar="TEV",
        help="collision energy; half of it is the upper limit of jet energies (default: no limit)",
    )
    parser.add_argument(
        "--eta-max",
        type=ETA_EDGE,
        metavar="ETA",
        help="detector edge in abs(eta) (default: slightly beyond the outermost jet)",
    )
    parser.add_argument(
        "--gen-pt-min",
        type=GEV,
        default=10.0,
        metavar="GEV",
        help="minimum pt of gen jets, or of the reco jets to correct (default: %(default)s)",
    )
    trainings.add_sample_options(parser)
    parser.add_argument("--detector", default="", help="description of the detector for the card, one line")
    parser.add_argument(
        "--ensemble",
        type=ENSEMBLE,
        default=0,
        metavar="N",
        help="also train N ensemble members, each on a bootstrap sample of the events; their spread is the uncertainty "
        "of the training (fold --variations ens) (default: none)",
    )
    settings = parser.add_argument_group("training settings", "The defaults shown are those of the recipe 'default'.")
    trainings.add_setting_options(settings, trainings.SETTINGS, RECIPES["default"])
    settings.add_argument(
        "--hidden",
        type=HIDDEN,
        nargs="+",
        metavar="N",
        help="sizes of the hidden layers (default: 48 48; 36 36 with --teacher; those of the bundle of --pretrained; "
        "as published for recipes of the paper)",
    )
    settings.add_argument(
        "--context",
        nargs="*",
        action="extend",
        choices=WIDTHS,
        help="levels of conditioning variables to use (default: all that the files have)",
    )
    parser.set_defaults(run=train)


def train(arguments: argparse.Namespace) -> None:
    """Train a bundle on files."""
    with trainings.unfinished_training(arguments) as checkpoint:
        _train(arguments, checkpoint)


def _train(arguments: argparse.Namespace, checkpoint: Path) -> None:
    settings, direction = _settings(arguments), arguments.direction
    start = _start(arguments, settings)
    before, device = start.before, find_device(arguments.device)  # torch, which takes seconds, is imported only here
    if before is not None:
        arguments.radius, arguments.cone = (before.card["jets"][name] for name in ("radius", "cone"))
    cone = default_cone(arguments.radius) if arguments.cone is None else arguments.cone
    pairs_of = PairsProcessor(
        radius=arguments.radius,
        cone=cone,
        direction=direction,
        columns=[*(column.name for column in start.columns), *arguments.columns],
        any_radius=True,  # checked after, with more that the files tell
        **trainings.sample_options(arguments),
    )
    beam = None if arguments.energy is None else 500.0 * arguments.energy
    settings = replace(settings, cone=cone, abs_eta_max=arguments.eta_max, energy_max=beam)
    datasets = datasets_of(arguments, [arguments.gen, arguments.reco])
    settings = trainings.with_shares(settings, arguments, datasets)
    if settings.minutes is not None:  # equal parts for jets, columns, objects and particles
        asked = [arguments.extend is None, arguments.columns, *(getattr(arguments, name) for name in EXTENSIONS)]
        settings = replace(settings, minutes=settings.minutes / sum(map(bool, asked)))
    sample = trainings.read_files(
        arguments, pairs_of, datasets, [f"{arguments.reco}_{name}" for name in pairs_of.columns]
    )
    pairs, unmatched = sample
    n_unmatched = len(unmatched.near) + len(unmatched.far)
    x, y = ("gen", "reco") if direction == "fold" else ("reco", "gen")
    counts = f"{len(pairs.x):,} {x} jets, {pairs.matched.sum():,} with a {y} jet"
    say(f"{counts}; {n_unmatched:,} {y} jets without a {x} jet")
    trainings.check_sample(arguments, datasets, pairs, before)
    if beam is None and before is None:
        say("energy: no upper limit of jet energies; --energy sets half the collision energy")
    if arguments.extend is not None:
        trainings.warn_of_members(arguments.extend)
    if before is None:
        settings = _with_edge(settings, arguments, sample, sorted(datasets))
    if arguments.split == "file":
        from coffea_iqn.training.emulators import split

        # a member may lack some, which would waste the training before it
        for k in range(arguments.ensemble):
            split(bootstrapped(sample, settings.seed, k).pairs, settings)
    # read before the training of jets, which files that lack them would waste
    variables: Any = settings if before is None else before.variables
    further: dict[str, Callable[..., Emulator]] = {}
    if arguments.objects:
        further["objects"] = _objects(arguments, variables, datasets, cone)
    if arguments.particles:
        further["particles"] = _particles(arguments, datasets, cone)
    members = []
    with trainings.TrainingProgress(settings, arguments, checkpoint) as progress:
        options: dict[str, Any] = {"watch": progress.watch, "device": str(device)}
        learn = partial(_learn, start, arguments, options)
        emulator = learn(sample, settings, checkpoint)
        if emulator.unmatched is None and settings.unmatched:
            few = f"got {len(unmatched.near):,} near gen jets and {len(unmatched.far):,} far: none will be drawn"
            complain(f"coffea-iqn: warning: {y} jets without a {x} jet: expected both near gen jets and far, {few}")
        for name, add in further.items():
            emulator = add(emulator, settings=settings, checkpoint=checkpoint / name, **options)
        for k in range(arguments.ensemble):
            progress.member = f"member {k + 1} of {arguments.ensemble}, "
            own = replace(settings, seed=settings.seed + 1 + k)
            members.append(learn(bootstrapped(sample, settings.seed, k), own, checkpoint / f"member{k}"))
    _save(arguments, (emulator, members), datasets, pairs, cone)


def _save(
    arguments: argparse.Namespace,
    made: tuple[Emulator, list[Emulator]],
    datasets: Mapping[str, Sequence[Source]],
    pairs: JetPairs,
    cone: float,
) -> None:
    """Write an emulator and the members of its ensemble as a bundle, and print a summary."""
    emulator, members = made
    for k, one in enumerate((emulator, *members)):
        _describe(one.card, arguments, datasets, pairs, cone)
        if k:
            report = one.card["training"] if arguments.extend is None else one.card["extended"][-1]
            report["bootstrap"] = (
                f"member {k} of {len(members)}: events are there a random number of times, 1 on average"
            )
    digest = bundle.save(emulator, arguments.output, members)
    report, phase = emulator.card["training"], "quantiles"
    if arguments.extend is not None:
        report = emulator.card["extended"][-1]
        phase = next(reversed(report["validation_loss"]))
    x = "gen" if arguments.direction == "fold" else "reco"
    say(
        f"Bundle {arguments.output} ({digest[:12]}): {len(pairs.x):,} {x} jets, {report['minutes']} minutes, "
        f"validation loss {report['validation_loss'][phase]:.5f}" + (f", and {len(members)} members" if members else "")
    )
    n = int(pairs.matched.sum())
    if n < FEW_PAIRS:
        wanted = "expected about 100,000 for a useful bundle, or 30,000 with --pretrained"
        complain(f"coffea-iqn: warning: trained on {n:,} pairs of jets: {wanted}")


class _Start(NamedTuple):
    """Bundles that a training starts from: a teacher, a base to extend, networks to begin with, or none of these."""

    teacher: Emulator | None
    base: Emulator | None
    pretrained: Emulator | None

    @property
    def before(self) -> Emulator | None:
        """The one of them that determines the jets."""
        return self.teacher or self.base

    @property
    def columns(self) -> list[Column]:
        """Columns that it draws in addition to the four-momentum."""
        return [] if self.before is None else [*self.before.variables.columns]


def _start(arguments: argparse.Namespace, settings: TrainingSettings) -> _Start:
    """Load the bundles that a training starts from.

    Raises
    ------
    ValueError: if options contradict each other, or a bundle.
    """
    for name in ("teacher", "extend"):
        fits = not arguments.ensemble or getattr(arguments, name) is None
        expect(fits, f"ensemble: expected no --{name}, which would make all members share its jets, got one")
    wanted = [*arguments.columns, *(name for name in EXTENSIONS if getattr(arguments, name))]
    further = "--columns, --overlaps, --objects or --particles"
    fits = arguments.extend is None or (arguments.teacher is None and len(wanted) > 0)
    expect(fits, f"extend: expected {further}, and no --teacher, got {wanted or 'none'} and {arguments.teacher}")
    other = next((name for name in ("teacher", "extend") if getattr(arguments, name) is not None), None)
    why = "which trains no networks of jets from the beginning"
    fits = arguments.pretrained is None or other is None
    expect(fits, f"pretrained: expected no --{other} with it, {why}, got one")
    fits = arguments.direction != "correct" or not wanted
    expect(fits, f"direction correct: expected no {further} with it, got {next(iter(wanted), None)}")
    alone = arguments.columns and arguments.extend is None and arguments.teacher is None
    fits = not alone or settings.network in EXACT
    expect(fits, f"columns: expected a recipe with a {' or '.join(EXACT)}, got {settings.network}")
    models = arguments.teacher, arguments.extend, arguments.pretrained
    start = _Start(*(model and bundle.load(model, direction=arguments.direction) for model in models))
    if start.pretrained is not None:
        from coffea_iqn.training.pretrained import networks_of

        networks_of(start.pretrained, settings)  # raises before the files are read
        if arguments.ensemble:
            alike = f"all members begin as {arguments.pretrained}, whose own uncertainty their spread lacks"
            complain(f"coffea-iqn: warning: ensemble: {alike}")
    if start.before is not None:
        given = [name for name in OF_JETS if getattr(arguments, name) not in (None, trainings.AUTO)]
        got = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        expect(not given, f"options: expected none that {arguments.teacher or arguments.extend} determines, got {got}")
    alone = "overlaps: expected --extend with it, as new bundles have this model anyway, got none"
    expect(not arguments.overlaps or arguments.extend is not None, alone)
    # objects and particles do not follow the levels of the four-momentum
    bases = {"teacher": start.teacher}
    bases |= {f"extend with {name}": start.base for name in ("columns", "overlaps") if getattr(arguments, name)}
    for name, base in ((name, base) for name, base in bases.items() if base is not None):
        types = ("SplineIQN", "FlowMatching") if name == "teacher" else ("SplineIQN",)
        fits = base.ratio is None and base.network.type in types
        expect(fits, f"{name}: expected a {' or '.join(types)} that is not refined, got {base.draws_by}")
    return start


def _learn(
    start: _Start,
    arguments: argparse.Namespace,
    options: Mapping[str, Any],
    sample: TrainingSample,
    settings: TrainingSettings,
    checkpoint: Path,
) -> Emulator:
    """Train an emulator on a sample, then how its jets overlap, and its further columns."""
    from coffea_iqn.training.columns import described, extend
    from coffea_iqn.training.distil import distil
    from coffea_iqn.training.emulators import train
    from coffea_iqn.training.overlaps import has_overlaps, with_overlaps

    (pairs, unmatched), emulator, columns = sample, start.base, arguments.columns
    overlaps, taken_over = arguments.overlaps, None
    learns = start.before is None and arguments.direction == "fold" and settings.acceptance
    if learns and settings.network not in EXACT:
        say(f"overlapping jets: {settings.network} has no levels of each variable, so they will be drawn independently")
    elif learns:
        overlaps = has_overlaps(pairs, unmatched, settings)
        if not overlaps:
            model = start.pretrained
            if model is not None and model.radius == arguments.radius:  # their levels depend little on the detector
                taken_over = model.overlaps
            what = "they will be drawn independently" if taken_over is None else "their model is the pretrained one"
            say(f"overlapping jets: too few to train on, so {what}")
    of_overlaps, minutes = settings, settings.minutes
    if overlaps and emulator is None and minutes is not None:
        of_overlaps = replace(settings, minutes=OF_OVERLAPS * minutes)
        settings = replace(settings, minutes=(1.0 - OF_OVERLAPS) * minutes)
    if columns and emulator is None:  # before the training of the four-momentum, not only after it
        described([pairs.y[pairs.matched], unmatched.near, unmatched.far], start.columns, columns)
    before = pairs._replace(y=pairs.y[:, : len(VARIABLES) + len(start.columns)])
    if start.teacher is not None:
        emulator = distil(start.teacher, before, settings, checkpoint=checkpoint, **options)
    elif emulator is None:
        emulator = train(before, settings, unmatched, pretrained=start.pretrained, checkpoint=checkpoint, **options)
    if taken_over is not None:
        emulator = replace(emulator, overlaps=taken_over)
    if overlaps:
        emulator = with_overlaps(
            emulator,
            before,
            unmatched,
            of_overlaps,
            pretrained=start.pretrained,
            checkpoint=checkpoint / "overlaps",
            **options,
        )
    if not columns:
        return emulator
    return extend(emulator, *sample, columns, settings, checkpoint=checkpoint / "columns", **options)


def _objects(
    arguments: argparse.Namespace, variables: Any, datasets: Mapping[str, Sequence[Source]], cone: float
) -> Callable[..., Emulator]:
    """Read the sample of objects, for jets with the inputs and scale of these variables; return what trains on it."""
    from coffea_iqn.training.objects import RARE, check_enough, with_objects

    samples = ObjectsProcessor(variables, cone=cone, **trainings.sample_options(arguments))
    sample: ObjectsSample = trainings.read_files(arguments, samples, datasets, OBJECT_BRANCHES)
    kinds = [kind.name for kind in KINDS]  # which are required
    for name, law in sample.laws.items():
        rare = ": too rare to train on, none will be drawn" if name not in kinds and len(law.source) < RARE else ""
        say(f"objects, {name}: {len(law.source):,} of {len(law.columns):,}{rare}")
    check_enough(sample)
    return partial(with_objects, sample=sample)


def _particles(
    arguments: argparse.Namespace, datasets: Mapping[str, Sequence[Source]], cone: float
) -> Callable[..., Emulator]:
    """Read the sample of particles in jets; return what trains on it."""
    from coffea_iqn.training.particles import with_particles

    samples = ParticlesProcessor(radius=arguments.radius, cone=cone, **trainings.sample_options(arguments))
    tags = [f"{arguments.reco}{dot}{name}" for dot in "_." for name in B_TAG]
    sample: ParticlesSample = trainings.read_files(arguments, samples, datasets, [*PARTICLE_BRANCHES, *tags])
    for name, law in sample.laws.items():
        say(f"particles, {name}: {len(law.source):,} of {len(law.columns):,}")
    if TAG not in sample.laws:
        without = f"expected {' or '.join(B_TAG)} of {arguments.reco}, found none: jets will have no b tag"
        complain(f"coffea-iqn: warning: particles: {without}")
    return partial(with_particles, sample=sample)


def _describe(
    card: dict[str, Any],
    arguments: argparse.Namespace,
    datasets: Mapping[str, Sequence[Source]],
    pairs: JetPairs,
    cone: float,
) -> None:
    """Complete the card of a bundle: files, detector, jets, and as domain that of the matched jets x."""
    about = trainings.about_files(arguments, datasets, pairs)
    if "extended" in card:
        card["extended"][-1] |= about
    if arguments.extend is not None:
        return
    level, x, y = bundle.DIRECTIONS[arguments.direction], pairs.x[pairs.matched], pairs.y[pairs.matched]
    begin, low = float(f"{x[:, PT].min():.3g}"), max(PT_TRUSTED, arguments.gen_pt_min)
    if begin > BEGINS * arguments.gen_pt_min:  # the files have none from there on
        about["gen_pt_min"], low = begin, max(low, PT_SCULPTED * begin)
    begin = float(f"{y[:, PT].min():.3g}")
    if arguments.direction == "correct" and begin > BEGINS * arguments.gen_pt_min:  # softer jets become as hard
        low = max(low, float(f"{PT_SCULPTED * begin:.3g}"))
    card.update(
        detector=arguments.detector or card.get("detector", ""),  # a student has its teacher's
        direction=arguments.direction,
        jets={"algorithm": "anti-kt", "radius": arguments.radius, "cone": cone},
        domain={
            f"{level}_pt": [low, float(f"{x[:, PT].max():.3g}")],
            f"{level}_abs_eta": [0.0, float(f"{np.abs(x[:, ETA]).max():.2g}")],
        },
    )
    if arguments.energy is not None:
        card["energy"] = arguments.energy  # TeV
    card["training"] |= about


def _with_edge(
    settings: TrainingSettings, arguments: argparse.Namespace, sample: TrainingSample, names: Sequence[str]
) -> TrainingSettings:
    """Return the settings with the detector's scale and threshold, found in its jets unless given.

    Raises
    ------
    ValueError: if the datasets of these names have different ones.
    """
    scale_given, threshold_given = arguments.scale not in (None, trainings.AUTO), arguments.raw_pt_min is not None
    pairs, unmatched = sample
    reco = np.concatenate([pairs.four_momenta[pairs.matched], unmatched.near[:, :4], unmatched.far[:, :4]])
    of = pairs.sample[pairs.matched], unmatched.sample[unmatched.x_event[unmatched.near_row]]
    scales = [settings.scale] if scale_given or arguments.direction == "correct" else None
    sample_of = np.concatenate([*of, unmatched.sample[unmatched.far_event]])
    check_alike({name: reco[sample_of == k] for k, name in enumerate(names)}, scales)
    # a network whose quantiles may cross cannot be cut off at a threshold: it learns the sample as it is
    if (scale_given and threshold_given) or settings.network not in BOUNDED:
        return settings
    edge = find_edge(reco, scales)
    if edge is None:
        say(
            f"scale {settings.scale}, threshold {settings.raw_pt_min:g} GeV: no sharp lower edge of the reco jets "
            "found in the data; if the detector has a threshold, set it with --scale and --raw-pt-min"
        )
        return settings
    threshold = settings.raw_pt_min if threshold_given else edge.raw_pt_min
    found = f"scale {edge.scale}" if threshold_given else f"scale {edge.scale}, threshold {threshold:g} GeV"
    say(f"{found}: {trainings.FOUND}")
    return replace(settings, scale=edge.scale, raw_pt_min=threshold)


def _settings(arguments: argparse.Namespace) -> TrainingSettings:
    """Return the settings; a correction has only context that reco jets have, and no scale, as gen jets have none.

    Raises
    ------
    ValueError: if the settings of a correction contradict this.
    """
    given = trainings.given_settings(arguments, trainings.SETTINGS)
    if arguments.context is not None:
        given["context"] = tuple(arguments.context)
    settings = replace(RECIPES[arguments.recipe], **given)
    if arguments.direction == "fold":
        return settings
    if settings.context == TrainingSettings.context:
        settings = replace(settings, context=KNOWN_OF_RECO[:1])
    for level in settings.context:
        check_choice(KNOWN_OF_RECO, context=level)
    check_choice(("none",), scale=settings.scale)
    return replace(settings, unmatched=False)
