"""A dumped scenario loads again to the same scenario, whatever the values look like."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.errors import ScenarioError, UsageError
from runner.scenario.diagnostics import render
from runner.scenario.loading import load_scenario
from runner.scenario.matrix import expand

printable = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FFF, blacklist_categories=["Cs", "Cc"]), max_size=20
)
tricky = st.sampled_from(
    [
        "on",
        "010",
        "1e3",
        "0o17",
        "~",
        "null",
        "",
        "12:30",
        "true",
        "${vars.x}",
        "$${a}",
        "a: b",
        "#",
        "*x",
        "- a",
        "\u2028",
    ]
)
words = printable | tricky
scalars = st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_infinity=False) | words
values = st.recursive(
    scalars | st.none(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner), max_leaves=8
)
durations = st.integers(1, 10**9).map(lambda ms: f"{ms}ms") | st.floats(0.001, 1e6).map(lambda s: f"{s:.6f}s")
shares = st.integers(0, 1000).map(lambda n: f"{n / 10}%")


@st.composite
def scenarios(draw):
    plain = {"scenario": 1, "name": "t", "workload": {"model": "m", "timeout": draw(durations)}}
    plain["description"] = draw(words)
    plain["server"] = {"flags": draw(st.dictionaries(words, scalars, max_size=3))}
    plain["repository"] = {
        "models": {"m": {"from": "model", "config": draw(st.dictionaries(words, values, max_size=3))}}
    }
    plain["repository"]["models"]["m"]["config"].pop("max_batch_size", None)
    plain["measure"] = {"drain": draw(durations), "max_error_rate": draw(shares)}
    plain["targets"] = {"cpu": {"requires": {"disk": draw(st.sampled_from(["1GiB", "3MB", "17B"]))}}}
    plain["matrix"] = {
        "axes": {"load.concurrency": draw(st.lists(st.integers(1, 100), min_size=1, unique=True, max_size=3))}
    }
    return plain


def escaped(value):
    if isinstance(value, dict):
        return {key: escaped(child) for key, child in value.items()}
    if isinstance(value, list):
        return [escaped(child) for child in value]
    return value.replace("${", "$${") if isinstance(value, str) else value


class Quoting(yaml.SafeDumper):
    """Quotes every text, so that the file says what was drawn."""

    def ignore_aliases(self, data):
        return True


Quoting.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(scenarios())
def test_dump_and_load_agree(plain):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model").mkdir()
        path = folder / "first.yaml"
        path.write_text(yaml.dump(escaped(plain), Dumper=Quoting), encoding="utf-8")
        first = load_scenario(path, env={})
        assert first.scenario.description == plain["description"]
        assert first.scenario.server.flags == plain["server"]["flags"]
        again = folder / "again.yaml"
        again.write_text(first.dump(), encoding="utf-8")
        second = load_scenario(again, env={})
        assert second.scenario == first.scenario
        assert second.digest == first.digest
        assert second.dump() == first.dump()


EVERYTHING = """\
scenario: 1
name: t
vars: {n: {type: int, default: 4, flag: --n}, s: {type: enum, of: [a, b], default: b}}
targets: {a: {requires: {gpus: 1}}, b: {set: {load.concurrency: 7}}}
setup:
  f: {kind: fetch, url: "http://x/${vars.s}", size: 5MiB}
  d: {kind: dataset, source: synthetic_jpeg, count: "${vars.n}"}
  s: {kind: script, script: run.py, args: {x: "${setup.f}", y: 0.5, z: on, w: 010}}
repository: {models: {m: {from: model, files: {1/a: "${setup.s}"}, config: {max_batch_size: 8, x: null}}}}
workload: {model: m, input: {A: {from: "${setup.d}"}, B: {generate: random, shape: [3, 4]}}}
matrix:
  axes:
    vars.n: [1, 2]
    workload.batch: {pow2: [1, "${vars.n}"]}
    a: {zip: {measure.drain: [1s, 2s], measure.seed: [1, 2]}}
    measure.max_error_rate: [1%, 2%]
    workload.timeout: {int: [1, 1]}
  skip: ["workload.batch > 2"]
""".replace("    workload.timeout: {int: [1, 1]}\n", "")


def test_everything_at_once(desk):
    first = desk.load(EVERYTHING, flags={"--n": "2"}, set_=["measure.precision.percentiles.p99.9=5%"])
    second = desk.load(first.dump())
    assert second.scenario == first.scenario
    assert (second.target, second.digest) == ("b", first.digest)
    assert [(case.id, case.server_key, case.skipped) for case in expand(second)] == [
        (case.id, case.server_key, case.skipped) for case in expand(first)
    ]


def test_a_text_that_looks_like_a_reference_survives(desk):
    first = desk.load('scenario: 1\nname: t\nworkload: {model: m}\ndescription: "a $${vars.x} $$${b ${run.dir}"\n')
    assert first.scenario.description == "a ${vars.x} $${b ${run.dir}"
    assert desk.load(first.dump()).scenario == first.scenario


@pytest.mark.parametrize("text", ["on", "1e3", "0o17", "010", "~", "0x1", ".5", "=", "2020-01-01", "é", "a\tb", "a\nb"])
def test_texts_that_look_like_something_else(desk, text):
    first = desk.load("scenario: 1\nname: t\nworkload: {model: m}\n")
    changed = first.scenario.model_copy(update={"description": text})
    dumped = dataclasses.replace(first, scenario=changed).dump()
    assert desk.load(dumped).scenario.description == text


JUNK = (
    scalars
    | st.none()
    | values
    | st.sampled_from(["${vars.n}", "${setup.f}", "${", "${vars.q}", "5s", [[]], {"kind": 1}])
)


def paths_in(plain, path=()):
    yield path
    for key, child in plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ():
        yield from paths_in(child, (*path, key))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_any_damage_is_a_diagnostic_with_a_place(desk, data):
    """Whatever stands in the place of one or two values: a valid scenario or diagnostics, never another error."""
    plain = yaml.safe_load(EVERYTHING)
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from([path for path in paths_in(plain) if path]))
        holder = plain
        for key in path[:-1]:
            holder = holder[key]
        if data.draw(st.booleans()):
            holder[path[-1]] = data.draw(JUNK)
        elif isinstance(holder, dict):
            holder[data.draw(words)] = holder.pop(path[-1])
    desk.write(yaml.dump(plain, Dumper=Quoting))
    found, usage = None, ""
    try:
        expand(load_scenario(desk.folder / "scenario.yaml", env={}, target="b"))
    except ScenarioError as error:
        found = error.diagnostics
    except UsageError as error:
        usage = error.message
    assert usage == "" or "no target" in usage
    assert found != ()
    assert all(each.line and each.column and each.message for each in found or ())
    assert "error[" in render(found) if found else True
