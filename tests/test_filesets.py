"""Input files as users name them."""

from __future__ import annotations

import gzip
import json

import pytest
import yaml

from coffea_iqn.files.filesets import expand

COFFEA = {  # forms of filesets that coffea accepts
    "one": ["a.root", "b.root"],
    "two": {"treename": "Events", "files": ["c.root"]},
    "three": {
        "files": {"d.root": "Delphes", "e.root": {"object_path": "Events", "steps": [[0, 10]], "num_entries": 10}}
    },
}
NAMED = [
    ("one", "a.root", None),
    ("one", "b.root", None),
    ("two", "c.root", "Events"),
    ("three", "d.root", "Delphes"),
    ("three", "e.root", "Events"),
]


@pytest.mark.parametrize(("suffix", "dump"), [("json", json.dumps), ("yaml", yaml.safe_dump), ("yml", yaml.safe_dump)])
def test_filesets_of_coffea(tmp_path, suffix, dump):
    path = tmp_path / f"fileset.{suffix}"
    path.write_text(dump(COFFEA))
    assert sorted(expand([str(path)])) == sorted(NAMED)
    zipped = tmp_path / f"fileset.{suffix}.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    assert sorted(expand([str(zipped)])) == sorted(NAMED)


def test_lists_of_windows(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfa.root\r\nb.root\r\n")
    assert [one.path for one in expand([str(path)])] == ["a.root", "b.root"]


def test_patterns_lists_and_paths_at_once(tmp_path):
    for name in ("b.root", "a.root", "[x].root"):
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_text(f"# ours\n\ntop={tmp_path}/a.root # a comment\nroot://host//store/x.root\n")
    items = [f"qcd={tmp_path}/?.root", f"rest={tmp_path}/list.txt", f"{tmp_path}/[x].root", "root://host//*.root"]
    assert expand(items) == [
        ("qcd", f"{tmp_path}/a.root", None),
        ("qcd", f"{tmp_path}/b.root", None),
        ("top", f"{tmp_path}/a.root", None),
        ("rest", "root://host//store/x.root", None),
        (None, f"{tmp_path}/[x].root", None),
        (None, "root://host//*.root", None),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("*.root", None, "expected a pattern that files match, found none"),
        ("list.txt", None, "expected a file, found none"),
        ("list.txt", b"\xff\xfe", "expected text"),
        ("fileset.json", b"{", "expected JSON or YAML"),
        ("fileset.json.gz", b"{}", "expected a file compressed with gzip"),
        ("fileset.yaml", b"a: [", "expected JSON or YAML"),
        ("fileset.json", b'{"qcd": ["a.root"], "qcd": ["b.root"]}', "each key once, got 'qcd' twice"),
        ("fileset.yaml", b"qcd: [a.root]\ntop: [b.root]\nqcd: [c.root]", "each key once, got 'qcd' twice"),
        ("fileset.json", b"[1]", "expected datasets with their files, got list"),
        ("fileset.json", b'{"qcd": 3}', "expected files of qcd"),
        ("fileset.yaml", b"qcd: {files: []}", "expected files of qcd"),
        (
            "fileset.json",
            b'{"qcd": {"files": {"a.root": {"object_path": "Events", "steps": [[0, 5], [5, 8]], "num_entries": 10}}}}',
            r"a.root: expected steps of all events, .*, got \[\[0, 5\], \[5, 8\]\] and num_entries 10",
        ),
        *(
            (
                "fileset.json",
                b'{"qcd": {"files": {"a.root": {"object_path": "Events", %s}}}}' % said,
                "a.root: expected steps of all events, which are read whatever the steps, got ",
            )
            for said in (
                b'"steps": [[0, 6], [4, 8]], "num_entries": 8',  # as many events, but not these
                b'"steps": [[2, 8], [0, 4]], "num_entries": 10',
                b'"steps": [0, 5], "num_entries": 5',
                b'"steps": [[0, 5]]',
                b'"steps": [], "num_entries": 5',
            )
        ),
        ("twice.txt", b"a.root\na.root", "expected each file once, got a.root twice"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        expand([str(tmp_path / name)])
    assert "\n" not in str(caught.value)
