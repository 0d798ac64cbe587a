"""Response matrices: their sums, against draws and Delphes, and in other formats."""

from __future__ import annotations

import json
import pickle

import awkward as ak
import hist
import numpy as np
import pyhf
import pytest
import uproot
import yaml
from coffea.processor import accumulate

from coffea_iqn import IQNFolder, bundle, response
from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.jets.features import ETA, PHI, PT
from coffea_iqn.jets.matching import match_jets
from coffea_iqn.unfolding import parts, response_sums, workspace, write_hepdata, write_root, write_workspace
from coffea_iqn.unfolding.probabilities import Cells
from conftest import context_of, open_events

# warnings from the validators of pyhf and HEPData
pytestmark = pytest.mark.filterwarnings("ignore:jsonschema:DeprecationWarning")
MODEL = "cms-delphes-ak4"
GEN, RECO = [15.0, 20, 26, 34, 45, 70], [15.0, 17, 20, 23, 26, 30, 35, 42, 52, 70]
ABS_ETA, MASS = [0.0, 1.3, 2.5, 3.0, 5.0], [0.0, 3.0, 5.0, 8.0, 14.0]


def pair(pt, name, edges):
    return hist.axis.Variable(pt, name="pt"), hist.axis.Variable(edges, name=name)


@pytest.fixture(scope="module")
def qcd():
    return open_events("qcd_ak4.root")[:2000]


@pytest.fixture(scope="module")
def matrix(qcd):
    return response(MODEL, qcd.GenJet, qcd, GEN, RECO)


def counted(gen, reco, match):
    """Matrix from pairs, with lost gen jets and unmatched reco jets in the underflows."""
    gen_bin, reco_bin = np.digitize(gen.values[:, PT], GEN), np.digitize(reco.values[:, PT], RECO)
    found = np.zeros((len(GEN) + 1, len(RECO) + 1))
    np.add.at(found, (gen_bin, np.where(match >= 0, reco_bin[match], 0)), 1.0)
    np.add.at(found[0], reco_bin[np.setdiff1d(np.arange(len(reco_bin)), match)], 1.0)
    return found


@pytest.fixture(scope="module")
def drawn(qcd):
    """Matrices from draws."""
    folded, found = IQNFolder(MODEL, seed=5, replicas=40).fold_table(qcd.GenJet, qcd), []
    for reco in folded.reco:
        match, there = np.full(len(folded.gen.values), -1), np.flatnonzero(reco.row >= 0)
        match[reco.row[there]] = there
        found.append(counted(folded.gen, reco, match))
    return np.stack(found)


def test_its_sums_are_the_gen_jets_and_the_reco_jets(qcd, matrix, drawn):
    """Rows add up to the gen jets, and columns to the average number of reco jets of folds."""
    assert [axis.name for axis in matrix.axes] == ["gen", "reco"]
    assert matrix.axes[0].label.startswith("Gen jet")
    values, pt = matrix.values(flow=True), ak.to_numpy(ak.flatten(qcd.GenJet.pt))
    np.testing.assert_allclose(values.sum(axis=1)[1:], np.histogram(pt, [*GEN, np.inf])[0], rtol=1e-6)
    reco = drawn.sum(axis=1)[:, 1:]
    expected, error = values.sum(axis=0)[1:], reco.std(axis=0, ddof=1) / np.sqrt(len(drawn))
    # unmatched jets are from ten other draws, and folds redraw jets that are too close to each other
    assert (np.abs(reco.mean(axis=0) - expected) < 3.0 * np.sqrt(2.0) * error + 0.005 * expected).all()


def apart(events):
    """Return the events without overlapping jets, whose draws acceptance does not change."""
    gen = flatten_jets(events.GenJet)
    near = bundle.load(MODEL).overlaps.overlap(gen.values, gen.counts)
    return events[np.bincount(gen.event[near], minlength=len(events)) == 0]


