"""One run: its directory, what was already measured, what every point shares."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from runner.errors import ServiceError
from runner.runtimes.interrupts import Stop
from runner.scenario.case import client_cpus

if TYPE_CHECKING:
    from runner.measure.telemetry.sampler import Recorder
    from runner.results.directory import RunDirectory, RunWriter
    from runner.results.run import PlannedCase, Run
    from runner.scenario.case import Case
    from runner.scenario.loading import LoadedScenario
    from runner.setup.base import Prepared
    from runner.workflow.contract import Observer, Rooms, RunOptions
    from runner.workflow.order import Planned
    from runner.workflow.serving import Serving

Ceilings = dict[tuple[int, tuple[int, ...]], float]
"""Requests in flight, processors of the load -> requests per second of the engine alone."""

MAX_SERVER_DEATHS = 3
"""Give up on a server that died in so many points one after the other: the rest would die too."""


def run_directory(loaded: LoadedScenario, options: RunOptions) -> RunDirectory:
    """A new run directory, or with `resume` the newest unfinished one of this very scenario."""
    from runner.results.directory import RunDirectory
    from runner.results.resuming import latest_resumable, why_nothing_to_resume

    (digest, resolved), name = resolved_of(loaded), loaded.scenario.name
    if not options.resume:
        return RunDirectory.create(options.output_dir, name, digest, datetime.now(UTC), loaded.source)
    found = latest_resumable(options.output_dir, digest)
    if found is None:
        raise why_nothing_to_resume(options.output_dir, name, digest, resolved)
    return found


def resolved_of(loaded: LoadedScenario) -> tuple[str, str]:
    """What identifies a resolved scenario, and its text as it may be kept: without secrets."""
    from runner.results.directory import digest_of
    from runner.results.secrets import without_secrets

    resolved = loaded.dump()
    return digest_of(resolved), without_secrets(resolved)


def begin(writer: RunWriter, loaded: LoadedScenario, cases: Sequence[Case], options: RunOptions) -> Run | None:
    """Write down what is run and where; with `resume` returns what the run holds already."""
    from runner.results.environment import fingerprint

    (digest, resolved), environment = resolved_of(loaded), fingerprint(identify=options.identify)
    if options.resume:
        return writer.resume(digest, resolved, environment)
    writer.write_resolved(resolved)
    writer.begin([planned_case(case) for case in cases])
    for case in cases:
        if case.skipped is not None:
            writer.skip(case.id, case.skipped)
    writer.update(
        command=sys.argv,
        target=loaded.target,
        environment=environment,
        seeds={"measure": loaded.scenario.measure.seed},
    )
    return None


def planned_case(case: Case) -> PlannedCase:
    """What the journal keeps of a case, with what its profile decides about repeats."""
    from runner.measure.loads import settings_for
    from runner.measure.settings import resolve
    from runner.results.run import PlannedCase

    settings = settings_for(resolve(case.scenario.measure), case.scenario.load)
    asked = {"throughput": settings.throughput, "mean": settings.mean}
    asked |= {f"p{q:g}": width for q, width in settings.percentile_precision.items()}
    return replace(
        PlannedCase.of(case),
        repeats=settings.repeats,
        confidence=settings.confidence,
        precision={what: width for what, width in asked.items() if width is not None},
    )


@dataclass
class Session:
    """What every point of one run shares."""

    loaded: LoadedScenario
    options: RunOptions
    observer: Observer
    rooms: Rooms
    writer: RunWriter
    servers_started: int = 0
    deaths: int = field(default=0)
    """Points in a row in which the server died."""
    prepared: dict[str, Prepared] = field(default_factory=dict)
    """Server key -> setup that was made for it: servers may be started in any order, and again."""
    stop: Stop = field(default_factory=Stop)
    """Whether the user wants the run to end."""
    last: Planned | None = None
    """What the run measures last."""
    _warm: bool = False
    _held: ExitStack = field(default_factory=ExitStack)
    ceilings: Ceilings = field(default_factory=dict)
    """What the engine alone could send; the two sides of a comparison share them."""

    def note_death(self, error: ServiceError) -> None:
        """Count a server that is gone; after several in a row its error is raised instead."""
        self.deaths += 1
        self.observer.on_server(f"died: {error.message}")
        if self.deaths >= MAX_SERVER_DEATHS:
            raise error

    def stopped_after(self, planned: Planned) -> None:
        """End the run here if the user wanted that; a soak that was ended so, with nothing behind it, is finished."""
        soaked = planned.case.scenario.measure.soak and planned is self.last
        if self.stop.asked() and not soaked:
            self.stop.pass_on()

    def cool_down(self) -> None:
        """Give the rig the same rest before every measurement but the first."""
        if self._warm:
            time.sleep(self.loaded.scenario.matrix.cooldown)
        self._warm = True

    def ceiling_per_s(self, case: Case) -> float:
        """What the engine alone could send where a case's load runs, measured once for each concurrency there."""
        from runner.measure.ceiling import engine_ceiling_per_s
        from runner.measure.loads import ceiling_slots

        concurrency, cpus = key = ceiling_slots(case.scenario.load), client_cpus(case.scenario)
        if key not in self.ceilings:
            self.ceilings[key] = engine_ceiling_per_s(self.rooms.engine, concurrency, cpus)
        return self.ceilings[key]

    def use_state(self) -> None:
        """Keep resets of this scenario away until the session is closed."""
        from runner.workflow.groups import state_of

        if not self.prepared:
            self._held.enter_context(state_of(self.loaded, self.options.home).in_use())

    def close(self) -> None:
        """Give back what was kept open between points."""
        self._held.close()
        if self.rooms.telemetry is not None:
            self.rooms.telemetry.close()

    def recorder(self, case: Case, serving: Serving, name: str) -> Recorder | None:
        """What samples the machine beside the load of a case."""
        from runner.measure.telemetry.collect import Surroundings
        from runner.scenario.case import launch_of
        from runner.scenario.schema import RemoteLaunch

        if self.rooms.telemetry is None:
            return None
        around = Surroundings(
            metrics=serving.server.endpoint.metrics,
            server_pids=serving.server.pids(),
            server_is_here=not isinstance(launch_of(case.scenario), RemoteLaunch),
            models=(serving.metadata.name, *serving.metadata.composing_models),
            identify=self.options.identify,
        )
        path = self.writer.directory.path / "telemetry" / f"{name}.csv"
        return self.rooms.telemetry.recorder(case.scenario.measure.telemetry, around, path)
