"""A histogram in a few numbers."""

from __future__ import annotations

from runner.results.histogram import Histogram
from runner.results.records import Distribution


def distribution(histogram: Histogram | None) -> Distribution | None:
    """Mean, percentiles and maximum in milliseconds; None without values."""
    if histogram is None or not histogram.count:
        return None
    p50, p90, p95, p99 = (histogram.quantile(q) / 1e6 for q in (0.5, 0.9, 0.95, 0.99))
    return Distribution(histogram.count, histogram.mean_ns / 1e6, p50, p90, p95, p99, histogram.max_ns / 1e6)
