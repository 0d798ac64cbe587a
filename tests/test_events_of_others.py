"""HepMC and Les Houches events give the same gen jets as Pythia's own; the files are written here from Pythia."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import re
import sys
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import awkward as ak
import loky
import numpy as np
import pytest
import uproot

from coffea_iqn.files.finished import packed, unpacked
from coffea_iqn.generation import NoHistoryWarning, Settings, generate, hepmc, lhe
from coffea_iqn.generation.generate import make_block
from coffea_iqn.generation.listings import Listing
from coffea_iqn.generation.pythia import muted, set_up, start
from coffea_iqn.generation.writing import Block
from conftest import one_error, run

pytest.importorskip("fastjet")
pythia8mc = pytest.importorskip("pythia8mc")
pyhepmc = pytest.importorskip("pyhepmc")

TTBAR = Settings("ttbar", 6, seed=3, substructure=True, particles=True)
HARD = ("Beams:eCM = 13000", "PartonLevel:all = off", "Print:quiet = on")
MUONS = ("WeakSingleBoson:ffbar2gmZ = on", "23:onMode = off", "23:onIfAny = 13", "PhaseSpace:mHatMin = 60")


def record_of(pythia, number):
    """Convert a Pythia event to HepMC: particles, and a vertex for all particles with the same mothers."""
    event = pyhepmc.GenEvent(pyhepmc.Units.GEV, pyhepmc.Units.MM)
    event.event_number = number
    theirs = [pythia.event[i] for i in range(pythia.event.size())]
    mine = [pyhepmc.GenParticle((p.px(), p.py(), p.pz(), p.e()), p.id(), p.statusHepMC()) for p in theirs]
    vertices = []
    for there, here in zip(theirs[1:], mine[1:], strict=True):
        mothers = [mine[m] for m in there.motherList() if m > 0]
        if not mothers:
            continue
        if mothers[0].end_vertex is None:
            vertices.append(pyhepmc.GenVertex())
            for mother in mothers:
                vertices[-1].add_particle_in(mother)
        mothers[0].end_vertex.add_particle_out(here)
    event.add_tree(mine[1:3])
    event.weights = [0.5 + number, 7.0]
    found = pyhepmc.GenCrossSection()
    event.cross_section = found
    found.set_cross_section(800.0 + number, 20.0)
    return event


@pytest.fixture(autouse=True)
def prepared(monkeypatch):
    """Make events in processes that have imported what they need, which otherwise takes seconds each time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["coffea_iqn.generation.generate"])
    monkeypatch.setattr(loky, "ProcessPoolExecutor", partial(loky.ProcessPoolExecutor, context=context))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """The same events as HepMC3, as compressed HepMC2 in MeV, and with final particles only."""
    folder = tmp_path_factory.mktemp("hepmc")
    with muted() as said:
        pythia, records = start(TTBAR, 0, said), []
        while len(records) < TTBAR.n_events:
            if pythia.next():
                records.append(record_of(pythia, 10 + len(records)))
    pyhepmc.Setup.print_warnings = False  # HepMC2 is deprecated
    write(folder / "gev.hepmc", records)
    for record in records:
        record.set_units(pyhepmc.Units.MEV, pyhepmc.Units.CM)
    write(folder / "mev.hepmc2", records, format="HepMC2")
    (folder / "mev.hepmc2.gz").write_bytes(gzip.compress((folder / "mev.hepmc2").read_bytes()))
    finals = []
    for record in records:
        finals.append(pyhepmc.GenEvent(pyhepmc.Units.MEV, pyhepmc.Units.CM))
        for p in record.particles:
            if p.status == 1:
                finals[-1].add_particle(pyhepmc.GenParticle(p.momentum, p.pid, p.status))
    write(folder / "finals.hepmc", finals)
    return folder


def write(path, records, **options):
    with pyhepmc.open(path, "w", **options) as file:
        for record in records:
            file.write(record)


@pytest.fixture(scope="module")
def ours():
    return make_block(TTBAR, 0)


def made_of(tmp_path, *files, **options):
    output = tmp_path / "out.root"
    generate(Settings(hepmc=tuple(map(str, files)), substructure=True, particles=True, **options), output, workers=2)
    with uproot.open(output) as file:
        return file["Events"].arrays(), file["Runs"].arrays(library="np"), json.loads(file["generation"])


