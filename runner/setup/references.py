"""`${setup.NAME}`: which steps are needed, in which order, and what a reference becomes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from runner.errors import SetupError
from runner.setup.base import Artifact

_REFERENCE = re.compile(r"\$\{setup\.([A-Za-z_][A-Za-z0-9_-]*)\}")


def references(value: Any) -> tuple[str, ...]:
    """Names of the steps that a value refers to, each once, in order of appearance."""
    return tuple(dict.fromkeys(name for text in _strings(value) for name in _REFERENCE.findall(text)))


def substitute(text: str, artifacts: Mapping[str, Artifact]) -> str:
    """The text with every reference replaced by the path of that step's artifact."""
    return _REFERENCE.sub(lambda match: str(artifacts[match[1]].path), text)


def substitute_all(value: Any, artifacts: Mapping[str, Artifact]) -> Any:
    """The value with references replaced in every string inside it."""
    if isinstance(value, str):
        return substitute(value, artifacts)
    if isinstance(value, Mapping):
        return {key: substitute_all(item, artifacts) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [substitute_all(item, artifacts) for item in value]
    return value


def needed_steps(setup: Mapping[str, Any], roots: Any, always: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Steps that `roots` reach, dependencies first.

    Raises:
        SetupError: a reference names no step, or steps refer to each other in a circle.
    """
    order: list[str] = []
    for name in (*(name for name in setup if name in always), *references(roots)):
        _visit(name, setup, order, ())
    return tuple(order)


def _visit(name: str, setup: Mapping[str, Any], order: list[str], path: tuple[str, ...]) -> None:
    if name in order:
        return
    if name not in setup:
        near = get_close_matches(name, setup, n=1)
        where = f"setup.{path[-1]}" if path else "the scenario"
        raise SetupError(
            f"{where} refers to ${{setup.{name}}}, but there is no such step",
            hint=f"did you mean ${{setup.{near[0]}}}?" if near else f"steps are: {', '.join(setup) or 'none'}",
        )
    if name in path:
        circle = " -> ".join(f"setup.{step}" for step in (*path[path.index(name) :], name))
        raise SetupError(f"steps refer to each other in a circle: {circle}", hint="remove one of these references")
    for inner in references(setup[name]):
        _visit(inner, setup, order, (*path, name))
    order.append(name)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)
