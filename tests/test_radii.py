from __future__ import annotations

import json
import re

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea import processor
from coffea.nanoevents import DelphesSchema

from coffea_iqn import IQNFolder, bundle
from coffea_iqn.data import BUNDLES, sample_path
from coffea_iqn.files import NanoSchema
from coffea_iqn.jets import radii
from coffea_iqn.jets.context import nearest_distance
from coffea_iqn.processors import IQNFoldProcessor, PairsProcessor
from conftest import context_of, one_error, open_events, run

RADII = {"qcd_ak4.root": 0.4, "qcdflat_ak4.root": 0.4, "ttbar_ak4_genonly.root": 0.4, "qcd_ak5.root": 0.5}
OF = {
    0.4: ["cms-delphes-ak4", "atlas-delphes-ak4", "cms-delphes-ak4-fast", "cms-delphes-ak4-events"],
    0.5: ["cms-delphes-ak5", "cms-delphes-ak5-particles"],
}


@pytest.fixture(scope="module", params=RADII)
def nearest(request):
    """Nearest-neighbour distances of all gen jets of a sample, and their radius."""
    events = open_events(request.param)
    return nearest_distance(context_of(events.GenJet, events)), RADII[request.param]


def test_neighbours_tell_a_radius_from_all_others(nearest):
    distance, radius = nearest
    counts = radii.histogram(distance)
    assert counts.sum() == (distance < 1.5).sum()
    for other in (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0):
        assert (radii.objection(other, counts) is None) == (other == radius), other
    assert radii.fitting(bundle.shipped_radii(), counts) == OF[radius]


def test_few_jets_of_the_right_radius_are_never_refused(nearest):
    distance, radius = nearest
    for part in np.array_split(distance, 300):
        assert radii.objection(radius, radii.histogram(part)) is None


@pytest.mark.parametrize(("wrong", "name"), [("cms-delphes-ak5", "qcd_ak4.root"), ("cms-delphes-ak4", "qcd_ak5.root")])
def test_a_folder_refuses_jets_of_another_radius(wrong, name):
    events = open_events(name)
    with pytest.raises(ValueError, match=f"as the model's, got .*: use {' or '.join(OF[RADII[name]])}, or any_radius"):
        IQNFolder(wrong)(events.GenJet, events)
    some = events[:2000]
    assert len(IQNFolder(wrong, any_radius=True)(some.GenJet, some)) == len(some)


def test_small_chunks_add_up():
    events = open_events("qcd_ak5.root", metadata={"dataset": "qcd"})
    instance = IQNFoldProcessor(truth=None)
    chunks = [instance.process(events[i : i + 20]) for i in range(0, 1200, 20)]
    with pytest.raises(ValueError, match=r"got .* neighbours within ΔR of 0\.\d0: larger ones: use cms-delphes-ak5"):
        instance.postprocess(processor.accumulate(chunks))
    willing = IQNFoldProcessor(truth=None, any_radius=True)
    assert willing.identity == instance.identity
    assert willing.postprocess(processor.accumulate(chunks))["cutflow"]["qcd"]["events"] == 1200


