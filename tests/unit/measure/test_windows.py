"""perf_analyzer's three windows, on simulated series and on window values that perf_analyzer itself printed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.load.engine import Slice
from runner.load.history import History
from runner.measure.drift import find_drift
from runner.measure.series import Series, Window
from runner.measure.settings import MeasureSettings, WindowsRule, resolve
from runner.measure.stopping import Decision, Spread, first_look_ns
from runner.measure.windows import closed_windows, decide_by_windows, disagreement, slice_ns
from runner.results.histogram import Histogram
from runner.scenario.schema import Measure
from tests.unit.measure.simulate import Requests, ar1, single_server, slices

NS = 1_000_000_000


def settings(**stability: Any) -> MeasureSettings:
    return resolve(Measure.model_validate({"stability": {"kind": "windows", **stability}}))


def rule(**stability: Any) -> WindowsRule:
    found = settings(**stability).windows
    assert found is not None
    return found


def play(cut: list[Slice], asked: MeasureSettings, slots: int = 1) -> tuple[Decision, list[float]]:
    """Show the slices as an engine would; the decision, and the times at which it was asked."""
    history, look_ns, looks = History(), first_look_ns(asked), []
    for each in cut:
        history.extend([each])
        if each.end_ns >= look_ns:
            looks.append(each.end_ns / NS)
            decision = decide_by_windows(Series.of(history.slices), asked, slots)
            if decision.stop:
                return decision, looks
            assert decision.next_look_ns > each.end_ns
            look_ns = decision.next_look_ns
    raise AssertionError("the rule never stops")


def made_of(*windows: tuple[int, float], length_s: int = 5) -> list[Slice]:
    """Slices of 100 ms; each window is (requests per slice, latency in seconds)."""
    [empty] = slices(single_server(np.full(1, 1000.0), 1), 0.1)
    found = []
    for number in range(len(windows) * length_s * 10):
        ok, latency_s = windows[number // (length_s * 10)]
        latency_ns = int(latency_s * NS)
        found.append(
            replace(
                empty,
                start_ns=number * NS // 10,
                end_ns=(number + 1) * NS // 10,
                ok=ok,
                sent=ok,
                latency_sum_ns=ok * latency_ns,
                latency=Histogram.from_values([latency_ns] * ok),
            )
        )
    return found


def test_three_windows_alike_stop_and_are_measured_together() -> None:
    decision, looks = play(made_of((10, 0.1), (10, 0.1), (10, 0.1), (10, 0.1)), settings())
    assert decision.reason == "three windows alike"
    assert decision.window == Window(0, 15 * NS)
    assert decision.warmup.steady
    assert looks[-1] == 15


def test_the_last_three_count_and_what_comes_before_is_warmup() -> None:
    decision, _ = play(made_of((2, 0.5), (5, 0.2), (10, 0.1), (10, 0.1), (10, 0.1), (10, 0.1)), settings())
    assert decision.window == Window(10 * NS, 25 * NS)
    assert decision.warmup.end_ns == 10 * NS
    assert decision.warmup.requests_per_slot == 350


@pytest.mark.parametrize(("largest", "alike"), [(110, True), (111, False)])
def test_the_limit_is_the_largest_over_the_smallest(largest: int, alike: bool) -> None:
    series = Series.of(made_of((100, 0.1), (105, 0.1), (largest, 0.1)))
    found = disagreement(series, closed_windows(series, rule(), 0), None)
    assert found.what == "throughput"
    assert (found.share <= 0.10 + 1e-9) == alike


def test_latency_is_never_ignored() -> None:
    """perf_analyzer --async printed these windows for 60/s offered to a server of 40/s, and called them stable."""
    windows = [(4, latency) for latency in (0.54, 1.32, 2.13, 2.94, 3.7, 4.5, 5.3, 6.1, 6.9, 7.7)]
    decision, _ = play(made_of(*windows), settings())
    assert decision.reason == "windows never alike"
    assert not decision.warmup.steady
    assert decision.window == Window(35 * NS, 50 * NS)
    assert decision.apart == Spread("mean latency", pytest.approx(7.7 / 6.1 - 1, rel=1e-3))  # type: ignore[arg-type]


def test_a_window_without_answers_is_like_no_other() -> None:
    series = Series.of(made_of((10, 0.1), (0, 0.1), (10, 0.1)))
    assert disagreement(series, closed_windows(series, rule(), 0), None) == Spread("throughput", float("inf"))


def test_a_percentile_can_be_compared_instead_of_the_mean() -> None:
    service = np.full(3000, 0.01)
    service[500:1000:20] = 0.06  # 5 % of the second window take six times as long
    series = Series.of(slices(single_server(service, 1), 20.0))
    windows = closed_windows(series, rule(), 0)[:3]
    assert disagreement(series, windows, None).share < 0.30
    assert disagreement(series, windows, 99.0).what == "p99"
    assert disagreement(series, windows, 99.0).share > 4


def test_windows_by_count_end_with_the_slice_that_fills_them() -> None:
    series = Series.of(made_of((10, 0.1), (20, 0.1)))
    found = closed_windows(series, rule(requests=250, trials=3), 0)
    assert [window.seconds for window in found] == pytest.approx([2.5, 2.5, 1.3])
    decision, _ = play(made_of((10, 0.1)), settings(requests=50))
    assert decision.window == Window(0, 15 * NS // 10)


def test_windows_by_count_that_never_fill_end_at_the_cap() -> None:
    asked = resolve(
        Measure.model_validate({"stability": {"kind": "windows", "requests": 10_000}, "window": {"max": "4s"}})
    )
    decision, _ = play(made_of((10, 0.1)), asked)
    assert (decision.reason, decision.warmup.steady) == ("time cap", False)
    assert decision.window == Window(0, 4 * NS)


@pytest.mark.parametrize("interval", ["5s", "7s", "300ms", "100ms", "3333ms", "60s"])
def test_windows_end_where_slices_do_however_long_the_run(interval: str) -> None:
    asked = rule(interval=interval, trials=40)
    length = slice_ns(asked)
    assert length <= 100_000_000
    history = History()
    [empty] = slices(single_server(np.full(1, 1000.0), 1), 0.1)
    for number in range(round(20 * asked.interval_s * NS / length)):
        history.extend([replace(empty, start_ns=number * length, end_ns=(number + 1) * length)])
    ends = [window.end_ns for window in closed_windows(Series.of(history.slices), asked, 0)]
    assert len(ends) >= 19
    assert ends == pytest.approx([(n + 1) * asked.interval_s * NS for n in range(len(ends))], rel=1e-6)


def test_the_users_own_warmup_is_kept_and_the_profiles_is_not() -> None:
    assert settings().warmup_min_s == 0
    asked = resolve(Measure.model_validate({"stability": {"kind": "windows"}, "warmup": {"min_time": "5s"}}))
    decision, _ = play(made_of((2, 0.5), *[(10, 0.1)] * 5), asked)
    assert decision.window == Window(5 * NS, 20 * NS)


def test_the_rule_accepts_a_drift_that_the_trend_test_finds() -> None:
    """Why it is not the default: 0.4 % per second, 20 seeds."""
    accepted = flagged = 0
    for seed in range(20):
        noise = ar1(np.random.default_rng(seed), 12_000, 0, 0.05)
        service = 0.005 * (1 + 0.004 * 0.005 * np.arange(12_000)) * noise
        cut = slices(single_server(service, 1), 50.0)
        decision, _ = play(cut, settings())
        accepted += decision.warmup.steady
        flagged += find_drift(Series.of(cut).within(decision.window)).found
    assert accepted == 20
    assert flagged >= 19


def recorded(name: str, slice_ns: int, end_s: float) -> list[Slice]:
    """A real load, request by request."""
    found = json.loads((Path(__file__).parent / "recorded" / f"{name}.json").read_text(encoding="utf-8"))
    sent, done = (np.array(found[key], np.int64) * 1000 for key in ("sent_us", "done_us"))
    return slices(Requests(sent, done), end_s, slice_ns)


@pytest.mark.parametrize(
    ("stability", "reason", "window_s"),
    [
        ({}, "windows never alike", (14.0, 20.0)),
        ({"within": "30%"}, "three windows alike", (8.0, 14.0)),
        ({"within": "60%"}, "three windows alike", (2.0, 8.0)),
        ({"within": "30%", "percentile": 90}, "three windows alike", (8.0, 14.0)),
        ({"requests": 20, "within": "20%"}, "three windows alike", (8.1875, 15.375)),
    ],
)
def test_a_recorded_load_is_judged_as_it_was(
    stability: dict[str, Any], reason: str, window_s: tuple[float, float]
) -> None:
    """The first row is what the run itself found, and its flag; the others follow from the same requests.

    Answers in windows of 2 s: 15 31 32 22 17 16 19 24 19 20; mean latencies 475 267 252 342 469 496 415 371 384 421 ms.
    """
    asked = settings(interval="2s", **stability)
    assert asked.windows is not None
    decision, _ = play(recorded("efficientnet_c4", slice_ns(asked.windows), 20.0), asked, slots=4)
    found = (decision.window.start_ns / NS, decision.window.end_ns / NS)
    assert (decision.reason, found) == (reason, pytest.approx(window_s, abs=0.07))


@pytest.mark.parametrize("trials", [1, 2])
def test_fewer_than_three_windows_are_kept_and_never_steady(trials: int) -> None:
    decision, _ = play(made_of((10, 0.1), (10, 0.1), (10, 0.1)), settings(trials=trials))
    assert decision.reason == "windows never alike"
    assert decision.window == Window(0, trials * 5 * NS)
    assert (decision.warmup.steady, decision.apart) == (False, None)


def test_windows_may_differ_by_more_than_their_value() -> None:
    decision, _ = play(made_of((10, 0.1), (30, 0.1), (50, 0.1)), settings(within="999%"))
    assert decision.reason == "three windows alike"


def test_windows_begin_after_the_requests_that_warm_up() -> None:
    asked = resolve(Measure.model_validate({"stability": {"kind": "windows"}, "warmup": {"requests": 101}}))
    decision, _ = play(made_of(*[(10, 0.1)] * 6), asked)
    # Ten answers in each slice of 0.1 s.
    assert decision.window == Window(11 * NS // 10, 161 * NS // 10)


def test_a_warm_up_by_number_takes_no_window_away() -> None:
    asked = resolve(
        Measure.model_validate({"stability": {"kind": "windows", "trials": 3}, "warmup": {"requests": 101}})
    )
    decision, _ = play(made_of(*[(10, 0.1)] * 6), asked)
    assert decision.reason == "three windows alike"
