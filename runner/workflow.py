"""The conductor: a scenario becomes cases, setup makes artifacts, a runtime serves, measure judges, results keep.

The only module that sees every room. Rooms with heavy imports are entered only when they are needed.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from runner.errors import EXIT_OK, LoadError, PointsError, RunnerError, ServiceError
from runner.scenario.matrix import expand
from runner.setup.state import StateDirectory

if TYPE_CHECKING:
    from runner.load.engine import Engine
    from runner.load.payloads import Payloads
    from runner.measure.watch import TrialProgress
    from runner.results.directory import RunDirectory, RunWriter
    from runner.results.records import Trial
    from runner.results.run import Run
    from runner.runtimes.base import RunningServer, Runtime, ServerSpec
    from runner.scenario.case import Case
    from runner.scenario.loading import LoadedScenario
    from runner.scenario.schema import Scenario, Workload
    from runner.services.base import Endpoint, ModelMetadata, Service
    from runner.services.tls import Tls
    from runner.setup.base import Prepared, Progress, StepReport
    from runner.setup.reset import Removal

MAX_SERVER_DEATHS = 3
"""Give up on a server that died in so many points one after the other: the rest would die too."""


# --- what callers give and get ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run, apart from what."""

    output_dir: Path = Path("runs")
    home: Path | None = None
    """Where state and downloads live; None: $SCENARIO_HOME, else the XDG state directory."""
    resume: bool = False
    identify: bool = False
    offline: bool = False
    trust_first_use: bool = False


class Observer(Protocol):
    """Is told what happens; shows it, or does not."""

    def on_run(self, directory: Path, points: int, done: int) -> None: ...
    def on_setup(self, progress: Progress) -> None: ...
    def on_step(self, report: StepReport) -> None: ...
    def on_server(self, message: str) -> None: ...
    def on_case(self, case: Case) -> None: ...
    def on_progress(self, progress: TrialProgress) -> None: ...
    def on_trial(self, trial: Trial) -> None: ...


class Silent:
    """An observer that shows nothing."""

    def on_run(self, directory: Path, points: int, done: int) -> None: ...
    def on_setup(self, progress: Progress) -> None: ...
    def on_step(self, report: StepReport) -> None: ...
    def on_server(self, message: str) -> None: ...
    def on_case(self, case: Case) -> None: ...
    def on_progress(self, progress: TrialProgress) -> None: ...
    def on_trial(self, trial: Trial) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """What a run left behind."""

    directory: Path
    run: Run

    @property
    def problems(self) -> tuple[str, ...]:
        """One line for each point that has no usable number, skipped ones aside."""
        points = (point for point in self.run.points() if point.state not in ("ok", "skipped"))
        return tuple(f"{point.case.case_id} is {point.state}: {point.reason}" for point in points)

    @property
    def exit_code(self) -> int:
        """0 when every point is usable, else that of PointsError."""
        return PointsError.exit_code if self.problems else EXIT_OK


@dataclass(frozen=True)
class Plan:
    """What a run would do."""

    target: str | None
    state: Path
    setup: tuple[StepReport, ...]
    cases: tuple[Case, ...]
    longest_s: float
    """All points at their time cap."""
    free_bytes: int

    @property
    def points(self) -> int:
        """Points that would be measured."""
        return sum(case.skipped is None for case in self.cases)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "target": self.target,
            "state": str(self.state),
            "setup": [{"name": s.name, "kind": s.kind, "action": s.action, "reason": s.reason} for s in self.setup],
            "points": [{"id": c.id, "parameters": c.parameters, "skipped": c.skipped} for c in self.cases],
            "longest_s": self.longest_s,
            "free_bytes": self.free_bytes,
        }


@dataclass(frozen=True)
class Rooms:
    """What a run is made of; tests put fakes here."""

    runtime: Runtime
    engine: Engine
    connect: Callable[[Endpoint, Workload], Service]


def default_rooms(loaded: LoadedScenario) -> Rooms:
    """The real runtime of the chosen target and the native engine."""
    from runner.load.native import NativeEngine
    from runner.runtimes.embedded import EmbeddedRuntime
    from runner.services import connect

    return Rooms(EmbeddedRuntime(), NativeEngine(), connect)


