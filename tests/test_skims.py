"""Skims: files of each chunk of a fold, and merged ones."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea import processor
from coffea.nanoevents import DelphesSchema, NanoAODSchema, NanoEventsFactory

from coffea_iqn import IQNFolder, running
from coffea_iqn.data import sample_path
from coffea_iqn.files import skims
from coffea_iqn.files.inputs import NanoSchema, inspect
from coffea_iqn.files.skims import Skim
from coffea_iqn.files.trees import iterate, read_about, written
from coffea_iqn.processors import IQNCorrectProcessor, IQNFoldProcessor
from conftest import open_events, run

QCD, DELPHES = sample_path("qcd_ak4.root"), sample_path("delphes_1000.root")
DOCS = Path(__file__).parent.parent / "docs" / "skims.md"
FORMATS = ("root", "parquet")


def skim(folder, path=QCD, *, chunksize=10_000, dataset="qcd", **options):
    """Run a fold and return the paths of its files; takes options of the processor and of the skim."""
    ours = {key: options.pop(key) for key in ("format", "collection", "keep") if key in options}
    delphes = path == DELPHES
    runner = processor.Runner(
        executor=processor.IterativeExecutor(status=False, retries=0),
        schema=DelphesSchema if delphes else NanoSchema,
        chunksize=chunksize,
    )
    instance = IQNFoldProcessor(skim=Skim(folder, **ours), **options)
    tree = "Delphes" if delphes else "Events"
    return [Path(p) for p in runner({dataset: [str(path)]}, instance, treename=tree)["files"]]


def content(path):
    """Return all columns of a file."""
    parts = list(iterate(path))
    return {name: ak.concatenate([part[name] for part in parts]) for name in parts[0]}


def assert_equal_columns(one, other):
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert array.type == other[name].type, name
        assert ak.array_equal(array, other[name]), name


def read_nano(path, schema=NanoAODSchema):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a skim may lack cross-references
        if path.suffix == ".parquet":
            return NanoEventsFactory.from_parquet(str(path), schemaclass=schema).events()
        return NanoEventsFactory.from_root({str(path): "Events"}, schemaclass=schema).events()


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Return five files of one run over the QCD sample, in each format."""
    folder = tmp_path_factory.mktemp("parts")
    keep = ["GenJet_*", "GenMET_*"]
    return {kind: skim(folder / kind, format=kind, chunksize=1000, keep=keep) for kind in FORMATS}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_skim_holds_the_jets_of_the_folder_beside_what_is_kept(parts, kind):
    events = open_events("qcd_ak4.root", metadata={"dataset": "qcd"})
    expected = IQNFolder("cms-delphes-ak4", unmatched=True)(events.GenJet, events)
    starts = np.arange(5) * 1000
    assert [p.name for p in parts[kind]] == sorted(p.name for p in parts[kind])
    for start, path in zip(starts, parts[kind], strict=True):
        assert path.name.startswith("qcd_")
        assert path.name.endswith(f"_{start}-{start + 1000}.{kind}")
        found = read_nano(path)
        these = slice(start, start + 1000)
        for field in ("pt", "eta", "phi", "mass", "genJetIdx"):
            assert ak.array_equal(
                found.IQNJet[field], expected[these][field], check_parameters=False, dtype_exact=False
            )
        assert found.IQNJet.pt.type.content.content.primitive == "float32"
        assert found.IQNJet.genJetIdx.type.content.content.primitive == "int32"
        for field in ("pt", "partonFlavour", "chEF"):
            assert ak.array_equal(found.GenJet[field], events.GenJet[field][these], check_parameters=False)
        for field in ("run", "luminosityBlock", "event", "genWeight"):
            assert ak.array_equal(found[field], events[field][these], check_parameters=False)
        assert ak.array_equal(found.GenMET.pt, events.GenMET.pt[these], check_parameters=False)
        assert "Jet" not in found.fields


