"""What is best: the Pareto front, how much of the space of objectives it covers, and one point of it.

Only acceptable observations count: measured in full, no constraint missed. Dominance: at least as good in every
objective and better in one. Hypervolume: Zitzler & Thiele, *IEEE Trans. Evol. Comput.* 3 (1999).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from runner.tune.base import Observation
from runner.tune.objectives import Objective, gains

WORTH = 0.005
"""Relative gain that counts as an improvement: a search does not go on for what no confirmation could find."""

MOST_CONTENDERS = 21
"""As many as a confirmation can have, and the file's own point."""

Goods = tuple[float, ...]
"""One number for each objective, larger is better."""


def acceptable(observations: Iterable[Observation]) -> list[Observation]:
    """Measured in full, no constraint missed."""
    return [each for each in observations if each.acceptable]


def goods(observation: Observation, objectives: Sequence[Objective]) -> Goods:
    """The objectives, turned so that larger is better."""
    assert observation.values is not None
    return tuple(each.sign * value for each, value in zip(objectives, observation.values, strict=True))


def dominates(a: Goods, b: Goods) -> bool:
    """At least as good in every objective, better in one."""
    return a != b and all(x >= y for x, y in zip(a, b, strict=True))


def pareto_front(observations: Iterable[Observation], objectives: Sequence[Objective]) -> tuple[Observation, ...]:
    """The acceptable observations that none dominates, of equal ones the first; best in the first objective first."""
    found = [(goods(each, objectives), each) for each in acceptable(observations)]
    front: list[tuple[Goods, Observation]] = []
    for good, each in sorted(found, key=lambda pair: pair[0], reverse=True):  # what dominates a point stands before it
        if not any(better == good or dominates(better, good) for better, _ in front):
            front.append((good, each))
    return tuple(each for _, each in front)


def is_improvement(new: Observation, before: Iterable[Observation], objectives: Sequence[Objective]) -> bool:
    """Whether the new one is better by `WORTH` in some objective than each of the front before it; for patience.

    Before anything is acceptable, missing the constraints by less is one, too.
    """
    before = list(before)
    if not new.acceptable:
        return not acceptable(before) and _miss(new) < min(map(_miss, before), default=math.inf)
    assert new.values is not None
    return all(
        max(gains(new.values, old.values, objectives)) > math.log1p(WORTH)
        for old in pareto_front(before, objectives)
        if old.values is not None
    )


def _miss(observation: Observation) -> float:
    measured = observation.outcome == "measured" and observation.values is not None
    return sum(observation.violations.values()) if measured else math.inf


def choose(front: Sequence[Observation], objectives: Sequence[Objective]) -> Observation | None:
    """One point of a front: the nearest to the best value of every objective at once, each counted by its weight.

    Distances are shares of the front's own range (compromise programming: Zeleny 1973); with equal weights that is
    the knee. None of an empty front.
    """
    if not front:
        return None
    scaled = _scaled([goods(each, objectives) for each in front])
    weights = [objective.weight for objective in objectives]

    def distance(index: int) -> float:
        return sum(weight * (1 - good) ** 2 for weight, good in zip(weights, scaled[index], strict=True))

    return front[min(range(len(front)), key=distance)]


def best_first(
    observations: Iterable[Observation], objectives: Sequence[Objective], top: int = MOST_CONTENDERS
) -> tuple[Observation, ...]:
    """The first `top` acceptable observations, front by front, in each the one to `choose` first: the contenders."""
    rest, ranked = acceptable(observations), list[Observation]()
    while rest and len(ranked) < top:
        front = list(pareto_front(rest, objectives))
        while (chosen := choose(front, objectives)) is not None:
            ranked.append(chosen)
            front.remove(chosen)
            rest.remove(chosen)
    return tuple(ranked[:top])


# --- hypervolume --------------------------------------------------------------------------------------------------


def hypervolume(
    observations: Iterable[Observation], objectives: Sequence[Objective], within: Iterable[Observation] | None = None
) -> float:
    """Share of the box of objectives that the front dominates, 0 to 1.

    The box reaches from the worst to the best acceptable value of each objective among `within` (by default the same
    observations); its worst corner is the reference point. With the whole study as `within`, the share of its first n
    observations never falls as n grows, and 1 means one point that is best in everything.
    """
    observations = list(observations)
    box = [goods(each, objectives) for each in acceptable(observations if within is None else within)]
    points = [goods(each, objectives) for each in pareto_front(observations, objectives)]
    if not points or not box:
        return 0.0
    return _volume([tuple(min(max(x, 0.0), 1.0) for x in point) for point in _scaled(points, box)])


def _scaled(points: Sequence[Goods], box: Sequence[Goods] | None = None) -> list[Goods]:
    """From 0, the worst of the box, to 1, its best; 1 in an objective that is the same everywhere."""
    ends = [(min(column), max(column)) for column in zip(*(box or points), strict=True)]
    return [
        tuple(1.0 if high == low else (x - low) / (high - low) for x, (low, high) in zip(point, ends, strict=True))
        for point in points
    ]


def _volume(points: Sequence[Goods]) -> float:
    """Of the union of the boxes from the origin to each point: slices along the first axis, each one axis less."""
    if not points:
        return 0.0
    if len(points[0]) == 1:
        return max(point[0] for point in points)
    total, ordered = 0.0, sorted(points, reverse=True)
    for index, point in enumerate(ordered):
        below = ordered[index + 1][0] if index + 1 < len(ordered) else 0.0
        if point[0] > below:
            total += (point[0] - below) * _volume([each[1:] for each in ordered[: index + 1]])
    return total
