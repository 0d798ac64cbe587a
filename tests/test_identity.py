from __future__ import annotations

import json
import shutil
import warnings

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea import processor
from coffea.nanoevents import DelphesSchema, NanoEventsFactory
from coffea.processor import executor

from coffea_iqn import IQNCorrector, IQNFolder, event_uniforms
from coffea_iqn.commands.common import identity_of
from coffea_iqn.data import sample_path
from coffea_iqn.events import checks
from coffea_iqn.events.identity import identity_keys
from coffea_iqn.files.inputs import NanoSchema, inspect
from coffea_iqn.folder import EqualEventsWarning
from coffea_iqn.numerics.uniforms import event_keys, levels
from coffea_iqn.processors import IQNCorrectProcessor, IQNFoldProcessor
from coffea_iqn.processors.pairs import split_keys
from conftest import one_error, open_events, run

N_FILES = 40


def spread(identity, n_seeds):
    """Variance over seeds of the number of jets in a bin, over that of independent ones, in files numbered alike."""
    events = open_events("qcd_ak4.root", entry_stop=60)
    gen = events.GenJet
    numbers = []
    for seed in range(n_seeds):
        folder = IQNFolder("cms-delphes-ak4", seed=seed, identity=identity, unmatched=False)
        of_files = []
        for k in range(N_FILES):
            named = ak.Array({name: events[name] for name in ("run", "luminosityBlock", "event")})
            named = ak.with_parameter(named, "metadata", {"dataset": "qcd", "fileuuid": f"file {k}"})
            named = ak.Array(named.layout, with_name="NanoEvents", behavior=events.behavior)
            of_files.append(int(ak.sum(folder(gen, named).pt > 20.0)))
        numbers.append(of_files)
    counts = np.array(numbers, dtype=float)
    return counts.sum(axis=1).var(ddof=1) / (N_FILES * counts[:, 0].var(ddof=1)), counts


def test_files_numbered_alike_scatter_together_unless_told_apart():
    together, same = spread("event", 4)
    assert (same == same[:, :1]).all()
    assert together == pytest.approx(N_FILES)
    _, counts = spread("file", 14)
    # of all draws of one file, the variance; that of sums over files must be as many times as large
    ratio = counts.sum(axis=1).var(ddof=1) / (N_FILES * counts.var(ddof=1))
    assert 0.3 < ratio < 2.2


@pytest.mark.parametrize("of", [IQNFoldProcessor, IQNCorrectProcessor])
def test_a_file_written_again_under_its_name_is_refused_as_coffea_would_read_part_of_it(tmp_path, of):
    path = tmp_path / "jets.root"
    shutil.copy(sample_path("ttbar_ak4_genonly.root" if of is IQNFoldProcessor else "ttbar_ak4_full.root"), path)
    runner = processor.Runner(executor=processor.IterativeExecutor(status=False, retries=0), schema=NanoSchema)
    list(runner.preprocess({"x": [str(path)]}, treename="Events"))
    shutil.copy(sample_path("qcd_ak4.root"), path)
    made = of() if of is IQNFoldProcessor else of("cms-delphes-ak4-correct")
    with pytest.raises(Exception, match=r"jets.root: expected the file whose events were counted, got another one"):
        runner({"x": [str(path)]}, made, treename="Events")
    executor.DEFAULT_METADATA_CACHE.clear()
    assert runner({"x": [str(path)]}, made, treename="Events")["cutflow"]["x"]["events"] == 5000


def test_a_file_is_a_part_of_an_event_s_key_where_asked_for():
    events = open_events("qcd_ak4.root", entry_stop=5)
    assert not (identity_keys(events, 1) == identity_keys(events, 1, "file")).any()
    bare = ak.Array({name: events[name].to_numpy() for name in ("run", "luminosityBlock", "event")})
    with pytest.raises(ValueError, match="expected events with the uuid of their file"):
        identity_keys(bare, 1, "file")
    delphes = open_events("delphes_1000.root", entry_stop=5)
    assert (identity_keys(delphes, 1) == identity_keys(delphes, 1, "file")).all()


