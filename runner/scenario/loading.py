"""From a reference and its overrides to a scenario, or to every mistake in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from runner.builtin import nearest
from runner.errors import RigError, ScenarioError, UsageError
from runner.scenario.checks import check_axes, check_other_targets, check_resolved
from runner.scenario.checks_tune import check_tune
from runner.scenario.diagnostics import Diagnostic, in_file_order
from runner.scenario.interpolation import Resolver
from runner.scenario.layers import (
    Layer,
    Stack,
    declared_assignments,
    find_scenario,
    read_base,
    read_values,
    set_assignments,
    target_assignments,
    variable_assignments,
)
from runner.scenario.loaded import LoadedScenario
from runner.scenario.reading import ReadError
from runner.scenario.resolving import Resolution, resolve
from runner.scenario.schema import Requires, StringVar, Var
from runner.scenario.tree import Node

__all__ = ["LoadedScenario", "declared_flags", "load_scenario"]

Further = Callable[[Resolution], Iterable[Diagnostic]]
"""Mistakes that need to know what this layer does not, such as the names of metrics."""
Satisfied = Callable[[Requires], Sequence[str]]
"""Says why a machine does not have what a target requires; nothing means that it has."""


def load_scenario(
    ref: str | Path | None = None,
    *,
    target: str | None = None,
    set_: Sequence[str] = (),
    values: Sequence[Path] = (),
    flags: Mapping[str, str] = {},
    env: Mapping[str, str] = os.environ,
    satisfied: Satisfied | None = None,
    further: Sequence[Further] = (),
) -> LoadedScenario:
    """Load a file or a built-in with its overrides.

    Without `satisfied` nobody looks at the machine: the first target that requires nothing is taken.

    Raises:
        UsageError: no such scenario, target, flag or values file.
        ScenarioError: the scenario is invalid; carries every mistake.
        RigError: this machine meets the needs of no target.
    """
    cwd = Path.cwd()
    path = find_scenario(ref, cwd)
    try:
        base = read_base(path, cwd)
    except ReadError as error:
        raise ScenarioError([error.diagnostic]) from None
    overlay = _Overlay(base, set_, values, flags, env, cwd)
    neutral = overlay.laid(base, None)
    chosen = _choose_target(neutral, target, satisfied, env)
    stack = overlay.laid(base, chosen)
    resolution = resolve(stack.root, env)
    problems = [*overlay.diagnostics, *stack.diagnostics, *resolution.diagnostics]
    problems += check_resolved(resolution)
    problems += check_other_targets(neutral, chosen, lambda name: overlay.laid(base, name), env)
    problems += check_axes(stack, resolution, env) + check_tune(stack, resolution, env)
    problems += [problem for check in further for problem in check(resolution)]
    if problems or resolution.scenario is None:
        main = base.root.place.source.name
        raise ScenarioError(in_file_order(problems, first=main))
    return LoadedScenario.build(stack, resolution, chosen, path.resolve(), env)


class _Overlay:
    """Everything above the file, read once and laid as often as needed."""

    def __init__(
        self,
        base: Stack,
        set_: Sequence[str],
        values: Sequence[Path],
        flags: Mapping[str, str],
        env: Mapping[str, str],
        cwd: Path,
    ) -> None:
        self.diagnostics: list[Diagnostic] = []
        self._values = read_values(values, cwd, self.diagnostics)
        self._variables = variable_assignments(env, cwd, self.diagnostics)
        self._set = set_assignments(set_, cwd, self.diagnostics)
        self._env, self._flags, self._cwd = env, flags, cwd

    def laid(self, base: Stack, target: str | None) -> Stack:
        """The whole stack; what a target sets is itself subject to the layers above it."""
        bundle = target_assignments(self.laid(base, None).root, target) if target is not None else []
        stack = base.copy()
        for assignment in bundle:
            stack.set(assignment)
        for layer in self._values:
            stack.lay(Layer(layer.name, layer.node))
        for assignment in self._variables:
            stack.set(assignment)
        for assignment in declared_assignments(stack.root, self._env, self._flags, self._cwd):
            stack.set(assignment)
        for assignment in self._set:
            stack.set(assignment)
        return stack


def _choose_target(stack: Stack, asked: str | None, satisfied: Satisfied | None, env: Mapping[str, str]) -> str | None:
    """The target asked for, else the first whose needs are met; None when the scenario has no targets."""
    targets = stack.root.child("targets")
    names = list(targets.value) if targets is not None and isinstance(targets.value, dict) else []
    if asked is not None:
        if asked in names:
            return asked
        close = nearest(asked, names, 1)
        hint = f"did you mean {close[0]}?" if close else f"targets: {', '.join(names) or 'none'}"
        raise UsageError(f"the scenario has no target {asked!r}", hint=hint)
    if not names:
        return None
    requires = {
        name: needs for name in names if (needs := _requires(Resolver(stack.root, env).resolve(stack.root), name))
    }
    if satisfied is None:
        return next((name for name, needs in requires.items() if needs == Requires()), names[0])
    reasons: dict[str, Sequence[str]] = {}
    for name, needs in requires.items():
        reasons[name] = satisfied(needs)
        if not reasons[name]:
            return name
    if not reasons:
        return names[0]  # no target is valid, which the checks will say
    listed = "; ".join(f"{name}: {', '.join(why)}" for name, why in reasons.items())
    raise RigError(
        f"this machine meets the needs of no target ({listed})",
        hint="`scenario doctor` says what mends that; --target NAME chooses one anyway",
    )


def _requires(root: Node, target: str) -> Requires | None:
    node = root.find(("targets", target, "requires"))
    try:
        return Requires.model_validate(node.plain() if node is not None else {})
    except ValidationError:
        return None


def declared_flags(ref: str | Path | None = None) -> dict[str, Var]:
    """Flag -> variable, for every variable of a scenario that declares one; the rest of the file may be invalid.

    Raises:
        UsageError: no such scenario.
        ScenarioError: the file cannot be read at all.
    """
    cwd = Path.cwd()
    try:
        tree = read_base(find_scenario(ref, cwd), cwd).root
    except ReadError as error:
        raise ScenarioError([error.diagnostic]) from None
    declared = Resolver(tree, os.environ).resolve(tree).child("vars")
    found: dict[str, Var] = {}
    for _, node in declared.children() if declared is not None else ():
        flag = node.child("flag")
        if flag is not None and isinstance(flag.value, str):
            try:
                found[flag.value] = _var_adapter().validate_python(node.plain())
            except ValidationError:
                found[flag.value] = StringVar.model_construct(type="string", default="", flag=flag.value, help="")
    return found


@cache
def _var_adapter() -> TypeAdapter[Var]:
    return TypeAdapter(Var)
