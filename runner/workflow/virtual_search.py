"""Whole capacity searches in virtual time: the real strategies and verdicts, fed by a simulated M/D/1 server.

What a search claims is held against the closed form: the load at which the percentile of the sojourn is the limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from runner.measure.selftest.simulate import Requests, columns, open_loop, single_server, until
from runner.measure.selftest.theory import md1_load
from runner.measure.series import Series, Window
from runner.measure.settings import EXPLORE, LimitRule, MeasureSettings
from runner.measure.stopping import first_look_ns
from runner.measure.tally import decide_by_verdict, tally
from runner.results.capacity import Attempt, Probe
from runner.scenario.schema import SlaLoad
from runner.tune.capacity import Ask, judged, new_search

SLICE_NS = 200_000_000


@dataclass(frozen=True)
class MD1:
    """One server that takes `service_s` for every request; each run of it is slower or faster by `noise`."""

    service_s: float = 0.002
    noise: float = 0.0
    """Standard deviation of the logarithm, from one probe to the next."""

    def truth_per_s(self, percentile: float, limit_s: float) -> float:
        """The capacity: where the percentile of the sojourn is the limit."""
        return _load(percentile, limit_s / self.service_s) / self.service_s

    def requests(self, ask: Ask, rng: np.random.Generator, seconds: float) -> Requests:
        """What it does with a load."""
        service_s = self.service_s * float(np.exp(rng.normal(0, self.noise))) if self.noise else self.service_s
        if ask.over == "concurrency":
            return single_server(np.full(int(seconds / service_s) + 2, service_s), int(ask.level))
        count = int(1.1 * seconds * ask.level) + 300
        arrivals = np.cumsum(rng.exponential(1 / ask.level, count))
        return until(open_loop(arrivals, np.full(count, service_s)), seconds)


@cache
def _load(percentile: float, limit: float) -> float:
    return md1_load(percentile / 100, limit)


def search(load: SlaLoad, server: MD1, seed: int) -> Attempt:
    """One attempt, start to end."""
    machine = new_search(load)
    while (ask := machine.ask()) is not None:
        machine.tell(probe(ask, machine.number, load, server, seed))
    return machine.attempt()


def probe(ask: Ask, number: int, load: SlaLoad, server: MD1, seed: int) -> Probe:
    """A load of the search: looks at the doublings of its window, until there is a verdict."""
    settings = replace(
        EXPLORE,
        warmup_min_s=WARMUP_S,
        window_min_s=ask.first_s,
        window_max_s=ask.max_s,
        limit=LimitRule(percentile=load.percentile, limit_s=load.latency or 3600.0),
    )
    asked = ask.level if ask.over == "rate" else None
    blank = Probe(0, number, ask.stage, ask.over, ask.level, "unresolved", "", None)

    def verdict(counted: object) -> Probe:
        limit_ms = None if load.latency is None else load.latency * 1e3
        found, reason = judged(counted, ask.rule, load.percentile, limit_ms, ask.is_last(counted.window_s))
        return replace(blank, verdict=found, reason=reason, tally=counted)

    rng = np.random.default_rng([seed, number])
    requests = server.requests(ask, rng, settings.deadline_s)
    series = columns(requests, settings.deadline_s, SLICE_NS)
    window = _stopped(series, settings, verdict, asked)
    counted = tally(series.within(window), settings.limit, asked)
    return replace(verdict(counted), elapsed_s=window.end_ns / 1e9)


WARMUP_S = 2.0


def _stopped(series: Series, settings: MeasureSettings, verdict, asked) -> Window:
    look = first_look_ns(settings)
    while True:
        seen = series.within(Window(0, look))
        decision = decide_by_verdict(seen, settings, 1, verdict, asked)
        if decision.stop:
            return decision.window
        look = max(decision.next_look_ns, look + SLICE_NS)
