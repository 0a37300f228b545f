"""The block that perf_analyzer prints first: how was measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from runner.report.combined import rate_text
from runner.report.perf.levels import Level
from runner.results.metrics import percentile_name
from runner.results.perf_wishes import PerfWishes
from runner.results.run import Run
from runner.units import parse_seconds


def heading(run: Run, found: tuple[Level, ...], wishes: PerfWishes, decoupled: bool) -> Iterator[str]:
    """Lines of the block, without a line end."""
    yield "*** Measurement Settings ***"
    yield from (f"  Batch size: {batch}" for batch in dict.fromkeys(case.batch for case in run.cases))
    yield "  Service Kind: TRITON"
    yield from _rule(_measure(run.path), wishes)
    yield from _limits(run, found, wishes)
    # The engine keeps many requests in flight per thread, whatever was asked for.
    yield "  Using asynchronous calls for inference"
    if decoupled:
        yield "  Detected decoupled model, using the last response for measuring latency"


def _measure(path: Path) -> dict[str, Any]:
    """`measure` of the scenario as it was resolved; empty where the run has none."""
    try:
        scenario = yaml.safe_load((path / "resolved.yaml").read_text("utf-8", "surrogateescape"))
    except OSError:
        return {}
    return dict(scenario.get("measure") or {})


def _rule(measure: dict[str, Any], wishes: PerfWishes) -> Iterator[str]:
    """What ended a level."""
    if measure.get("requests"):
        yield f"  Sending {measure['requests']} benchmark request{'s' if measure['requests'] > 1 else ''}"
        return
    stability = measure.get("stability") or {}
    windows = stability.get("kind") == "windows"
    mode = "precision" if not windows else "count_windows" if stability.get("requests") else "time_windows"
    yield f'  Using "{mode}" mode for stabilization'
    latency = "average latency" if wishes.percentile is None else f"{percentile_name(wishes.percentile)} latency"
    yield f"  Stabilizing using {latency} and throughput"
    if windows and stability.get("requests"):
        yield f"  Minimum number of samples in each window: {stability['requests']}"
    elif windows:
        yield f"  Measurement window: {parse_seconds(stability['interval']) * 1e3:g} msec"


def _limits(run: Run, found: tuple[Level, ...], wishes: PerfWishes) -> Iterator[str]:
    """Range of a sweep; nothing for a single level, as there."""
    loads = [case.load for case in run.cases]
    if len(found) > 1:
        limit = next((load["latency"] for load in loads if load.get("latency")), None)
        yield f"  Latency limit: {parse_seconds(limit) * 1e3 if limit else 0:g} msec"
        most = rate_text(max(level.value for level in found))
        if wishes.levels == "request_rate":
            yield f"  Request Rate limit: {most} requests per seconds"
        else:
            yield f"  Concurrency limit: {most} concurrent requests"
    if wishes.levels == "request_rate":
        poisson = any("poisson" in (load.get("kind"), load.get("arrivals")) for load in loads)
        yield f"  Using {'poisson' if poisson else 'uniform'} distribution on request generation"
    if any(load.get("strategy") == "pa_binary" for load in loads):
        yield "  Using Binary Search algorithm"
