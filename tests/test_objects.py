"""Electrons, muons, photons and missing momentum: conditioning variables, drawing, and training."""

from __future__ import annotations

from dataclasses import replace

import awkward as ak
import numpy as np
import pytest
import torch

from coffea_iqn import EventFolder, bundle
from coffea_iqn.data import BUNDLES
from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.emulator.objects import FAR, JETS, MISSING, NEAR, has_prompt, jet_columns
from coffea_iqn.emulator.unmatched import far_columns
from coffea_iqn.events.collections import flatten_jets, gen_events, missing_momentum, prompt_particles
from coffea_iqn.events.objects import reco_objects
from coffea_iqn.iqn.members.spline import SplineIQN
from coffea_iqn.iqn.networks import NumberNetwork
from coffea_iqn.jets.context import encode
from coffea_iqn.jets.prompt import PromptParticles
from coffea_iqn.jets.table import JetTable
from coffea_iqn.numerics.uniforms import Keys, event_keys
from coffea_iqn.objects.columns import (
    ACROSS,
    HARDEST,
    ISOLATION,
    far_targets,
    found_columns,
    isolation_targets,
    missing_columns,
    missing_of,
    missing_targets,
    objects_far,
    objects_of,
    particle_columns,
    relative_targets,
    widening,
)
from coffea_iqn.objects.kinds import KINDS, REACH
from coffea_iqn.processors import ObjectsProcessor
from coffea_iqn.training.laws import _with_known, learn_law
from coffea_iqn.training.objects import _track_share, with_objects
from coffea_iqn.training.pairs import LawSample, ObjectsSample
from coffea_iqn.training.recipes import RECIPES
from coffea_iqn.training.run import TrainingRun
from conftest import open_events

WHOLE = "cms-delphes-ak4-events"
WITH_OBJECTS = [name for name in BUNDLES if bundle.load(name).objects is not None]
SAMPLES = ("ttbar_ak4_full.root", "dilepton_ak4_full.root")


def turned(jets, angle):
    """Rotate jets around the beam."""
    out = jets.copy()
    out[:, 2] = (out[:, 2] + angle + np.pi) % (2.0 * np.pi) - np.pi
    return out


@pytest.fixture(scope="module")
def events():
    return open_events("ttbar_ak4_full.root", entry_stop=400)


@pytest.fixture(scope="module")
def folded(events):
    return EventFolder(WHOLE, seed=3)(events)


@pytest.fixture(scope="module")
def sample(events):
    whole = open_events("ttbar_ak4_full.root", metadata={"dataset": "ttbar"})
    emulator = bundle.load(WHOLE)
    made = ObjectsProcessor(emulator.variables, cone=emulator.card["jets"]["cone"])
    return made.postprocess(made.process(whole))


def some_objects(n=200, seed=1):
    rng = np.random.default_rng(seed)
    columns = rng.uniform(10, 90, n), rng.uniform(-2.5, 2.5, n), rng.uniform(-np.pi, np.pi, n), rng.uniform(0, 0.2, n)
    return np.stack(columns, axis=1)


def test_targets_have_an_inverse():
    source, objects = some_objects(seed=1), some_objects(seed=2)
    objects[:50, ISOLATION] = 0.0
    ends = (0.9 * (objects[50:, 0] * objects[50:, ISOLATION]).min(), objects[:, ISOLATION].max())
    of_isolation = isolation_targets(objects[:, ISOLATION], objects[:, 0], ends)
    assert set(of_isolation[:50]) == {-1.0}
    assert 0.0 <= of_isolation[50:].min() < of_isolation.max() <= 1.0
    relative = relative_targets(objects, source)
    relative[:, ISOLATION] = of_isolation
    np.testing.assert_allclose(objects_of(relative, source, *ends), objects, rtol=1e-12, atol=1e-12)
    axis, side = source[:, 2], np.where(source[:, 1] < 0.0, -1.0, 1.0)
    far = far_targets(objects, axis, side)
    far[:, ISOLATION] = of_isolation
    np.testing.assert_allclose(objects_far(far, axis, side, *ends), objects, rtol=1e-12, atol=1e-12)
    frame = np.column_stack([source[:, :2], np.cos(axis), np.sin(axis)])
    missing = objects[:, [0, 2]]
    np.testing.assert_allclose(missing_of(missing_targets(missing, frame), frame), missing, rtol=1e-10)