def test_vectors_of_a_skim_add_and_know_their_gen_jets(parts):
    events = read_nano(parts["root"][0], NanoSchema)
    two = events[ak.num(events.IQNJet) > 1].IQNJet
    assert ak.all((two[:, 0] + two[:, 1]).mass >= 0)
    index = events.IQNJet.genJetIdx
    gen = events.GenJet[ak.mask(index, index >= 0)]
    response = ak.drop_none(events.IQNJet.pt / gen.pt)
    assert 0.8 < np.median(ak.flatten(response[ak.drop_none(gen.pt) > 40])) < 1.2


@pytest.mark.parametrize("kind", FORMATS)
def test_chunks_and_order_do_not_show_in_a_merged_file(parts, kind, tmp_path):
    whole = skim(tmp_path / "whole", format=kind, keep=["GenJet_*", "GenMET_*"])
    assert len(whole) == 1
    (made,) = skims.merge(parts[kind][::-1], tmp_path / f"merged.{kind}")
    assert (made.dataset, made.n_parts, made.n_events, made.gaps) == ("qcd", 5, 5000, [])
    assert_equal_columns(content(made.path), content(whole[0]))
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == [f"merged.{kind}"]


def test_formats_hold_the_same(parts, tmp_path):
    for one, other in zip(parts["root"], parts["parquet"], strict=True):
        assert_equal_columns(content(one), content(other))
    back = tmp_path / "back.root"
    skims.merge(parts["root"], tmp_path / "there.parquet")
    skims.merge([tmp_path / "there.parquet"], back)
    skims.merge(parts["root"], tmp_path / "merged.root")
    assert_equal_columns(content(back), content(tmp_path / "merged.root"))


@pytest.mark.parametrize("kind", FORMATS)
def test_parts_of_files_without_events_merge(parts, kind, tmp_path):
    about, columns = read_about(parts[kind][0]), content(parts[kind][0])
    about["parts"] = [part | {"entries": [0, 0]} for part in about["parts"]]
    with written(tmp_path / f"none.{kind}", about) as file:
        file.extend({name: array[:0] for name, array in columns.items()})
    for to in FORMATS:
        (made,) = skims.merge([tmp_path / f"none.{kind}"], tmp_path / f"merged.{to}")
        assert made.n_events == 0
        found = content(made.path)
        assert {name: str(array.type.content) for name, array in found.items()} == {
            name: str(array.type.content) for name, array in columns.items()
        }


def test_files_say_what_made_them(parts):
    for kind in FORMATS:
        about = read_about(parts[kind][1])
        assert about["bundle_hash"] == IQNFolder("cms-delphes-ak4").hash
        assert (about["model"], about["gen"]) == ("cms-delphes-ak4", "GenJet")
        assert (about["seed"], about["unmatched"], about["collection"], about["dataset"]) == (0, True, "IQNJet", "qcd")
        (part,) = about["parts"]
        assert (part["file"], part["entries"]) == (str(QCD), [1000, 2000])


@pytest.mark.parametrize("kind", FORMATS)
def test_a_skim_of_delphes(kind, tmp_path):
    options = {"format": kind, "collection": "Jet", "keep": ["GenJet_*", "Jet_*"], "model": "cms-delphes-ak5"}
    (path,) = skim(tmp_path, DELPHES, **options)
    found, events = read_nano(path), open_events("delphes_1000.root")
    assert set(found.Jet.fields) - {"charge"} == {"pt", "eta", "phi", "mass", "genJetIdx", "genJetIdxG"}
    cone = IQNFolder("cms-delphes-ak5").card["jets"]["cone"]
    assert ak.all(found.Jet.delta_r(found.Jet.matched_gen) < cone, axis=None)
    assert ak.array_equal(found.GenJet.pt, events.GenJet.PT, check_parameters=False)
    assert ak.array_equal(found.event, events.Event.Number, check_parameters=False, dtype_exact=False)
    assert set(found.run) == {1}
    assert len(set(found.luminosityBlock)) == 1


