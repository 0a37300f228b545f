from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import _engine
from runner.results.histogram import BUCKETS, HIGHEST_NS, Histogram, bucket_bounds, bucket_index

VALUES = st.lists(st.integers(0, HIGHEST_NS), min_size=1, max_size=50)


def exact_quantile(values: list[int], rank: int) -> int:
    return sorted(values)[rank - 1]


@given(st.integers(0, 2**63 - 1))
def test_the_layout_is_the_engines(value: int) -> None:
    index = bucket_index(value)
    assert index == _engine.bucket_index(value)
    assert bucket_bounds(index) == _engine.bucket_bounds(index)


def test_buckets_tile_without_gaps_and_are_never_wider_than_a_thousandth() -> None:
    expected = 0
    for index in range(BUCKETS):
        lowest, highest = bucket_bounds(index)
        assert lowest == expected
        assert bucket_index(lowest) == bucket_index(highest) == index
        assert highest == lowest or (highest - lowest) <= lowest / 1000
        expected = highest + 1
    assert expected > HIGHEST_NS
    for outside in (-1, BUCKETS):
        with pytest.raises(ValueError, match="bucket index"):
            bucket_bounds(outside)


@given(VALUES, st.data())
def test_ranks_are_those_of_the_sorted_values_within_a_bucket(values: list[int], data: st.DataObject) -> None:
    histogram = Histogram.from_values(values)
    rank = data.draw(st.integers(1, len(values)))
    exact = exact_quantile(values, rank)
    assert exact <= histogram.rank_value(rank) <= exact * 1.001
    assert histogram.count == len(values)
    assert histogram.min_ns <= min(values) <= max(values) <= histogram.max_ns


@given(VALUES, VALUES, VALUES)
def test_merging_equals_recording_together(a: list[int], b: list[int], c: list[int]) -> None:
    together = Histogram.from_values(a + b + c)
    parts = [Histogram.from_values(each) for each in (a, b, c)]
    assert Histogram.merged(parts) == together
    assert parts[0] + parts[1] + parts[2] == together
    assert hash(Histogram.merged(parts)) == hash(together)


@given(VALUES)
def test_encodings_give_back_the_same_histogram(values: list[int]) -> None:
    histogram = Histogram.from_values(values)
    assert Histogram.from_pairs(histogram.to_pairs()) == histogram
    assert Histogram.from_hdr_v2(histogram.to_hdr_v2()) == histogram


@given(VALUES, st.sampled_from([0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0]))
def test_another_implementation_reads_it_and_agrees(values: list[int], q: float) -> None:
    hdrh = pytest.importorskip("hdrh.histogram")
    histogram = Histogram.from_values(values)
    other = hdrh.HdrHistogram.decode(histogram.to_hdr_v2())
    assert other.get_total_count() == len(values)
    assert other.get_value_at_percentile(100) == histogram.max_ns
    rank = max(1, math.ceil(q * len(values) * (1 - 1e-15)))
    assert histogram.quantile(q) == histogram.rank_value(rank)


def test_quantiles_are_the_inverse_of_the_distribution() -> None:
    histogram = Histogram.from_values(range(1, 101))
    assert [histogram.quantile(q) for q in (0, 0.005, 0.01, 0.07, 0.5, 0.501, 0.99, 0.995, 1)] == [
        1, 1, 1, 7, 50, 51, 99, 100, 100,
    ]  # fmt: skip


def test_count_above_agrees_with_quantiles() -> None:
    histogram = Histogram.from_values([10, 20, 30, 5_000_000, 6_000_000])
    assert [histogram.count_above(v) for v in (0, 10, 25, 30, 5_500_000, 10**9)] == [5, 4, 3, 2, 1, 0]
    assert histogram.count_above(histogram.quantile(0.8)) == 1


def test_the_mean_is_within_half_a_bucket() -> None:
    values = [1_000_000 + 37_001 * n for n in range(500)]
    assert Histogram.from_values(values).mean_ns == pytest.approx(sum(values) / 500, rel=5e-4)


def test_the_standard_deviation_is_that_of_the_sample() -> None:
    values = [1_000_000 + 7_001 * i for i in range(500)]
    assert Histogram.from_values(values).std_ns == pytest.approx(statistics.stdev(values), rel=1e-3)
    assert Histogram.from_values([5_000, 5_000]).std_ns == 0
    assert math.isnan(Histogram.from_values([5_000]).std_ns)


def test_squares_of_long_latencies_do_not_overflow() -> None:
    """10^12 values an hour apart: their squared nanoseconds would need 118 bits."""
    two = Histogram.from_values([1_000, HIGHEST_NS])
    many = Histogram(two.indices, two.counts * 10**12)
    assert many.std_ns == pytest.approx(HIGHEST_NS / 2, rel=1e-3)


def test_an_empty_histogram_has_a_count_but_no_quantiles() -> None:
    empty = Histogram.empty()
    assert (empty.count, empty.count_above(0), repr(empty)) == (0, 0, "Histogram(empty)")
    assert math.isnan(empty.mean_ns)
    assert Histogram.merged([]) == Histogram.from_pairs(b"") == Histogram.from_hdr_v2(empty.to_hdr_v2()) == empty
    with pytest.raises(ValueError, match="empty"):
        empty.quantile(0.5)


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_what_is_no_quantile_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="quantile"):
        Histogram.from_values([1]).quantile(q)


def test_ranks_outside_are_refused() -> None:
    for rank in (0, 2):
        with pytest.raises(ValueError, match="rank"):
            Histogram.from_values([1]).rank_value(rank)


@pytest.mark.parametrize("pairs", [b"123", bytes(12), bytes([5] + 3 * [0] + [1] + 7 * [0]) * 2, b"\xff" * 12])
def test_damaged_pairs_are_refused(pairs: bytes) -> None:
    with pytest.raises(ValueError, match="histogram pairs"):
        Histogram.from_pairs(pairs)


@pytest.mark.parametrize("text", ["", "!!", "AAAAAAAAAAA=", Histogram.from_values([1]).to_hdr_v2()[:-8]])
def test_damaged_hdr_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HdrHistogram"):
        Histogram.from_hdr_v2(text)