def test_a_particle_that_is_its_jet_and_one_beside_it():
    jets = JetTable(np.array([[50.0, 0.5, 3.1, 5.0], [80.0, -2.0, 0.0, 9.0]], np.float32), np.array([2]), np.arange(2))
    values = np.array([[48.0, 0.5, -3.1], [30.0, 0.6, -3.0]], np.float32)  # close to each other across φ = π
    particles = PromptParticles(values, np.array([0, 1]), np.array([2]), np.array([-1, 1]))
    columns = particle_columns(particles, jets, np.array([[3.0, 2.0, 0.9], [9.0, 9.0, 0.5]]))
    assert columns[:, 5].tolist() == [1.0, 1.0]
    assert columns[0, 7] == pytest.approx(np.log(48.0 / 50.0), rel=1e-5)
    assert columns[0, 9:13] == pytest.approx([np.log(4.0) / 2, np.log(3.0) / 2, 0.9, 1.0])
    assert columns[0, 17:20].tolist() == [0.0, 1.0, 0.0]  # the nearest other particle is a muon
    assert particle_columns(particles, jets, None)[0, 9:13].tolist() == [0.0, 0.0, 0.0, 0.0]
    found = found_columns(jets, values[:1], np.array([0]), np.array([1]))
    assert found[0, 0] == pytest.approx(48.0 / 50.0)
    assert found[0, 3] == pytest.approx(np.log(2.0))
    assert found[1, :4].tolist() == [0.0] * 4


def isolated(kind, pt, n):
    """Isolated particles of one kind and pt, one in each event, in gen jets that contain little else."""
    eta = np.linspace(-1.4, 1.4, n)
    values = np.stack([np.full(n, pt), eta, np.zeros(n)], axis=1, dtype=np.float32)
    one = np.ones(n, dtype=int)
    jets = np.insert(values + np.array([2.0, 0.0, 0.0]), 3, 1.0, axis=1).astype(np.float32)
    return JetTable(jets, one, np.zeros(n, int)), PromptParticles(values, one * kind, one, 0 * one)


@pytest.mark.parametrize("name", WITH_OBJECTS)
def test_photons_are_measured_as_well_as_a_calorimeter_does(name):
    jets, photons = isolated(2, 50.0, 4000)
    columns = particle_columns(photons, jets, None)
    levels = np.random.default_rng(0).uniform(size=(4000, 4)).astype(np.float32)
    drawn = bundle.load(name).objects.laws["Photon"].draw(columns, levels, least=np.full(4000, np.log(0.2)))
    low, high = np.quantile(drawn[:, 0], [0.16, 0.84])
    assert 0.015 < (high - low) / 2.0 < 0.035


def resolution(name, kind, pt):
    """Half the width of the central 68 % of log(pt / particle pt) of isolated particles."""
    jets, particles = isolated([one.name for one in KINDS].index(kind), pt, 4000)
    keys = Keys(event_keys(0, "events", *(np.zeros(4000, np.uint64),) * 2, np.arange(4000, dtype=np.uint64)))
    far = far_columns(jets.values, jets.counts, None)
    found = bundle.load(name).objects.draw(jets, particles, None, encode(4000, {}), far, keys)
    mine = found.place >= 0
    return np.subtract(*np.quantile(np.log(found.values[mine, 0] / pt), [0.84, 0.16])) / 2.0


@pytest.mark.parametrize("name", WITH_OBJECTS)
def test_only_tracks_are_measured_worse_the_harder_they_are(name):
    """The card has 1.5 % ⊕ 0.015 % pt / GeV for most muons, and the calorimeter 0.5 % and less for electrons."""
    assert 8.0 < resolution(name, "Muon", 2000.0) / resolution(name, "Muon", 200.0) < 10.0
    assert 0.6 < resolution(name, "Electron", 2000.0) / resolution(name, "Electron", 200.0) < 1.2


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_how_the_resolution_grows_is_learnt_below_200_gev(share):
    rng = np.random.default_rng(0)
    pt = rng.exponential(40.0, 20_000) + 10.0
    width = 0.02 * np.sqrt(1.0 - share + share * (pt / HARDEST) ** 2)
    targets = np.zeros((len(pt), 4))
    targets[:, 0] = width * rng.standard_normal(len(pt))
    made = LawSample.of(np.zeros((len(pt), 1)), pt, np.arange(len(pt)), targets)._replace(least=-np.log(pt))
    assert _track_share(made) == pytest.approx(share, abs=0.07)
    np.testing.assert_allclose(widening(np.array([50.0, 200.0, 2000.0]), 1.0), [1.0, 1.0, 10.0])


