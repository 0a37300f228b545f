"""The search space: what a study may change in a scenario, which points exist, and which of them can be run."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from typing import Any

from runner.errors import ScenarioError
from runner.scenario.checks import batch_problem
from runner.scenario.domains import Domain, domain_of, value_key
from runner.scenario.loaded import LoadedScenario
from runner.scenario.predicate import Lookup, Predicate, PredicateError, parse
from runner.scenario.schema import Scenario
from runner.scenario.schema_tune import DomainBase, Tune
from runner.scenario.secrets import redact_predicate
from runner.scenario.values import lookup_in
from runner.tune.base import Point

_COUNTED = 100_000
"""Points with conditions are counted one by one up to so many."""


@dataclass(frozen=True)
class Dimension:
    """One address and its values."""

    address: str
    domain: Domain
    when: Predicate | None = None
    """Where it does not hold, the address keeps the value of the file."""


@dataclass(frozen=True)
class Space:
    """Every point of a study."""

    dimensions: tuple[Dimension, ...]
    """In the order of the file."""
    loaded: LoadedScenario
    exclude: tuple[Predicate, ...] = ()

    @classmethod
    def of(cls, loaded: LoadedScenario) -> Space:
        """The space of a scenario with `tune`; loading has checked it."""
        tune = loaded.scenario.tune
        assert tune is not None, "the scenario has no `tune`"
        return cls(dimensions_of(tune), loaded, tuple(parse(text) for text in tune.exclude))

    @cached_property
    def current(self) -> Point:
        """The point of the file itself; an address that the file leaves out is not in it."""
        return self.canonical({})

    def canonical(self, values: Mapping[str, Any]) -> Point:
        """The point that some values mean: without addresses whose condition does not hold; others from the file."""
        chosen: dict[str, Any] = {}
        for dimension in self.by_condition:
            if not self.active(dimension, chosen):
                continue
            if dimension.address in values:
                chosen[dimension.address] = values[dimension.address]
            elif (found := self._of_file(dimension.address)) is not None:
                chosen[dimension.address] = found
        return self._in_order(chosen)

    def infeasible(self, point: Point) -> str | None:
        """Why a point cannot be run: `exclude` holds, or the scenario cannot have it; None where it can."""
        try:
            scenario = self.loaded.at(point)
        except ScenarioError as error:
            return f"no valid scenario: {error.diagnostics[0].message}"
        lookup = lookup_in(_plain(scenario))
        excluded = next((each.text for each in self.exclude if _holds(each, lookup)), None)
        return f"excluded: {redact_predicate(excluded)}" if excluded is not None else self._too_large(scenario)

    def count(self) -> int | None:
        """How many points there are; None: without end, or more than can be counted."""
        counts = [dimension.domain.count for dimension in self.dimensions]
        known = [count for count in counts if count is not None]
        if len(known) < len(counts):
            return None
        if all(dimension.when is None for dimension in self.dimensions):
            return math.prod(known)
        counted = sum(1 for _ in itertools.islice(self.grid(), _COUNTED + 1))
        return counted if counted <= _COUNTED else None

    def grid(self) -> Iterator[Point]:
        """Every point once, the first dimension outermost; only where every domain can be counted."""
        return map(self._in_order, self._grown({}, self.by_condition))

    def at(self, units: Sequence[float]) -> Point:
        """The point at a place in the unit cube, dimensions in the order of the file."""
        drawn = zip(self.dimensions, units, strict=True)
        return self.canonical({dimension.address: dimension.domain.at(unit) for dimension, unit in drawn})

    def place(self, point: Point) -> tuple[float | None, ...]:
        """Where a point is in the unit cube; None where an address is not in it, or its value none of the domain."""
        return tuple(
            each.domain.place(point[each.address]) if each.address in point else None for each in self.dimensions
        )

    def neighbours(self, point: Point, stride: float) -> Iterator[Point]:
        """The points of the space that differ in one choice.

        What is not in the point starts at the value of the file, in the middle of its domain without one; values that
        the domain does not have, such as those of the file, give way to the nearest.
        """
        around = {**self._file_values, **point}
        here = {each.address: _nearest(each.domain, around.get(each.address)) for each in self.dimensions}
        for dimension in self.dimensions:
            for value in dimension.domain.near(point.get(dimension.address), stride):
                changed = self.canonical({**here, dimension.address: value})
                if point_key(changed) != point_key(point):
                    yield changed

    # --- conditions ---------------------------------------------------------------------------------------------------

    @cached_property
    def by_condition(self) -> tuple[Dimension, ...]:
        """Each dimension after those that its condition reads."""
        by_address = {dimension.address: dimension for dimension in self.dimensions}
        graph = {each.address: conditions_of(each, by_address) for each in self.dimensions}
        return tuple(by_address[address] for address in TopologicalSorter(graph).static_order())

    def active(self, dimension: Dimension, chosen: Mapping[str, Any]) -> bool:
        """Whether the condition of a dimension holds, given the values of those that it reads."""
        return dimension.when is None or _holds(dimension.when, self._lookup(chosen))

    def _lookup(self, chosen: Mapping[str, Any]) -> Lookup:
        """The chosen values, else those of the file; everything follows where a variable is chosen."""
        base = self._base
        if any(address.startswith("vars.") for address in chosen):
            try:
                base = lookup_in(_plain(self.loaded.at(chosen)))
            except ScenarioError:
                base = self._base  # `infeasible` says why
        return lambda address: chosen[address] if address in chosen else base(address)

    @cached_property
    def _base(self) -> Lookup:
        return lookup_in(_plain(self.loaded.scenario))

    @cached_property
    def _file_values(self) -> dict[str, Any]:
        found = {each.address: self._of_file(each.address) for each in self.dimensions}
        return {address: value for address, value in found.items() if value is not None}

    def _of_file(self, address: str) -> Any:
        try:
            return self._base(address)
        except KeyError:
            return None

    def _grown(self, chosen: dict[str, Any], rest: Sequence[Dimension]) -> Iterator[dict[str, Any]]:
        if not rest:
            yield chosen
        elif not self.active(rest[0], chosen):
            yield from self._grown(chosen, rest[1:])
        else:
            for value in rest[0].domain.values():
                yield from self._grown({**chosen, rest[0].address: value}, rest[1:])

    def _in_order(self, chosen: Mapping[str, Any]) -> Point:
        return {each.address: chosen[each.address] for each in self.dimensions if each.address in chosen}

    def _too_large(self, scenario: Scenario) -> str | None:
        source = scenario.repository.models.get(scenario.workload.model)
        limit = source.config.get("max_batch_size") if source is not None else None
        place = self.loaded.node(("workload",)).place
        problem = batch_problem(scenario.workload.batch, scenario.workload.model, limit, place)
        return None if problem is None else problem.message


def _nearest(domain: Domain, value: Any) -> Any:
    place = domain.place(value)
    return domain.at(0.5 if place is None else place)


def dimensions_of(tune: Tune) -> tuple[Dimension, ...]:
    """The dimensions as they are written, in order."""
    return tuple(Dimension(address, domain_of(domain), _condition(domain)) for address, domain in tune.space.items())


def _condition(domain: Any) -> Predicate | None:
    return parse(domain.when) if isinstance(domain, DomainBase) and domain.when is not None else None


def conditions_of(dimension: Dimension, known: Mapping[str, Any]) -> tuple[str, ...]:
    """The dimensions that the condition of one reads."""
    read = dimension.when.addresses() if dimension.when is not None else ()
    return tuple(address for address in read if address in known)


def point_key(point: Point) -> str:
    """Equal for points that mean the same."""
    return json.dumps({address: value_key(point[address]) for address in sorted(point)})


def _holds(predicate: Predicate, lookup: Lookup) -> bool:
    """An address that is nowhere makes no predicate true: what a point leaves out cannot be compared."""
    try:
        return predicate.evaluate(lookup) is True
    except PredicateError:
        return False


def _plain(scenario: Scenario) -> dict[str, Any]:
    return scenario.model_dump(mode="json", by_alias=True)
