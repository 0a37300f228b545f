"""The first answer of every client apart from the rest: what a cold start costs a measurement of few requests."""

from __future__ import annotations

import numpy as np

from runner.measure.series import Series
from runner.results.records import FirstWave


def first_wave(series: Series, slots: int) -> FirstWave | None:
    """The first answers, one for each request in flight or a few more: a slice is not divided. None without any."""
    answered = np.cumsum(series.ok)
    if not len(answered) or answered[-1] < 1:
        return None
    last = min(int(np.searchsorted(answered, slots)), len(series) - 1)
    first, rest = int(answered[last]), int(answered[-1] - answered[last])
    sums = np.cumsum(series.latency_sum_ns)
    return FirstWave(
        requests=first,
        mean_ms=float(sums[last]) / first / 1e6,
        rest=rest,
        rest_mean_ms=float(sums[-1] - sums[last]) / rest / 1e6 if rest else None,
    )
