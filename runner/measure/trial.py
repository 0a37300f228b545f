"""One trial: server counters, one continuous load, counters again; then everything it says about the case.

A point that could not be measured is a trial of state `failed` with its reason, not an exception: the matrix goes on,
and the caller asks the server itself whether it is still there. Ctrl-C and defects of the caller come through.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from runner.errors import LoadError, RunnerError, ServiceError, UsageError
from runner.load.engine import Engine, LoadResult
from runner.load.plan import Drawing, LoadPlan
from runner.load.references import References
from runner.measure import windows
from runner.measure.extras import plan_extras
from runner.measure.judge import Evidence, judge, state_of
from runner.measure.loads import (
    asked_per_s,
    ends_by_itself,
    is_open,
    schedule_facts,
    schedule_of,
    seed_of,
    settings_for,
    slots_of,
)
from runner.measure.peers import Peer, Readings, check_peers, growth, readings, spread
from runner.measure.raw import Raw, write_raw
from runner.measure.series import Series
from runner.measure.settings import MeasureSettings, resolve
from runner.measure.summary import Findings, encoded_histograms, summarise
from runner.measure.tally import Judge, decide_by_verdict, tally
from runner.measure.telemetry.collect import observe
from runner.measure.telemetry.sampler import Recorder
from runner.measure.transport import transport
from runner.measure.watch import OnProgress, Rule, Watch
from runner.measure.whole import closed_slices, whole_load
from runner.results.capacity import Probe
from runner.results.records import Counts, ModelStatistics, Trial
from runner.runtimes.interrupts import Stop
from runner.scenario.case import Case, client_cpus
from runner.scenario.schema import Load
from runner.services.base import Endpoint, Service
from runner.services.pipeline import Pipeline

SAFETY_S = 5.0
"""The engine's own limit lies so far behind the deadline of the stop rule."""
FIXED_COUNT_SLICE_NS = 20_000_000
"""A fixed number of requests may be over in half a second: shorter slices leave enough of them for intervals."""
SETTLE_S = 2.0
SETTLE_STEP_S = 0.02


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a trial is run against."""

    engine: Engine
    endpoint: Endpoint
    service: Service
    pipeline: Pipeline
    """Whose counters are read."""
    server_check: Callable[[], None]
    """Raises `ServiceError` when the server is gone."""
    peers: Sequence[Peer] = ()
    """Further servers that share the load."""

    @property
    def services(self) -> tuple[Service, ...]:
        """Of every server, the launched one first."""
        return (self.service, *(peer.service for peer in self.peers))

    def readings(self) -> Readings:
        """Counters of every model of the pipeline on every server, those called by its code last."""
        return readings(self.services, (*self.pipeline.models, *self.pipeline.bls))

    def served(self, growth: Sequence[ModelStatistics]) -> dict[str, Any]:
        """What all servers together say of the pipeline, as fields of a trial; each has the same instances."""
        count, servers = len(self.pipeline.models), len(self.services)
        facts = (replace(each, instances=each.instances and each.instances * servers) for each in self.pipeline.facts)
        return {"server": tuple(growth[:count]), "bls": tuple(growth[count:]), "facts": tuple(facts)}


def measure_case(
    case: Case,
    *,
    engine: Engine,
    payloads: Sequence[bytes],
    endpoint: Endpoint,
    service: Service,
    pipeline: Pipeline,
    drawing: Drawing = Drawing(),  # noqa: B008  # frozen
    labels: Mapping[str, str] | None = None,
    server_check: Callable[[], None] = lambda: None,
    settings: MeasureSettings | None = None,
    on_progress: OnProgress | None = None,
    ceiling_per_s: float | None = None,
    records: Path | None = None,
    raw: Path | None = None,
    telemetry: Recorder | None = None,
    references: References = References(),  # noqa: B008  # frozen
    stop: Stop | None = None,
    peers: Sequence[Peer] = (),
    verdict: Judge | None = None,
) -> Trial:
    """Measure one case; `settings` are the scenario's own unless given.

    What the numbers are made from is kept in the file `raw`. A probe of a search, which `settings.limit` makes of it,
    lasts until there is a `verdict`.
    """
    import scipy.special  # noqa: F401  # before the load: importing it during the window would take the server's CPU

    target = Target(
        engine=engine, endpoint=endpoint, service=service, pipeline=pipeline, server_check=server_check, peers=peers
    )
    settings = settings_for(settings or resolve(case.scenario.measure), case.scenario.load)
    blank = _blank(case, labels or {})
    began = time.monotonic()
    try:
        scenario = case.scenario
        check_peers(service, peers, scenario.workload.model)
        orders = _Orders(
            drawing=drawing,
            settings=settings,
            extras=plan_extras(
                scenario.workload, scenario.load, service, payloads, records, references, streams=drawing.data_streams
            ),
            on_progress=on_progress,
            stop=stop or Stop(),
            ceiling_per_s=ceiling_per_s,
            raw=raw,
            telemetry=telemetry or Recorder(),
            verdict=verdict,
        )
        trial = _measured(case, blank, target, payloads, orders)
        if orders.stop.asked() and not settings.soak:
            trial = replace(trial, state="interrupted")
    except (ServiceError, LoadError, UsageError) as error:
        trial = replace(blank, failure=failure_text(error))
    return replace(trial, elapsed_s=time.monotonic() - began)


@dataclass(frozen=True)
class _Orders:
    """How the load is to go and what is kept of it, beside what the case says."""

    drawing: Drawing
    settings: MeasureSettings
    extras: Mapping[str, Any]
    on_progress: OnProgress | None
    stop: Stop
    ceiling_per_s: float | None
    raw: Path | None
    """Where the closed slices go."""
    telemetry: Recorder
    verdict: Judge | None

    def rule(self, load: Load) -> Rule | None:
        """What ends a probe, unless three windows do."""
        if self.verdict is None or self.settings.windows is not None:
            return None
        return partial(decide_by_verdict, judge=self.verdict, asked_per_s=asked_per_s(load))

    def probed(self, window: Series, load: Load, steady: bool) -> Probe | None:
        """The verdict on what the window counted, if somebody asked for one."""
        limit = self.settings.limit
        return self.verdict(tally(window, limit, asked_per_s(load), steady)) if limit and self.verdict else None


def failed_trial(case: Case, error: RunnerError, labels: Mapping[str, str] | None = None) -> Trial:
    """The trial of a case that never got as far as a load."""
    return replace(_blank(case, labels or {}), failure=failure_text(error))


def _blank(case: Case, labels: Mapping[str, str]) -> Trial:
    scenario = case.scenario
    return Trial(
        case_id=case.id,
        parameters=dict(case.parameters),
        model=scenario.workload.model,
        protocol=scenario.workload.protocol,
        batch=scenario.workload.batch,
        load=scenario.load.model_dump(mode="json", exclude_none=True),
        state="failed",
        started_utc=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        elapsed_s=0.0,
        labels=dict(labels),
    )


def _measured(
    case: Case,
    blank: Trial,
    target: Target,
    payloads: Sequence[bytes],
    orders: _Orders,
) -> Trial:
    settings = orders.settings
    plan = replace(orders.drawing.applied(load_plan(case, target, settings)), **orders.extras)
    blank = replace(blank, labels={**blank.labels, **schedule_facts(case.scenario.load)})
    watch = Watch(
        settings,
        slots_of(case.scenario.load),
        blank.batch,
        target.server_check,
        orders.on_progress,
        orders.stop.asked,
        orders.rule(case.scenario.load),
    )
    before = target.readings()
    with orders.telemetry as telemetry:
        with orders.stop.listening():
            result = watch.whole(target.engine.run(plan, payloads, watch))
        telemetry.align(result.started_unix_ns)
        recorded = replace(blank, counts=counts_of(result), errors=dict(result.examples))
        try:
            if watch.death is not None:
                raise watch.death
            # A dead server explains failed requests better than their own messages do.
            target.server_check()
            counted = growth(before, _settled_statistics(target, before, result.ok))
        except ServiceError as error:
            return replace(recorded, failure=failure_text(error))
    recorded = replace(recorded, **target.served(counted.models), whole=whole_load(result))
    return _judged(recorded, watch, result, case, orders, counted.restarted)


def _judged(
    recorded: Trial,
    watch: Watch,
    result: LoadResult,
    case: Case,
    orders: _Orders,
    restarted: tuple[str, ...],
) -> Trial:
    """Numbers and flags of a load that ran; failed when nothing completed in its window."""
    counts, load, settings = counts_of(result), case.scenario.load, orders.settings
    slots = None if is_open(load) else slots_of(load)
    window = watch.window(result)
    slices = closed_slices(result, settings)
    if not any(s.ok for s in slices if window.start_ns < s.end_ns <= window.end_ns):
        return replace(recorded, failure=_nothing_measured(counts, result))
    findings = summarise(
        slices,
        window,
        batch=recorded.batch,
        workers=result.workers,
        settings=settings,
        steady=watch.warmup.steady,
        stop_reason=watch.reason,
        is_open=is_open(load),
        floor_ns=watch.warmup.floor_ns,
        slots=slots,
    )
    observed = observe(orders.telemetry, window, settings.profile)
    evidence = replace(
        _evidence(recorded, watch, result, case, findings),
        restarted=restarted,
        ceiling_per_s=orders.ceiling_per_s,
        longest_ms=max(s.latency_max_ns for s in slices if s.end_ns > window.start_ns) / 1e6,
        extra=observed.flags,
    )
    flags = judge(evidence)
    trial = replace(
        recorded,
        state=state_of(flags),
        summary=findings.summary,
        flags=flags,
        histograms=encoded_histograms(findings),
        telemetry=observed.series,
        telemetry_absent=observed.absent,
        probe=orders.probed(Series.of(slices).within(window), load, watch.warmup.steady),
        slo=watch.slo.outcome() if watch.slo is not None else None,
    )
    if orders.raw is None:
        return trial
    how = {"workers": result.workers, "slots": slots, "floor_ns": watch.warmup.floor_ns, "stop_reason": watch.reason}
    return replace(trial, raw=write_raw(orders.raw, trial, Raw.of(slices, window, evidence, **how)))


def _evidence(recorded: Trial, watch: Watch, result: LoadResult, case: Case, findings: Findings) -> Evidence:
    """What the load and its case say."""
    load = case.scenario.load
    return Evidence(
        findings=findings,
        counts=counts_of(result),
        settings=watch.settings,
        batch=recorded.batch,
        steady=watch.warmup.steady,
        wanted_warmup=watch.warmup.wanted,
        apart=watch.apart,
        warmup_per_slot=watch.warmup.requests_per_slot,
        aborted=watch.aborted,
        server=recorded.server,
        cache_declared=any(flag.startswith("cache-config") for flag in case.scenario.server.flags),
        items=_items(result),
        asked_per_s=asked_per_s(load),
        is_open=is_open(load),
        stationary=not ends_by_itself(load),
    )


def _items(result: LoadResult) -> int | None:
    """What all successes count for, where the engine was told."""
    return sum(s.items for s in result.slices) or None


def load_plan(case: Case, target: Target, settings: MeasureSettings) -> LoadPlan:
    """The engine's orders for one case."""
    deadline_s = settings.deadline_s + (0.0 if settings.measures_all else SAFETY_S)
    workload = case.scenario.workload
    reach = target.service.stream_route if workload.streaming else target.service.route
    route = reach(workload.model, target.endpoint)
    return LoadPlan(
        transport=transport(
            route,
            streaming=workload.streaming,
            client=case.scenario.load,
            weight=workload.weight,
            others=spread(target.peers),
        ),
        schedule=schedule_of(case.scenario.load),
        seed=seed_of(case.scenario.load, settings),
        max_requests=None if settings.requests is None else settings.requests + settings.warmup_requests,
        max_duration_ns=int(deadline_s * 1e9),
        slice_ns=_slice_ns(settings),
        request_timeout_ns=int(case.scenario.workload.timeout * 1e9),
        drain_timeout_ns=int(settings.drain_s * 1e9),
        workers=case.scenario.load.workers or 0,
        pin_cpus=client_cpus(case.scenario),
    )


