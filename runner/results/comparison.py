"""What is kept of the comparison of two runs: A against B, which is the baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from runner.results.metric import Direction
from runner.results.records import Estimate

Verdict = Literal["better", "worse", "different_but_small", "equivalent", "undecided"]
"""Of A, as B's reader would see it."""

Design = Literal["paired", "repeats", "within_run", "searches"]
"""paired: blocks in which A and B were measured next to each other · repeats: several measurements on both sides, made
at other times · within_run: one measurement on a side, so that only its own interval is known · searches: two
capacities, known as far as loads passed and failed."""

Adjustment = Literal["none", "holm", "benjamini_hochberg"]
"""Of the p-values, for the family of all contrasts."""

DESIGN_WORDS: dict[Design, str] = {
    "paired": "paired blocks",
    "repeats": "unpaired repeats",
    "within_run": "one measurement on a side",
    "searches": "capacity searches",
}
MIN_PAIRS = 6
"""Fewer blocks cannot reach p < 0.05 by sign flips, whatever the difference: 2 / 2^5 is 0.0625."""


@dataclass(frozen=True)
class Contrast:
    """One metric of one point, A against B."""

    metric: str
    unit: str
    direction: Direction
    a: float
    """Geometric mean over the measurements used; of shares the arithmetic one."""
    b: float
    change: Estimate
    """A / B - 1; of shares of requests A - B."""
    verdict: Verdict
    certain: bool
    """False: the two sides were not measured in paired blocks, or in too few, so the verdict is only likely."""
    p: float | None = None
    p_adjusted: float | None = None
    """For the family of all contrasts of the comparison."""
    p_exact: float | None = None
    """Of the sign flips of the pairs; needs no distribution."""
    note: str | None = None

    @property
    def words(self) -> str:
        """The verdict as it is shown: `worse`, `likely worse`."""
        shown = self.verdict.replace("_", " ")
        return shown if self.certain or self.verdict == "undecided" else f"likely {shown}"

    @property
    def worse_by(self) -> float:
        """How much worse A is, as a share; negative where it is better."""
        return self.change.value if self.direction == "min" else -self.change.value


@dataclass(frozen=True)
class ComparedPoint:
    """A point that both runs measured."""

    parameters: dict[str, Any]
    """Those that both have, by address."""
    case_a: str
    case_b: str
    design: Design
    used_a: int
    """Measurements used."""
    used_b: int
    contrasts: tuple[Contrast, ...]
    notes: tuple[str, ...] = ()
    role: str = ""
    """Of both in their studies: the file itself, the winner; empty: they have the same parameters."""


Where = Literal["A", "B", "A and B"]


@dataclass(frozen=True)
class LeftOut:
    """A point that is not compared, and why."""

    side: Where
    case_id: str
    reason: str


@dataclass(frozen=True)
class Side:
    """Which run."""

    path: str
    run_id: str
    scenario: str
    started_utc: str


@dataclass(frozen=True)
class Differences:
    """What is not the same on both sides, in words `address: A's value | B's value`."""

    rig: tuple[str, ...] = ()
    """Machine and tools: numbers of different rigs compare badly."""
    served: tuple[str, ...] = ()
    """Server, artefacts and labels."""
    scenario: tuple[str, ...] = ()
    """What was asked for."""


@dataclass(frozen=True)
class Comparison:
    """Everything that a comparison says."""

    a: Side
    b: Side
    margin: float
    """Relative differences up to this do not matter."""
    confidence: float
    adjustment: Adjustment
    differences: Differences
    points: tuple[ComparedPoint, ...]
    left_out: tuple[LeftOut, ...] = ()
    drift: tuple[str, ...] = ()
    """How far the anchors of a side say that the rig moved while it was measured, one sentence for each."""

    def contrasts(self) -> tuple[Contrast, ...]:
        """Every contrast of every point."""
        return tuple(contrast for point in self.points for contrast in point.contrasts)
