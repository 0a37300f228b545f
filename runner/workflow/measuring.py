"""The matrix, point by point, on servers that are restarted only when they have to be."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import LoadError, ServiceError
from runner.workflow.groups import prepare_group
from runner.workflow.order import Planned, is_search, needs_reload, server_runs
from runner.workflow.serving import Serving, served

if TYPE_CHECKING:
    from runner.results.records import Trial
    from runner.runtimes.base import RunningServer
    from runner.scenario.case import Case
    from runner.setup.base import Prepared
    from runner.workflow.session import Session


def measure_all(plan: Sequence[Planned], session: Session) -> None:
    """Make the measurements in their order; a server lasts until the plan asks for a fresh one, or until it dies."""
    if plan:
        sweep_leftovers(session)
    for run in server_runs(plan):
        measure_server_run(run, plan, session)


def sweep_leftovers(session: Session) -> None:
    """Remove what dead runs left behind."""
    # A server that is not ours may still be coming up: it is asked again, for longer, before it is measured.
    with suppress(ServiceError):
        session.rooms.runtime.sweep()
    sweep_shared_memory()


def measure_server_run(run: Sequence[Planned], plan: Sequence[Planned], session: Session) -> None:
    """Make a part of the plan for which one server will do, on fresh ones as often as it dies."""
    prepared = prepared_for(run[0].case, plan, session)
    if is_search(run[0].case):
        from runner.workflow.searching import search_case  # it measures with the functions of this module

        search_case(run[0], prepared, session)
        return
    rest = list(run)
    while rest:
        with served(run[0].case.scenario, prepared, session) as serving:
            rest = measure_until_gone(rest, serving, session)


def prepared_for(case: Case, plan: Sequence[Planned], session: Session) -> Prepared:
    """The setup of a server, made once for all measurements of the plan that run on such a server."""
    key = case.server_key
    if key not in session.prepared:
        session.use_state()
        sharing = [planned.case for planned in plan if planned.case.server_key == key]
        session.prepared[key] = prepared = prepare_group(sharing, session.loaded, session.options, session.observer)
        session.writer.update(setup=_setup_records(prepared), labels=dict(prepared.labels))
    return session.prepared[key]


def measure_until_gone(run: Sequence[Planned], serving: Serving, session: Session) -> list[Planned]:
    """Measure on one server; returns what is left for a fresh one when it died."""
    before: Planned | None = None
    for number, planned in enumerate(run):
        session.cool_down()
        if before is not None and needs_reload(before, planned) and not reloaded(serving, session):
            return list(run[number:])
        session.observer.on_case(planned.case)
        trial = measure_point(planned, serving, session)
        session.writer.append(trial)
        session.observer.on_trial(trial)
        session.stopped_after(planned)
        if died(serving.server, session):
            return list(run[number + 1 :])
        before = planned
    return []


def reloaded(serving: Serving, session: Session) -> bool:
    """Unload and load the models; False when the server did not come through it, so that a fresh one is needed."""
    session.observer.on_server("reloads its models")
    try:
        serving.server.reload()
    except ServiceError as error:
        session.note_death(error)
        return False
    return True


def measure_point(planned: Planned, serving: Serving, session: Session) -> Trial:
    """One point: payloads once, then one continuous load."""
    from runner.measure.trial import failed_trial

    case = planned.case
    try:
        trial = _measured(planned, serving, session)
    except (LoadError, ServiceError) as error:
        # One point that cannot be measured must not take the others along; the caller sees whether the server lives.
        trial = failed_trial(case, error)
    return replace(trial, repeat=planned.repeat, block=planned.block, anchor=planned.anchor)


def _measured(planned: Planned, serving: Serving, session: Session) -> Trial:
    from runner.measure.orders import Orders, Requests, Target
    from runner.measure.settings import resolve
    from runner.measure.trial import measure_case

    case, probing = planned.case, planned.probing
    settings = probing.settings if probing else resolve(case.scenario.measure)
    with serving.payloads(case, session.writer.directory.name) as payloads:
        target = Target(
            engine=session.rooms.engine,
            endpoint=serving.server.endpoint,
            service=serving.service_for(case.scenario.workload),
            pipeline=serving.pipeline,
            server_check=serving.server.check,
            peers=serving.peers_for(case.scenario.workload),
        )
        orders = Orders(
            # One schedule of arrivals is one sample of them: the repeats take others, the cases of a block the same.
            settings=replace(settings, seed=settings.seed + planned.block),
            labels={**serving.prepared.labels, **payloads.facts()},
            on_progress=session.observer.on_progress,
            stop=session.stop,
            ceiling_per_s=session.ceiling_per_s(case),
            records=records_path(planned, settings.repeats, session),
            raw=raw_path(planned, session),
            telemetry=session.recorder(case, serving, point_name(planned, settings.repeats)),
            verdict=probing.judge if probing else None,
        )
        requests = Requests(payloads.messages, payloads.drawing, payloads.references)
        return measure_case(case, target, requests, orders)


def records_path(planned: Planned, repeats: int, session: Session) -> Path | None:
    """Where the records of single requests go, if the scenario asks for them."""
    if planned.case.scenario.measure.records == "none":
        return None
    return session.writer.directory.path / "records" / f"{point_name(planned, repeats)}.bin"


def point_name(planned: Planned, repeats: int) -> str:
    """Names the files of one measurement."""
    if planned.probing is not None:
        return f"{planned.case.id}-{planned.probing.name}"
    suffix = f"-anchor{planned.repeat}" if planned.anchor else f"-repeat{planned.repeat}" if repeats > 1 else ""
    return f"{planned.case.id}{suffix}"


def raw_path(planned: Planned, session: Session) -> Path:
    """Where the closed slices of a measurement go."""
    kind = "anchor" if planned.anchor else "r"
    name = planned.probing.name if planned.probing else f"{kind}{planned.repeat}"
    return session.writer.directory.path / "slices" / f"{planned.case.id}-{name}.hlog"


def died(server: RunningServer, session: Session) -> bool:
    """Whether the server is gone; after several deaths in a row its error is raised instead."""
    try:
        server.check()
    except ServiceError as error:
        session.note_death(error)
        return True
    session.deaths = 0
    return False


def _setup_records(prepared: Prepared) -> Any:
    from runner.results.manifest import setup_records

    return setup_records(prepared.reports)


def sweep_shared_memory() -> None:
    from runner.load.regions import sweep_regions

    sweep_regions()
