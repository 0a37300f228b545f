from __future__ import annotations

import dataclasses
import json
import math
import types
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.results.codec import CodecError, decode, encode
from runner.results.manifest import Manifest, ScenarioRecord
from runner.results.records import Trial
from tests.unit.results.sample_run import CASES, invalid, trial

json_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
json_values = st.recursive(
    json_scalars, lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(), one, max_size=3), max_leaves=6
)


def anything(hint: Any) -> st.SearchStrategy[Any]:
    """Values of an annotation; hypothesis' own inference would draw NaN for float and objects for Any."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return json_values
    if hint is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    if origin is tuple:
        return st.lists(anything(arguments[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(st.text(), anything(arguments[1]), max_size=3)
    if origin is types.UnionType:
        return st.one_of([anything(argument) for argument in arguments])
    if dataclasses.is_dataclass(hint):
        fields = get_type_hints(hint).items()
        return st.builds(hint, **{name: anything(of) for name, of in fields})  # type: ignore[arg-type]
    return st.from_type(hint)


trials = anything(Trial)


@settings(deadline=None)
@given(trials)
def test_any_trial_survives_the_journal_unchanged(value: Trial) -> None:
    line = json.dumps(encode(value), allow_nan=False)
    assert decode(Trial, json.loads(line)) == value
    assert json.dumps(encode(decode(Trial, json.loads(line))), allow_nan=False) == line


def test_every_field_is_written_under_its_own_name() -> None:
    encoded = encode(trial(CASES[0]))
    assert isinstance(encoded, dict)
    assert list(encoded) == [f.name for f in dataclasses.fields(Trial)]
    assert encoded["summary"]["percentiles"][2]["estimate"] == {"value": 30.0, "low": 26.0, "high": None}  # type: ignore[index,call-overload]


def test_fields_with_a_default_may_be_absent_so_that_older_runs_stay_readable() -> None:
    manifest = Manifest(1, "id", "0.1", "2025-01-01T00:00:00Z", ScenarioRecord("n", "d"))
    short = {"schema": 1, "run_id": "id", "tool_version": "0.1", "started_utc": "2025-01-01T00:00:00Z"}
    assert decode(Manifest, {**short, "scenario": {"name": "n", "digest": "d"}}) == manifest


def _damaged(path: str, value: Any) -> dict[str, Any]:
    encoded: Any = encode(invalid(CASES[0]))
    *parents, last = path.split(".")
    place = encoded
    for key in parents:
        place = place[int(key)] if key.isdigit() else place[key]
    place[last] = value
    return encoded  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("surprise", 1, "trial: unknown key 'surprise'; known: case_id, parameters"),
        ("summary.p42", 1, "trial.summary: unknown key 'p42'"),
        ("batch", "8", "trial.batch: expected a whole number, got text"),
        ("batch", True, "trial.batch: expected a whole number, got true or false"),
        ("elapsed_s", None, "trial.elapsed_s: expected a number, got null"),
        ("summary.steady", 1, "trial.summary.steady: expected true or false, got a whole number"),
        ("state", "great", "trial.state: expected one of ok, invalid, failed, interrupted, got 'great'"),
        ("server", {}, "trial.server: expected a list, got a map"),
        ("labels", [], "trial.labels: expected a map, got a list"),
        ("counts.failed", {"x": "1"}, "trial.counts.failed.x: expected a whole number, got text"),
        ("flags.0.code", 7, "trial.flags[0].code: expected text, got a whole number"),
        ("summary.latency_mean_ms", 3.5, "trial.summary.latency_mean_ms: expected a map for Estimate, got a number"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(path: str, value: Any, message: str) -> None:
    with pytest.raises(CodecError) as caught:
        decode(Trial, _damaged(path, value), "trial")
    assert str(caught.value).startswith(message)


def test_a_missing_key_is_named() -> None:
    encoded: Any = encode(trial(CASES[0]))
    del encoded["model"]
    with pytest.raises(CodecError, match="trial: missing key 'model'"):
        decode(Trial, encoded, "trial")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_cannot_hold_are_refused_where_they_are(value: float) -> None:
    with pytest.raises(CodecError, match=r"trial\.elapsed_s: expected a finite number"):
        encode(trial(CASES[0], elapsed_s=value), "trial")


def test_foreign_objects_and_keys_are_refused() -> None:
    with pytest.raises(CodecError, match=r"value\.a: expected a record, list, map, text or number, got set"):
        encode({"a": {1}})
    with pytest.raises(CodecError, match="expected text as key, got 1"):
        encode({1: "a"})


def test_tuples_become_lists_and_whole_numbers_stay_whole() -> None:
    assert encode((1, 2.0, ("a",))) == [1, 2.0, ["a"]]
    encoded: Any = encode(trial(CASES[0], elapsed_s=12))
    assert repr(decode(Trial, encoded).elapsed_s) == "12"
