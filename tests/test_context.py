from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from coffea_iqn.context import event as event_columns
from coffea_iqn.context import flavour, neighbours
from coffea_iqn.data import sample_path
from coffea_iqn.events.collections import flatten_jets, gen_events, levels_of, prompt_particles
from coffea_iqn.events.constituents import RECO, constituents_of, of_collection
from coffea_iqn.events.names import Names
from coffea_iqn.files.inputs import inspect
from coffea_iqn.folder import ConstituentFolder
from coffea_iqn.jets import context, prompt
from coffea_iqn.jets.constituents import Constituents, composition, subjettiness
from coffea_iqn.jets.prompt import PromptParticles
from coffea_iqn.jets.table import interleaved
from conftest import context_of, open_events


def known(name, columns):
    """Return the columns of a level, which is known for all jets."""
    columns = columns[:, context.columns_of(name)]
    assert columns[:, -1].all()
    return columns[:, :-1]


def make_jets(counts, seed=0):
    """Make events with the given numbers of jets, all of different pt."""
    rng = np.random.default_rng(seed)
    n = sum(counts)
    return np.stack([rng.uniform(10, 100, n), rng.normal(0, 1, n), rng.uniform(-3.1, 3.1, n), np.ones(n)], axis=1)


def neighbours_slowly(events):
    """Compute the columns with loops over jets and pairs."""
    out = []
    for jets in events:
        for i, (pt, eta, phi, _) in enumerate(jets):
            nearest, ratio, activity = context.FAR, 0.0, 0.0
            for j, (pt2, eta2, phi2, _) in enumerate(jets):
                d_phi = (phi - phi2) - 2 * np.pi * np.round((phi - phi2) / (2 * np.pi))
                distance = np.hypot(eta - eta2, d_phi)
                if j != i and distance < nearest:
                    nearest, ratio = distance, np.clip(np.log(pt2 / pt), -3, 3)
                if j != i and distance < context.NEIGHBOURHOOD:
                    activity += pt2
            out.append((nearest / context.FAR, ratio * (1 - nearest / context.FAR), np.log1p(activity / pt)))
    return np.array(out).reshape(-1, 3)


def test_neighbours_equal_slow_reference():
    counts = np.array([0, 1, 2, 5, 0, 3])
    jets = make_jets(counts)
    expected = neighbours_slowly(np.split(jets, np.cumsum(counts)[:-1]))
    np.testing.assert_allclose(neighbours(jets, counts), expected, rtol=1e-5, atol=1e-6)


def test_unknown_levels_are_zero_and_known_ones_say_so():
    columns = context.encode(3, {"flavour": flavour(np.array([21, -4, 0]))})
    assert columns.shape == (3, context.N_COLUMNS)
    assert columns[:, context.columns_of("flavour")].argmax(axis=1).tolist() == [0, 3, 5]
    assert columns[:, context.columns_of("flavour")].sum(axis=1).tolist() == [2, 2, 1]
    assert not columns[:, context.columns_of("composition")].any()
    assert context.known_levels(columns) == ("flavour",)
    assert [c.shape for c in context.select(columns, ["substructure", "flavour"])] == [(3, 4), (3, 6)]
    assert context.select(columns, list(context.WIDTHS))[0] is columns


def test_rows_of_nan_are_unknown():
    columns = context.encode(2, {"flavour": np.where([[True], [False]], flavour(np.array([21, 21])), np.nan)})
    assert columns[:, context.columns_of("flavour")].tolist() == [[1, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]]


def invariant_mass(jets):
    """Return px, py, pz, E of all jets, (n, 4)."""
    pt, eta, phi, mass = np.asarray(jets, dtype=float).T
    p = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])
    energy = np.sqrt((p**2).sum(axis=0) + mass**2).sum()
    return np.sqrt(energy**2 - (p.sum(axis=1) ** 2).sum())


