"""A study as it is reported: plain numbers, nothing left to decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from runner.results.records import Estimate
from runner.results.study_events import StudyOutcome


@dataclass(frozen=True)
class StudyObjective:
    """What was to be made better."""

    name: str
    """As in the scenario."""
    metric: str
    """Key of the metric, with its unit."""
    unit: str
    direction: Literal["max", "min"]
    weight: float = 1.0


@dataclass(frozen=True)
class StudyTrial:
    """One point and what became of it."""

    number: int
    """In the order of asking; 0 is the file itself."""
    case_id: str | None
    """Of its row in points.csv; None where the point makes no scenario."""
    point: dict[str, Any]
    outcome: StudyOutcome
    values: tuple[Estimate, ...]
    """Objectives in their order, with the interval inside the measurement; empty where nothing was measured."""
    violations: dict[str, float]
    """Constraint -> relative amount by which it is missed."""
    reason: str
    """Why it is not `measured`."""
    search_s: float
    """Time of the search when it was finished."""
    on_front: bool = False
    """Acceptable, and no other acceptable point is better in every objective."""

    @property
    def acceptable(self) -> bool:
        """Measured in full, and no constraint is missed."""
        return self.outcome == "measured" and not self.violations


@dataclass(frozen=True)
class StudyDrift:
    """The largest change of one objective between two measurements of the file's own point."""

    objective: str
    change: float
    """Relative."""
    drifted: bool
    """More than chance and more than matters."""
    text: str


@dataclass(frozen=True)
class StudyGain:
    """One objective of a contender against the file's own point."""

    objective: str
    change: Estimate
    """Contender / file - 1, with its interval."""


@dataclass(frozen=True)
class StudyContender:
    """A point that was measured again head to head."""

    number: int
    case_id: str
    point: dict[str, Any]
    blocks: int
    """Measurements that could be used."""
    values: tuple[Estimate, ...]
    """Objectives over the blocks: median, with the interval between them; empty where nothing was measured."""
    gain: Estimate | None
    """All objectives together by their weights, relative, larger is better; None for the file itself."""
    gains: tuple[StudyGain, ...]
    """Each objective by itself; empty for the file itself."""
    verdict: str
    """`better`, `worse`, `equivalent`, `undecided`, … than the file itself; empty for the file itself."""
    p_adjusted: float | None
    """Of the gain, adjusted for the number of contenders."""
    missed: tuple[str, ...] = ()
    """Constraints that it missed in most blocks."""
    straddling: tuple[str, ...] = ()
    """Constraints that it missed in some."""
    note: str | None = None
    """What keeps it from a verdict."""


@dataclass(frozen=True)
class Study:
    """Everything about a study that a report shows; its measurements are those of the run."""

    tune: dict[str, Any]
    """The block as it was resolved."""
    size: int | None
    """Points of the space; None: without end."""
    objectives: tuple[StudyObjective, ...]
    trials: tuple[StudyTrial, ...]
    """In the order in which they finished."""
    importance: dict[str, dict[str, float]]
    """Objective -> address -> share of its variation, largest first; empty where too few points tell."""
    drifts: tuple[StudyDrift, ...]
    """How the file's own point changed while the search ran, for each objective; empty with fewer than two anchors."""
    ended: str | None
    """Why the search ended; None: it has not."""
    search_s: float
    contenders: tuple[StudyContender, ...] = ()
    """The file itself first, then the best."""
    confirmation: int | None = None
    """Which confirmation of the study this is, from 1; above 1 the study was extended. None without one."""
    confidence: float | None = None
    """Of its intervals, all contenders and objectives together."""
    call: str | None = None
    """What the confirmation says in a word: `winner`, `no_significant_gain`, …; None without one."""
    winner: int | None = None
    """Number of the point that is better than the file itself."""
    conclusion: str = ""
    """The result in a sentence."""
    written: str | None = None
    """Path of the override file."""

    @property
    def front(self) -> tuple[StudyTrial, ...]:
        """The best points of the search: one with one objective, else those that no other point dominates."""
        return tuple(trial for trial in self.trials if trial.on_front)

    def trial(self, number: int) -> StudyTrial:
        """The trial with this number; KeyError where there is none."""
        return next(trial for trial in self.trials if trial.number == number)

    def counts(self) -> dict[str, int]:
        """Outcome -> points."""
        found = [trial.outcome for trial in self.trials]
        return {outcome: found.count(outcome) for outcome in dict.fromkeys(found)}
