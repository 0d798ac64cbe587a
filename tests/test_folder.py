from __future__ import annotations

import pickle
import warnings
from dataclasses import replace
from itertools import combinations

import awkward as ak
import numpy as np
import pytest
import torch
import vector
from coffea.nanoevents.methods import vector as coffea_vector

from coffea_iqn import IQNFolder, bundle, event_uniforms
from coffea_iqn.bundle import BundleError
from coffea_iqn.emulator.overlaps import REACH
from coffea_iqn.events import checks
from coffea_iqn.events.checks import (
    MissingContextWarning,
    OutsideDomainWarning,
    PartOfEventWarning,
    ThresholdWarning,
)
from coffea_iqn.events.identity import identity_keys
from coffea_iqn.jets.features import SCALES
from coffea_iqn.numerics.uniforms import STREAM_ACCEPTANCE, levels
from coffea_iqn.training.emulators import train
from coffea_iqn.training.recipes import RECIPES
from conftest import TINY, context_of, make_pairs, open_events

COLUMNS = ("pt", "eta", "phi", "mass")


def equal(a, b):
    return all(ak.array_equal(a[name], b[name]) for name in (*COLUMNS, "genJetIdx"))


def fold_slowly(folder, gen, events):
    """Fold event by event and jet by jet, as a simple reference."""
    keys = identity_keys(events, folder.seed)
    context = [context_of(gen[i : i + 1], events[i : i + 1]) for i in range(len(gen))]
    folded = []
    for i, jets in enumerate(gen):
        event = []
        for j, jet in enumerate(jets):
            x = np.array([[jet[name] for name in COLUMNS]], dtype=np.float32)
            known = context[i][j : j + 1]
            u = levels(keys[i : i + 1], [j], stream=STREAM_ACCEPTANCE)[0, 0]
            if folder.acceptance and u >= folder.emulator.efficiency(x, known)[0]:
                continue
            reco = folder.fold_flat(x, levels(keys[i : i + 1], [j]), known)[0]
            event.append((*reco.tolist(), j))
        folded.append(sorted(event, key=lambda jet: -jet[0]))
    return folded


@pytest.mark.parametrize("acceptance", [True, False])
def test_equals_slow_reference(shipped, nano_events, acceptance):
    folder = IQNFolder(shipped, seed=5, acceptance=acceptance, unmatched=False)
    events = nano_events[:40]
    reco = folder(events.GenJet, events)
    columns = [reco[name].to_list() for name in (*COLUMNS, "genJetIdx")]
    folded = [list(zip(*event, strict=True)) for event in zip(*columns, strict=True)]
    slowly = fold_slowly(folder, events.GenJet, events)
    # with acceptance, gen jets that overlap depend on each other, and reco jets closer than the radius are drawn again
    radius = folder.emulator.radius
    gen = [list(zip(*event, strict=True)) for event in zip(*(events.GenJet[k].to_list() for k in COLUMNS), strict=True)]
    apart = [
        not acceptance or (least_distance(jets) > radius and least_distance(of_gen) > REACH * radius)
        for jets, of_gen in zip(slowly, gen, strict=True)
    ]
    assert sum(apart) > 25
    for event, reference, one in zip(folded, slowly, apart, strict=True):
        assert event == reference or not one


def least_distance(jets):
    between = combinations([vector.obj(pt=pt, eta=eta, phi=phi, mass=mass) for pt, eta, phi, mass, *_ in jets], 2)
    return min((one.deltaR(other) for one, other in between), default=np.inf)


def test_reco_jets_are_vectors_like_the_gen_jets(folder, nano_events):
    reco = folder(nano_events.GenJet, nano_events)
    gen = nano_events.GenJet
    assert isinstance(reco, vector.Lorentz)
    assert type(reco) is type(gen)
    np.testing.assert_allclose(ak.flatten(reco.px), ak.flatten(reco.pt * np.cos(reco.phi)), rtol=1e-4, atol=1e-4)
    two = reco[ak.num(reco) > 1]
    assert ak.all((two[:, 0] + two[:, 1]).mass > 0)
    assert ak.all(ak.drop_none((reco + reco.matched_gen).pt) > 0)
    assert ak.all(ak.drop_none(reco.delta_r(reco.matched_gen)) < 1.5)
    assert ak.mean(ak.flatten(reco.nearest(gen).pt / reco.pt)) == pytest.approx(1.0, abs=0.2)


