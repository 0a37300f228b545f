"""Confidence intervals that hold for correlated data: batch means, and order statistics on the effective sample size.

Requests that queue behind each other are not independent. Intervals that pretend they are cover 7 to 64 % instead of
95 % for the p95 and p99 of queued latencies, so nothing here assumes it.

Batch means: Law & Kelton, *Simulation Modeling and Analysis*, ch. 9. Order statistics: Le Boudec, *Performance
Evaluation*, ch. 2; their ranks are taken at the effective sample size n / tau.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from runner.measure.series import Floats, Ints, Series
from runner.results.histogram import Histogram, bucket_index
from runner.results.records import Estimate, Percentile, half_width
from runner.results.student import student_t

__all__ = [
    "BatchMeans",
    "batch_count",
    "binomial_quantile",
    "half_width",
    "inefficiency",
    "lag1_correlation",
    "mean_latency",
    "order_statistics",
    "percentile",
    "student_t",
    "throughput",
]

MIN_BATCHES = 10
MAX_BATCHES = 30
COMPLETIONS_PER_BATCH = 8
"""Fewer make a batch mean jumpy; then fewer batches are used."""
MAX_LAG1 = 0.25
"""Correlation of neighbouring batch means above which they do not count as independent."""


@dataclass(frozen=True)
class BatchMeans:
    """An interval from batch means; `lag1` is the correlation that was left between neighbouring batches."""

    estimate: Estimate
    batches: int
    lag1: float

    @property
    def reliable(self) -> bool:
        """There were enough batches, and they were as good as independent."""
        return self.batches >= MIN_BATCHES and self.lag1 <= MAX_LAG1


def throughput(series: Series, window_s: float, confidence: float, work: Ints | None = None) -> BatchMeans:
    """Completions per second with an interval from batch means of *progress*.

    A batch that is credited only with the requests that happen to end in it jumps by whole requests. So a request
    that crosses a batch edge counts on both sides in proportion to the time it spent there: with A(t) the summed age
    of the requests in flight, progress = completions + (A(end) - A(start)) / R, and A(end) - A(start) is the in-flight
    integral minus the summed latencies. The value itself stays completions / window; the interval covers both.

    `work` counts something else than completions, for example items of requests that hold different numbers of them.
    """
    done = series.ok if work is None else work
    value = float(done.sum()) / window_s if window_s > 0 else 0.0
    progress = _progress(series, done)

    def deviations(parts: Ints, count: int) -> Floats:
        width_s = series.totals((series.end_ns - series.start_ns) / 1e9, parts, count)
        work = series.totals(progress, parts, count)
        return np.asarray(work / width_s - work.sum() / width_s.sum(), np.float64)

    half, batches, lag1 = _half_width(series, confidence, deviations)
    if half is None:
        return BatchMeans(Estimate(value), batches, lag1)
    centre = float(progress.sum()) / window_s
    low, high = min(value, centre) - half, max(value, centre) + half
    return BatchMeans(Estimate(value, max(low, 0.0), high), batches, lag1)


def _progress(series: Series, done: Ints) -> Floats:
    if not series.completions:
        return done.astype(np.float64)
    each = float(done.sum()) / series.completions
    begun = (series.in_flight_ns - series.latency_sum_ns) / series.mean_ns
    return np.asarray(done + each * begun, np.float64)


def mean_latency(series: Series, confidence: float) -> BatchMeans:
    """Mean latency in milliseconds; batches are weighted by their completions (ratio estimator)."""
    if not series.completions:
        raise ValueError("no completions, no mean latency")
    mean_ns = series.mean_ns
    per_completion = series.latency_sum_ns - mean_ns * series.ok

    def deviations(parts: Ints, count: int) -> Floats:
        return series.totals(per_completion, parts, count) * (count / series.completions)

    half, batches, lag1 = _half_width(series, confidence, deviations)
    value = mean_ns / 1e6
    if half is None:
        return BatchMeans(Estimate(value), batches, lag1)
    return BatchMeans(Estimate(value, max(value - half / 1e6, 0.0), value + half / 1e6), batches, lag1)


def _half_width(
    series: Series, confidence: float, deviations: Callable[[Ints, int], Floats]
) -> tuple[float | None, int, float]:
    """t * s / sqrt(B) over batch deviations, with half the batches while neighbours are correlated; B and the lag-1."""
    count = batch_count(series)
    if count < 2:
        return None, count, 0.0
    while True:
        values = deviations(series.parts(count), count)
        lag1 = lag1_correlation(values)
        if lag1 <= MAX_LAG1 or count // 2 < MIN_BATCHES:
            break
        count //= 2
    half = student_t(confidence, count - 1) * float(values.std(ddof=1)) / math.sqrt(count)
    return half, count, lag1


def batch_count(series: Series) -> int:
    """Batches that the data support: 10 to 30 with a few completions each, never more than there are slices."""
    wanted = max(MIN_BATCHES, min(MAX_BATCHES, series.completions // COMPLETIONS_PER_BATCH))
    return min(wanted, len(series), series.completions)


def lag1_correlation(values: Floats) -> float:
    """Correlation between neighbours; 0 for constant values."""
    deviation = values - values.mean()
    power = float(deviation @ deviation)
    return float(deviation[1:] @ deviation[:-1]) / power if power > 0 else 0.0


def percentile(series: Series, percent: float, confidence: float, latency: Histogram | None = None) -> Percentile:
    """x at rank ceil(q n), with order statistics at the effective sample size; a missing bound is None.

    tau = max(1, m s^2(p_b) / (q (1 - q))), p_b the share of requests above the percentile in batch b and m the batch
    size: how many requests carry the information of one. The interval runs from the rank of the lower to that of the
    upper binomial(n / tau, q) quantile.
    """
    histogram = latency if latency is not None else series.latency()
    n, q = histogram.count, percent / 100
    value_ns = histogram.quantile(q)
    n_eff = n / inefficiency(series, q, bucket_index(value_ns))
    low, high = order_statistics(histogram, q, n_eff, confidence)
    return Percentile(percent, Estimate(value_ns / 1e6, low, high), n_eff)


def order_statistics(
    histogram: Histogram, q: float, n_eff: float, confidence: float
) -> tuple[float | None, float | None]:
    """Bounds in milliseconds of quantile q from a histogram that is worth `n_eff` independent values."""
    n, independent = histogram.count, max(1, math.floor(n_eff))
    tail = (1 - confidence) / 2
    lower = binomial_quantile(tail, independent, q)
    upper = binomial_quantile(1 - tail, independent, q) + 1
    scale = n / independent
    low = histogram.rank_value(max(1, math.floor(lower * scale))) / 1e6 if lower >= 1 else None
    high = histogram.rank_value(min(n, math.ceil(upper * scale))) / 1e6 if upper <= independent else None
    return low, high


def inefficiency(series: Series, q: float, value_bucket: int) -> float:
    """tau: requests per independent one."""
    count = min(MAX_BATCHES, len(series), series.completions)
    if count < 2:
        return 1.0
    parts = series.parts(count)
    above = series.above(value_bucket, parts, count)
    sizes = series.totals(series.ok, parts, count)
    share = above.sum() / sizes.sum()
    # Batches of equal time hold unequal numbers: the linearised ratio is the share of a batch of mean size.
    deviation = above - share * sizes
    return max(1.0, float(deviation @ deviation) / (count - 1) / (float(sizes.mean()) * q * (1 - q)))


def binomial_quantile(probability: float, n: int, q: float) -> int:
    """Smallest k with P(binomial(n, q) <= k) >= probability."""
    from scipy import special

    guess = math.ceil(float(special.bdtrik(probability, n, q)))
    below = max(guess - 1, 0)
    return below if float(special.bdtr(below, n, q)) >= probability else guess
