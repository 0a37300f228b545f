"""The scenario's `load` and `matrix`: how requests are sent, at which levels."""

from __future__ import annotations

from typing import Any

from runner.cli.perf.checking import uses_old
from runner.cli.perf.data_files import is_json
from runner.cli.perf.parsed import PerfOptions
from runner.cli.perf.values import Levels
from runner.cli.perf.workload_part import PathOf
from runner.units import format_rate, format_seconds

SLA_PERCENTILE, FIRST_QPS = 95.0, 5.0
LISTED = 8
"""So many levels at most are written one by one."""


def load(options: PerfOptions, path: PathOf) -> tuple[dict[str, Any], dict[str, Any]]:
    """The load of the first level, and the axes of a sweep."""
    if options.infinite:
        return {"kind": "poisson", "rate": format_rate(options.qps or FIRST_QPS)}, {}
    if options.sla_s is not None:
        return _sla(options, options.sla_s), {}
    if options.latency_ms:
        return _search(options), {}
    if options.intervals is not None:
        return {"kind": "intervals", "file": path(options.intervals)}, {}
    if options.fixed_schedule:
        return {"kind": "replay", "file": path(next(each for each in options.values if is_json(each)))}, {}
    if options.periodic is not None:
        return _periodic(options, options.periodic), {}
    if options.rate is not None:
        return _rates(options, options.rate)
    return _levels(_concurrency(options))


def _concurrency(options: PerfOptions) -> Levels:
    """The range that was asked for, in whatever words."""
    if not uses_old(options):
        return options.concurrency or Levels(1)
    return Levels(options.old_concurrency or 1, options.old_most or 0 if options.old_dynamic else None)


def _levels(levels: Levels) -> tuple[dict[str, Any], dict[str, Any]]:
    values = [int(value) for value in levels.values]
    first = {"kind": "concurrency", "concurrency": values[0]}
    if len(values) == 1:
        return first, {}
    step = {"step": int(levels.step)} if levels.step != 1 else {}
    axis = values if len(values) <= LISTED else {"int": [values[0], values[-1]], **step}
    return first, {"load.concurrency": axis}


def _rates(options: PerfOptions, levels: Levels) -> tuple[dict[str, Any], dict[str, Any]]:
    rates = [format_rate(round(value, 9)) for value in levels.values]
    return {"kind": options.distribution, "rate": rates[0]}, {"load.rate": rates} if len(rates) > 1 else {}


def _periodic(options: PerfOptions, levels: Levels) -> dict[str, Any]:
    return {
        "kind": "periodic",
        "start": int(levels.start),
        "end": int(levels.end or levels.start),
        "step": int(levels.step),
        "request_period": options.request_period,
    }


def _search(options: PerfOptions) -> dict[str, Any]:
    """perf_analyzer's own searches, with what they hold against the limit."""
    rate, found = options.rate is not None, dict[str, Any]()
    levels = options.rate or _concurrency(options)
    if options.percentile is None:
        found["statistic"] = "mean"
    else:
        found["percentile"] = options.percentile
    if rate and options.distribution != "poisson":
        found["arrivals"] = options.distribution
    ends = {"min": levels.start, "max": levels.start if levels.end is None else levels.end or None}
    return {
        "kind": "sla",
        "strategy": "pa_binary" if options.binary_search else "pa_linear",
        "latency": format_seconds(round(options.latency_ms / 1e3, 12)),
        **found,
        "over": "rate" if rate else "concurrency",
        "range": {name: _level(value, rate) for name, value in ends.items() if value is not None},
        "step": _level(levels.step, rate),
    }


def _level(value: float, rate: bool) -> str | int:
    return format_rate(value) if rate else int(value)


def _sla(options: PerfOptions, limit_s: float) -> dict[str, Any]:
    """A bracket with verdicts in place of the SLA client's climb, which has no end; with a step the rate is raised."""
    climbs = options.tool == "benchmark.py" or options.qps is not None
    found = {
        "kind": "sla",
        "percentile": options.percentile or SLA_PERCENTILE,
        "latency": format_seconds(limit_s),
        "strategy": "linear" if options.qps_delta is not None else None,
        "range": {"min": format_rate(options.qps or FIRST_QPS)} if climbs else None,
        "step": None if options.qps_delta is None else format_rate(options.qps_delta),
        "attempts": options.attempts if options.attempts != 1 else None,
    }
    return {key: value for key, value in found.items() if value is not None}