def test_pt_sorted_with_links(folder, nano_events):
    reco = folder(nano_events.GenJet, nano_events)
    assert len(reco) == len(nano_events)
    assert ak.all(reco.pt[:, :-1] >= reco.pt[:, 1:])
    reco = reco[reco.genJetIdx >= 0]
    assert ak.all(ak.num(reco) <= ak.num(nano_events.GenJet))
    assert ak.all(reco.genJetIdx < ak.num(nano_events.GenJet))
    assert not ak.any(ak.sort(reco.genJetIdx)[:, 1:] == ak.sort(reco.genJetIdx)[:, :-1])


def test_without_acceptance_every_gen_jet_has_one_reco_jet(nano_events):
    reco = IQNFolder("cms-delphes-ak4", acceptance=False)(nano_events.GenJet, nano_events)
    assert ak.array_equal(ak.sort(reco.genJetIdx), ak.local_index(nano_events.GenJet.pt), dtype_exact=False)


def test_acceptance_loses_some_soft_jets(folder, nano_events):
    _, counts = folder.fold(nano_events.GenJet, nano_events)
    assert 0.1 < counts.not_accepted / counts.gen_jets < 0.4


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_no_reco_jet_is_within_a_radius_of_another(backend):
    events = open_events("qcdflat_ak4.root", entry_stop=1500)
    apart, together = (
        ak.combinations(jets[jets.genJetIdx >= 0], 2)
        for jets in (
            IQNFolder("cms-delphes-ak4", seed=3, backend=backend, acceptance=acceptance)(events.GenJet, events)
            for acceptance in (True, False)
        )
    )
    least = [ak.min(ak.flatten(pairs["0"].delta_r(pairs["1"]))) for pairs in (apart, together)]
    assert least[1] < 0.3  # without acceptance they may overlap
    assert least[0] > 0.4 - 1e-6


@pytest.mark.parametrize("part", [slice(10, 20), slice(None, None, -1), slice(0, 0), slice(7, 8)])
def test_slicing_events_first_changes_nothing(folder, nano_events, part):
    whole = folder(nano_events.GenJet, nano_events)
    some = nano_events[part]
    assert equal(folder(some.GenJet, some), whole[part])


def test_seeds_give_other_jets_and_the_same_seed_the_same(nano_events):
    first, again, other = (
        IQNFolder("cms-delphes-ak4", seed=s, acceptance=False)(nano_events.GenJet, nano_events) for s in (1, 1, 2)
    )
    assert equal(first, again)
    assert not ak.any(ak.flatten(first.pt, axis=None) == ak.flatten(other.pt, axis=None))


@pytest.mark.filterwarnings("ignore::coffea_iqn.folder.ThresholdWarning")
def test_a_cut_collection_keeps_its_levels_with_genjetidx(nano_events):
    gen = ak.with_field(nano_events.GenJet, ak.local_index(nano_events.GenJet.pt), "genJetIdx")
    folder = IQNFolder("cms-delphes-ak4", seed=1, unmatched=False)
    whole = folder(gen, nano_events)
    hard = gen.pt > 20
    cut = folder(gen[hard], nano_events)
    kept = whole[gen.pt[whole.genJetIdx] > 20]
    # the same levels, but without the neighbours that were cut
    assert ak.all(ak.num(cut) >= 0)
    alone = ak.num(gen) == 1
    assert equal(cut[alone], kept[alone])
    same = ak.num(cut) == ak.num(kept)
    assert ak.mean(same) > 0.95
    difference = abs(ak.flatten((ak.sum(cut.pt, axis=1) - ak.sum(kept.pt, axis=1))[same], axis=None))
    assert np.median(difference) < 2.0


def test_replicas_are_independent_draws(nano_events):
    three = IQNFolder("cms-delphes-ak4", seed=1, replicas=3)(nano_events.GenJet, nano_events)
    one = IQNFolder("cms-delphes-ak4", seed=1)(nano_events.GenJet, nano_events)
    assert ak.all(ak.num(three, axis=1) == 3)
    assert equal(three[:, 0], one)
    assert ak.sum(ak.num(three[:, 1]) != ak.num(one)) > 0
    assert ak.all(three.px == three.px)


