"""The values that one address may take, as numbers from 0 to 1 and back.

Strategies think in the unit cube: evenly spread points, small steps and densities are the same there for threads,
delays and precisions. A number that is not among the values, such as that of the file, still has its place.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

from runner.scenario.points import values_of
from runner.scenario.schema import FloatAxis, Pow2Axis
from runner.scenario.schema_tune import ChoiceDomain, FloatDomain, IntDomain, Pow2Domain
from runner.scenario.schema_tune import Domain as Written
from runner.units import UnitError, parse_quantity

_DIGITS = 6
"""Significant digits of a number from an interval: more would be noise in a file that people read."""


class Domain(Protocol):
    """The values of one address."""

    @property
    def count(self) -> int | None:
        """How many there are; None: any number between two."""

    @property
    def ordered(self) -> bool:
        """Whether neighbouring values are alike."""

    def values(self) -> Iterator[Any]:
        """All of them in order; only where they can be counted."""

    def at(self, unit: float) -> Any:
        """The value at a place in [0, 1)."""

    def place(self, value: Any) -> float | None:
        """The place of a value, the nearest for a number that is none of them; None where it has none."""

    def near(self, value: Any, stride: float) -> tuple[Any, ...]:
        """The values a stride away, as a share of the whole, but at least one value; all others without an order."""


@dataclass(frozen=True)
class Choices:
    """A few values without an order."""

    options: tuple[Any, ...]
    ordered = False

    @property
    def count(self) -> int:
        return len(self.options)

    def values(self) -> Iterator[Any]:
        return iter(self.options)

    def at(self, unit: float) -> Any:
        return self.options[_index(unit, self.count)]

    def place(self, value: Any) -> float | None:
        index = self._index_of.get(value_key(value))
        return None if index is None else (index + 0.5) / self.count

    def near(self, value: Any, stride: float) -> tuple[Any, ...]:
        return tuple(option for option in self.options if value_key(option) != value_key(value))

    @cached_property
    def _index_of(self) -> dict[str, int]:
        return {value_key(option): index for index, option in enumerate(self.options)}


@dataclass(frozen=True)
class Steps:
    """Ascending numbers, perhaps with a unit behind them."""

    numbers: Sequence[Any]
    """As they are written in a scenario; a range where they are many."""
    log: bool = False
    """Equal ratios are as far apart as each other; only of neighbouring whole numbers."""
    ordered = True

    @property
    def count(self) -> int:
        return len(self.numbers)

    def values(self) -> Iterator[Any]:
        return iter(self.numbers)

    def at(self, unit: float) -> Any:
        if not self.log:
            return self.numbers[_index(unit, self.count)]
        low, beyond, step = self._scale
        return self.numbers[min(int((low * (beyond / low) ** unit - low) / step + 1e-9), self.count - 1)]

    def place(self, value: Any) -> float | None:
        number = number_of(value)
        if number is None:
            return None
        if self.log:
            low, beyond, step = self._scale
            clipped = min(max(number + step / 2, low), beyond)
            return math.log(clipped / low) / math.log(beyond / low)
        return (self._nearest(number) + 0.5) / self.count

    def near(self, value: Any, stride: float) -> tuple[Any, ...]:
        place = self.place(value)
        if place is None:
            return tuple(self.at(unit) for unit in (0.0, 0.5, 1.0))
        if self.log:
            wanted = [self.at(min(max(place + sign * stride, 0.0), 1.0)) for sign in (-1, 1)]
            return _without([*wanted, *self._beside(value, place, 1)], value)
        return _without(self._beside(value, place, max(1, round(stride * self.count))), value)

    def _beside(self, value: Any, place: float, distance: int) -> list[Any]:
        index = self._nearest(number_of(value) or 0.0)
        if value_key(self.numbers[index]) != value_key(value):
            return [self.numbers[index]]  # the file's own value lies between two
        return [self.numbers[at] for at in (index - distance, index + distance) if 0 <= at < self.count]

    def _nearest(self, number: float) -> int:
        right = bisect_left(self.numbers, number, key=lambda each: number_of(each) or 0.0)
        near = [index for index in (right - 1, right) if 0 <= index < self.count]
        return min(near, key=lambda index: abs((number_of(self.numbers[index]) or 0.0) - number))

    @cached_property
    def _scale(self) -> tuple[float, float, float]:
        """The first number, the one after the last, and the distance of neighbours."""
        first, last = (number_of(self.numbers[index]) or 0.0 for index in (0, -1))
        step = (last - first) / (self.count - 1)
        return first, last + step, step


@dataclass(frozen=True)
class Interval:
    """Any number between two."""

    low: float
    high: float
    log: bool = False
    """Equal ratios are as far apart as each other."""
    unit: str = ""
    """Written behind the number."""
    count = None
    ordered = True

    def values(self) -> Iterator[Any]:
        raise TypeError("an interval cannot be counted")

    def at(self, unit: float) -> Any:
        along = self.low * (self.high / self.low) ** unit if self.log else self.low + unit * (self.high - self.low)
        return written(min(max(float(f"{along:.{_DIGITS}g}"), self.low), self.high), self.unit)

    def place(self, value: Any) -> float | None:
        number = number_of(value)
        if number is None:
            return None
        low, high = (number_of(written(end, self.unit)) or 0.0 for end in (self.low, self.high))
        clipped = min(max(number, low), high)
        if self.log:
            return math.log(clipped / low) / math.log(high / low)
        return (clipped - low) / (high - low)

    def near(self, value: Any, stride: float) -> tuple[Any, ...]:
        place = self.place(value)
        if place is None:
            return tuple(self.at(unit) for unit in (0.0, 0.5, 1.0))
        return _without([self.at(min(max(place + sign * stride, 0.0), 1.0)) for sign in (-1, 1)], value)


def domain_of(domain: Written) -> Domain:
    """The domain as it is written; numbers in ascending order have an order even as a plain list."""
    match domain:
        case Pow2Domain(pow2=ends, unit=unit):
            return Steps(_with_unit(values_of(Pow2Axis(pow2=ends)), unit))
        case IntDomain(int=(low, high), step=step, log=log, unit=unit):
            numbers = range(low, high + 1, step)
            return Steps(_with_unit(numbers, unit), log) if low < high else Choices((*_with_unit(numbers, unit),))
        case FloatDomain(float=ends, step=float(step), unit=unit):
            return Steps(_with_unit(values_of(FloatAxis(float=ends, step=step)), unit))
        case FloatDomain(float=(low, high), log=log, unit=unit) if low < high:
            return Interval(low, high, log, unit or "")
        case FloatDomain(float=(low, _), unit=unit):
            return Choices((written(low, unit),))
        case _:
            return _listed(domain.choice if isinstance(domain, ChoiceDomain) else domain)


def _listed(options: Sequence[Any]) -> Domain:
    numbers = [number_of(option) for option in options]
    known = [number for number in numbers if number is not None]
    ascending = all(a < b for a, b in pairwise(known))
    if len(known) == len(options) > 2 and ascending:
        return Steps(tuple(options))
    return Choices(tuple(options))


def _with_unit(numbers: Sequence[Any], unit: str | None) -> Sequence[Any]:
    return tuple(written(number, unit) for number in numbers) if unit else numbers


def written(number: float, unit: str | None) -> Any:
    """A number as a scenario wants it: `50/s`, without an exponent; as it is without a unit."""
    if not unit:
        return number
    text = format(Decimal(repr(number)), "f")
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}{unit}"


def number_of(value: Any) -> float | None:
    """A number, or that of a quantity in its base unit; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if not isinstance(value, str):
        return float(value)
    try:
        return parse_quantity(value)[0]
    except UnitError:
        return None


def value_key(value: Any) -> str:
    """Equal for values that mean the same in a scenario: 1 and 1.0, `50/s` and 50.0, `1s` and `1000ms`."""
    return json.dumps(_normal(value), sort_keys=True, default=str)


def _normal(value: Any) -> Any:
    if isinstance(value, str) and (number := number_of(value)) is not None:
        value = number
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _normal(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_normal(child) for child in value]
    return value


def _index(unit: float, count: int) -> int:
    return min(int(unit * count), count - 1)


def _without(values: Sequence[Any], value: Any) -> tuple[Any, ...]:
    """Each once, and not the value itself."""
    distinct = {value_key(each): each for each in values}
    distinct.pop(value_key(value), None)
    return tuple(distinct.values())