_CLIENT = {"service", "protocol", "tensors", "headers", "tls", "compression"}
"""Fields of the workload that a client of the service depends on."""


# --- the verbs ----------------------------------------------------------------------------------------------------


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
    directory = run_directory(loaded, options)
    with directory.writer() as writer:
        pending = begin(writer, loaded, cases, options)
        observer.on_run(directory.path, _points(cases), _points(cases) - len(pending))
        with reports_whatever_happens(directory, loaded.scenario):
            measure_all(pending, Session(loaded, options, observer, rooms or default_rooms(loaded), writer))
        outcome = Outcome(directory.path, directory.load())
        writer.finish("partial" if outcome.problems else "complete")
    return Outcome(directory.path, directory.load())


def setup_scenario(loaded: LoadedScenario, options: RunOptions, observer: Observer) -> tuple[Prepared, ...]:
    """Make what every server configuration of the matrix needs; reuses what is current."""
    return tuple(prepare_group(group, loaded, options, observer) for group in server_groups(expand(loaded)))


def plan_scenario(loaded: LoadedScenario, options: RunOptions | None = None) -> Plan:
    """Say what a run would do; changes nothing."""
    from runner.measure.settings import longest_trial_s
    from runner.setup.prepare import plan_setup

    options = options or RunOptions()
    cases, state = expand(loaded), state_of(loaded, options.home)
    reports = [
        report
        for group in server_groups(cases)
        for report in plan_setup(group[0].scenario, state, max_batch_needed=_largest_batch(group))
    ]
    longest = sum(longest_trial_s(case.scenario.measure) for case in cases if case.skipped is None)
    return Plan(loaded.target, state.path, tuple(dict.fromkeys(reports)), cases, longest, _free_bytes(state.home))


def reset_scenario(
    loaded: LoadedScenario, *, keep: Collection[str] = (), dry_run: bool = False, home: Path | None = None
) -> tuple[Removal, ...]:
    """Undo what the ledger says setup made, and remove what dead runs left in memory."""
    from runner.runtimes.embedded import EmbeddedRuntime
    from runner.setup.reset import reset

    if not dry_run:
        EmbeddedRuntime().sweep()
        _sweep_shared_memory()
    return reset(state_of(loaded, home), keep=keep, dry_run=dry_run)


def state_of(loaded: LoadedScenario, home: Path | None = None) -> StateDirectory:
    """Where setup keeps what it makes for this scenario."""
    return StateDirectory.for_scenario(loaded.scenario.name, loaded.source, home)


def checked_cases(loaded: LoadedScenario) -> tuple[Case, ...]:
    """The points, with the settings that only measuring would find wrong refused before anything is started."""
    from runner.measure.loads import schedule_of
    from runner.measure.settings import resolve

    cases = expand(loaded)
    for case in cases:
        resolve(case.scenario.measure)
        schedule_of(case.scenario.load)
    return cases


# --- a run, piece by piece ----------------------------------------------------------------------------------------


def run_directory(loaded: LoadedScenario, options: RunOptions) -> RunDirectory:
    """A new run directory, or with `resume` the newest unfinished one of this very scenario."""
    from runner.results.directory import RunDirectory, digest_of, latest_resumable, why_nothing_to_resume
    from runner.results.secrets import without_secrets

    resolved = loaded.dump()
    digest, name = digest_of(resolved), loaded.scenario.name
    resolved = without_secrets(resolved)
    if not options.resume:
        return RunDirectory.create(options.output_dir, name, digest, datetime.now(UTC), loaded.source)
    found = latest_resumable(options.output_dir, digest)
    if found is None:
        raise why_nothing_to_resume(options.output_dir, name, digest, resolved)
    return found