def test_delphes_events(delphes_events):
    folder = IQNFolder("cms-delphes-ak5")
    reco = folder(delphes_events.GenJet, delphes_events)
    assert type(reco) is type(delphes_events.GenJet)
    assert equal(folder(delphes_events.GenJet[20:30], delphes_events[20:30]), reco[20:30])
    # collections unknown to the schema have Delphes' own names and no vector behavior
    other = IQNFolder("cms-delphes-ak4")(delphes_events.GenJetAK4, delphes_events)
    assert isinstance(other, vector.Lorentz)


def test_delphes_files_are_told_apart():
    folder = IQNFolder("cms-delphes-ak5")
    named = [open_events("delphes_1000.root", entry_stop=30, metadata={"fileuuid": u}) for u in ("a", "b")]
    first, second = (folder(events.GenJet, events) for events in named)
    assert not ak.array_equal(first.pt, second.pt)


def test_plain_awkward_vectors(folder):
    gen = ak.zip(
        {
            "pt": [[50.0, 30.0], [], [40.0]],
            "eta": [[0.1, 1.0], [], [2.0]],
            "phi": [[0.0, 3.0], [], [1.0]],
            "mass": [[5.0, 4.0], [], [6.0]],
        },
        with_name="PtEtaPhiMLorentzVector",
        behavior=coffea_vector.behavior,
    )
    events = ak.Array({"run": [1, 1, 1], "luminosityBlock": [1, 1, 1], "event": [1, 2, 3]})
    reco = folder(gen, events)
    assert ak.num(reco).to_list()[1] == 0
    assert reco.px.ndim == 2


def test_no_events_and_no_jets(folder, nano_events):
    none = nano_events[:0]
    assert len(folder(none.GenJet, none)) == 0
    empty = nano_events.GenJet[nano_events.GenJet.pt > 1e9]
    assert ak.all(folder(empty, nano_events).genJetIdx == -1)
    reco = IQNFolder("cms-delphes-ak4", unmatched=False)(empty, nano_events)
    assert ak.num(reco).to_list() == [0] * len(nano_events)
    assert reco.px.ndim == 2


def test_fold_flat(folder, shipped):
    x = np.array([[50.0, 1.0, 3.1, 5.0]] * 3)
    tau = np.array([[0.1] * 4, [0.5] * 4, [0.9] * 4])
    reco = IQNFolder(shipped).fold_flat(x, tau)
    assert reco.shape == (3, 4)
    assert reco.dtype == np.float32
    assert reco[0, 0] < reco[1, 0] < reco[2, 0]
    assert reco[1, 0] == pytest.approx(50.0, rel=0.2)
    assert folder.fold_flat(x[:0], tau[:0]).shape == (0, 4)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, np.nan])
def test_levels_outside_the_unit_interval_are_refused(folder, level):
    with pytest.raises(ValueError, match=r"levels in \(0, 1\)"):
        folder.fold_flat(np.ones((1, 4)), np.full((1, 4), level))


def spoil(events, value):
    gen = events.GenJet
    pt = ak.where((ak.local_index(gen.pt) == 1), np.float32(value), gen.pt)
    return ak.with_field(gen, pt, "pt"), int(ak.sum(ak.num(gen) > 1))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 0.0])
def test_invalid_jets_are_counted_and_refused_or_dropped(nano_events, value):
    gen, n = spoil(nano_events, value)
    with pytest.raises(ValueError, match=f"got {n} of "):
        IQNFolder("cms-delphes-ak4")(gen, nano_events)
    tolerant = IQNFolder("cms-delphes-ak4", invalid="drop", acceptance=False)
    reco, counts = tolerant.fold(gen, nano_events)
    assert counts.invalid == n
    assert not ak.any(reco.genJetIdx == 1)
    first_alone = ak.num(nano_events.GenJet) == 1
    assert equal(reco[first_alone], tolerant(nano_events.GenJet, nano_events)[first_alone])


def test_masked_jets_are_refused(folder, nano_events):
    with pytest.raises(TypeError, match="drop_none"):
        folder(ak.mask(nano_events.GenJet, nano_events.GenJet.pt > 20), nano_events)
    with pytest.raises(TypeError, match="drop_none"):
        folder(ak.mask(nano_events.GenJet, nano_events.event > 20), nano_events)