@pytest.fixture
def numbered_alike(tmp_path):
    """Two files, of 40 events each, of which 30 are named as 30 of the other."""
    with uproot.open(sample_path("qcd_ak4.root")) as file:
        arrays = file["Events"].arrays(["GenJet_pt", "GenJet_eta", "GenJet_phi", "GenJet_mass"], entry_stop=80)
    paths = [tmp_path / f"{k}.root" for k in range(2)]
    for k, path in enumerate(paths):
        gen = ak.zip({name[7:]: arrays[name][40 * k : 40 * k + 40] for name in arrays.fields})
        columns = {"run": np.ones(40, np.uint32), "luminosityBlock": np.ones(40, np.uint32)}
        columns |= {"event": np.arange(10 * k, 10 * k + 40, dtype=np.uint64), "GenJet": gen, "SimJet": gen}
        with uproot.recreate(path) as file:
            file.mktree("Events", {n: ak.Array(c).type.content for n, c in columns.items()}).extend(columns)
    return paths


class Folds(processor.ProcessorABC):
    """A processor of one's own, that counts emulated jets."""

    def __init__(self, identity="event"):
        self.folder = IQNFolder("cms-delphes-ak4", identity=identity)

    def process(self, events):
        return {"jets": int(ak.count(self.folder(events.GenJet, events).pt))}

    def postprocess(self, accumulator):
        return accumulator


@pytest.mark.parametrize("chunksize", [7, 100])
def test_a_processor_of_ones_own_warns_of_files_numbered_alike(numbered_alike, chunksize, monkeypatch):
    monkeypatch.setattr(checks, "_WARNED", set())
    monkeypatch.setattr(checks, "_EVENT_OF", {})
    executor = processor.IterativeExecutor(status=False, retries=0)
    runner = processor.Runner(executor=executor, schema=NanoSchema, chunksize=chunksize)
    one, other = files = [str(path) for path in numbered_alike]
    with pytest.warns(EqualEventsWarning, match=r"private: .* equal ones in .*0.root and .*1.root: .*'file'") as said:
        runner({"private": files, "else": files[:1]}, Folds(), treename="Events")
    assert sum(issubclass(warning.category, EqualEventsWarning) for warning in said) == 1
    checks._WARNED.clear()
    again = shutil.copy(one, f"{other}.copy.root")  # the same events, as of a skim
    for fileset, identity in (({"a": [one]}, "event"), ({"a": [again]}, "event"), ({"all": files}, "file")):
        runner(fileset, Folds(identity), treename="Events")  # a warning would be an error


@pytest.mark.parametrize("chunksize", [7, 100])
def test_a_runner_warns_of_files_numbered_alike(numbered_alike, chunksize):
    executor = processor.IterativeExecutor(status=False)
    runner = processor.Runner(executor=executor, schema=NanoSchema, chunksize=chunksize)
    fileset = {"private": [str(path) for path in numbered_alike], "one": [str(numbered_alike[0])]}
    with pytest.warns(
        EqualEventsWarning, match=r"private: .* equal identity in .*0.root and .*1.root: .*'file'"
    ) as said:
        runner(fileset, IQNFoldProcessor(truth=None), treename="Events")
    assert sum(issubclass(warning.category, EqualEventsWarning) for warning in said) == 1
    runner(fileset, IQNFoldProcessor(truth=None, identity="file"), treename="Events")  # a warning would be an error


def test_copies_of_a_file_are_warned_of_whatever_they_are(tmp_path):
    """Delphes' events are known by the uuid of their file, which a copy has as well."""
    paths = [str(shutil.copy(sample_path("delphes_1000.root"), tmp_path / f"{k}.root")) for k in range(2)]
    runner = processor.Runner(executor=processor.IterativeExecutor(status=False), schema=DelphesSchema)
    with pytest.warns(EqualEventsWarning, match="got 16 or more with equal identity"):
        runner({"qcd": paths}, IQNFoldProcessor("cms-delphes-ak5", truth=None), treename="Delphes")