@pytest.mark.parametrize("kind", range(len(KINDS)))
@pytest.mark.parametrize("name", WITH_OBJECTS)
def test_particles_harder_than_those_of_the_training_are_found_and_isolated_like_the_hardest_of_these(name, kind):
    law, found = bundle.load(name).objects.laws[KINDS[kind].name], []
    levels = np.random.default_rng(0).uniform(size=(4000, 4)).astype(np.float32)
    for pt in (200.0, 2000.0):
        columns = particle_columns(*reversed(isolated(kind, pt, 4000)), None)
        n = law.draw_numbers(columns, levels[:, 0])
        alone = law.draw(columns, levels, least=np.full(4000, np.log(10.0 / pt)))[:, ISOLATION] < 0.0
        found.append([(n > 0).mean(), alone.mean()])
    assert (np.subtract(*reversed(found)) > -0.1).all()


def recoil_of(gen, reco, objects, missing):
    n = len(gen)
    table = JetTable(gen.astype(np.float32), np.array([n]), np.arange(n))
    none = np.zeros(len(objects), dtype=int)
    return missing_columns(
        table,
        np.zeros(n, dtype=bool),
        reco,
        np.zeros(n, int),
        np.arange(n),
        objects,
        none,
        objects[:, 0] + 1.0,
        missing,
    )


def test_missing_momentum_depends_on_no_direction_around_the_beam():
    gen, reco, objects = some_objects(5, 1), some_objects(5, 2), some_objects(2, 3)
    missing = np.array([[30.0, 0.4]])
    columns, frame = recoil_of(gen, reco, objects, missing)
    same, other = recoil_of(turned(gen, 1.0), turned(reco, 1.0), turned(objects, 1.0), missing + np.array([0.0, 1.0]))
    np.testing.assert_allclose(columns, same, atol=2e-6)
    np.testing.assert_allclose(np.hypot(*frame[0, :2]), np.hypot(*other[0, :2]), rtol=1e-5)
    mirrored = [one * [1.0, 1.0, -1.0, 1.0] for one in (gen, reco, objects)]
    across, _ = recoil_of(*mirrored, missing * [1.0, -1.0])
    signs = np.ones(columns.shape[1])
    signs[ACROSS] = -1.0
    np.testing.assert_allclose(columns * signs, across, atol=2e-6)


def test_missing_momentum_is_known_where_nothing_is_unclustered():
    """Only recoil: gen jets of 50 GeV measured as 40 GeV leave 10 GeV missing along each."""
    gen = np.array([[50.0, 0.0, 0.3, 1.0]])
    _, frame = recoil_of(gen, gen * [0.8, 1.0, 1.0, 1.0], some_objects(0), np.zeros((1, 2)))
    np.testing.assert_allclose(missing_of(np.zeros((1, 2)), frame), [[10.0, 0.3]], rtol=1e-5)


@pytest.mark.parametrize("name", SAMPLES)
def test_no_jet_is_made_of_what_an_object_is_made_of(name):
    events = EventFolder(WHOLE)(open_events(name, entry_stop=500))
    for kind in KINDS:
        pairs = ak.cartesian({"jet": events.IQNJet, "object": events[f"IQN{kind.name}"]})
        distances = ak.flatten(pairs.jet.delta_r(pairs.object))
        assert len(distances) > 50 or kind.name == "Photon"
        assert ak.all(distances > REACH - 1e-5)


