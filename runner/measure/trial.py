"""One trial: server counters, one continuous load, counters again; then everything it says about the case.

A point that could not be measured is a trial of state `failed` with its reason, not an exception: the matrix goes on,
and the caller asks the server itself whether it is still there. Ctrl-C and defects of the caller come through.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property

from runner.errors import LoadError, RunnerError, ServiceError, UsageError
from runner.load.engine import LoadResult, Slice
from runner.load.plan import LoadPlan
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
    slots_of,
)
from runner.measure.orders import Orders, Requests, Target
from runner.measure.peers import Readings, check_peers, growth, spread
from runner.measure.raw import Raw, write_raw
from runner.measure.series import Series, Window
from runner.measure.settings import MeasureSettings
from runner.measure.summary import Findings, encoded_histograms, summarise
from runner.measure.telemetry.collect import observe
from runner.measure.telemetry.sampler import Recorder
from runner.measure.transport import transport
from runner.measure.watch import Watch
from runner.measure.whole import closed_slices, whole_load
from runner.results.records import Counts, Trial
from runner.scenario.case import Case, client_cpus
from runner.scenario.schema import Scenario

SAFETY_S = 5.0
"""The engine's own limit lies so far behind the deadline of the stop rule."""
FIXED_COUNT_SLICE_NS = 20_000_000
"""A fixed number of requests may be over in half a second: shorter slices leave enough of them for intervals."""
SETTLE_S = 2.0
SETTLE_STEP_S = 0.02


def measure_case(case: Case, target: Target, requests: Requests, orders: Orders | None = None) -> Trial:
    """Measure one case."""
    import scipy.special  # noqa: F401  # before the load: importing it during the window would take the server's CPU

    orders = orders or Orders()
    settings = orders.resolved(case)
    blank = _blank(case, orders.labels)
    began = time.monotonic()
    try:
        check_peers(target.service, target.peers, case.scenario.workload.model)
        trial = _measured(case, blank, target, requests, orders, settings)
        if orders.stop.asked() and not settings.soak:
            trial = replace(trial, state="interrupted")
    except (ServiceError, LoadError, UsageError) as error:
        trial = replace(blank, failure=failure_text(error))
    return replace(trial, elapsed_s=time.monotonic() - began)


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
    case: Case, blank: Trial, target: Target, requests: Requests, orders: Orders, settings: MeasureSettings
) -> Trial:
    workload, load = case.scenario.workload, case.scenario.load
    extras = plan_extras(
        workload,
        load,
        target.service,
        requests.messages,
        orders.records,
        requests.references,
        streams=requests.drawing.data_streams,
    )
    plan = replace(requests.drawing.applied(load_plan(case, target, settings)), **extras)
    blank = replace(blank, labels={**blank.labels, **schedule_facts(load)})
    watch = Watch(
        settings,
        slots_of(load),
        blank.batch,
        target.server_check,
        orders.on_progress,
        orders.stop.asked,
        orders.rule(settings, load),
    )
    before, recorder = target.readings(), orders.telemetry or Recorder()
    with recorder as telemetry:
        with orders.stop.listening():
            result = watch.whole(target.engine.run(plan, requests.messages, watch))
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
    return _judged(recorded, _Ran(case.scenario, watch, result, recorder), orders, counted.restarted)


@dataclass(frozen=True)
class _Ran:
    """A load that came to its end, and what watched it."""

    scenario: Scenario
    watch: Watch
    result: LoadResult
    telemetry: Recorder

    @property
    def slots(self) -> int | None:
        """Requests in flight of a closed loop."""
        return None if is_open(self.scenario.load) else slots_of(self.scenario.load)

    @cached_property
    def slices(self) -> Sequence[Slice]:
        return closed_slices(self.result, self.watch.settings)

    @cached_property
    def window(self) -> Window:
        return self.watch.window(self.result)

    @property
    def is_empty(self) -> bool:
        """Whether nothing completed in the window."""
        start_ns, end_ns = self.window.start_ns, self.window.end_ns
        return not any(s.ok for s in self.slices if start_ns < s.end_ns <= end_ns)

    def findings(self, batch: int) -> Findings:
        """Every number of the window."""
        return summarise(
            self.slices,
            self.window,
            batch=batch,
            workers=self.result.workers,
            settings=self.watch.settings,
            steady=self.watch.warmup.steady,
            stop_reason=self.watch.reason,
            is_open=is_open(self.scenario.load),
            floor_ns=self.watch.warmup.floor_ns,
            slots=self.slots,
        )

    def evidence(self, recorded: Trial, findings: Findings) -> Evidence:
        """What the load and its case say."""
        load, watch = self.scenario.load, self.watch
        return Evidence(
            findings=findings,
            counts=counts_of(self.result),
            settings=watch.settings,
            batch=recorded.batch,
            steady=watch.warmup.steady,
            wanted_warmup=watch.warmup.wanted,
            apart=watch.apart,
            warmup_per_slot=watch.warmup.requests_per_slot,
            aborted=watch.aborted,
            server=recorded.server,
            cache_declared=any(flag.startswith("cache-config") for flag in self.scenario.server.flags),
            items=_items(self.result),
            asked_per_s=asked_per_s(load),
            is_open=is_open(load),
            stationary=not ends_by_itself(load),
            longest_ms=max(s.latency_max_ns for s in self.slices if s.end_ns > self.window.start_ns) / 1e6,
        )

    def raw(self, evidence: Evidence) -> Raw:
        """What the numbers are made from."""
        return Raw.of(
            self.slices,
            self.window,
            evidence,
            workers=self.result.workers,
            slots=self.slots,
            floor_ns=self.watch.warmup.floor_ns,
            stop_reason=self.watch.reason,
        )


def _judged(recorded: Trial, ran: _Ran, orders: Orders, restarted: tuple[str, ...]) -> Trial:
    """Numbers and flags of a load that ran; failed when nothing completed in its window."""
    if ran.is_empty:
        return replace(recorded, failure=_nothing_measured(counts_of(ran.result), ran.result))
    watch, settings = ran.watch, ran.watch.settings
    findings = ran.findings(recorded.batch)
    observed = observe(ran.telemetry, ran.window, settings.profile)
    evidence = replace(
        ran.evidence(recorded, findings),
        restarted=restarted,
        ceiling_per_s=orders.ceiling_per_s,
        extra=observed.flags,
    )
    flags = judge(evidence)
    counted = Series.of(ran.slices).within(ran.window)
    trial = replace(
        recorded,
        state=state_of(flags),
        summary=findings.summary,
        flags=flags,
        histograms=encoded_histograms(findings),
        telemetry=observed.series,
        telemetry_absent=observed.absent,
        probe=orders.probed(settings, counted, ran.scenario.load, watch.warmup.steady),
        slo=watch.slo.outcome() if watch.slo is not None else None,
    )
    return trial if orders.raw is None else replace(trial, raw=write_raw(orders.raw, trial, ran.raw(evidence)))


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