@pytest.mark.parametrize("name", ["gev.hepmc", "mev.hepmc2.gz"])
def test_records_give_what_pythia_gives(theirs, ours, tmp_path, name):
    events, runs, how = made_of(tmp_path, theirs / name)
    assert events.event.tolist() == list(range(10, 16))
    assert events.genWeight.tolist() == [10.5, 11.5, 12.5, 13.5, 14.5, 15.5]
    assert (runs["crossSection"].item(), runs["crossSectionError"].item()) == (815.0, 20.0)
    assert "pyhepmc" in how["versions"]
    for collection, (counts, columns) in ours.collections.items():
        assert events[f"n{collection}"].tolist() == counts.tolist()
        for field, column in columns.items():
            there = ak.to_numpy(ak.flatten(events[f"{collection}_{field}"]))
            np.testing.assert_allclose(there, column.astype(there.dtype), rtol=1e-5, atol=2e-5, err_msg=field)
    assert ours.collections["GenDressedLepton"][0].sum() > 1
    np.testing.assert_allclose(events.GenMET_pt, ours.missing[0], rtol=1e-5, atol=1e-5)


def test_no_two_events_are_the_same(theirs, tmp_path):
    both = tmp_path / "both.hepmc"
    both.write_bytes(2 * (theirs / "gev.hepmc").read_bytes())
    events, runs, _ = made_of(tmp_path, both, theirs / "mev.hepmc2", n_events=15, seed=4)
    assert events.run.tolist() == 6 * [1] + 6 * [2] + 3 * [3]
    assert events.event.tolist() == [10, 11, 12, 13, 14, 15, 10, 11, 12, 13, 14, 15, 10, 11, 12]
    assert set(events.luminosityBlock.tolist()) == {4}
    assert runs["crossSection"].item() == pytest.approx((6 * 815.0 + 6 * 815.0 + 3 * 812.0) / 15)
    assert runs["crossSectionError"].item() == pytest.approx(np.hypot(np.hypot(6 * 20, 6 * 20), 3 * 20) / 15)


def test_without_history_nothing_is_said_of_flavour(theirs, ours, tmp_path):
    with pytest.warns(NoHistoryWarning, match="neither GenJet_partonFlavour nor prompt"):
        events, runs, _ = made_of(tmp_path, theirs / "finals.hepmc")
    assert not {"GenJet_partonFlavour", "nGenDressedLepton", "nGenIsolatedPhoton"} & set(events.fields)
    assert events.nGenJet.tolist() == ours.collections["GenJet"][0].tolist()
    assert ak.flatten(events.GenJetCands_pdgId).tolist() == ours.collections["GenJetCands"][1]["pdgId"].tolist()
    assert "crossSection" not in runs


def test_the_nominal_weight_is_found_by_its_name(tmp_path):
    event = pyhepmc.GenEvent(pyhepmc.Units.GEV, pyhepmc.Units.MM)
    event.run_info = pyhepmc.GenRunInfo()
    event.run_info.weight_names = ["MUR0.5_MUF0.5", "Weight"]
    event.weights = [7.0, 2.0]
    assert hepmc._place_of_nominal(event) == 1
    event.run_info.weight_names = ["a", "b"]
    assert hepmc._place_of_nominal(event) == 0


def test_the_cross_section_is_that_of_the_nominal_weight(theirs, tmp_path):
    with pyhepmc.open(theirs / "gev.hepmc") as file:
        records = list(file)
    names = pyhepmc.GenRunInfo()
    names.weight_names = ["MUR0.5_MUF0.5", "Weight"]
    for record in records:
        record.run_info = names
        record.weights = [1.3, 1.0]
        record.cross_section = found = pyhepmc.GenCrossSection()
        found.set_cross_section(1300.0, 20.0)
        found.set_xsec("Weight", 1000.0)
    write(tmp_path / "weights.hepmc", records)
    events, runs, _ = made_of(tmp_path, tmp_path / "weights.hepmc")
    assert (set(events.genWeight.tolist()), runs["crossSection"].item()) == ({1.0}, 1000.0)