@pytest.mark.parametrize(
    ("name", "options", "model"),
    [
        ("delphes_1000.root", [], "cms-delphes-ak5"),
        ("delphes_1000.root", ["--gen", "GenJetAK4"], "cms-delphes-ak4"),
        ("qcd_ak5.root", [], "cms-delphes-ak5"),
        ("qcd_ak4.root", [], "cms-delphes-ak4"),
        ("qcd_ak4.root", ["--model", "cms-delphes-ak5", "--any-radius"], "cms-delphes-ak5"),
    ],
)
def test_fold_takes_the_bundle_that_is_right(name, options, model, tmp_path, capsys):
    quick = ["--truth", "none", "--no-plots", "--output", tmp_path / "out"]
    assert run("fold", sample_path(name), *options, *quick) == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["model"] == model
    assert ("do not have the radius of" in capsys.readouterr().out) == (model == BUNDLES[1] and not options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "qcd_ak5.root",
            ["--model", "cms-delphes-ak4"],
            "larger ones: use cms-delphes-ak5 or cms-delphes-ak5-particles, or any_radius",
        ),
        (
            "qcd_ak4.root",
            ["--model", "cms-delphes-ak5"],
            "smaller ones: use cms-delphes-ak4 or atlas-delphes-ak4 or cms-delphes-ak4-fast or cms-delphes-ak4-events",
        ),
        ("delphes_1000.root", ["--gen", "GenJetAK4", "--model", "cms-delphes-ak5"], "GenJetAK4, of radius 0.4 by"),
        ("delphes_1000.root", ["--model", "cms-delphes-ak4"], "reach out to 0.51: use cms-delphes-ak5"),
        ("delphes_1000.root", ["--gen", "GenJetAK4"], "true jets: expected jets of radius 0.4, got Jet beside JetAK4"),
    ],
)
def test_fold_stops_where_the_bundle_is_wrong(name, options, message, tmp_path, capsys):
    assert run("fold", sample_path(name), *options, "--output", tmp_path / "out") == 2
    assert message in one_error(capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train"], "gen jets: expected jets of radius 0.4, got 0 of .*: larger ones: give theirs with --radius, or"),
        (["train", "--direction", "correct"], "reco jets: expected jets of radius 0.4, got .*: larger ones"),
        (["train", "--teacher", "cms-delphes-ak4-fast"], "gen jets: expected jets of radius 0.4, as the model's, got"),
        (["refine", "cms-delphes-ak4-fast"], "gen jets: expected jets of radius 0.4, as the model's, got"),
        (["train", "--radius", "0.5", "--reco", "JetAK4"], "reco jets: expected jets of radius 0.5, got JetAK4, of"),
    ],
)
def test_a_training_on_jets_of_another_radius_than_the_bundle_is_to_have_is_refused(command, message, tmp_path, capsys):
    """The bundle would fold jets of the radius in its card with the response of others."""
    path = sample_path("delphes_1000.root" if "--reco" in command else "qcd_ak5.root")
    arguments = [*command, path, "--output", tmp_path / "made"]
    assert run(*arguments) == 2
    assert re.search(message, one_error(capsys))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [{}, {"direction": "correct"}, {"radius": 0.5, "reco": "JetAK4"}])
def test_pairs_of_another_radius_than_given_are_refused(options):
    """In Python, where the radius is 0.4 by default, and Delphes' own 0.5."""
    name, tree, schema = "qcd_ak5.root", "Events", NanoSchema
    if "reco" in options:
        name, tree, schema = "delphes_1000.root", "Delphes", DelphesSchema
    runner = processor.Runner(executor=processor.IterativeExecutor(status=False, retries=0), schema=schema)
    files = {"qcd": [str(sample_path(name))]}
    with pytest.raises(ValueError, match=r"expected jets of radius 0.[45], got .*: give theirs as radius, or any_rad"):
        runner(files, PairsProcessor(**options), treename=tree)
    pairs, _ = runner(files, PairsProcessor(**options, any_radius=True), treename=tree)
    assert pairs.matched.any()


def test_a_student_has_the_radius_of_its_teacher(tmp_path):
    few = ["--steps", 2, "--hidden", 4, "--teacher", "cms-delphes-ak5"]
    assert run("train", sample_path("qcd_ak5.root"), *few, "--output", tmp_path / "made") == 0
    assert bundle.load(tmp_path / "made").card["jets"]["radius"] == 0.5


def test_a_training_on_a_dataset_without_jets_is_refused(tmp_path, capsys):
    files = [f"hard={sample_path('qcdflat_ak4.root')}", f"soft={sample_path('qcd_ak4_full.root')}"]
    assert run("train", *files, "--gen-pt-min", 1000, "--output", tmp_path / "made") == 2
    assert "datasets: expected gen jets above 1000 GeV in each, got none in soft" in one_error(capsys)


@pytest.mark.parametrize(
    ("command", "what"),
    [(["fold"], "true"), (["validate", "--model", "cms-delphes-ak4-fast", "--quick"], "reco"), (["train"], "reco")],
)
def test_jets_that_are_compared_have_one_radius(command, what, tmp_path, capsys):
    """Delphes' `Jet` beside `GenJetAK4`, for example: they would be compared, or a training would learn the radius."""
    gen, reco = (open_events(name)[:5000] for name in ("qcd_ak4.root", "qcd_ak5.root"))
    columns = {name: ak.to_numpy(gen[name]) for name in ("run", "luminosityBlock", "event")}
    for name, jets in (("GenJet", gen.GenJet), ("Jet", reco.Jet)):
        columns[name] = ak.zip({field: jets[field] for field in ("pt", "eta", "phi", "mass")}, with_name=None)
    with uproot.recreate(tmp_path / "mixed.root") as file:
        file.mktree("Events", {name: ak.type(ak.Array(one)).content for name, one in columns.items()}).extend(columns)
    command, *options = command
    assert run(command, tmp_path / "mixed.root", *options, "--output", tmp_path / "out") == 2
    assert f"{what} jets: expected jets of radius 0.4, got " in one_error(capsys)
    with pytest.raises(ValueError, match=r"^true jets: expected jets of radius 0.4, .* got FatJet, of radius 0.8 by"):
        IQNFoldProcessor(truth="FatJet")
