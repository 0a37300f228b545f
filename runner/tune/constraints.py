"""Constraints: predicates over the metrics of a trial, and by how much a trial misses them.

A search learns more from "12 % above the limit" than from "no", so a missed comparison says its relative distance.
Joined comparisons: `and` misses by the most, `or` by the least, `not` asks for the opposite.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from runner.errors import RigError
from runner.results.metric import Metric
from runner.results.metric_names import metric_named, quantity_of
from runner.results.records import Estimate, Trial
from runner.scenario.predicate import (
    COMPARISONS,
    Expression,
    Lookup,
    Predicate,
    PredicateError,
    Quantity,
    UnknownAddressError,
    evaluate,
    parse,
)
from runner.units import RATE, SHARE

_PLAIN_TOO = (RATE.name, SHARE.name)
"""Quantities that may also be compared with plain numbers: `throughput >= 100`, `error_rate <= 0.01`."""
_OPPOSITE = {"<=": ">", "<": ">=", ">=": "<", ">": "<=", "==": "!=", "!=": "=="}
_MOST_CORNERS = 6
"""Metrics of one constraint whose intervals are taken to their ends: 2^6 evaluations."""


@dataclass(frozen=True)
class Check:
    """What became of a constraint in one measurement."""

    text: str
    missed: float
    """Relative amount by which it is missed; 0: satisfied. Of the values as they were measured."""
    least: float
    """The same where every metric is at the better end of its interval."""
    uncertain: bool
    """The intervals straddle the limit: the next measurement may say the opposite."""


@dataclass(frozen=True)
class Constraint:
    """What every acceptable point satisfies."""

    text: str
    predicate: Predicate
    metrics: Mapping[str, Metric]
    """Name in the predicate -> metric."""

    @classmethod
    def of(cls, text: str) -> Constraint:
        """Read a constraint that loading has checked.

        Raises:
            PredicateError: it is no predicate, or names no metric.
        """
        predicate = parse(text)
        return cls(text, predicate, {name: _metric(name, text) for name in predicate.addresses()})

    def check(self, trial: Trial) -> Check:
        """Compare with a measurement.

        Raises:
            RigError: the trial does not have a metric, for example because this machine has no such telemetry.
        """
        estimates = {
            name: read(metric, trial, f"the constraint `{self.text}`") for name, metric in self.metrics.items()
        }
        missed = self._missed({name: estimate.value for name, estimate in estimates.items()})
        corners = [self._missed(corner) for corner in _corners(estimates)] or [missed]
        return Check(self.text, missed, min(corners), min(corners) == 0 < max(corners))

    def _missed(self, values: Mapping[str, float]) -> float:
        return violation(self.predicate.expression, self.lookup(values))

    def lookup(self, values: Mapping[str, float]) -> Lookup:
        """Name -> quantity, from values in the units of the metrics."""
        return lambda name: quantity_of(self.metrics[name])(values[name])


def _metric(name: str, text: str) -> Metric:
    found = metric_named(name)
    if found is None:
        raise UnknownAddressError(name, text.find(name) + 1)
    return found


def read(metric: Metric, trial: Trial, wanted_by: str) -> Estimate:
    """The value of a metric; one without an interval of its own is taken as exact.

    Raises:
        RigError: the trial does not have it; says which telemetry is missing.
    """
    value = metric.extract(trial)
    if isinstance(value, Estimate):
        return value
    if not isinstance(value, int | float) or not math.isfinite(value):
        reasons = "; ".join(_absent(metric, trial)) or "this measurement does not have it"
        raise RigError(f"{wanted_by} needs the metric {metric.key}: {reasons}", hint=_hint(metric))
    return Estimate(float(value), float(value), float(value))


def _absent(metric: Metric, trial: Trial) -> Iterator[str]:
    """What telemetry says about the sources of a metric."""
    source = metric.key.partition("_")[0].rstrip("0123456789")
    for series, why in trial.telemetry_absent.items():
        if series.startswith(source) or (source == "gpu" and series == "nvml"):
            yield f"{series}: {why}"


def _hint(metric: Metric) -> str:
    if metric.key.startswith("latency_p"):
        return "add the percentile to measure.percentiles"
    if metric.key.startswith(("gpu", "host")):
        return "run on a machine that has it, allow its source in measure.telemetry.sources, or remove the line"
    return "remove the line, or measure what it needs"


def _corners(estimates: Mapping[str, Estimate]) -> Iterator[dict[str, float]]:
    """Every combination of ends of the intervals; a missing end is as far away as it gets."""
    names = list(estimates)[:_MOST_CORNERS]
    ends = [_ends(estimates[name]) for name in names]
    rest = {name: estimate.value for name, estimate in estimates.items() if name not in names}
    for corner in itertools.product(*ends):
        yield {**rest, **dict(zip(names, corner, strict=True))}


def _ends(estimate: Estimate) -> tuple[float, ...]:
    low = 0.0 if estimate.low is None else estimate.low
    high = _FAR if estimate.high is None else estimate.high
    return (low,) if low == high else (low, high)


_FAR = 1e12
"""In place of an end that the data do not support: no limit is beyond it."""


def violation(expression: Expression, lookup: Lookup) -> float:
    """Relative amount by which a predicate is missed; 0 where it holds.

    Raises:
        PredicateError: units that do not fit, or no comparison at all.
    """
    match expression.operator:
        case "and":
            return max(violation(each, lookup) for each in expression.operands)
        case "or":
            return min(violation(each, lookup) for each in expression.operands)
        case "not":
            return violation(_negated(expression.operands[0]), lookup)
        case sign if sign in COMPARISONS:
            return _distance(expression, lookup)
        case _:
            raise PredicateError("expected a comparison here", expression.column, "for example `latency.p99 <= 50ms`")


def _negated(expression: Expression) -> Expression:
    operator, operands = expression.operator, expression.operands
    if operator in ("and", "or"):
        swapped = "or" if operator == "and" else "and"
        return Expression(swapped, expression.column, tuple(_negated(each) for each in operands))
    if operator == "not":
        return operands[0]
    return Expression(_OPPOSITE.get(operator, operator), expression.column, operands, expression.literal)


def _distance(comparison: Expression, lookup: Lookup) -> float:
    """|left - right| relative to the right side, where a limit usually stands; more than 0 where it is missed."""
    sides = [evaluate(each, lookup) for each in comparison.operands]
    left, right = _comparable(sides)
    literals = tuple(
        Expression("number", each.column, literal=side)
        for each, side in zip(comparison.operands, (left, right), strict=True)
    )
    if evaluate(Expression(comparison.operator, comparison.column, literals), lookup) is True:
        return 0.0
    if not isinstance(left, Quantity) or not isinstance(right, Quantity):
        return 1.0
    gap = abs(left.value - right.value)
    return max(gap / abs(right.value) if right.value else gap, 1e-9)


def _comparable(sides: Sequence[object]) -> tuple[object, object]:
    """Both sides, without their dimension where one is a rate or a share and the other a plain number."""
    left, right = sides
    if isinstance(left, Quantity) and isinstance(right, Quantity):
        dimensions = {left.dimension, right.dimension}
        if None in dimensions and dimensions & set(_PLAIN_TOO):
            return Quantity(left.value), Quantity(right.value)
    return left, right


def violations(checks: Sequence[Check]) -> dict[str, float]:
    """Constraint -> relative amount by which it is missed; satisfied ones are not in it."""
    return {check.text: check.missed for check in checks if check.missed > 0}
