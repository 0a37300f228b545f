"""Axes as lists of points: each point is a value for one address, or for several that change together."""

from __future__ import annotations

import json
from decimal import Decimal

from runner.scenario.schema import Axis, FloatAxis, IntAxis, Pow2Axis, ZipAxis
from runner.scenario.tree import Node, Place, Plain

MAX_POINTS = 10_000

Point = dict[str, Node]
"""Address -> value; the node knows where the value stands and, as its key, where the address does."""


class AxisError(Exception):
    """An axis that makes no points, or too many, or one twice."""

    def __init__(self, message: str, place: Place, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.place = place
        self.hint = hint


def points_of(label: str, axis: Axis, node: Node) -> list[Point]:
    """The points of one axis in order; `node` is the axis in the tree.

    Raises:
        AxisError: more than MAX_POINTS, or the same point twice.
    """
    if isinstance(axis, ZipAxis):
        return _distinct(_zipped(axis, node), node)
    if isinstance(axis, tuple):
        children = [child for _, child in node.children()]
        return _distinct([{label: _keyed(child, node.key)} for child in children], node)
    if count_of(axis) > MAX_POINTS:
        raise AxisError(f"expected at most {MAX_POINTS:,} values, got {count_of(axis):,}", node.place, "widen the step")
    return [{label: Node(value, node.place, node.key)} for value in values_of(axis)]


def count_of(axis: Axis) -> int:
    """How many points an axis has, without making them."""
    match axis:
        case Pow2Axis(pow2=(first, last)):
            return (last // first).bit_length()
        case IntAxis(int=(low, high), step=step):
            return (high - low) // step + 1
        case FloatAxis(float=(start, end), step=float(distance)):
            return int((Decimal(repr(end)) - Decimal(repr(start))) / Decimal(repr(distance))) + 1
        case FloatAxis(points=int(points)):
            return points
        case ZipAxis(zip=columns):
            return len(next(iter(columns.values())))
        case _:
            return len(axis) if isinstance(axis, tuple) else 0


def values_of(axis: Axis) -> list[Plain]:
    """The values of a generator in order."""
    match axis:
        case Pow2Axis(pow2=(first, _)):
            return [first << index for index in range(count_of(axis))]
        case IntAxis(int=(low, _), step=step):
            return [low + index * step for index in range(count_of(axis))]
        case FloatAxis():
            return list(_floats(axis))
    raise AssertionError(f"not a generator: {axis!r}")


def _floats(axis: FloatAxis) -> list[float]:
    """In decimal, so that steps of 0.1 make 0.3 and not 0.30000000000000004."""
    low, high = axis.float
    if axis.step is not None:
        start, step = Decimal(repr(low)), Decimal(repr(axis.step))
        return [float(start + index * step) for index in range(count_of(axis))]
    last = (axis.points or 2) - 1
    if axis.log:
        inner = [low * (high / low) ** (index / last) for index in range(1, last)]
    else:
        inner = [low + (high - low) * index / last for index in range(1, last)]
    return [low, *(float(f"{value:.12g}") for value in inner), high]


def _zipped(axis: ZipAxis, node: Node) -> list[Point]:
    columns = node.child("zip")
    assert columns is not None
    return [
        {
            str(address): _keyed(values, column.key)
            for address, column in columns.children()
            if (values := column.child(row))
        }
        for row in range(count_of(axis))
    ]


def _keyed(value: Node, key: Place | None) -> Node:
    return Node(value.value, value.place, key, value.folder)


def _distinct(points: list[Point], node: Node) -> list[Point]:
    if len(points) > MAX_POINTS:
        raise AxisError(f"expected at most {MAX_POINTS:,} values, got {len(points):,}", node.place)
    seen: set[str] = set()
    for point in points:
        shown = json.dumps({address: value.plain() for address, value in point.items()}, sort_keys=True)
        if shown in seen:
            value = next(iter(point.values()))
            raise AxisError(f"the value {json.dumps(value.plain())} is given twice", value.place, "remove one of them")
        seen.add(shown)
    return points