def begin(writer: RunWriter, loaded: LoadedScenario, cases: Sequence[Case], options: RunOptions) -> tuple[Case, ...]:
    """Write down what is run and where; returns the cases that are still to be measured, in matrix order."""
    from runner.results.directory import digest_of
    from runner.results.environment import fingerprint
    from runner.results.secrets import without_secrets

    resolved, environment = loaded.dump(), fingerprint(identify=options.identify)
    digest, resolved = digest_of(resolved), without_secrets(resolved)
    done: Collection[str] = ()
    if options.resume:
        done = writer.resume(digest, resolved, environment).finished_case_ids()
    else:
        writer.write_resolved(resolved)
        writer.begin(cases)
        writer.update(
            command=tuple(sys.argv),
            target=loaded.target,
            environment=environment,
            seeds={"measure": loaded.scenario.measure.seed},
        )
    return tuple(case for case in cases if case.skipped is None and case.id not in done)


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
    _ceilings: dict[int, float] = field(default_factory=dict)

    def ceiling_per_s(self, concurrency: int) -> float:
        """What the engine alone could send on this machine, measured once for each concurrency."""
        from runner.measure.ceiling import engine_ceiling_per_s

        if concurrency not in self._ceilings:
            self._ceilings[concurrency] = engine_ceiling_per_s(self.rooms.engine, concurrency)
        return self._ceilings[concurrency]


def measure_all(pending: Sequence[Case], session: Session) -> None:
    """Measure the cases; a server is restarted only when its configuration changes, or when it died."""
    if pending:
        session.rooms.runtime.sweep()
        _sweep_shared_memory()
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
            )
    except (LoadError, ServiceError) as error:
        # One point that cannot be measured must not take the others along; the caller sees whether the server lives.
        return failed_trial(case, error)


def records_path(case: Case, session: Session) -> Path | None:
    """Where the records of single requests go, if the scenario asks for them."""
    if case.scenario.measure.records == "none":
        return None
    return session.writer.directory.path / "records" / f"{case.id}.bin"


@dataclass
class Serving:
    """A running server and what is known of the model behind it."""

    server: RunningServer
    prepared: Prepared
    metadata: ModelMetadata
    connect: Callable[[Endpoint, Workload], Service]
    _pools: dict[str, Payloads] = field(default_factory=dict)
    _services: dict[str, Service] = field(default_factory=dict)

    def service_for(self, workload: Workload) -> Service:
        """A client that talks as this workload does; an axis may change the protocol from point to point."""
        key = workload.model_dump_json(include=_CLIENT)
        if key not in self._services:
            self._services[key] = self.connect(self.server.endpoint, workload)
        return self._services[key]

    @contextmanager
    def payloads(self, case: Case, run_id: str) -> Iterator[Payloads]:
        """The encoded requests of a point; memory that they share with the server exists until the context ends."""
        workload = case.scenario.workload
        if workload.shared_memory == "none":
            yield self._encoded(workload)
            return
        from runner.load.inputs import build_items
        from runner.load.shared_memory import shared_payloads
        from runner.measure.loads import most_in_flight

        items = build_items(workload.input, self.metadata, self._artifacts(), data=workload.data)
        with shared_payloads(
            self.service_for(workload),
            self.metadata,
            items,
            workload.batch,
            kind=workload.shared_memory,
            slots=most_in_flight(case.scenario.load),
            run_id=run_id,
            device=workload.shared_memory_device,
            output_bytes=workload.output_bytes,
        ) as shared:
            yield shared.payloads

    def _encoded(self, workload: Workload) -> Payloads:
        """Made once for all points that send the same."""
        from runner.load.mix import workload_payloads
        from runner.load.payloads import StreamEncoder

        parts = {"model", "batch", "input", "data", "mix", "order", "streaming", *_CLIENT}
        key = workload.model_dump_json(include=parts)
        if key not in self._pools:
            service = self.service_for(workload)
            encoder = StreamEncoder(service) if workload.streaming else service
            # Only the last pool is kept: points of one batch size follow each other, and pools are large.
            self._pools = {key: workload_payloads(encoder, self.metadata, workload, self._artifacts())}
        return self._pools[key]

    def _artifacts(self) -> dict[str, Path]:
        return {name: artifact.path for name, artifact in self.prepared.artifacts.items()}


