"""Mistakes in what a study is after: names that are no metric, and comparisons of what does not compare."""

from __future__ import annotations

from collections.abc import Iterator

from runner.results.metric import Metric
from runner.results.metric_names import metric_named, metric_names, percentile_of
from runner.scenario.checks import entries, predicate_problem
from runner.scenario.diagnostics import Diagnostic, diagnose, did_you_mean
from runner.scenario.predicate import PredicateError, UnknownAddressError
from runner.scenario.resolving import Resolution
from runner.scenario.tree import Node, Place
from runner.tune.constraints import Constraint, violation


def check_goals(resolution: Resolution) -> list[Diagnostic]:
    """Every mistake in `tune.objectives` and `tune.constraints`."""
    return [*_objectives(resolution), *_constraints(resolution)]


def _objectives(resolution: Resolution) -> Iterator[Diagnostic]:
    for name, node in entries(resolution.root, "tune", "objectives"):
        place, address = node.key or node.place, f"tune.objectives.{name}"
        metric = metric_named(name)
        if metric is None:
            yield _unknown(name, place, address)
        else:
            yield from _unreported(name, metric, place, address, resolution)


def _constraints(resolution: Resolution) -> Iterator[Diagnostic]:
    for key, node in entries(resolution.root, "tune", "constraints"):
        if not isinstance(node.value, str):
            continue  # the schema says so
        address = f"tune.constraints.{key}"
        try:
            constraint = Constraint.of(node.value)
            violation(constraint.predicate.expression, constraint.lookup(dict.fromkeys(constraint.metrics, 1.0)))
        except UnknownAddressError as error:
            yield _unknown(error.address, node.place.within(error.address), address)
        except PredicateError as error:
            yield predicate_problem(error, node, address, ())
        else:
            yield from _unreported_of(constraint, node, address, resolution)


def _unreported_of(constraint: Constraint, node: Node, address: str, resolution: Resolution) -> Iterator[Diagnostic]:
    for name, metric in constraint.metrics.items():
        yield from _unreported(name, metric, node.place.within(name), address, resolution)


def _unknown(name: str, place: Place, address: str) -> Diagnostic:
    message = f"there is no metric `{name}`"
    return diagnose("E133", place, message, address=address, hint=did_you_mean(name, metric_names()))


def _unreported(name: str, metric: Metric, place: Place, address: str, resolution: Resolution) -> Iterator[Diagnostic]:
    """A percentile is a number of the measurement only where `measure.percentiles` asks for it."""
    q = percentile_of(name)
    reported = resolution.scenario.measure.percentiles if resolution.scenario is not None else None
    if q is not None and reported is not None and q not in reported:
        message = f"`measure.percentiles` does not report `{name}`"
        yield diagnose("E133", place, message, address=address, hint=f"add {q:g} to it")