def test_objects_keep_what_is_known_of_them(folded, events):
    model = bundle.load(WHOLE).objects
    for kind in KINDS:
        objects = folded[f"IQN{kind.name}"]
        flat = ak.flatten(objects)
        assert ak.min(flat.pt) >= 10.0
        least, most = model.isolation_ends[KINDS.index(kind)]
        around = (flat.relIso * flat.pt)[flat.relIso > 0.0]
        assert ak.all(around > 0.999 * least)  # threshold of tracks and towers, 0.5 GeV
        assert ak.all(flat.relIso <= most + 1e-6)
        assert [round(least, 2), round(most, 2)] == [0.5, 0.25 if kind.name == "Muon" else 0.12]  # from the card
        assert ak.all(objects.pt[:, :-1] >= objects.pt[:, 1:])
        matched = flat[~ak.is_none(flat.matched_gen)]
        assert set(np.abs(ak.to_numpy(flat.pdgId)).tolist()) <= {kind.code}
        if kind.charged:
            assert len(matched) > 30
            assert 0.2 < ak.mean(flat.relIso == 0.0) < 0.8  # exactly zero if alone in the cone
            assert ak.all(matched.pdgId == matched.matched_gen.pdgId)
            assert ak.all(matched.delta_r(matched.matched_gen) < 0.12)
    assert ak.all(np.isfinite(folded.IQNMET.pt))
    # each particle is found at most once
    gen = ak.flatten(folded.IQNElectron.matched_gen.pt[ak.num(folded.IQNElectron) > 1], axis=None)
    assert len(set(ak.to_list(ak.drop_none(gen)))) == len(ak.drop_none(gen))


def test_names_of_nanoaod_replace_those_of_the_file(events, folded):
    nano = EventFolder(WHOLE, seed=3)(events, as_nano=True)
    for name in ("Jet", "Electron", "Muon", "Photon", "MET"):
        assert ak.all(nano[name].pt == folded[f"IQN{name}"].pt)
    assert ak.all(np.hypot(nano.MET.px, nano.MET.py) - nano.MET.pt < 1e-3)
    assert ak.all(folded.Electron.pt == events.Electron.pt)
    assert len((ak.firsts(nano.Muon) + ak.firsts(nano.Jet)).mass) == len(events)  # as with those of NanoAOD


def test_emulated_events_can_be_written_by_awkward(folded, tmp_path):
    ak.to_parquet(folded[["IQNJet", "IQNMuon", "IQNMET"]], tmp_path / "events.parquet")
    assert ak.all(ak.from_parquet(tmp_path / "events.parquet").IQNMET.pt == folded.IQNMET.pt)