def test_the_lost_and_the_unmatched_are_in_underflows(qcd, matrix):
    some = apart(qcd[:250])
    alone = response(MODEL, some.GenJet, some, GEN, RECO, acceptance=False).values(flow=True)
    lost = matrix.values(flow=True)[1:, 0]
    assert lost[0] > 50.0  # of 15 to 20 GeV
    assert alone.sum() == pytest.approx(ak.sum(ak.num(some.GenJet)), rel=1e-6)
    with_others = response(MODEL, some.GenJet, some, GEN, RECO, replicas=3).values(flow=True)
    n_unmatched = with_others.sum() - alone.sum()
    assert n_unmatched == pytest.approx(IQNFolder(MODEL, replicas=3).fold_table(some.GenJet, some).counts.unmatched / 3)
    efficient = alone[1:].sum(axis=1)
    np.testing.assert_allclose(with_others[1:].sum(axis=1), efficient, rtol=1e-6)  # rows contain no unmatched jets
    assert (with_others[1:, 1:] <= alone[1:, 1:] + 1e-9).all()


def test_overlapping_jets_are_those_of_folds(qcd):
    """What two jets do to each other has no distribution function: they are drawn."""
    events, fields = qcd[:45], {"pt": [60.0, 40.0], "eta": [0.3, 0.3], "phi": [1.0, 1.45], "mass": [8.0, 5.0]}
    gen = ak.zip({name: ak.Array([values] * len(events)) for name, values in fields.items()})
    events = ak.with_field(events, gen, "GenJet")
    options = {"replicas": 8, "seed": 2, "any_radius": True}
    matrix = response(MODEL, gen, events, GEN, RECO, **options).values(flow=True)
    folded, found = IQNFolder(MODEL, **options).fold_table(gen, events), np.zeros(matrix.shape)
    for reco in folded.reco:
        match = np.full(len(folded.gen.values), -1)
        there = np.flatnonzero(reco.row >= 0)
        match[reco.row[there]] = there
        found += counted(folded.gen, reco, match) / 8
    assert found[4:6, 0].sum() > 3.0  # many are lost
    np.testing.assert_allclose(matrix, found, rtol=1e-6, atol=1e-9)


def test_chunks_add_up_to_the_last_bit_whatever_the_weights():
    events = open_events("qcdflat_ak4.root")[:350]
    axes = pair(GEN, "abs_eta", ABS_ETA), pair(RECO, "abs_eta", ABS_ETA)
    whole = response_sums("cms-delphes-ak4-fast", events.GenJet, events, *axes).hist
    parts_of_it = [slice(0, 13), slice(13, 250), slice(250, 250), slice(250, 350)]
    chunks = [response_sums("cms-delphes-ak4-fast", events.GenJet[k], events[k], *axes) for k in reversed(parts_of_it)]
    added = chunks[0] + chunks[1] + (chunks[2] + chunks[3])
    assert np.array_equal(added.hist.view(flow=True), whole.view(flow=True))
    sent = pickle.loads(pickle.dumps(chunks))  # as sent by workers
    assert np.array_equal(accumulate(sent).hist.view(flow=True), whole.view(flow=True))
    weights = np.asarray(events.genWeight, dtype=np.float64)
    assert weights.max() / weights.min() > 1e6
    jets_of = ak.to_numpy(ak.num(events.GenJet))
    assert parts(whole).gen.sum() < np.sum(weights * jets_of)
    assert whole.sum(flow=True).value > np.sum(weights * jets_of) * (1.0 - 1e-6)
    with pytest.raises(ValueError, match="response: expected matrices of equal axes to add, got gen_pt of 5 bins"):
        added + response_sums(MODEL, events.GenJet[:5], events[:5], GEN, RECO)


def test_variances_are_those_of_events(qcd):
    """Two equal jets of one event are correlated: their counts in a bin add before they are squared."""
    events = qcd[ak.num(qcd.GenJet) > 0][:1]
    one = response(MODEL, events.GenJet, events, [10, 1000], [10, 1000], weights=[3.0], unmatched=False)
    assert one.variances(flow=True) == pytest.approx(one.values(flow=True) ** 2)


