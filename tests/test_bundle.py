from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from coffea_iqn import bundle
from coffea_iqn.bundle import CARD, WEIGHTS, BundleError, disk
from coffea_iqn.data import bundle_path
from coffea_iqn.training.emulators import train
from coffea_iqn.training.recipes import RECIPES
from conftest import CARD as CARD_OF_TESTS
from conftest import TINY, make_pairs, make_unmatched


def test_round_trip_to_the_bit(emulator, emulator_bundle):
    disk._CACHE.clear()
    again = bundle.load(emulator_bundle)
    gen = make_pairs(50).x
    tau = np.full((50, emulator.network.widths[0]), 0.3, dtype=np.float32)
    np.testing.assert_array_equal(again.sample(gen, tau), emulator.sample(gen, tau))
    np.testing.assert_array_equal(again.efficiency(gen), emulator.efficiency(gen))
    assert again.card["jets"] == emulator.card["jets"]


def as_version_4(part):
    """Undo the changes of the description since version 4, of an emulator of jets without atoms."""
    if not isinstance(part, dict):
        return part
    later = ("n_targets", "atoms", "tops", "flags", "moot", "columns", "ratio", "overlaps", "objects", "particles")
    return {
        "n_context" if name == "n_inputs" else name: as_version_4(one)
        for name, one in part.items()
        if name not in later
    }


def test_a_bundle_of_schema_version_4_says_the_same_in_version_10(tmp_path):
    of_jets = replace(bundle.load("cms-delphes-ak4-fast"), objects=None)
    bundle.save(of_jets, tmp_path / "old")
    file = tmp_path / "old" / CARD
    content = {**as_version_4(json.loads(file.read_text())), "schema_version": 4}
    del content["hash"]
    content["hash"] = disk._hash((tmp_path / "old" / WEIGHTS).read_bytes(), content)
    file.write_text(json.dumps(content))
    new = saved_anew(tmp_path / "old", of_jets, tmp_path / "new")
    assert '"n_context"' not in (tmp_path / "new" / CARD).read_text()
    assert (new.network.n_targets, new.variables.columns) == (4, ())


def test_a_bundle_of_schema_version_6_says_the_same_in_version_10(tmp_path):
    name, direction = "cms-delphes-ak4-correct", "correct"
    assert json.loads((bundle.find(name) / CARD).read_text())["schema_version"] == 6
    saved_anew(name, bundle.load(name, direction=direction), tmp_path / "new", direction)


def saved_anew(old, emulator, to, direction="fold"):
    """Load an old bundle, save it in the present version, and check that it draws what the emulator draws."""
    bundle.save(bundle.load(old, direction=direction), to)
    assert json.loads((to / CARD).read_text())["schema_version"] == 10
    new, gen = bundle.load(to, direction=direction), make_pairs(200).x
    tau = np.random.default_rng(0).uniform(0.01, 0.99, gen.shape).astype(np.float32)
    np.testing.assert_array_equal(new.sample(gen, tau), emulator.sample(gen, tau))
    return new


def test_saving_twice_gives_the_same_hash_and_leaves_nothing_else(emulator, tmp_path):
    assert bundle.save(emulator, tmp_path / "a") == bundle.save(emulator, tmp_path / "a")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", CARD, WEIGHTS]