@pytest.mark.parametrize("keep", [[], ["GenJet_*"]])
@pytest.mark.parametrize("kind", FORMATS)
def test_coffea_knows_the_gen_jets_of_emulated_jets(kind, keep, tmp_path):
    """`matched_gen` of NanoAODSchema gives the same gen jets as a folder, and None for jets without one."""
    (path,) = skim(tmp_path, format=kind, collection="Jet", keep=keep)
    found, events = read_nano(path), open_events("qcd_ak4.root", metadata={"dataset": "qcd"})
    drawn = IQNFolder("cms-delphes-ak4")(events.GenJet, events)
    assert 0 < ak.sum(ak.is_none(found.Jet.matched_gen, axis=1)) == ak.sum(drawn.genJetIdx < 0)
    for field in ("pt", "eta", "phi", "mass"):
        assert found.Jet.matched_gen[field].to_list() == drawn.matched_gen[field].to_list()
    first = found[:10].Jet.matched_gen.pt
    assert first.to_list() == drawn.matched_gen.pt[:10].to_list()
    with pytest.raises(AttributeError, match="GenPart"):  # the skim has none
        found.GenPart.pdgId  # noqa: B018


def test_a_skim_with_jets_called_jet_is_folded_like_its_input(tmp_path):
    """Its GenPart has no momenta, but says that the file is simulated."""
    (path,) = skim(tmp_path, collection="Jet", keep=["GenJet_*", "GenMET_*"], chunksize=10_000)
    events, made = open_events("qcd_ak4.root"), read_nano(path)
    one, other = (IQNFolder("cms-delphes-ak4")(e.GenJet, e) for e in (events, made))
    assert ak.all(one.pt == other.pt)


def test_corrected_jets_called_jet_come_without_gen_jets(tmp_path):
    """Those that were written with them were the reco jets."""
    instance = IQNCorrectProcessor(points=5, skim=Skim(tmp_path, collection="Jet"))
    runner = processor.Runner(executor=processor.IterativeExecutor(retries=0), schema=NanoSchema, maxchunks=1)
    (file,) = runner({"qcd": [str(QCD)]}, instance, treename="Events")["files"]
    assert not [name for name in content(Path(file)) if name.startswith("Gen")]


def test_gen_jets_that_were_not_folded_are_not_kept_beside_their_reco_jets(tmp_path):
    with uproot.open(QCD) as file:
        columns = file["Events"].arrays(entry_stop=100, library="ak")
    fields = ("pt", "eta", "phi", "mass")
    jets = ak.zip({name: columns[f"GenJet_{name}"] for name in fields})
    flat = {name: columns[name] for name in ("run", "luminosityBlock", "event")}
    with uproot.recreate(tmp_path / "in.root") as file:
        file.mktree("Events", {**flat, "OtherGenJet": jets, "GenJet": jets[jets.pt > 20]})
    with pytest.raises(Exception, match="expected GenJet_pt of the folded gen jets"):
        skim(tmp_path, tmp_path / "in.root", gen="OtherGenJet", collection="Jet", keep=["GenJet_*"])
    (path,) = skim(tmp_path, tmp_path / "in.root", gen="OtherGenJet", collection="Jet")
    assert content(path)["GenJet_pt"].to_list() == jets.pt.to_list()


@pytest.mark.parametrize("weight", [1e-46, 1e39])
def test_weights_that_single_precision_cannot_hold_are_refused(weight, tmp_path):
    events = open_events("qcd_ak4.root", entry_stop=20)
    chunk = {"dataset": "qcd", "filename": str(QCD), "treename": "Events", "entrystart": 0, "entrystop": 20}
    events = ak.with_parameter(ak.with_field(events, np.full(20, weight), "genWeight"), "metadata", chunk)
    with pytest.raises(ValueError, match="skim: expected weights from 1"):
        IQNFoldProcessor(skim=Skim(tmp_path), truth=None).process(events)


