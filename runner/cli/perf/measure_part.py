"""The scenario's `measure`: windows, a fixed number of requests, or a soak; and what is sampled beside the load."""

from __future__ import annotations

from typing import Any

from runner.cli.perf.parsed import PerfOptions
from runner.units import format_fraction, format_seconds

USUAL = (50.0, 90.0, 95.0, 99.0)
"""Percentiles that are always reported."""
LONGEST = "1h"
"""A fixed number of requests may take so long; without it the profile's cap would end it."""


def measure(options: PerfOptions) -> dict[str, Any]:
    """Everything that differs from the schema's defaults."""
    found: dict[str, Any] = {**_stop(options), **_percentiles(options)}
    if options.warmup:
        found["warmup"] = {"requests": options.warmup}
    if options.profile_export is not None:
        found["records"] = "full"
    if options.collect_metrics:
        found["telemetry"] = _telemetry(options)
    return found


def _stop(options: PerfOptions) -> dict[str, Any]:
    """What ends a level."""
    if options.infinite:
        return {"soak": True}
    if options.sla_s is not None or options.periodic or options.fixed_schedule:
        return {}
    if options.requests:
        return {"requests": options.requests, "window": {"max": LONGEST}}
    return {"stability": _windows(options)}


def _windows(options: PerfOptions) -> dict[str, Any]:
    """Three windows alike; a search names its percentile itself."""
    found: dict[str, Any] = {"kind": "windows", "interval": format_seconds(options.interval_ms / 1000)}
    if options.mode == "count_windows":
        found["requests"] = options.window_requests
    if options.stability != 10.0:
        found["within"] = format_fraction(round(options.stability / 100, 12))
    if options.trials != 10:
        found["trials"] = options.trials
    if options.percentile is not None and not options.latency_ms:
        found["percentile"] = options.percentile
    return found


def _percentiles(options: PerfOptions) -> dict[str, Any]:
    asked = options.percentile
    return {} if asked is None or asked in USUAL else {"percentiles": sorted({*USUAL, asked})}


def _telemetry(options: PerfOptions) -> dict[str, Any]:
    found: dict[str, Any] = {"sources": ["host", "prometheus"], "aggregation": "perf_analyzer"}
    if options.metrics_ms != 1000:
        found["period"] = format_seconds(options.metrics_ms / 1000)
    return found
