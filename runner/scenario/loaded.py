"""A loaded scenario: the resolved base, where every value came from, and the same with other values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from runner.errors import ScenarioError, UsageError
from runner.scenario.addresses import AddressError, locate
from runner.scenario.diagnostics import did_you_mean, in_file_order
from runner.scenario.files import resolve_path
from runner.scenario.interpolation import SYMBOLIC, escape
from runner.scenario.layers import Assignment, Layer, Stack
from runner.scenario.overriding import override_tree
from runner.scenario.reading import core_scalar
from runner.scenario.resolving import Resolution, resolve, resolve_again
from runner.scenario.schema import EmbeddedLaunch, Launch, Scenario, Target, Var, ZipAxis
from runner.scenario.schema_walk import default_of, field_at, known_addresses
from runner.scenario.tree import Node, Path_, from_plain, option_place

OVERRIDES = ("values", "environment", "env", "flag", "set")
"""Layers of this call, above those of the files."""


@dataclass(frozen=True)
class Setting:
    """What one layer says about an address; `wins` marks the layer that decides."""

    layer: str
    value: Any
    place: str
    """file:line:column, or the option or variable."""
    wins: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {"layer": self.layer, "value": self.value, "place": self.place, "wins": self.wins}


@dataclass(frozen=True)
class LoadedScenario:
    """A valid scenario for one target."""

    scenario: Scenario
    """The base: what holds before an axis changes anything; of the targets it holds only the chosen one."""
    target: str | None
    launch: Launch
    source: Path
    digest: str
    """sha256 of the resolved scenario, however it was written."""
    root: Path
    """Folder of the file."""
    targets: Mapping[str, Target]
    """Every target of the file."""
    _stack: Stack = field(repr=False, compare=False)
    _resolution: Resolution = field(repr=False, compare=False)
    _env: Mapping[str, str] = field(repr=False, compare=False)

    @classmethod
    def build(
        cls, stack: Stack, resolution: Resolution, target: str | None, source: Path, env: Mapping[str, str]
    ) -> LoadedScenario:
        """Freeze what was loaded."""
        assert resolution.scenario is not None
        scenario = _for_target(resolution.scenario, target)
        return cls(
            scenario=scenario,
            target=target,
            launch=scenario.targets[target].launch if target is not None else EmbeddedLaunch(),
            source=source,
            digest=digest_of(_plain(scenario)),
            root=source.parent,
            targets=resolution.scenario.targets,
            _stack=stack,
            _resolution=resolution,
            _env=dict(env),
        )

    def at(self, overrides: Mapping[str, Any]) -> Scenario:
        """The scenario with other values at some addresses, above every layer.

        Raises:
            ScenarioError: an address or a value that the scenario cannot have.
        """
        assignments = []
        for address, value in overrides.items():
            place = option_place("override", f"{address}={value}", self.root)
            node = replace(from_plain(value, place), key=replace(place, end_column=len(address) + 1))
            assignments.append(Assignment("override", address, node, node.key or place))
        return self.resolve_with(assignments)

    def resolve_with(self, assignments: Sequence[Assignment]) -> Scenario:
        """As `at`, for values that know their place; values are final, references in them are not followed."""
        resolution = resolve_again(self._stack.root, self._resolution, assignments, self._env)
        if resolution.scenario is None:
            raise ScenarioError(in_file_order(resolution.diagnostics))
        return _for_target(resolution.scenario, self.target)

    def with_values(self, tree: Mapping[str, Any]) -> Scenario:
        """The scenario with an override file above every layer.

        Raises:
            ScenarioError: a value that the scenario cannot have.
        """
        stack = self._stack.copy()
        stack.lay(Layer("values", from_plain(dict(tree), option_place("override", "", self.root))))
        resolution = resolve(stack.root, self._env)
        if resolution.scenario is None:
            raise ScenarioError(in_file_order(resolution.diagnostics))
        return _for_target(resolution.scenario, self.target)

    def override_of(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The smallest override file with these values at these addresses, as plain maps; every address exists."""
        return override_tree(self._stack.root, values)

    def find(self, path: Path_) -> Node | None:
        """The node of the resolved tree at a path."""
        return self._resolution.root.find(path)

    def node(self, path: Path_) -> Node:
        """As `find`, for what must be there."""
        found = self._resolution.root.find(path)
        assert found is not None, f"no node at {path}"
        return found

    def explain(self, address: str) -> list[Setting]:
        """What every layer says about an address, lowest first; the last one wins.

        Raises:
            UsageError: no such address.
        """
        try:
            path = locate(self._stack.root, address)
        except AddressError as error:
            raise UsageError(error.message, hint=error.hint) from None
        settings = [*self._default(path), *(found for layer in self._stack.layers for found in _said(layer, path))]
        if not settings:
            hint = did_you_mean(address, known_addresses(self._stack.root))
            raise UsageError(f"unknown address {address!r}", hint=hint)
        return [*settings[:-1], replace(settings[-1], wins=True)]

    def _default(self, path: Path_) -> list[Setting]:
        known = field_at(self._stack.root, path)
        if known is None or known.is_required():
            return []
        return [Setting("default", default_of(known), "schema")]

    def resolve_path(self, text: str) -> Path:
        """The path that a text in the file means; paths in `scenario` are absolute already."""
        return resolve_path(text, self.root)

    def dump(self) -> str:
        """The resolved scenario as YAML that loads again to the same scenario.

        References to variables stay only where an axis changes variables, because there they are part of the matrix.
        """
        plain = _escaped_plain(_plain(self.scenario))
        if any(address.startswith("vars.") for address in self._swept()):
            _restore_references(plain, self._stack.root, self._resolution.root)
        return dump_yaml(plain)

    def _swept(self) -> Iterator[str]:
        for label, axis in self.scenario.matrix.axes.items():
            yield from axis.zip if isinstance(axis, ZipAxis) else (label,)

    def overruled(self) -> Iterator[tuple[str, str]]:
        """Overrides that change nothing, because the matrix gives the address its values: (place, address)."""
        overrides = [layer for layer in self._stack.layers if layer.name in OVERRIDES]
        for address in self._swept():
            path = locate(self._stack.root, address)
            said = [setting for layer in overrides for setting in _said(layer, path)]
            if said:
                yield said[-1].place, address

    def flags(self) -> dict[str, Var]:
        """Flag -> variable."""
        return {var.flag: var for var in self.scenario.vars.values() if var.flag is not None}