def test_replicas_are_events_with_a_part_of_the_weight(tmp_path):
    (path,) = skim(tmp_path, replicas=3, keep="GenJet_pt")
    found, events = content(path), open_events("qcd_ak4.root", metadata={"dataset": "qcd"})
    drawn = IQNFolder("cms-delphes-ak4", unmatched=True, replicas=3)(events.GenJet, events)
    assert found["iqnReplica"].to_list() == [0, 1, 2] * 5000
    np.testing.assert_allclose(found["genWeight"], np.repeat(events.genWeight / 3, 3), rtol=1e-6)
    for k in range(3):
        for field in ("pt", "genJetIdx"):
            assert ak.all(found[f"IQNJet_{field}"][k::3] == drawn[:, k][field], axis=None)
        assert ak.all(found["GenJet_pt"][k::3] == events.GenJet.pt, axis=None)


def test_replicas_have_a_part_of_all_weights_of_delphes(tmp_path):
    (path,) = skim(tmp_path, DELPHES, model="cms-delphes-ak5", replicas=2, keep=["Event_*", "Weight_*"])
    found = content(path)
    weights = ak.flatten(found["Weight_Weight"])
    assert set(found["genWeight"]) == set(found["Event_Weight"]) == set(weights) == {0.5}
    assert found["Weight_Weight"].type.content.content.primitive == "float32"


@pytest.fixture(scope="module")
def rich_file(tmp_path_factory):
    """Write a file with more branches of NanoAOD: indices of jets, lists, flags, and types that cannot be written."""
    path = tmp_path_factory.mktemp("rich") / "rich.root"
    with uproot.open(QCD) as file:
        columns = file["Events"].arrays(entry_stop=200, library="ak")
    jets = {
        name: ak.zip({b.partition("_")[2]: columns[b] for b in columns.fields if b.startswith(f"{name}_")})
        for name in ("GenJet", "Jet")
    }
    flat = {name: columns[name] for name in ("run", "luminosityBlock", "event", "genWeight")}
    muons = ak.zip({"pt": jets["Jet"].pt, "jetIdx": ak.local_index(jets["Jet"].pt)})
    more = {
        "Muon": muons,
        "LHEPdfWeight": ak.Array(np.ones((200, 3), dtype=np.float32))[:, :],
        "HLT_PFJet40": flat["run"] > 0,
    }
    more["LHEPdfWeight"] = ak.from_regular(more["LHEPdfWeight"])
    with uproot.recreate(path) as file:
        file.mktree("Events", {**flat, **jets, **more})
    return path


@pytest.mark.parametrize("kind", FORMATS)
def test_kept_branches_are_those_of_the_input(rich_file, tmp_path, kind):
    (path,) = skim(tmp_path, rich_file, format=kind, keep=["*", "Muon_*"], collection="Jet")
    found = content(path)
    with uproot.open(rich_file) as file:
        given = file["Events"].arrays(library="ak")
    assert {"LHEPdfWeight", "HLT_PFJet40", "Muon_pt", "GenJet_chEF", "Jet_genJetIdx"} <= found.keys()
    assert not {"Muon_jetIdx", "Jet_charge"} & found.keys()
    for name in found.keys() - {"GenPart_inFile"} - {name for name in found if name.startswith("Jet_")}:
        assert ak.array_equal(found[name], given[name]), name
    assert not ak.array_equal(found["Jet_pt"], given["Jet_pt"])


def test_indices_are_kept_with_what_they_point_into(tmp_path):
    """Those of particles in gen jets stay, also if the jets are replaced; coffea's own indices do not."""
    ww = sample_path("wwhad_ak5_particles.root")
    (path,) = skim(
        tmp_path,
        ww,
        dataset="ww",
        model="cms-delphes-ak5-particles",
        particles=True,
        collection="Jet",
        keep=["GenJetC*"],
    )
    made, events = content(path), open_events("wwhad_ak5_particles.root")
    assert made["GenJetCands_jetIdx"].to_list() == events.GenJetCands.jetIdx.to_list()
    points = {
        name: skims._refers_to(name, {"Jet", "Muon"})
        for name in ("GenJetSVs_jetIdx", "Own_jetIdx", "FatJet_muonIdx3SJ")
    }
    assert points == {"GenJetSVs_jetIdx": False, "Own_jetIdx": True, "FatJet_muonIdx3SJ": True}
    assert {"GenPart_genPartIdxMotherG", "Jet_muonIdxG", "FatJet_subJetIdx1G"} <= skims.INDICES_OF_CHUNK


