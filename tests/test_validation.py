from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import hist
import numpy as np
import pytest

from coffea_iqn import bundle, closure, running
from coffea_iqn.closure.regions import Box
from coffea_iqn.commands.validate import _print_verdict
from coffea_iqn.data import BUNDLES, sample_path
from coffea_iqn.events.constituents import PARTICLE_BRANCHES
from coffea_iqn.files.inputs import inspect
from coffea_iqn.jets.shapes import NAMES
from coffea_iqn.processors import PairsProcessor, ShapesProcessor
from coffea_iqn.training.emulators import train
from coffea_iqn.training.recipes import RECIPES
from coffea_iqn.validation import metrics, report
from coffea_iqn.validation.comparison import (
    QUICK,
    Comparison,
    Effort,
    Validation,
    _content,
    compare_particles,
    draw_above,
    draw_paired_samples,
    n_steps,
    validate,
)
from coffea_iqn.validation.distortions import spoil
from coffea_iqn.validation.report import sections
from coffea_iqn.validation.verdict import BY_KEY, CHECKS, judged
from coffea_iqn.variations import SPOILINGS
from conftest import CARD, TINY, make_pairs, open_events, run, undrawn

QUICKER = Effort(**{**QUICK, "ks_repeats": 10, "wasserstein_repeats": 4, "batches": 4, "draws": 9}, folds=3)
OF_OTHERS = {"histograms", "judge_events", "efficiency_of_overlapping", "totals"}
OF_OTHERS |= {"particles", "judge_particles", "columns", "judge_columns", "flags"}
CELLS = closure.Cells((20, 40, 80, 200, 1000, 3500), (0, 1.3, 5))
ABOUT = metrics.About("some-model", {"hash": "abc", "jets": {"radius": 0.4}}, {"qcd": ["a <b>.root"]}, {"qcd": 5000})


def read_pairs(*names, radius=0.4):
    sources = {name: [inspect(str(sample_path(name)), collections=["GenJet", "Jet"])] for name in names}
    with running.open_executor("iterative", status=False) as executor:
        options = {"collections": ["GenJet", "Jet"], "status": False}
        return running.run(PairsProcessor(radius=radius), sources, executor, **options)[0]


@pytest.fixture(scope="module")
def pairs():
    return read_pairs("qcd_ak4.root", "qcdflat_ak4.root")


@pytest.fixture(scope="module")
def shipped_found(pairs):
    box = Box.parse("20<pt<60,abs(eta)<2.5")
    told = []
    options = {"effort": QUICKER, "boxes": [box], "datasets": ["qcd", "qcdflat"]}
    found = validate(bundle.load(BUNDLES[0]), pairs, **options, step=told.append)
    assert {"judge of residuals, null", "qcdflat on its own"} <= set(told)
    assert len(told) == n_steps(bundle.load(BUNDLES[0]), 2)
    return found


def test_the_shipped_bundle_passes_on_the_samples(shipped_found):
    lines, left_out = judged(shipped_found.truth, shipped_found.null)
    assert {line.key for line in lines} == set(BY_KEY) - OF_OTHERS  # which need events, particles or columns
    assert [line.key for line in lines if line.passed is False] == []
    assert sum(line.passed is True for line in lines) > 15
    assert not shipped_found.left_out
    assert not left_out


@pytest.fixture(scope="module")
def many(pairs):
    """Gen jets, their context, and a draw of each by the shipped bundle, used as truth."""
    emulator = bundle.load(BUNDLES[0])
    keep = pairs.matched & (pairs.x[:, 0] > 20.0)
    gen, context = (np.tile(column[keep], (9, 1)) for column in (pairs.x, pairs.context))
    rng = np.random.default_rng(1)
    return emulator, gen, context, draw_above(emulator, gen, context, 20.0, rng), rng


@pytest.mark.parametrize(
    ("how", "caught_by", "jets"),
    [
        ("pt-smeared", "pt_resolution", 160_000),
        ("mass-shifted", "mass_scale", 80_000),
        ("tails-cut", "tails", 40_000),
        ("independent", "correlations", 20_000),
    ],
)
def test_each_spoiling_is_caught_by_the_figure_meant_for_it(many, how, caught_by, jets):
    emulator, gen, context, truth, rng = many
    gen, context, truth = gen[:jets], context[:jets], truth[:jets]
    outcomes = []
    for model in (emulator, spoil(emulator, how)):
        drawn = draw_above(model, gen, context, 20.0, rng)
        responses, residuals = (
            [of(gen, side) for side in (drawn, truth)] for of in (closure.responses, closure.residuals)
        )
        comparison = Comparison(
            response=closure.response_in_cells(*responses, gen),
            tails=closure.tails(*residuals, gen),
            correlations=closure.correlations(*residuals),
        )
        check = BY_KEY[caught_by]
        outcomes.append(check.passes(check.measure(comparison)))
    assert outcomes == [True, False]


