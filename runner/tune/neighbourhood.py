"""Hill climbing: small steps from the best point, larger ones where they fail, then another hill.

As the quick search of Model Analyzer: cheap where the objective is smooth, as that of batch sizes, instances and
concurrency mostly is, and needing no optional package. Several objectives become one: the weighted mean of their gains.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from runner.tune.base import Observation, Point
from runner.tune.objectives import Goals, gains, weighted
from runner.tune.search import Book
from runner.tune.sequences import spread_points
from runner.tune.space import Space, point_key

RADIUS = 3
"""Choices that change at once before a hill counts as climbed."""
_STRIDES = (1 / 4, 1 / 16, 1 / 64)
"""Of a domain; at least one value, so that short domains take one step only."""
_PER_RADIUS = 2
"""Points with two or three changes at once that are tried, for each dimension."""

Score = tuple[int, float]


class Neighbourhood:
    """The picker of `neighbourhood`."""

    def __init__(self, space: Space, goals: Goals, seed: int) -> None:
        self._space = space
        self._goals = goals
        self._seed = seed
        self._stream = spread_points(space, "halton", seed)
        self._starts: list[Point] = []
        """Of the stream: where hills begin."""

    def pick(self, book: Book, number: int) -> Point | None:
        """A neighbour of the best point of this hill that is new, else the start of the next hill."""
        hill, begun = self._hill(book)
        if hill:
            new = filter(book.is_new, self._around(hill))
            if (found := next(new, None)) is not None:
                return found
        return next((point for point in self._starts_from(begun) if book.is_new(point)), None)

    # --- hills --------------------------------------------------------------------------------------------------------

    def _hill(self, book: Book) -> tuple[list[Observation], int]:
        """What is known of the present hill, by number, and how many starts of the stream are used up.

        Read from the book alone, so that a study that is resumed stands on the same hill.
        """
        tried = {**book.pending, **{each.number: each.point for each in book.observations}}
        told = {each.number: each for each in book.observations}
        hill: list[Observation] = []
        seen: set[str] = set()
        begun = 0
        for number in sorted(tried):
            key = point_key(tried[number])
            begun += self._passed(begun, seen)
            if key == point_key(self._start(begun)):
                hill, begun = [], begun + 1
            seen.add(key)
            if number in told:
                hill.append(told[number])
        return hill, begun

    def _passed(self, begun: int, seen: set[str]) -> int:
        """How many starts were reached by steps before their turn; where all of a space is seen, that never ends."""
        ahead = range(len(seen) + 1)
        return next((steps for steps in ahead if point_key(self._start(begun + steps)) not in seen), 0)

    def _start(self, index: int) -> Point:
        while len(self._starts) <= index:
            self._starts.append(next(self._stream))
        return self._starts[index]

    def _starts_from(self, begun: int) -> Iterator[Point]:
        return (self._start(index) for index in range(begun, begun + 200))

    # --- steps --------------------------------------------------------------------------------------------------------

    def _around(self, hill: Sequence[Observation]) -> Iterator[Point]:
        """Where to step next: on in the direction that paid, one change, then several at once."""
        reference = next((each.values for each in hill if each.values is not None), None)
        scores = [self._score(each, reference) for each in hill]
        best = max(range(len(hill)), key=lambda index: (scores[index], -index))
        top = hill[best].point
        random = np.random.default_rng((self._seed, hill[best].number))
        before = [index for index in range(best) if scores[index] < scores[best]]
        if before:
            yield from self._onwards(hill[max(before, key=lambda index: scores[index])].point, top)
        for stride in _STRIDES:
            around = list(self._space.neighbours(top, stride))
            random.shuffle(around)  # type: ignore[arg-type]
            yield from around
        for radius in range(2, RADIUS + 1):
            for _ in range(_PER_RADIUS * len(self._space.dimensions)):
                yield self._leap(top, radius, random)

    def _onwards(self, before: Point, top: Point) -> Iterator[Point]:
        """As far again from the runner-up through the best; only along what has an order."""
        units = []
        for dimension, old, new in zip(
            self._space.dimensions, self._space.place(before), self._space.place(top), strict=True
        ):
            here = 0.5 if new is None else new
            moved = here + (here - old) if old is not None and dimension.domain.ordered else here
            units.append(min(max(moved, 0.0), 1 - 1e-9))
        yield self._space.at(units)

    def _leap(self, top: Point, radius: int, random: np.random.Generator) -> Point:
        point = top
        for _ in range(radius):
            around = list(self._space.neighbours(point, float(random.choice(_STRIDES))))
            if around:
                point = around[int(random.integers(len(around)))]
        return point

    def _score(self, observation: Observation, reference: tuple[float, ...] | None) -> Score:
        """Larger is better; every acceptable point is above those that miss a constraint, and these above failures."""
        if observation.values is None or reference is None:
            return (-3, 0.0)
        if observation.violations:
            return (-2, -sum(observation.violations.values()))
        gain = weighted(gains(observation.values, reference, self._goals.objectives), self._goals.objectives)
        return (0 if observation.acceptable else -1, gain)


def nearest_new(space: Space, book: Book, point: Point) -> Point | None:
    """A new point beside one that is not, the smallest steps first."""
    around = itertools.chain.from_iterable(space.neighbours(point, stride) for stride in reversed(_STRIDES))
    return next(filter(book.is_new, around), None)