def of_type(jets, dtype):
    return ak.zip({name: ak.values_astype(jets[name], dtype) for name in ("pt", "eta", "phi", "mass")})


@pytest.mark.parametrize(
    ("gen", "error", "message"),
    [
        (lambda e: e.GenJet[:-1], ValueError, "one list for each of the 300 events, got 299"),
        (lambda e: e.GenJet.pt, TypeError, "found no pt, eta, phi, mass"),
        (lambda e: ak.flatten(e.GenJet), TypeError, "got 1 dimensions"),
        (lambda e: [1.0], TypeError, "got list"),
        (lambda e: of_type(e.GenJet, "float16"), TypeError, "numbers of float32 or float64, got pt of float16"),
        (lambda e: of_type(e.GenJet, "bool"), TypeError, "numbers of float32 or float64, got pt of bool"),
    ],
)
def test_wrong_arrays_are_refused(folder, nano_events, gen, error, message):
    with pytest.raises(error, match=message):
        folder(gen(nano_events), nano_events)


def test_events_without_identity_are_refused(folder, nano_events):
    with pytest.raises(ValueError, match="run, luminosityBlock and event"):
        folder(nano_events.GenJet, nano_events[["GenJet"]])


@pytest.mark.filterwarnings("always::coffea_iqn.folder.OutsideDomainWarning")
def test_jets_outside_the_domain_are_folded_counted_and_warned_of_once(folder, nano_events, monkeypatch):
    monkeypatch.setattr(checks, "_WARNED", set())
    gen = nano_events.GenJet
    low, high = folder.card["domain"]["gen_pt"]
    n = int(ak.sum((gen.pt < low) | (gen.pt > high) | (abs(gen.eta) > folder.card["domain"]["gen_abs_eta"][1])))
    assert n > 100
    with pytest.warns(OutsideDomainWarning, match=f"{n} of ") as caught:
        _, counts = folder.fold(gen, nano_events)
        folder.fold(gen, nano_events)
    assert len([w for w in caught if w.category is OutsideDomainWarning]) == 1
    assert counts.outside_domain == n


def test_a_folder_is_small_immutable_and_the_same_after_pickling(folder, nano_events):
    pickled = pickle.dumps(folder)
    assert len(pickled) < 1000
    again = pickle.loads(pickled)
    assert again == folder
    assert again.emulator is folder.emulator
    assert equal(again(nano_events.GenJet, nano_events), folder(nano_events.GenJet, nano_events))
    with pytest.raises(AttributeError):
        folder.seed = 2
    assert replace(folder, seed=2) == IQNFolder("cms-delphes-ak4", seed=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "abacus"}, "backend"),
        ({"names": {"colour": "x"}}, "names"),
        ({"invalid": "ignore"}, "invalid"),
        ({"replicas": 0}, "replicas"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=f"^{message}: expected"):
        IQNFolder("cms-delphes-ak4", **options)


def test_a_user_bundle_by_path(emulator_bundle, nano_events):
    folder = IQNFolder(emulator_bundle, any_radius=True)
    reco = folder(nano_events.GenJet, nano_events)
    parts = [folder(events.GenJet, events) for events in (nano_events[:137], nano_events[137:])]
    assert equal(reco, ak.concatenate(parts))
    with pytest.raises(BundleError):
        IQNFolder(emulator_bundle / "nowhere")


@pytest.mark.filterwarnings("always::coffea_iqn.folder.MissingContextWarning")
def test_missing_context_is_warned_of_once(nano_events, monkeypatch):
    monkeypatch.setattr(checks, "_WARNED", set())
    folder = IQNFolder("cms-delphes-ak5", any_radius=True)
    bare = nano_events.GenJet[["pt", "eta", "phi", "mass"]]
    with pytest.warns(MissingContextWarning, match="lack flavour, composition, which") as caught:
        folder(bare, nano_events)
        folder(bare, nano_events)
    assert [w.filename for w in caught if w.category is MissingContextWarning] == [__file__]  # the caller's line


def test_context_changes_the_jets(nano_events):
    folder = IQNFolder("cms-delphes-ak4", acceptance=False)
    bare = nano_events.GenJet[["pt", "eta", "phi", "mass"]]
    assert not ak.any(ak.flatten(folder(bare, nano_events).pt == folder(nano_events.GenJet, nano_events).pt))


