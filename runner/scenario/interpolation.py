"""References in values: `${vars.x} ${env.X:-default} ${host.cpus} ${host.memory} ${setup.step} ${run.dir}`.

A reference that is the whole value keeps its type; inside a text it becomes text. `$${` stands for a plain `${`.
`${setup.…}` and `${run.dir}` stay as they are, because their values exist only later. There is no logic.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from runner.scenario.diagnostics import Diagnostic, diagnose, did_you_mean
from runner.scenario.reading import core_scalar
from runner.scenario.tree import Node, Path_, Place, Plain, dotted
from runner.units import format_bytes

REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
SYMBOLIC = re.compile(r"\$\{(?:setup\.([A-Za-z_][A-Za-z0-9_-]*)|run\.dir)\}")
"""References that stay in a resolved scenario; group 1 is the setup step."""
_NAMESPACES = ("vars", "env", "host", "setup", "run")
_ENV = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


class BadReferenceError(Exception):
    """A reference that cannot be followed; an empty message means that the cause is already reported."""

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


@dataclass
class Resolver:
    """Follows the references of one tree; mistakes gather in `diagnostics`, their paths in `broken`."""

    root: Node
    environment: Mapping[str, str]
    diagnostics: list[Diagnostic] = field(default_factory=list)
    broken: set[Path_] = field(default_factory=set)
    _vars: dict[str, Node | None] = field(default_factory=dict)
    _active: list[str] = field(default_factory=list)

    def resolve(self, node: Node, path: Path_ = ()) -> Node:
        """The same tree with every reference followed."""
        if isinstance(node.value, dict):
            return replace(node, value={key: self.resolve(child, (*path, key)) for key, child in node.value.items()})
        if isinstance(node.value, list):
            return replace(node, value=[self.resolve(child, (*path, i)) for i, child in enumerate(node.value)])
        if not isinstance(node.value, str) or "${" not in node.value:
            return node
        if len(path) == 3 and path[0] == "vars" and path[2] == "default":
            return self._declared(node, str(path[1]))
        return self._followed(node, path)

    def _declared(self, node: Node, name: str) -> Node:
        """The value of a variable is followed once, however often it is used."""
        try:
            return self._variable(name)
        except BadReferenceError:
            return node

    def _followed(self, node: Node, path: Path_, *, as_text: bool = False) -> Node:
        assert isinstance(node.value, str)
        broken = False
        whole: Node | None = None

        def follow(match: re.Match[str]) -> str:
            nonlocal broken, whole
            try:
                found = self._value(match, node)
            except BadReferenceError as problem:
                broken = True
                self._report(problem, node.place.within(match[0]), path)
                return match[0]
            if match.span() == (0, len(match.string)) and not as_text:
                whole = _typed(found) if match[0].startswith("${env.") else found
            return _as_text(found.value)

        text = REFERENCE.sub(follow, node.value)
        if broken:
            self.broken.add(path)
            return node
        if whole is not None:
            return replace(whole, place=node.place, key=node.key, folder=whole.folder or whole.place.source.folder)
        return replace(node, value=text)

    def _report(self, problem: BadReferenceError, place: Place, path: Path_) -> None:
        if problem.message:
            self.diagnostics.append(
                diagnose(problem.code, place, problem.message, address=dotted(path), hint=problem.hint)
            )

    def _value(self, match: re.Match[str], node: Node) -> Node:
        if match[0] == "$${":
            if SYMBOLIC.match(match.string, match.start() + 1):
                raise BadReferenceError("E122", "a text that reads like a reference to a step cannot be escaped")
            return replace(node, value="${")
        if match[1] is None:
            raise BadReferenceError(
                "E122", "the reference has no closing brace, or another one inside", "write `$${` for a plain `${`"
            )
        space, dot, name = match[1].strip().partition(".")
        if space not in _NAMESPACES or not dot:
            raise BadReferenceError("E120", f"unknown reference `{match[0]}`", _namespace_hint(space))
        followed: Node | Plain = getattr(self, f"_{space}_reference")(name)
        return followed if isinstance(followed, Node) else replace(node, value=followed)

    def _vars_reference(self, name: str) -> Node:
        declared = self.root.child("vars")
        known = list(declared.value) if declared is not None and isinstance(declared.value, dict) else []
        if name not in known:
            hint = did_you_mean(name, known) or "declare it under `vars`"
            raise BadReferenceError("E120", f"unknown variable `{name}`", hint)
        return self._variable(name)

    def _variable(self, name: str) -> Node:
        if name in self._active:
            chain = " -> ".join([*self._active[self._active.index(name) :], name])
            raise BadReferenceError("E121", f"variables refer to each other: {chain}", "give one of them a plain value")
        if name not in self._vars:
            self._active.append(name)
            try:
                self._vars[name] = self._follow_variable(name)
            finally:
                self._active.pop()
        found = self._vars[name]
        if found is None:
            raise BadReferenceError("E120", "")
        return found

    def _follow_variable(self, name: str) -> Node | None:
        path = ("vars", name, "default")
        node = self.root.find(path)
        if node is None:
            return None
        if not isinstance(node.value, str) or "${" not in node.value:
            return node
        kind = self.root.find(("vars", name, "type"))
        as_text = kind is not None and kind.value in ("string", "enum")
        followed = self._followed(node, path, as_text=as_text)
        return None if path in self.broken else followed

    def _env_reference(self, name: str) -> Plain:
        match = _ENV.fullmatch(name)
        if match is None:
            raise BadReferenceError("E122", f"`{name}` is not the name of an environment variable", "write ${env.X:-8}")
        value = self.environment.get(match[1]) or match[2]
        if value is None:
            hint = f"set it, or write ${{env.{match[1]}:-default}}"
            raise BadReferenceError("E120", f"the environment variable {match[1]} is not set", hint)
        return value

    def _host_reference(self, name: str) -> Plain:
        if name == "cpus":
            return len(os.sched_getaffinity(0))
        if name == "memory":
            return format_bytes(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        raise BadReferenceError("E120", f"unknown fact `host.{name}`", did_you_mean(name, ("cpus", "memory")))

    def _setup_reference(self, name: str) -> Plain:
        steps = self.root.child("setup")
        known = list(steps.value) if steps is not None and isinstance(steps.value, dict) else []
        if name not in known:
            hint = did_you_mean(name, known) or "declare it under `setup`"
            raise BadReferenceError("E120", f"unknown setup step `{name}`", hint)
        return f"${{setup.{name}}}"

    def _run_reference(self, name: str) -> Plain:
        if name != "dir":
            raise BadReferenceError("E120", f"unknown reference `${{run.{name}}}`", "did you mean `${run.dir}`?")
        return "${run.dir}"


def _typed(node: Node) -> Node:
    """Text from the environment as the scalar that it would be in the file."""
    value = core_scalar(node.value) if isinstance(node.value, str) else node.value
    return node if value is None else replace(node, value=value)


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _namespace_hint(space: str) -> str:
    return did_you_mean(space, _NAMESPACES) or ""


def escape(text: str) -> str:
    """The text that resolves to this one."""
    return re.sub(r"\$\{", lambda m: m[0] if SYMBOLIC.match(text, m.start()) else "$${", text)