def test_a_cross_section_of_all_weights_is_that_of_the_nominal_weight(theirs, tmp_path):
    """HepMC2 has one cross section, whatever the place of the nominal weight."""
    text = (theirs / "mev.hepmc2").read_text()
    (tmp_path / "second.hepmc2").write_text(re.sub(r"\nN .*", '\nN 2 "MUR0.5" "Weight"', text))
    events, runs, _ = made_of(tmp_path, tmp_path / "second.hepmc2")
    assert (set(events.genWeight.tolist()), runs["crossSection"].item()) == ({7.0}, 815.0)


@pytest.mark.parametrize("unknown", ["0 0", "-1 -1"])
def test_a_cross_section_that_is_not_set_is_unknown(theirs, tmp_path, unknown):
    text = re.sub(r"GenCrossSection .*", f"GenCrossSection {unknown} -1 -1", (theirs / "gev.hepmc").read_text())
    (tmp_path / "unset.hepmc").write_text(text)
    assert "crossSection" not in made_of(tmp_path, tmp_path / "unset.hepmc")[1]


@pytest.mark.parametrize(
    ("names", "place"),
    [(["MUR0.5", "Nominal"], 1), (["a", " weight "], 1), (["nominal", "DEFAULT"], 1), (["x", ""], 1), (["x", "y"], 0)],
)
def test_the_nominal_weight_is_known_by_its_name(names, place):
    assert hepmc._place_of_nominal(SimpleNamespace(weight_names=names)) == place


def test_an_event_without_weights_weighs_one(theirs, tmp_path):
    path = tmp_path / "unweighted.hepmc"
    path.write_bytes(re.sub(rb"\n[WN] .*", b"", (theirs / "gev.hepmc").read_bytes()))
    assert set(made_of(tmp_path, path)[0].genWeight.tolist()) == {1.0}


