from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from runner.measure.intervals import throughput
from runner.measure.series import Series, Window
from runner.results.histogram import Histogram, bucket_index
from tests.unit.measure.simulate import Requests, bucket_indices, closed_loop, lognormal, single_server, slices


@pytest.fixture(scope="module")
def requests() -> Requests:
    return closed_loop(lognormal(np.random.default_rng(1), 2000, 0.01, 0.4), slots=6, servers=2)


@pytest.fixture(scope="module")
def series(requests: Requests) -> Series:
    return Series.of(slices(requests, 8.0))


def test_the_simulators_buckets_are_the_histograms() -> None:
    values = [0, 1, 2047, 2048, 4097, 123_456_789, 10**12]
    assert bucket_indices(np.array(values)).tolist() == [bucket_index(v) for v in values]


def test_the_two_simulators_agree() -> None:
    service = lognormal(np.random.default_rng(2), 300, 0.01, 0.4)
    one, other = closed_loop(service, slots=4), single_server(service, slots=4)
    assert one.sent.tolist() == other.sent.tolist()
    assert one.done.tolist() == other.done.tolist()


def test_totals_equal_the_requests(series: Series, requests: Requests) -> None:
    done = requests.done < 8e9
    assert series.completions == done.sum()
    assert series.mean_ns == pytest.approx(requests.latency[done].mean())
    assert series.in_flight[-1] == 6
    assert series.in_flight_before == 0
    assert series.in_flight_ns.sum() == pytest.approx(6 * 8e9, rel=1e-9)
    assert series.seconds == pytest.approx(8)


def test_the_table_of_latencies_is_the_merged_histogram(requests: Requests) -> None:
    cut = slices(requests, 8.0)
    assert Series.of(cut).latency() == Histogram.merged(s.latency for s in cut)


def test_a_window_is_half_open_at_slice_edges(series: Series, requests: Requests) -> None:
    inner = series.within(Window(2_000_000_000, 5_000_000_000))
    assert inner.start_ns[0] == 2_000_000_000
    assert inner.end_ns[-1] == 5_000_000_000
    assert inner.completions == ((requests.done >= 2e9) & (requests.done < 5e9)).sum()
    assert inner.latency().count == inner.completions
    assert inner.in_flight_before == 6


def test_parts_are_contiguous_and_share_everything(series: Series) -> None:
    parts = series.parts(7)
    assert (np.diff(parts) >= 0).all()
    assert set(parts) == set(range(7))
    assert series.totals(series.ok, parts, 7).sum() == series.completions


@pytest.mark.parametrize("last_ns", [1, 30_000_000, 99_999_999])
def test_a_short_last_slice_leaves_no_part_empty(requests: Requests, last_ns: int) -> None:
    """As many parts as slices: cut by time, a short last slice pushed two slices into one part and left one empty."""
    cut = slices(requests, 1.0)
    cut[-1] = replace(cut[-1], end_ns=cut[-1].start_ns + last_ns)
    series = Series.of(cut)
    assert sorted(set(series.parts(len(series)).tolist())) == list(range(len(series)))
    rate = throughput(series, series.seconds, 0.95).estimate
    assert rate.low is not None
    assert rate.high is not None
    assert math.isfinite(rate.low)
    assert math.isfinite(rate.high)


def test_counts_above_and_medians_equal_merging_histograms_of_each_part(requests: Requests) -> None:
    cut = slices(requests, 8.0)
    series = Series.of(cut)
    parts = series.parts(9)
    merged = [Histogram.merged(s.latency for s, p in zip(cut, parts, strict=True) if p == k) for k in range(9)]
    value = series.latency().quantile(0.9)
    assert series.above(bucket_index(value), parts, 9).tolist() == [h.count_above(value) for h in merged]
    assert series.medians_ns(parts, 9).tolist() == [h.quantile(0.5) for h in merged]


def test_a_part_without_completions_has_no_median() -> None:
    quiet = Series.of(slices(Requests(np.array([0, 10**9]), np.array([5 * 10**7, 2 * 10**9 + 1])), 2.5))
    medians = quiet.medians_ns(quiet.parts(5), 5)
    assert np.isnan(medians).tolist() == [False, True, True, True, False]


def test_an_empty_series_is_no_trouble() -> None:
    empty = Series.of([])
    assert (len(empty), empty.completions, empty.in_flight_before, empty.latency().count) == (0, 0, 0, 0)
    assert math.isnan(empty.mean_ns)
    assert len(empty.within(Window(0, 10))) == 0
