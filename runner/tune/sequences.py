"""Strategies that look at no result: every point, random points, and evenly spread ones.

Halton, *Numer. Math.* 2 (1960); Sobol', *USSR Comput. Math. Math. Phys.* 7 (1967); both scrambled (Owen), so that two
seeds give two studies.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from runner.tune.base import Point
from runner.tune.space import Space

_BLOCK = 64
"""Sobol' points are balanced in powers of two."""


def spread_points(space: Space, kind: Literal["halton", "sobol"], seed: int) -> Iterator[Point]:
    """Points that fill the unit cube evenly, however many are taken."""
    from scipy.stats import qmc

    engine: Any = {"halton": qmc.Halton, "sobol": qmc.Sobol}[kind](len(space.dimensions), scramble=True, seed=seed)
    while True:
        for units in engine.random(_BLOCK):
            yield space.at([min(float(unit), 1 - 1e-12) for unit in units])
