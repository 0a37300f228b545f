"""The honest winner: a claim from the confirmation alone, never from the values by which contenders were found.

The best of many noisy measurements looks better than it is (the winner's curse: Capen, Clapp & Campbell, *J. Petroleum
Technology* 23, 1971). So contenders and the file's own values are measured anew, in blocks, each block with every
contender once. Effects are means of the differences inside the blocks, which cancels what drifts between them. Several
contenders are several chances to be lucky: p-values are adjusted by Holm, and intervals are simultaneous (Bonferroni),
so that the interval of whichever contender wins holds at the stated confidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from runner.results.comparison import Verdict
from runner.results.records import Estimate
from runner.tune.objectives import Objective

Call = Literal["winner", "no_significant_gain", "worse", "undecided", "no_comparison"]
"""winner: a contender is better · no_significant_gain: a result, too: keep the file's values · worse: every contender
is worse · undecided: too few blocks for a verdict · no_comparison: nothing was measured on both sides."""


@dataclass(frozen=True)
class Entry:
    """One contender in one block."""

    values: tuple[float, ...]
    """Objectives in their order."""
    violations: Mapping[str, float]
    """Constraint -> relative amount by which it was missed."""


Block = Mapping[str, Entry]
"""Contender -> its measurement in the block; one that failed is not in it."""


@dataclass(frozen=True)
class Gain:
    """One objective of one contender, against the file's own values."""

    objective: str
    change: Estimate
    """Contender / file - 1, with its simultaneous interval."""
    baseline: float
    """Geometric mean of the file's own values over the blocks used."""
    value: float
    """Of the contender."""


@dataclass(frozen=True)
class Standing:
    """What the confirmation says about one contender."""

    contender: str
    blocks: int
    """In which both it and the file's own values were measured."""
    gain: Estimate
    """Relative, larger is better: of the only objective, or the weighted mean of all; with its interval."""
    verdict: Verdict
    p: float | None
    p_adjusted: float | None
    """Holm, over the contenders."""
    gains: tuple[Gain, ...]
    """Each objective by itself."""
    missed: tuple[str, ...] = ()
    """Constraints that it missed in more than half of its blocks."""
    straddling: tuple[str, ...] = ()
    """Constraints that it missed in some of them."""
    note: str | None = None

    @property
    def acceptable(self) -> bool:
        """Satisfies every constraint in most blocks."""
        return not self.missed


@dataclass(frozen=True)
class Outcome:
    """Who won, and why."""

    call: Call
    winner: str | None
    """None: the file's own values stay."""
    standings: tuple[Standing, ...]
    """Best first."""
    baseline_missed: tuple[str, ...]
    """Constraints that the file's own values miss."""
    confidence: float
    margin: float
    reason: str
    """One sentence."""


def name_winner(
    blocks: Sequence[Block],
    baseline: str,
    objectives: Sequence[Objective],
    *,
    margin: float,
    confidence: float = 0.95,
) -> Outcome:
    """Judge a confirmation: `blocks` in order of time, `baseline` the name of the file's own values among them."""
    raise NotImplementedError
