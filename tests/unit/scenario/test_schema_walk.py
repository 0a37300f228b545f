"""What the schema allows at a place."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.scenario.schema_walk import default_of, field_at, keys_at, known_addresses
from runner.scenario.tree import from_plain, option_place

ROOT = from_plain(
    {
        "setup": {"a": {"kind": "dataset", "source": "folder"}, "b": {"kind": "fetch"}, "c": {}},
        "workload": {"input": {"X": {"generate": "zero"}}},
        "server": {"load": ["m"], "flags": {"v": 1}},
        "matrix": {"axes": {"x": {"pow2": [1, 2]}, "y": {}}},
    },
    option_place("test", "", Path()),
)


@pytest.mark.parametrize(
    ("path", "some", "none"),
    [
        ((), ["scenario", "report"], ["kind"]),
        (("setup", "a"), ["path", "limit"], ["count", "url"]),
        (("setup", "b"), ["url", "sha256"], ["path"]),
        (("setup", "c"), ["url", "path", "script"], []),
        (("workload", "input", "X"), ["generate", "shape"], ["from", "pick"]),
        (("matrix", "axes", "x"), ["pow2"], ["step"]),
        (("matrix", "axes", "y"), ["pow2", "step", "zip"], []),
        (("measure", "window"), ["min", "max"], []),
    ],
)
def test_keys_of_a_map(path, some, none):
    keys = keys_at(ROOT, path)
    assert set(some) <= set(keys)
    assert not set(none) & set(keys)


@pytest.mark.parametrize("path", [("server", "flags"), ("nope",), ("server", "load", 0), ("vars",), ("report", 0)])
def test_where_names_are_free_there_are_no_keys(path):
    assert keys_at(ROOT, path) is None


def test_defaults_as_they_would_be_written():
    assert default_of(field_at(ROOT, ("measure", "drain"))) == "10s"
    assert default_of(field_at(ROOT, ("report", "formats"))) == ["console", "csv", "json"]
    assert default_of(field_at(ROOT, ("server", "ready"))) == {"timeout": "120s"}
    assert field_at(ROOT, ("measure", "nope")) is None
    assert field_at(ROOT, ()) is None


def test_addresses_follow_the_names_in_the_file():
    known = known_addresses(ROOT)
    assert {"measure.window.min", "setup.a.path", "setup.b.url", "server.flags.v", "workload.input.X.shape"} <= set(
        known
    )
    assert not {"setup.a.url", "setup.z", "targets.x"} & set(known)
    crowd = {"server": {"flags": {f"f{index}": 1 for index in range(6000)}}}
    assert len(known_addresses(from_plain(crowd, option_place("test", "", Path())))) == 5000
