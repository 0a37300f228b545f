"""Confirmation: the best points and the file's own, measured again in turn, each time on a fresh server.

The search picks what was measured best, and so also what was lucky. Only numbers that were made after the choice say
what a contender is worth, and only blocks in which every contender is measured once share what happens to the machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from runner.results.study_events import CONFIRMED, Confirming
from runner.units import counted
from runner.workflow.order import Planned, left_over, plan_points
from runner.workflow.session import planned_case
from runner.workflow.tuning.points import case_of
from runner.workflow.tuning.trials import is_disturbed

if TYPE_CHECKING:
    from runner.results.run import Run
    from runner.scenario.case import Case
    from runner.tune.base import Observation
    from runner.workflow.tuning.plan import StudyPlan
    from runner.workflow.tuning.trials import Bench


def confirm(plan: StudyPlan, bench: Bench, contenders: Sequence[Observation], before: Run | None) -> None:
    """Measure the contenders, the file's own point among them, block by block; what is measured already is kept.

    Where a study was extended and others are the best now, all are measured afresh: a block holds every contender.
    """
    confirmation = plan.tune.confirm
    assert confirmation is not None
    begun = before.study.confirming if before is not None and before.study is not None else None
    is_begun = begun is not None and set(begun.contenders.values()) == {each.number for each in contenders}
    turn = begun.round + (not is_begun) if begun is not None else 1
    cases = {each.number: _contender(plan, each, confirmation.repeats, turn) for each in contenders}
    if not is_begun:
        _begin(bench, cases, turn)
    measurements = plan_confirmation(list(cases.values()), confirmation.repeats, plan.seed)
    left = left_over(measurements, before.finished()) if before is not None else measurements
    plan.observer.on_phase(f"confirming {counted(len(cases), 'point')} in {counted(confirmation.repeats, 'block')}")
    for planned in left:
        bench.held.renew()
        if is_disturbed(bench.measured(planned)):
            # Without this measurement its block is no pair, and a block less may leave the study without a verdict.
            bench.held.renew()
            bench.measured(planned)
    bench.held.renew()


def plan_confirmation(cases: Sequence[Case], repeats: int, seed: int) -> tuple[Planned, ...]:
    """Every contender once in each block, in an order of its own."""
    return plan_points(cases, {case.id: repeats for case in cases}, seed=seed, order="blocks")


def _begin(bench: Bench, cases: Mapping[int, Case], turn: int) -> None:
    writer = bench.session.writer
    for case in cases.values():
        writer.add(planned_case(case))
    writer.note(Confirming({case.id: number for number, case in cases.items()}, turn))


def _contender(plan: StudyPlan, observation: Observation, repeats: int, turn: int) -> Case:
    """The point as a case of its own in each confirmation, which is measured so often."""
    case = case_of(plan.loaded, observation.point, plan.space.current)
    measure = case.scenario.measure.model_copy(update={"repeats": repeats})
    scenario = case.scenario.model_copy(update={"measure": measure})
    return replace(case, id=f"{CONFIRMED}{f'{turn}-' if turn > 1 else ''}{case.id}", scenario=scenario)
