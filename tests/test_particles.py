"""Particles in jets: propagation to calorimeters, reconstruction, clustering to jets, and training."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import awkward as ak
import fastjet
import numpy as np
import pytest
import uproot
from coffea import processor
from coffea.nanoevents import NanoEventsFactory, PFNanoAODSchema
from coffea.processor import accumulate
from scipy.stats import wasserstein_distance

from coffea_iqn import ConstituentFolder, bundle
from coffea_iqn.bundle.schema import assemble, migrated, weights_of
from coffea_iqn.closure import split_half_distance
from coffea_iqn.data import sample_path
from coffea_iqn.emulator.particles import DECAY, LAWS, MOST, TAG, TRACK, around, axes_of, relative_to
from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.events.constituents import RECO, constituents_of
from coffea_iqn.events.names import Names
from coffea_iqn.files.inputs import NanoSchema
from coffea_iqn.folder.constituents import COLUMNS
from coffea_iqn.jets.constituents import Constituents
from coffea_iqn.jets.features import SCALES, wrap_phi
from coffea_iqn.jets.matching import match_tables
from coffea_iqn.jets.pseudojets import anti_kt
from coffea_iqn.jets.shapes import NAMES, shapes
from coffea_iqn.numerics.uniforms import Keys, event_keys
from coffea_iqn.particles.calorimeter import BEND, CRYSTAL, RADIUS, TOWER
from coffea_iqn.particles.cells import Left, Shared
from coffea_iqn.particles.columns import Incoming
from coffea_iqn.particles.decays import DISPLACED, NEAR, SURE, TURNED, Turns, both_lost, charged_columns, decays_of
from coffea_iqn.particles.matching import RECO_PHOTON, kinds_of, origins_of
from coffea_iqn.processors import IQNFoldProcessor, PairsProcessor, ParticlesProcessor
from coffea_iqn.training.pairs import joined_laws
from coffea_iqn.training.particles import with_particles
from coffea_iqn.training.recipes import RECIPES
from conftest import one_error, open_events, run, undrawn

MODEL = "cms-delphes-ak5-particles"
SAMPLES = ("wwhad_ak5_particles.root", "qcdhard_ak5_particles.root")
SCALE = SCALES["delphes-cms"]


def one_jet(*particles):
    """Make a jet of particles (pt, eta, phi, PDG code)."""
    values = np.array([[pt, eta, phi, 0.0] for pt, eta, phi, _ in particles], dtype=np.float64)
    code = np.array([code for *_, code in particles])
    jet = np.array([[values[:, 0].sum(), values[0, 1], values[0, 2], 10.0]])
    return Incoming.of(Constituents(values, code, np.array([len(code)])), jet)


def decay(mass, momentum, one, other, angle=1.0):
    """Decay a particle of a mass and momentum along x to two particles (mass, code), at an angle."""
    energy = (mass**2 + one[0] ** 2 - other[0] ** 2) / (2.0 * mass)
    p = np.sqrt(energy**2 - one[0] ** 2)
    gamma, made = np.hypot(momentum, mass) / mass, []
    for sign, (own, code) in ((1.0, one), (-1.0, other)):
        along, across = sign * p * np.cos(angle), sign * p * np.sin(angle)
        x = gamma * along + momentum / mass * np.hypot(p, own)
        made.append((np.hypot(x, 0.0), np.arcsinh(across / x), 0.0, code))
    return made


@pytest.fixture(scope="module", params=SAMPLES)
def events(request):
    return open_events(request.param, metadata={"dataset": request.param})


@pytest.fixture(scope="module")
def ww():
    return open_events(SAMPLES[0], metadata={"dataset": "ww"})


@pytest.fixture(scope="module")
def folded(ww):
    return ConstituentFolder(MODEL, seed=3)(ww)


@pytest.fixture(scope="module")
def sample(ww):
    made = ParticlesProcessor(radius=0.5, cone=0.35, pt_min=130.0)
    return made.postprocess(made.process(ww))


def pairs_of(events):
    """Return incoming particles of gen jets, and the particles of their reco jets."""
    jets, reco = flatten_jets(events.GenJet), flatten_jets(events.Jet)
    gen, true = constituents_of(events, jets, Names()), constituents_of(events, reco, RECO)
    of_gen, of_reco = match_tables(jets, reco, 0.35)
    return Incoming.of(gen.rows(of_gen), jets.values[of_gen]), true.rows(of_reco)


def test_reco_jets_that_are_invalid_are_refused_as_by_pairs(ww):
    pt = ak.where(ak.local_index(ww.Jet.pt) == 0, np.float32(np.nan), ww.Jet.pt)
    spoilt = ak.with_field(ww, ak.with_field(ww.Jet, pt, "pt"), "Jet")
    for instance in (PairsProcessor(radius=0.5), ParticlesProcessor(radius=0.5, cone=0.35)):
        with pytest.raises(ValueError, match=r"reco jets of .*: expected finite numbers and pt above 0, got \d+ of"):
            instance.process(spoilt)


def test_a_track_bends_as_a_circle_does_and_a_photon_does_not():
    pt = 3.0
    incoming = one_jet((pt, 0.0, 0.5, 211), (pt, 0.0, 0.5, -211), (pt, 0.0, 0.5, 130), (pt, 0.3, 0.5, 22))
    hits = incoming.hits
    turned = np.arcsin(RADIUS * BEND / (2.0 * pt))
    assert list(hits.calorimeter[hits.cell]) == [TOWER, TOWER, TOWER, CRYSTAL]
    for particle, phi in enumerate((0.5 - turned, 0.5 + turned, 0.5, 0.5)):
        low, width = hits.low[hits.cell[particle], 1], hits.width[hits.cell[particle], 1]
        assert low <= phi < low + width
    assert np.allclose(
        hits.energy, np.sqrt((pt * np.cosh([0, 0, 0, 0.3])) ** 2 + np.array([0.13957, 0.13957, 0.497614, 0]) ** 2)
    )


def test_a_track_has_the_charge_of_its_particle_whatever_the_sign_of_its_code():
    codes = [211, -321, 11, -13, 3112, -3112, 3222, 3312, -3334, 2112, 22]  # Σ⁻ and e⁻ have codes above 0
    incoming = one_jet(*((3.0, 0.0, 0.5, code) for code in codes))
    assert incoming.charge.tolist() == [1, -1, -1, 1, -1, 1, 1, -1, 1, 0, 0]
    assert incoming.track_codes().tolist() == [211, -211, 11, -13, -211, 211, 211, -211, 211, 0, 0]


def test_what_is_left_of_photons_and_hadrons_is_where_their_cells_are(events):
    incoming, reco = pairs_of(events)
    origins = origins_of(incoming, reco)
    kind = kinds_of(reco.code)
    entered = np.bincount(kind[origins.entered], minlength=3) / np.bincount(kind, minlength=3)
    assert (entered < [0.02, 0.03, 0.12]).all()
    there = np.flatnonzero((origins.left >= 0) & ~origins.shifted & (incoming.hits.calorimeter == CRYSTAL))
    assert (kind[origins.left[there]] == RECO_PHOTON).all()
    place = (reco.values[origins.left[there], 1:3] - incoming.hits.low[there]) / incoming.hits.width[there]
    # a calorimeter only gives the cell: uniform positions in it have mean ½ and variance 1/12
    assert np.allclose(place.mean(axis=0), 0.5, atol=4.0 / np.sqrt(12.0 * len(there)))
    assert np.allclose(place.var(axis=0), 1.0 / 12.0, rtol=0.06)


@pytest.mark.parametrize(
    ("mass", "pair", "columns"),
    [(0.497611, ((0.13957, 211), (0.13957, -211)), (0, 0)), (1.115683, ((0.93827, 2212), (0.13957, -211)), (1, 2))],
)
def test_two_tracks_of_one_decay_know_of_each_other(mass, pair, columns):
    incoming = one_jet(*decay(mass, 40.0, *pair), (5.0, 0.1, 0.1, 211), (7.0, -0.2, 0.1, 321))
    charged, mate = charged_columns(incoming)
    assert list(mate) == [1, 0, -1, -1]
    near = charged[:, NEAR]
    assert near[[0, 1], columns].min() > 0.9
    assert near[2:].max() < 0.5
    # probability of leaving the field before decaying, with γβcτ = 40 GeV / m · cτ
    length = {0.497611: 0.026844, 1.115683: 0.0789}[mass]
    assert charged[0, 13] == pytest.approx(near[0].max() * np.exp(-RADIUS * mass / (40.0 * length)), rel=2e-3)
    assert list(both_lost(charged, mate, np.array([False, False, True, False]))) == [True, True, False, False]
    assert not both_lost(charged, mate, np.array([True, False, True, True])).any()


def test_a_neutral_hadron_beside_a_track_measured_too_low_is_found_in_its_cell():
    incoming = one_jet((500.0, 0.04, 0.5, 211), (3.0, 0.3, 0.4, 22))
    (cell,) = np.flatnonzero(incoming.hits.calorimeter == TOWER)
    eta, phi = incoming.hits.centre[cell]
    values = np.array([[250.0, 0.04, 0.5, 0.0], [240.0, eta, phi, 0.0]])  # a track, and the energy left in its cell
    origins = origins_of(incoming, Constituents(values, np.array([211, 130]), np.array([2])))
    assert origins.left[cell] == 1
    assert len(origins.entered) == 0


def test_two_displaced_tracks_of_one_decay_come_from_one_place():
    incoming = one_jet(*decay(0.497611, 8.0, (0.13957, 211), (0.13957, -211)), (5.0, 0.1, 0.1, 211))
    (columns, mate), pt = charged_columns(incoming), incoming.particles.values[:, 0]
    assert list(mate) == [1, 0, -1]
    status, turn = np.full(3, DISPLACED), np.array([0.05, 0.0, 0.0])
    turns = Turns.of(incoming, columns, np.array([1, 2]), mate, status, turn)
    assert np.allclose(
        turns.of_targets(np.zeros(2)), [turn[0] * pt[0] / pt[1], 1.0]
    )  # the turn that the mate implies, or none
    drawn = np.array([0.02, 0.3])
    assert np.allclose(turns.of_targets(turns.targets(drawn)), drawn)
    assert np.allclose(turns.of_targets(turns.least), TURNED)


def test_displaced_tracks_of_one_decay_are_drawn_from_one_place(ww):
    jets = flatten_jets(ww.GenJet)
    gen = constituents_of(ww, jets, Names())
    incoming = Incoming.of(gen, jets.values)
    one = np.ones(len(ww), dtype=np.int64)
    model, keys = bundle.load(MODEL).particles, Keys(event_keys(1, "x", one, one, np.arange(len(ww))))
    made = model.draw(gen, jets, keys, raw_pt_min=10.0)
    turn = np.zeros(len(gen.code))
    has = made.row >= 0
    rows, phi = made.row[has], made.particles.values[has, 2]
    turn[rows] = np.abs(wrap_phi(phi - gen.values[rows, 2]))
    columns, mate = charged_columns(incoming)
    pairs = np.flatnonzero((mate > np.arange(len(mate))) & (turn > 0.0) & (turn[mate] > 0.0))
    pairs = pairs[columns[pairs, NEAR].max(axis=1) > SURE]
    assert len(pairs) > 50
    apart = np.log(turn[pairs] * gen.values[pairs, 0] / (turn[mate[pairs]] * gen.values[mate[pairs], 0]))
    assert np.quantile(np.abs(apart), 0.8) < 0.2  # 2 if drawn independently


def test_tracks_of_a_cell_share_what_it_measures():
    incoming = one_jet((400.0, 0.04, 0.5, 211), (300.0, 0.05, 0.5, 211), (200.0, 0.06, 0.5, 321), (9.0, 0.04, 0.5, 13))
    has_track, none = np.ones(4, dtype=bool), np.zeros(4, dtype=bool)
    shared = Shared.of(incoming, has_track, none, none)
    assert list(shared.tracks) == [3]  # and a muon without a cell
    charged, _ = charged_columns(incoming)
    tau = np.random.default_rng(1).random((4, 2)).astype(np.float32)
    model = bundle.load(MODEL).particles
    ratio, after = model._momenta(incoming, has_track, charged, shared, tau)
    assert np.ptp(ratio) > 0.0
    assert np.allclose(after.seen, after.together)  # the last one gets the rest
    assert np.allclose(after.drawn, after.found)
    some = np.array([0, 1])
    left = Left.of(incoming, some, shared.with_all(incoming, np.array([0, 3]), np.array([0.9, 1.0])))
    assert np.allclose(left.targets(left.of_targets(np.array([0.1, -0.2]))), [0.1, -0.2])


def test_photons_of_one_neutral_decay_know_of_each_other():
    pions = decay(0.497611, 30.0, (0.134977, 111), (0.134977, 111), angle=1.3)
    photons = [
        (pt, eta + turn, phi, 22)
        for pion, eta, phi, _ in pions
        for pt, turn, phi in (
            (0.6 * pion, 0.134977 / pion * np.sqrt(0.4 / 0.6), phi),
            (0.4 * pion, -0.134977 / pion * np.sqrt(0.6 / 0.4), phi),
        )
    ]
    decays = decays_of(one_jet(*photons, (20.0, 0.3, 0.2, 22), (3.0, -0.3, 0.2, 22)))
    assert list(decays.of) == [0, 0, 0, 0, -1, -1]
    assert decays.columns[0, 0] == 0.0
    assert decays.columns[0, 3] == pytest.approx(np.log(30.0), abs=0.01)


def test_jets_are_those_of_fastjet(ww):
    particles, counts = ww.PFCands[:60], ak.num(ww.PFCands.pt[:60])
    columns = [ak.to_numpy(ak.flatten(particles[name])).astype(np.float64) for name in ("pt", "eta", "phi")]
    values = np.stack([*columns, np.zeros(len(columns[0]))], axis=1)
    jet, n_jets = anti_kt(values, ak.to_numpy(counts).astype(np.int64), 0.5, 5.0)
    first = 0
    for event, n in enumerate(counts):
        pt, eta, phi = values[first : first + n, :3].T
        inputs = [
            fastjet.PseudoJet(*map(float, p))
            for p in zip(pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta), strict=True)
        ]
        clustered = fastjet.ClusterSequence(inputs, fastjet.JetDefinition(fastjet.antikt_algorithm, 0.5))
        theirs = sorted(clustered.inclusive_jets(5.0), key=lambda one: -one.pt())
        ours = jet[first : first + n]
        assert n_jets[event] == len(theirs)
        assert [int((ours == k).sum()) for k in range(len(theirs))] == [len(one.constituents()) for one in theirs]
        first += n


def test_a_jet_is_the_sum_of_its_particles_and_each_is_in_one(folded):
    jets, particles = folded.IQNJet, folded.IQNPFCands
    assert ak.all(particles.jetIdx[:, 1:] >= particles.jetIdx[:, :-1])
    assert ak.all(jets.pt[:, 1:] <= jets.pt[:, :-1])
    numbers = ak.run_lengths(ak.flatten(particles.jetIdx + 1000 * ak.local_index(particles, axis=0)))
    of_jets = ak.unflatten(ak.flatten(particles), numbers)
    total = ak.sum(of_jets, axis=1)
    columns = [ak.to_numpy(ak.flatten(jets[name])).astype(np.float64) for name in ("pt", "eta", "phi", "mass")]
    raw = SCALE.undo(np.stack(columns, axis=1))
    assert np.allclose(total.pt, raw[:, 0], rtol=1e-4)
    assert np.allclose(total.mass, raw[:, 3], rtol=1e-2, atol=0.05)
    charged = particles.charge != 0
    assert ak.all(charged == ((np.abs(particles.pdgId) != 22) & (np.abs(particles.pdgId) != 130)))
    assert ak.all(ak.flatten(jets.nCharged) == ak.sum(of_jets.charge != 0, axis=1))


def test_tracks_are_those_of_particles(ww):
    folded, (made,) = ConstituentFolder(MODEL).fold_table(ww)
    gen = constituents_of(ww, folded.gen, Names())
    track = made.row >= 0
    assert 0.4 < track.mean() < 0.7
    rows = made.row[track]
    assert len(np.unique(rows)) == len(rows)  # one particle has one track
    assert np.array_equal(made.particles.values[track, 1], gen.values[rows, 1])
    turned = np.abs(made.particles.values[track, 2] - gen.values[rows, 2]) > 1e-9
    assert 0.02 < turned.mean() < 0.2  # displaced tracks
    assert not (made.particles.code[track] == 22).any()
    model = bundle.load(MODEL).particles
    for code, (least, _) in zip((22, 130), model.least, strict=True):
        left = (made.particles.code == code) & ~track
        energy = made.particles.values[left, 0] * np.cosh(made.particles.values[left, 1])
        # entering particles may be below the threshold, but are rare
        assert (energy > 0.999 * least).mean() > 0.98


def test_what_is_drawn_does_not_depend_on_company(ww, folded):
    folder = ConstituentFolder(MODEL, seed=3)
    for some in (ww[7:31], ww[::-1]):
        parts = folder(some)
        same = folder(ww)[7:31] if len(some) < len(ww) else folder(ww)[::-1]
        for name in ("IQNJet", "IQNPFCands"):
            for field in ("pt", "eta", "phi"):
                assert ak.array_equal(parts[name][field], same[name][field])
    other = ConstituentFolder(MODEL, seed=4)(ww)
    assert not np.array_equal(
        ak.to_numpy(ak.flatten(other.IQNJet.pt))[:50], ak.to_numpy(ak.flatten(folded.IQNJet.pt))[:50]
    )


def test_compiled_laws_draw_what_torch_draws(ww):
    model, jets = bundle.load(MODEL).particles, flatten_jets(ww.GenJet[:20])
    particles = constituents_of(ww[:20], jets, Names())
    keys = Keys(event_keys(1, "x", [1] * 20, [1] * 20, np.arange(20)))
    by_torch = replace(model, laws={name: law.with_torch for name, law in model.laws.items()})
    one, other = (of.draw(particles, jets, keys, raw_pt_min=20.0) for of in (model, by_torch))
    same = one.jets.values.shape == other.jets.values.shape
    assert same
    # a level next to an edge may be on either side of it
    assert np.isclose(one.jets.values[:, 0], other.jets.values[:, 0], rtol=1e-3).mean() > 0.95


def test_emulated_jets_look_like_true_ones(events):
    _, (made,) = ConstituentFolder(MODEL, raw_pt_min=50.0).fold_table(events)
    incoming, true = pairs_of(events)
    matched = made.jets.row >= 0
    hard = flatten_jets(events.GenJet).values[:, 0] > 110.0
    emulated = shapes(made.particles.rows(np.flatnonzero(matched & hard[made.jets.row])).massless, 0.5)
    true = shapes(true.rows(np.flatnonzero(incoming.jets[:, 0] > 110.0)), 0.5)
    for name in ("multiplicity", "pTD", "tau21", "soft-drop mass", "width", "flow 1"):
        columns = [jets[: min(len(emulated), len(true)), NAMES.index(name)] for jets in (emulated, true)]
        assert split_half_distance(wasserstein_distance, *columns).ratio < 2.0, name


def test_positions_around_a_jet_are_found_again():
    rng = np.random.default_rng(2)
    axes = np.stack([rng.uniform(-2, 2, 50), rng.uniform(-3.1, 3.1, 50)], axis=1)
    targets = np.stack([rng.normal(1, 1, 50), rng.uniform(0, 0.5, 50), rng.uniform(-3.1, 3.1, 50)], axis=1)
    assert np.allclose(relative_to(around(targets, axes), axes), targets)


def test_the_axis_of_what_is_reconstructed_is_its_mean_by_pt():
    jets = np.array([[100.0, 0.5, 3.1, 9.0], [90.0, -1.0, 0.0, 9.0]])
    values = np.array([[30.0, 0.6, 3.1, 0.0], [10.0, 0.5, -3.1, 0.0], [50.0, 1.5, 3.1, 0.0]])  # the last is too far
    axes = axes_of(values, np.array([0, 0, 0]), jets, 0.5)
    across = 10.0 * (2.0 * np.pi - 6.2) / 40.0
    assert np.allclose(axes, [[0.575, 3.1 + across], [-1.0, 0.0]])


def test_names_of_nanoaod_and_of_gen_jets(ww, folded):
    nano = ConstituentFolder(MODEL, seed=3)(ww, as_nano=True)
    assert ak.array_equal(nano.Jet.pt, folded.IQNJet.pt)
    assert set(COLUMNS) < set(nano.Jet.fields)
    matched = nano.Jet.genJetIdx >= 0
    near = nano.Jet[matched].delta_r(nano.Jet.matched_gen[matched])
    assert np.quantile(np.asarray(ak.drop_none(ak.flatten(near))), 0.9) < 0.2
    assert set(np.unique(ak.flatten(nano.Jet.btag))) == {0.0, 1.0}
    assert len((ak.firsts(nano.Jet) + ak.firsts(nano.PFCands)).mass) == len(ww)


@pytest.fixture(scope="module")
def fold_of_files(tmp_path_factory):
    output = tmp_path_factory.mktemp("particles") / "folded"
    files = [f"ww={sample_path(SAMPLES[0])}", f"qcd={sample_path(SAMPLES[1])}"]
    options = ["--model", MODEL, "--particles", "--skim", "root", "--as", "Jet", "--pt-min", "100", "--quiet"]
    with undrawn():
        assert run("fold", *files, *options, "--output", output) == 0
    return output


def test_a_fold_has_histograms_of_particles(fold_of_files):
    summary = json.loads((fold_of_files / "summary.json").read_text())
    assert summary["particles"]
    with uproot.open(fold_of_files / "histograms.root") as file:
        names = {key.split("/")[-1].split(";")[0] for key in file.keys()}  # noqa: SIM118
    assert {"tau21", "msoftdrop", "nconst", "flow1"} <= names
    assert any("tau21" in path.name for path in (fold_of_files / "plots").glob("*.png"))


class PFNano(PFNanoAODSchema):
    warn_missing_crossrefs = False


def test_a_skim_has_the_layout_of_pfnano(fold_of_files):
    for path in (fold_of_files / "skim").glob("*.root"):
        events = NanoEventsFactory.from_root({str(path): "Events"}, schemaclass=PFNano).events()
        total = ak.sum(events.Jet.constituents.pf, axis=2)
        assert np.median(ak.flatten(total.pt / events.Jet.pt)) == pytest.approx(0.98, abs=0.02)
        assert ak.all(events.Jet.matched_gen.pt[events.Jet.genJetIdx >= 0] > 0)


def test_histograms_are_the_same_in_other_chunks():
    found = []
    for chunksize in (600, 137):
        runner = processor.Runner(
            processor.IterativeExecutor(status=False), schema=NanoSchema, chunksize=chunksize, savemetrics=False
        )
        fileset = {"ww": {"files": {str(sample_path(SAMPLES[0])): "Events"}}}
        found.append(runner(fileset, IQNFoldProcessor(MODEL, particles=True, replicas=2))["hists"])
    for name, histogram in found[0].items():
        assert np.array_equal(histogram.view(flow=True), found[1][name].view(flow=True)), name


def test_true_particles_are_in_all_files_or_in_none():
    """Their shapes would be those of some of the jets, beside emulated ones of all."""
    events = open_events(SAMPLES[0], entry_stop=20, metadata={"dataset": "ww"})
    instance = IQNFoldProcessor(MODEL, particles=True)
    there, without = (instance.process(one) for one in (events, ak.without_field(events, "PFCands")))
    with pytest.raises(ValueError, match="ww: expected true particles in all files of the dataset or in none"):
        instance.postprocess(accumulate([there, without]))
    assert instance.postprocess(without)["hists"]["nconst"][{"level": "truth"}].sum(flow=True).value == 0


def test_training_finds_what_there_is_to_learn(sample):
    assert set(sample.laws) == set(LAWS)
    track, decays = sample.laws[TRACK], sample.laws[DECAY]
    assert 0.1 < (track.numbers() == 0).mean() < 0.35
    # late decays are not measured
    late, gone = decays.columns[:, 2] > 0.5, decays.numbers() == 0
    assert gone[late].mean() > 1.3 * gone[~late].mean()
    near = track.columns[:, NEAR].max(axis=1) > 0.9
    assert (track.numbers() == 2)[near].mean() > 5.0 * (track.numbers() == 2)[~near].mean()


def test_a_bundle_learns_particles(tmp_path):
    output = tmp_path / "learnt"
    files = [f"{name}={sample_path(name)}" for name in SAMPLES]
    command = ["train", *files, "--radius", "0.5", "--gen-pt-min", "110", "--quiet"]
    options = ["--extend", "cms-delphes-ak5", "--particles", "--steps", "20", "--check-every", "10"]
    assert run(*command, *options, "--output", output) == 0
    made, base = bundle.load(output), bundle.load("cms-delphes-ak5")
    assert set(made.particles.laws) == set(LAWS)
    assert made.card["extended"][-1]["particles"][TRACK] > 5000
    for name, array in base.network.arrays.items():
        assert np.array_equal(array, made.network.arrays[name])
    events = open_events(SAMPLES[0], entry_stop=20)
    assert ak.sum(ak.num(ConstituentFolder(output)(events).IQNPFCands)) > 300


def test_too_few_to_learn_from_is_an_error(sample):
    few = sample._replace(
        laws={name: law.where(np.arange(len(law.split_key)) < 4) for name, law in sample.laws.items()}
    )
    with pytest.raises(ValueError, match="expected at least 20 of track to learn from, got"):
        with_particles(bundle.load("cms-delphes-ak5"), few, RECIPES["default"])


def test_a_b_tag_is_a_bit_of_a_whole_number(ww):
    """Of a discriminant, jets with −1 would be tagged, and no others."""
    odd = ak.with_field(ww, ak.with_field(ww.Jet, ak.full_like(ww.Jet.pt, 0.3), "btag"), "Jet")
    with pytest.raises(ValueError, match=r"Jet.btag: expected whole numbers, .*, got others for \d+ of \d+ jets"):
        ParticlesProcessor(radius=0.5, cone=0.3).chunk(odd)


def test_files_with_and_without_a_b_tag_are_not_mixed(sample):
    without = {name: law for name, law in sample.laws.items() if name != TAG}
    for both in ((sample.laws, without), (without, sample.laws)):
        with pytest.raises(ValueError, match="expected b-tag in all files or in none, found some with"):
            joined_laws([*enumerate(both)])


def test_without_a_law_of_b_tags_jets_have_none(ww, tmp_path):
    emulator = bundle.load(MODEL)
    laws = {name: law for name, law in emulator.particles.laws.items() if name != TAG}
    card = {name: value for name, value in emulator.card.items() if name != "hash"}
    bundle.save(replace(emulator, particles=replace(emulator.particles, laws=laws), card=card), tmp_path / "untagged")
    few = ww[:20]
    made = ConstituentFolder(tmp_path / "untagged")(few).IQNJet
    assert "btag" not in made.fields
    assert {"nCharged", "tau1"} <= {*made.fields}


def test_a_bundle_of_particles_is_checked(tmp_path):
    shutil.copytree(bundle.find(MODEL), tmp_path / "spoilt")
    card = tmp_path / "spoilt" / "model.json"
    content = json.loads(card.read_text())
    del content["particles"]["laws"]["momentum"]
    card.write_text(json.dumps(content))
    with pytest.raises(bundle.BundleError, match="its files are damaged or were edited"):
        bundle.load(tmp_path / "spoilt")
    with pytest.raises(ValueError, match=r"particles: expected laws of .*momentum"):
        assemble(content, weights_of(bundle.load(MODEL)))
    with pytest.raises(
        ValueError, match="particles: expected schema version 9, got an older one: train them again with train"
    ):
        migrated({**content, "schema_version": 8})


def test_what_cannot_be_followed_is_an_error(ww, capsys, tmp_path):
    with pytest.raises(ValueError, match="expected a bundle with particles"):
        ConstituentFolder("cms-delphes-ak5")
    with pytest.raises(ValueError, match="acceptance: expected True for particles, got False"):
        ConstituentFolder(MODEL, acceptance=False)
    with pytest.raises(ValueError, match="replicas: expected 1"):
        ConstituentFolder(MODEL, replicas=2)(ww)
    with pytest.raises(ValueError, match="expected GenJetCands with jetIdx"):
        ConstituentFolder(MODEL)(open_events("qcd_ak5.root", entry_stop=5))
    with pytest.raises(ValueError, match="objects: expected False with particles"):
        IQNFoldProcessor(MODEL, objects=True, particles=True)
    jets, keys = flatten_jets(ww.GenJet[:1]), Keys(event_keys(1, "x", [1], [1], [1]))
    many = Constituents(np.ones((MOST + 1, 4)), np.full(MOST + 1, 211), np.array([MOST + 1, 0]))
    with pytest.raises(ValueError, match=f"expected at most {MOST} in a jet"):
        bundle.load(MODEL).particles.draw(many, jets, keys, raw_pt_min=10.0)
    command = ["train", sample_path("qcd_ak5.root"), "--radius", "0.5", "--extend", "cms-delphes-ak5", "--particles"]
    assert run(*command, "--output", tmp_path / "none") == 2
    assert "expected GenJetCands and PFCands" in one_error(capsys)
