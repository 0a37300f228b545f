"""A small synthetic run with every kind of point; numbers are round so that a reader can check expected bytes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runner.results.directory import RunDirectory, digest_of
from runner.results.histogram import Histogram
from runner.results.records import (
    BatchStatistics,
    Counts,
    Estimate,
    Flag,
    ModelFacts,
    ModelStatistics,
    Percentile,
    Summary,
    TimeSplit,
    Trial,
    WholeLoad,
)
from runner.results.run import PlannedCase

STARTED = datetime(2025, 11, 21, 4, 0, 0, tzinfo=UTC)
RESOLVED = "name: tiny\nworkload:\n  model: tiny\nmatrix:\n  axes: {workload.batch: [1, 8]}\n"
MS = 1_000_000


def planned(batch: int, concurrency: int) -> PlannedCase:
    return PlannedCase(
        case_id=f"b{batch}-c{concurrency}",
        parameters={"workload.batch": batch, "load.concurrency": concurrency},
        model="tiny",
        protocol="grpc",
        batch=batch,
        load={"kind": "concurrency", "concurrency": concurrency},
    )


CASES = (planned(1, 1), planned(1, 4), planned(8, 1), planned(8, 4), planned(8, 16), planned(8, 64))


def histogram(*milliseconds: float) -> str:
    return Histogram.from_values(int(ms * MS) for ms in milliseconds).to_hdr_v2()


def summary(batch: int = 1, rate: float = 100.0, mean_ms: float = 10.0, **changes: Any) -> Summary:
    fields: dict[str, Any] = {
        "warmup_s": 1.5,
        "window_s": 10.0,
        "completions": int(rate * 10),
        "failures": 0,
        "requests_per_s": Estimate(rate, rate * 0.98, rate * 1.02),
        "inferences_per_s": Estimate(rate * batch, rate * batch * 0.98, rate * batch * 1.02),
        "latency_mean_ms": Estimate(mean_ms, mean_ms - 0.5, mean_ms + 0.5),
        "latency_max_ms": 40.0,
        "percentiles": (
            Percentile(50.0, Estimate(9.5, 9.25, 9.75), 800.0),
            Percentile(95.0, Estimate(18.0, 17.0, 19.0), 700.0),
            Percentile(99.0, Estimate(30.0, 26.0, None), 250.0),
        ),
        "in_flight_mean": rate * mean_ms / 1000,
        "littles_law_error": 0.0,
        "send_lag_p99_ms": 0.125,
        "client_cpu_us_per_request": 20.5,
        "client_cpu_fraction": 0.25,
        "steady": True,
        "precision_met": True,
        "stop_reason": "precision reached",
    }
    return Summary(**(fields | changes))


def model(name: str, queue: int, infer: int, executions: int = 600, success: int = 1200) -> ModelStatistics:
    """Per request: so many microseconds of queue and inference, 10 of input and 5 of output."""
    return ModelStatistics(
        model=name,
        version="1",
        success_count=success,
        failure_count=0,
        inference_count=success,
        execution_count=executions,
        queue_ns=queue * 1000 * success,
        compute_input_ns=10_000 * success,
        compute_infer_ns=infer * 1000 * success,
        compute_output_ns=5_000 * success,
        success_ns=(queue + infer + 15) * 1000 * success,
        batches=(BatchStatistics(2, executions, 10_000 * executions, infer * 1000 * executions, 5_000 * executions),),
    )


SERVER = (
    model("tiny", 0, 8985),  # an ensemble: its own counters are not stages
    model("preprocess", 500, 1985),
    model("classify", 300, 5985),
)

FACTS = (
    ModelFacts("tiny", "ensemble", 8),
    ModelFacts("preprocess", "python", 8, instances=1, max_queue_delay_us=500),
    ModelFacts("classify", "python", 8, instances=2),
)
WHOLE = WholeLoad(
    12.0, 1200, 10.0, TimeSplit(0.0, 0.125, 9.625, 0.25), bytes_sent=120_000_000, bytes_received=5_000_000
)
EXPLAINED: dict[str, Any] = {"facts": FACTS, "whole": WHOLE}
"""What a stage table and a diagnosis need beyond the counters."""

FLAG = Flag("client_limited", 0.97, 0.85, "invalidates", "the client used 97 % of a core; give it more cores")
NOTE = Flag("precision_unmet", 0.031, 0.03, "informs", "p95 is known to ±3.10 % where 3.00 % was asked for")


def trial(case: PlannedCase, **changes: Any) -> Trial:
    fields: dict[str, Any] = {
        "case_id": case.case_id,
        "parameters": dict(case.parameters),
        "model": case.model,
        "protocol": case.protocol,
        "batch": case.batch,
        "load": dict(case.load),
        "state": "ok",
        "started_utc": "2025-11-21T04:00:05.000Z",
        "elapsed_s": 12.25,
        "counts": Counts(1200, 1200, {}, 0, 0),
        "summary": summary(case.batch),
        "server": SERVER,
        "labels": {"weights": "random"},
        "histograms": {"latency": histogram(9, 9.5, 10, 11), "send_lag": histogram(0.01, 0.1)},
    }
    return Trial(**(fields | changes))


def failed(case: PlannedCase, failure: str) -> Trial:
    gone: dict[str, Any] = {"counts": None, "summary": None, "server": (), "histograms": {}}
    return trial(case, state="failed", failure=failure, **gone)


def invalid(case: PlannedCase) -> Trial:
    counts = Counts(1203, 1200, {"unavailable": 2, "timeout": 1}, 0, 0)
    return trial(case, state="invalid", flags=(FLAG, NOTE), counts=counts, errors={"timeout": "no answer in 60 s"})


def create(base: Path) -> RunDirectory:
    return RunDirectory.create(base, "tiny", digest_of(RESOLVED), STARTED)


def small_run(base: Path) -> RunDirectory:
    """ok, ok, invalid, failed, skipped, missing: in that order."""
    directory = create(base)
    with directory.writer() as writer:
        writer.write_resolved(RESOLVED)
        writer.begin(CASES)
        writer.skip("b8-c16", 'matrix.skip: "workload.batch * load.concurrency > 100"')
        writer.append(trial(CASES[0], **EXPLAINED))
        writer.append(trial(CASES[1], summary=summary(1, 123.456789, 32.4), flags=(NOTE,)))
        writer.append(invalid(CASES[2]))
        writer.append(failed(CASES[3], "=the server died, exit status 137"))
        writer.update(target="cpu", tool_version="0.0.0", labels={"weights": "random"})
        writer.finish("partial")
    return directory
