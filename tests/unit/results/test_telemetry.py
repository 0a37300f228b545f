"""Energy and shares from summaries, and the telemetry of repeats taken together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runner.results.records import SeriesSummary, Trial
from runner.results.repeats import pooled
from runner.results.telemetry import per_inference_j, pooled_telemetry, total_energy
from tests.unit.results.sample_run import CASES, summary, trial


def counter(delta: float | None, whole: float | None = None) -> SeriesSummary:
    return SeriesSummary("counter", "J", 5, delta=delta, per_s=None if delta is None else delta / 10, whole=whole)


def gauge(low: float, mean: float, high: float) -> SeriesSummary:
    return SeriesSummary("gauge", "W", 5, mean=mean, min=low, max=high, first=low, last=high)


def repeat(window_s: float = 10.0, **series: SeriesSummary) -> Trial:
    named = {name.replace("__", "."): found for name, found in series.items()}
    return trial(CASES[0], summary=summary(window_s=window_s, completions=int(100 * window_s)), telemetry=named)


def test_counters_of_repeats_add_up_and_gauges_are_weighted_by_time() -> None:
    parts = [repeat(10, e=counter(50, 70), p=gauge(1, 2, 4)), repeat(30, e=counter(250, 300), p=gauge(0, 6, 9))]
    series, absent = pooled_telemetry(parts)
    assert absent == {}
    assert (series["e"].delta, series["e"].per_s, series["e"].whole) == (300, 7.5, 370)
    assert (series["p"].mean, series["p"].min, series["p"].max) == (5, 0, 9)
    assert (series["p"].first, series["p"].last) == (1, 9)
    assert (series["p"].samples, series["p"].windows) == (10, 2)


def test_what_one_repeat_lacks_is_absent_and_no_partial_sum() -> None:
    parts = [repeat(10, e=counter(50), x=counter(1)), repeat(10, e=counter(None))]
    series, absent = pooled_telemetry(parts)
    assert (series["e"].delta, series["e"].per_s, series["e"].whole) == (None, None, None)
    assert absent == {"x": "only in 1 of 2 repeats"}


def test_energy_per_inference_of_repeats_is_that_of_all_their_inferences() -> None:
    """100 requests/s of batch 1 at 300 W, twice: 3 J each, and the error counts the edges of both windows."""
    parts = [repeat(10, gpu0__energy_j=counter(3000), gpu0__power_w=gauge(300, 300, 300)) for _ in range(2)]
    assert per_inference_j(parts[0]) == pytest.approx(3)
    together, _ = pooled(replace(CASES[0], repeats=2), parts)
    assert together.summary is not None
    assert together.summary.window_s == 20
    assert per_inference_j(together) == pytest.approx(3)
    energy = total_energy(together)
    assert energy is not None
    assert (energy.joules, energy.error) == (6000, pytest.approx(0.02))
