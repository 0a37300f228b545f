"""Rows 14, 15 and 21: what the warm-up rule, the flags and the bookkeeping make of servers that misbehave."""

from __future__ import annotations

from runner.measure.selftest.bench import Bench, Check, flagged, near
from runner.measure.selftest.script import Script
from runner.results.histogram import Histogram

SLOTS = 4
D_S = 0.02


def slow_start(bench: Bench) -> list[Check]:
    """Row 14: three times slower for ten seconds."""
    script = Script(mean_s=D_S, slow_until_s=10, slow_factor=3)
    _, found, _ = bench.measure(
        "slow start", script, {"concurrency": SLOTS}, window={"min": "8s", "max": "22s"}, warmup={"min_time": "2s"}
    )
    # The last slow request may begin just before the tenth second.
    cut = Check("cut", "≥ 10 s", f"{found.warmup_s:.1f} s", "", found.warmup_s >= 10)
    return [cut, near("throughput", found.requests_per_s.value, 1 / D_S, 0.005, "/s")]


def misbehaviour(bench: Bench) -> list[Check]:
    """Row 15: one of each; how often they are found is a matter of simulation (`test_flag_rates.py`)."""
    closed = {"concurrency": SLOTS}
    drift, _, _ = bench.measure("drift", Script(mean_s=D_S, drift_per_s=0.005), closed)
    step, _, _ = bench.measure("step", Script(mean_s=D_S, step_at_s=7, step_factor=1 / 0.95), closed)
    # 200/s is what four servers can do.
    rate = {"kind": "poisson", "rate": "210/s", "seed": 3}
    overload, _, _ = bench.measure("overload", Script(mean_s=D_S, servers=4), rate)
    healthy, _, _ = bench.measure("healthy", Script(mean_s=D_S), closed)
    raised = {flag.code for flag in healthy.flags} & {"trend", "step", "unsteady"}
    return [
        flagged("slower by 0.5 % every second", drift, "trend", "step", "unsteady"),
        flagged("throughput 5 % lower from 7 s on", step, "step", "trend"),
        flagged("asked for 105 % of what it can do", overload, "saturated"),
        Check("steady", "no trend, step, unsteady", ", ".join(sorted(raised)) or "none of them", "", not raised),
    ]


def bookkeeping(bench: Bench) -> list[Check]:
    """Row 21: in every trial of every other row."""
    checks = []
    worst, where = 0.0, "no trial"
    for name, trial, _ in bench.trials:
        if trial.summary is None or any(f.code in ("errors", "saturated") for f in trial.flags):
            continue
        if trial.summary.littles_law_error > worst:
            worst, where = trial.summary.littles_law_error, name
    raised = [name for name, trial, _ in bench.trials if any(f.code == "littles_law" for f in trial.flags)]
    got = f"largest {worst:.2%} ({where})" + (f", flagged in {', '.join(raised)}" if raised else "")
    checks.append(Check("Little's law", "error ≤ 2 %, or the window's edges explain it", got, "2 %", not raised))
    wrong = [name for name, trial, report in bench.trials if not _counts_agree(trial.counts, report)]
    count = len(bench.trials)
    checks.append(
        Check(
            "server counts", f"equal in {count} trials", f"wrong in {wrong}" if wrong else "equal", "exact", not wrong
        )
    )
    torn = [
        name
        for name, trial, _ in bench.trials
        if trial.summary and _merged(trial.histograms) != trial.summary.completions
    ]
    checks.append(
        Check(
            "merged histograms hold every success",
            f"{count} trials",
            f"not {torn}" if torn else "all",
            "exact",
            not torn,
        )
    )
    return checks


def _counts_agree(counts: object, report: dict[str, int]) -> bool:
    from runner.results.records import Counts

    assert isinstance(counts, Counts)
    failed = sum(counts.failed.values()) + counts.unfinished
    answered = report["ok"] + report["wrong"] + report["error"]
    return counts.ok <= report["ok"] and answered <= counts.sent and (bool(failed) or report["ok"] == counts.ok)


def _merged(histograms: dict[str, str]) -> int:
    return Histogram.from_hdr_v2(histograms["latency"]).count
