"""A tree of settings becomes a scenario: references followed, paths made absolute, types checked."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from runner.scenario.diagnostics import Diagnostic
from runner.scenario.files import with_absolute_paths
from runner.scenario.interpolation import Resolver, escape
from runner.scenario.layers import Assignment, Stack, assigned
from runner.scenario.merging import assign
from runner.scenario.problems import diagnose_errors
from runner.scenario.schema import Scenario
from runner.scenario.tree import Node, Path_


@dataclass(frozen=True)
class Resolution:
    """What came of a tree; `scenario` is None when it is invalid."""

    root: Node
    scenario: Scenario | None
    diagnostics: tuple[Diagnostic, ...]
    broken: frozenset[Path_]
    """Places with a reference that could not be followed."""


def resolve(root: Node, env: Mapping[str, str], *, check_files: bool = True) -> Resolution:
    """Make a scenario of a tree, or every mistake in it."""
    resolver = Resolver(root, env)
    tree = resolver.resolve(root)
    found = resolver.diagnostics
    if check_files:
        tree = with_absolute_paths(tree, found.append, resolver.broken)
    scenario, problems = validate(tree, resolver.broken)
    return Resolution(tree, scenario if not found else None, (*found, *problems), frozenset(resolver.broken))


def validate(tree: Node, broken: Collection[Path_]) -> tuple[Scenario | None, list[Diagnostic]]:
    """Check the types. By way of JSON, whose strict mode takes lists for tuples and nothing else for another."""
    try:
        return Scenario.model_validate_json(json.dumps(tree.plain()), strict=True), []
    except ValidationError as error:
        return None, list(diagnose_errors(error.errors(include_url=False), tree, broken))


_WITH_PATHS = ("targets", "setup", "repository", "workload", "load")


def resolve_again(
    root: Node, before: Resolution, assignments: Sequence[Assignment], env: Mapping[str, str]
) -> Resolution:
    """Resolve a tree with other values on top; `before` is what came of it without them.

    The values are final: references in them are not followed. Only when one of them is a variable must everything be
    resolved anew; otherwise they are put into the resolved tree, which is what makes thousands of points cheap.
    """
    stack = Stack([], root, [])
    for assignment in assignments:
        stack.set(replace(assignment, value=_escaped(assignment.value)))
    if stack.diagnostics:
        return Resolution(before.root, None, tuple(stack.diagnostics), frozenset())
    if any(layer.path[0] == "vars" for layer in stack.layers):
        return resolve(stack.root, env)
    tree, problems = before.root, list[Diagnostic]()
    for layer, assignment in zip(stack.layers, assignments, strict=True):
        tree = assign(tree, layer.path, assigned(assignment)) or tree
    if any(layer.path[0] in _WITH_PATHS for layer in stack.layers):
        tree = with_absolute_paths(tree, problems.append, before.broken)
    scenario, more = validate(tree, before.broken)
    return Resolution(tree, None if problems else scenario, (*problems, *more), before.broken)


def _escaped(node: Node) -> Node:
    if isinstance(node.value, dict):
        return replace(node, value={key: _escaped(child) for key, child in node.value.items()})
    if isinstance(node.value, list):
        return replace(node, value=[_escaped(child) for child in node.value])
    return replace(node, value=escape(node.value)) if isinstance(node.value, str) and "${" in node.value else node
