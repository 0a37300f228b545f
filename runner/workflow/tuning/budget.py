"""When a search ends: time, points, patience; over all processes of a study that was resumed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.units import counted, rough_duration

if TYPE_CHECKING:
    from runner.scenario.schema_measure import Measure
    from runner.scenario.schema_tune import Budget as Limits
    from runner.scenario.schema_tune import Screening
    from runner.tune.base import Observation

DEFAULT_TRIALS = 100
"""Points, where the scenario gives no limit and the space is not a grid that ends by itself."""
MOST_INFEASIBLE = 1_000
"""So many points in a row that cannot be run: the rest of the space will be no better."""


def limits_of(limits: Limits, ends_by_itself: bool) -> Limits:
    """The budget with the limit that holds where none is given."""
    unlimited = limits.time is None and limits.trials is None and limits.patience is None
    return limits.model_copy(update={"trials": DEFAULT_TRIALS}) if unlimited and not ends_by_itself else limits


def cap_s(measure: Measure, screen: Screening | None) -> float:
    """Longest time that one point can take on a running server: probe and measurement at their caps."""
    from runner.measure.settings import longest_trial_s, resolve

    probe_s = resolve(measure).warmup_min_s + screen.window if screen is not None else 0.0
    return longest_trial_s(measure) + probe_s


@dataclass
class Budget:
    """What a search may still spend."""

    limits: Limits
    spent_s: float = 0.0
    """By earlier processes."""
    now: Callable[[], float] = time.monotonic
    tried: int = 0
    """Points that were run."""
    in_vain: int = 0
    """Points in a row without an improvement."""
    infeasible: int = 0
    """Points in a row that could not be run."""
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.now()

    @property
    def search_s(self) -> float:
        """Time of the search so far."""
        return self.spent_s + self.now() - self._began

    def count(self, observation: Observation, improved: bool) -> None:
        """Take note of a point."""
        if observation.outcome == "infeasible":
            self.infeasible += 1
            return
        self.infeasible = 0
        self.tried += 1
        self.in_vain = 0 if improved else self.in_vain + 1

    def over(self, next_s: float = 0.0) -> str | None:
        """Why nothing more is begun; `next_s` is what the next point would take at most."""
        limits = self.limits
        if limits.trials is not None and self.tried >= limits.trials:
            return f"{counted(self.tried, 'point')} tried (budget.trials)"
        if limits.patience is not None and self.in_vain >= limits.patience:
            return f"{counted(self.in_vain, 'point')} in a row without an improvement (budget.patience)"
        if limits.time is not None and self.search_s + next_s > limits.time:
            left_s = max(limits.time - self.search_s, 0.0)
            return (
                f"another point could take {rough_duration(next_s)}, and {rough_duration(left_s)} of "
                f"{rough_duration(limits.time)} are left (budget.time)"
            )
        if self.infeasible >= MOST_INFEASIBLE:
            return f"{counted(self.infeasible, 'point')} in a row could not be run"
        return None