def test_saving_to_a_full_disk_leaves_the_bundle_that_was_there(tmp_path, monkeypatch):
    digest = bundle.save(bundle.load("cms-delphes-ak4-fast"), tmp_path / "a")

    def full(self, *_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    other = bundle.load("cms-delphes-ak5")
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match=r"output .*a: No space left on device"):
        bundle.save(other, tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert bundle.load(tmp_path / "a", expected_hash=digest).radius == 0.4


def test_a_bundle_that_cannot_take_its_place_leaves_the_one_that_was_there(tmp_path, monkeypatch):
    digest = bundle.save(bundle.load("cms-delphes-ak4-fast"), tmp_path / "a")
    rename = Path.rename

    def not_of_new(self, target):
        if self.suffix == ".partial":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", not_of_new)
    with pytest.raises(PermissionError):
        bundle.save(bundle.load("cms-delphes-ak5"), tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert bundle.load(tmp_path / "a", expected_hash=digest).radius == 0.4


def test_saving_over_something_else_is_refused(emulator, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match="thesis"):
        bundle.save(emulator, tmp_path / "thesis")


def test_saving_to_a_link_replaces_the_bundle_that_it_points_to(tmp_path):
    emulator = bundle.load("cms-delphes-ak4-fast")
    bundle.save(emulator, tmp_path / "a")
    (tmp_path / "link").symlink_to(tmp_path / "a", target_is_directory=True)
    bundle.save(emulator, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "link"]


def test_is_read_once_a_process(emulator_bundle):
    digest = bundle.load(emulator_bundle).card["hash"]
    (emulator_bundle / WEIGHTS).unlink()
    assert bundle.load("anywhere", expected_hash=digest) is bundle.load("anywhere", expected_hash=digest)


def test_a_bundle_with_the_name_of_a_shipped_one_is_not_confused_with_it(tmp_path, monkeypatch):
    name = "cms-delphes-ak4-fast"
    monkeypatch.chdir(tmp_path)
    shutil.copytree(bundle_path(name), "copies/" + name)
    shutil.copytree(bundle_path("cms-delphes-ak5"), name)
    with pytest.raises(bundle.BundleError, match="expected one bundle of this name, got the shipped one and /"):
        bundle.load(name)
    assert bundle.load(tmp_path / name).radius == 0.5
    monkeypatch.chdir("copies")
    assert bundle.load(name).card["hash"] == bundle.load(bundle_path(name)).card["hash"]


def test_unknown_name_lists_those_there_are():
    with pytest.raises(BundleError, match="cms-delphes-ak4, cms-delphes-ak5"):
        bundle.find("cms-delphes-ak8")


def edit(path, change, *, rehash=True):
    content = json.loads((path / CARD).read_text())
    change(content)
    if rehash:
        content.pop("hash", None)
        content["hash"] = disk._hash((path / WEIGHTS).read_bytes(), content)
    (path / CARD).write_text(json.dumps(content))


DAMAGES = {
    "newer schema": (lambda c: c.update(schema_version=99), "newer coffea-iqn"),
    "schema of another type": (lambda c: c.update(schema_version="one"), "schema version 4 to 10, got 'one'"),
    "missing key": (lambda c: c.pop("variables"), "expected the key 'variables'"),
    "unknown targets": (lambda c: c["variables"].update(targets="magic"), "targets: expected one of .*, got 'magic'"),
    "unknown scale": (lambda c: c["variables"].update(scale="magic"), "scale: expected one of .*, got 'magic'"),
    "unknown context": (lambda c: c["variables"].update(context=["aura"]), "context: expected of .*, got .'aura'"),
    "missing name": (lambda c: c["variables"].pop("inputs"), "inputs"),
    "unknown network": (lambda c: c["network"].update(type="Oracle"), "got 'Oracle'"),
    "other layer sizes": (lambda c: c["network"].update(hidden=[8, 9]), "expected shape"),
    "other inputs": (lambda c: c["network"].update(n_inputs=3), "expected shape|inputs, as the variables require"),
    "older schema": (lambda c: c.update(schema_version=1), "schema version 4 to 10, got 1"),
    "other number of samples": (
        lambda c: (c["origin"] or c["network"]).update(n_samples=9),
        "shape|got more|inputs, for such",
    ),
    "scale too short": (lambda c: c["variables"]["input_scale"]["mean"].pop(), "input_scale: expected"),
    "not a number": (lambda c: c["variables"]["target_scale"]["mean"].__setitem__(0, "many"), "many"),
    "infinite": (lambda c: c["variables"]["target_scale"]["mean"].__setitem__(0, 1e999), "finite numbers"),
    "network of a wrong kind": (lambda c: c.update(network=3), "bundle"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_card_is_one_clear_line(emulator_bundle, damage):
    change, message = DAMAGES[damage]
    edit(emulator_bundle, change)
    with pytest.raises(BundleError, match=message) as caught:
        bundle.load(emulator_bundle)
    assert "\n" not in str(caught.value)


def test_an_edit_without_a_new_hash_is_noticed(emulator_bundle):
    edit(emulator_bundle, lambda c: c["card"].update(detector="a better one"), rehash=False)
    with pytest.raises(BundleError, match="damaged or were edited"):
        bundle.load(emulator_bundle)


def test_damaged_weights_are_noticed(emulator_bundle):
    weights = bytearray((emulator_bundle / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (emulator_bundle / WEIGHTS).write_bytes(bytes(weights))
    with pytest.raises(BundleError, match="damaged"):
        bundle.load(emulator_bundle)


def test_missing_card(emulator_bundle):
    (emulator_bundle / CARD).unlink()
    with pytest.raises(BundleError, match=r"a folder with model\.json"):
        bundle.load(emulator_bundle)


def test_missing_weights(emulator_bundle):
    (emulator_bundle / WEIGHTS).unlink()
    with pytest.raises(BundleError, match=f"expected a file {WEIGHTS}"):
        bundle.load(emulator_bundle)


@pytest.mark.parametrize("text", ["not json", "[1, 2]", ""])
def test_card_that_is_not_an_object(emulator_bundle, text):
    (emulator_bundle / CARD).write_text(text)
    with pytest.raises(BundleError, match=r"model\.json"):
        bundle.load(emulator_bundle)


def test_another_bundle_at_the_path_is_noticed(emulator_bundle):
    with pytest.raises(BundleError, match="another bundle"):
        bundle.load(emulator_bundle, expected_hash="0" * 64)


SMALL = replace(RECIPES["default"], **TINY)


@pytest.fixture(scope="module")
def small_bundle(tmp_path_factory):
    """A small bundle with all optional parts."""
    pairs = make_pairs(500)
    made = train(pairs, SMALL, make_unmatched(pairs))
    made.card.update(CARD_OF_TESTS)
    path = tmp_path_factory.mktemp("small") / "bundle"
    bundle.save(made, path)
    return path


def places(value, path=()):
    """Return every position in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


ODD = [
    None, True, False, 0, -1, 1, 2, 10**9, 10**400, -0.5, 1e308, float("nan"), float("inf"), "", "x",
    "../../etc/passwd", [], {}, [[]], {"type": "SplineIQN"}, [1e9] * 3, "SplineIQN", ["flavour", "flavour"], [{}],
]  # fmt: skip


def mutated(card, weights, rng):
    """Return a card and weights with one to three changes, and a matching hash."""
    content = json.loads(card)
    weights = bytearray(weights)
    for _ in range(rng.integers(1, 4)):
        kind = rng.integers(6)
        if kind == 0:
            weights[rng.integers(min(len(weights), 4000))] = rng.integers(256)
        elif kind == 1:
            del weights[rng.integers(len(weights)) :]
            weights = weights or bytearray(b"x")
        else:
            path = list(places(content))[rng.integers(1, len(list(places(content))))]
            parent = content
            for key in path[:-1]:
                parent = parent[key]
            if kind == 2:
                del parent[path[-1]]
            elif kind == 3 and isinstance(parent, list):
                parent.append(parent[path[-1]])
            else:
                parent[path[-1]] = ODD[rng.integers(len(ODD))]
        if not content:
            break
    content.pop("hash", None)
    content["hash"] = disk._hash(bytes(weights), content)
    return json.dumps(content), bytes(weights)


def test_a_thousand_mutated_bundles_give_clear_errors_or_fold(small_bundle, tmp_path):
    """A damaged bundle raises a BundleError in one line, or still draws jets and unmatched jets."""
    card, weights = (small_bundle / CARD).read_text(), (small_bundle / WEIGHTS).read_bytes()
    rng = np.random.default_rng(0)
    gen = make_pairs(20).x
    tau = np.full(gen.shape, 0.3, dtype=np.float32)
    refused = []
    for _ in range(1000):
        changed_card, changed_weights = mutated(card, weights, rng)
        (tmp_path / CARD).write_text(changed_card)
        (tmp_path / WEIGHTS).write_bytes(changed_weights)
        disk._CACHE.clear()
        try:
            emulator = bundle.load(tmp_path)
        except BundleError as error:
            refused.append(str(error))
        else:
            with np.errstate(all="ignore"):
                assert emulator.sample(gen, tau).shape == gen.shape
                assert emulator.efficiency(gen).shape == (20,)
    assert len(refused) > 600
    assert all(line.startswith(f"bundle {tmp_path}: ") and "\n" not in line for line in refused)


def test_sizes_are_checked_before_anything_is_made(small_bundle, tmp_path):
    shutil.copytree(small_bundle, tmp_path / "bundle")
    edit(tmp_path / "bundle", lambda c: c["network"].update(hidden=[10**8, 10**8]))
    with pytest.raises(BundleError, match=r"network: expected sizes from 1 to \d+, the number of weights"):
        bundle.load(tmp_path / "bundle")


def test_a_file_larger_than_a_bundle_can_be_is_not_read(small_bundle, tmp_path):
    shutil.copytree(small_bundle, tmp_path / "bundle")
    with (tmp_path / "bundle" / WEIGHTS).open("r+b") as file:
        file.truncate(2**40)  # a sparse file
    with pytest.raises(BundleError, match=f"expected {WEIGHTS} of at most"):
        bundle.load(tmp_path / "bundle")


def test_shipped_bundles_load_and_tell_about_themselves(shipped):
    card = bundle.load(bundle_path(shipped)).card
    assert card["jets"]["radius"] == float(shipped.split("-ak")[1][0]) / 10
    assert card["training"]["files"]
    assert card["training"]["versions"]["torch"]
    low, high = card["domain"]["gen_pt"]
    assert low < 20 < 2000 < high