def test_event_equals_slow_reference():
    counts = np.array([0, 1, 2, 5, 0, 3])
    jets = make_jets(counts, seed=1)
    columns = event_columns(jets, counts)
    row = 0
    for event in np.split(jets, np.cumsum(counts)[:-1]):
        for jet in event:
            others = sorted((other for other in event if other is not jet), key=lambda other: -other[0])
            others = [other for other in others if not np.array_equal(other, jet)]
            got = columns[row]
            row += 1
            ht = event[:, 0].sum()
            assert got[:2] == pytest.approx([np.log(ht) - 4, np.log(ht / jet[0])], abs=1e-5)
            assert np.expm1(got[2]) == pytest.approx((event[:, 0] > context.COUNTED).sum(), abs=1e-4)
            assert got[4] == pytest.approx((event[:, 0] > jet[0]).sum() / 5, abs=1e-6)
            assert got[17:].tolist() == [len(others) > 0, len(others) > 1]
            for k, other in enumerate(others[:2]):
                mass = np.sqrt(invariant_mass([jet, other]) ** 2 + 1)
                d_phi = np.abs(np.angle(np.exp(1j * (jet[2] - other[2]))))
                angles = [d_phi / np.pi, abs(jet[1] - other[1]) / 3]
                momenta = [np.log(other[0] / jet[0]), np.log(1.5 / other[0]) + 2]
                expected = [np.log(mass) - 4, *angles, *momenta]
                assert got[6 + 5 * k : 11 + 5 * k] == pytest.approx(expected, abs=1e-5)
            if len(others) > 1:
                assert got[16] == pytest.approx(np.log(np.sqrt(invariant_mass(others[:2]) ** 2 + 1)) - 4, abs=1e-5)
            assert not got[6 + 5 * len(others) : 16].any()