@pytest.mark.parametrize(("beside", "edges"), [("", []), ("abs_eta", ABS_ETA), ("mass", MASS)])
def test_probabilities_are_those_of_draws(shipped, beside, edges):
    events = open_events("qcd_ak4.root" if shipped != "cms-delphes-ak5" else "qcd_ak5.root")[:120]
    emulator, n = bundle.load(shipped), 4000
    jets = flatten_jets(events.GenJet)
    rows = np.flatnonzero(jets.values[:, PT] > 17.0)[:24]
    gen, context = jets.values[rows], context_of(events.GenJet, events)[rows]
    gen[0, ETA], gen[1, ETA], gen[2, ETA] = 0.01, -1.29, 2.51  # near edges, and near 0
    points = 6 if beside == "mass" else 4
    cells = Cells(emulator.on("cpu"), np.array(RECO), beside, np.array(edges), emulator.variables.raw_pt_min, points)
    expected = cells(gen, context)
    np.testing.assert_allclose(expected.sum(axis=(1, 2)), 1.0, atol=1e-6)
    tau = np.random.default_rng(1).uniform(1e-6, 1.0 - 1e-6, (n * len(gen), 4)).astype(np.float32)
    drawn = emulator.sample(np.repeat(gen, n, axis=0), tau, np.repeat(context, n, axis=0))
    other = {"": np.zeros(len(drawn)), "abs_eta": np.abs(drawn[:, ETA]), "mass": drawn[:, 3]}[beside]
    found = np.zeros_like(expected)
    where = np.digitize(drawn[:, PT], RECO), np.digitize(other, edges) if beside else np.zeros(len(drawn), dtype=int)
    np.add.at(found, (np.repeat(np.arange(len(gen)), n), *where), 1.0 / n)
    error = np.sqrt(expected * (1.0 - expected) / n)
    seen = n * expected > 20.0
    assert seen.sum() > 80
    assert np.abs(found - expected)[~seen].max() < 40.0 / n
    pulls = ((found - expected)[seen] / error[seen]) ** 2
    assert np.mean(pulls) < 1.4


@pytest.mark.parametrize(("beside", "edges", "points"), [("abs_eta", ABS_ETA, 3), ("mass", MASS, 2)])
def test_pairs_of_axes_add_up_to_one_axis_of_pt(qcd, beside, edges, points):
    some = qcd[:150]
    both = response(MODEL, some.GenJet, some, pair(GEN, beside, edges), pair(RECO, beside, edges), points=points)
    assert [axis.name for axis in both.axes] == ["gen_pt", f"gen_{beside}", "reco_pt", f"reco_{beside}"]
    one = response(MODEL, some.GenJet, some, GEN, RECO, points=points)
    np.testing.assert_allclose(both.values(flow=True).sum(axis=(1, 3)), one.values(flow=True), rtol=1e-6, atol=1e-4)


def test_it_is_the_matrix_of_delphes(qcd, matrix, drawn):
    """Counts from Delphes fluctuate about the matrix as those of draws do, given the gen jets."""
    gen, reco = (flatten_jets(jets) for jets in (qcd.GenJet, qcd.Jet))
    directions = [column for jets in (gen, reco) for column in (*jets.values.T[[ETA, PHI]], jets.counts)]
    true, expected = counted(gen, reco, match_jets(*directions, cone=0.25)), matrix.values(flow=True)
    scatter = drawn.var(axis=0, ddof=1)
    seen = scatter > 5.0
    seen[0, 0] = False  # lost jets below the gen bins
    assert seen.sum() > 25
    assert np.mean((true - expected)[seen] ** 2 / scatter[seen]) < 1.8
    assert np.mean((true - 0.8 * expected)[seen] ** 2 / scatter[seen]) > 4.0


