"""Checks the workload against the models that serve it; needs no protobuf, so that it is cheap on every run."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from runner.scenario.schema import Scenario


def check_workload(scenario: Scenario, models: Mapping[str, Any], max_batch_needed: int) -> list[str]:
    """Every problem, with its address; `models` are the facts that the repository step keeps."""
    if not models:
        return []
    problems = [
        f"server.load: the repository has no model `{name}`{_near(name, models)}"
        for name in scenario.server.load
        if name not in models
    ]
    called = scenario.workload.model
    if called not in models:
        return [*problems, f"workload.model: the repository has no model `{called}`{_near(called, models)}"]
    inputs = models[called]["input"]
    problems += [
        f"workload.input.{name}: {called} has no such input{_near(name, inputs)}"
        for name in scenario.workload.input
        if inputs and name not in inputs
    ]
    return problems + _batch_problems(called, models[called]["max_batch_size"], max_batch_needed)


def _batch_problems(model: str, limit: int, needed: int) -> list[str]:
    if needed <= max(limit, 1):
        return []
    takes = f"at most {limit} per request" if limit else "no batches (max_batch_size is 0)"
    address = f"repository.models.{model}.config.max_batch_size"
    remedy = f"raise {address} to {needed}, with those of its steps, or lower the matrix"
    return [f"workload.batch: the matrix goes up to {needed}, but {model} takes {takes}; {remedy}"]


def _near(name: str, names: Any) -> str:
    found = get_close_matches(name, list(names), n=1)
    return f" (did you mean `{found[0]}`?)" if found else ""
