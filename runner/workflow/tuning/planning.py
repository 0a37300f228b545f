"""`scenario tune --dry-run`: what a study would do, and how long at most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.errors import UsageError
from runner.workflow.tuning.budget import cap_s
from runner.workflow.tuning.plan import StudyPlan
from runner.workflow.tuning.points import case_of

if TYPE_CHECKING:
    from runner.scenario.loading import LoadedScenario
    from runner.scenario.schema_tune import Tune
    from runner.tune.base import Point

SHOWN = 8
"""First points that are shown."""


@dataclass(frozen=True)
class StudyPreview:
    """What a study would do."""

    target: str | None
    tune: Tune
    """With the limit that holds where the file gives none."""
    size: int | None
    """Points of the space; None: without end, or too many to count."""
    first: tuple[tuple[Point, str | None], ...]
    """The first points, and why they cannot be run."""
    point_s: float
    """Longest time of one point on a running server."""
    search_s: float | None
    """Longest time of the search, server starts not counted unless the budget is a time; None: no limit but the space
    or patience."""
    confirm_s: float
    """Longest time of the confirmation, server starts not counted."""
    confirmations: int
    """Measurements of the confirmation, each on a fresh server."""


def preview_study(loaded: LoadedScenario) -> StudyPreview:
    """Say what a study would do; changes nothing.

    Raises:
        UsageError: as the study itself.
    """
    plan = StudyPlan.of(loaded)
    limits = plan.limits
    point_s = cap_s(plan.current.scenario.measure, plan.tune.screen)
    measurements = _confirmations(plan)
    size = plan.space.count()
    points = min((each for each in (limits.trials, size) if each is not None), default=None)
    return StudyPreview(
        target=loaded.target,
        tune=plan.tune.model_copy(update={"budget": limits}),
        size=size,
        first=tuple((each.point, _problem(plan, each.point)) for each in plan.strategy.ask(SHOWN)),
        point_s=point_s,
        search_s=limits.time if limits.time is not None else None if points is None else points * point_s,
        confirm_s=measurements * cap_s(plan.current.scenario.measure, None),
        confirmations=measurements,
    )


def _confirmations(plan: StudyPlan) -> int:
    confirm = plan.tune.confirm
    return 0 if confirm is None else (confirm.top + 1) * confirm.repeats


def _problem(plan: StudyPlan, point: Point) -> str | None:
    reason = plan.space.infeasible(point)
    if reason is not None:
        return reason
    try:
        case_of(plan.loaded, point, plan.space.current)
    except UsageError as error:
        return error.message
    return None