@pytest.mark.parametrize(("rate", "passes"), [(0.2, True), (0.23, False)])
def test_a_wrong_rate_of_tags_is_caught(rate, passes):
    rng = np.random.default_rng(0)
    sides = ((rng.uniform(size=50_000) < often).astype(float) for often in (rate, 0.2))
    comparison = Comparison(columns={"btag": closure.marginal_of_column(*sides, whole=True)})
    check = BY_KEY["columns"]
    assert check.passes(check.measure(comparison)) is passes


@pytest.mark.parametrize(("moved", "passes"), [(0.0, True), (0.1, False)])
def test_tags_of_the_wrong_jets_are_caught_although_their_rate_is_right(moved, passes):
    """A tenth of the tags of b jets, given to light jets and gluons, hardly changes what a judge sees."""
    rng = np.random.default_rng(0)
    group = rng.choice(5, 50_000, p=[0.25, 0.3, 0.05, 0.15, 0.25])  # gluon, light, s, c, b, as in ttbar
    is_b = group == 4
    often = np.choose(group, [0.01, 0.01, 0.01, 0.2, 0.7])
    wrong = np.where(is_b, (1.0 - moved) * often, often + moved * often[is_b].sum() / (~is_b).sum())
    tagged = rng.uniform(size=len(group)) < often
    check = BY_KEY["flags"]
    flags = {"btag": closure.efficiency_of_groups(wrong, tagged, group)}
    assert check.passes(check.measure(Comparison(flags=flags))) is passes


def test_cut_tails_leave_scale_and_resolution_as_they_are(many):
    emulator, gen, context, truth, rng = many
    gen, truth = gen[:40_000], truth[:40_000]
    drawn = draw_above(spoil(emulator, "tails-cut"), gen, context[:40_000], 20.0, rng)
    cells = closure.response_in_cells(closure.responses(gen, drawn), closure.responses(gen, truth), gen)
    for key in ("pt_scale", "mass_scale", "angles", "angular_resolution"):
        assert BY_KEY[key].passes(BY_KEY[key].measure(Comparison(response=cells))) is not False
    counts = closure.tails(closure.residuals(gen, drawn), closure.residuals(gen, truth), gen).counts
    cut, whole = counts[:, [0, 1, 3]][..., 2]  # all variables but phi, beyond 8 widths
    enough = whole > 20
    assert enough.sum() >= 3
    assert (cut[enough] < 0.2 * whole[enough]).all()


def test_two_draws_of_a_spoilt_emulator_are_of_one_law(pairs):
    effort = replace(QUICKER, draws=1)
    copies = draw_paired_samples(spoil(bundle.load(BUNDLES[0]), "independent", seed=effort.seed), pairs, effort)
    found = closure.correlations(*(closure.residuals(copies.gen, jets) for jets in (copies.emulated, copies.second)))
    assert found.worst.value < 4 * found.worst.uncertainty


def test_spoilt_emulators_have_no_cdf_and_unknown_ones_are_refused(many):
    emulator, gen, context, truth, _ = many
    with pytest.raises(ValueError, match=f"expected one of {', '.join(SPOILINGS)}, got 'nothing'"):
        spoil(emulator, "nothing")
    for density in ("cdf", "log_density"):
        with pytest.raises(NotImplementedError, match="spoilt: tails-cut"):
            getattr(spoil(emulator, "tails-cut"), density)(gen, truth, context)


def test_levels_of_a_network_without_cdf_are_from_draws():
    """Levels are uniform for real jets drawn by the emulator itself, and not for others."""
    pairs = make_pairs(4000)
    emulator = train(pairs, replace(RECIPES["paper-iqnx4"], **TINY))
    emulator.card.update(CARD)
    rng = np.random.default_rng(3)
    own = draw_above(emulator, pairs.x, pairs.context, 0.0, rng)
    of_its_own = pairs._replace(y=np.where(pairs.matched[:, None], own, np.nan).astype(np.float32))
    effort = replace(QUICKER, gen_pt_min=10.0, raw_pt_min=0.0)
    own_copies, copies = (draw_paired_samples(emulator, sample, effort) for sample in (of_its_own, pairs))
    assert not copies.exact
    for levels in (own_copies.real_levels, own_copies.second_levels, copies.second_levels):
        assert max(closure.uniformity(levels, bins=20)) < 3.0
    assert max(closure.uniformity(copies.real_levels, bins=20)) > 5.0