@pytest.mark.parametrize(
    ("axes", "match"),
    [
        (([20, 15, 30], RECO), r"gen axis: expected increasing edges, got \[20, 15, 30\]"),
        ((GEN, [15, 15, 30]), "reco axis: expected increasing edges"),
        ((GEN, [15]), "reco axis: expected increasing edges"),
        (("pt", RECO), "gen axis: expected increasing edges, got 'pt'"),
        ((GEN, [15, np.nan]), "reco axis: expected increasing edges"),
        ((GEN, [-5, 15]), "reco axis: expected edges of pt from 0 on, got -5"),
        (
            (GEN, hist.axis.Variable(RECO, name="phi")),
            "reco axis: expected one of pt, or a pair named pt and abs_eta or",
        ),
        ((GEN, hist.axis.StrCategory(["a"])), "reco axis: expected fixed edges and flow bins"),
        ((GEN, hist.axis.Regular(5, 15, 50, overflow=False)), "reco axis: expected fixed edges and flow bins"),
        (((GEN, MASS), RECO), "gen axis: expected one of pt, or a pair named pt and abs_eta or mass, got pt, pt"),
        ((pair(GEN, "abs_eta", ABS_ETA), pair(RECO, "mass", MASS)[1]), "reco axis: expected one of pt"),
    ],
)
def test_axes_of_something_else_are_refused_in_a_line(qcd, axes, match):
    with pytest.raises(ValueError, match=match) as error:
        response(MODEL, qcd.GenJet[:5], qcd[:5], *axes)
    assert "\n" not in str(error.value)


def test_what_else_is_wrong_is_refused_in_a_line(qcd, emulator, emulator_bundle):
    few = qcd[:5]
    with pytest.raises(ValueError, match="points: expected a whole number from 1 to 64, got 0"):
        response(MODEL, few.GenJet, few, GEN, RECO, points=0)
    for weights, got in (
        (np.ones(4), r"4 \* float64"),
        (2.0, "2.0"),
        (np.array(2.0), "array"),
        (few.GenJet.pt, r"5 \* .*float32"),
        ([[1.0, 2.0]] * 5, r"5 \* var"),
    ):
        with pytest.raises(ValueError, match=f"weights: expected one for each of the 5 events, got {got}"):
            response(MODEL, few.GenJet, few, GEN, RECO, weights=weights)
    for axes in ((GEN, pair(RECO, "abs_eta", ABS_ETA)), (pair(GEN, "abs_eta", ABS_ETA), RECO)):
        with pytest.raises(ValueError, match=r"response: expected as many gen as reco axes, got (1 and 2|2 and 1)$"):
            response(MODEL, few.GenJet, few, *axes)
    masked = np.ma.masked_array(np.ones(5), mask=np.arange(5) < 1)
    with pytest.raises(ValueError, match="weights: expected no missing values, got 1"):
        response(MODEL, few.GenJet, few, GEN, RECO, weights=masked)
    with pytest.raises(ValueError, match="gen axis: expected an axis of gen jets, got one named reco"):
        response(MODEL, few.GenJet, few, hist.axis.Variable(RECO, name="reco"), GEN)
    with pytest.raises(ValueError, match="nonsense"):
        response("nonsense", few.GenJet, few, GEN, RECO)
    if not emulator.network.exact:
        with pytest.raises(ValueError, match=r"expected a SplineIQN, got .*, which has no distribution function"):
            response(emulator_bundle, few.GenJet, few, GEN, RECO)


def test_root_has_it_with_its_flow_bins(matrix, tmp_path):
    path = tmp_path / "new" / "response.root"
    write_root(matrix, path)
    with uproot.open(path) as file:
        for of in ("values", "variances"):
            assert np.array_equal(getattr(file["response"], of)(flow=True), getattr(matrix, of)(flow=True))
    with pytest.raises(FileExistsError, match="--force replaces it"):
        write_root(matrix, path)
    write_root(matrix, path, name="other", force=True)
    assert list(uproot.open(path)) == ["other;1"]


def test_pairs_of_axes_are_numbered_in_root(qcd, tmp_path):
    some = qcd[:60]
    both = response(MODEL, some.GenJet, some, *(pair(edges, "abs_eta", ABS_ETA) for edges in (GEN, RECO)), points=1)
    write_root(both, tmp_path / "response.root")
    flat = uproot.open(tmp_path / "response.root")["response"].values(flow=True)
    assert flat.shape == (5 * 4 + 2, 9 * 4 + 2)
    inside = both.values()
    assert flat[1 + 2 * 4 + 1, 1 + 3 * 4 + 1] == inside[2, 1, 3, 1] > 0.0
    assert flat.sum() == pytest.approx(both.sum(flow=True).value - parts_outside_both(both))


def parts_outside_both(matrix):
    of = parts(matrix)
    return matrix.sum(flow=True).value - of.inside.sum() - of.outside.sum() - of.lost.sum()


