"""Objectives: which metrics are better which way, and what a measurement says about them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from runner.errors import UsageError
from runner.results.metric import Metric
from runner.results.metric_names import metric_named
from runner.results.records import Estimate, Trial
from runner.scenario.predicate import PredicateError
from runner.scenario.schema_tune import Tune, WeightedObjective
from runner.tune.base import Observation, Outcome, Point
from runner.tune.constraints import Check, Constraint, read, violations

MAX_SHOWN_FLAGS = 3


@dataclass(frozen=True)
class Objective:
    """One metric and which way is better."""

    name: str
    """As in the scenario."""
    metric: Metric
    direction: Literal["max", "min"]
    weight: float = 1.0

    @property
    def sign(self) -> int:
        """Times a value: larger is better."""
        return 1 if self.direction == "max" else -1


@dataclass(frozen=True)
class Goals:
    """What a study is after."""

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()

    @classmethod
    def of(cls, tune: Tune) -> Goals:
        """The objectives and constraints of a study.

        Raises:
            UsageError: an objective that is no metric, a constraint that is no predicate over metrics.
        """
        objectives = tuple(_objective(name, written) for name, written in tune.objectives.items())
        return cls(objectives, tuple(_constraint(text) for text in tune.constraints))

    def read(self, trial: Trial) -> Reading:
        """What a measurement says.

        Raises:
            RigError: it lacks a metric, for example because this machine has no such telemetry.
        """
        values = tuple(read(each.metric, trial, f"the objective `{each.name}`") for each in self.objectives)
        return Reading(values, tuple(constraint.check(trial) for constraint in self.constraints))

    def observe(
        self, number: int, point: Point, trial: Trial, outcome: Outcome = "measured", reason: str = ""
    ) -> Observation:
        """A trial as an observation; one that failed or that a flag forbids using has no values.

        Raises:
            RigError: as `read`.
        """
        if trial.state != "ok" and outcome != "pruned":
            return Observation(number, point, "failed", reason=reason or _why(trial))
        if trial.summary is None:
            return Observation(number, point, outcome, reason=reason or _why(trial))
        reading = self.read(trial)
        values = tuple(estimate.value for estimate in reading.values)
        return Observation(number, point, outcome, values, violations(reading.checks), reason)


@dataclass(frozen=True)
class Reading:
    """The objectives in their order and the constraints in theirs, of one measurement."""

    values: tuple[Estimate, ...]
    checks: tuple[Check, ...] = ()


def _objective(name: str, written: str | WeightedObjective) -> Objective:
    metric = metric_named(name)
    if metric is None:
        raise UsageError(f"the objective `{name}` is no metric", hint="docs/results.md lists the metrics")
    if isinstance(written, WeightedObjective):
        return Objective(name, metric, written.direction, written.weight)
    return Objective(name, metric, "max" if written == "max" else "min")


def _constraint(text: str) -> Constraint:
    try:
        return Constraint.of(text)
    except PredicateError as error:
        raise UsageError(f"the constraint `{text}`: {error.message}", hint=error.hint) from None


def _why(trial: Trial) -> str:
    flags = [flag.code for flag in trial.flags if flag.consequence == "invalidates"]
    return trial.failure or f"{trial.state}: {', '.join(flags[:MAX_SHOWN_FLAGS]) or 'no reason was recorded'}"


def gains(values: Sequence[float], reference: Sequence[float], objectives: Sequence[Objective]) -> tuple[float, ...]:
    """How much better each objective is than the reference, as logarithms of ratios where both are positive.

    Otherwise as differences, relative to the larger of both: a count that is 0 has no ratio.
    """
    return tuple(
        objective.sign * _change(value, base)
        for value, base, objective in zip(values, reference, objectives, strict=True)
    )


def _change(value: float, base: float) -> float:
    if value > 0 and base > 0:
        return math.log(value / base)
    return (value - base) / max(abs(value), abs(base)) if value != base else 0.0


def weighted(values: Sequence[float], objectives: Sequence[Objective]) -> float:
    """The mean by the weights of the objectives."""
    total = sum(objective.weight for objective in objectives)
    return sum(value * objective.weight for value, objective in zip(values, objectives, strict=True)) / total