def test_flavours_of_the_other_jets():
    code, pt = np.array([21, -5, 5, 3, 0, 4]), np.array([20, 40, 30, 10, 15, 12])
    jets = np.array([1, 0, 0, 1]) + pt[:, None] * np.array([1, 0, 0, 0])
    columns = known("flavours", context.conditioning_variables(jets, np.array([4, 0, 2]), parton=code))
    expected = [[0, 1, 0, 2], [1, 1, 0, 1], [1, 1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(np.expm1(columns[:, :4]), expected, atol=1e-6)
    hardest, next_one = (columns[:, 4 * k : 4 * k + 4] for k in (1, 2))
    assert [row.nonzero()[0].tolist() for row in hardest] == [[3], [3], [3], [3], [2], []]
    assert [row.nonzero()[0].tolist() for row in next_one] == [[3], [0], [0], [3], [], []]


def test_missing_momentum_is_seen_from_the_jet():
    jets = np.array([[20.0, 0, 0.5, 1], [40.0, 0, 0.5 - np.pi, 1]])
    missing = np.array([[10.0, 0.5], [99.0, 0.0]])
    columns = known("missing", context.conditioning_variables(jets, np.array([2, 0]), missing=missing))
    np.testing.assert_allclose(columns, [[np.log(2), np.log(1.5), 1], [np.log(2), np.log(1.25), -1]], rtol=1e-6)


def test_composition():
    given = np.array([[0, 4, 0.0], [9, 0, 1.0], [3, 3, 0.5]])
    fraction = given[:, 2]
    expected = [
        *(np.log1p(given[:, :2]) - 2).T,
        fraction - 0.5,
        np.log(fraction + 0.01) / 2 + 0.5,
        np.log(1.01 - fraction) / 2 + 0.5,
    ]
    columns = known("composition", context.conditioning_variables(make_jets([3]), np.array([3]), composition=given))
    np.testing.assert_allclose(columns, np.stack(expected, axis=1), rtol=1e-5, atol=1e-6)


def test_substructure_of_jets_with_too_few_particles_is_finite():
    n_subjettiness = np.array([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [0.2, 0.1, 0.05]])
    columns = known(
        "substructure", context.conditioning_variables(make_jets([3]), np.array([3]), n_subjettiness=n_subjettiness)
    )
    np.testing.assert_allclose(columns[:, 1:], [[0, 0], [0, 0], [0.5, 0.5]])
    np.testing.assert_allclose(columns[:, 0], np.log([2.0**-14, 0.1, 0.2]) / 2 + 1, rtol=1e-6)


def prompt_slowly(jets, particles):
    """Compute the columns of one event with loops over jets and particles."""
    out = []
    for pt, eta, phi, _ in jets:
        fraction, n_inside, nearest = np.zeros(3), 0, (prompt.FAR, None)
        for pt2, eta2, phi2, kind in particles:
            distance = np.hypot(eta - eta2, np.angle(np.exp(1j * (phi - phi2))))
            if distance < prompt.CONE:
                fraction[int(kind)] += pt2 / pt
                n_inside += 1
            if distance < nearest[0]:
                nearest = distance, (pt2, int(kind))
        left = np.log(np.clip(1 - fraction.sum(), 0, 1) + prompt.NEARLY_ALL) / 2 + 0.5
        near, flags = 0.0, np.zeros(3)
        if nearest[1] is not None:
            near = np.clip(np.log(nearest[1][0] / pt), -3, 3) * (1 - nearest[0])
            flags[nearest[1][1]] = 1
        out.append([*fraction.clip(max=1.5), left, np.log1p(n_inside), nearest[0], near, *flags])
    return out


def some_prompt(counts, seed=0):
    rng = np.random.default_rng(seed)
    n = sum(counts)
    values = np.stack([rng.uniform(5, 60, n), rng.normal(0, 1, n), rng.uniform(-3.1, 3.1, n)], axis=1)
    return PromptParticles(values.astype(np.float32), rng.integers(0, 3, n), np.array(counts), np.zeros(n, dtype=int))


def test_prompt_particles_equal_slow_reference():
    counts, n_prompt = np.array([0, 9, 2, 5, 0, 3]), [1, 20, 0, 6, 0, 2]
    jets, particles = make_jets(counts).astype(np.float32), some_prompt(n_prompt)
    columns = known("prompt", context.conditioning_variables(jets, counts, prompt=particles))
    of_events = np.split(np.c_[particles.values, particles.kind], np.cumsum(n_prompt)[:-1])
    pairs = zip(np.split(jets, np.cumsum(counts)[:-1]), of_events, strict=True)
    expected = [row for jets_of_event, there in pairs for row in prompt_slowly(jets_of_event, there)]
    np.testing.assert_allclose(columns, expected, rtol=2e-5, atol=2e-6)
    assert len(set(columns[:, 4].tolist())) > 2


def test_of_a_record_particles_without_a_hadron_above_are_prompt():
    # 0 and 1 are protons of the beams, 2 is a top of 0, 3 a W and 4 a B meson of it, 5 and 6 a muon and a tau of W,
    # 7 an electron of the tau, 8 an electron and 9 a D meson of B, 10 a quark of 1, 11 a photon of it, 12 a muon of D
    code = np.array([2212, 2212, 6, 24, 511, -13, 15, 11, 11, 411, 2, 22, 13])
    mother = np.array([-1, -1, 0, 2, 2, 3, 3, 6, 4, 4, 1, 10, 9])
    wanted = np.isin(abs(code), (11, 13, 22))
    both, twice = np.tile(code, 2), np.tile(mother, 2)  # indices restart in each event
    found = prompt.without_hadrons(np.tile(wanted, 2), both, twice, np.array([13, 13]))
    assert np.flatnonzero(found).tolist() == [5, 7, 11, 18, 20, 24]
    # a proton after the proton of a beam, as some records have, is no hadron that decays, but a proton of a Lambda is
    copies, above = np.array([2212, 2212, 23, -13, 5122, 2212, 11]), np.array([-1, 0, 1, 2, 1, 4, 5])
    of_copies = prompt.without_hadrons(np.isin(abs(copies), (11, 13)), copies, above, np.array([7]))
    assert np.flatnonzero(of_copies).tolist() == [3]
    loop = prompt.without_hadrons(np.array([True, False]), np.array([11, 15]), np.array([1, 0]), np.array([2]))
    assert loop.tolist() == [True, False]


def test_prompt_particles_come_from_whatever_tells_them():
    events = open_events("wzjets_ak4_full.root", entry_stop=500)
    leptons, photons = events.GenDressedLepton, events.GenIsolatedPhoton
    told = prompt_particles(events)
    assert told.counts.tolist() == (ak.num(leptons) + ak.num(photons)).tolist()
    assert np.bincount(told.kind).tolist() == [ak.sum(abs(leptons.pdgId) == c) for c in (11, 13)] + [
        ak.sum(ak.num(photons))
    ]
    columns = {name: ak.concatenate([leptons[name], photons[name]], axis=1) for name in ("pt", "eta", "phi", "mass")}
    code = ak.concatenate([leptons.pdgId, 22 * ak.ones_like(photons.pt, dtype=int)], axis=1)
    soft = {"status": ak.ones_like(code), "statusFlags": ak.zeros_like(code)}
    of_b = ak.zip({**columns, "pdgId": code, **soft})  # as many particles without a prompt flag
    flags = 1 + 8 * (code % 2)
    gen_part = ak.concatenate([ak.zip({**columns, "pdgId": code, **soft, "statusFlags": flags}), of_b], axis=1)
    particle = ak.zip(
        {
            **{name: columns[field] for name, field in (("PT", "pt"), ("Eta", "eta"), ("Phi", "phi"))},
            "PID": code,
            "Status": ak.ones_like(code),
            "M1": -ak.ones_like(code),
        }
    )
    for name, record in (("GenPart", gen_part), ("Particle", particle)):
        again = prompt_particles(ak.zip({name: record}, depth_limit=1))
        assert all(np.array_equal(one, other) for one, other in zip(told, again, strict=True))
    assert prompt_particles(ak.zip({"GenDressedLepton": leptons, "GenPart": leptons}, depth_limit=1)) is None


def test_of_real_events_leptons_are_in_jets_of_theirs():
    events = open_events("wzjets_ak4_full.root")
    columns = known("prompt", context_of(events.GenJet, events))
    of_one = columns[:, :3].sum(axis=1) > 0.8
    charged = np.asarray(ak.flatten(events.GenJet.chEF))[of_one & (columns[:, :2].sum(axis=1) > 0.8)]
    assert of_one.sum() > 100
    assert charged.min() > 0.7


def test_numbers_that_are_not_finite_leave_a_level_unknown():
    nan = np.nan
    columns = context.conditioning_variables(
        make_jets([2, 1]),
        np.array([2, 1]),
        composition=np.array([[1, nan, 0.5], [-2, 1, 0.5], [1, 1, 0.5]]),
        n_subjettiness=np.array([[0.2, nan, 0.1], [0.2, 0.1, nan], [nan, 0.1, 0.1]]),
        missing=np.array([[20.0, 0.0], [20.0, nan]]),
    )
    flags = {name: columns[:, context.columns_of(name).stop - 1].tolist() for name in context.WIDTHS}
    assert flags["composition"] == [0, 0, 1]
    assert flags["substructure"] == [0, 0, 0]
    assert flags["missing"] == [1, 1, 0]
    assert np.isfinite(columns).all()
    assert not columns[0, context.columns_of("composition")].any()


def test_of_equals_the_one_that_comes_first_counts():
    jets = np.array([[20.0, 0.0, 0, 1], [30.0, 0.5, 0, 1], [30.0, -0.5, 0, 2], [10.0, 2.0, 0, 1]])
    counts = np.array([4])
    event = event_columns(jets, counts)
    np.testing.assert_allclose(event[:, 4], [0.4, 0.0, 0.2, 0.6], rtol=1e-6)  # ranks by pt
    np.testing.assert_allclose(np.exp(event[0, [10, 15]] - 2) * 30 - 0.5, [1, 2], rtol=1e-5)  # masses of two jets
    nearest = neighbours(jets, counts)[0]  # at 0.5 on both sides; the first has the pt of the second
    np.testing.assert_allclose(nearest, [0.5 / 3, np.log(1.5) * (1 - 0.5 / 3), np.log(4)], rtol=1e-6)


def everything(counts, seed=0):
    """Make events with the given numbers of jets, and all optional inputs of the context."""
    rng = np.random.default_rng(seed)
    n = sum(counts)
    given = {
        "parton": rng.choice([21, 1, -2, 3, 4, -5, 0], n),
        "composition": np.stack([rng.integers(0, 40, n), rng.integers(0, 40, n), rng.uniform(size=n)], axis=1),
        "n_subjettiness": rng.uniform(0, 0.3, (n, 3)),
    }
    return make_jets(counts, seed), given, np.stack([rng.exponential(20, len(counts)), rng.normal(size=len(counts))], 1)


def test_an_event_does_not_depend_on_others():
    counts = np.array([3, 0, 1, 7, 2, 0, 12, 1, 4])
    jets, given, missing = everything(counts)
    particles = some_prompt([0, 2, 1, 3, 0, 0, 4, 1, 2])
    together = context.conditioning_variables(jets, counts, **given, missing=missing, prompt=particles)
    stop = np.cumsum(counts)
    for k in range(len(counts)):
        rows = slice(stop[k] - counts[k], stop[k])
        own = {name: values[rows] for name, values in given.items()}
        of_event = {"missing": missing[k : k + 1], "prompt": particles.of_events(slice(k, k + 1))}
        alone = context.conditioning_variables(jets[rows], counts[k : k + 1], **own, **of_event)
        assert alone.tobytes() == together[rows].tobytes()


def test_levels_of_the_event_are_left_out_where_substructure_makes_them_moot():
    events = open_events("ttbar_ak4_full.root", entry_stop=200)
    flat = flatten_jets(events.GenJet)
    known = gen_events(events.GenJet, events, flat, flat.valid())
    event = flat.event
    for k, value in enumerate((np.nan, np.inf)):
        known.n_subjettiness[np.flatnonzero(event == 7 + k)[-1], k] = value
    known.n_subjettiness[event == 20] = 0.0  # of no jet of the event
    told = known.not_moot
    assert np.flatnonzero(told).tolist() == [7, 8, 20]
    whole, some = known.context(), known.context(told=told)
    of_event = np.zeros(context.N_COLUMNS, dtype=bool)
    for level in context.OF_EVENT:
        of_event[context.columns_of(level)] = True
    told_jets = told[event]
    np.testing.assert_array_equal(some[told_jets], whole[told_jets])
    np.testing.assert_array_equal(some[:, ~of_event], whole[:, ~of_event])
    assert whole[~told_jets][:, of_event].any()
    assert not some[~told_jets][:, of_event].any()
    # substructure is known for every jet of the other events
    assert whole[~told_jets, context.columns_of(context.MOOT).stop - 1].all()


def test_shapes_must_agree():
    jets, given, missing = everything([2, 1])
    with pytest.raises(ValueError, match="counts: expected 3 jets in all, got 4"):
        context.conditioning_variables(jets, np.array([2, 2]))
    with pytest.raises(ValueError, match="counts of prompt particles: expected shape"):
        context.conditioning_variables(jets, np.array([2, 1]), prompt=some_prompt([1, 1, 1]))
    with pytest.raises(ValueError, match="prompt particles: expected 2 in all, got 3"):
        context.conditioning_variables(jets, np.array([2, 1]), prompt=some_prompt([1, 1])._replace(counts=[2, 1]))
    for name, values in {**given, "missing": missing}.items():
        with pytest.raises(ValueError, match=rf"{name}: expected shape \(\d, ?\d?\), got"):
            context.conditioning_variables(jets, np.array([2, 1]), **{name: values[1:]})


def test_one_compilation_serves_whatever_arrays():
    jets, given, missing = everything([2, 1])
    context.conditioning_variables(jets, np.array([2, 1]))
    n = len(context.write.signatures)
    read_only = jets.astype(np.float32)
    read_only.flags.writeable = False
    small = given["parton"].astype(np.int8)
    context.conditioning_variables(
        read_only,
        [2, 1],
        parton=small,
        n_subjettiness=given["n_subjettiness"][:, ::-1],
        missing=np.asfortranarray(missing),
    )
    context.conditioning_variables(
        jets[:1], np.array([1], dtype=np.int32), composition=given["composition"][:1].astype(np.float32)
    )
    context.conditioning_variables(jets[:0], np.zeros(0, dtype=int), parton=small[:0], missing=missing[:0])
    assert len(context.write.signatures) == n


@pytest.mark.parametrize(
    ("name", "collection", "known"),
    [
        ("qcd_ak4.root", "GenJet", ("flavour", "neighbours", "composition", "event", "flavours", "missing")),
        ("wzjets_ak4_full.root", "GenJet", tuple(context.WIDTHS)),
        ("delphes_1000.root", "GenJet", ("flavour", "neighbours", "composition", "event", "flavours", "missing")),
    ],
)
def test_what_files_know(name, collection, known):
    events = open_events(name, entry_stop=50)
    assert context.known_levels(context_of(events[collection], events)) == known
    assert inspect(str(sample_path(name)), collections=[collection]).context == known


def n_subjettiness(jets):
    return {f"tau{k}": 0.1 / k * ak.ones_like(jets.pt) for k in (1, 2, 3)}


def test_substructure_is_taken_where_the_jets_have_it():
    events = open_events("qcd_ak4.root", entry_stop=50)
    jets = events.GenJet
    for name, column in n_subjettiness(jets).items():
        jets = ak.with_field(jets, column, name)
    context_of_jets = context_of(jets, events)
    assert "substructure" in context.known_levels(context_of_jets)
    # Delphes stores five numbers per jet in one branch
    array = ak.concatenate([column[..., np.newaxis] for column in n_subjettiness(jets).values()], axis=2)
    as_delphes = ak.with_field(events.GenJet, array, "Tau_5")
    np.testing.assert_array_equal(context_of(as_delphes, events), context_of_jets)


def test_an_event_in_which_no_jet_has_a_flavour_has_none_known():
    events = open_events("qcd_ak4.root", entry_stop=50)
    zeros = ak.with_field(events.GenJet, ak.zeros_like(events.GenJet.partonFlavour), "partonFlavour")
    assert "flavour" not in context.known_levels(context_of(zeros, events))


def test_names_may_be_given():
    events = open_events("qcd_ak4.root", entry_stop=50)
    renamed = ak.with_field(
        ak.without_field(events.GenJet, "partonFlavour"), events.GenJet.partonFlavour, "hadronFlavour"
    )
    assert "flavour" not in context.known_levels(context_of(renamed, events))
    given = context_of(renamed, events, Names.of({"flavour": "hadronFlavour"}))
    np.testing.assert_array_equal(given, context_of(events.GenJet, events))
    with pytest.raises(ValueError, match=r"expected one of flavour, n_charged, .*, got 'colour'"):
        Names.of({"colour": "x"})


def test_jets_of_a_table_keep_the_place_they_had():
    jets = flatten_jets(open_events("qcd_ak4.root", entry_stop=50).GenJet)
    assert jets.where(jets.valid()) is jets
    cut, rest = jets.where(jets.values[:, 0] > 20.0), jets.where(jets.values[:, 0] > 30.0)
    assert 0 < len(rest.values) < len(cut.values) < len(jets.values)
    np.testing.assert_array_equal(cut.counts, np.bincount(jets.event[jets.values[:, 0] > 20.0], minlength=50))
    first = (np.cumsum(jets.counts) - jets.counts)[cut.event]
    np.testing.assert_array_equal(cut.values, jets.values[first + cut.place])
    both = interleaved([cut, rest])
    assert len(both.values) == len(cut.values) + len(rest.values)
    np.testing.assert_array_equal(both.counts, np.stack([cut.counts, rest.counts], axis=1).ravel())
    np.testing.assert_array_equal(both.where(both.event % 2 == 1).values, rest.values)


def test_particles_in_jets_tell_composition_and_substructure():
    events = open_events("wwhad_ak5_particles.root")
    jets = events.GenJet
    told = gen_events(jets, events, flatten_jets(jets), flatten_jets(jets).valid(), radius=0.5)
    without = ak.without_field(jets, "nCharged")
    flat = flatten_jets(without)
    made = gen_events(without, events, flat, flat.valid(), radius=0.5)
    np.testing.assert_array_equal(made.composition[:, :2], told.composition[:, :2])
    # the fraction in the file includes masses in the energy, and is rounded to 1/1024
    np.testing.assert_allclose(made.composition[:, 2], told.composition[:, 2], atol=0.01)
    assert (made.n_subjettiness[:, 0] > made.n_subjettiness[:, 1]).all()
    assert made.levels == ("flavour", "neighbours", "composition", "substructure", "event", "flavours")
    assert inspect(str(sample_path("wwhad_ak5_particles.root")), collections=["GenJet"]).context == made.levels
    # a collection after cuts keeps its particles; one of another name has none
    cut = without[jets.pt > 150.0]
    cut["genJetIdx"] = ak.local_index(jets.pt)[jets.pt > 150.0]
    flat_cut = flatten_jets(cut)
    of_cut = gen_events(cut, events, flat_cut, flat_cut.valid(), radius=0.5)
    kept = flat.values[:, 0] > 150.0
    assert 0 < kept.sum() < len(kept)
    np.testing.assert_array_equal(of_cut.n_subjettiness, made.n_subjettiness[kept])
    np.testing.assert_array_equal(of_cut.composition, made.composition[kept])
    others = ak.with_parameter(without, "collection_name", "GenJetAK8")
    assert gen_events(others, events, flat, flat.valid(), radius=0.5).n_subjettiness is None


def test_particles_may_be_a_collection_of_their_own():
    events = open_events("wwhad_ak5_particles.root", entry_stop=30)
    inside = events.GenJetCands
    order = ak.argsort(inside.pt)  # any order
    apart = ak.zip({name: inside[name][order] for name in ("pt", "eta", "phi", "pdgId")})
    places = ak.zip({"jetIdx": inside.jetIdx, "pFCandsIdx": ak.argsort(order)})
    both = ak.zip({"GenJetCands": places, "GenCands": apart}, depth_limit=1)
    jets = flatten_jets(events.GenJet)
    one, other = (constituents_of(e, jets, Names()) for e in (events, both))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    nothing = ak.zip({"GenJetCands": places}, depth_limit=1)
    assert constituents_of(nothing, jets, Names()) is None


def referred(jets, seed):
    """Make up the particles that Delphes' jets refer to, and further particles that are in no jet."""
    references = jets.Constituents.refs
    counts, n = ak.num(references, axis=2), ak.sum(ak.num(references, axis=2))
    rng = np.random.default_rng(seed)
    pt, eta, phi = (np.repeat(ak.flatten(jets[name]), ak.flatten(counts)) for name in ("PT", "Eta", "Phi"))
    size = rng.exponential(1.0, n)
    of_jet = np.repeat(np.arange(ak.sum(ak.num(counts))), ak.flatten(counts))
    share = size / np.bincount(of_jet, weights=size)[of_jet]
    columns = {"PT": pt * share, "Eta": eta + rng.normal(0.0, 0.03, n), "Phi": phi + rng.normal(0.0, 0.03, n)}
    columns = {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}
    columns |= {"Mass": rng.uniform(0.0, 1.0, n), "PID": rng.choice([211, -321, 22, 130, -11], n)}
    columns["Charge"] = np.where(np.isin(columns["PID"], (22, 130)), 0, np.sign(columns["PID"]))
    columns["Charge"][columns["PID"] == -11] = 1
    of_jets = {name: ak.unflatten(column, ak.flatten(counts)) for name, column in columns.items()}
    inside = {name: ak.unflatten(column, ak.num(counts)) for name, column in of_jets.items()}
    own = ak.flatten(ak.zip(inside | {"fUniqueID": references + (1 << 24)}, depth_limit=3), axis=2)
    stranger = ak.zip({name: ak.zeros_like(own[name])[:, :1] for name in own.fields})  # in no jet
    values = np.stack([columns[name] for name in ("PT", "Eta", "Phi", "Mass")], axis=1)
    return ak.concatenate([stranger, own[:, ::-1]], axis=1), Constituents(values, columns["PID"], ak.flatten(counts))


@pytest.mark.parametrize("collection", ["GenJet", "GenJetAK4"])
def test_jets_of_delphes_refer_to_their_particles(delphes_events, collection):
    jets = delphes_events[collection]
    particles, expected = referred(jets, 1)
    np.testing.assert_array_equal(expected.counts, ak.flatten(jets.NCharged + jets.NNeutrals))
    events, flat = ak.with_field(delphes_events, particles, "Particle"), flatten_jets(jets)
    found = constituents_of(events, flat, Names(), collection)
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert constituents_of(delphes_events, flat, Names(), collection) is None
    assert constituents_of(events, flat, Names.of({"constituents": "none"}), collection) is None
    # independent of chunks and cuts
    few, hard = slice(30, 50), flat.values[:, 0] > 30.0
    of_few = constituents_of(events[few], flatten_jets(jets[few]), Names(), collection)
    rows = np.flatnonzero((flat.event >= few.start) & (flat.event < few.stop))
    assert all(np.array_equal(a, b) for a, b in zip(of_few, found.rows(rows), strict=True))
    of_hard = constituents_of(events, flat.where(hard), Names(), collection)
    assert all(np.array_equal(a, b) for a, b in zip(of_hard, found.rows(np.flatnonzero(hard)), strict=True))
    # the composition in the file is kept; missing columns are computed
    known = gen_events(jets, events, flat, flat.valid(), radius=0.5)
    np.testing.assert_array_equal(known.composition[:, 0], ak.flatten(jets.NCharged))
    np.testing.assert_array_equal(known.n_subjettiness, subjettiness(found, 0.5))
    assert known.n_subjettiness.any()
    without = ak.without_field(jets, "NCharged")
    made = gen_events(without, events, flat, flat.valid()).composition
    np.testing.assert_array_equal(made, composition(found))
    told = {name: events[name].fields for name in events.fields}
    assert "substructure" in levels_of(jets.fields, told, of_collection(Names(), collection))
    with pytest.raises(ValueError, match=rf"the \d+ particles of {collection}.Constituents in Particle, found"):
        constituents_of(ak.with_field(events, particles[:, :-1], "Particle"), flat, Names(), collection)


@pytest.mark.filterwarnings("ignore::coffea_iqn.folder.ThresholdWarning")  # softer than those of the training
def test_particles_of_delphes_are_folded(delphes_events):
    particles, expected = referred(delphes_events.GenJet, 1)
    events = ak.with_field(delphes_events, particles, "Particle")
    folder = ConstituentFolder("cms-delphes-ak5-particles")
    found, few = folder(events), folder(events[30:50])
    assert found.IQNPFCands[30:50].tolist() == few.IQNPFCands.tolist()
    assert 0.4 < ak.sum(found.IQNPFCands.pt) / expected.values[:, 0].sum() < 1.1
    with pytest.raises(ValueError, match="found none"):
        folder(delphes_events)


def test_reco_jets_of_delphes_refer_to_particle_flow(delphes_events):
    particles, expected = referred(delphes_events.Jet, 2)
    kinds = {"EFlowPhoton": particles.PID == 22, "EFlowNeutralHadron": particles.PID == 130}
    events = ak.with_field(delphes_events, particles[particles.Charge != 0], "EFlowTrack")
    for name, which in kinds.items():  # towers have neither PDG codes nor masses
        events = ak.with_field(events, particles[which][["fUniqueID", "PT", "Eta", "Phi"]], name)
    jets = flatten_jets(delphes_events.Jet)
    found = constituents_of(events, jets, RECO)
    charged = np.isin(expected.code, (211, -321, -11))
    np.testing.assert_array_equal(found.values, expected.values * np.where(charged[:, None], 1, [1, 1, 1, 0]))
    np.testing.assert_array_equal(found.code, np.where(expected.code == -321, -211, expected.code))
    others = flatten_jets(delphes_events.JetAK4)  # some of which have none of these particles
    with pytest.raises(ValueError, match=r"JetAK4.Constituents in EFlowTrack, EFlowPhoton, EFlowNeutralHadron, found"):
        constituents_of(events, others, RECO, "JetAK4")


def test_n_subjettiness_is_that_of_fastjet():
    fastjet = pytest.importorskip("fastjet")
    events = open_events("wwhad_ak5_particles.root")
    jets = flatten_jets(events.GenJet)
    inside = constituents_of(events, jets, Names())
    pt, eta, phi, _ = inside.values.T
    momenta = {"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": pt * np.sinh(eta), "E": pt * np.cosh(eta)}
    particles = ak.zip({n: ak.unflatten(m, inside.counts) for n, m in momenta.items()}, with_name="Momentum4D")
    everything = fastjet.JetDefinition(fastjet.antikt_algorithm, fastjet.JetDefinition.max_allowable_R)
    clustered = fastjet.ClusterSequence(particles, everything)
    tau = clustered.njettiness("NormalizedMeasure", "OnePass_KT_Axes", njets=[1, 2, 3], beta=1.0, R0=0.5)
    expected = ak.to_numpy(tau).reshape(-1, 3)
    difference = np.abs(subjettiness(inside, 0.5) - expected)
    assert np.quantile(difference, 0.98, axis=0).max() < 2e-4
    assert difference.max() < 0.01  # a different local minimum, at times


def test_n_subjettiness_of_few_particles_is_zero():
    across = [10.0, 0.0, 3.1 - 2 * np.pi + 0.2, 0.0]
    values = np.array([[10.0, 0.1, 3.1, 0.0], [10.0, 0.0, 3.1, 0.0], across])
    inside = Constituents(values, np.array([22, 22, 211]), np.array([1, 2, 0]))
    tau = subjettiness(inside, 0.4)
    np.testing.assert_allclose(tau, [[0, 0, 0], [0.25, 0, 0], [0, 0, 0]], atol=1e-4)
    np.testing.assert_allclose(composition(inside), [[0, 1, 0], [1, 1, 0.5], [0, 0, 0]])
