from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runner.measure.drift import STILL, classify, find_drift
from runner.measure.series import Series, Window
from runner.measure.settings import EXPLORE, REFERENCE
from runner.measure.warmup import bin_count, find_warmup, floor, mser
from tests.unit.measure.simulate import Requests, ar1, single_server, slices


def series_of(service_s: np.ndarray, slots: int = 4, end_s: float = 22.0) -> Series:
    return Series.of(slices(single_server(service_s, slots), end_s))


def slow_start(rng: np.random.Generator, until_s: float, factor: float, mean_s: float = 0.02) -> np.ndarray:
    slow = int(until_s / mean_s / factor)
    service = mean_s * ar1(rng, int(30 / mean_s), 0.3, 0.1)
    service[:slow] *= factor
    return service


def test_mser_finds_the_end_of_a_transient() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([np.full(12, 3.0), np.ones(48)]) + rng.normal(0, 0.05, 60)
    assert 12 <= mser(values).cut <= 14


def test_mser_of_a_constant_series_drops_nothing() -> None:
    found = mser(np.full(40, 123456789.0))
    assert (found.cut, found.at_edge) == (0, False)


def test_mser_says_when_no_minimum_was_found() -> None:
    assert mser(np.exp(-np.arange(40) / 30)).at_edge


def test_mser_on_too_little_says_nothing() -> None:
    assert mser(np.array([5.0, 1.0, 1.0])).cut == 0


def test_white_noise_is_hardly_ever_called_unsteady() -> None:
    edges = sum(mser(1 + np.random.default_rng(seed).normal(0, 0.1, 40)).at_edge for seed in range(300))
    assert edges <= 6


@pytest.mark.parametrize(("until_s", "mean_s"), [(4.0, 0.02), (4.0, 0.2)])
def test_a_slow_start_is_cut_and_leaves_no_bias(until_s: float, mean_s: float) -> None:
    rates = []
    for seed in range(10):
        series = series_of(slow_start(np.random.default_rng(seed), until_s, 3.0, mean_s))
        warmup = find_warmup(series, EXPLORE, 4)
        assert warmup.end_ns >= until_s * 1e9 - 5 * mean_s * 1e9
        inner = series.within(Window(warmup.end_ns, 22_000_000_000))
        rates.append(inner.completions / inner.seconds)
    assert np.mean(rates) == pytest.approx(1 / mean_s, rel=0.01)


def test_the_floors_hold_without_a_transient() -> None:
    series = series_of(np.full(2000, 0.02))
    assert find_warmup(series, EXPLORE, 4).end_ns == 2_000_000_000
    assert floor(series, replace(EXPLORE, warmup_min_requests_per_slot=40), 4) == 3_300_000_000
    assert find_warmup(series, EXPLORE, 4).requests_per_slot == pytest.approx(99 / 4)


def test_the_floor_of_a_very_slow_point_leaves_time_to_measure() -> None:
    series = series_of(np.full(30, 1.0), slots=8)
    assert floor(series, EXPLORE, 8) == 11_000_000_000
    assert find_warmup(series, EXPLORE, 8).requests_per_slot < 3


def test_a_cut_beyond_max_fraction_is_not_steady() -> None:
    series = series_of(slow_start(np.random.default_rng(1), 8.0, 3.0))
    warmup = find_warmup(series, replace(EXPLORE, warmup_max_fraction=0.2), 4)
    assert not warmup.steady
    assert warmup.end_ns == pytest.approx(4.4e9, abs=1e8)


def test_a_fixed_count_drops_nothing() -> None:
    warmup = find_warmup(series_of(slow_start(np.random.default_rng(1), 5.0, 3.0)), REFERENCE, 4)
    assert (warmup.end_ns, warmup.steady, warmup.requests_per_slot) == (0, True, 0)


def test_bins_of_a_slow_point_are_wider() -> None:
    assert bin_count(series_of(np.full(5000, 0.005))) == 220
    assert bin_count(series_of(np.full(200, 0.2))) == 21


def test_silence_is_no_trouble() -> None:
    nothing = Series.of(slices(Requests(np.array([0]), np.array([10**12])), 5.0))
    assert find_warmup(nothing, EXPLORE, 1).end_ns == 5_000_000_000
    assert find_warmup(Series.of([]), EXPLORE, 1).end_ns == 2_000_000_000
    pause = Requests(np.arange(100) * 10**7 + 3 * 10**9, np.arange(1, 101) * 10**7 + 3 * 10**9)
    assert find_warmup(Series.of(slices(pause, 8.0)), EXPLORE, 1).end_ns >= 2_000_000_000


# --- drift --------------------------------------------------------------------------------------------------------


def batches(rng: np.random.Generator, noise: float = 0.01) -> np.ndarray:
    return 100 * (1 + rng.normal(0, noise, 20))


def share(shape: str, change: np.ndarray, noise: float = 0.01) -> float:
    shapes = [classify(batches(np.random.default_rng(seed), noise) * change).shape for seed in range(200)]
    return shapes.count(shape) / 200


def test_a_level_series_is_rarely_called_drifting() -> None:
    assert share("none", np.ones(20), noise=0.05) >= 0.95


def test_a_slope_is_called_trend_and_a_jump_step() -> None:
    assert share("trend", np.linspace(1, 1.1, 20)) >= 0.9
    assert share("step", np.where(np.arange(20) < 9, 1.0, 0.95)) >= 0.9


def test_a_significant_but_tiny_change_does_not_matter() -> None:
    assert classify(np.linspace(1, 1.01, 20)) == STILL
    assert classify(np.where(np.arange(20) < 9, 1.0, 1.01)).shape == "none"


def test_exact_series_are_classified_too() -> None:
    assert classify(np.linspace(1, 1.2, 20)).shape == "trend"
    step = classify(np.where(np.arange(20) < 10, 1.0, 1.2), "throughput")
    assert (step.shape, step.what) == ("step", "throughput")
    assert step.change == pytest.approx(0.2 / 1.1)
    assert classify(np.zeros(20)) == STILL


def test_half_a_percent_per_second_is_found() -> None:
    """The drift that a rule of three windows within ten percent accepts."""
    found = 0
    for seed in range(30):
        service = 0.01 * ar1(np.random.default_rng(seed), 2600, 0.0, 0.1)
        service *= 1 + 0.005 * np.cumsum(service)
        found += find_drift(series_of(service).within(Window(2 * 10**9, 22 * 10**9))).found
    assert found >= 29


def test_too_little_data_is_not_judged() -> None:
    assert find_drift(series_of(np.full(30, 1.0))) == STILL
    assert find_drift(series_of(np.full(3000, 0.02), end_s=1.0)) == STILL
    pause = np.concatenate([np.arange(1, 200) * 10**7, np.arange(1, 200) * 10**7 + 15 * 10**9])
    assert find_drift(Series.of(slices(Requests(pause - 10**7, pause), 17.0))) == STILL
