"""What older tools do, as strategies to compare with: they try a load once and believe what they see.

Each claims what its tool would print. Their defects are theirs, named where they are, and kept.
"""

from __future__ import annotations

import math
from collections.abc import Generator

from runner.results.capacity import Probe
from runner.scenario.schema import SlaLoad
from runner.tune.capacity.base import Ask, Ending, Log, Steps, readable
from runner.tune.capacity.verdict import Rule

FAILS = 6
"""Passes in a row without more throughput that end the climb of the TensorRT Inference Server suite."""


def linear(load: SlaLoad, log: Log) -> Steps:
    """Raise the load by a step until the observed percentile is over the limit; the last one before is the answer.

    One window a load: the first unlucky one ends the climb, so the answer is too low the longer the climb is.
    """
    return (yield from _raised_until_over(load, log, "observed"))


def perf_client(load: SlaLoad, log: Log) -> Steps:
    """`perf_client -d -l -c`: one more request in flight each time, until the *mean* latency is over the limit.

    A mean says nothing about a percentile: the share of late requests at the answer is whatever it is.
    """
    return (yield from _raised_until_over(load, log, "stable mean"))


def pa_linear(load: SlaLoad, log: Log) -> Steps:
    """`perf_analyzer -l`: start, start + step, … while stable and under the limit. What is unstable is over it."""
    return (yield from _raised_until_over(load, log, _stable(load)))


def pa_binary(load: SlaLoad, log: Log) -> Steps:
    """`perf_analyzer -l --binary-search`: both ends, then halves of what is between them down to the step.

    One probe each, so a lucky one above the capacity moves the whole search up for good.
    """
    low, high = float(load.range.min or 1), float(load.range.max or 1)
    probe = yield _ask(load, low, _stable(load), first=True)
    if probe.verdict != "pass":
        return Ending("infeasible", f"the lower end is over the limit: {probe.reason}", high=low)
    per_s = _per_s(probe)
    probe = yield _ask(load, high, _stable(load))
    if probe.verdict == "pass":
        return Ending("at least", "the upper end is under the limit", high, None, _per_s(probe))
    while high - low > load.step_size and log.spent is None:
        middle = _level(load, (low + high) / 2)
        if not low < middle < high:
            break
        probe = yield _ask(load, middle, _stable(load))
        if probe.verdict == "pass":
            low, per_s = middle, _per_s(probe)
        else:
            high = middle
    return Ending("found", f"{low:g} was under the limit once, {high:g} over it", low, high, per_s)


def climb(load: SlaLoad, log: Log) -> Steps:
    """The TensorRT Inference Server benchmark suite: more load while throughput rises *or the limit is missed*.

    A miss makes it go on, so it has no end where latency is over the limit before throughput flattens; and its answer
    is the last throughput that was higher than the one before, whether the limit was met there or not.
    """
    assert load.latency is not None
    level, best, fails, limit_ms = load.first_level, 0.0, 0, load.latency * 1e3
    most = load.range.max or math.inf
    while fails < FAILS:
        if level > most or log.spent is not None:
            where = log.spent or f"the range ends at {most:g}"
            return Ending("no answer", f"the climb was still going on, because a miss makes it go on: {where}")
        probe = yield _ask(load, level, "observed", first=not log.probes)
        rate, late = _per_s(probe), probe.tally is None or probe.tally.quantile_ms > limit_ms
        if rate > best or late:
            best, level, fails = rate, readable(level + load.step_size), 0
        else:
            fails += 1
    return Ending("found", f"{FAILS} passes brought no more than {best:.4g} requests/s", best, None, best)


def _raised_until_over(load: SlaLoad, log: Log, rule: Rule) -> Steps:
    low: float | None = None
    level, per_s, most = load.first_level, 0.0, load.range.max or math.inf
    while level <= most and log.spent is None:
        probe = yield from _tried(load, log, level, rule)
        if probe.verdict != "pass":
            if low is None:
                return Ending("infeasible", f"the first load is over the limit: {probe.reason}", high=level)
            return Ending("found", f"{level:g} was the first over the limit: {probe.reason}", low, level, per_s)
        low, per_s, level = level, _per_s(probe), _level(load, level + load.step_size)
    if low is None:
        return Ending("no answer", f"the range ends at {most:g}, below the first load of {level:g}")
    return Ending("at least", log.spent or f"the range ends at {most:g}", low, None, per_s)


def _tried(load: SlaLoad, log: Log, level: float, rule: Rule) -> Generator[Ask, Probe, Probe]:
    return (yield from log.tried(_ask(load, level, rule, first=not log.probes)))


def _ask(load: SlaLoad, level: float, rule: Rule, *, first: bool = False) -> Ask:
    window = load.probe.first
    return Ask("climb", load.over, level, rule, window, window, fresh_server=first)


def _stable(load: SlaLoad) -> Rule:
    return "stable mean" if load.statistic == "mean" else "stable percentile"


def _level(load: SlaLoad, level: float) -> float:
    return readable(level) if load.over == "rate" else int(level)


def _per_s(probe: Probe) -> float:
    return probe.tally.delivered_per_s if probe.tally is not None else 0.0