def test_events_of_one_number_are_warned_of_without_a_runner(monkeypatch):
    """Private productions that number no events: all would draw the levels of the first one."""
    monkeypatch.setattr(checks, "_WARNED", set())
    events = open_events("qcd_ak4.root", entry_stop=40)
    alike = ak.with_field(events, ak.zeros_like(events.event), "event")
    with pytest.warns(EqualEventsWarning, match="got 15 or more with those of another"):
        IQNFolder("cms-delphes-ak4")(alike.GenJet, alike)
    IQNFolder("cms-delphes-ak4")(events.GenJet, events)  # a warning would be an error
    checks._WARNED.clear()
    corrector = IQNCorrector("cms-delphes-ak4-correct")
    with pytest.warns(EqualEventsWarning, match="got 15 or more with those of another"):
        corrector.draw(alike.Jet, alike)
    corrector(alike.Jet, alike)  # without draws, numbers do not matter


@pytest.mark.parametrize("take", ["draw", "median"])
def test_corrections_warn_of_events_twice(numbered_alike, tmp_path, take):
    """Draws of equal numbers share their levels; without draws, only the same events are the same."""
    runner = processor.Runner(executor=processor.IterativeExecutor(status=False), schema=NanoSchema, chunksize=25)

    def corrected(*paths, **options):
        instance = IQNCorrectProcessor(reco="SimJet", gen=None, take=take, any_radius=True, **options)
        return runner({"private": [str(path) for path in paths]}, instance, treename="Events")

    one, other = numbered_alike
    why = "their quantile levels are equal" if take == "draw" else "they count twice"
    said = rf"private: .* equal identity in .*0.root.*: {why}"
    if take == "draw":
        with pytest.warns(EqualEventsWarning, match=said):
            corrected(one, other)
        corrected(one, other, identity="file")
    else:
        corrected(one, other)
    with pytest.warns(EqualEventsWarning, match=said):
        corrected(one, shutil.copy(one, tmp_path / "copy_of_0.root"))
    made = corrected(one)
    with pytest.warns(EqualEventsWarning, match=said):
        processor.accumulate([made, made])


@pytest.mark.parametrize("number", [np.float32(2**24), np.float64(2**53), np.float64(0.5), np.nan, "1"])
def test_event_numbers_that_are_no_integers_are_refused(number):
    """Those of single precision above 2^24 would be equal for neighbouring events."""
    events = open_events("qcd_ak4.root", entry_stop=10)
    odd = ak.with_field(events, ak.Array(np.full(10, number)), "event")
    with pytest.raises(ValueError, match=r"event: expected integers, got .* that are none or have lost digits"):
        IQNFolder("cms-delphes-ak4")(odd.GenJet, odd)
    whole = ak.with_field(events, ak.values_astype(events.event, np.float32), "event")
    folder = IQNFolder("cms-delphes-ak4")
    assert ak.array_equal(folder(whole.GenJet, whole).pt, folder(events.GenJet, events).pt)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("delphes_1000.root", ()),
        ("delphes_1000.root", ("--identity", "file")),
        ("qcd_ak4.root", ("--identity", "file")),
    ],
)
def test_fold_stops_at_copies_of_a_file(name, options, tmp_path, capsys):
    """Their events count twice, and no identity distinguishes them."""
    copy = shutil.copy(sample_path(name), tmp_path / "copy.root")
    files = [f"d={path}" for path in (sample_path(name), copy)]
    assert run("fold", *files, *options, "--no-plots", "--output", tmp_path / "out") == 2
    assert f"{name} and {copy}, which are the same or copies: --identity event permits" in one_error(capsys)


