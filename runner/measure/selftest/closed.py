"""Rows 1 to 3, 9, 10 and 13: loads whose throughput and latency are known to the millisecond."""

from __future__ import annotations

from runner.load.plan import ClosedLoop, LoadPlan, NullTransport
from runner.measure.ceiling import engine_ceiling_per_s
from runner.measure.selftest.bench import Bench, Check, at_most, exactly, near
from runner.measure.selftest.script import Script
from runner.results.histogram import Histogram

OVERHEAD_P50_MS = 0.2


def null_server(bench: Bench) -> list[Check]:
    """Row 1: what the engine reaches and costs where the server costs nothing."""
    plan = LoadPlan(transport=NullTransport(), schedule=ClosedLoop(concurrency=1), max_duration_ns=500_000_000)
    one = bench.engine.run(plan, [b"\0"])
    p50_ms = Histogram.merged(s.latency for s in one.slices).quantile(0.5) / 1e6
    checks = [at_most("overhead p50, 1 in flight", p50_ms, OVERHEAD_P50_MS, " ms")]
    for slots in (1, 8, 64):
        ceiling = engine_ceiling_per_s(bench.engine, slots)
        checks.append(Check(f"ceiling, {slots} in flight", "recorded", f"{ceiling:,.0f}/s", "", True))
    return checks


def parallel(bench: Bench) -> list[Check]:
    """Row 2: constant service, as many servers as requests."""
    checks = []
    for slots in (1, 16):
        script = Script(mean_s=0.05, servers=0)
        _, found, report = bench.measure(
            f"parallel, {slots} in flight", script, {"concurrency": slots}, seconds=bench.seconds(2, 8)
        )
        # The server says how late it was itself; what is left is the engine and the loopback.
        d_ms = 50 + report["late_mean_ms"]
        checks.append(
            near(f"throughput, {slots} in flight", found.requests_per_s.value, slots * 1e3 / d_ms, 0.01, "/s")
        )
        p99 = found.percentiles[-1].estimate.value
        checks.append(at_most(f"p99, {slots} in flight", p99, 50 + 2 + report["late_p99_ms"], " ms"))
    return checks


def queued(bench: Bench) -> list[Check]:
    """Row 3: constant service, one server and four; whoever waits is never the reason why a server is idle."""
    checks = []
    for servers, slots in ((1, 4), (4, 8)):
        name = f"{servers} server{'s' * (servers > 1)}, {slots} in flight"
        script = Script(servers=servers)
        _, found, _ = bench.measure(name, script, {"concurrency": slots}, seconds=bench.seconds(2, 8), warmup_s=1)
        checks.append(near(f"throughput, {name}", found.requests_per_s.value, servers / 0.02, 0.01, "/s"))
        checks.append(near(f"mean, {name}", found.latency_mean_ms.value, 20 * slots / servers, 0.01, " ms"))
    return checks


def closed_stall(bench: Bench) -> list[Check]:
    """Row 9: a closed loop sends nothing during a stall, so its p99 does not show it; its maximum does."""
    script = Script(mean_s=0.02, stall_every_s=5, stall_s=1)
    trial, found, report = bench.measure("stall, closed loop", script, {"concurrency": 1}, seconds=10, warmup_s=0)
    label = trial.load["kind"]
    return [
        at_most("p99", found.percentiles[-1].estimate.value, 20 + 2 + report["late_p99_ms"], " ms"),
        Check("longest", "≥ 900 ms", f"{found.latency_max_ms:.0f} ms", "", found.latency_max_ms >= 900),
        exactly("the load is labelled", label, "concurrency"),
    ]


def batches(bench: Bench) -> list[Check]:
    """Row 10: a server that takes up to 8 requests together, 10 ms + 2.5 ms for each."""
    script = Script(mean_s=0.01, item_s=0.0025, batch=8)
    _, found, _ = bench.measure("batch server", script, {"concurrency": 16}, seconds=bench.seconds(4, 10))
    return [near("throughput, 16 in flight", found.requests_per_s.value, 8 / 0.03, 0.01, "/s")]


def failures(bench: Bench) -> list[Check]:
    """Row 13: every request has one outcome, and client and server count the same."""
    count = 600 if not bench.full else 2000
    script = Script(servers=0, error_every=100, lost_every=201, wrong_every=70)
    trial, found, report = bench.measure(
        "failures",
        script,
        {"kind": "constant", "rate": "100/s"},
        workload={"timeout": "1s", "validate": {"every": 1}},
        requests=count,
        max_error_rate="100%",
    )
    counts = trial.counts
    assert counts is not None
    outcomes = [script.outcome(n) for n in range(1, count + 1)]
    expected = {"unavailable": "error", "timeout": "lost", "wrong_output": "wrong"}
    checks = [exactly("ok", counts.ok, outcomes.count("ok"))]
    checks += [exactly(code, _failed(counts.failed, code), outcomes.count(word)) for code, word in expected.items()]  # type: ignore[arg-type]
    checks += [exactly(f"server: {word}", report[word], outcomes.count(word)) for word in ("ok", "error", "wrong")]
    latencies = Histogram.from_hdr_v2(trial.histograms["latency"]).count
    return [*checks, exactly("latencies hold only successes", latencies, found.completions)]


def _failed(failed: dict[str, int], code: str) -> int:
    return sum(n for name, n in failed.items() if name.lower() == code)