def _slice_ns(settings: MeasureSettings) -> int:
    if settings.measures_all:
        return FIXED_COUNT_SLICE_NS
    return LoadPlan.slice_ns if settings.windows is None else windows.slice_ns(settings.windows)


def counts_of(result: LoadResult) -> Counts:
    """Totals of the whole load, as the server must have counted them."""
    closing = sum(s.extra.closing for s in result.slices)
    return Counts(result.sent, result.ok, dict(result.failed), result.dropped, result.unfinished, closing)


def _settled_statistics(target: Target, before: Readings, ok: int) -> Readings:
    """Counters once they stand still: a server may count a request shortly after it has answered it."""
    deadline = time.monotonic() + SETTLE_S
    previous = target.readings()
    while True:
        time.sleep(SETTLE_STEP_S)
        latest = target.readings()
        models = growth(before, latest).models
        counted = models[0].success_count if models else ok
        if (latest == previous and counted >= ok) or time.monotonic() > deadline:
            return latest
        previous = latest


def _nothing_measured(counts: Counts, result: LoadResult) -> str:
    failed = sum(counts.failed.values())
    if not failed:
        return (
            f"no request was answered within {result.stopped_ns / 1e9:.3g} s ({counts.sent} sent, {counts.unfinished} "
            "still waiting): expected answers in the measured window; if the model is this slow raise "
            "measure.window.max, or with windows measure.stability.interval (-p), else see the server's log"
        )
    codes = ", ".join(f"{code} {count}" for code, count in sorted(counts.failed.items()))
    first = next(iter(result.examples.values()), "no message")
    return (
        f"no request succeeded in the measured window: {failed} of {counts.sent} failed ({codes}), first message: "
        f"{first}; check the workload's input against the model, and see the server's log"
    )


def failure_text(error: RunnerError) -> str:
    """Message, remedy and, for a server, its last log lines."""
    text = error.message if error.hint is None else f"{error.message}; {error.hint}"
    tail = error.log_tail if isinstance(error, ServiceError) else ()
    return "\n".join([text, *(f"  {line}" for line in tail)])