def test_backends_draw_the_same_jets(shipped, nano_events):
    compiled, reference = (
        IQNFolder(shipped, backend=backend, any_radius=True)(nano_events.GenJet, nano_events)
        for backend in ("numba", "torch")
    )
    for name in COLUMNS:
        np.testing.assert_allclose(ak.flatten(compiled[name]), ak.flatten(reference[name]), rtol=1e-4, atol=1e-4)


def test_torch_draws_in_single_precision_whatever_the_caller_does(nano_events):
    folder = IQNFolder("cms-delphes-ak4-fast", backend="torch")
    reco = folder(nano_events.GenJet, nano_events)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ak.array_equal(folder(nano_events.GenJet, nano_events).pt, reco.pt)
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(ValueError, match=r"^torch: expected float32 as its default type, got torch\.float64"):
            folder(nano_events.GenJet, nano_events)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_higher_threshold_loses_what_lies_below_it(shipped, nano_events):
    def raw_pt(reco):
        jets = np.stack([np.asarray(ak.flatten(reco[name], axis=None)) for name in COLUMNS], axis=1)
        return SCALES["delphes-cms"].undo(jets.astype(np.float64))[:, 0]

    gen = nano_events.GenJet
    above = IQNFolder(shipped, raw_pt_min=20.0, replicas=8, any_radius=True)(gen, nano_events)
    cut = IQNFolder(shipped, replicas=8, any_radius=True)(gen, nano_events)
    assert raw_pt(above).min() >= 20.0 * (1 - 1e-6)
    expected = (raw_pt(cut) > 20.0).sum()
    assert len(raw_pt(above)) == pytest.approx(expected, abs=5 * np.sqrt(expected))
    for unmatched in (False, True):
        options = {"acceptance": False, "unmatched": unmatched, "any_radius": True}
        certain = IQNFolder(shipped, raw_pt_min=20.0, **options)(gen, nano_events)
        assert ak.all(ak.sum(certain.genJetIdx >= 0, axis=1) == ak.num(gen))
        assert raw_pt(certain).min() >= 20.0 * (1 - 1e-6)
    assert 0 < ak.sum(certain.genJetIdx < 0) < ak.sum(IQNFolder(shipped, **options)(gen, nano_events).genJetIdx < 0)


@pytest.mark.parametrize("options", [{"raw_pt_min": 20.0}, {"backend": "numba"}])
def test_networks_whose_quantiles_may_cross_refuse_what_needs_a_spline(tmp_path, options):
    made = train(make_pairs(), replace(RECIPES["paper-iqnx4"], **TINY))
    bundle.save(made, tmp_path / "paper")
    with pytest.raises(ValueError, match=r"expected .* for IQNx4"):
        IQNFolder(tmp_path / "paper", **options)


def test_names_of_the_input_are_options(nano_events):
    gen = nano_events.GenJet
    renamed = ak.with_field(ak.without_field(gen, "partonFlavour"), gen.partonFlavour, "hadronFlavour")
    folder = IQNFolder("cms-delphes-ak4", names={"flavour": "hadronFlavour"})
    assert equal(folder(renamed, nano_events), IQNFolder("cms-delphes-ak4")(gen, nano_events))


@pytest.mark.parametrize("replicas", [1, 3])
def test_each_reco_jet_keeps_its_gen_jet(nano_events, replicas):
    events, gen = nano_events, nano_events.GenJet
    reco = IQNFolder("cms-delphes-ak4", seed=2, replicas=replicas)(gen, events)
    assert reco.fields == [*COLUMNS, "genJetIdx", "matched_gen"]
    events["IQNJet"] = reco if replicas == 1 else reco[:, 1]
    some = events[ak.num(events.IQNJet) > 1][::-1]
    jets = some.IQNJet[some.IQNJet.pt > 12.0]
    jets = jets[ak.argsort(jets.eta)]
    matched = jets.matched_gen
    assert type(matched) is type(gen)
    assert ak.array_equal(ak.is_none(matched, axis=1), jets.genJetIdx < 0)
    assert 0 < ak.sum(jets.genJetIdx < 0) < ak.sum(jets.genJetIdx >= 0)
    expected = some.GenJet[ak.mask(jets.genJetIdx, jets.genJetIdx >= 0)]
    for name in (*COLUMNS, "partonFlavour"):
        assert ak.array_equal(ak.drop_none(matched[name]), ak.drop_none(expected[name]))
    assert ak.max(jets.delta_r(matched)) < 1.0


