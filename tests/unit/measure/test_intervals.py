"""Intervals must cover what they promise, on correlated data, in simulation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from runner.measure.intervals import (
    MAX_BATCHES,
    binomial_quantile,
    half_width,
    lag1_correlation,
    mean_latency,
    order_statistics,
    percentile,
    student_t,
    throughput,
)
from runner.measure.series import Series, Window
from runner.results.histogram import Histogram
from runner.results.records import Estimate
from tests.unit.measure.simulate import Requests, ar1, histogram, lognormal, open_loop, single_server, slices

SEEDS = 200


def window_of(requests: Requests, start_s: float, end_s: float, slice_ns: int) -> Series:
    series = Series.of(slices(requests, end_s, slice_ns))
    return series.within(Window(int(start_s * 1e9), int(end_s * 1e9)))


def test_few_slices_with_a_short_last_one_leave_no_batch_empty() -> None:
    arrivals = np.arange(160) / 2000
    cut = slices(open_loop(arrivals, np.full(160, 1e-5)), 0.1, 20_000_000)
    series = Series.of([*cut[:4], replace(cut[4], end_ns=cut[4].start_ns + 1_000_000)])
    estimate = throughput(series, series.seconds, 0.95).estimate
    assert estimate.low is not None
    assert math.isfinite(estimate.low)


def test_items_are_counted_with_an_interval_of_their_own() -> None:
    requests_sent = open_loop(np.arange(2000) / 500, lognormal(np.random.default_rng(1), 2000, 0.001, 0.4))
    series = window_of(requests_sent, 0.0, 3.9, 50_000_000)
    requests = throughput(series, series.seconds, 0.95).estimate
    twice = throughput(series, series.seconds, 0.95, 2 * series.ok).estimate
    assert twice.value == pytest.approx(2 * requests.value)
    assert twice.low == pytest.approx(2 * (requests.low or 0))
    # Sizes that vary add to what is uncertain.
    sizes = np.random.default_rng(2).choice([1, 15], len(series)) * series.ok
    assert half_width(throughput(series, series.seconds, 0.95, sizes).estimate) > 3 * half_width(requests)


Make = Callable[[np.random.Generator], Requests]


def coverage(make: Make, truth: dict[str, float], seconds: float) -> dict[str, float]:
    """Share of seeds whose 95 % interval holds the true value (to the histogram's resolution)."""
    hits = dict.fromkeys(truth, 0)
    for seed in range(SEEDS):
        # 60 slices: coarse enough to simulate 200 trials in seconds, fine enough for 30 batches.
        series = window_of(make(np.random.default_rng(seed)), 1.0, 1.0 + seconds, int(seconds * 1e9 / 60))
        latency = series.latency()
        estimates = {
            "throughput": throughput(series, series.seconds, 0.95).estimate,
            "mean": mean_latency(series, 0.95).estimate,
            **{f"p{q}": percentile(series, q, 0.95, latency).estimate for q in (50, 95, 99)},
        }
        for name, value in truth.items():
            low, high = estimates[name].low, estimates[name].high
            hits[name] += (low is None or low <= value * 1.001) and (high is None or value <= high * 1.001)
    return {name: n / SEEDS for name, n in hits.items()}


def closed_truth(service: np.ndarray, slots: int) -> dict[str, float]:
    latency_ms = single_server(service, slots).latency[slots:] / 1e6
    quantiles = {f"p{q}": float(np.quantile(latency_ms, q / 100, method="inverted_cdf")) for q in (50, 95, 99)}
    return {"throughput": 1 / float(service.mean()), "mean": float(latency_ms.mean()), **quantiles}


@pytest.mark.parametrize(("slots", "phi", "sd"), [(4, 0.0, 0.2), (16, 0.5, 0.1)])
def test_coverage_in_a_closed_loop(slots: int, phi: float, sd: float) -> None:
    def make(rng: np.random.Generator) -> Requests:
        return single_server(0.02 * ar1(rng, 1400, phi, sd), slots)

    truth = closed_truth(0.02 * ar1(np.random.default_rng(999), 1_000_000, phi, sd), slots)
    covered = coverage(make, truth, seconds=20)
    assert 0.90 <= covered["throughput"] <= 0.985, covered
    assert 0.90 <= covered["mean"] <= 0.985, covered
    assert 0.90 <= covered["p50"] <= 0.985, covered
    assert 0.90 <= covered["p95"] <= 0.985, covered
    assert covered["p99"] >= 0.85, covered


def test_coverage_in_an_open_queue() -> None:
    """M/D/1 at rho 0.5: exact mean 1.5 D, p50 1.0 D, p95 3.051 D, p99 4.336 D."""

    def make(rng: np.random.Generator) -> Requests:
        return open_loop(np.cumsum(rng.exponential(0.02, 2300)), np.full(2300, 0.01))

    covered = coverage(make, {"throughput": 50, "mean": 15.0, "p95": 30.51, "p99": 43.36}, seconds=40)
    assert all(0.90 <= covered[name] <= 0.985 for name in ("throughput", "mean", "p95")), covered
    assert covered["p99"] >= 0.85, covered


def test_independent_looking_intervals_would_not_cover() -> None:
    """The reason for the effective sample size: i.i.d. order statistics miss the p95 of a queue far too often."""
    hits = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        requests = open_loop(np.cumsum(rng.exponential(0.0125, 4000)), np.full(4000, 0.01))
        latency = histogram(requests.latency)
        low, high = order_statistics(latency, 0.95, latency.count, 0.95)
        hits += low is not None and high is not None and low <= 76.2 <= high
    assert hits < 60


def test_rank_intervals_on_a_histogram_equal_exact_ones() -> None:
    values = np.sort((lognormal(np.random.default_rng(3), 5000, 20e6, 0.5)).astype(np.int64))
    for q in (0.5, 0.9, 0.95, 0.99):
        low, high = order_statistics(histogram(values), q, len(values), 0.95)
        ranks = stats.binom.ppf([0.025, 0.975], len(values), q)
        assert low == pytest.approx(values[int(ranks[0]) - 1] / 1e6, rel=1e-3)
        assert high == pytest.approx(values[int(ranks[1])] / 1e6, rel=1e-3)


@pytest.mark.parametrize(("q", "needed"), [(0.95, 72), (0.99, 368), (0.999, 3688)])
def test_a_bound_that_the_sample_does_not_support_is_none(q: float, needed: int) -> None:
    assert order_statistics(Histogram.from_values(range(1, needed)), q, needed - 1, 0.95)[1] is None
    assert order_statistics(Histogram.from_values(range(1, needed + 1)), q, needed, 0.95)[1] is not None


def test_a_tiny_sample_has_no_lower_bound_either() -> None:
    assert order_statistics(Histogram.from_values([5, 6]), 0.5, 2, 0.95) == (None, None)


@pytest.mark.parametrize(("p", "n", "q"), [(0.025, 100, 0.95), (0.975, 100, 0.95), (0.02, 5, 0.5), (0.9, 99999, 0.999)])
def test_binomial_quantiles_are_exact(p: float, n: int, q: float) -> None:
    assert binomial_quantile(p, n, q) == stats.binom.ppf(p, n, q)


def test_students_t() -> None:
    assert student_t(0.95, 19) == pytest.approx(stats.t.ppf(0.975, 19))


def test_throughput_is_completions_over_the_exact_window() -> None:
    series = window_of(single_server(np.full(3000, 0.01), 1), 1.0, 11.0, 100_000_000)
    found = throughput(series, series.seconds, 0.95)
    assert found.estimate.value == series.completions / 10
    # Ten completions to a slice, but the edges cut requests: progress knows that nothing varies.
    assert half_width(found.estimate) < 1e-3
    assert found.reliable


def test_clumps_of_a_batching_server_do_not_widen_the_interval() -> None:
    """16 answers every 160 ms: counts per batch jump by 16, the work done does not."""
    done = np.repeat(np.arange(1, 200) * 160_000_000, 16)
    series = window_of(Requests(done - 160_000_000, done), 2.0, 22.0, 100_000_000)
    found = throughput(series, series.seconds, 0.95)
    assert found.estimate.value == pytest.approx(100, rel=0.01)
    assert half_width(found.estimate) < 0.01
    assert found.estimate.low is not None
    assert found.estimate.high is not None
    assert found.estimate.low <= 100 <= found.estimate.high


def test_correlated_batches_are_merged_and_else_not_trusted() -> None:
    rng = np.random.default_rng(0)
    walk = 0.02 * (1 + 0.3 * np.sin(np.arange(3000) / 150) + rng.normal(0, 0.02, 3000))
    found = mean_latency(window_of(single_server(walk, 1), 1.0, 31.0, 100_000_000), 0.95)
    assert found.batches < MAX_BATCHES
    assert not found.reliable


def test_too_few_requests_have_a_value_and_no_interval() -> None:
    series = window_of(Requests(np.array([0]), np.array([50_000_000])), 0.0, 0.3, 100_000_000)
    assert throughput(series, 0.3, 0.95).estimate == Estimate(pytest.approx(1 / 0.3))
    assert mean_latency(series, 0.95).estimate == Estimate(50.0)
    only = percentile(series, 99, 0.95)
    # One value is a lower bound of the p99: it lies below it with 99 %.
    assert (only.estimate.low, only.estimate.high, only.n_eff) == (pytest.approx(50, rel=1e-3), None, 1.0)


def test_without_completions() -> None:
    nothing = Series.of(slices(Requests(np.array([0]), np.array([10**10])), 1.0))
    assert throughput(nothing, 1.0, 0.95).estimate == Estimate(0.0)
    with pytest.raises(ValueError, match="no completions"):
        mean_latency(nothing, 0.95)


def test_half_width_is_the_wider_side_and_infinite_without_a_bound() -> None:
    assert half_width(Estimate(10, 9, 12)) == pytest.approx(0.2)
    assert half_width(Estimate(10, 9, None)) == math.inf


def test_lag1() -> None:
    assert lag1_correlation(np.ones(10)) == 0
    assert lag1_correlation(np.arange(20.0)) > 0.8
    assert lag1_correlation(np.tile([1.0, -1.0], 10)) < -0.9
