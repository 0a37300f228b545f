"""Does a series of batch values keep its level? A slope or a step over the window says no."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from runner.measure.intervals import lag1_correlation, student_t
from runner.measure.series import Floats, Ints, Series

BATCHES = 20
SIGNIFICANCE = 0.01
SUSPICION = 0.2
"""At a look, a slope this unlikely by chance is reason to go on: in a short window a drift hides in the noise."""
RESOLVED_PER_S = 0.005
"""A look ends the window only when a drift of this share per second, were there one, would have shown by now."""
RESOLVED_CONFIDENCE = 0.95
MIN_CHANGE = 0.02
"""Relative change over the window below which a significant drift does not matter."""
LONG_LATENCY = 0.5
"""Mean latency in batches."""
SAME_IN_FLIGHT = 0.01
"""Relative deviation of the requests in flight, below which they were kept at one number."""
_STEP_F = 15.3
"""1 % point of the largest F over the splits of 20 independent values with at least 3 on each side (simulated).

Andrews (Econometrica 1993) gives 12.2 for long series; with 18 degrees of freedom left it is higher.
"""
_STEP_MARGIN = 3
_MOST_LAG1 = 0.95


@dataclass(frozen=True)
class Drift:
    """How a series moved: `change` is relative to its mean, over the window (trend) or at the step."""

    shape: Literal["none", "trend", "step"]
    change: float
    what: str = ""

    @property
    def found(self) -> bool:
        return self.shape != "none"


STILL = Drift("none", 0.0)


@dataclass(frozen=True)
class Memory:
    """How much is made of a likeness between neighbouring values. Found by simulation: with 20 values an estimate of
    their correlation is poor, and what protects from false alarms costs power."""

    lag1_bias: float
    """The lag-1 correlation of n residuals beside a fitted line counts this (1 + r) / n higher."""
    step_power: float
    """Of the inflation of the variance, in the test for a step: the largest of many F suffers more."""


SHORT = Memory(1.0, 1.0)
"""A closed loop: batches are nearly independent."""
QUEUED = Memory(3.0, 2.0)
"""The queue of an open loop forgets slowly: uncorrected, M/M/1 at 80 % load is called drifting in 8 % of windows."""


@dataclass(frozen=True)
class Line:
    """Least-squares line through equally spaced values."""

    slope: float
    """Per value."""
    error: float
    """Standard error of the slope, widened for values that are correlated with their neighbours."""
    left: float
    """Residual sum of squares."""
    p: float
    """Two-sided, of the slope."""


def find_drift(series: Series, significance: float = SIGNIFICANCE) -> Drift:
    """The larger drift of throughput and mean latency; `STILL` where there is none or too little to tell."""
    found = [classify(values, what, significance, memory) for what, values, memory in _batches(series)]
    return max(found, key=lambda drift: abs(drift.change), default=STILL)


def find_fall(series: Series, significance: float = SIGNIFICANCE) -> Drift:
    """The larger drift to the worse. Of a closed loop from the shortest warm-up on: what starts slow and becomes
    faster is a warm-up; what starts fast and becomes slower is none, even where MSER-5 would cut it away."""
    signs = {"throughput": -1, "mean latency": 1}
    drifts = [classify(values, what, significance, memory) for what, values, memory in _batches(series)]
    worse = [drift for drift in drifts if drift.found and drift.change * signs[drift.what] > 0]
    return max(worse, key=lambda drift: abs(drift.change), default=STILL)


def may_still_move(series: Series, longest_s: float) -> bool:
    """At a look: something seems to drift, or a drift of `RESOLVED_PER_S` could not be told from none yet.

    The second is a reason to go on only where a window of `longest_s` would tell: the standard error of a slope falls
    with the length to the power of 3/2.
    """
    if find_drift(series, SUSPICION).found:
        return True
    batch_s = series.seconds / BATCHES
    confidence = 2 * RESOLVED_CONFIDENCE - 1
    for _, values, memory in _batches(series):
        line, mean = fit_line(values, memory), float(values.mean())
        slope_per_s = abs(line.slope) / mean / batch_s
        width_per_s = student_t(confidence, BATCHES - 2) * line.error / mean / batch_s
        at_the_end = width_per_s * (series.seconds / max(longest_s, series.seconds)) ** 1.5
        if slope_per_s + width_per_s > RESOLVED_PER_S >= at_the_end:
            return True
    return False


def _batches(series: Series) -> Iterator[tuple[str, Floats, Memory]]:
    """Throughput and mean latency of the batches; nothing where there is too little to judge.

    In a closed loop latency is throughput over again (Little). While a batch is long against a latency that helps: it
    has none of the noise of counting whole requests. But long latencies share with those of the neighbouring batches
    what they waited for, and such smooth values look like a drift.
    """
    if len(series) < BATCHES or series.completions < 2 * BATCHES:
        return
    parts = series.parts(BATCHES)
    ok = series.totals(series.ok, parts, BATCHES)
    if not ok.all():
        return
    closed = _is_closed(series, parts)
    memory = SHORT if closed else QUEUED
    yield "throughput", ok / series.totals((series.end_ns - series.start_ns) / 1e9, parts, BATCHES), memory
    if closed and series.mean_ns / 1e9 > LONG_LATENCY * series.seconds / BATCHES:
        return
    yield "mean latency", series.totals(series.latency_sum_ns, parts, BATCHES) / ok, memory


def _is_closed(series: Series, parts: Ints) -> bool:
    width = series.totals(series.end_ns - series.start_ns, parts, BATCHES)
    in_flight = series.totals(series.in_flight_ns, parts, BATCHES) / width
    return float(in_flight.std()) < SAME_IN_FLIGHT * float(in_flight.mean())


def classify(values: Floats, what: str = "", significance: float = SIGNIFICANCE, memory: Memory = SHORT) -> Drift:
    """Slope, step or neither: whichever is significant, large enough and fits better; a step always at 1 %."""
    mean = float(values.mean())
    if not mean:
        return STILL
    line = fit_line(values, memory)
    jump, jump_left, jump_f = _step(values, memory)
    total_change = line.slope * len(values) / mean
    is_trend = line.p < significance and abs(total_change) > MIN_CHANGE
    is_step = jump_f > _STEP_F and abs(jump) / mean > MIN_CHANGE
    if is_step and (not is_trend or jump_left < line.left):
        return Drift("step", jump / mean, what)
    return Drift("trend", total_change, what) if is_trend else STILL


def fit_line(values: Floats, memory: Memory) -> Line:
    """The line, and how sure its slope is."""
    from scipy import special

    n = len(values)
    x = np.arange(n) - (n - 1) / 2
    y = values - values.mean()
    slope = float(x @ y) / float(x @ x)
    residuals = y - slope * x
    left = float(residuals @ residuals)
    if left <= 1e-18 * float(values @ values):
        return Line(slope, 0.0, left, 0.0 if slope else 1.0)
    error = math.sqrt(left / (n - 2) / float(x @ x) * _inflation(residuals, memory))
    return Line(slope, error, left, 2 * float(special.stdtr(n - 2, -abs(slope) / error)))


def _inflation(residuals: Floats, memory: Memory) -> float:
    """How much larger the variance of a mean is for values that resemble their neighbours: (1 + r) / (1 - r)."""
    r = lag1_correlation(residuals)
    r = min(max(r + memory.lag1_bias * (1 + r) / len(residuals), 0.0), _MOST_LAG1)
    return (1 + r) / (1 - r)


def _step(values: Floats, memory: Memory) -> tuple[float, float, float]:
    """Size of the best single step, residual sum of squares beside it, its F."""
    n = len(values)
    splits = np.arange(_STEP_MARGIN, n - _STEP_MARGIN + 1)
    before = np.cumsum(values)[splits - 1] / splits
    after = (values.sum() - before * splits) / (n - splits)
    explained = splits * (n - splits) / n * (after - before) ** 2
    best = int(np.argmax(explained))
    residuals = values - np.where(np.arange(n) < splits[best], before[best], after[best])
    left = float(residuals @ residuals)
    if left <= 1e-18 * float(values @ values):
        return float((after - before)[best]), left, math.inf if explained[best] > 0 else 0.0
    f = float(explained[best]) / (left / (n - 2)) / _inflation(residuals, memory) ** memory.step_power
    return float((after - before)[best]), left, f
