"""Did the rig change while a study ran? The file's own values are measured again and again.

Values are reported as they were measured, never corrected: nobody knows when between two anchors the rig changed. The
winner does not depend on it, because the confirmation measures everything anew, in blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runner.results.anchors import Change, change_between
from runner.results.records import Estimate
from runner.tune.objectives import Objective


@dataclass(frozen=True)
class Anchor:
    """The file's own values, measured once more."""

    after: int
    """How many points had been tried."""
    values: tuple[Estimate, ...]
    """Objectives in their order."""


@dataclass(frozen=True, kw_only=True)
class Drift(Change):
    """One objective over all anchors: the largest change between two of them."""

    objective: str
    after: tuple[int, int]
    """How many points had been tried at those two."""

    @property
    def words(self) -> str:
        """One sentence."""
        where = f"between points {self.after[0]} and {self.after[1]}"
        if self.drifted:
            return f"{self.objective} of the file's own values moved by {self.change:+.1%} {where}: the rig drifted"
        return f"{self.objective} of the file's own values moved by at most {abs(self.change):.1%}"


def drifts(anchors: Sequence[Anchor], objectives: Sequence[Objective]) -> tuple[Drift, ...]:
    """The largest change of each objective; nothing with fewer than two anchors."""
    if len(anchors) < 2:
        return ()
    return tuple(_largest(anchors, index, objective) for index, objective in enumerate(objectives))


def _largest(anchors: Sequence[Anchor], index: int, objective: Objective) -> Drift:
    pairs = [
        (first, last)
        for place, first in enumerate(anchors)
        for last in anchors[place + 1 :]
        if first.values[index].value > 0
    ]
    still = Drift(objective=objective.name, after=(0, 0), change=0.0, uncertainty=0.0)
    found = [_between(first, last, index, objective) for first, last in pairs]
    return max(found, key=lambda drift: abs(drift.change), default=still)


def _between(first: Anchor, last: Anchor, index: int, objective: Objective) -> Drift:
    change, uncertainty = change_between(first.values[index], last.values[index])
    return Drift(objective=objective.name, after=(first.after, last.after), change=change, uncertainty=uncertainty)
