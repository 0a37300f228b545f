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
SETTINGS = replace(EXPLORE, throughput=None, percentile_precision={}, window_max_s=240.0)

pytestmark = pytest.mark.no_cover
"""Hundreds of simulated trials: tracing them would double their time and cover nothing new."""


def needed(load: float, half_width: float) -> float:
    """Requests for the mean time in system; the wait alone, which Daley's formula is of, checks the simulation."""
    rng = np.random.default_rng(0)
    count = 2_000_000
    service = rng.exponential(load, count)
    sojourn = open_loop(np.cumsum(rng.exponential(1.0, count)), service).latency / 1e9
    variance = sojourn.reshape(400, -1).mean(axis=1).var(ddof=1) * count / 400
    return float((1.96 / half_width) ** 2 * variance / sojourn.mean() ** 2)


def test_the_simulated_run_length_is_daleys() -> None:
    """Time in system is wait and service: at 0.5 half of it is wait, so a quarter of Daley's number is the least."""
    assert 0.25 < needed(0.5, 0.05) / daley_requests(0.5) < 0.4


@pytest.mark.parametrize(("load", "half_width"), [(0.5, 0.05), (0.7, 0.08)])
def test_the_stop_rule_does_not_stop_far_too_early(load: float, half_width: float) -> None:
    exact_ms = mm1(load).mean * load / RATE * 1e3
    systems = [opened(load, RATE, exponential=True)(np.random.default_rng(seed), 250.0) for seed in range(8)]
    ended = [run_trial(system, replace(SETTINGS, mean=half_width))[0].summary for system in systems]
    precise = [summary for summary in ended if summary.stop_reason == "precision reached"]
    # The others saw something that might be a drift at each look and went to the cap: late, not early.
    assert len(precise) >= 3
    assert np.median([summary.completions for summary in precise]) >= 0.5 * needed(load, half_width)
    off = [abs(summary.latency_mean_ms.value / exact_ms - 1) for summary in precise]
    assert sum(each <= half_width for each in off) >= len(precise) - 1


def test_ten_slow_seconds_are_cut_away_and_leave_no_bias() -> None:
    slow = closed(4, 0.02, 0.1, warp=lambda at_s: np.where(at_s < 10 / 3, 3.0, 1.0))
    rates = []
    for seed in range(20):
        summary = run_trial(slow(np.random.default_rng(seed), 23.0))[0].summary
        # The last slow request is answered a few milliseconds before or after the tenth second.
        assert summary.warmup_s >= 9.8
        rates.append(summary.requests_per_s.value)
    assert np.mean(rates) == pytest.approx(50, rel=0.005)
