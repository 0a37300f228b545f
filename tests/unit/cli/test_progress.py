"""What is shown while a run goes on, live and plain."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.cli import progress
from runner.cli.console import use_color
from runner.cli.progress import (
    Eta,
    LiveObserver,
    PlainObserver,
    describe,
    named,
    observer_for,
    outcome,
    probed,
    wants_live,
)
from runner.measure.watch import TrialProgress
from runner.results.capacity import Capacity, Probe
from runner.results.records import Counts, Estimate, Flag, Summary, Trial
from runner.setup.base import Progress, StepReport
from runner.workflow import Silent

PROGRESS = TrialProgress(
    phase="measuring",
    elapsed_s=10.0,
    deadline_s=20.0,
    completions=100,
    failed=2,
    in_flight=4,
    requests_per_s=50.0,
    inferences_per_s=400.0,
    p50_ms=12.5,
)


def trial(**changes: Any) -> Trial:
    base: dict[str, Any] = {
        "case_id": "b8-c4",
        "parameters": {},
        "model": "m",
        "protocol": "grpc",
        "batch": 8,
        "load": {"kind": "concurrency", "concurrency": 4},
        "state": "failed",
        "started_utc": "2026-01-01T00:00:00Z",
        "elapsed_s": 60.0,
        "failure": "the server died",
    }
    return Trial(**(base | changes))


def measured() -> Trial:
    summary = Summary(
        **dict.fromkeys(("warmup_s", "window_s", "latency_max_ms", "in_flight_mean", "littles_law_error"), 0.0),
        **dict.fromkeys(("send_lag_p99_ms", "client_cpu_us_per_request", "client_cpu_fraction"), 0.0),
        completions=10,
        failures=0,
        requests_per_s=Estimate(50.0, 49.0, 51.0),
        inferences_per_s=Estimate(400.0, 392.0, 408.0),
        latency_mean_ms=Estimate(80.0),
        percentiles=(),
        steady=True,
        precision_met=True,
        stop_reason="precise",
    )
    flag = Flag("ci_unreliable", 6.0, 10.0, "informs", "too few")
    return trial(state="ok", failure=None, summary=summary, counts=Counts(10, 10, {}, 0, 0), flags=(flag,))


def play(observer: Any) -> None:
    """A whole run as the workflow tells it."""
    observer.on_run(Path("runs/x"), 3, 1)
    observer.on_setup(Progress("onnx", "downloading", 50, 100))
    observer.on_step(StepReport("onnx", "fetch", "built", "first time", 1.25))
    observer.on_server("starting")
    observer.on_case(SimpleNamespace(id="b8-c4"))
    observer.on_progress(PROGRESS)
    observer.on_trial(measured())
    observer.on_case(SimpleNamespace(id="b8-c8"))
    observer.on_trial(trial())


def test_plain_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_PROGRESS_EVERY_S", 0.0)
    play(PlainObserver())
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "run directory runs/x",
        "resumed: 1 of 3 points are measured already",
        "setup onnx: downloading 50 %",
        "setup onnx: built (first time) 1.2 s",
        "server starting",
        "point 2/3 b8-c4",
        "point b8-c4: measuring 10 s, 400 inferences/s, p50 12.5 ms, 2 failed",
        "point b8-c4: ok, 400 ± 8 inferences/s [ci_unreliable] · about 60 s left",
        "point 3/3 b8-c8",
        "point b8-c4: failed: the server died",
    ]


def test_plain_lines_do_not_flood_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    observer = PlainObserver()
    observer.on_case(SimpleNamespace(id="b8-c4"))  # type: ignore[arg-type]
    for _ in range(100):
        observer.on_progress(PROGRESS)
    assert capsys.readouterr().err.splitlines() == ["point 1/0 b8-c4"]


def test_live_display_leaves_the_finished_points_above_it(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveObserver() as observer:
        play(observer)
    captured = capsys.readouterr()
    assert captured.out == ""
    for line in ("run directory runs/x", "b8-c4: ok, 400 ± 8 inferences/s [ci_unreliable]", "b8-c4: failed"):
        assert line in captured.err


def test_the_observer_follows_the_mode_and_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for mode, terminal, expected in (
        ("none", True, Silent),
        ("plain", True, PlainObserver),
        ("live", False, LiveObserver),
        ("auto", True, LiveObserver),
        ("auto", False, PlainObserver),
    ):
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr("sys.stderr.isatty", lambda terminal=terminal: terminal, raising=False)
        with observer_for(mode) as observer:
            assert isinstance(observer, expected), mode
            if mode == "none":
                play(observer)


def test_a_dumb_terminal_gets_plain_lines_without_escape_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor's shell is a terminal, but shows escape codes as they are."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "dumb")
    assert not use_color(sys.stderr)
    with observer_for("auto") as observer:
        assert isinstance(observer, PlainObserver)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert use_color(sys.stderr)
    assert wants_live("auto")


def test_eta_is_the_mean_of_the_points_of_this_session() -> None:
    eta = Eta(4, 1)
    assert eta.remaining() == ""
    eta.finish(100.0)
    eta.finish(140.0)
    assert eta.remaining() == " · about 2 min left"
    eta.finish(120.0)
    assert eta.remaining() == ""


def test_repeats_and_anchors_are_told_apart() -> None:
    first = trial()
    assert named(first) == first.case_id
    assert named(replace(first, repeat=2)) == f"{first.case_id} repeat 2"
    assert named(replace(first, repeat=2, anchor=True)) == f"{first.case_id} as anchor"


def test_descriptions_have_units() -> None:
    assert describe(PROGRESS) == "measuring 10 s, 400 inferences/s, p50 12.5 ms, 2 failed"
    assert outcome(trial()) == "failed: the server died"


def test_a_load_of_a_search_in_one_line() -> None:
    probe = Probe(0, 3, "bisect", "rate", 83.261, "pass", "3 of 800 missed", None, 12.2)
    assert probed(probe) == "bisect 83.261/s: pass (3 of 800 missed) in 12 s"
    again = replace(probe, attempt=1, over="concurrency", level=8)
    assert probed(again).startswith("search 2, bisect 8 in flight: pass")


def test_a_search_ends_with_its_answer() -> None:
    found = Capacity("rate", "bracket", 95, 100.0, "found", "because", 83.3, 83.3, 84.9, 83.1, ())
    assert outcome(trial(state="ok", failure=None, capacity=found)) == (
        "ok, capacity 83.3/s, bracket up to 84.9/s at p95 ≤ 100 ms"
    )
    none = replace(found, status="infeasible", level=None, low=None, high=None)
    assert outcome(trial(capacity=none)) == "failed, infeasible at p95 ≤ 100 ms: because"
    hint = replace(found, status="hint", over="concurrency", level=8)
    assert "knee at 8 in flight (83.1 requests/s)" in outcome(trial(state="ok", capacity=hint))


def test_a_soak_shows_its_violations() -> None:
    assert describe(replace(PROGRESS, violated=(2, 31))).endswith("2 failed, 2 of 31 windows violated")