def test_draws_of_a_network_without_threshold_lie_above_it():
    pairs = make_pairs(500)
    emulator = train(pairs, replace(RECIPES["paper-iqnx4"], **TINY))
    hard = pairs.x[:, 0] > 20.0
    drawn = draw_above(emulator, pairs.x[hard], pairs.context[hard], 15.0, np.random.default_rng(0))
    assert (drawn[:, 0] > 15.0).all()


def test_jets_and_levels_of_a_bundle_without_threshold_lie_above_the_same_one(pairs):
    emulator = train(pairs, replace(RECIPES["default"], **TINY))
    assert emulator.variables.raw_pt_min == 0.0
    copies = draw_paired_samples(emulator, pairs, QUICKER)
    assert copies.exact
    assert min(jets[:, 0].min() for jets in (copies.emulated, copies.second, copies.median)) > 20.0 - 1e-4
    assert max(closure.uniformity(copies.second_levels, bins=20)) < 3.0


def test_no_figure_fails_where_its_null_fails(shipped_found, capsys):
    skewed = shipped_found.truth.levels**2
    null = replace(shipped_found.null, levels=skewed)
    by_null = {}
    for name, of in (("as it is", shipped_found.null), ("skewed", null)):
        lines, _ = judged(replace(shipped_found.truth, levels=skewed), of)
        by_null[name] = next(line for line in lines if line.key == "levels")
    assert (by_null["as it is"].passed, by_null["as it is"].measurable) == (False, True)
    assert (by_null["skewed"].passed, by_null["skewed"].measurable) == (None, False)
    content = metrics.metrics(replace(shipped_found, null=null), ABOUT)
    lines = [metrics.line_of(content, "levels")]
    lines += [line for of in content["datasets"].values() for line in of if line["key"] == "levels"]
    assert [(line["passed"], line["measurable"]) for line in lines] == [(None, False)] * 3
    shown = report.render(content, [])
    assert shown.count('<strong class="not-measurable">not measurable') == 3
    _print_verdict(content, [])
    assert "not measurable:" in " ".join(capsys.readouterr().out.split())


def test_of_many_perfect_histograms_rarely_one_fails_and_a_wrong_one_does():
    check, generator, ndfs = BY_KEY["histograms"], np.random.default_rng(4), [1, 2, 3, 10, 40] * 30

    def outcome(factor):
        found = {str(k): closure.Agreement(generator.chisquare(ndf), ndf) for k, ndf in enumerate(ndfs)}
        found["4"] = closure.Agreement(40.0 * factor, 40)
        return check.passes(check.measure(Comparison(spectra={"qcd": found})))

    assert sum(outcome(1.0) is not True for _ in range(300)) <= 6
    assert outcome(3.5) is False


def test_of_many_perfect_totals_rarely_one_fails_and_a_wrong_one_does():
    check, generator = BY_KEY["totals"], np.random.default_rng(5)

    def outcome(off=0.0, uncertainty=0.02):
        values = np.abs([off, *generator.normal(0.0, uncertainty, 20)])
        totals = {str(k): closure.Estimate(value, uncertainty) for k, value in enumerate(values)}
        return check.passes(check.measure(Comparison(totals=totals)))

    assert sum(outcome() is False for _ in range(300)) <= 6
    assert outcome(0.1) is False
    assert outcome(uncertainty=0.005) is True
    assert check.measure(Comparison()) is None


@pytest.mark.parametrize(
    ("value", "null", "passed"),
    [
        ((0.02, 0.01), None, True),
        ((0.02, 0.04), None, None),
        ((0.08, 0.04), None, None),
        ((0.08, 0.02), None, False),
        ((0.08, 0.02), (0.05, 0.02), None),
        ((0.08, 0.02), (0.01, 0.02), False),
    ],
)
def test_a_value_fails_only_if_it_exceeds_limit_and_null_significantly(value, null, passed):
    check = BY_KEY["spectra"]
    assert check.limit == 0.03
    assert check.passes(closure.Estimate(*value), null and closure.Estimate(*null)) is passed


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_perfect_emulator_fails_nothing_with_few_jets(pairs, seed):
    emulator, rng = bundle.load(BUNDLES[0]), np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(pairs.x), 3000, replace=False))
    few = pairs._replace(**{name: column[rows] for name, column in pairs._asdict().items()})
    own = draw_above(emulator, few.x, few.context, 20.0, rng)
    few = few._replace(y=np.where(few.matched[:, None], own, np.nan).astype(np.float32))
    found = validate(emulator, few, effort=replace(QUICKER, seed=seed))
    lines, _ = judged(found.truth, found.null)
    assert len(lines) > 5
    assert [line.key for line in lines if line.passed is False] == []
    assert any(line.passed is None for line in lines)


