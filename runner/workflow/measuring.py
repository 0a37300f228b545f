"""The matrix, point by point, on servers that are restarted only when they have to be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import LoadError, ServiceError
from runner.workflow.groups import prepare_group, server_groups
from runner.workflow.serving import Serving, served

if TYPE_CHECKING:
    from runner.results.records import Trial
    from runner.runtimes.base import RunningServer
    from runner.scenario.case import Case
    from runner.setup.base import Prepared
    from runner.workflow.session import Session

MAX_SERVER_DEATHS = 3
"""Give up on a server that died in so many points one after the other: the rest would die too."""


def measure_all(pending: Sequence[Case], session: Session) -> None:
    """Measure the cases; a server is restarted only when its configuration changes, or when it died."""
    if pending:
        session.rooms.runtime.sweep()
        sweep_shared_memory()
    for group in server_groups(pending):
        prepared = prepare_group(group, session.loaded, session.options, session.observer)
        session.writer.update(setup=_setup_records(prepared), labels=dict(prepared.labels))
        rest = list(group)
        while rest:
            with served(group[0].scenario, prepared, session) as serving:
                rest = measure_until_gone(rest, serving, session)


def measure_until_gone(cases: Sequence[Case], serving: Serving, session: Session) -> list[Case]:
    """Measure cases on one server; returns those left for a fresh one (it died, or isolation asks for a restart)."""
    for number, case in enumerate(cases, 1):
        session.observer.on_case(case)
        trial = measure_point(case, serving, session)
        session.writer.append(trial)
        session.observer.on_trial(trial)
        if _died(serving.server, session) or case.scenario.server.isolation.between_points == "restart":
            return list(cases[number:])
    return []


def measure_point(case: Case, serving: Serving, session: Session) -> Trial:
    """One point: payloads once, then one continuous load."""
    from runner.measure.loads import ceiling_slots
    from runner.measure.trial import failed_trial, measure_case

    try:
        with serving.payloads(case, session.writer.directory.name) as payloads:
            return measure_case(
                case,
                engine=session.rooms.engine,
                endpoint=serving.server.endpoint,
                service=serving.service_for(case.scenario.workload),
                payloads=payloads.messages,
                drawing=payloads.drawing,
                models=(serving.metadata.name, *serving.metadata.composing_models),
                labels={**serving.prepared.labels, **payloads.facts()},
                server_check=serving.server.check,
                on_progress=session.observer.on_progress,
                ceiling_per_s=session.ceiling_per_s(ceiling_slots(case.scenario.load)),
                records=records_path(case, session),
                references=payloads.references,
            )
    except (LoadError, ServiceError) as error:
        # One point that cannot be measured must not take the others along; the caller sees whether the server lives.
        return failed_trial(case, error)


def records_path(case: Case, session: Session) -> Path | None:
    """Where the records of single requests go, if the scenario asks for them."""
    if case.scenario.measure.records == "none":
        return None
    return session.writer.directory.path / "records" / f"{case.id}.bin"


def _died(server: RunningServer, session: Session) -> bool:
    """Whether the server is gone; after several deaths in a row its error is raised instead."""
    try:
        server.check()
    except ServiceError as error:
        session.deaths += 1
        session.observer.on_server(f"died: {error.message}")
        if session.deaths >= MAX_SERVER_DEATHS:
            raise
        return True
    session.deaths = 0
    return False


def _setup_records(prepared: Prepared) -> Any:
    from runner.results.manifest import setup_records

    return setup_records(prepared.reports)


def sweep_shared_memory() -> None:
    from runner.load.regions import sweep_regions

    sweep_regions()
