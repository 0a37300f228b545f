"""The stop decision made again: every reason that a trial can have stands, and none of them can be forged."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest

from runner.load.fake import FakeEngine, constant, drifting, failing
from runner.measure import stop_again
from runner.measure.raw import Raw, read_raw
from runner.measure.rules import LimitRule
from runner.measure.settings import resolve
from runner.measure.stop_again import stop_differences
from runner.measure.stopping import StopReason
from runner.measure.verify import verify_trial
from runner.results.capacity import Probe, Tally, Verdict
from runner.results.records import Trial
from tests.unit.measure.trials import AskedAt, case, run

pytestmark = pytest.mark.usefixtures("no_waiting")

WINDOWS = {"kind": "windows", "interval": "1s", "trials": 4}
SOAK = {"soak": True, "window": {"max": "30s"}}
SLO = {"latency": "10ms", "window": "2s", "budget": 1}
NOISY = FakeEngine(service=drifting(0.02, 0.3))

MADE: dict[str, dict[str, Any]] = {
    "precision reached": {},
    "three windows alike": {"point": case(stability=WINDOWS)},
    "windows never alike": {"engine": NOISY, "point": case(stability=WINDOWS)},
    "time cap": {"point": case(window={"min": "2s", "max": "2s"})},
    "time cap of a load whose slices were joined": {"point": case(window={"min": "70s", "max": "70s"})},
    "time cap of a soak": {"point": case(**SOAK)},
    "all requests answered": {"point": case(profile="reference")},
    "too many errors": {"engine": FakeEngine(service=constant(0.02), verdict=failing(0.3))},
    "violation budget exhausted": {"point": case(**SOAK, slo=SLO)},
    "stopped by the user": {"point": case(soak=True), "stop": AskedAt(100)},
    "plan ended": {"point": case(requests=1000, window={"max": "5s"})},
}


def judged(tally: Tally, verdict: Verdict) -> Probe:
    return Probe(0, 0, "alone", "concurrency", 4, verdict, "scripted", tally)


def probe(verdict: Verdict) -> dict[str, Any]:
    """A load of a search, with the verdict that is reached at the first look, or never."""
    point = case(window={"min": "1s", "max": "3s"}, warmup={"min_time": "200ms", "min_requests_per_slot": 1})
    settings = replace(resolve(point.scenario.measure), limit=LimitRule(percentile=95.0, limit_s=1.0))
    return {"point": point, "settings": settings, "verdict": partial(judged, verdict=verdict)}


def made(tmp_path: Path, engine: FakeEngine | None = None, **how: Any) -> tuple[Trial, Raw]:
    trial = run(engine, raw=tmp_path / "slices" / "x.hlog", **how)
    assert trial.raw is not None, trial.failure
    return trial, read_raw(tmp_path / trial.raw)


@pytest.mark.parametrize("name", MADE)
def test_every_end_stands(tmp_path: Path, name: str) -> None:
    trial, raw = made(tmp_path, **MADE[name])
    assert raw.stop_reason == name.partition(" of a ")[0], "the test makes what it says"
    assert list(stop_differences(trial, raw)) == []


@pytest.mark.parametrize(("verdict", "reason"), [("pass", "verdict reached"), ("unresolved", "time cap")])
def test_loads_of_a_search_stand_whether_they_were_spoilt_afterwards_or_not(
    tmp_path: Path, verdict: Verdict, reason: str
) -> None:
    trial, raw = made(tmp_path, **probe(verdict))
    assert raw.stop_reason == reason
    assert trial.probe is not None
    spoilt = replace(trial, probe=replace(trial.probe, verdict="invalid"))
    assert list(stop_differences(trial, raw)) == list(stop_differences(spoilt, raw)) == []


def test_every_reason_has_a_check() -> None:
    assert set(stop_again._CHECKS) == set(get_args(StopReason))


@pytest.mark.parametrize(
    ("name", "forged", "expected"),
    [
        ("time cap", "precision reached", "time cap"),
        ("precision reached", "time cap", stop_again.GOES_ON),
        ("precision reached", "all requests answered", stop_again.GOES_ON),
        ("too many errors", "precision reached", stop_again.GOES_ON),
        ("precision reached", "too many errors", stop_again.GOES_ON),
        ("windows never alike", "three windows alike", "windows never alike"),
        ("time cap of a soak", "precision reached", "an end without a look: everything is measured"),
        ("time cap of a soak", "violation budget exhausted", stop_again.GOES_ON),
        ("stopped by the user", "time cap", stop_again.GOES_ON),
        ("plan ended", "all requests answered", stop_again.GOES_ON),
    ],
)
def test_another_reason_is_found(tmp_path: Path, name: str, forged: str, expected: str) -> None:
    trial, raw = made(tmp_path, **MADE[name])
    assert list(stop_differences(trial, replace(raw, stop_reason=forged))) == [("stop_reason", expected, forged)]


def test_a_reason_that_is_none_is_found(tmp_path: Path) -> None:
    trial, raw = made(tmp_path)
    ((field, expected, got),) = stop_differences(trial, replace(raw, stop_reason="good enough"))
    assert (field, got) == ("stop_reason", "good enough")
    assert "precision reached" in expected


def test_a_stop_from_outside_without_its_reason_is_found(tmp_path: Path) -> None:
    trial, raw = made(tmp_path)
    assert [field for field, _, _ in stop_differences(trial, replace(raw, stop_reason="plan ended"))] == ["aborted"]


def test_a_window_that_begins_where_it_is_convenient_is_found(tmp_path: Path) -> None:
    """Every other number can be made from it consistently; only the rule says where it has to begin."""
    trial, _ = made(tmp_path)
    path = tmp_path / str(trial.raw)
    lines = path.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith('#{"format"'))
    head = json.loads(lines[at][1:])
    head["window_ns"][0] += 1_000_000_000
    path.write_text("\n".join([*lines[:at], "#" + json.dumps(head), *lines[at + 1 :], ""]))
    assert [each.field for each in verify_trial(trial, tmp_path) if each.file == trial.raw] == ["window_ns"]


@pytest.mark.parametrize("field", ["steady", "wanted_warmup"])
def test_a_forged_verdict_on_the_warm_up_is_found(tmp_path: Path, field: str) -> None:
    trial, raw = made(tmp_path)
    forged = {"steady": False, "wanted_warmup": 0.9}[field]
    changed = replace(raw, evidence={**raw.evidence, field: forged})
    assert [name for name, _, _ in stop_differences(trial, changed)] == [field]
