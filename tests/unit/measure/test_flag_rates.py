"""Rows 15 and 16 of the validation table: what misbehaves is found in 95 % of trials, what does not in at most 5 %."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runner.measure.selftest.virtual import (
    Make,
    busy,
    closed,
    drifting,
    flag_rates,
    opened,
    slower_from,
    stopped,
)
from runner.measure.settings import EXPLORE

STEADY = closed(4, 0.025, 0.1)
"""40 requests per second, service times with 10 % standard deviation."""

pytestmark = pytest.mark.no_cover
"""Hundreds of simulated trials: tracing them would double their time and cover nothing new."""


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(STEADY, id="4 in flight"),
        pytest.param(closed(64, 0.02, 0.2), id="64 in flight"),
        pytest.param(opened(0.8, 50, exponential=True), id="M/M/1 at 0.8"),
    ],
)
def test_a_healthy_server_is_rarely_flagged(make: Make) -> None:
    rates = flag_rates(make)
    assert rates.invalid <= 0.05, rates
    assert rates.unsteady <= 0.05, rates


def test_a_drift_of_half_a_percent_per_second_is_found() -> None:
    rates = flag_rates(closed(4, 0.025, 0.1, warp=drifting(0.005)))
    assert rates.unsteady >= 0.95, rates


def test_a_step_is_found_though_the_warmup_rule_would_cut_it_away() -> None:
    rates = flag_rates(closed(4, 0.025, 0.05, warp=slower_from(6.0, 0.05)))
    assert rates.unsteady >= 0.95, rates
    assert rates.by_code["step"] >= 0.95, rates


def test_a_noisy_server_needs_a_longer_window() -> None:
    """At 20 % noise the 800 requests of explore cannot tell a drift of 0.5 %/s from none; two minutes can."""
    noisy = closed(4, 0.025, 0.2, warp=drifting(0.005))
    longer = replace(EXPLORE, window_min_s=120.0, window_max_s=120.0)
    assert flag_rates(noisy, seeds=30, settings=longer).unsteady == 1


@pytest.mark.parametrize(("rate", "exponential"), [(100, False), (500, True)])
def test_a_rate_beyond_the_server_is_saturated(rate: float, exponential: bool) -> None:
    rates = flag_rates(opened(1.05, rate, exponential), seeds=100)
    assert rates.by_code["saturated"] >= 0.95, rates


def test_a_stopped_client_is_always_found() -> None:
    for load in (STEADY, opened(0.5, 50, exponential=False)):
        assert flag_rates(stopped(load, 5.0, 1.0), seeds=40).by_code["client_limited"] == 1


def test_a_busy_client_is_always_found() -> None:
    assert flag_rates(busy(STEADY, 0.9), seeds=20).by_code["client_limited"] == 1
    assert "client_limited" not in flag_rates(busy(STEADY, 0.8), seeds=20).by_code
    assert flag_rates(STEADY, seeds=20, ceiling_per_s=100.0).by_code["client_limited"] == 1
    assert "client_limited" not in flag_rates(STEADY, seeds=20, ceiling_per_s=130.0).by_code
