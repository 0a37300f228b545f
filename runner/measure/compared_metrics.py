"""One metric of one point, A against B: effect, interval and, once the family is complete, the verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from runner.results.comparison import MIN_PAIRS, Adjustment, ComparedPoint, Contrast, Design
from runner.results.contrasts import (
    Effect,
    benjamini_hochberg,
    from_errors,
    holm,
    judge_difference,
    judge_within_run,
    log_error,
    paired,
    unpaired,
)
from runner.results.metric import Metric
from runner.results.metric_names import find_metric
from runner.results.metrics import METRICS, percentile
from runner.results.records import Estimate, Trial

MARGIN = 0.02
"""Differences that audits of published results call "not materially different" (MLPerf Inference)."""
DEFAULT_METRICS = (
    "inferences_per_s",
    "latency_mean_ms",
    "latency_p50_ms",
    "latency_p95_ms",
    "latency_p99_ms",
    "error_rate",
)
ERRORS = "error_rate"
ERROR_MARGIN = 0.001
"""Shares of failed requests that differ by less are the same; a valid point has no more than that."""


@dataclass(frozen=True)
class Rules:
    """How to compare."""

    metrics: tuple[Metric, ...]
    planned: bool = False
    """A few metrics were named beforehand, instead of looking at all the usual ones."""
    margin: float = MARGIN
    confidence: float = 0.95
    """Of the intervals and verdicts of the comparison."""
    interval_confidence: float = 0.95
    """Of the intervals inside the trials."""

    @classmethod
    def of(cls, names: Sequence[str] = (), margin: float = MARGIN) -> Rules:
        """The usual metrics, or those named."""
        metrics = tuple(find_metric(name) for name in dict.fromkeys(names or DEFAULT_METRICS))
        planned = not {metric.key for metric in metrics} >= set(DEFAULT_METRICS)
        return cls(metrics, planned, margin)


def contrast_of(
    metric: Metric, design: Design, a: Sequence[Trial], b: Sequence[Trial], rules: Rules
) -> Contrast | None:
    """The contrast without its verdict; None where a side does not have the metric."""
    values_a, values_b = _values(metric, a), _values(metric, b)
    if not values_a or not values_b:
        return None
    share = metric.key == ERRORS
    certain = design == "paired" and len(a) >= MIN_PAIRS
    blank = Contrast(
        metric.key, metric.unit, metric.direction, _mean(values_a, share), _mean(values_b, share),
        Estimate(0.0), "undecided", certain,
    )  # fmt: skip
    if len(values_a) != len(a) or len(values_b) != len(b):
        return replace(blank, change=_plain_change(blank, share), note="not every measurement has it")
    if share and not any((*values_a, *values_b)):
        return replace(blank, verdict="equivalent", note="none on either side")
    if not share and min(*values_a, *values_b) <= 0:
        return replace(blank, change=_plain_change(blank, share), note="a ratio needs values above 0")
    effect = _effect(metric, design, a, b, rules, share)
    note = "no interval inside a measurement" if effect.low is None else None
    return replace(blank, change=_change(effect, share), p=effect.p, p_exact=effect.p_exact, note=note)


def common_metrics(a: Sequence[Trial], b: Sequence[Trial]) -> tuple[Metric, ...]:
    """Metrics that can be better or worse and that some measurement on either side has, percentiles first."""
    known = [percentile(q)[0] for q in sorted(_percentiles(a) & _percentiles(b))]
    known += [metric for metric in METRICS if metric.direction is not None]
    return tuple(metric for metric in known if _values(metric, a) and _values(metric, b))


def _percentiles(trials: Sequence[Trial]) -> set[float]:
    return {each.q for trial in trials if trial.summary for each in trial.summary.percentiles}


def _values(metric: Metric, trials: Sequence[Trial]) -> list[float]:
    found = [_estimate(metric, trial) for trial in trials]
    return [estimate.value for estimate in found if estimate is not None]


def _estimate(metric: Metric, trial: Trial) -> Estimate | None:
    value = metric.extract(trial)
    if isinstance(value, Estimate) or value is None:
        return value
    return Estimate(float(value)) if isinstance(value, int | float) else None


def _mean(values: Sequence[float], share: bool) -> float:
    if share or min(values) <= 0:
        return math.fsum(values) / len(values)
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def _effect(
    metric: Metric, design: Design, a: Sequence[Trial], b: Sequence[Trial], rules: Rules, share: bool
) -> Effect:
    scale: Callable[[float], float] = float if share else math.log
    logs = [[scale(value) for value in _values(metric, side)] for side in (a, b)]
    if design == "paired":
        return paired(logs[0], logs[1], rules.confidence)
    if design == "repeats":
        return unpaired(logs[0], logs[1], rules.confidence)
    means = [math.fsum(side) / len(side) for side in logs]
    errors = [None if share else _error(metric, side, rules) for side in (a, b)]
    # Without a p-value: it would speak of this one start of each side only.
    return replace(from_errors(means[0] - means[1], errors, rules.confidence), p=None)


def _error(metric: Metric, trials: Sequence[Trial], rules: Rules) -> float | None:
    """Standard error of the mean logarithm, from the intervals inside the trials."""
    estimates = [_estimate(metric, trial) for trial in trials]
    errors = [log_error(estimate, rules.interval_confidence) for estimate in estimates if estimate is not None]
    known = [error for error in errors if error is not None]
    return math.hypot(*known) / len(known) if known and len(known) == len(errors) else None


def _change(effect: Effect, share: bool) -> Estimate:
    def shown(value: float | None) -> float | None:
        return value if value is None or share else math.expm1(min(value, 700.0))

    return Estimate(shown(effect.value) or 0.0, shown(effect.low), shown(effect.high))


def _plain_change(contrast: Contrast, share: bool) -> Estimate:
    if share or contrast.b == 0:
        return Estimate(contrast.a - contrast.b)
    return Estimate(contrast.a / contrast.b - 1)


_ADJUSTED: dict[Adjustment, Callable[[Sequence[float]], Sequence[float]]] = {
    "none": lambda p_values: p_values,
    "holm": holm,
    "benjamini_hochberg": benjamini_hochberg,
}


def judged_family(points: Sequence[ComparedPoint], rules: Rules) -> tuple[Adjustment, tuple[ComparedPoint, ...]]:
    """Verdicts on all contrasts of a comparison at once, so that many points do not make false alarms likely.

    Holm for metrics that were named beforehand at one point; Benjamini-Hochberg for grids and for the usual metrics,
    which move together, so that Holm would lose power for nothing.
    """
    p_values = [c.p for point in points for c in point.contrasts if c.p is not None]
    name: Adjustment = "holm" if rules.planned and len(points) == 1 else "benjamini_hochberg"
    if len(p_values) < 2:
        name = "none"
    following = iter(_ADJUSTED[name](p_values))
    return name, tuple(
        replace(
            point,
            contrasts=tuple(
                _judged(replace(c, p_adjusted=None if c.p is None else next(following)), point.design, rules)
                for c in point.contrasts
            ),
        )
        for point in points
    )


def _judged(contrast: Contrast, design: Design, rules: Rules) -> Contrast:
    if contrast.note is not None:
        return contrast
    share = contrast.metric == ERRORS
    margin = ERROR_MARGIN if share else math.log1p(rules.margin)
    gain = _gain(contrast, share)
    if design == "within_run":
        return replace(contrast, verdict=judge_within_run(gain, margin))
    different = contrast.p_adjusted is not None and contrast.p_adjusted <= 1 - rules.confidence
    return replace(contrast, verdict=judge_difference(gain, margin, different))


def _gain(contrast: Contrast, share: bool) -> Effect:
    """The change as a difference that is better the larger it is."""
    change = contrast.change
    low, value, high = (
        None if x is None else x if share else math.log1p(x) for x in (change.low, change.value, change.high)
    )
    if contrast.direction == "max":
        return Effect(value or 0.0, low, high)
    return Effect(-(value or 0.0), None if high is None else -high, None if low is None else -low)
