"""Rows 7 and 14 of the validation table: the stop rule on a slow queue, the warm-up rule on a slow start."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runner.measure.selftest.simulate import open_loop
from runner.measure.selftest.theory import daley_requests, mm1
from runner.measure.selftest.virtual import closed, opened, run_trial
from runner.measure.settings import EXPLORE

RATE = 500.0
HALF_WIDTH = 0.05
SETTINGS = replace(EXPLORE, throughput=None, mean=HALF_WIDTH, percentile_precision={}, window_max_s=240.0)


def needed(load: float) -> float:
    """Requests for the mean time in system; the wait alone, which Daley's formula is of, checks the simulation."""
    rng = np.random.default_rng(0)
    count = 4_000_000
    service = rng.exponential(load, count)
    sojourn = open_loop(np.cumsum(rng.exponential(1.0, count)), service).latency / 1e9
    variance = sojourn.reshape(400, -1).mean(axis=1).var(ddof=1) * count / 400
    return float((1.96 / HALF_WIDTH) ** 2 * variance / sojourn.mean() ** 2)


def test_the_simulated_run_length_is_daleys() -> None:
    """Time in system is wait and service: at 0.5 half of it is wait, so a quarter of Daley's number is the least."""
    assert 0.25 < needed(0.5) / daley_requests(0.5) < 0.4


@pytest.mark.parametrize("load", [0.5, 0.7])
def test_the_stop_rule_does_not_stop_far_too_early(load: float) -> None:
    seeds, stopped_at, near = 12, [], 0
    exact_ms = mm1(load).mean * load / RATE * 1e3
    for seed in range(seeds):
        summary = run_trial(opened(load, RATE, exponential=True)(np.random.default_rng(seed), 250.0), SETTINGS)[
            0
        ].summary
        assert summary.stop_reason == "precision reached"
        stopped_at.append(summary.completions)
        near += abs(summary.latency_mean_ms.value / exact_ms - 1) <= HALF_WIDTH
    assert np.median(stopped_at) >= 0.5 * needed(load)
    assert near >= seeds - 2


def test_ten_slow_seconds_are_cut_away_and_leave_no_bias() -> None:
    slow = closed(4, 0.02, 0.1, warp=lambda at_s: np.where(at_s < 10 / 3, 3.0, 1.0))
    rates = []
    for seed in range(20):
        summary = run_trial(slow(np.random.default_rng(seed), 23.0))[0].summary
        # The last slow request is answered a few milliseconds before or after the tenth second.
        assert summary.warmup_s >= 9.8
        rates.append(summary.requests_per_s.value)
    assert np.mean(rates) == pytest.approx(50, rel=0.005)
