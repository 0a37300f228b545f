"""Whole trials in virtual time: simulated queues through warm-up, looks, summary and judgement. Rows 15 and 17."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from runner.load.engine import Slice
from runner.measure.judge import Evidence, judge
from runner.measure.selftest.bench import Bench, Check
from runner.measure.selftest.simulate import (
    Numbers,
    Requests,
    ar1,
    open_loop,
    open_loops,
    ordered,
    single_server,
    slices,
    until,
)
from runner.measure.selftest.theory import Exact, md1, mmc
from runner.measure.series import Series, Window
from runner.measure.settings import EXPLORE, MeasureSettings
from runner.measure.stopping import decide, first_look_ns
from runner.measure.summary import Findings, summarise
from runner.results.records import Counts, Estimate, Flag

VIRTUAL_SLICE_NS = 200_000_000
"""Coarser than the engine's, so that hundreds of trials take seconds."""
UNSTEADY = frozenset({"trend", "step", "unsteady"})


@dataclass(frozen=True)
class Simulated:
    """What a load did, before anything is measured of it."""

    requests: Requests
    slots: int = 1
    asked_per_s: float | None = None
    """Of an open loop."""
    change: Callable[[Slice], Slice] = lambda slice_: slice_
    """What else the slices of this client show: a stall, a busy thread."""


Make = Callable[[np.random.Generator, float], Simulated]
"""A system, drawn anew: random numbers, and for how many seconds it must last."""


def closed(
    slots: int, mean_s: float, sd: float, phi: float = 0.0, warp: Callable[[Numbers], Numbers] = np.ones_like
) -> Make:
    """One server in a closed loop; `warp` gives factors of the service times from when they would begin."""

    def make(rng: np.random.Generator, seconds: float) -> Simulated:
        service = mean_s * ar1(rng, int(1.3 * seconds / mean_s) + 100, phi, sd)
        return Simulated(single_server(service * warp(np.cumsum(service)), slots), slots)

    return make


def drifting(per_s: float) -> Callable[[Numbers], Numbers]:
    """Service that grows by this share every second."""
    return lambda at_s: 1 + per_s * at_s


def slower_from(at_s: float, throughput_loss: float) -> Callable[[Numbers], Numbers]:
    """Service whose throughput drops once."""
    return lambda time_s: np.where(time_s < at_s, 1.0, 1 / (1 - throughput_loss))


def opened(load: float, rate: float, exponential: bool) -> Make:
    """M/D/1 or M/M/1 at this load."""

    def make(rng: np.random.Generator, seconds: float) -> Simulated:
        count = int(1.2 * seconds * rate) + 300
        arrivals, mean_s = np.cumsum(rng.exponential(1 / rate, count)), load / rate
        service = rng.exponential(mean_s, count) if exponential else np.full(count, mean_s)
        return Simulated(open_loop(arrivals, service), 1, rate)

    return make


def stopped(make: Make, at_s: float, for_s: float) -> Make:
    """The client is stopped for a while: what was answered meanwhile is seen when it goes on."""

    def again(rng: np.random.Generator, seconds: float) -> Simulated:
        plain = make(rng, seconds)
        begin, end = int(at_s * 1e9), int((at_s + for_s) * 1e9)
        done = np.where((plain.requests.done >= begin) & (plain.requests.done < end), end, plain.requests.done)

        def stalled(slice_: Slice) -> Slice:
            return replace(slice_, stall_max_ns=end - begin) if slice_.start_ns <= end < slice_.end_ns else slice_

        return replace(plain, requests=ordered(plain.requests.sent, done), change=stalled)

    return again


def busy(make: Make, share: float) -> Make:
    """The client's thread is busy for this share of the time."""

    def again(rng: np.random.Generator, seconds: float) -> Simulated:
        def working(slice_: Slice) -> Slice:
            return replace(slice_, cpu_ns=int(share * (slice_.end_ns - slice_.start_ns)))

        return replace(make(rng, seconds), change=working)

    return again


def run_trial(
    system: Simulated, settings: MeasureSettings = EXPLORE, ceiling_per_s: float | None = None
) -> tuple[Findings, tuple[Flag, ...]]:
    """As `measure_case` does it, without a server's counters."""
    cut = [
        system.change(s)
        for s in slices(until(system.requests, settings.deadline_s), settings.deadline_s, VIRTUAL_SLICE_NS)
    ]
    ends, look = [s.end_ns for s in cut], first_look_ns(settings)
    while True:
        position = min(int(np.searchsorted(ends, look)), len(ends) - 1)
        decision = decide(Series.of(cut[: position + 1]), settings, system.slots)
        if decision.stop:
            break
        look = decision.next_look_ns
    is_open = system.asked_per_s is not None
    findings = summarise(
        cut,
        decision.window,
        batch=1,
        workers=1,
        settings=settings,
        steady=decision.warmup.steady,
        stop_reason=str(decision.reason),
        is_open=is_open,
        floor_ns=decision.warmup.floor_ns,
    )
    sent = sum(s.sent for s in cut)
    evidence = Evidence(
        findings=findings,
        counts=Counts(sent, sent, {}, 0, 0),
        settings=settings,
        batch=1,
        steady=decision.warmup.steady,
        warmup_per_slot=decision.warmup.requests_per_slot,
        ceiling_per_s=ceiling_per_s,
        asked_per_s=system.asked_per_s,
        is_open=is_open,
    )
    return findings, judge(evidence)