def test_finished_blocks_survive_a_failure_and_are_not_made_again(theirs, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(sys.modules[make_block.__module__], "RECORDS", 2)
    good = (theirs / "gev.hepmc").read_bytes()
    path, output = tmp_path / "in.hepmc", tmp_path / "out.root"
    command = ("generate", "--hepmc", path, "--workers", 1, "--output", output)
    before, wrong, after = good.rpartition(b"\nE 15 ")
    path.write_bytes(
        before + wrong + re.sub(rb"^(P \d+ \S+ \S+) \S+ (.* 1)$", rb"\1 nan \2", after, flags=re.MULTILINE)
    )
    assert run(*command) == 2
    parts = sorted((tmp_path / "out.root.chunks").glob("*.safetensors"))
    assert [part.name for part in parts] == ["000000.safetensors", "000001.safetensors"]
    assert f"2 finished blocks of events are kept in {parts[0].parent}: run the same" in capfd.readouterr().err
    kept = Block(*unpacked(parts[0].read_bytes(), json.loads(_content(parts[0]))[0]))
    marked = kept._replace(weight=kept.weight + 100.0)  # shows that it is used
    parts[0].write_bytes(packed(tuple(marked), json.loads(_content(parts[0]))[0]))
    parts[1].write_bytes(parts[1].read_bytes()[:-50])  # damaged: made again
    path.write_bytes(good)
    assert run(*command) == 0
    assert uproot.open(output)["Events/genWeight"].array().tolist() == [110.5, 111.5, 12.5, 13.5, 14.5, 15.5]
    assert sorted(tmp_path.iterdir()) == [path, output]


def _content(path):
    data = path.read_bytes()
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["content"]


WRONG = {
    "unit": (rb"^U GEV", b"U TEV", "expected a line of units in each event, as 'U GEV MM', got 0"),
    "beginning": (rb"^HepMC::Asciiv3-START.*", b"", "expected a file of HepMC3 or HepMC2 in ascii, got another one"),
    "end": (rb"^HepMC::Asciiv3-END.*", b"", "got one that stops before its end"),
    "events": (rb"^E (?s:.)*(?=HepMC)", b"", "expected events, got a file of HepMC3 or HepMC2 in ascii without any"),
    "line": (rb"^P 9 .*", b"P 9 nonsense", "expected 6 that pyhepmc can read, got 0"),
    "stable": (rb" 1$", b" 2", "event 10: expected stable particles, of status 1, got none"),
    "code": (rb"^(P \d+ \S+) 22 (.* 1)$", rb"\1 9900099 \2", "got 9900099: --set '9900099:new = ...' says what it is"),
    "momentum": (rb"^(P \d+ \S+ \S+) \S+ (.* 1)$", rb"\1 nan \2", "event 10: expected finite momenta, got [nan"),
    "weight": (rb"^W 1.*", b"W nan 1", "expected finite weights, got some that pyhepmc cannot read"),
    "number": (rb"^E 10 ", b"E -2 ", "event -2: expected a number of 0 or more, got -2"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_records(theirs, tmp_path, capfd, what):
    pattern, new, message = WRONG[what]
    path = tmp_path / "wrong.hepmc"
    path.write_bytes(re.sub(pattern, new, (theirs / "gev.hepmc").read_bytes(), flags=re.MULTILINE))
    assert run("generate", "--hepmc", path, "--workers", 1, "--output", tmp_path / "out.root") == 2
    error = one_error(capfd)
    assert "wrong.hepmc" in error
    assert message in error
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("strategy", "found"), [(3, "-1 to 1"), (-3, "")])
def test_weights_that_are_declared_equal_are(strategy, found):
    """With IDWTUP of 3 Pythia ignores the weights of events, with -3 all but their signs."""
    text = "<event>\n 5 1 1.0 91. 7e-3 0.1\n</event>\n<event>\n 5 1 -1.0 91. 7e-3 0.1\n</event>\n"
    head = f"<init>\n2212 2212 6500. 6500. 0 0 247000 247000 {strategy} 1\n500. 2. 1. 1\n</init>\n"
    listing = Listing("their.lhe", 0, 0, 2, (head + text).encode())
    if not found:
        assert lhe.cross_section(listing) == (500.0, 2.0)
        return
    with pytest.raises(ValueError, match=f"their.lhe: expected equal weights XWGTUP, as IDWTUP is 3, got {found}: if"):
        lhe.cross_section(listing)


def test_files_of_several_processes_are_not_put_together(theirs, tmp_path):
    """One cross section cannot normalise the sum of two processes."""
    other = tmp_path / "other.hepmc"
    other.write_bytes(re.sub(rb"GenCrossSection 8", b"GenCrossSection 2", (theirs / "gev.hepmc").read_bytes()))
    with pytest.raises(ValueError, match="expected files of one process, got cross sections of 815 and 215 pb"):
        made_of(tmp_path, theirs / "gev.hepmc", other)
    other.write_bytes(re.sub(rb"^W .*", b"W 7000 7000 7000", (theirs / "gev.hepmc").read_bytes(), flags=re.MULTILINE))
    with pytest.raises(ValueError, match=r"expected files with weights in the same units, got means of .* and 7000"):
        made_of(tmp_path, theirs / "gev.hepmc", other)
    assert list(tmp_path.iterdir()) == [other]
    with pytest.raises(ValueError, match="hepmc: expected each file once, got"):
        Settings(hepmc=(str(other), str(tmp_path / ".." / tmp_path.name / "other.hepmc")))


def test_particles_that_decay_are_not_counted_with_their_products(theirs, tmp_path):
    with pyhepmc.open(theirs / "gev.hepmc") as file:
        records = list(file)
    photon = next(p for p in records[1].particles if p.pid == 22 and p.status == 1)
    vertex = pyhepmc.GenVertex()
    vertex.add_particle_in(photon)
    vertex.add_particle_out(pyhepmc.GenParticle(photon.momentum, photon.pid, 1))
    records[1].add_vertex(vertex)
    write(tmp_path / "twice.hepmc", records)
    with pytest.raises(
        ValueError, match=r"event 11: expected particles of status 1 that do not decay, got 1 that come"
    ):
        made_of(tmp_path, tmp_path / "twice.hepmc")


def test_events_with_pile_up_are_refused(theirs, tmp_path):
    with pyhepmc.open(theirs / "gev.hepmc") as file:
        records = list(file)
    for _ in range(2):
        vertex = pyhepmc.GenVertex()
        vertex.add_particle_in(pyhepmc.GenParticle((0.0, 0.0, 6500.0, 6500.0), 2212, 4))
        vertex.add_particle_out(pyhepmc.GenParticle((1.0, 0.0, 6500.0, 6500.0), 2112, 1))
        records[2].add_vertex(vertex)
    write(tmp_path / "several.hepmc", records)
    with pytest.raises(ValueError, match=r"event 12: expected one collision, got 4 beam protons: gen jets are without"):
        made_of(tmp_path, tmp_path / "several.hepmc")


@pytest.mark.parametrize(
    ("form", "which", "command"),
    [
        ("lhe", "showers", "Beams:eCM = 5020"),
        ("lhe", "showers", "beams:idA = 11"),
        ("hepmc", "particles", "HardQCD:all = on"),
    ],
)
def test_settings_that_files_decide_are_refused(tmp_path, form, which, command):
    """They would change nothing but the energy that figures state."""
    (tmp_path / "their.txt").touch()
    path = str(tmp_path / "their.txt")
    settings = Settings(commands=("22:m0 = 0.", command), **{form: path if form == "lhe" else (path,)})
    with pytest.raises(ValueError, match=f"their.txt: expected settings of {which}, got {command}: of the rest the"):
        set_up(settings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--hepmc", "none.hepmc"), "none.hepmc: expected a file of events, found none"),
        (("--lhe", "."), ".: expected a file of events, found a folder"),
        (("--lhe", "cut.lhe.gz"), "cut.lhe.gz: expected a complete compressed file"),
        (("--lhe", "cut.lhe.gz", "--pt-hat-min", 5), "pt_hat_min: expected none with events from files, got 5"),
        (("--process", "qcd"), "n_events: expected a whole number from 1 to 10000000 of a process, got none"),
    ],
)
def test_wrong_arguments(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.lhe.gz").write_bytes(gzip.compress(b"<LesHouchesEvents>")[:-9])
    assert run("generate", *arguments, "--workers", 1, "--output", "out.root") == 2
    assert message in one_error(capsys)
    assert not (tmp_path / "out.root").exists()


def les_houches(commands, n_events, *, strategy=3, weights=None):
    """Write hard processes of Pythia as the text of a Les Houches file, with two processes of 500 ± 2 and 10 ± 1 pb."""
    pythia = pythia8mc.Pythia("", False)
    assert all(pythia.readString(command) for command in (*HARD, *commands))
    assert pythia.init()
    head = f"2212 2212 6500. 6500. 0 0 247000 247000 {strategy} 2\n500. 2. 1. 1\n10. 1. 1. 2\n"
    text = f'<LesHouchesEvents version="3.0">\n<init>\n{head}</init>\n'
    for weight in [1.0] * n_events if weights is None else weights:
        assert pythia.next()
        rows = [pythia.process[i] for i in range(3, pythia.process.size())]
        text += f"<event>\n{len(rows)} 1 {weight} 91. 7.8e-3 0.118\n"
        for p in rows:
            status = {21: -1, 22: 2, 23: 1}[p.statusAbs()]
            mothers = f"{max(p.mother1() - 2, 0)} {max(p.mother2() - 2, 0)} {p.col()} {p.acol()}"
            momentum = " ".join(f"{x:.10e}" for x in (p.px(), p.py(), p.pz(), p.e(), p.m()))
            text += f"{p.id()} {status} {mothers} {momentum} 0. 9.\n"
        text += "</event>\n"
    return text + "</LesHouchesEvents>\n"


RUN_CARD = "<header>\n<MGRunCard>\n<![CDATA[\n  0 = nhel\n  {}\n]]>\n</MGRunCard>\n</header>\n"
SUBTRACTED = "PYTHIA8\t= parton_shower\n  0 = ickkw ! no merging\n -1.0 = ktdurham\n 0.0 = ptlund"


@pytest.fixture(scope="module")
def muons():
    return les_houches(MUONS, 8)


def shower(path, output, *arguments):
    assert run("generate", "--lhe", path, "--output", output, *arguments) == 0
    with uproot.open(output) as file:
        return file["Events"].arrays(), file["Runs"].arrays(library="np")


def test_les_houches_events_are_showered_with_their_weights(tmp_path, capsys):
    weights = [-500.0, 510.0, 1530.0]
    path = tmp_path / "events.lhe.gz"
    path.write_bytes(gzip.compress(les_houches(MUONS, 3, strategy=-4, weights=weights).encode()))
    events, runs = shower(path, tmp_path / "out.root", "--workers", 1, "--seed", 5, "--particles")
    assert "Cross section  510 ± 2.2 pb" in capsys.readouterr().out
    np.testing.assert_allclose(events.genWeight, weights)
    assert (runs["crossSection"].item(), runs["crossSectionError"].item()) == (510.0, pytest.approx(5**0.5))
    assert events.event.tolist() == [1, 2, 3]
    assert set(events.luminosityBlock.tolist()) == {5}
    assert set(abs(ak.flatten(events.GenDressedLepton_pdgId)).tolist()) == {13}
    assert max(ak.flatten(events.GenJet_nCharged)) > 5  # hadronised
    assert events.nGenJetCands.tolist() == ak.sum(events.GenJet_nCharged + events.GenJet_nNeutral, axis=1).tolist()


def test_events_of_mc_at_nlo_are_showered_as_was_subtracted_from_them(tmp_path, muons):
    path = tmp_path / "events.lhe"
    path.write_text(muons.replace("<init>", f"{RUN_CARD.format(SUBTRACTED)}<init>"))
    settings = [part for line in lhe.AS_SUBTRACTED for part in ("--set", line)]
    events, _ = shower(path, tmp_path / "out.root", "--workers", 1, "--events", 2, *settings)
    assert events.event.tolist() == [1, 2]


def test_processes_do_not_show_and_a_seed_does(tmp_path, muons):
    path = tmp_path / "events.lhe"
    path.write_text(muons)
    settings = Settings(lhe=str(path), block=4)
    found = []
    few = replace(settings, n_events=5)
    for name, how, workers in (("a", settings, 1), ("b", few, 2), ("c", replace(few, seed=2), 1)):
        generate(how, tmp_path / name, workers=workers)
        with uproot.open(tmp_path / name) as file:
            found.append(file["Events"].arrays(filter_name=["event", "GenJet_*"]).to_list())
    assert [event["event"] for event in found[0]] == list(range(1, 9))
    assert found[0][:5] == found[1] != found[2]


def test_what_pythia_cannot_shower_is_counted_and_keeps_its_number(tmp_path, muons, capsys):
    head, *events = muons.split("<event>\n")
    rows = events[2].splitlines()
    rows[4] = re.sub(r"^((?:\S+ ){6})\S+", r"\g<1>9.0e+05", rows[4])  # momentum is not conserved
    events[2] = "\n".join(rows) + "\n"
    (tmp_path / "events.lhe").write_text("<event>\n".join([head, *events]))
    found, runs = shower(tmp_path / "events.lhe", tmp_path / "out.root", "--workers", 1)
    assert found.event.tolist() == [1, 2, 4, 5, 6, 7, 8]
    assert runs["genEventCount"].item() == 7
    assert "Failed         1 events that Pythia could not shower" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("247000 3 2", "247000 1 2", "expected events that need no unweighting, IDWTUP of ±3 or ±4, got 1"),
        ("247000 3 2", "247000", "expected <init> with a line of ten numbers"),
        ("</LesHouchesEvents>", "", "got one that stops before its end"),
        ("1.0 91.", "nonsense", "expected 8 that Pythia can read, got 0"),
        (
            "<init>",
            f"{RUN_CARD.format('1 = ickkw ! MLM')}<init>",
            "expected events that need no matching, got 1 = ickkw",
        ),
        (
            "<init>",
            f"{RUN_CARD.format('30.0 = ktdurham ! CKKW-L')}<init>",
            "expected events that need no matching, got 30.0 = ktdurham",
        ),
        ("<init>", f"{RUN_CARD.format('HERWIGPP = parton_shower')}<init>", "got HERWIGPP = parton_shower"),
        (
            "<init>",
            f"{RUN_CARD.format(SUBTRACTED)}<init>",
            "expected the settings 'SpaceShower:pTmaxMatch = 1, SpaceShower:ME",
        ),
    ],
)
def test_wrong_les_houches_events(tmp_path, muons, capfd, old, new, message):
    path = tmp_path / "wrong.lhe"
    path.write_text(muons.replace(old, new))
    assert run("generate", "--lhe", path, "--workers", 1, "--output", tmp_path / "out.root") == 2
    assert message in one_error(capfd)
    assert list(tmp_path.iterdir()) == [path]