def test_the_same_seed_gives_the_same_metrics(pairs, shipped_found):
    options = {"boxes": [Box.parse("20<pt<60,abs(eta)<2.5")], "datasets": ["qcd", "qcdflat"]}
    again = validate(bundle.load(BUNDLES[0]), pairs, effort=QUICKER, **options)
    assert json.dumps(metrics.metrics(again, ABOUT)) == json.dumps(metrics.metrics(shipped_found, ABOUT))


def test_each_dataset_is_compared_separately(shipped_found, page):
    assert set(shipped_found.by_dataset) == {"qcd", "qcdflat"}
    content = metrics.metrics(shipped_found, ABOUT)
    values = {name: {line["key"]: line["value"] for line in lines} for name, lines in content["datasets"].items()}
    for of_dataset in values.values():
        assert {"pt_scale", "levels", "judge_residuals"} <= set(of_dataset)
    assert values["qcd"]["judge_residuals"] != values["qcdflat"]["judge_residuals"]
    n_jets = [len(of.levels) for of in shipped_found.by_dataset.values()]
    assert sum(n_jets) == shipped_found.n_jets
    assert "Each dataset on its own" in page


def test_few_jets_leave_figures_out_and_say_so(pairs):
    few = pairs._replace(**{name: column[:1500] for name, column in pairs._asdict().items()})
    found = validate(bundle.load(BUNDLES[0]), few, effort=QUICKER)
    assert found.left_out["spectra"] == f"spectra: expected 1000 jets, got {found.n_jets}"
    assert {"response", "tails", "correlations", "frechet distance", "judge of residuals"} <= set(found.left_out)
    content = metrics.metrics(found, ABOUT)
    page = report.render(content, sections(found, title="few"))
    assert "spectra: expected 1000 jets" in page
    assert 'id="tails"' not in page


def test_figures_that_measured_nothing_are_left_out_by_name():
    """Gen masses below 1 GeV have no response, and a few thousand jets may have no tails."""
    rng = np.random.default_rng(4)
    gen = np.tile(np.array([30.0, 0.5, 1.0, 0.5]), (2000, 1))
    drawn, real = (gen * rng.normal(1.0, 0.1, gen.shape) for _ in range(2))
    comparison = Comparison(
        response=closure.response_in_cells(*(closure.responses(gen, jets) for jets in (drawn, real)), gen),
        tails=closure.tails(*(closure.residuals(gen, jets) for jets in (drawn, real)), gen),
    )
    lines, left_out = judged(comparison, comparison)
    no_mass, no_tail = "deviations: expected a cell with enough jets", "tails: expected one with 100 jets"
    assert {"pt_scale", "pt_resolution"} <= {line.key for line in lines}
    assert set(left_out) == {"Scale of the mass", "Resolution of the mass", "Tails"}
    assert left_out["Scale of the mass"].startswith(no_mass)
    assert left_out["Tails"].startswith(no_tail)

    noted = {"spectra": "spectra: expected 1000 jets, got 2"}
    found = Validation(comparison, comparison, len(gen), True, QUICKER, {"qcd": comparison}, dict(noted))
    content = metrics.metrics(found, ABOUT)
    assert found.left_out == noted
    assert set(content["left_out"]) == {*noted, *left_out, *(f"{name} in qcd" for name in left_out)}
    with undrawn():
        page = report.render(content, sections(found, title="light"))
    assert f"<li>Tails in qcd: {no_tail}" in page
    assert f"<li>Scale of the mass: {no_mass}" in page


def test_a_missing_null_is_reported():
    cells = closure.OfCells(closure.CELLS, np.full((14, 4), 500), np.full((14, 4, 4, 2, 4), [1.0, 0.1, 0.1, 0.1]))
    nothing = cells._replace(values=np.full_like(cells.values, np.nan))
    lines, left_out = judged(Comparison(response=cells), Comparison(response=nothing))
    assert all(line.null is None for line in lines)
    assert set(left_out) == {f"{BY_KEY[line.key].title}, null" for line in lines}


