"""What can be asked of the conductor: run, setup, plan, reset."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import RigError, ServiceError, UsageError
from runner.scenario.case import launch_of
from runner.scenario.matrix import expand
from runner.scenario.schema import EmbeddedLaunch, RemoteLaunch
from runner.workflow.contract import Observer, Outcome, Plan, Rooms, RunOptions, Silent
from runner.workflow.groups import largest_batch_of, prepare_group, state_of
from runner.workflow.known_models import check_known_models
from runner.workflow.launches import check_launch, check_takes_effect
from runner.workflow.measuring import measure_all, sweep_shared_memory
from runner.workflow.order import Planned, anchor_case, is_search, left_over, plan_points, server_groups, with_anchors
from runner.workflow.reporting import reports_whatever_happens
from runner.workflow.requirements import check_requires
from runner.workflow.session import Session, begin, run_directory

if TYPE_CHECKING:
    from runner.results.run import Run
    from runner.scenario.case import Case
    from runner.scenario.loading import LoadedScenario
    from runner.scenario.schema import Launch, Scenario
    from runner.setup.base import Prepared
    from runner.setup.reset import Removal


def run_scenario(
    loaded: LoadedScenario,
    options: RunOptions | None = None,
    observer: Observer | None = None,
    rooms: Rooms | None = None,
) -> Outcome:
    """Set up if stale, serve, measure every point, and write a run directory.

    Whatever happens, finished points are in the journal and the reports cover them.

    Raises:
        RunnerError: nothing more can be measured: a setup step failed, a server does not start, the disk is full.
        KeyboardInterrupt: the user stopped it; the run can be resumed.
    """
    options, observer = options or RunOptions(), observer or Silent()
    cases = checked_cases(loaded)
    if rooms is None:
        check_requires(loaded, options.home)
    directory = run_directory(loaded, options)
    with directory.writer() as writer:
        before = begin(writer, loaded, cases, options)
        whole, pending = planned_measurements(loaded, cases), planned_measurements(loaded, cases, before)
        done = sum(not each.anchor for each in whole) - sum(not each.anchor for each in pending)
        observer.on_run(directory.path, done + len(pending), done)
        last = pending[-1] if pending else None
        own = rooms or default_rooms(loaded, options, observer)
        session = Session(loaded, options, observer, own, writer, last=last)
        with reports_whatever_happens(directory, loaded.scenario), closing(session):
            measure_all(pending, session)
        outcome = Outcome(directory.path, directory.load())
        writer.finish("partial" if outcome.problems else "complete")
    return Outcome(directory.path, directory.load())


def planned_measurements(
    loaded: LoadedScenario, cases: Sequence[Case], before: Run | None = None
) -> tuple[Planned, ...]:
    """What a run measures, in order; `before` is what an earlier process of this run left behind.

    Anchors go around whatever is left: the rig may have changed while nothing ran.
    """
    from runner.measure.loads import settings_for
    from runner.measure.settings import resolve

    matrix = loaded.scenario.matrix
    repeats = {c.id: settings_for(resolve(c.scenario.measure), c.scenario.load).repeats for c in cases}
    plan = plan_points(cases, repeats, seed=loaded.scenario.measure.seed, order=matrix.order)
    if before is not None:
        plan = left_over(plan, before.finished())
    every, number = (matrix.anchor.every if matrix.anchor else 1), len(before.anchors) if before else 0
    return with_anchors(plan, anchor_case(cases, matrix.anchor), every, first_number=number)


def setup_scenario(loaded: LoadedScenario, options: RunOptions, observer: Observer) -> tuple[Prepared, ...]:
    """Make what every server configuration of the matrix needs; reuses what is current.

    Raises:
        ScenarioError: models or workload make no sense.
        RigError: this machine lacks what the target requires.
        SetupError: a step failed.
    """
    check_requires(loaded, options.home)
    cases = expand(loaded)
    check_known_models(loaded, cases)
    return tuple(prepare_group(group, loaded, options, observer) for group in server_groups(cases))


def plan_scenario(loaded: LoadedScenario, options: RunOptions | None = None) -> Plan:
    """Say what a run would do; changes nothing."""
    from runner.setup.prepare import plan_setup

    options = options or RunOptions()
    cases, state = checked_cases(loaded), state_of(loaded, options.home)
    reports = [
        report
        for group in server_groups(cases)
        for report in plan_setup(group[0].scenario, state, max_batch_needed=largest_batch_of(group))
    ]
    return Plan(
        target=loaded.target,
        state=state.path,
        setup=tuple(dict.fromkeys(reports)),
        cases=cases,
        measurements=planned_measurements(loaded, cases),
        cooldown_s=loaded.scenario.matrix.cooldown,
        free_bytes=_free_bytes(state.home),
    )


def reset_scenario(
    loaded: LoadedScenario, *, keep: Collection[str] = (), dry_run: bool = False, home: Path | None = None
) -> tuple[Removal, ...]:
    """Undo what the ledger says, and remove what dead runs left in memory and in engines."""
    from runner.runtimes.rig.settings import SETTINGS
    from runner.setup.containers import undo_image
    from runner.setup.reset import reset
    from runner.setup.rig import undo_setting

    swept: tuple[Removal, ...] = ()
    if not dry_run:
        swept = tuple(swept_runtimes(loaded))
        sweep_shared_memory()
    handlers = {"image": undo_image, **dict.fromkeys(SETTINGS, undo_setting)}
    return swept + reset(state_of(loaded, home), keep=keep, dry_run=dry_run, handlers=handlers)


def swept_runtimes(loaded: LoadedScenario) -> Iterator[Removal]:
    """What dead runs left in any runtime that the file's targets use.

    An engine that does not answer is no obstacle, and matters only where the chosen target needs it.
    """
    from runner.runtimes.choosing import runtime_for
    from runner.setup.reset import Removal

    chosen = launch_of(loaded.scenario)
    launches = [chosen, EmbeddedLaunch(), *(target.launch for target in loaded.targets.values())]
    for launch in {_swept_as(launch): launch for launch in reversed(launches)}.values():
        try:
            yield from (Removal("leftover", Path(line), 0, "removed") for line in runtime_for(launch).sweep())
        except (RigError, ServiceError) as error:
            # A server that holds models of a dead run is reason enough to say so, whichever target is chosen.
            if launch == chosen or isinstance(error, ServiceError):
                yield Removal("leftover", Path(launch.kind), 0, "failed", error.message)


def _swept_as(launch: Launch) -> str:
    """One sweep for all launches of a kind, but one for each server that is not ours."""
    return launch.address if isinstance(launch, RemoteLaunch) else launch.kind


def checked_cases(loaded: LoadedScenario) -> tuple[Case, ...]:
    """The points, with the settings that only measuring would find wrong refused before anything is started."""
    from runner.measure.loads import schedule_of, settings_for
    from runner.measure.settings import resolve

    cases = expand(loaded)
    for case in cases:
        check_launch(case.scenario, loaded.launch.kind)
        settings_for(resolve(case.scenario.measure), case.scenario.load)
        if is_search(case):
            check_search(case.scenario)
        else:
            schedule_of(case.scenario.load)
    check_takes_effect(cases)
    check_known_models(loaded, cases)
    anchor_case(cases, loaded.scenario.matrix.anchor)
    return cases


def check_search(scenario: Scenario) -> None:
    """Refuse what a search would silently leave aside."""
    if (scenario.measure.repeats or 1) > 1:
        raise UsageError(
            f"measure.repeats: a search is repeated as a whole, got {scenario.measure.repeats}",
            hint="remove it, and write load.attempts",
        )
    if scenario.matrix.anchor is not None:
        raise UsageError("matrix.anchor: an anchor is a point, not a search", hint="remove matrix.anchor")


def default_rooms(loaded: LoadedScenario, options: RunOptions | None = None, observer: Observer | None = None) -> Rooms:
    """The real runtime of the chosen target and the native engine."""
    from runner.load.native import NativeEngine
    from runner.measure.telemetry.collect import TelemetryRoom
    from runner.runtimes.choosing import runtime_for
    from runner.services import connect

    options, observer = options or RunOptions(), observer or Silent()
    launch = launch_of(loaded.scenario)
    runtime = runtime_for(launch, observer.on_server, offline=options.offline, identify=options.identify)
    return Rooms(runtime, NativeEngine(), connect, TelemetryRoom())


def _free_bytes(path: Path) -> int:
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    return shutil.disk_usage(existing).free
