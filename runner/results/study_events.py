"""What the journal of a study keeps beside its measurements: enough to go on after a kill, and to report it again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

T = TypeVar("T")

StudyOutcome = Literal["measured", "pruned", "infeasible", "failed"]
"""measured: in full · pruned: a short probe was enough · infeasible: excluded, never run · failed: no numbers."""

PROBE_LABEL = "screening"
"""Label of the measurements that were only probes."""
CONFIRMED = "confirm-"
"""Begins the ids of cases that are measured again head to head: their numbers are never mixed with the search's."""


@dataclass(frozen=True)
class StudyStarted:
    """What is searched, and where the file itself stands."""

    tune: dict[str, Any]
    """The block `tune` of the scenario, resolved."""
    current: dict[str, Any]
    """Address -> the file's own value; addresses that the file leaves open are not in it."""
    current_case: str
    """Case id of the point that is the file itself."""
    size: int | None = None
    """Points of the space; None: without end, or too many to count."""


@dataclass(frozen=True)
class Proposed:
    """A point is about to be tried; without an `observed` for it the study was cut off there."""

    number: int
    point: dict[str, Any]


@dataclass(frozen=True)
class Observed:
    """What became of a proposal."""

    number: int
    point: dict[str, Any]
    outcome: StudyOutcome
    search_s: float
    """Time of the search up to here, over all processes of the study."""
    values: tuple[float, ...] | None = None
    """Objectives in their declared order."""
    violations: dict[str, float] = field(default_factory=dict)
    """Constraint -> relative amount by which it is missed."""
    reason: str = ""
    case_id: str | None = None
    """Of its measurement; None where the point makes no scenario."""


@dataclass(frozen=True)
class SearchEnded:
    """Why no further point is tried."""

    reason: str
    search_s: float


@dataclass(frozen=True)
class Confirming:
    """The contenders that are measured again; the file's own point is number 0 and always among them."""

    contenders: dict[str, int]
    """Case id -> number of the proposal."""
    round: int = 1
    """Above 1: the study was extended, and others were the best then."""


@dataclass(frozen=True)
class Concluded:
    """How the study ended."""

    winner: int | None
    """Number of the proposal that is better than the file itself; None: no significant gain, or none was asked for."""
    text: str
    """The same as a sentence."""
    written: str | None = None
    """Path of the override file."""


@dataclass(frozen=True)
class Extended:
    """The study goes on with another budget: the end of its search and its conclusion so far are void."""

    budget: dict[str, Any]
    """The block `tune.budget`, resolved."""
    digest: str
    """Of the scenario with this budget."""
    command: tuple[str, ...] = ()
    """What extended it, as the manifest has what began it: without secrets."""


StudyEvent = StudyStarted | Proposed | Observed | SearchEnded | Confirming | Concluded | Extended
STUDY_EVENTS: dict[str, type[StudyEvent]] = {
    "study_started": StudyStarted,
    "proposed": Proposed,
    "observed": Observed,
    "search_ended": SearchEnded,
    "confirming": Confirming,
    "concluded": Concluded,
    "extended": Extended,
}


@dataclass(frozen=True)
class StudyLog:
    """The events of a study, read back."""

    started: StudyStarted
    """With the budget that holds now."""
    proposed: tuple[Proposed, ...] = ()
    observed: tuple[Observed, ...] = ()
    """In the order in which they finished."""
    ended: SearchEnded | None = None
    confirming: Confirming | None = None
    concluded: Concluded | None = None
    search_s: float = 0.0
    """Time that the search has taken so far."""
    confirmed_before: bool = False
    """The confirmation began before the study was extended last: others may be the best now."""
    extended: Extended | None = None
    """The last time."""
    former: Concluded | None = None
    """How the study ended before it was extended last."""

    @classmethod
    def of(cls, events: Iterable[object]) -> StudyLog | None:
        """What a journal holds of a study; None where it is the journal of a plain run."""
        events = list(events)
        started = _last(StudyStarted, events)
        if started is None:
            return None
        before, since = _at_extension(events)
        extended = _last(Extended, events)
        if extended is not None:
            started = replace(started, tune={**started.tune, "budget": extended.budget})
        return cls(
            started,
            tuple(event for event in events if isinstance(event, Proposed)),
            tuple(event for event in events if isinstance(event, Observed)),
            _last(SearchEnded, since),
            _last(Confirming, events),
            _last(Concluded, since),
            max((event.search_s for event in events if isinstance(event, Observed | SearchEnded)), default=0.0),
            _last(Confirming, since) is None and _last(Confirming, before) is not None,
            extended,
            _last(Concluded, before),
        )

    def unfinished(self) -> tuple[Proposed, ...]:
        """Points that were about to be tried when the study was cut off, in their order, each once."""
        seen = {each.number for each in self.observed}
        return tuple({each.number: each for each in self.proposed if each.number not in seen}.values())


def _at_extension(events: list[object]) -> tuple[list[object], list[object]]:
    """The events before and behind the last `extended`; all are behind it where there is none."""
    places = [place for place, event in enumerate(events) if isinstance(event, Extended)]
    cut = places[-1] if places else 0
    return events[:cut], events[cut:]


def _last(cls: type[T], events: Iterable[object]) -> T | None:
    return next((event for event in reversed(list(events)) if isinstance(event, cls)), None)
