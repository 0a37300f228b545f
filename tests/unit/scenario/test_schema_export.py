"""The committed schema and reference are what the types say, and editors get a schema that fits."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from runner.builtin import asset_root
from runner.scenario import schema_export
from runner.scenario.diagnostics import CODES

DOCS = Path(__file__).parents[3] / "docs"
AGAIN = "run `python -m runner.scenario.schema_export`"


def test_the_committed_schema_is_the_generated_one():
    committed = json.loads((DOCS / "scenario.schema.json").read_text(encoding="utf-8"))
    assert committed == schema_export.json_schema(), AGAIN


def test_the_committed_reference_is_the_generated_one():
    assert (DOCS / "reference.md").read_text(encoding="utf-8") == schema_export.reference_markdown(), AGAIN


def test_both_files_are_written(tmp_path):
    schema_export.main(tmp_path)
    for name in ("scenario.schema.json", "reference.md"):
        assert (tmp_path / name).read_bytes() == (DOCS / name).read_bytes(), AGAIN


@pytest.fixture(scope="module")
def validator():
    schema = schema_export.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", sorted(asset_root("scenarios").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_scenarios_fit(validator, path):
    validator.validate(yaml.safe_load(path.read_text(encoding="utf-8")))


BASE = {"scenario": 1, "name": "t", "workload": {"model": "m"}}


@pytest.mark.parametrize(
    "more",
    [
        {"load": {"concurrency": "${vars.n}"}},
        {"measure": {"drain": "5s", "max_error_rate": "${vars.x}"}},
        {"vars": {"n": {"type": "int", "default": "${host.cpus}"}}},
        {"setup": {"a": {"kind": "dataset", "source": "folder", "path": "x"}}},
        {"matrix": {"axes": {"a": [1], "b": {"pow2": [1, "${vars.n}"]}, "c": {"zip": {"x": [1]}}}}},
        {"workload": {"model": "m", "input": {"X": {"from": "${setup.a}"}, "Y": {"generate": "zero"}}}},
        {"server": {"flags": {"a": 1, "b": None}}},
    ],
)
def test_what_the_loader_takes_fits(validator, more):
    validator.validate(BASE | more)


@pytest.mark.parametrize(
    "more",
    [
        {"lod": {}},
        {"load": {"concurrency": "four"}},
        {"load": {"concurrency": 0}},
        {"measure": {"drain": 5}},
        {"measure": {"profile": "exlpore"}},
        {"setup": {"a": {"kind": "burst"}}},
        {"setup": {"a b": {"kind": "fetch", "url": "x"}}},
        {"matrix": {"axes": {"a": 4}}},
    ],
)
def test_what_the_loader_refuses_does_not_fit(validator, more):
    assert not validator.is_valid(BASE | more)


def test_a_file_that_extends_another_may_leave_out_what_that_gives(validator):
    validator.validate({"extends": ["efficientnet"], "vars": {"max_batch": 8}})
    assert not validator.is_valid({"name": "t"})


def test_every_field_is_described_and_every_code_listed():
    text = schema_export.reference_markdown()
    assert "|  |" not in text
    assert all(f"| {code} |" in text for code in CODES)
    assert "| `drain` | duration, `5s` | `10s` |" in text
    with pytest.raises(KeyError, match="no description"):
        schema_export.description_of(schema_export.schema.Scenario, "nope")