@contextmanager
def served(scenario: Scenario, prepared: Prepared, session: Session) -> Iterator[Serving]:
    """A server with this configuration, up and asked for its metadata; stopped on leaving whatever happens."""
    session.servers_started += 1
    spec = server_spec(scenario, prepared, session)
    session.observer.on_server(f"starting, log in {spec.log}")
    with session.rooms.runtime.start(spec) as server:
        workload, connect = scenario.workload, session.rooms.connect
        first = connect(server.endpoint, workload)
        services = {workload.model_dump_json(include=_CLIENT): first}
        try:
            facts = server.facts()
            session.writer.update(server=facts)
            session.observer.on_server(f"is up: {', '.join(f'{k} {v}' for k, v in facts.items())}")
            yield Serving(server, prepared, first.metadata(workload.model), connect, _services=services)
        finally:
            for service in services.values():
                service.close()


def server_spec(scenario: Scenario, prepared: Prepared, session: Session) -> ServerSpec:
    """What the runtime is asked to start."""
    from runner.runtimes.base import ServerSpec

    directory = session.writer.directory
    return ServerSpec(
        repository=prepared.repository,
        load=scenario.server.load or (scenario.workload.model,),
        canary=scenario.workload.model,
        run_id=directory.name,
        log=directory.logs / f"server-{session.servers_started}.log",
        flags=scenario.server.flags,
        ready_timeout_s=scenario.server.ready.timeout,
        tls=_probe_tls(scenario),
    )


def _probe_tls(scenario: Scenario) -> Tls | None:
    """How readiness is asked for: over gRPC, encrypted where the server is told to be."""
    from runner.services.tls import load_tls

    settings, encrypted = scenario.workload.tls, scenario.server.flags.get("grpc-use-ssl")
    if str(encrypted).lower() in ("true", "1") or scenario.server.flags.get("grpc-use-ssl-mutual"):
        if settings is None:
            raise ServiceError(
                "server.flags.grpc-use-ssl is set, but workload.tls is not: nobody could talk to this server",
                hint="set workload.tls.ca to the certificate that signed the server's",
            )
        return load_tls(settings)
    return None


def prepare_group(group: Sequence[Case], loaded: LoadedScenario, options: RunOptions, observer: Observer) -> Prepared:
    """Setup for one server configuration."""
    from runner.setup.prepare import prepare

    prepared = prepare(
        group[0].scenario,
        state_of(loaded, options.home),
        max_batch_needed=_largest_batch(group),
        offline=options.offline,
        trust_first_use=options.trust_first_use,
        on_progress=observer.on_setup,
    )
    for report in prepared.reports:
        observer.on_step(report)
    return prepared


def server_groups(cases: Sequence[Case]) -> list[tuple[Case, ...]]:
    """Cases that can share a server, in the order in which each configuration first appears; skipped ones left out."""
    measured = [case for case in cases if case.skipped is None]
    first = {case.server_key: index for index, case in reversed(list(enumerate(measured)))}
    ordered = sorted(measured, key=lambda case: first[case.server_key])
    return [tuple(group) for _, group in groupby(ordered, key=lambda case: case.server_key)]


@contextmanager
def reports_whatever_happens(directory: RunDirectory, scenario: Scenario) -> Iterator[None]:
    """Write the tables of everything measured so far; their own error never hides the one that ended us."""
    from runner.report import write_reports

    try:
        yield
    except BaseException:
        with suppress(RunnerError):
            write_reports(directory.path, scenario.report.formats)
        raise
    write_reports(directory.path, scenario.report.formats)


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


def _points(cases: Sequence[Case]) -> int:
    return sum(case.skipped is None for case in cases)


def _sweep_shared_memory() -> None:
    from runner.load.regions import sweep_regions

    sweep_regions()


def _largest_batch(group: Sequence[Case]) -> int:
    return max(largest_batch(case.scenario.workload) for case in group)


def largest_batch(workload: Workload) -> int:
    """Items of the workload's largest request."""
    return max((portion.batch or workload.batch for portion in workload.mix), default=workload.batch)


def _free_bytes(path: Path) -> int:
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    return shutil.disk_usage(existing).free
