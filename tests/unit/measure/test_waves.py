from __future__ import annotations

import numpy as np
import pytest

from runner.measure.series import Series
from runner.measure.waves import first_wave
from runner.results.records import FirstWave
from tests.unit.measure.simulate import Requests, slices


def series(*latencies_ms: float, each_ms: float = 20.0) -> Series:
    """One answer per slice of 20 ms, in its middle."""
    done = (np.arange(len(latencies_ms)) + 0.5) * each_ms * 1e6
    latency = np.array(latencies_ms) * 1e6
    requests = Requests((done - latency).astype(np.int64), done.astype(np.int64))
    return Series.of(slices(requests, len(latencies_ms) * each_ms / 1e3, 20_000_000))


def test_the_first_answer_of_each_client_is_told_from_the_rest() -> None:
    wave = first_wave(series(90, 110, 10, 20, 30), 2)
    assert wave is not None
    assert (wave.requests, wave.rest) == (2, 3)
    assert (wave.mean_ms, wave.rest_mean_ms) == pytest.approx((100, 20))


def test_one_wave_has_no_rest() -> None:
    assert first_wave(series(90, 110), 64) == FirstWave(2, pytest.approx(100), 0, None)  # type: ignore[arg-type]


def test_nothing_answered_is_no_wave() -> None:
    assert first_wave(Series.of([]), 4) is None