def test_a_charge_of_jets_in_the_file_is_kept(tmp_path):
    """coffea's schema has zeros in its place."""
    with uproot.open(QCD) as file:
        arrays = file["Events"].arrays(entry_stop=50)
    collections = {n: [name for name in arrays.fields if name.startswith(f"{n}_")] for n in ("GenJet", "Jet")}
    made = {n: ak.zip({name[len(n) + 1 :]: arrays[name] for name in names}) for n, names in collections.items()}
    made["Jet"] = ak.with_field(made["Jet"], ak.values_astype(ak.local_index(made["Jet"].pt), np.int32), "charge")
    made |= {name: arrays[name] for name in ("run", "luminosityBlock", "event")}
    with uproot.recreate(tmp_path / "in.root") as file:
        file.mktree("Events", {name: column.type.content for name, column in made.items()})
        file["Events"].extend(made)
    (path,) = skim(tmp_path / "out", tmp_path / "in.root", keep=["Jet_*"])
    assert content(path)["Jet_charge"].to_list() == made["Jet"].charge.to_list()


def test_the_command_line_keeps_names_and_merges(rich_file, tmp_path, capsys):
    arguments = ["fold", f"one/two={rich_file}", "--no-plots", "--chunksize", 100]
    options = ["--skim", "root", "--as", "Jet", "--keep", "Muon_*", "--keep", "LHE*"]
    assert run(*arguments, *options, "--output", tmp_path / "out") == 0
    files = sorted((tmp_path / "out" / "skim").iterdir())
    assert len(files) == 2
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["skim"] == [f"skim/{p.name}" for p in files]
    assert f"Skim         {tmp_path / 'out' / 'skim'}: 2 files" in capsys.readouterr().out
    assert {p.name for p in tmp_path.iterdir()} == {"out"}
    assert run("merge", tmp_path / "out" / "skim", "--output", tmp_path / "made" / "jets.root") == 0
    assert "one/two, 200 events of 2 files" in capsys.readouterr().out
    assert {"Muon_pt", "LHEPdfWeight", "Jet_pt"} <= content(tmp_path / "made" / "jets.root").keys()

    # a fold with other chunks has none of the files of the last one
    assert run(*arguments, *options, "--chunksize", 200, "--force", "--output", tmp_path / "out") == 0
    assert len(list((tmp_path / "out" / "skim").iterdir())) == 1
    capsys.readouterr()
    for option in (["--keep", "Muon_*"], ["--as", "Jet"]):
        assert run(*arguments, *option, "--output", tmp_path / "none") == 2
        assert f"coffea-iqn: error: {option[0]}: expected --skim" in capsys.readouterr().err
    assert run(*arguments, "--skim", "root", "--keep", "Tau_*", "--output", tmp_path / "none") == 2
    assert "found none like 'Tau_*'" in capsys.readouterr().err
    assert {p.name for p in tmp_path.iterdir()} == {"out", "made"}


def test_files_outlive_an_interruption(tmp_path, monkeypatch):
    """A finished chunk is not repeated, unless its file is missing."""
    arguments = ["fold", f"qcd={QCD}", "--no-plots", "--chunksize", 1000, "--skim", "parquet"]
    original, done = IQNFoldProcessor.process, []

    def process(self, events):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(events.metadata["entrystart"])
        return original(self, events)

    with monkeypatch.context() as patch:
        patch.setattr(IQNFoldProcessor, "process", process)
        assert run(*arguments, "--output", tmp_path / "out") == 130
        assert len(list((tmp_path / "out.chunks" / "skim").iterdir())) == 3
        next((tmp_path / "out.chunks" / "skim").iterdir()).unlink()
        done[:] = done[:0]
        assert run(*arguments, "--output", tmp_path / "out") == 0
        assert len(done) == 3
    assert {p.name for p in tmp_path.iterdir()} == {"out"}
    (made,) = skims.merge([tmp_path / "out" / "skim"], tmp_path / "merged.parquet")
    assert (made.n_parts, made.n_events, made.gaps) == (5, 5000, [])