@pytest.mark.filterwarnings("ignore::coffea_iqn.folder.ThresholdWarning")
def test_gen_jets_of_a_part_are_the_matched_ones(nano_events):
    gen = ak.with_field(nano_events.GenJet, ak.local_index(nano_events.GenJet.pt), "genJetIdx")
    cut = gen[gen.pt > 20.0][:, ::-1]
    reco = IQNFolder("cms-delphes-ak4")(cut, nano_events)
    matched = ak.drop_none(reco.matched_gen)
    assert ak.array_equal(matched.genJetIdx, reco.genJetIdx[reco.genJetIdx >= 0])
    assert ak.all(matched.pt > 20.0)


def test_gen_jets_softer_than_those_of_the_training_are_warned_of(folder, nano_events, monkeypatch):
    """They would be taken for sources of unmatched jets, which come from them."""
    monkeypatch.setattr(checks, "_WARNED", set())
    gen = nano_events.GenJet
    softer = ak.with_field(ak.with_field(gen, 0.5 * gen.pt, "pt"), ak.local_index(gen.pt), "genJetIdx")
    with pytest.warns(ThresholdWarning, match="begin at 5 GeV, those cms-delphes-ak4 was trained on at 10 GeV: softer"):
        folder(softer, nano_events)


def test_indices_of_after_a_cut_are_warned_of(folder, nano_events, monkeypatch):
    """They are those of other jets of the collection."""
    monkeypatch.setattr(checks, "_WARNED", set())
    central = nano_events.GenJet[np.abs(nano_events.GenJet.eta) < 1.0]
    late = ak.with_field(central, ak.local_index(central.pt), "genJetIdx")
    with pytest.warns(
        PartOfEventWarning, match=r"genJetIdx to be the index of each jet in events.GenJet, got that of an"
    ):
        folder(late, nano_events)


@pytest.mark.filterwarnings("always::coffea_iqn.folder.PartOfEventWarning")
@pytest.mark.filterwarnings("ignore::coffea_iqn.folder.ThresholdWarning")
def test_a_part_of_a_collection_is_warned_of_once(folder, nano_events, monkeypatch):
    monkeypatch.setattr(checks, "_WARNED", set())
    gen = nano_events.GenJet
    hard = gen[gen.pt > 20.0]
    some = nano_events[:50]
    with warnings.catch_warnings(record=True) as caught:
        folder(some.GenJet, some)
        folder(ak.with_field(gen, ak.local_index(gen.pt), "genJetIdx")[gen.pt > 20.0], nano_events)
        assert not [w for w in caught if w.category is PartOfEventWarning]
        folder(hard, nano_events)
        folder(hard, nano_events)
    said = [str(w.message) for w in caught if w.category is PartOfEventWarning]
    n_all, n = int(ak.sum(ak.num(gen))), int(ak.sum(ak.num(hard)))
    assert len(said) == 1
    assert f"expected the {n_all} jets of events.GenJet, got {n} without a field genJetIdx" in said[0]


def test_unmatched_jets_are_there_as_lost_ones_are(nano_events):
    assert IQNFolder("cms-delphes-ak4").unmatched
    assert not IQNFolder("cms-delphes-ak4", acceptance=False).unmatched
    assert IQNFolder("cms-delphes-ak4", acceptance=False, unmatched=True).unmatched
    assert ak.any(IQNFolder("cms-delphes-ak4")(nano_events.GenJet, nano_events).genJetIdx < 0)


def test_arrays_of_dask_awkward_are_refused_in_one_line(folder, nano_events):
    lazy = type("Array", (), {"__module__": "dask_awkward.lib.core"})()  # only the module is checked
    with pytest.raises(TypeError, match=r'got one of dask-awkward: open the events with mode="virtual"$'):
        folder(lazy, nano_events)
    traced = ak.to_backend(nano_events[["GenJet", "run", "luminosityBlock", "event"]], "typetracer")
    with pytest.raises(TypeError, match=r'got a typetracer of dask-awkward: open the events with mode="virtual"$'):
        folder(traced.GenJet, traced)
    with pytest.raises(TypeError, match=r"^run: expected an awkward array, got a typetracer of dask-awkward"):
        event_uniforms(traced, stream="trigger")
