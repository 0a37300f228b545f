"""A study from its first point to the file with its winner."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from runner.results.study_events import StudyStarted
from runner.units import counted
from runner.workflow.contract import Rooms, RunOptions
from runner.workflow.measuring import sweep_leftovers
from runner.workflow.reporting import reports_whatever_happens
from runner.workflow.session import Session, resolved_of
from runner.workflow.tuning.budget import Budget
from runner.workflow.tuning.concluding import conclude
from runner.workflow.tuning.confirming import confirm
from runner.workflow.tuning.contract import SilentStudy, StudyObserver, StudyOutcome
from runner.workflow.tuning.extending import latest_extendable, resumed
from runner.workflow.tuning.golden import Golden
from runner.workflow.tuning.plan import StudyPlan
from runner.workflow.tuning.search import Search
from runner.workflow.tuning.servers import HeldServer
from runner.workflow.tuning.summary import study_of
from runner.workflow.tuning.trials import Bench
from runner.workflow.verbs import default_rooms

if TYPE_CHECKING:
    from runner.results.directory import RunDirectory, RunWriter
    from runner.results.run import Run
    from runner.scenario.loading import LoadedScenario
    from runner.tune.base import Observation


def tune_scenario(
    loaded: LoadedScenario,
    options: RunOptions | None = None,
    observer: StudyObserver | None = None,
    rooms: Rooms | None = None,
) -> StudyOutcome:
    """Search, confirm, and write the winner's values; everything finished is in the journal whatever happens.

    Raises:
        UsageError: the scenario has no `tune`, its own point cannot be run, or there is nothing to resume.
        ServiceError: its own point cannot be measured, so there is nothing to compare with.
        RunnerError: the machine lacks something that every point needs.
        KeyboardInterrupt: the user stopped it; the study can be resumed.
    """
    options, observer = options or RunOptions(), observer or SilentStudy()
    plan = StudyPlan.of(loaded, observer)
    directory = _directory(plan, options)
    with directory.writer() as writer:
        before = _begun(writer, plan, options)
        session = Session(loaded, options, observer, rooms or default_rooms(loaded, options, observer), writer)
        with (
            reports_whatever_happens(directory, loaded.scenario),
            closing(session),
            closing(HeldServer(session, Golden(plan.current.server_key))) as held,
        ):
            probe_s = plan.tune.screen.window if plan.tune.screen is not None else None
            bench = Bench(session, held, plan.goals, probe_s)
            sweep_leftovers(session)
            observations = _searched(plan, bench, before)
            contenders = _contenders(plan, observations, before)
            if contenders and plan.tune.confirm is not None:
                confirm(plan, bench, contenders, before)
            conclude(plan, directory, writer)
        run = directory.load()
        study = study_of(run)
        assert study is not None
        writer.finish("complete" if study.front else "partial")
    return StudyOutcome(directory.path, directory.load(), study)


def _directory(plan: StudyPlan, options: RunOptions) -> RunDirectory:
    """A new directory; with `resume` that of the newest unfinished study of this very scenario, else of the newest
    one that differs in nothing but its budget."""
    from runner.results.directory import RunDirectory
    from runner.results.resuming import latest_resumable, why_nothing_to_resume

    loaded = plan.loaded
    digest, resolved = resolved_of(loaded)
    name = loaded.scenario.name
    if not options.resume:
        return RunDirectory.create(options.output_dir, name, digest, datetime.now(UTC), loaded.source, "study")
    found = latest_resumable(options.output_dir, digest, "study") or latest_extendable(plan, options.output_dir)
    if found is None:
        raise why_nothing_to_resume(options.output_dir, name, digest, resolved, "study")
    return found


def _begun(writer: RunWriter, plan: StudyPlan, options: RunOptions) -> Run | None:
    """Write down what is searched and where; with `resume` returns what the study holds already."""
    from runner.results.environment import fingerprint

    _, resolved = resolved_of(plan.loaded)
    environment = fingerprint(identify=options.identify)
    before = resumed(writer, plan, environment) if options.resume else None
    if before is not None and before.study is not None:
        return before
    writer.write_resolved(resolved)
    if before is None:
        writer.begin(())
    current = plan.current
    tune = plan.tune.model_dump(mode="json", by_alias=True)
    writer.note(StudyStarted(tune, dict(plan.space.current), current.id, plan.space.count()))
    writer.update(
        command=sys.argv,
        target=plan.loaded.target,
        environment=environment,
        seeds={"measure": plan.seed, "tune": plan.tune.strategy.seed},
    )
    return None


def _searched(plan: StudyPlan, bench: Bench, before: Run | None) -> list[Observation]:
    log = before.study if before is not None else None
    budget = Budget(plan.limits, log.search_s if log is not None else 0.0)
    search = Search(plan, bench, budget, anchors=len(before.anchors) if before is not None else 0)
    done = len(log.observed) if log is not None else 0
    plan.observer.on_run(bench.session.writer.directory.path, _most_points(plan), done)
    reason = search.run(log)
    plan.observer.on_phase(f"the search ended after {counted(len(search.observations), 'point')}: {reason}")
    return search.observations


def _most_points(plan: StudyPlan) -> int:
    """Points that the search may come to, where a number is known; else 0."""
    known = [each for each in (plan.limits.trials, plan.space.count()) if each is not None]
    return min(known, default=0)


def _contenders(plan: StudyPlan, observations: Sequence[Observation], before: Run | None) -> Sequence[Observation]:
    """Those that an earlier process began to confirm, else the best; a study that was extended may have others."""
    log = before.study if before is not None else None
    if log is None or log.confirming is None or log.confirmed_before:
        return plan.contenders(observations, log.former.winner if log is not None and log.former is not None else None)
    by_number = {each.number: each for each in observations}
    return [by_number[number] for number in log.confirming.contenders.values()]
