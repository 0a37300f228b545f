"""Does the rig drift while a matrix is measured? The anchor is one point that is measured again and again.

Between two anchors that differ, nobody can say at which moment the rig changed, so every point between them carries
the flag. It informs: each number is what was measured, but neighbours in the table may differ by the drift alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from runner.results.records import Estimate, Flag, Trial, half_width

LIMIT = 0.02
"""Two per cent count as no material difference (MLPerf's audit rule)."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """How much a number of the same point moved between two measurements of it."""

    change: float
    """Relative, later against earlier."""
    uncertainty: float
    """Half-width of the change, from the intervals of both."""

    @property
    def drifted(self) -> bool:
        """More than the limit, and more than the two measurements could differ by chance."""
        return abs(self.change) > LIMIT and abs(self.change) > self.uncertainty

    @property
    def is_level(self) -> bool:
        """Precise enough to say that it did not move by more than the limit."""
        return abs(self.change) + self.uncertainty <= LIMIT


def change_between(before: Estimate, after: Estimate) -> tuple[float, float]:
    """The relative change and its uncertainty."""
    return after.value / before.value - 1, math.hypot(half_width(before), half_width(after))


@dataclass(frozen=True, kw_only=True)
class AnchorStep(Change):
    """From one anchor to the next: how the throughput of the same point changed."""

    first: int
    """Position of the earlier anchor among all trials, in order of time."""
    last: int


def anchor_steps(trials: Sequence[Trial], reference: str | None = None) -> tuple[AnchorStep, ...]:
    """Every pair of neighbouring anchors with a usable number; `trials` in order of time, anchors among them.

    Measurements of the case `reference` are as good as anchors.
    """
    usable = ((place, trial) for place, trial in enumerate(trials) if trial.state == "ok" and trial.summary)
    places = [place for place, trial in usable if trial.anchor or trial.case_id == reference]
    return tuple(_step(trials, first, last) for first, last in pairwise(places))


def _step(trials: Sequence[Trial], first: int, last: int) -> AnchorStep:
    change, uncertainty = change_between(_throughput(trials[first]), _throughput(trials[last]))
    return AnchorStep(first=first, last=last, change=change, uncertainty=uncertainty)


def _throughput(trial: Trial) -> Estimate:
    assert trial.summary is not None
    return trial.summary.inferences_per_s


def flag_drift(trials: Sequence[Trial], reference: str | None = None) -> list[Trial]:
    """The same trials, those between two anchors that differ flagged; `reference` as in `anchor_steps`."""
    flagged = list(trials)
    for step in anchor_steps(trials, reference):
        if step.drifted:
            for place in range(step.first + 1, step.last):
                if not flagged[place].anchor and flagged[place].summary is not None:
                    flagged[place] = _flagged(flagged[place], step)
    return flagged


def _flagged(trial: Trial, step: AnchorStep) -> Trial:
    words = (
        f"The anchor point moved by {step.change:+.1%} between its measurements before and after this point (at most "
        f"{LIMIT:.0%} counts as level): the rig drifted, so compare with other parts of the run only beyond that; look "
        "for temperature, clocks or other load, and measure again."
    )
    flag = Flag("trend", step.change, LIMIT, "informs", words)
    # The codes are one each: the drift of the rig explains one inside the window, too.
    others = tuple(flag for flag in trial.flags if flag.code != "trend")
    return replace(trial, flags=(*others, flag))