@dataclass(frozen=True)
class Rates:
    """Shares of trials."""

    invalid: float
    unsteady: float
    """Flagged as trend, step or unsteady."""
    by_code: Mapping[str, float]
    window_s: float
    """Mean length of the windows."""


def flag_rates(
    make: Make, seeds: int = 200, settings: MeasureSettings = EXPLORE, ceiling_per_s: float | None = None
) -> Rates:
    """How often what is flagged."""
    codes: Counter[str] = Counter()
    invalid = unsteady = 0
    windows = []
    for seed in range(seeds):
        system = make(np.random.default_rng(seed), settings.deadline_s + 1)
        findings, flags = run_trial(system, settings, ceiling_per_s)
        found = {flag.code for flag in flags}
        codes.update(found)
        invalid += any(flag.consequence == "invalidates" for flag in flags)
        unsteady += bool(found & UNSTEADY)
        windows.append(findings.summary.window_s)
    shares = {code: n / seeds for code, n in codes.items()}
    return Rates(invalid / seeds, unsteady / seeds, shares, float(np.mean(windows)))


# --- coverage -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Queueing:
    """An open queue with a closed form; service takes 10 ms on average."""

    name: str
    exact: Exact
    load: float
    servers: int = 1
    exponential: bool = True
    requests: int = 20_000

    @property
    def rate(self) -> float:
        return self.load * self.servers / SERVICE_S


SERVICE_S = 0.01
QUEUES = (
    Queueing("M/D/1 at 0.5", md1(0.5), 0.5, exponential=False),
    Queueing("M/D/1 at 0.8", md1(0.8), 0.8, exponential=False, requests=40_000),
    Queueing("M/M/1 at 0.5", mmc(0.5, 1), 0.5),
    Queueing("M/M/1 at 0.8", mmc(0.8, 1), 0.8, requests=40_000),
    Queueing("M/M/2 at 0.5", mmc(0.5, 2), 0.5, servers=2),
    Queueing("M/M/2 at 0.8", mmc(0.8, 2), 0.8, servers=2, requests=40_000),
)
SEEDS = 200
BARS = {"throughput": (0.9, 0.98), "mean": (0.9, 0.98), "p50": (0.9, 0.98), "p95": (0.9, 0.98), "p99": (0.85, 1.0)}
"""What the coverage of a nominal 95 % may be."""
COVERAGE_SLICES = 60
"""Coarse, so that a trial is summarised in milliseconds; fine enough for 30 batches."""
_WARM_SLICES = 5


def drawn(queue: Queueing, seeds: int) -> Iterator[Requests]:
    """One run for each seed."""
    count = int(1.2 * queue.requests)
    draws = [np.random.default_rng(seed) for seed in range(seeds)]
    arrivals = np.stack([np.cumsum(rng.exponential(1 / queue.rate, count)) for rng in draws])
    scale = (
        (lambda rng: rng.exponential(SERVICE_S, count)) if queue.exponential else (lambda _: np.full(count, SERVICE_S))
    )
    service = np.stack([scale(rng) for rng in draws])
    if queue.servers > 1:
        yield from open_loops(arrivals, service, queue.servers)
        return
    for row in range(seeds):
        yield open_loop(arrivals[row], service[row])


def coverage(queue: Queueing, seeds: int = 200) -> dict[str, float]:
    """Share of runs whose 95 % interval holds the true value, to the resolution of a histogram."""
    truth = {"throughput": queue.rate} | {w: queue.exact.of(w) * SERVICE_S * 1e3 for w in ("mean", "p50", "p95", "p99")}
    if queue.exact.p50 == 1:
        # Half of the requests do not wait and take exactly 1 D: every interval holds this median.
        del truth["p50"]
    hits = dict.fromkeys(truth, 0)
    for requests in drawn(queue, seeds):
        estimates = _estimates(requests, queue)
        for what, value in truth.items():
            low, high = estimates[what].low, estimates[what].high
            hits[what] += (low is None or low <= value * 1.001) and (high is None or value <= high * 1.001)
    return {what: n / seeds for what, n in hits.items()}


def _estimates(requests: Requests, queue: Queueing) -> dict[str, Estimate]:
    slice_ns = int(queue.requests / queue.rate / COVERAGE_SLICES * 1e9)
    cut = slices(requests, slice_ns * (COVERAGE_SLICES + _WARM_SLICES + 0.5) / 1e9, slice_ns)
    window = Window(_WARM_SLICES * slice_ns, cut[-1].end_ns)
    found = summarise(cut, window, batch=1, workers=1, settings=EXPLORE, is_open=True).summary
    percentiles = {f"p{p.q:g}": p.estimate for p in found.percentiles}
    return {"throughput": found.requests_per_s, "mean": found.latency_mean_ms, **percentiles}


def coverage_row(bench: Bench) -> Sequence[Check]:
    """Row 17; the seeds are fixed, so that a figure changes only with the code."""
    return [
        Check(
            f"{what}, {queue.name}",
            f"{low:.0%} to {high:.0%}",
            f"{share:.1%}",
            f"{SEEDS} seeds",
            low <= share <= high,
        )
        for queue in QUEUES
        for what, share in coverage(queue).items()
        for low, high in [BARS[what]]
    ]
