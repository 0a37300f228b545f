"""Mistakes in the search space of `tune`: addresses, values that the scenario cannot have, conditions, predicates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pydantic import TypeAdapter, ValidationError

from runner.scenario.checks import entries, identity, predicate_problem, tried
from runner.scenario.diagnostics import Diagnostic, diagnose, did_you_mean
from runner.scenario.domains import Domain, domain_of, value_key
from runner.scenario.layers import Stack
from runner.scenario.points import MAX_POINTS
from runner.scenario.predicate import Lookup, Predicate, PredicateError, parse
from runner.scenario.resolving import Resolution
from runner.scenario.schema_tune import Domain as Written
from runner.scenario.schema_walk import known_addresses
from runner.scenario.secrets import holds_secret
from runner.scenario.tree import Node
from runner.scenario.values import lookup_in

_MAX_TRIED = 64
"""Values of a list, and combinations that may make a condition hold, that are tried at loading."""


def check_tune(stack: Stack, resolution: Resolution, env: Mapping[str, str]) -> list[Diagnostic]:
    """Everything that `tune.space`, `exclude` and `start` say about addresses."""
    return list(_Checks(stack, resolution, env).all())


@dataclass(frozen=True)
class _Entry:
    """One address of the space that the schema accepts."""

    node: Node
    domain: Domain
    values: tuple[Node, ...]
    """Of a list all that are tried, of a range its ends."""
    condition: Node | None
    when: Predicate | None


class _Checks:
    """The checks of one scenario."""

    def __init__(self, stack: Stack, resolution: Resolution, env: Mapping[str, str]) -> None:
        self._stack, self._resolution, self._env = stack, resolution, env
        self._known = {identity(each) for each in resolution.diagnostics}
        self._found: list[Diagnostic] = []
        self._space = dict(self._entries())

    def all(self) -> Iterator[Diagnostic]:
        yield from self._found
        yield from self._cycles()
        yield from self._overlaps()
        for address, entry in self._space.items():
            yield from _twice(address, entry)
            yield from _told(address, entry)
            yield from self._values(address, entry)
            if entry.when is not None and entry.condition is not None:
                yield from self._evaluated(entry.when, entry.condition, f"tune.space.{address}.when")
        yield from self._excluded()
        yield from self._start()
        yield from self._grid()

    # --- the space ----------------------------------------------------------------------------------------------------

    def _entries(self) -> Iterator[tuple[str, _Entry]]:
        for address, node in entries(self._resolution.root, "tune", "space"):
            try:
                domain = domain_of(_adapter().validate_python(node.plain()))
            except ValidationError:
                continue  # the schema has said so
            condition = node.child("when")
            when = self._parsed(condition, f"tune.space.{address}.when") if condition is not None else None
            yield address, _Entry(node, domain, tuple(_values(domain, node)), condition, when)

    def _parsed(self, node: Node, address: str) -> Predicate | None:
        if not isinstance(node.value, str):
            return None
        try:
            return parse(node.value)
        except PredicateError as error:
            self._found.append(predicate_problem(error, node, address, ()))
            return None

    def _cycles(self) -> Iterator[Diagnostic]:
        graph = {address: self._read(entry) for address, entry in self._space.items()}
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            cycle = [str(name) for name in error.args[1]]
            place = self._space[cycle[-1]].node
            message = f"conditions refer to each other: {' -> '.join(reversed(cycle))}"
            yield diagnose("E121", place.key or place.place, message, address=f"tune.space.{cycle[-1]}")

    def _overlaps(self) -> Iterator[Diagnostic]:
        """What stands inside the value of another address would depend on the order of setting them."""
        for outer, inner in itertools.permutations(self._space, 2):
            if inner.startswith(f"{outer}."):
                place = self._space[inner].node
                message = f"`{outer}` already sets `{inner}`"
                where = f"tune.space.{inner}"
                yield diagnose("E131", place.key or place.place, message, address=where, hint="remove one of them")

    def _read(self, entry: _Entry) -> list[str]:
        """The addresses of the space that a condition reads."""
        return [each for each in entry.when.addresses() if each in self._space] if entry.when is not None else []

    def _values(self, address: str, entry: _Entry) -> Iterator[Diagnostic]:
        """What each value breaks, where its condition holds; the ends of a range stand in one place and say it once."""
        context, said = self._context(entry), set[tuple[Any, ...]]()
        for value in entry.values if context is not None else ():
            point = {**(context or {}), address: Node(value.value, value.place, entry.node.key, value.folder)}
            for problem in tried(self._stack, self._resolution, point, self._env):
                where = (problem.code, problem.file, problem.line, problem.column)
                if identity(problem) not in self._known and where not in said:
                    said.add(where)
                    yield problem

    def _context(self, entry: _Entry) -> dict[str, Node] | None:
        """Values of other addresses with which the condition holds; None where none are found."""
        if entry.when is None:
            return {}
        names = self._read(entry)
        for values in itertools.islice(itertools.product(*(self._space[name].values for name in names)), _MAX_TRIED):
            chosen = dict(zip(names, values, strict=True))
            try:
                if entry.when.evaluate(self._lookup({name: value.plain() for name, value in chosen.items()})) is True:
                    return chosen
            except PredicateError:
                continue  # `_evaluated` says so
        return None

    # --- predicates ---------------------------------------------------------------------------------------------------

    def _lookup(self, chosen: Mapping[str, Any]) -> Lookup:
        """Chosen values, then those of the file, then the first of each domain."""

        def look_up(address: str) -> Any:
            if address in chosen:
                return chosen[address]
            try:
                found = self._base(address)
            except KeyError:
                if address not in self._space:
                    raise
                found = None
            return self._space[address].values[0].plain() if found is None and address in self._space else found

        return look_up

    @cached_property
    def _base(self) -> Lookup:
        scenario = self._resolution.scenario
        return lookup_in(scenario.model_dump(mode="json", by_alias=True) if scenario is not None else {})

    def _evaluated(self, predicate: Predicate, node: Node, address: str) -> Iterator[Diagnostic]:
        """Tried once, to see that addresses and units fit; not in a scenario that is invalid anyway."""
        if self._resolution.scenario is None:
            return
        try:
            if not isinstance(predicate.evaluate(self._lookup({})), bool):
                raise PredicateError("expected a comparison, got a number", 1)
        except PredicateError as error:
            known = [*self._space, *known_addresses(self._resolution.root)]
            yield predicate_problem(error, node, address, known)

    def _excluded(self) -> Iterator[Diagnostic]:
        for key, node in entries(self._resolution.root, "tune", "exclude"):
            address, before = f"tune.exclude.{key}", len(self._found)
            predicate = self._parsed(node, address)
            yield from self._found[before:]
            if predicate is not None:
                yield from self._evaluated(predicate, node, address)

    # --- strategy -----------------------------------------------------------------------------------------------------

    def _start(self) -> Iterator[Diagnostic]:
        """Points to begin with say nothing but addresses of the space; their values may be others than its own."""
        for key, point in entries(self._resolution.root, "tune", "strategy", "start"):
            for address, value in point.children():
                where = f"tune.strategy.start.{key}.{address}"
                if address not in self._space:
                    message = f"`{address}` is not in `tune.space`"
                    hint = did_you_mean(str(address), self._space)
                    yield diagnose("E130", value.key or value.place, message, address=where, hint=hint)
            chosen = {str(address): value for address, value in point.children() if address in self._space}
            problems = tried(self._stack, self._resolution, chosen, self._env) if chosen else ()
            yield from (each for each in problems if identity(each) not in self._known)

    def _grid(self) -> Iterator[Diagnostic]:
        kind = self._resolution.root.find(("tune", "strategy", "kind"))
        if kind is None or kind.value != "grid":
            return
        counts = {address: entry.domain.count for address, entry in self._space.items()}
        for address in (address for address, count in counts.items() if count is None):
            message = "a grid cannot have every number of an interval"
            hint = "add `step`, or choose another strategy"
            yield diagnose("E131", self._space[address].node.place, message, address=f"tune.space.{address}", hint=hint)
        known = [count for count in counts.values() if count is not None]
        conditional = any(entry.when is not None for entry in self._space.values())
        if not conditional and math.prod(known) > MAX_POINTS:
            message = f"expected at most {MAX_POINTS:,} points of a grid, got {math.prod(known):,}"
            yield diagnose("E131", kind.place, message, address="tune.strategy.kind", hint="write halton or sobol")


@cache
def _adapter() -> TypeAdapter[Written]:
    return TypeAdapter(Written)


def _values(domain: Domain, node: Node) -> Sequence[Node]:
    """Of a list its values; of a range its ends as they would be written."""
    listed = node.child("choice") or (node if isinstance(node.value, list) else None)
    if listed is not None:
        return [child for _, child in listed.children()][:_MAX_TRIED]
    ends = {value_key(end): end for end in (domain.at(0.0), domain.at(1.0))}
    return [Node(end, node.place, node.key) for end in ends.values()]


def _told(address: str, entry: _Entry) -> Iterator[Diagnostic]:
    """A study goes on from the values in its journal, and ends with a file of them."""
    if any(holds_secret(address, value.plain()) for value in entry.values):
        message = f"`{address}` holds a secret, and a study writes down every value that it tries"
        hint = "set it in `workload`, or compare the values with `matrix`, where they are masked"
        place = entry.node.key or entry.node.place
        yield diagnose("E131", place, message, address=f"tune.space.{address}", hint=hint)


def _twice(address: str, entry: _Entry) -> Iterator[Diagnostic]:
    seen: set[str] = set()
    for value in entry.values:
        key = value_key(value.plain())
        if key in seen:
            message = f"the value {key} is given twice"
            yield diagnose("E131", value.place, message, address=f"tune.space.{address}", hint="remove one of them")
        seen.add(key)