def test_no_pair_at_all_is_an_error(pairs):
    lonely = pairs._replace(y=np.full_like(pairs.y, np.nan))
    with pytest.raises(ValueError, match=r"pairs: expected gen jets above 20 GeV with a reco jet .* got none among"):
        validate(bundle.load(BUNDLES[0]), lonely)


def test_jets_of_another_radius_are_an_error(pairs):
    with pytest.raises(ValueError, match=r"gen jets: expected jets of radius 0.5, as the model's, got .* smaller ones"):
        validate(bundle.load("cms-delphes-ak5"), pairs)


def test_reco_jets_with_nan_are_an_error(pairs):
    reco = pairs.y.copy()
    reco[np.flatnonzero(pairs.matched)[:3], 3] = np.nan
    with pytest.raises(ValueError, match="reco jets: expected finite numbers, got 3 of"):
        validate(bundle.load(BUNDLES[0]), pairs._replace(y=reco))


class _Page(HTMLParser):
    """Links, anchors and images of a page."""

    def __init__(self):
        super().__init__()
        self.links, self.ids, self.outside, self.images = [], [], [], 0

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name == "href" and value.startswith("#"):
                self.links.append(value[1:])
            elif name in ("src", "href"):
                self.images += value.startswith("data:image/webp;base64,")
                self.outside += [] if value.startswith("data:") else [value]


@pytest.fixture(scope="module")
def parts(shipped_found):
    with undrawn():
        return sections(shipped_found, title="qcd & flat_$")


@pytest.fixture(scope="module")
def page(shipped_found, parts):
    content = metrics.metrics(shipped_found, ABOUT)
    other = json.loads(json.dumps(content))
    other["model"]["name"] = "the <other>"
    other["verdict"] = [line | {"passed": False} for line in other["verdict"] if line["key"] != "tails"]
    other["sample"]["pairs"] += 1
    with undrawn():
        return report.render(content, parts, [other])


def test_the_page_is_self_contained(page):
    parsed = _Page()
    parsed.feed(page)
    assert parsed.outside == []
    assert parsed.images > 20
    assert set(parsed.links) <= set(parsed.ids)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert not re.search(r"url\(|@import|<script", page)
    assert "a &lt;b&gt;.root" in page


def test_the_page_shows_another_model_beside(page):
    assert page.count("the &lt;other&gt;") >= len(CHECKS) - len(OF_OTHERS)
    assert "Measured with a different sample or selection: the &lt;other&gt;" in page
    failed = re.findall(r'data-label="the &lt;other&gt;">\s*[^<]*<strong class="fail">fail', page)
    assert len(failed) == len(CHECKS) - len(OF_OTHERS) - 1  # without tails


def test_metrics_are_read_back(shipped_found, tmp_path):
    content = metrics.metrics(shipped_found, ABOUT)
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(content, allow_nan=False))
    assert metrics.read(path) == metrics.read(tmp_path) == json.loads(json.dumps(content))
    line = metrics.line_of(content, "judge")
    assert line["value"] == shipped_found.truth.judges["four-momenta"].auc
    assert "an AUC of 0.5" in line["says"]
    assert metrics.line_of(content, "histograms") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "expected a file, found none"),
        ("{", "expected the metrics.json of a validation"),
        ("[]", "expected metrics of schema version 1, got None"),
        ('{"schema_version": 2}', "expected metrics of schema version 1, got 2"),
        ('{"schema_version": 1}', "found no 'model'"),
        ('{"schema_version": 1, "model": {}, "sample": {}, "verdict": [{}]}', "found no 'key'"),
    ],
)
def test_invalid_metrics_are_refused(tmp_path, text, message):
    path = tmp_path / "metrics.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message):
        metrics.read(path)


def test_checks_have_unique_keys_and_a_section(parts):
    assert len(BY_KEY) == len(CHECKS)
    assert {check.section for check in CHECKS} - {"particles", "columns"} <= {section.key for section in parts}


OF_PARTICLES = "cms-delphes-ak5-particles"


@pytest.fixture(scope="module")
def folded():
    """Shapes of gen jets, of true jets and of two folds, and the time per gen jet."""
    names = ("wwhad_ak5_particles.root", "qcdhard_ak5_particles.root")
    sources = {name: [inspect(str(sample_path(name)), collections=["GenJet", "Jet"])] for name in names}
    with running.open_executor("iterative", status=False) as executor:
        options = {"collections": ["GenJet", "Jet"], "branches": PARTICLE_BRANCHES, "status": False}
        return running.run(ShapesProcessor(OF_PARTICLES, seed=1), sources, executor, **options)


