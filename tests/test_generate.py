"""Generation of gen jets with Pythia and FastJet."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from dataclasses import replace
from functools import partial
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea.nanoevents import NanoEventsFactory

from coffea_iqn.commands import generate as command
from coffea_iqn.commands.common import captions, fitting_model
from coffea_iqn.data import sample_path
from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.events.constituents import constituents_of
from coffea_iqn.events.names import Names
from coffea_iqn.files.inputs import NanoSchema, _said, first_jets, inspect
from coffea_iqn.generation import Settings
from coffea_iqn.generation.generate import generate, make_block
from coffea_iqn.generation.pythia import card_text, muted, set_up, start
from coffea_iqn.generation.writing import Totals, written_whole
from coffea_iqn.jets.constituents import composition, subjettiness
from coffea_iqn.jets.context import WIDTHS
from conftest import one_error, run, undrawn

fastjet = pytest.importorskip("fastjet")
pytest.importorskip("pythia8mc")

SETTINGS = Settings("qcd", 25, seed=7, block=10, substructure=True, particles=True)


def counts_of(block):
    return block.collections["GenJet"][0]


def jets_of(block):
    return block.collections["GenJet"][1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """File with three blocks, made by the command with two processes, which leaves no other files."""
    output = tmp_path_factory.mktemp("made") / "new" / "qcd.root"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "Settings", partial(Settings, block=SETTINGS.block))
        arguments = ("--events", SETTINGS.n_events, "--seed", SETTINGS.seed, "--workers", 2, "--output", output)
        assert run("generate", "--process", "qcd", "--substructure", "--particles", *arguments) == 0
    assert [path.name for path in output.parent.iterdir()] == ["qcd.root"]
    return output


@pytest.fixture(scope="module")
def blocks():
    """The same blocks, made sequentially."""
    return [make_block(SETTINGS, number) for number in range(SETTINGS.n_blocks)]


def test_the_layout_is_that_of_the_samples(made):
    samples = (sample_path(name) for name in ("wzjets_ak4_full.root", "wwhad_ak5_particles.root"))
    types, *known = (uproot.open({path: "Events"}).typenames() for path in (made, *samples))
    assert types.pop("GenJetCands_mass") == "float[]"  # massless in the sample
    assert types == {name: (known[0] | known[1])[name] for name in types}
    assert {"GenJet_chEF", "GenDressedLepton_pdgId", "GenIsolatedPhoton_pt", "GenJetCands_pdgId"} < set(types)


def test_a_generated_file_says_the_radius_of_its_jets(made, capsys):
    """Of few jets it could not be told from the distances between them."""
    source = inspect(str(made))
    assert first_jets(source, "GenJet").width == source.radius == SETTINGS.radius == 0.4
    assert source.energy == 13.0
    assert [_said(text) for text in ("[]", "{}", "<TTree>", '{"radius": null}')] == [(None, None)] * 4
    assert _said('{"radius": 0.5, "card": "! Beams:eCM = 7000", "commands": ["x = 1"]}') == (0.5, None)
    said = '{"radius": 0.4, "card": "Beams:eCM = 8e3\\nx = 1", "commands": ["beams:ecm = 5020", "y = 2"]}'
    assert _said(said) == (0.4, 5.02)
    text = Namespace(label="a", energy=None, reference_label=None)
    for energies, shown in (((13.0, 5.02), 13.6), ((5.02, 5.02), 5.02), ((None,), 13.6), ((5.02, None), 13.6)):
        files = {"qcd": [replace(source, energy=energy) for energy in energies]}
        assert captions(text, {"energy": 13.6}, files, 20.0, 5.0)["energy"] == shown
    asked = Namespace(model=None, objects=False, particles=False, any_radius=False, gen="GenJet")
    default = "cms-delphes-ak4"
    assert fitting_model(asked, {"qcd": [source]}, default) == default
    assert fitting_model(asked, {"qcd": [replace(source, radius=0.5)]}, default) == "cms-delphes-ak5"
    with pytest.raises(ValueError, match=r"expected jets of radius 0.4, as the model's, got jets whose constituents"):
        fitting_model(Namespace(**vars(asked) | {"model": default}), {"qcd": [replace(source, radius=0.5)]}, default)
    capsys.readouterr()


def test_events_have_numbers_and_jets_are_sorted(made):
    with uproot.open(made) as file:
        events = file["Events"].arrays()
    assert events.event.tolist() == list(range(1, SETTINGS.n_events + 1))
    assert set(events.run.tolist()) == {1}
    assert set(events.luminosityBlock.tolist()) == {SETTINGS.seed}
    assert set(events.genWeight.tolist()) == {1.0}
    assert ak.all(events.GenJet_pt >= 10.0)
    assert ak.all(events.GenJet_pt[:, :-1] >= events.GenJet_pt[:, 1:])
    assert ak.all(abs(events.GenJet_phi) <= np.float32(np.pi))


def test_processes_do_not_show(made, blocks):
    with uproot.open(made) as file:
        events = file["Events"].arrays()
    assert events.nGenJet.tolist() == np.concatenate([counts_of(block) for block in blocks]).tolist()
    for name in jets_of(blocks[0]):
        here = np.concatenate([jets_of(block)[name] for block in blocks])
        there = ak.to_numpy(ak.flatten(events[f"GenJet_{name}"]))
        np.testing.assert_array_equal(there, here.astype(there.dtype), err_msg=name)
    codes = np.concatenate([block.collections["GenJetCands"][1]["pdgId"] for block in blocks])
    assert ak.flatten(events.GenJetCands_pdgId).tolist() == codes.tolist()
    np.testing.assert_array_equal(
        events.GenMET_pt, np.concatenate([block.missing[0] for block in blocks]).astype(np.float32)
    )


def test_no_two_blocks_share_an_event(blocks):
    leading = [jets_of(block)["pt"].max() for block in blocks]
    assert len(set(leading)) == len(blocks)
    other_seed = make_block(replace(SETTINGS, n_events=1, seed=SETTINGS.seed + 1), 0)
    assert jets_of(other_seed)["pt"].tolist() != jets_of(blocks[0])["pt"][: len(jets_of(other_seed)["pt"])].tolist()


def test_fewer_events_are_the_first_ones(blocks):
    fewer = make_block(replace(SETTINGS, n_events=4), 0)
    assert counts_of(fewer).tolist() == counts_of(blocks[0])[:4].tolist()
    assert jets_of(fewer)["mass"].tolist() == jets_of(blocks[0])["mass"][: counts_of(fewer).sum()].tolist()


def test_runs_tell_how_to_normalise(made, blocks):
    with uproot.open(made) as file:
        runs = {name: column.item() for name, column in file["Runs"].arrays(library="np").items()}
        settings = json.loads(file["generation"])
    assert (runs["genEventCount"], runs["genEventSumw"], runs["genEventSumw2"]) == (25, 25.0, 25.0)
    found = np.array([block.cross_section for block in blocks])
    share = np.array([10, 10, 5]) / 25
    assert runs["crossSection"] == pytest.approx(share @ found[:, 0])
    assert runs["crossSectionError"] == pytest.approx(np.sqrt(share**2 @ found[:, 1] ** 2))
    assert 3e8 < runs["crossSection"] < 2e9  # pb
    assert (settings["seed"], settings["card"]) == (SETTINGS.seed, None)
    assert settings["commands"] == ["Beams:eCM = 13000", "HardQCD:all = on", "PhaseSpace:pTHatMin = 20"]


def slow_jets(event, radius):
    """Jets of one Pythia event, from a loop over particles."""
    seen = [p for p in event if p.isFinal() and p.isVisible()]
    inputs = []
    for index, particle in enumerate(seen):
        inputs.append(fastjet.PseudoJet(particle.px(), particle.py(), particle.pz(), particle.e()))
        inputs[-1].set_user_index(index)
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, radius)
    clustered = fastjet._swig.ClusterSequence(inputs, definition)
    for jet in fastjet.sorted_by_pt(clustered.inclusive_jets(10.0)):
        flavour = 0
        for parton in event:
            code = parton.idAbs()
            turn = abs(jet.phi_std() - parton.phi())
            distance = np.hypot(jet.eta() - parton.eta(), min(turn, 2 * np.pi - turn))
            if code in {1, 2, 3, 4, 5, 21} and parton.pT() > 1 and abs(parton.eta()) < 2.5 and distance < radius:
                flavour = max(flavour, code, key=[0, 21, 1, 2, 3, 4, 5].index)
        inside = [seen[one.user_index()] for one in jet.constituents()]
        charged = [one for one in inside if one.isCharged()]
        fraction = round(sum(one.e() for one in charged) / jet.E() * 1024) / 1024
        n_charged, n_neutral = len(charged), len(inside) - len(charged)
        of_jet = jet.pt(), jet.eta(), jet.phi_std(), jet.m(), flavour, n_charged, n_neutral, fraction
        yield of_jet, [(p.pT(), p.eta(), p.phi(), p.m(), p.id()) for p in sorted(inside, key=lambda p: -p.pT())]


def events_of(settings):
    """Particles of each Pythia event, generated without batches."""
    with muted() as said:
        pythia, n_made = start(settings, 0, said), 0
        while n_made < settings.n_events:
            if pythia.next():
                n_made += 1
                yield [pythia.event[i] for i in range(pythia.event.size())]


def from_a_hadron(event, particle):
    """Whether a Pythia particle has a hadron other than the beam protons as ancestor."""
    above = [event[i] for i in particle.motherList()]
    return any((one.isHadron() and one.mother1() > 0) or from_a_hadron(event, one) for one in above)


def slow_prompt(event):
    """Prompt leptons and photons of one Pythia event."""
    least = {11: 5.0, 13: 5.0, 22: 10.0}
    there = [p for p in event if p.isFinal() and p.idAbs() in least and abs(p.eta()) < 3.0]
    hard = sorted((p for p in there if p.pT() > least[p.idAbs()]), key=lambda p: -p.pT())
    return [(p.pT(), p.eta(), p.phi(), p.id()) for p in hard if not from_a_hadron(event, p)]


@pytest.mark.parametrize(
    ("process", "commands"), [("wzjets", ()), ("ttbar", ()), ("qcd", ("HardQCD:all = off", "PromptPhoton:all = on"))]
)
def test_prompt_particles_are_those_of_a_slow_loop(process, commands):
    settings = Settings(process, 25, commands=commands)
    block = make_block(settings, 0)
    leptons, photons = [], []
    for event in events_of(settings):
        found = slow_prompt(event)
        leptons.append([p for p in found if abs(p[3]) != 22])
        photons.append([p[:3] for p in found if abs(p[3]) == 22])
    for name, expected in (("GenDressedLepton", leptons), ("GenIsolatedPhoton", photons)):
        counts, columns = block.collections[name]
        assert counts.tolist() == [len(of_event) for of_event in expected]
        fields = ("pt", "eta", "phi", *(["pdgId"] if "pdgId" in columns else []))
        wanted = np.array([row for of_event in expected for row in of_event]).reshape(-1, len(fields))
        np.testing.assert_allclose(np.stack([columns[f] for f in fields], axis=1), wanted, rtol=1e-6, atol=1e-5)
    assert sum(len(of_event) for of_event in (*leptons, *photons)) > 2


@pytest.mark.parametrize(("process", "radius"), [("ttbar", 0.4), ("wzjets", 0.5)])
def test_jets_are_those_of_a_slow_loop(process, radius):
    settings = Settings(process, 6, radius=radius, particles=True)
    block = make_block(settings, 0)
    expected, inside, missing = [], [], []
    for event in events_of(settings):
        jets = list(slow_jets(event, radius))
        expected.append([of_jet for of_jet, _ in jets])
        inside.append([(place, *p) for place, (_, particles) in enumerate(jets) for p in particles])
        invisible = [p for p in event if p.isFinal() and p.idAbs() in {12, 14, 16}]
        missing.append((sum(p.px() for p in invisible), sum(p.py() for p in invisible)))
    assert counts_of(block).tolist() == [len(jets) for jets in expected]
    values = np.stack(list(jets_of(block).values()), axis=1)
    np.testing.assert_allclose(values, np.concatenate(expected), rtol=1e-6, atol=1e-5)
    n_inside, columns = block.collections["GenJetCands"]
    assert n_inside.tolist() == [len(particles) for particles in inside]
    assert list(columns) == ["jetIdx", "pt", "eta", "phi", "mass", "pdgId"]
    values = np.stack(list(columns.values()), axis=1)
    np.testing.assert_allclose(values, np.concatenate(inside), rtol=1e-6, atol=1e-4)
    pt, phi = block.missing
    np.testing.assert_allclose(np.stack([pt * np.cos(phi), pt * np.sin(phi)], axis=1), missing, atol=1e-3)
    assert pt.max() > 1.0


def test_jets_look_like_those_of_the_samples():
    block = make_block(Settings("qcd", 150, seed=2), 0)
    with uproot.open(sample_path("qcd_ak4.root")) as file:
        sample = file["Events"].arrays()
    assert abs(counts_of(block).mean() - ak.mean(sample.nGenJet)) < 5.0 * counts_of(block).std() / np.sqrt(150)

    def central(jets, of):
        return {name: np.asarray(jets[of(name)])[np.abs(jets[of("eta")]) < 2.1] for name in jets_of(block)}

    here = central(jets_of(block), str)
    jets = {name: ak.to_numpy(ak.flatten(sample[name])) for name in sample.fields if name.startswith("GenJet_")}
    there = central(jets, "GenJet_{}".format)
    for code in (1, 2, 3, 4, 5, 21):
        share = np.mean(there["partonFlavour"] == code)
        error = np.sqrt(share * (1.0 - share) / len(here["pt"]))
        assert abs(np.mean(here["partonFlavour"] == code) - share) < 5.0 * error, code
    for name in ("pt", "mass", "nCharged", "nNeutral", "chEF"):
        error = there[name].std() / np.sqrt(len(here["pt"]))
        assert abs(here[name].mean() - there[name].mean()) < 5.0 * error, name


def test_particles_say_of_jets_what_the_file_says(made):
    events = NanoEventsFactory.from_root({made: "Events"}, schemaclass=NanoSchema).events()
    jets, flat = events.GenJet, flatten_jets(events.GenJet)
    inside = constituents_of(events, flat, Names())
    np.testing.assert_array_equal(inside.counts, ak.flatten(jets.nCharged).to_numpy() + ak.flatten(jets.nNeutral))
    pt, eta, phi, mass = inside.values.T
    momenta = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), np.hypot(pt * np.cosh(eta), mass)
    px, py, pz, energy = (np.bincount(inside.jet, p) for p in momenta)
    total = np.stack([np.hypot(px, py), np.arcsinh(pz / np.hypot(px, py)), np.arctan2(py, px)], axis=1)
    np.testing.assert_allclose(total, flat.values[:, :3], rtol=1e-5, atol=1e-5)
    squared = energy**2 - px**2 - py**2 - pz**2
    np.testing.assert_allclose(np.sqrt(np.maximum(squared, 0.0)), flat.values[:, 3], rtol=1e-3, atol=0.02)
    found, told = composition(inside), [ak.flatten(jets[name]) for name in ("nCharged", "nNeutral", "chEF")]
    np.testing.assert_array_equal(found[:, :2].T, told[:2])
    np.testing.assert_allclose(found[:, 2], told[2], atol=0.5 / 1024 + 1e-5)
    tau = np.stack([ak.flatten(jets[f"tau{n}"]) for n in (1, 2, 3)], axis=1)
    np.testing.assert_allclose(subjettiness(inside, SETTINGS.radius), tau, atol=1e-3)


def test_particles_are_kept_where_they_are_asked_for(blocks):
    usual = make_block(replace(SETTINGS, particles=False), 0)
    assert set(blocks[0].collections) - set(usual.collections) == {"GenJetCands"}
    for name, (_, columns) in usual.collections.items():
        for field, column in columns.items():
            np.testing.assert_array_equal(column, blocks[0].collections[name][1][field])


def test_flat_events_carry_weights():
    block = make_block(Settings("qcdflat", 40), 0)
    assert 0.0 < block.weight.min() < 1e-3 * block.weight.max()
    assert block.weight.max() <= 1.0
    totals = Totals().plus(block)
    assert totals.sum_of_weights == pytest.approx(block.weight.sum())
    assert totals.sum_of_squares == pytest.approx(np.sum(block.weight**2))
    assert jets_of(block)["pt"].max() > 300.0


def test_substructure():
    block = make_block(Settings("qcd", 10, substructure=True), 0)
    tau1, tau2, tau3 = (jets_of(block)[f"tau{n}"] for n in (1, 2, 3))
    size = jets_of(block)["nCharged"] + jets_of(block)["nNeutral"]
    assert np.all(tau1[size > 3] > tau2[size > 3])
    assert np.all(tau2[size > 3] > tau3[size > 3])
    assert 0.1 < np.median(tau1) < 0.5


def test_events_without_jets():
    block = make_block(Settings("qcd", 3, pt_min=3000.0, substructure=True, particles=True), 0)
    assert counts_of(block).tolist() == [0, 0, 0]
    assert block.collections["GenJetCands"][0].tolist() == [0, 0, 0]
    assert len(jets_of(block)["tau1"]) == 0


def write_card(folder, *lines):
    path = folder / "card.cmnd"
    path.write_text("\n".join(lines))
    return str(path)


def test_a_card_is_read_and_options_come_after_it(tmp_path):
    card = write_card(tmp_path, "Beams:eCM = 13600.", "HardQCD:hardbbbar = on", "Random:seed = 3", "Print:quiet = on")
    settings = Settings(card, 8, pt_hat_min=60.0, commands=("PartonLevel:MPI = off",))
    pythia = set_up(settings)
    assert pythia.parm("Beams:eCM") == 13600.0
    assert pythia.parm("PhaseSpace:pTHatMin") == 60.0
    assert not pythia.flag("PartonLevel:MPI")
    jets = jets_of(make_block(settings, 0))
    central = (jets["pt"] > 40.0) & (np.abs(jets["eta"]) < 2.0)
    assert np.mean(jets["partonFlavour"][central] == 5) > 0.5


def test_a_card_has_the_lines_of_the_files_it_includes(tmp_path, monkeypatch):
    """A generation that goes on after an included file has changed is of another card."""
    monkeypatch.chdir(tmp_path)  # where Pythia looks for files, also for those of included ones
    (tmp_path / "cards").mkdir()
    card = write_card(tmp_path / "cards", "HardQCD:all = on", "INCLUDE two.cmnd ! mine", "PhaseSpace:pTHatMax = 900.")
    (tmp_path / "two.cmnd").write_bytes(b"include=three.cmnd\r\nPhaseSpace:pTHatMax = 100.\r\n")
    found = {}
    for threshold in ("40.", "300."):
        (tmp_path / "three.cmnd").write_text(f"Beams:eCM = 7000.\nPhaseSpace:pTHatMin = {threshold}")
        pythia = set_up(Settings(card, 5))
        assert (pythia.parm("PhaseSpace:pTHatMin"), pythia.parm("PhaseSpace:pTHatMax")) == (float(threshold), 900.0)
        output = tmp_path / f"{threshold}root"
        generate(Settings(card, 5), output, checkpoints=tmp_path / "parts")
        with uproot.open(output) as file:
            found[threshold] = ak.max(file["Events/GenJet_pt"].array())
            assert f"\nPhaseSpace:pTHatMin = {threshold}\n" in json.loads(file["generation"])["card"]
        assert inspect(str(output)).energy == 7.0
    assert found["40."] < 200.0 < found["300."]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "three.cmnd").rename(tmp_path / "elsewhere" / "three.cmnd")
    monkeypatch.setenv("PYTHIA8CMND", f"nowhere:{tmp_path / 'elsewhere'}")
    assert set_up(Settings(card, 5)).parm("PhaseSpace:pTHatMin") == 300.0
    shipped = write_card(tmp_path, "HardQCD:all = on", "include = tunes/ATLAS-A14-CTEQL1.cmnd")
    assert "MultipartonInteractions:pT0Ref" in card_text(Path(shipped))
    assert set_up(Settings(shipped, 5))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["! mine", "/* HardQCD:al = on", "*/ end", "HardQCD:al = on"], "line 4: expected a setting that Pythia knows"),
        (["PhaseSpace:pTHatMin = much"], "card.cmnd, line 1"),
        (["Beams:frameType = 4", "Beams:LHEF = events.lhe"], "card.cmnd: expected events that Pythia generates"),
        (["HardQCD:all = on", "Main:subrun = 1", "PhaseSpace:pTHatMin = 200."], "one run, got Main:subrun = 1: those"),
        (["HardQCD:all = on", "JetMatching:merge = on"], "that need no code, got JetMatching:merge: no event would be"),
        (["HardQCD:all = on", "POWHEG:veto = 1"], "that need no code, got POWHEG:veto: no event would be vetoed"),
        (["HardQCD:all = on", "Merging:doUserMerging = on"], "got Merging:doUserMerging = on: its weights and vetoes"),
        (["HardQCD:all = on", "Merging:doPTLundMerging on"], "without merging, got Merging:doPTLundMerging on: its"),
        (["! mine", "include = nowhere.cmnd"], "line 2: expected a file to include, found no nowhere.cmnd in ., "),
        (["include = card.cmnd"], "card.cmnd, line 1: expected a file that does not include itself, got card.cmnd"),
        (["include = wrong.cmnd"], "wrong.cmnd, line 2: expected a setting that Pythia knows, got 'HardQCD:al = on'"),
        (["include = run.cmnd", "HardQCD:all = on"], "expected settings of one run, got Main:subrun = 1: those"),
        (
            ["HardQCD:all = on", "52:new = x x~ 2 0 0 10."],
            "expected '52:isVisible = off' or on, as the new particle is",
        ),
    ],
)
def test_wrong_cards(tmp_path, capsys, monkeypatch, lines, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.cmnd").write_text("! another\nHardQCD:al = on\n")
    (tmp_path / "run.cmnd").write_text("Main:subrun = 1\nPhaseSpace:pTHatMin = 200.\n")
    output = tmp_path / "out.root"
    assert run("generate", "--process", write_card(tmp_path, *lines), "--events", 5, "--output", output) == 2
    assert message in one_error(capsys)
    assert not output.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--process", "qdc"), "expected one of qcd, qcdflat, ttbar, wzjets or a file of Pythia's commands, got 'qdc'"),
        (("--process", "."), "or a file of Pythia's commands, got '.'"),
        (("--set", "Beams:energy = 7"), "got 'Beams:energy = 7'"),
        (("--set", "include = a.cmnd"), "setting: expected one, got 'include = a.cmnd': only a card includes files"),
        (("--output", "."), ": expected a file to write, found a folder"),
        (("--output", "gen.txt"), "output gen.txt: expected a name that ends in .root, got gen.txt"),
    ],
)
def test_wrong_arguments(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    usual = ("--process", "qcd", "--events", 5, "--output", "out.root")
    assert run("generate", *usual, *arguments) == 2
    assert message in one_error(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        (("Beams:eCM = 1",), "got: too low energy"),
        (("HardQCD:all = off",), "got: no process switched on"),
        (("PhaseSpace:pTHatMin = 7000",), "got: all processes have vanishing cross sections"),
    ],
)
def test_pythia_does_not_start(commands, message):
    with pytest.raises(ValueError, match=message):
        make_block(Settings("qcd", 5, commands=commands), 0)


def test_events_without_jets_are_warned_of(tmp_path, capfd):
    usual = ("generate", "--process", "qcd", "--events", 3, "--workers", 1, "--output", tmp_path / "out.root")
    assert run(*usual, "--set", "PartonLevel:all = off") == 0
    assert "warning: qcd: expected gen jets, got none in 3 events" in capfd.readouterr().err


def test_events_of_partons_are_refused():
    with pytest.raises(
        ValueError, match=r"^events: expected hadrons, got .* quarks and gluons in the final state of 5"
    ):
        make_block(Settings("qcd", 5, commands=("HadronLevel:all = off",)), 0)


def test_without_the_extra(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pythia8mc", None)
    assert run("generate", "--process", "qcd", "--events", 5, "--output", tmp_path / "out.root") == 2
    assert "pip install 'coffea-iqn[generate]'" in one_error(capsys)


def test_what_fails_leaves_the_old_file(tmp_path, blocks):
    output = tmp_path / "out.root"
    output.write_bytes(b"old")

    def interrupted():
        with written_whole(output, 1) as writer:
            writer.extend(blocks[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert output.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [output]


def test_the_file_folds(made, tmp_path):
    with undrawn():
        assert run("fold", made, "--output", tmp_path / "folded") == 0
    summary = json.loads((tmp_path / "folded" / "summary.json").read_text())
    assert summary["datasets"]["qcd"]["events"] == SETTINGS.n_events
    assert summary["datasets"]["qcd"]["reco_jets_selected"] > 10
    assert summary["context"] == list(WIDTHS)