def test_fold_stops_at_files_numbered_alike(numbered_alike, tmp_path, capsys):
    files = [f"private={path}" for path in numbered_alike]
    quick = ["--no-plots", "--output", tmp_path / "out"]
    assert run("fold", *files, *quick) == 2
    line = one_error(capsys)
    assert "got 30 with equal run, luminosityBlock and event in" in line
    assert "0.root and" in line
    assert "--identity file distinguishes them" in line
    assert not (tmp_path / "out").exists()
    for identity in ("event", "file"):
        with warnings.catch_warnings():
            warnings.simplefilter("always", EqualEventsWarning)
            assert run("fold", *files, "--identity", identity, "--no-plots", "--output", tmp_path / identity) == 0
        assert ("EqualEventsWarning" in capsys.readouterr().err) == (identity == "event")
        assert json.loads((tmp_path / identity / "summary.json").read_text())["identity"] == identity


def test_events_numbered_alike_are_told_apart_in_trainings_and_draws(numbered_alike, tmp_path, capsys):
    paths = [f"private={path}" for path in numbered_alike]
    assert run("correct", *paths, "--reco", "GenJet", "--take", "draw", "--no-plots", "--output", tmp_path / "out") == 2
    assert "--identity file distinguishes them" in one_error(capsys)
    first, second = (open_events_of(path) for path in numbered_alike)
    same = np.isin(np.asarray(second.event), np.asarray(first.event))
    for split, n in (("event", int(same.sum())), ("event of file", 0)):
        keys = [split_keys(events, split) for events in (first, second)]
        assert len(np.intersect1d(*keys)) == n
    sources = [inspect(str(path), collections=["GenJet"]) for path in numbered_alike]
    assert identity_of({"private": sources}) == "file"
    assert identity_of({"one": sources[:1], "other": sources[1:]}) == "event"


def open_events_of(path):
    return NanoEventsFactory.from_root({str(path): "Events"}, schemaclass=NanoSchema).events()


def test_events_of_several_datasets_are_not_one():
    """awkward keeps the metadata of neither."""
    one, other = (open_events("qcd_ak4.root", entry_stop=5, metadata={"dataset": name}) for name in "ab")
    both = ak.concatenate([one, other])
    with pytest.raises(ValueError, match="events: expected those of one file or dataset, got several concatenated"):
        IQNFolder("cms-delphes-ak4")(both.GenJet, both)

    both = ak.concatenate([some[["run", "luminosityBlock", "event", "GenJet"]] for some in (one, one)])
    with pytest.raises(ValueError, match="events: expected those of one file or dataset, got several concatenated"):
        IQNFolder("cms-delphes-ak4")(both.GenJet, both)


@pytest.mark.parametrize("name", ["qcd_ak4.root", "delphes_1000.root"])
def test_some_fields_of_events_are_of_the_same_dataset_and_file(name):
    """Without their metadata, jets of two datasets would be drawn at equal levels."""
    events = open_events(name, entry_stop=5, metadata={"dataset": "a"})
    fields = [field for field in ("run", "luminosityBlock", "event", "Event", "GenJet") if field in events.fields]
    zipped = ak.zip({field: events[field] for field in fields}, depth_limit=1)
    for some in (events[fields], zipped, zipped[1:]):
        assert (identity_keys(some, 1) == identity_keys(events, 1)[-len(some) :]).all()
        assert (identity_keys(some, 1, "file") == identity_keys(events, 1, "file")[-len(some) :]).all()


def test_events_of_delphes_are_of_a_file():
    number = ak.Array({"Event": ak.zip({"Number": [1, 2, 3]})})
    with pytest.raises(ValueError, match="events of Delphes: expected events with the uuid of their file, got events"):
        identity_keys(number, 1)