def test_pyhf_unfolds_with_it(matrix, tmp_path):
    """The fit recovers twice the jets in one gen bin, and none in another."""
    of, strengths = parts(matrix), np.array([1.0, 2.0, 1.0, 0.4, 1.0])
    write_workspace(matrix, tmp_path / "workspace.json", strengths @ of.inside + of.outside)
    made = pyhf.Workspace(json.loads((tmp_path / "workspace.json").read_text()))
    model = made.model()
    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer(tolerance=1e-10))
    np.testing.assert_allclose(pyhf.infer.mle.fit(made.data(model), model), strengths, rtol=1e-3)
    np.testing.assert_allclose(workspace(matrix)["observations"][0]["data"], parts(matrix).inside.sum(0) + of.outside)


def test_a_gen_bin_may_have_far_more_jets_than_the_matrix(matrix):
    """By itself pyhf would stop at a strength of 10."""
    rare, strengths = matrix.copy(), np.array([1.0, 1.0, 1.0, 1.0, 30.0])
    view = rare.view(flow=True)
    view["value"][5] /= 30.0
    of = parts(rare)
    made = pyhf.Workspace(workspace(rare, strengths @ of.inside + of.outside))
    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer(tolerance=1e-10))
    np.testing.assert_allclose(pyhf.infer.mle.fit(made.data(made.model()), made.model()), strengths, rtol=1e-3)


def test_a_matrix_that_is_not_scaled_to_the_data_is_refused(matrix):
    counts = parts(matrix).inside.sum(axis=0) + parts(matrix).outside
    for scale in (0.05, 20.0):
        with pytest.raises(ValueError, match=r"expected a matrix with the normalisation of the data, got .*: scale"):
            workspace(matrix * scale, counts)
    workspace(matrix, 2.0 * counts)


def test_parameters_of_pyhf_come_in_the_order_of_bins(qcd):
    few = qcd[:300]
    of_many = response(MODEL, few.GenJet, few, np.linspace(15, 26, 12), RECO)
    model = pyhf.Workspace(workspace(of_many)).model()
    assert model.config.par_order == [f"mu_{k:02d}" for k in range(11)]
    truth = 1.0 + np.arange(11)
    expected = truth @ parts(of_many).inside + parts(of_many).outside
    np.testing.assert_allclose(model.expected_actualdata(truth), expected)


def test_workspaces_without_answers_are_refused(qcd, matrix, tmp_path):
    few = qcd[:20]
    with pytest.raises(ValueError, match="expected jets of every gen bin in some reco bin, got none of gen bin 2"):
        workspace(response(MODEL, few.GenJet, few, [15, 30, 3000, 4000], [15, 30, 45]))
    for wrong in ([1.0], -np.ones(9), [np.nan] * 9):
        with pytest.raises(ValueError, match="observed: expected a count for each of the 9 reco bins"):
            write_workspace(matrix, tmp_path / "workspace.json", wrong)
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the validator does not close its files
def test_hepdata_has_it_in_tables(matrix, tmp_path):
    write_hepdata(matrix, tmp_path / "record")
    read = {path.stem: yaml.safe_load(path.read_text()) for path in tmp_path.glob("record/[!s]*.yaml")}
    assert set(read) == {"response_matrix", "outside", "gen_jets"}
    of = parts(matrix)
    for name, values in (("response_matrix", of.inside), ("outside", of.outside), ("gen_jets", of.gen)):
        (jets,), axes = read[name]["dependent_variables"], read[name]["independent_variables"]
        written = [one["value"] for one in jets["values"]]
        np.testing.assert_allclose(written, values[values > 0.0], rtol=1e-4)
        assert all(len(axis["values"]) == len(written) for axis in axes)
    gen, reco = read["response_matrix"]["independent_variables"]
    k = [(one["low"], two["low"]) for one, two in zip(gen["values"], reco["values"], strict=True)].index((20.0, 23.0))
    assert read["response_matrix"]["dependent_variables"][0]["values"][k]["value"] == pytest.approx(
        of.inside[1, 3], rel=1e-4
    )
    with pytest.raises(FileExistsError):
        write_hepdata(matrix, tmp_path / "record")
