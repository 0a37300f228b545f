"""Points become cases: a scenario of their own, named like those of a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.errors import UsageError
from runner.scenario.case import Case
from runner.scenario.matrix import case_at, case_id, server_key
from runner.scenario.schema_measure import Measure, PrecisionStability, WindowSettings
from runner.workflow.launches import check_launch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.scenario.loading import LoadedScenario
    from runner.tune.base import Point, Proposal


def current_case(loaded: LoadedScenario, current: Point) -> Case:
    """The point that is the file itself."""
    scenario = loaded.scenario
    return Case(case_id(current), dict(current), scenario, server_key(scenario))


def case_of(loaded: LoadedScenario, point: Point, current: Point) -> Case:
    """Any point as a case.

    Raises:
        UsageError: the scenario cannot have these values, or measuring would refuse them; says why.
    """
    case = current_case(loaded, current) if point == current else case_at(loaded, point)
    check_case(case, loaded.launch.kind)
    return case


def check_case(case: Case, launch: str) -> None:
    """Refuse what only measuring would find wrong.

    Raises:
        UsageError: with the reason.
    """
    from runner.measure.loads import schedule_of, settings_for
    from runner.measure.settings import resolve

    check_launch(case.scenario, launch)
    settings = settings_for(resolve(case.scenario.measure), case.scenario.load)
    if settings.soak:
        raise UsageError(
            "measure.soak: a study needs measurements that end by themselves", hint="remove measure.soak for the study"
        )
    schedule_of(case.scenario.load)


def probe_of(case: Case, window_s: float) -> Case:
    """The same point measured shortly: one window of this length, whatever its precision."""
    scenario = case.scenario
    measure = scenario.measure.model_copy(
        update={
            "profile": "explore" if scenario.measure.profile == "reference" else scenario.measure.profile,
            "window": WindowSettings().model_copy(
                update={"min": window_s, "max": window_s, "min_completions": 0, "min_batches": 0}
            ),
            "stability": PrecisionStability(),
            "requests": None,
            "records": "none",
        }
    )
    return _with_measure(case, measure)


def _with_measure(case: Case, measure: Measure) -> Case:
    scenario = case.scenario.model_copy(update={"measure": measure})
    return Case(case.id, case.parameters, scenario, case.server_key, case.skipped)


def by_server(batch: Sequence[tuple[Proposal, Case]], running: str | None) -> list[tuple[Proposal, Case]]:
    """A batch in an order that needs few servers: first what the running one serves, then each configuration once."""
    first: dict[str, int] = {}
    for place, (_, case) in enumerate(batch):
        first.setdefault(case.server_key, -1 if case.server_key == running else place)
    return sorted(batch, key=lambda each: first[each[1].server_key])
