"""Screening: after a short probe, is a point such a clear loser that its whole measurement is not worth the time?

The probe is judged by the better end of each interval: a short window has wide ones, and a loser has to lose anyway.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from runner.results.records import Estimate
from runner.tune.base import Observation
from runner.tune.front import acceptable
from runner.tune.objectives import Goals, Objective, Reading, gains


def pruned(probe: Reading, finished: Iterable[Observation], goals: Goals, margin: float) -> str | None:
    """Why a point ends with its probe: a sentence, or None where it deserves to be measured.

    Either a constraint is missed by more than `margin`, or a finished acceptable point is better in every objective by
    more than that, each with the probe's interval at its better end.
    """
    for check in probe.checks:
        if check.least > margin:
            return f"misses `{check.text}` by {check.missed:.0%}, with the best of its interval by {check.least:.0%}"
    best = [_better_end(each, objective) for each, objective in zip(probe.values, goals.objectives, strict=True)]
    if any(value is None for value in best):
        return None
    hopes = [value for value in best if value is not None]
    for rival in acceptable(finished):
        if _beaten(hopes, rival, goals.objectives, margin):
            return f"point {rival.number} is better in every objective by more than {margin:.0%} beyond the interval"
    return None


def _beaten(hopes: Sequence[float], rival: Observation, objectives: Sequence[Objective], margin: float) -> bool:
    assert rival.values is not None
    return min(gains(rival.values, hopes, objectives)) > math.log1p(margin)


def _better_end(estimate: Estimate, objective: Objective) -> float | None:
    """None where the data support no such end: then nothing is certain."""
    return estimate.high if objective.direction == "max" else estimate.low
