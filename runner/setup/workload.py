"""Checks the workload against the models that serve it; needs no protobuf, so that it is cheap on every run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from runner.load.shapes import fits
from runner.scenario.schema import Scenario, Workload
from runner.scenario.schema_inputs import GeneratedInput


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
    return [
        *problems,
        *_input_problems(scenario.workload, models[called]),
        *_batch_problems(called, models[called]["max_batch_size"], max_batch_needed),
    ]


def _input_problems(workload: Workload, model: Mapping[str, Any]) -> Iterator[str]:
    """Names that the model does not have, and shapes that it does not take."""
    made = {name: each for name, each in workload.input.items() if isinstance(each, GeneratedInput)}
    shapes = [(f"workload.input.{name}.shape", name, each.shape) for name, each in made.items() if each.shape]
    shapes += [(f"workload.shape.{name}", name, shape) for name, shape in workload.shape.items()]
    named = [("input", name) for name in workload.input] + [("shape", name) for name in workload.shape]
    for where, name in named:
        if model["input"] and name not in model["input"]:
            yield f"workload.{where}.{name}: {workload.model} has no such input{_near(name, model['input'])}"
    # A repository that an older version assembled has no shapes written down.
    for address, name, shape in shapes:
        declared = model.get("shapes", {}).get(name)
        if declared is not None and not fits(declared, shape):
            yield f"{address}: {list(shape)} does not fit the {declared} of {workload.model}"


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
