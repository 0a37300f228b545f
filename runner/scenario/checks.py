"""Mistakes that only show when parts are seen together: references between parts, axes, predicates, batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from runner.builtin import nearest
from runner.scenario.arrivals import ArrivalsError, read_intervals, read_timestamps
from runner.scenario.diagnostics import Diagnostic, diagnose, did_you_mean
from runner.scenario.interpolation import SYMBOLIC
from runner.scenario.layers import Assignment, Stack, target_assignments
from runner.scenario.points import AxisError, Point, points_of
from runner.scenario.predicate import PredicateError, UnknownAddressError, parse
from runner.scenario.resolving import Resolution, resolve, resolve_again
from runner.scenario.schema import Axis, IntervalsLoad, ReplayLoad
from runner.scenario.schema_walk import known_addresses
from runner.scenario.tree import Node, Place, dotted
from runner.scenario.values import lookup_in

_MAX_TRIED = 64
"""Values of an axis that are tried at loading; `expand` tries all."""


def check_resolved(resolution: Resolution) -> list[Diagnostic]:
    """Everything that needs no other layer; what is invalid by itself is left out."""
    root = resolution.root
    return [
        *_duplicate_flags(root),
        *_setup_cycles(root),
        *_unknown_models(root),
        *_skip_problems(resolution),
        *_batch_problems(root),
        *_profile_problems(root),
        *_send_time_problems(resolution),
    ]


def _send_time_problems(resolution: Resolution) -> Iterator[Diagnostic]:
    """Files of send times are read at once: nothing else would find a wrong line before the server is up."""
    load = resolution.scenario.load if resolution.scenario is not None else None
    node = resolution.root.find(("load", "file"))
    if node is None or not isinstance(load, IntervalsLoad | ReplayLoad):
        return
    try:
        (read_intervals if isinstance(load, IntervalsLoad) else read_timestamps)(Path(load.file))
    except ArrivalsError as error:
        where = f"{error.path}:{error.line}" if error.line else str(error.path)
        yield diagnose("E142", node.place, f"{where}: {error.message}", address="load.file")


def _duplicate_flags(root: Node) -> Iterator[Diagnostic]:
    for word in ("flag", "env"):
        seen: dict[Any, str] = {}
        for name, variable in entries(root, "vars"):
            node = variable.child(word)
            if node is None or not isinstance(node.value, str):
                continue
            if node.value in seen:
                message = f"`{node.value}` already sets the variable `{seen[node.value]}`"
                yield diagnose("E113", node.place, message, address=f"vars.{name}.{word}", hint="choose another name")
            seen.setdefault(node.value, str(name))


def entries(root: Node, *path: str) -> list[tuple[str, Node]]:
    """The children of the node at a path; none where there is none."""
    node = root.find(path)
    return [(str(key), child) for key, child in node.children()] if node is not None else []


def _setup_cycles(root: Node) -> Iterator[Diagnostic]:
    """Steps run in the order of their references, so these must not go round."""
    steps = entries(root, "setup")
    graph = {name: set(_steps_in(node)) for name, node in steps}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle = [str(name) for name in error.args[1]]
        node = dict(steps)[cycle[-1]]
        message = f"setup steps refer to each other: {' -> '.join(reversed(cycle))}"
        yield diagnose("E121", node.key or node.place, message, address=f"setup.{cycle[-1]}")


def _steps_in(node: Node) -> Iterator[str]:
    for _, each in node.walk():
        if isinstance(each.value, str):
            yield from (match[1] for match in SYMBOLIC.finditer(each.value) if match[1])


def _unknown_models(root: Node) -> Iterator[Diagnostic]:
    models = [name for name, _ in entries(root, "repository", "models")]
    named = [("workload.model", root.find(("workload", "model")))]
    named += [(f"server.load.{index}", node) for index, node in entries(root, "server", "load")]
    named += [(f"workload.bls_models.{index}", node) for index, node in entries(root, "workload", "bls_models")]
    for address, node in named:
        if models and node is not None and isinstance(node.value, str) and node.value not in models:
            message = f"there is no model `{node.value}` in `repository.models`"
            yield diagnose("E120", node.place, message, address=address, hint=did_you_mean(node.value, models))


def _skip_problems(resolution: Resolution) -> Iterator[Diagnostic]:
    """Predicates are read, and tried on the base to see that addresses and units fit."""
    lookup = None
    if resolution.scenario is not None:
        lookup = lookup_in(resolution.scenario.model_dump(mode="json", by_alias=True))
    skip = resolution.root.find(("matrix", "skip"))
    for index, node in enumerate(skip.value if skip is not None and isinstance(skip.value, list) else ()):
        if not isinstance(node.value, str) or ("matrix", "skip", index) in resolution.broken:
            continue
        try:
            predicate = parse(node.value)
            if lookup is not None and not isinstance(predicate.evaluate(lookup), bool):
                raise PredicateError("expected a comparison, got a number", 1)
        except PredicateError as error:
            yield predicate_problem(error, node, f"matrix.skip.{index}", known_addresses(resolution.root))


def predicate_problem(error: PredicateError, node: Node, address: str, known: Sequence[str]) -> Diagnostic:
    """A predicate that makes no sense, at the word that is to blame."""
    quoted = node.place.text[node.place.column - 1 : node.place.column] in ("'", '"')
    column = node.place.column + quoted + error.column - 1
    place = replace(node.place, column=column, end_column=column + 1)
    hint = error.hint
    if isinstance(error, UnknownAddressError):
        place = replace(place, end_column=column + len(error.address))
        close = nearest(error.address, known, 1)
        hint = f"did you mean `{close[0]}`?" if close else None
    return diagnose("E132", place, error.message, address=address, hint=hint)


def batch_problem(batch: int, model: str, limit: Any, place: Place) -> Diagnostic | None:
    """A batch against the `max_batch_size` that the scenario itself gives the model, if it does."""
    if not isinstance(limit, int) or isinstance(limit, bool) or batch <= max(limit, 1):
        return None
    address = f"repository.models.{model}.config.max_batch_size"
    message = f"a batch of {batch} is larger than the model `{model}` takes, which is {limit}"
    return diagnose("E150", place, message, address="workload.batch", hint=f"raise {address}, or shorten the axis")


def _batch_problems(root: Node) -> Iterator[Diagnostic]:
    """Only where no axis or predicate can change the outcome: `expand` checks every point."""
    model = root.find(("workload", "model"))
    config = root.find(("repository", "models", str(model.value), "config", "max_batch_size")) if model else None
    axes = dict(entries(root, "matrix", "axes"))
    if config is None or model is None or set(axes) - {"workload.batch", "load.concurrency", "load.rate"}:
        return
    if entries(root, "matrix", "skip"):
        return
    base = root.find(("workload", "batch"))
    batches = [base] if base is not None else []
    if "workload.batch" in axes:
        points = _points("workload.batch", axes["workload.batch"], [])
        batches = [value for point in points for value in point.values()]
    for node in batches:
        if isinstance(node.value, int):
            problem = batch_problem(node.value, str(model.value), config.value, node.place)
            if problem is not None:
                yield problem


def _profile_problems(root: Node) -> Iterator[Diagnostic]:
    """Models that promise larger batches than any profile of their engine: Triton would refuse to load them."""
    for name, model in entries(root, "repository", "models"):
        limit = model.find(("config", "max_batch_size"))
        if limit is None or not isinstance(limit.value, int):
            continue
        for step in sorted({step for _, node in entries(model, "files") for step in _steps_in(node)}):
            largest = _largest_batch(root.find(("setup", step, "profile")))
            if largest is not None and limit.value > largest:
                message = f"a batch of {limit.value} is larger than the engine `setup.{step}` takes, which is {largest}"
                address = f"repository.models.{name}.config.max_batch_size"
                yield diagnose("E150", limit.place, message, address=address, hint=f"raise setup.{step}.profile.max")


def _largest_batch(profile: Node | None) -> int | None:
    """The largest batch of any profile that speaks of batches; None where one speaks of shapes or makes no sense."""
    if profile is None:
        return None
    singles = [node for _, node in profile.children()] if isinstance(profile.value, list) else [profile]
    found = [node.child("max") for node in singles]
    sizes = [node.value for node in found if node is not None and isinstance(node.value, int)]
    return max(sizes) if sizes and len(sizes) == len(singles) else None


def check_axes(stack: Stack, resolution: Resolution, env: Mapping[str, str]) -> list[Diagnostic]:
    """Every axis by itself: its form, its addresses, its values."""
    base = {identity(each) for each in resolution.diagnostics}
    found: list[Diagnostic] = []
    owners: dict[str, str] = {}
    for label, node in entries(resolution.root, "matrix", "axes"):
        for point in _points(label, node, found):
            found += _shared_address(label, point, owners)
            found += [each for each in tried(stack, resolution, point, env) if identity(each) not in base]
    return found


def _points(label: str, node: Node, found: list[Diagnostic]) -> list[Point]:
    try:
        axis = _axis_adapter().validate_python(node.plain())
        points = points_of(label, axis, node)
    except ValidationError:
        return []  # the schema has said so
    except AxisError as error:
        address = dotted(("matrix", "axes", label))
        found.append(diagnose("E131", error.place, error.message, address=address, hint=error.hint))
        return []
    if isinstance(axis, tuple) or hasattr(axis, "zip"):
        return points[:_MAX_TRIED]
    return [points[0], points[-1]]


@cache
def _axis_adapter() -> TypeAdapter[Axis]:
    return TypeAdapter(Axis)


def _shared_address(label: str, point: Point, owners: dict[str, str]) -> Iterator[Diagnostic]:
    for address, value in point.items():
        owner = owners.setdefault(address, label)
        if owner != label:
            message = f"the axis `{owner}` already sets `{address}`"
            yield diagnose("E131", value.key or value.place, message, address=address, hint="remove one of them")


def tried(stack: Stack, resolution: Resolution, point: Point, env: Mapping[str, str]) -> tuple[Diagnostic, ...]:
    """What a point breaks."""
    assignments = [Assignment("axis", address, value, value.key or value.place) for address, value in point.items()]
    return resolve_again(stack.root, resolution, assignments, env).diagnostics


def check_other_targets(neutral: Stack, chosen: str | None, env: Mapping[str, str]) -> list[Diagnostic]:
    """What the targets that were not chosen set; their files may exist only on their machines."""
    found: list[Diagnostic] = []
    for name, target in entries(neutral.root, "targets"):
        bundle = target.child("set")
        if name == chosen or bundle is None:
            continue
        tried = Stack([], neutral.root, [])
        for assignment in target_assignments(neutral.root, name):
            tried.set(assignment)
        written = {(each.source.name, each.line, each.column) for each in _places(bundle)}
        problems = [*tried.diagnostics, *resolve(tried.root, env, check_files=False).diagnostics]
        found += [each for each in problems if (each.file, each.line, each.column) in written]
    return found


def _places(node: Node) -> Iterator[Place]:
    for _, each in node.walk():
        yield each.place
        if each.key is not None:
            yield each.key


def identity(diagnostic: Diagnostic) -> tuple[Any, ...]:
    """Equal for the same mistake found twice."""
    return (diagnostic.code, diagnostic.file, diagnostic.line, diagnostic.column, diagnostic.message)