def test_compiled_code_and_torch_draw_the_same(events):
    emulator = bundle.load(WHOLE)
    known = gen_events(events.GenJet, events, flatten_jets(events.GenJet), flatten_jets(events.GenJet).valid())
    number = np.arange(len(events), dtype=np.uint64)
    keys = Keys(event_keys(0, "events", number * 0, number * 0, number))
    far = far_columns(known.jets.values, known.jets.counts, known.missing)
    made = [
        model.draw(known.jets, known.prompt, known.composition, known.context(), far, keys)
        for model in (emulator.objects, emulator.objects.with_torch)
    ]
    assert made[0].event.tolist() == made[1].event.tolist()
    np.testing.assert_allclose(made[0].values, made[1].values, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", WITH_OBJECTS)
def test_gen_jets_that_need_no_network_have_no_object_near_them(name, events):
    emulator = bundle.load(name)
    jets = flatten_jets(events.GenJet)
    known = gen_events(events.GenJet, events, jets, jets.valid())
    context, n = known.context(), len(jets.values)
    in_jets = np.zeros((n, 7), dtype=np.float32)
    in_jets[:, 4:6] = np.log(1.01) / 2.0, 1.0  # without objects
    of_jets = known.jets.values, in_jets, context, np.flatnonzero(~has_prompt(context))
    columns = jet_columns(*of_jets, inputs=emulator.objects.inputs, levels=emulator.objects.context)
    for kind, ceiling in zip(KINDS, emulator.objects.ceilings, strict=True):
        law = emulator.objects.laws.get(f"{kind.name}{NEAR}")
        assert (law is None) == (ceiling == 1.0)
        if law is not None:
            # at the greatest level that needs no network, it would find none either
            below = np.full(len(columns), np.nextafter(np.float32(1.0 - ceiling), np.float32(0.0)))
            assert not law.draw_numbers(columns, below).any()


@pytest.mark.parametrize("name", WITH_OBJECTS)
def test_what_needs_no_network_changes_no_event(name, events, tmp_path, monkeypatch):
    """Neither for objects near gen jets nor for levels of the event; substructure is unknown in every third event."""
    emulator = bundle.load(name)
    bundle.save(replace(emulator, objects=replace(emulator.objects, ceilings=(1.0, 1.0, 1.0))), tmp_path / "whole")
    jets, third = events.GenJet, np.arange(len(events)) % 3 == 0
    for k in ("tau1", "tau2", "tau3"):
        jets = ak.with_field(jets, ak.where(third, 0.0, jets[k]), k)
    of_some = ak.with_field(events, jets, "GenJet")
    for asked in (events, of_some):
        one = EventFolder(name, seed=5)(asked)
        with monkeypatch.context() as changed:
            changed.setattr(Emulator, "has_moot", False)
            other = EventFolder(str(tmp_path / "whole"), seed=5)(asked)
        for collection in ("IQNJet", "IQNElectron", "IQNMuon", "IQNPhoton", "IQNMET"):
            for field in ("pt", "phi"):
                mine, theirs = (ak.to_numpy(ak.flatten(of[collection][field], axis=None)) for of in (one, other))
                assert mine.tobytes() == theirs.tobytes(), (collection, field)


@pytest.mark.parametrize("ceilings", [(1.0, 0.0, 1.0), (1.0, 1.5, 1.0), (1.0,)])
def test_ceilings_are_probabilities(tmp_path, ceilings):
    emulator = bundle.load(WHOLE)
    bundle.save(replace(emulator, objects=replace(emulator.objects, ceilings=ceilings)), tmp_path / "bundle")
    with pytest.raises(ValueError, match="objects ceilings: expected"):
        bundle.load(tmp_path / "bundle")


def test_what_is_drawn_is_like_delphes(sample):
    """Compare efficiencies, and mean and spread of missing momentum in its frame, for events not trained on."""
    model, rng = bundle.load(WHOLE).objects, np.random.default_rng(1)
    for kind in ("Electron", "Muon"):
        law, of = model.laws[kind], sample.laws[kind]
        real = of.numbers()
        drawn = law.draw_numbers(of.columns.astype(np.float32), rng.uniform(size=len(real)))
        assert abs(drawn.mean() - real.mean()) < 4.0 * np.sqrt(0.5 / len(real))
    of, law = sample.laws[MISSING], model.laws[MISSING]
    drawn = law.draw(of.columns, rng.uniform(size=of.targets.shape).astype(np.float32))
    spread = of.targets.std(axis=0)
    np.testing.assert_allclose(drawn.mean(axis=0), of.targets.mean(axis=0), atol=5.0 * spread[0] / len(drawn) ** 0.5)
    np.testing.assert_allclose(drawn.std(axis=0), spread, rtol=0.12)


def test_objects_of_an_older_schema_have_to_be_trained_again():
    content = {**bundle.describe(bundle.load(WHOLE)), "schema_version": 9}
    with pytest.raises(ValueError, match="objects: expected schema version 10, got an older one: train them again"):
        bundle.migrated(content)
    assert bundle.migrated({**content, "objects": None})["objects"] is None


def test_every_object_belongs_to_one_law(sample, events):
    whole = open_events("ttbar_ak4_full.root")
    objects = reco_objects(whole, prompt_particles(whole))
    for k, kind in enumerate(KINDS):
        n = sum(len(sample.laws[f"{kind.name}{what}"].source) for what in ("", NEAR, FAR))
        assert n == (objects.kind == k).sum() == ak.sum(ak.num(whole[kind.name]))
    assert len(sample.laws[MISSING].source) == len(whole)
    assert 0 < sample.laws[JETS].numbers().mean() <= 1.0


def test_training_makes_a_bundle_that_draws_events(sample, tmp_path, events):
    few = replace(RECIPES["default"], steps=30, check_every=10, batch_size=256)
    made = with_objects(bundle.load(WHOLE), sample, few, checkpoint=tmp_path / "training")
    path = tmp_path / "bundle"
    bundle.save(made, path)
    again = bundle.load(path)
    assert set(again.objects.laws) == set(made.objects.laws) >= {"Electron", "Muon", "Photon", JETS, MISSING}
    assert all(10.0 <= least < 15.0 for least in again.objects.pt_min)  # the smallest of few objects
    assert again.objects.ceilings == made.objects.ceilings != (1.0, 1.0, 1.0)
    before, after = (EventFolder(model)(events[:50]) for model in (WHOLE, path))
    assert ak.any(before.IQNMET.pt != after.IQNMET.pt)
    # expected numbers equal observed ones
    law, of = again.objects.laws["Muon"], sample.laws["Muon"]
    u = (np.arange(len(of.columns)) + 0.5) / len(of.columns)
    drawn = law.draw_numbers(of.columns, np.random.default_rng(1).permutation(u))
    assert drawn.sum() == pytest.approx(of.numbers().sum(), rel=0.1)


def test_laws_that_share_networks_differ_by_constant_inputs():
    """These are included in the biases of the networks of each law."""
    x, y = torch.randn(100, 5), torch.rand(100, 3)
    spline = SplineIQN(8, 3, hidden=(6, 4), atoms=(2,))
    for shared, of in (
        (NumberNetwork(8, most=2), lambda network, x: network(x)),
        (spline, lambda network, x: network.nets[2](torch.cat([x, y[:, :2]], dim=1))),
    ):
        for which in range(3):
            constant = torch.eye(3)[which].expand(100, 3)
            expected = of(shared, torch.cat([constant, x], dim=1))
            torch.testing.assert_close(of(_with_known(shared, which, 3), x), expected)
            assert not torch.allclose(expected, of(_with_known(shared, which - 1, 3), x))


def test_an_atom_starts_at_its_frequency():
    """A training of a few objects ends before it would get there."""
    rng = np.random.default_rng(0)
    columns, targets = rng.normal(size=(1000, 3)).astype(np.float32), rng.uniform(size=(1000, 4))
    targets[:700, ISOLATION] = -1.0
    sample = LawSample.of(columns, rng.uniform(size=1000), np.arange(1000), targets)
    bounds = np.array([[0.0] * 4, [1.0] * 4])
    settings = replace(RECIPES["default"], steps=1, check_every=1)
    run = TrainingRun(settings, {"Photon jets": True}, [])
    law = learn_law("Photon", sample, sample, settings, run, bounds, hidden=(4,), atoms=(ISOLATION,), asks=("jets",))
    drawn = law.draw(columns, rng.uniform(size=(1000, 4)).astype(np.float32))
    assert (drawn[:, ISOLATION] < 0.0).mean() == pytest.approx(0.7, abs=0.05)


def test_what_is_too_rare_is_not_learnt(sample):
    none = LawSample.joined([sample.laws["Electron"]]).where(np.zeros(len(sample.laws["Electron"].columns), dtype=bool))
    poor = ObjectsSample({**sample.laws, "Electron": none}, *sample[1:])
    with pytest.raises(ValueError, match="expected at least 20 of Electron to learn from, got 0"):
        with_objects(bundle.load(WHOLE), poor, replace(RECIPES["default"], steps=1))


def test_files_of_different_thresholds_are_warned_of(sample):
    n_muons = sum(len(sample.laws[f"Muon{of}"].source) for of in ("", NEAR, FAR))
    (found,) = sample.begins["muons"].values()
    assert found == (sample.least_pt("muons"), n_muons)
    ((least, n),) = sample.begins["prompt muons"].values()
    assert least > 4.9
    assert n == len(sample.laws["Muon"].columns)
    for what in ("muons", "prompt electrons"):
        files = {"a": (10.1, 300)}, {"a": (10.3, 400)}, {"b": (25.2, 300)}
        soft, softer, hard = (sample._replace(begins=sample.begins | {what: of_files}) for of_files in files)
        assert ObjectsSample.joined([(0, soft), (0, softer)]).begins[what] == {"a": (10.1, 700)}
        wrong = f"{what}: expected one threshold in all files, found the lowest pt at 10.1 GeV in a and 25.2 GeV in b"
        for of_each in ([(0, soft), (0, hard)], [(0, soft), (1, hard)]):
            with pytest.warns(UserWarning, match=wrong):
                ObjectsSample.joined(of_each)


@pytest.mark.parametrize("other", ["pfRelIso03_all", ""])
def test_files_of_different_isolations_are_not_mixed(sample, other):
    of_others = sample._replace(isolation=(other, *sample.isolation[1:]))
    mixed = f"one isolation of each kind in all files, got {other or 'none'} relIso relIso and relIso relIso relIso"
    with pytest.raises(ValueError, match=mixed):
        ObjectsSample.joined([(0, sample), (0, of_others)])


@pytest.mark.parametrize("lacking", ["GenMET", "GenIsolatedPhoton"])
def test_events_that_lack_what_is_needed_are_refused(events, lacking):
    poor = events[[name for name in events.fields if name != lacking]]
    what = "missing momentum" if lacking == "GenMET" else "GenDressedLepton and GenIsolatedPhoton"
    with pytest.raises(ValueError, match=what):
        EventFolder(WHOLE)(poor)


def test_gen_level_of_the_sample_is_whole(events):
    assert missing_momentum(events).shape == (len(events), 2)
    assert len(prompt_particles(events).kind) > 100
