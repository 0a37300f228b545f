"""The matrix: axes become an ordered tuple of cases."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runner.errors import ScenarioError
from runner.scenario.case import Case
from runner.scenario.checks import batch_problem, predicate_problem
from runner.scenario.diagnostics import Diagnostic, diagnose, in_file_order
from runner.scenario.layers import Assignment
from runner.scenario.loaded import LoadedScenario, digest_of
from runner.scenario.points import MAX_POINTS, Point, points_of
from runner.scenario.predicate import Predicate, PredicateError, parse
from runner.scenario.schema import Scenario
from runner.scenario.secrets import masked, redact_predicate
from runner.scenario.values import lookup_in

_SHORT_NAMES = {"workload.batch": "b", "load.concurrency": "c", "load.rate": "r"}
_MAX_READABLE = 40
_MAX_PROBLEMS = 20


def expand(loaded: LoadedScenario) -> tuple[Case, ...]:
    """Every point of the product of the axes, the first axis outermost; skipped points too, with the reason.

    Raises:
        ScenarioError: an axis has no such address or a value that the scenario cannot have, there are more than
            10 000 points, or a batch is larger than its model takes.
    """
    axes = _axes(loaded)
    skip = [parse(text) for text in loaded.scenario.matrix.skip]
    cases: list[Case] = []
    problems: list[Diagnostic] = []
    for combination in itertools.product(*axes):
        point = {address: value for part in combination for address, value in part.items()}
        try:
            cases.append(_case(loaded, point, skip))
        except ScenarioError as error:
            problems += error.diagnostics
        if len(problems) >= _MAX_PROBLEMS:
            break
    if problems:
        raise ScenarioError(in_file_order(problems))
    return tuple(cases)


def _axes(loaded: LoadedScenario) -> list[list[Point]]:
    axes = [
        points_of(label, axis, loaded.node(("matrix", "axes", label)))
        for label, axis in loaded.scenario.matrix.axes.items()
    ]
    count = math.prod(len(points) for points in axes)
    if count > MAX_POINTS:
        node = loaded.node(("matrix", "axes"))
        message = f"expected at most {MAX_POINTS:,} points, got {count:,}"
        problem = diagnose("E131", node.key or node.place, message, address="matrix.axes", hint="shorten an axis")
        raise ScenarioError([problem])
    return axes


def _case(loaded: LoadedScenario, point: Point, skip: Sequence[Predicate]) -> Case:
    scenario = loaded.scenario
    if point:
        scenario = loaded.resolve_with(
            [Assignment("axis", address, value, value.key or value.place) for address, value in point.items()]
        )
    parameters = {address: masked(address, value.plain()) for address, value in point.items()}
    skipped = _skip_reason(loaded, scenario, skip)
    problem = _batch_problem(loaded, scenario, point) if skipped is None else None
    if problem is not None:
        raise ScenarioError([problem])
    return Case(case_id(parameters), parameters, scenario, server_key(scenario), skipped)


def case_at(loaded: LoadedScenario, values: Mapping[str, Any]) -> Case:
    """The point with these values at these addresses, whether or not it is one of the matrix.

    Raises:
        ScenarioError: an address or a value that the scenario cannot have, or a batch that its model does not take.
    """
    scenario = loaded.at(values) if values else loaded.scenario
    problem = _batch_problem(loaded, scenario, {})
    if problem is not None:
        raise ScenarioError([problem])
    parameters = {address: masked(address, value) for address, value in values.items()}
    return Case(case_id(parameters), parameters, scenario, server_key(scenario))


def _batch_problem(loaded: LoadedScenario, scenario: Scenario, point: Point) -> Diagnostic | None:
    source = scenario.repository.models.get(scenario.workload.model)
    limit = source.config.get("max_batch_size") if source is not None else None
    node = point.get("workload.batch") or loaded.find(("workload", "batch")) or loaded.node(("workload",))
    return batch_problem(scenario.workload.batch, scenario.workload.model, limit, node.place)


def _skip_reason(loaded: LoadedScenario, scenario: Scenario, skip: Sequence[Predicate]) -> str | None:
    """The first predicate that holds."""
    if not skip:
        return None
    lookup = lookup_in(scenario.model_dump(mode="json", by_alias=True))
    for index, predicate in enumerate(skip):
        try:
            if predicate.evaluate(lookup):
                return redact_predicate(predicate.text)
        except PredicateError as error:
            node = loaded.node(("matrix", "skip", index))
            raise ScenarioError([predicate_problem(error, node, f"matrix.skip.{index}", ())]) from None
    return None


def case_id(parameters: Mapping[str, Any]) -> str:
    """Readable parameters, then a hash over all of them: `b8-c16-1a2b3c4d`."""
    words = [_word(address, value) for address, value in parameters.items()]
    readable = "-".join(_fitting(word for word in words if word)) or "base"
    return f"{readable}-{digest_of(parameters)[:8]}"


def _fitting(words: Iterable[str]) -> Iterable[str]:
    length = 0
    for word in words:
        length += len(word) + 1
        if length > _MAX_READABLE:
            return
        yield word


def _word(address: str, value: Any) -> str:
    if isinstance(value, dict | list):
        return ""
    last = re.sub("[^a-z0-9_]", "", address.rpartition(".")[2].lower())
    name = _SHORT_NAMES.get(address) or "".join(part[0] for part in last.split("_") if part)
    shown = value.removesuffix("/s") if isinstance(value, str) else json.dumps(value)
    return f"{name}{re.sub('[^A-Za-z0-9.]', '', shown)[:12]}"


def server_key(scenario: Scenario) -> str:
    """Equal for scenarios that one running server can serve."""
    parts = scenario.model_dump(mode="json", by_alias=True, include={"setup", "repository", "server", "targets"})
    if not scenario.server.load:
        parts["model"] = scenario.workload.model
    return digest_of(parts)[:16]
