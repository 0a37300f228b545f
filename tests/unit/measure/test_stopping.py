"""The stop rule on simulated servers: when it looks, why it stops, what the whole procedure calls unsteady."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runner.load.engine import Slice
from runner.measure.series import Series
from runner.measure.settings import EXPLORE, MeasureSettings
from runner.measure.stopping import Decision, decide, first_look_ns, precise, too_many_errors
from runner.measure.summary import Findings, summarise
from tests.unit.measure.simulate import Requests, ar1, single_server, slices


def play(cut: list[Slice], slots: int, settings: MeasureSettings = EXPLORE) -> tuple[Decision, list[float]]:
    """Ask at the times the rule asks for; the final decision and the times."""
    ends, look, looks = [s.end_ns for s in cut], first_look_ns(settings), []
    while True:
        position = int(np.searchsorted(ends, look))
        looks.append(ends[position] / 1e9)
        decision = decide(Series.of(cut[: position + 1]), settings, slots)
        if decision.stop:
            return decision, looks
        assert decision.next_look_ns > ends[position]
        look = decision.next_look_ns


def outcome(service_s: np.ndarray, slots: int = 4, settings: MeasureSettings = EXPLORE) -> Findings:
    cut = slices(single_server(service_s, slots), settings.deadline_s)
    decision, _ = play(cut, slots, settings)
    return summarise(
        cut,
        decision.window,
        batch=1,
        workers=1,
        settings=settings,
        steady=decision.warmup.steady,
        stop_reason=str(decision.reason),
    )


def test_a_quiet_server_is_measured_for_the_shortest_time() -> None:
    cut = slices(single_server(np.full(4000, 0.01), 4), 22.0)
    decision, looks = play(cut, 4)
    assert decision.reason == "precision reached"
    assert looks == [10.0]
    assert (decision.window.start_ns, decision.window.end_ns) == (2_000_000_000, 10_000_000_000)


def test_looks_double_until_the_cap() -> None:
    settings = replace(EXPLORE, window_min_s=2.0, throughput=1e-9)
    cut = slices(single_server(0.01 * ar1(np.random.default_rng(0), 4000, 0, 0.3), 4), 22.0)
    decision, looks = play(cut, 4, settings)
    assert looks == [4.0, 6.0, 10.0, 18.0, 22.0]
    assert decision.reason == "time cap"


def test_a_late_warmup_postpones_the_look_by_what_is_missing() -> None:
    service = np.concatenate([np.full(95, 0.04), np.full(3000, 0.01)]) * ar1(np.random.default_rng(1), 3095, 0, 0.02)
    decision, looks = play(slices(single_server(service, 1), 22.0), 1)
    assert decision.window.start_ns == pytest.approx(4e9, abs=6e8)
    assert looks == [10.0, pytest.approx(decision.window.start_ns / 1e9 + 8, abs=0.5)]
    assert decision.window.seconds >= 8


def test_a_server_that_never_answers_goes_on_to_the_cap() -> None:
    decision, _ = play(slices(Requests(np.zeros(4, int), np.full(4, 10**12)), 22.0), 4)
    assert decision.reason == "time cap"
    assert decide(Series.of([]), EXPLORE, 4).stop is False


def test_a_slow_point_is_measured_to_the_cap_and_says_so() -> None:
    found = outcome(0.5 * ar1(np.random.default_rng(0), 80, 0, 0.2), slots=1)
    assert found.summary.stop_reason == "time cap"
    assert not found.summary.precision_met


def test_precision_needs_every_half_width() -> None:
    cut = slices(single_server(0.01 * ar1(np.random.default_rng(0), 4000, 0, 0.2), 4), 12.0)
    decision = decide(Series.of(cut), EXPLORE, 4)
    series = Series.of(cut).within(decision.window)
    assert precise(series, decision.window, EXPLORE, 0.95)
    for strict in (
        replace(EXPLORE, throughput=1e-4),
        replace(EXPLORE, mean=1e-4),
        replace(EXPLORE, percentile_precision={95.0: 1e-4}),
        replace(EXPLORE, percentile_precision={99.99: 0.5}),
    ):
        assert not precise(series, decision.window, strict, 0.95)
    assert not precise(Series.of([]), decision.window, EXPLORE, 0.95)


@pytest.mark.parametrize(
    ("ok", "failed", "limit", "expected"),
    [
        (95, 5, 0.05, False),
        (94, 6, 0.05, True),
        (0, 5, 0.05, False),
        (0, 6, 0.05, True),
        (999, 1, 0.0, True),
        (9500, 500, 0.05, False),
        (9499, 501, 0.05, True),
        (0, 9999, 1.0, False),
    ],
)
def test_the_error_budget(ok: int, failed: int, limit: float, expected: bool) -> None:
    assert too_many_errors(ok, failed, replace(EXPLORE, max_error_rate=limit)) is expected


def test_healthy_servers_are_hardly_ever_called_unsteady() -> None:
    seeds, unsteady = 60, 0
    for seed in range(seeds):
        unsteady += not outcome(0.02 * ar1(np.random.default_rng(seed), 1500, 0.3, 0.15)).summary.steady
    assert unsteady / seeds <= 0.05


def test_the_interval_still_covers_after_looking_more_than_once() -> None:
    truth = 1 / 0.02
    seeds, hits = 60, 0
    for seed in range(seeds):
        estimate = outcome(0.02 * ar1(np.random.default_rng(500 + seed), 1500, 0.3, 0.2)).summary.requests_per_s
        assert estimate.low is not None
        assert estimate.high is not None
        hits += estimate.low <= truth <= estimate.high
    assert hits / seeds >= 0.90


def test_drift_is_flagged_when_the_window_is_long_enough() -> None:
    settings = replace(EXPLORE, window_min_s=20.0)
    found = 0
    for seed in range(20):
        service = 0.01 * ar1(np.random.default_rng(seed), 3000, 0.0, 0.1)
        service *= 1 + 0.005 * np.cumsum(service)
        found += not outcome(service, settings=settings).summary.steady
    assert found >= 19


def test_a_window_with_too_few_answers_or_batches_goes_on() -> None:
    """A quiet server reaches its precision at the first look; the floors keep it until they are reached, too."""
    cut = slices(single_server(np.full(4000, 0.01), 4), 22.0)
    assert play(cut, 4, replace(EXPLORE, window_min_completions=1500))[1] == [10.0, 18.0]
    assert play(cut, 4, replace(EXPLORE, window_min_completions=700))[1] == [10.0]
    assert play(cut, 4, replace(EXPLORE, window_min_completions=1_000_000))[0].reason == "time cap"
    few = slices(single_server(np.full(400, 0.08), 1), 22.0)  # 100 answers in 8 s are 12 batches of 8
    relaxed = replace(EXPLORE, throughput=0.5, mean=0.5, percentile_precision={})
    assert play(few, 1, relaxed)[1] == [10.0]
    assert play(few, 1, replace(relaxed, window_min_batches=20))[1] == [10.0, 18.0]