def test_merging_refuses_what_does_not_belong_together(parts, tmp_path):
    (other,) = skim(tmp_path / "seed", seed=4, keep=["GenJet_*", "GenMET_*"])
    (lean,) = skim(tmp_path / "lean", chunksize=10_000)
    (named,) = skim(tmp_path / "named", dataset="other")
    (tmp_path / "strange.root").write_bytes(QCD.read_bytes())
    (tmp_path / "damaged.root").write_bytes(parts["root"][0].read_bytes()[:500])
    (tmp_path / "empty").mkdir()
    again = shutil.copy(parts["root"][0], tmp_path / "again.root")
    (tmp_path / "link.root").symlink_to(QCD)
    linked = skim(tmp_path / "linked", tmp_path / "link.root", keep=["GenJet_*", "GenMET_*"])
    output = tmp_path / "merged.root"
    for files, message in (
        ([parts["root"][0], other], "expected seed 0 as in"),
        ([*parts["root"], again], "expected events that no other file has"),
        ([*parts["root"], *linked], "expected events that no other file has"),
        ([parts["root"][0], lean], "expected events that no other file has"),
        ([named, other], "expected files of one dataset, got other, qcd"),
        ([tmp_path / "strange.root"], "expected a skim that coffea-iqn wrote"),
        ([tmp_path / "damaged.root"], "damaged.root"),
        ([tmp_path / "empty"], "expected files that end in .root or .parquet"),
        ([tmp_path / "missing.root"], "expected a file or a folder, found none"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            skims.merge(files, output)
        assert not output.exists()


@pytest.mark.parametrize("kind", FORMATS)
def test_merging_refuses_inputs_generated_with_one_seed(parts, kind, tmp_path):
    """Their files differ, their events do not."""
    one = parts[kind][0]
    about = read_about(one)
    about["parts"][0] |= {"uuid": "of another file", "file": "again.root"}
    with written(tmp_path / f"again.{kind}", about) as file:
        for columns in iterate(one):
            file.extend(columns)
    with pytest.raises(ValueError, match=r"again.*: expected events that no other file has, got some with the same je"):
        skims.merge([one, tmp_path / f"again.{kind}"], tmp_path / f"merged.{kind}")
    assert not (tmp_path / f"merged.{kind}").exists()


def test_merging_refuses_other_branches_and_names_gaps(parts, tmp_path):
    lean = skim(tmp_path / "lean", chunksize=1000)
    with pytest.raises(ValueError, match=r"expected GenJet_\w+ as in .* \(var \* \w+\), got None"):
        skims.merge([parts["root"][0], lean[1]], tmp_path / "merged.root")
    assert not (tmp_path / "merged.root").exists()
    (made,) = skims.merge([lean[1], lean[4]], tmp_path / "merged.root")
    assert made.gaps == [(str(QCD), 0, 1000), (str(QCD), 2000, 4000)]
    (made,) = skims.merge(lean[:4], tmp_path / "without_end.root")
    assert made.gaps == [(str(QCD), 4000, 5000)]
    (tmp_path / "link.root").symlink_to(QCD)
    linked = skim(tmp_path / "linked", tmp_path / "link.root", chunksize=1000)
    (made,) = skims.merge([*linked[:2], *lean[2:]], tmp_path / "two_paths.root")
    assert (made.n_events, made.gaps) == (5000, [])
    assert run("merge", lean[1], lean[4], "--output", tmp_path / "merged.root") == 2
    assert run("merge", lean[1], lean[4], "--force", "--output", tmp_path / "merged.root") == 0


def test_a_folder_takes_one_file_of_each_dataset(parts, tmp_path):
    other = skim(tmp_path / "other", dataset="other")
    made = skims.merge([*other, *parts["root"]], tmp_path / "all")
    assert [(one.path.name, one.n_events) for one in made] == [("other.root", 5000), ("qcd.root", 5000)]


def test_a_file_that_fails_leaves_the_one_before_and_nothing_else(tmp_path):
    path = tmp_path / "file.root"
    path.write_text("precious")

    def fail_halfway():
        with written(path, {}) as file:
            file.extend({"event": ak.Array([1, 2])})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "csv"}, "expected a format of root, parquet, got 'csv'"),
        ({"collection": "IQN_Jet"}, "such as IQNJet, got 'IQN_Jet'"),
    ],
)
def test_options_that_are_none_are_refused(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        Skim(tmp_path, **options)


def test_events_that_do_not_say_which_chunk_they_are(nano_events, tmp_path):
    with pytest.raises(ValueError, match="expected events of a Runner, with metadata filename"):
        IQNFoldProcessor(skim=Skim(tmp_path)).process(nano_events)
    assert list(tmp_path.iterdir()) == []


def test_the_guide_s_analysis_runs_on_a_skim_unchanged(tmp_path):
    """A NanoAOD analysis works on emulated jets as on true ones."""
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    space = {}
    for block in blocks:
        if "class DijetMass" in block:
            exec(block, space)
    (path,) = skim(tmp_path, collection="Jet", keep=["GenJet_*"])
    runner = processor.Runner(executor=processor.IterativeExecutor(status=False), schema=NanoSchema)
    masses = [
        runner({"qcd": [str(p)]}, space["DijetMass"](), treename="Events")["mass"].values(flow=True)
        for p in (QCD, path)
    ]
    true, emulated = masses
    assert true.sum() > 200
    assert abs(true.sum() - emulated.sum()) < 5 * np.sqrt(true.sum())
    assert not np.array_equal(true, emulated)


def test_root_reads_a_skim(parts):
    """ROOT itself reads a skim, if it is installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ROOT's wheel warns that it is experimental
        root = pytest.importorskip("ROOT")
    frame = root.RDataFrame("Events", str(parts["root"][0])).Define("ht", "Sum(IQNJet_pt)")
    events = read_nano(parts["root"][0])
    assert frame.Count().GetValue() == len(events)
    assert frame.Sum("nIQNJet").GetValue() == ak.sum(ak.num(events.IQNJet))
    assert frame.Mean("ht").GetValue() == pytest.approx(float(np.mean(ak.sum(events.IQNJet.pt, axis=1))), rel=1e-5)


def test_skims_of_other_settings_are_not_replaced_unasked(tmp_path):
    (path,) = skim(tmp_path, seed=1)
    before = path.read_bytes()
    with pytest.raises(Exception, match="or one of the same settings, found one of seed 1 instead of 2: give"):
        skim(tmp_path, seed=2)
    assert path.read_bytes() == before
    assert skim(tmp_path, seed=1) == [path]


def test_a_resumed_run_takes_no_files_of_other_settings(tmp_path):
    """A run of other settings in between replaced a file that the first one had finished."""
    source = {"qcd": [inspect(str(QCD))]}

    def folded(seed, most):
        instance = IQNFoldProcessor(seed=seed, skim=Skim(tmp_path / "skim", replace=True))
        how = {"chunksize": 2500, "checkpoints": tmp_path / "chunks", "status": False}
        with running.open_executor("iterative", status=False) as executor:
            return running.run(instance, source, executor, collections=["GenJet", "Jet"], maxchunks=most, **how)

    for seed, most in ((1, 1), (2, 1), (1, None)):
        files = folded(seed, most)["files"]
    assert [read_about(Path(file))["seed"] for file in files] == [1, 1]
