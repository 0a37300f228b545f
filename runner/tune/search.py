"""The part that all strategies share: who was asked, what was told, and that no point comes twice.

What differs between strategies is a `Picker`. It sees the book and the number of the proposal to make and is otherwise
without memory that matters, so that a book written again from a journal leads to the same points.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from runner.tune.base import Observation, Point, Proposal
from runner.tune.space import Space, point_key

_DRAWS = 200
"""Random points that are tried before what is left is looked up one by one."""


class Book:
    """What was asked and what was told."""

    def __init__(self) -> None:
        self.observations: list[Observation] = []
        """In the order of telling."""
        self.pending: dict[int, Point] = {}
        """Asked and not told yet."""
        self._seen: set[str] = set()
        self._used: set[int] = set()
        self._lowest = 0

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def next_number(self) -> int:
        """The smallest number that was neither asked nor told: what a crash swallowed is asked again."""
        while self._lowest in self._used:
            self._lowest += 1
        return self._lowest

    def is_new(self, point: Point) -> bool:
        """Whether nobody asked for the point or told of it."""
        return point_key(point) not in self._seen

    def ask(self, point: Point) -> Proposal:
        """Note that a point is to be tried."""
        proposal = Proposal(self.next_number, point)
        self.pending[proposal.number] = point
        self._note(proposal.number, point)
        return proposal

    def tell(self, observation: Observation) -> None:
        """Note what became of a point, whoever proposed it."""
        self.pending.pop(observation.number, None)
        self.observations.append(observation)
        self._note(observation.number, observation.point)

    def _note(self, number: int, point: Point) -> None:
        self._used.add(number)
        self._seen.add(point_key(point))


class Picker(Protocol):
    """The choice of one strategy."""

    def pick(self, book: Book, number: int) -> Point | None:
        """A point that is new to the book; None when the strategy knows of none."""


class Search:
    """A strategy: the points that always come first, then those of its picker, then what is left of the space."""

    def __init__(self, space: Space, picker: Picker, *, start: Sequence[Mapping[str, Any]] = (), seed: int = 0) -> None:
        self._space = space
        self._picker = picker
        self._first = [space.current, *(space.canonical(point) for point in start)]
        self._seed = seed
        self._book = Book()
        self._exhausted = False

    def ask(self, count: int = 1) -> Sequence[Proposal]:
        """The next points, up to `count`; none when the space is exhausted."""
        proposals: list[Proposal] = []
        while len(proposals) < count and (point := self._next()) is not None:
            proposals.append(self._book.ask(point))
        return proposals

    def tell(self, observation: Observation) -> None:
        """Take note of what became of a point."""
        self._book.tell(observation)

    def _next(self) -> Point | None:
        if self._exhausted:
            return None
        number = self._book.next_number
        point = next(filter(self._book.is_new, self._first), None)
        if point is None:
            point = self._picker.pick(self._book, number)
        if point is None:
            point = unseen(self._space, self._book, (self._seed, number))
        self._exhausted = point is None
        return point


def unseen(space: Space, book: Book, seed: Sequence[int]) -> Point | None:
    """Some point that is new: a random one, and where these are rare the first of all; None when there is none."""
    drawn = itertools.islice(random_points(space, seed), _DRAWS)
    found = next(filter(book.is_new, drawn), None)
    countable = all(dimension.domain.count is not None for dimension in space.dimensions)
    if found is None and countable:
        found = next(filter(book.is_new, space.grid()), None)
    return found


def random_points(space: Space, seed: Sequence[int]) -> Iterator[Point]:
    """Independent points without end."""
    random = np.random.default_rng(seed)
    while True:
        yield space.at(random.random(len(space.dimensions)).tolist())


class Listed:
    """Points in an order that nothing told can change."""

    def __init__(self, points: Callable[[], Iterator[Point]]) -> None:
        self._points = points()

    def pick(self, book: Book, number: int) -> Point | None:
        """The next new one; None at the end, or after more in a row that are not than a resumed study explains."""
        return next(filter(book.is_new, itertools.islice(self._points, len(book) + _DRAWS)), None)
