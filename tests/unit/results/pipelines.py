"""Trials of a pipeline whose times are given in milliseconds per request, for tables that must add up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from runner.results.records import BatchStatistics, ModelFacts, ModelStatistics, TimeSplit, Trial, WholeLoad
from tests.unit.results.sample_run import CASES, summary, trial

REQUESTS = 1000
MS = 1_000_000


def counters(
    name: str, *, queue: float = 0, infer: float = 0, batch: int = 1, requests: int = REQUESTS, total: float = 0
) -> ModelStatistics:
    """A model whose requests wait and are computed so long, `batch` of them at a time."""
    executions = requests // batch
    return ModelStatistics(
        model=name,
        version="1",
        success_count=requests,
        failure_count=0,
        inference_count=requests,
        execution_count=executions,
        queue_ns=int(queue * MS * requests),
        compute_input_ns=0,
        compute_infer_ns=int(infer * MS * requests),
        compute_output_ns=0,
        success_ns=int((total or queue + infer) * MS * requests),
        batches=(BatchStatistics(batch, executions, 0, int(infer * MS * executions), 0),),
    )


def facts(name: str, backend: str = "python", **more: Any) -> ModelFacts:
    """One instance on the CPU, unless said otherwise."""
    return ModelFacts(name, backend, **{"max_batch_size": 8, "instances": 1, **more})


def load(latency_ms: float, elapsed_s: float, **more: Any) -> WholeLoad:
    """A load in which the client did nothing but wait."""
    given = {"time_split": TimeSplit(0.0, 0.0, latency_ms, 0.0), "bytes_sent": 0, "bytes_received": 0, **more}
    return WholeLoad(elapsed_s, REQUESTS, latency_ms, **given)


def pipeline_trial(
    *models: ModelStatistics,
    server_ms: float,
    latency_ms: float | None = None,
    elapsed_s: float = 10.0,
    facts: tuple[ModelFacts, ...] = (),
    **changes: Any,
) -> Trial:
    """An ensemble of these models; `latency_ms` is what the client saw, by default what the server says."""
    seen = server_ms if latency_ms is None else latency_ms
    ensemble = replace(counters("pipeline", total=server_ms), batches=())
    whole = changes.pop("whole", load(seen, elapsed_s))
    fields = {"summary": summary(mean_ms=seen), "server": (ensemble, *models), "facts": facts, "whole": whole}
    return trial(CASES[0], **(fields | changes))
