"""Does a series of batch values keep its level? A slope or a step over the window says no."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from runner.measure.series import Floats, Series

BATCHES = 20
SIGNIFICANCE = 0.01
SUSPICION = 0.2
"""At a look, a slope this unlikely by chance is reason to go on: in a short window a drift hides in the noise."""
MIN_CHANGE = 0.02
"""Relative change over the window below which a significant drift does not matter."""
_STEP_F = 15.3
"""1 % point of the largest F over the splits of 20 independent values with at least 3 on each side (simulated).

Andrews (Econometrica 1993) gives 12.2 for long series; with 18 degrees of freedom left it is higher.
"""
_STEP_MARGIN = 3


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


def find_drift(series: Series, significance: float = SIGNIFICANCE) -> Drift:
    """The larger drift of throughput and mean latency; `STILL` where there is none or too little to tell."""
    count = min(BATCHES, len(series))
    if count < BATCHES or series.completions < 2 * BATCHES:
        return STILL
    parts = series.parts(count)
    ok = series.totals(series.ok, parts, count)
    width_s = series.totals((series.end_ns - series.start_ns) / 1e9, parts, count)
    if not ok.all():
        return STILL
    candidates = [
        classify(ok / width_s, "throughput", significance),
        classify(series.totals(series.latency_sum_ns, parts, count) / ok, "mean latency", significance),
    ]
    return max(candidates, key=lambda drift: abs(drift.change))


def classify(values: Floats, what: str = "", significance: float = SIGNIFICANCE) -> Drift:
    """Slope, step or neither: whichever is significant, large enough and fits better; a step always at 1 %."""
    mean = float(values.mean())
    if not mean:
        return STILL
    slope, slope_left, slope_p = _line(values)
    jump, jump_left, jump_f = _step(values)
    total_change = slope * len(values) / mean
    is_trend = slope_p < significance and abs(total_change) > MIN_CHANGE
    is_step = jump_f > _STEP_F and abs(jump) / mean > MIN_CHANGE
    if is_step and (not is_trend or jump_left < slope_left):
        return Drift("step", jump / mean, what)
    return Drift("trend", total_change, what) if is_trend else STILL


def _line(values: Floats) -> tuple[float, float, float]:
    """Least-squares slope per value, residual sum of squares, two-sided p of the slope."""
    from scipy import special

    n = len(values)
    x = np.arange(n) - (n - 1) / 2
    y = values - values.mean()
    slope = float(x @ y) / float(x @ x)
    left = float(((y - slope * x) ** 2).sum())
    if left <= 1e-18 * float(values @ values):
        return slope, left, 0.0 if slope else 1.0
    t = slope / math.sqrt(left / (n - 2) / float(x @ x))
    return slope, left, 2 * float(special.stdtr(n - 2, -abs(t)))


def _step(values: Floats) -> tuple[float, float, float]:
    """Size of the best single step, residual sum of squares beside it, its F."""
    n = len(values)
    splits = np.arange(_STEP_MARGIN, n - _STEP_MARGIN + 1)
    before = np.cumsum(values)[splits - 1] / splits
    after = (values.sum() - before * splits) / (n - splits)
    explained = splits * (n - splits) / n * (after - before) ** 2
    best = int(np.argmax(explained))
    total = float(((values - values.mean()) ** 2).sum())
    left = max(total - float(explained[best]), 0.0)
    if left <= 1e-18 * float(values @ values):
        return float((after - before)[best]), left, math.inf if explained[best] > 0 else 0.0
    return float((after - before)[best]), left, float(explained[best]) / (left / (n - 2))