def dump_yaml(plain: Mapping[str, Any]) -> str:
    """Plain maps as YAML that reads back as the same values."""
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def digest_of(value: Any) -> str:
    """sha256 over the canonical JSON of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _plain(scenario: Scenario) -> dict[str, Any]:
    return scenario.model_dump(mode="json", by_alias=True)


def _for_target(scenario: Scenario, target: str | None) -> Scenario:
    """Without what is merged in already: bases, other targets, and what the chosen target sets."""
    kept = {target: scenario.targets[target].model_copy(update={"set": {}})} if target is not None else {}
    return scenario.model_copy(update={"extends": (), "targets": kept})


def _said(layer: Any, path: Path_) -> list[Setting]:
    """What a layer says about a path: itself, something around it, or something inside it."""
    if path[: len(layer.path)] == layer.path:
        rest = path[len(layer.path) :]
        node = layer.node.find(rest)
        if node is None and path[0] == "vars" and path[-1] == "default":
            node = layer.node.find(rest[:-1])  # a plain value over a variable
            node = node if node is not None and not isinstance(node.value, dict) else None
        return [Setting(layer.name, node.plain(), str(node.place))] if node is not None else []
    if layer.path[: len(path)] == path:
        value = layer.node.plain()
        for key in reversed(layer.path[len(path) :]):
            value = {str(key): value}
        return [Setting(layer.name, value, str(layer.node.place))]
    return []


def _escaped_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _escaped_plain(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_escaped_plain(child) for child in value]
    return escape(value) if isinstance(value, str) and not SYMBOLIC.fullmatch(value) else value


def _restore_references(plain: Any, written: Node, resolved: Node) -> None:
    """Put references to variables back into plain values; a path keeps the folder that it was relative to."""
    for key, child in resolved.children():
        before = written.child(key)
        if before is None or (isinstance(plain, dict) and key not in plain):
            continue
        if isinstance(child.value, dict | list):
            _restore_references(plain[key], before, child)
        elif isinstance(before.value, str) and "${vars." in before.value:
            folder = f"{child.folder or before.place.source.folder}/"
            is_path = isinstance(child.value, str) and child.value.startswith(folder)
            plain[key] = f"{folder}{before.value}" if is_path else before.value


class _Dumper(yaml.SafeDumper):
    """Quotes every text that would be read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if not isinstance(core_scalar(text), str) or not text.isprintable() else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