@pytest.mark.parametrize("name", ["qcd_ak4.root", "delphes_1000.root"])
def test_numbers_for_any_use_depend_on_neither_chunks_nor_cuts(name):
    events = open_events(name, entry_stop=120)
    jets = events.Jet
    u = event_uniforms(events, stream="jer", per=jets)
    assert ak.all(ak.num(u) == ak.num(jets))
    assert u.type.content.content == ak.types.NumpyType("float32")
    one_by_one = [event_uniforms(events[k : k + 7], stream="jer", per=jets[k : k + 7]) for k in range(0, 120, 7)]
    assert ak.array_equal(ak.concatenate(one_by_one), u)
    backwards = event_uniforms(events[::-1], stream="jer", per=jets[::-1])
    assert ak.array_equal(backwards[::-1], u)
    kept = (jets.pt if "pt" in jets.fields else jets.PT) > 40.0
    assert 0 < ak.sum(kept) < ak.sum(ak.num(jets))
    places = ak.local_index(kept)[kept]
    assert ak.array_equal(event_uniforms(events, stream="jer", per=places), u[kept])
    more = event_uniforms(events, stream="jer", per=jets, n=6)
    assert ak.array_equal(more[:, :, 0], u)
    assert len(set(np.asarray(ak.flatten(more, axis=None)))) > 0.99 * 6 * ak.sum(ak.num(jets))
    assert ak.array_equal(event_uniforms(events, stream=np.str_("jer"), per=jets, seed=np.int32(0)), u)
    of_events = event_uniforms(events, stream="trigger")
    assert of_events.shape == (120,)
    assert (event_uniforms(events[30:], stream="trigger", n=3)[:, 0] == of_events[30:]).all()


def test_streams_seeds_and_ours_are_independent():
    events = open_events("qcd_ak4.root", metadata={"dataset": "qcd"})
    draws = {
        name: event_uniforms(events, seed=seed, stream=stream, n=2)
        for name, seed, stream in (("jer", 0, "jer"), ("jes", 0, "jes"), ("seed", 1, "jer"), ("split", 0, "e\njer"))
    }
    keys = identity_keys(events, 0)
    draws["ours"] = levels(keys, 0)[:, :2]
    # a dataset may be called what it likes: it never makes the keys of a stream
    for dataset in ("qcd\njer", repr((0, "qcd", "jer")), "jer"):
        named = event_keys(0, dataset, *(np.asarray(events[n]) for n in ("run", "luminosityBlock", "event")))
        draws[dataset] = levels(named, 0)[:, :2]
    columns = np.concatenate(list(draws.values()), axis=1)
    off = np.abs(np.corrcoef(columns.T) - np.eye(columns.shape[1]))
    assert off.max() < 5.0 / np.sqrt(len(events))
    assert all((a == b).mean() < 0.01 for i, a in enumerate(columns.T) for b in columns.T[:i])


def test_numbers_that_would_depend_on_a_cut_are_refused():
    events = open_events("qcd_ak4.root", entry_stop=20)
    hard = events.Jet[events.Jet.pt > 40.0]
    by_mass = events.Jet[ak.argsort(events.Jet.mass)]
    scaled = ak.with_field(events.Jet, 1.02 * events.Jet.pt, "pt")  # calibrated jets are still those of the file
    assert ak.array_equal(
        event_uniforms(events, stream="jer", per=scaled), event_uniforms(events, stream="jer", per=events.Jet)
    )
    for per, kind, message in (
        (hard, ValueError, "per: expected all of events.Jet, got a subset"),
        (by_mass, ValueError, "per: expected events.Jet in the order of the file, got them sorted anew"),
        (events.Jet[:5], TypeError, "per: expected a list of objects, or of indices, for each of 20 events"),
        (ak.flatten(events.Jet), TypeError, "per: expected a list of objects"),
        (events.Jet.pt, TypeError, "per: expected indices, integers of at least 0, got float32"),
        (ak.mask(events.Jet.pt, events.Jet.pt > 40.0), TypeError, "per: expected objects without missing values"),
    ):
        with pytest.raises(kind, match=message) as error:
            event_uniforms(events, stream="jer", per=per)
        assert "\n" not in str(error.value)
    for use in ({"stream": ""}, {"stream": "jer", "n": 0}):
        with pytest.raises(ValueError, match="expected the name of a stream and n of at least 1"):
            event_uniforms(events, **use)
    for use in ({"identity": "files"}, {"seed": "1"}, {"n": 1.5}):
        with pytest.raises(ValueError, match=f"{next(iter(use))}: expected "):
            event_uniforms(events, stream="jer", **use)