def compared(*sides):
    found = Validation(Comparison(), Comparison(), len(sides[0]), True, QUICKER)
    compare_particles(found, *sides)
    return found


def test_particles_of_the_shipped_bundle_pass(folded):
    found = compared(*folded)
    lines, _ = judged(found.truth, found.null)
    assert {line.key for line in lines} == {"particles", "judge_particles"}
    assert [line.key for line in lines if line.passed is False] == []
    figures = metrics.metrics(found, ABOUT)["figures"]["truth"]["particles"]
    assert set(figures["observables"]) == set(NAMES) - {"phi"}
    assert figures["microseconds"] > 0.0
    with undrawn():
        parts = sections(found, title="ww")
    assert [part.key for part in parts] == ["judges", "particles"]
    assert len(parts[1].figures) == 1
    assert f"{len(folded[0]):,} jets" in parts[1].tables[1][0][0]


def test_wrong_particles_fail(folded):
    gen, true, first, second, spent = folded
    scale = np.ones(len(NAMES))
    scale[NAMES.index("multiplicity")] = 1.2
    found = compared(gen, true, first * scale, second * scale, spent)
    lines, _ = judged(found.truth, found.null)
    assert {line.key: (line.passed, line.measurable) for line in lines} == {
        "particles": (False, True),
        "judge_particles": (False, True),
    }
    assert found.truth.particles.distances["tau21"] == compared(*folded).truth.particles.distances["tau21"]
    assert found.truth.particles.shifts["multiplicity"].value > 0.2


def test_jets_of_particles_are_those_of_the_same_gen_jets_in_any_chunk(folded):
    instance = ShapesProcessor(OF_PARTICLES, seed=1, pt_min=150.0)

    def process(start, stop):
        metadata = {"dataset": "wwhad_ak5_particles.root", "entrystart": start}
        some = {"entry_start": start, "entry_stop": stop, "metadata": metadata}
        return instance.process(open_events("wwhad_ak5_particles.root", **some))

    whole, parts = (instance.postprocess(of) for of in (process(0, 60), process(25, 60) | process(0, 25)))
    for one, other, of_all in zip(whole, parts, folded, strict=True):
        if not isinstance(one, float):
            np.testing.assert_array_equal(one, other)
            assert {row.tobytes() for row in one} <= {row.tobytes() for row in of_all}
    pt, eta, phi = whole[0].T[:3]
    assert pt.min() > 150.0 * 0.99
    for reco in whole[1:4]:
        assert np.hypot(reco[:, 1] - eta, np.remainder(reco[:, 2] - phi + np.pi, 2.0 * np.pi) - np.pi).max() < 0.36


@pytest.mark.filterwarnings("ignore::coffea_iqn.folder.ThresholdWarning")
def test_a_validation_reports_why_particles_are_missing(tmp_path, capsys):
    whys = {
        "wwhad_ak5_particles": "halves: expected 1000 jets, got",
        "qcd_ak5": "files: expected particles in GenJet",
    }
    for name, why in whys.items():
        options = ["--model", OF_PARTICLES, "--quick", "--max-jets", 900, "--threads", 1, "--output", tmp_path / name]
        with undrawn():
            assert run("validate", sample_path(f"{name}.root"), *options) == 0
        assert f"particles: {why}" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(ValueError, match="expected a bundle with particles"):
        ShapesProcessor("cms-delphes-ak5")


def test_histograms_are_compared_with_what_is_beyond_their_axes():
    axes = (hist.axis.Regular(3, 0, 3, name="x"), hist.axis.Variable([0, 1, 4], name="y"))
    categories = (hist.axis.StrCategory([name], name=axis) for name, axis in (("qcd", "dataset"), ("reco", "level")))
    made = hist.Hist(*categories, *axes, storage=hist.storage.Weight())
    x, y = np.random.default_rng(1).uniform(-2.0, 6.0, (2, 1000))
    made.fill(dataset="qcd", level="reco", x=x, y=y, weight=2.0)
    value, variance = _content(made, "qcd", "reco")
    clipped = np.histogram2d(x.clip(0.0, 2.9), y.clip(0.0, 3.9), [axis.edges for axis in axes])[0]
    np.testing.assert_array_equal(value, 2.0 * clipped)
    np.testing.assert_array_equal(variance, 4.0 * clipped)
