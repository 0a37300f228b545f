"""Which addresses mattered: the share of an objective's variation that each explains by itself.

An additive model of the ranks (Conover & Iman, *Amer. Statistician* 35, 1981: robust against outliers and against any
monotone scale), all addresses fitted together, since a search visits good combinations more often than a plan would.
The share of an address is the variance of its fitted part, as in the main effects of a functional analysis of variance
(Hutter, Hoos & Leyton-Brown, ICML 2014), less what as many random levels would explain. What is left is noise,
interactions, or both. It describes the points that were visited, and proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from runner.results.contrasts import Floats
from runner.scenario.domains import value_key
from runner.tune.base import Observation
from runner.tune.objectives import Objective
from runner.tune.space import Dimension

MIN_POINTS = 8
"""Fewer say nothing."""
_BINS = 4
"""Levels of an address with many values, each with about as many points."""
_RIDGE = 1.0
"""Pulls the effects of levels with few points towards none."""


def importance(
    dimensions: Iterable[Dimension], observations: Iterable[Observation], objectives: Sequence[Objective]
) -> dict[str, dict[str, float]]:
    """Objective -> address -> share of the variation of ranks, 0 to 1, largest first; empty with too few points.

    Points that missed a constraint count, those without values do not.
    """
    measured = [each for each in observations if each.outcome == "measured" and each.values is not None]
    if len(measured) < MIN_POINTS:
        return {}
    levels = {each.address: _levels(each, measured) for each in dimensions}
    levels = {address: found for address, found in levels.items() if len(set(found)) > 1}
    return {
        objective.name: _shares(levels, [_value(each, index) for each in measured])
        for index, objective in enumerate(objectives)
    }


def _value(observation: Observation, index: int) -> float:
    assert observation.values is not None
    return observation.values[index]


def _levels(dimension: Dimension, observations: Sequence[Observation]) -> list[str]:
    """The level of each point; not being active is a level of its own."""
    address, places = dimension.address, dict[str, float]()
    keys = [value_key(each.point[address]) if address in each.point else "" for each in observations]
    if len(set(keys)) <= _BINS or not dimension.domain.ordered:
        return keys
    for each, key in zip(observations, keys, strict=True):
        if key:
            places[key] = dimension.domain.place(each.point[address]) or 0.0
    edges = np.quantile([places[key] for key in keys if key], np.arange(1, _BINS) / _BINS)
    return [str(int(np.searchsorted(edges, places[key]))) if key else "" for key in keys]


def _shares(levels: dict[str, list[str]], values: Sequence[float]) -> dict[str, float]:
    from scipy.stats import rankdata

    ranks = np.asarray(rankdata(values), np.float64)
    total = float(ranks.var())
    if total == 0 or not levels:
        return dict.fromkeys(levels, 0.0)
    blocks = {address: _one_hot(found) for address, found in levels.items()}
    parts = _fitted(list(blocks.values()), ranks - ranks.mean())
    residual = max(total - float(np.sum(parts, axis=0).var()), 0.0)
    shares = {
        address: max(float(part.var()) - _by_chance(block, residual), 0.0) / total
        for (address, block), part in zip(blocks.items(), parts, strict=True)
    }
    scale = max(sum(shares.values()), 1.0)
    return dict(sorted(((a, share / scale) for a, share in shares.items()), key=lambda pair: -pair[1]))


def _one_hot(levels: Sequence[str]) -> Floats:
    names = sorted(set(levels))
    return np.asarray([[float(level == name) for name in names] for level in levels])


def _fitted(blocks: Sequence[Floats], centred: Floats) -> list[Floats]:
    """The part of each block in a ridge regression of all together."""
    design = np.hstack([block - block.mean(axis=0) for block in blocks])
    gram = design.T @ design + _RIDGE * np.eye(design.shape[1])
    weights = np.linalg.solve(gram, design.T @ centred)
    ends = np.cumsum([block.shape[1] for block in blocks])[:-1]
    pairs = zip(np.split(design, ends, axis=1), np.split(weights, ends), strict=True)
    return [np.asarray(part @ weight, np.float64) for part, weight in pairs]


def _by_chance(block: Floats, residual: float) -> float:
    """What levels without any effect would explain of the noise."""
    count, levels = block.shape
    return residual * (levels - 1) / max(count - levels, 1)
