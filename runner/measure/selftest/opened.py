"""Rows 4 to 6, 8, 11 and 12: open loops, whose arrivals are known and whose queues have closed forms."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runner.load.plan import Constant, LoadPlan, NullTransport, OpenLoop, Poisson
from runner.measure.selftest.bench import Bench, Check, exactly, near
from runner.measure.selftest.script import Script
from runner.measure.selftest.theory import Exact, md1, mmc, stall_mean_s, stall_quantile_s
from runner.results.records import Summary
from runner.results.request_records import read_records

D_S = 0.02
CONFIDENCE = "99.9%"
"""Of the intervals here: some thirty figures are checked, and at 95 % one or two would miss by chance."""
SLACK_MS = 0.5
"""Loopback and wake-ups on both sides, beside what the server says that it was late."""
SEED = 1
DIGEST = "3af7e94e70d0"
"""Of the first thousand send times with `SEED`."""
ARRIVALS_S = 0.2
BIN_S = 0.001
ARRIVAL_BINS = 199
ANDERSON_DARLING_1_PERCENT = 1.959


def queue_md1(bench: Bench) -> list[Check]:
    """Row 4."""
    loads = (0.5, 0.8) if bench.full else (0.5,)
    return [c for load in loads for c in _queue(bench, f"M/D/1 at {load:g}", Script(), load, md1(load))]


def queue_mm1(bench: Bench) -> list[Check]:
    """Row 5."""
    script = Script(service="exponential", seed=5)
    return [c for load in (0.5, 0.8) for c in _queue(bench, f"M/M/1 at {load:g}", script, load, mmc(load, 1))]


def queue_mmc(bench: Bench) -> list[Check]:
    """Row 6."""
    script = Script(service="exponential", seed=6)
    points = ((2, 0.5), (2, 0.8), (4, 0.8))
    return [
        check
        for c, load in points
        for check in _queue(bench, f"M/M/{c} at {load:g}", replace(script, servers=c), load, mmc(load, c))
    ]


def _queue(bench: Bench, name: str, script: Script, load: float, exact: Exact) -> list[Check]:
    rate = load * script.servers / D_S
    _, found, report = bench.measure(
        name,
        script,
        {"kind": "poisson", "rate": f"{rate}/s", "seed": 11},
        seconds=bench.seconds(8, 40),
        warmup_s=bench.seconds(2, 4),
        precision={"confidence": CONFIDENCE},
    )
    slack_ms = report["late_mean_ms"] + SLACK_MS
    # Of M/D/1 at 0.5 exactly half the requests never wait: the median is the end of that half, where a few more or
    # fewer of them decide, as in the coverage of row 17.
    whats = ("mean", "p95", "p99") if exact.p50 == 1 else ("mean", "p50", "p95", "p99")
    return [_inside(name, what, found, exact.of(what) * D_S * 1e3, slack_ms) for what in whats]


def _inside(name: str, what: str, found: Summary, expected_ms: float, slack_ms: float) -> Check:
    percentiles = {f"p{p.q:g}": p.estimate for p in found.percentiles}
    estimate = found.latency_mean_ms if what == "mean" else percentiles[what]
    low, high = estimate.low or 0.0, estimate.high
    ok = low <= expected_ms + slack_ms and (high is None or expected_ms <= high)
    bounds = f"{low:.1f} to {high:.1f}" if high is not None else f"at least {low:.1f}"
    return Check(
        f"{what}, {name}",
        f"{expected_ms:.1f} ms",
        f"{estimate.value:.1f} ms ({bounds})",
        f"own {CONFIDENCE} interval + {slack_ms:.1f} ms",
        ok,
    )


def stall(bench: Bench) -> list[Check]:
    """Row 8: requests come evenly, also while the server is frozen, and wait for its end."""
    every_s, stall_s = (10.0, 1.0) if bench.full else (4.0, 0.4)
    rate, periods = 103, 3 if bench.full else 2
    script = Script(mean_s=0.001, servers=0, stall_every_s=every_s, stall_s=stall_s)
    load = {"kind": "constant", "rate": f"{rate}/s"}
    _, found, report = bench.measure("stall, open loop", script, load, requests=int(rate * every_s * periods))
    service_ms = 1 + report["late_p50_ms"]
    values = {f"p{p.q:g}": p.estimate.value for p in found.percentiles}
    mean = stall_mean_s(stall_s, every_s) * 1e3
    checks = [near("mean", found.latency_mean_ms.value, mean + service_ms, 0.03, " ms")]
    for q in (95, 99):
        checks.append(near(f"p{q}", values[f"p{q}"], stall_quantile_s(q / 100, stall_s, every_s) * 1e3, 0.03, " ms"))
    return checks


# --- arrivals -----------------------------------------------------------------------------------------------------


def send_times(bench: Bench, load: OpenLoop, seed: int, seconds: float) -> npt.NDArray[np.uint64]:
    """When the requests of a load were due, from the engine's own records."""
    path = Path(bench.folder) / "arrivals"
    plan = LoadPlan(
        transport=NullTransport(),
        schedule=load,
        seed=seed,
        max_duration_ns=int(seconds * 1e9),
        workers=1,
        records=str(path),
    )
    bench.engine.run(plan, [b"\0"])
    return np.sort(np.array(read_records(path)["intended_ns"]))


def anderson_darling(gaps: npt.NDArray[np.float64]) -> float:
    """A² of an exponential distribution with the sample's own mean, corrected for its size (Stephens, 1974)."""
    n = len(gaps)
    tail = np.sort(gaps) / gaps.mean()
    below = -np.expm1(-tail)
    rank = 2 * np.arange(1, n + 1) - 1
    a2 = -n - float((rank * (np.log(below) - tail[::-1])).sum()) / n
    return a2 * (1 + 0.6 / n)


def arrivals(bench: Bench) -> list[Check]:
    """Row 11: exponential gaps, even dispersion, no slow clock."""
    rate, seeds = 4000.0, 100 if bench.full else 20
    fits, dispersions = 0, []
    for seed in range(seeds):
        times = send_times(bench, OpenLoop(arrivals=Poisson(rate=rate)), seed, ARRIVALS_S) / 1e9
        fits += anderson_darling(np.diff(times)) < ANDERSON_DARLING_1_PERCENT
        counts = np.bincount((times / BIN_S).astype(int), minlength=ARRIVAL_BINS + 1)[:ARRIVAL_BINS]
        dispersions.append(counts.var(ddof=1) / counts.mean())
    index = float(np.mean(dispersions))
    seconds = bench.seconds(3, 60)
    even = send_times(bench, OpenLoop(arrivals=Constant(rate=500)), 0, seconds)
    return [
        Check("exponential gaps", f"≥ 95 % of {seeds} seeds", f"{fits} of {seeds}", "p > 0.01", fits >= 0.95 * seeds),
        Check("dispersion index", "1", f"{index:.3f}", "±0.05", abs(index - 1) <= 0.05),
        near(f"sent in {seconds:g} s at 500/s", float(len(even)), 500 * seconds, 0.001),
    ]


def determinism(bench: Bench) -> list[Check]:
    """Row 12: the seed alone decides."""
    load = OpenLoop(arrivals=Poisson(rate=20_000))
    first, again, other = (
        hashlib.sha256(send_times(bench, load, seed, 0.1)[:1000].tobytes()).hexdigest()[:12]
        for seed in (SEED, SEED, SEED + 1)
    )
    return [
        exactly("the same seed again", again, first),
        exactly("the same seed on another machine", first, DIGEST),
        Check("another seed", f"not {first}", other, "exact", other != first),
    ]
