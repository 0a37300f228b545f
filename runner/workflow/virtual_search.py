"""Whole capacity searches in virtual time: the real strategies and verdicts, fed by a simulated M/D/1 server.

What a search claims is held against the closed form: the load at which the percentile of the sojourn is the limit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np

from runner.measure.selftest.simulate import Requests, columns, open_loop, single_server, until
from runner.measure.selftest.theory import md1_load
from runner.measure.series import Series
from runner.measure.settings import EXPLORE, MeasureSettings
from runner.measure.stopping import Decision, first_look_ns
from runner.measure.tally import Judge, decide_by_verdict, tally
from runner.measure.watch import Rule
from runner.measure.windows import decide_by_windows
from runner.results.capacity import Attempt, Probe
from runner.scenario.schema import SlaLoad
from runner.tune.capacity import Ask, new_search
from runner.workflow.probing import judge_of, probe_settings

SLICE_NS = 200_000_000
"""Coarser than the engine's, so that hundreds of searches take a minute."""


@dataclass(frozen=True)
class MD1:
    """One server that takes `service_s` for every request; each probe of it is slower or faster by `noise`."""

    service_s: float = 0.001
    noise: float = 0.0
    """Standard deviation of the logarithm of the service time, from one probe to the next."""
    random: bool = True
    """Poisson arrivals; False: evenly spaced ones, as older tools send them."""

    def truth_per_s(self, percentile: float, limit_s: float) -> float:
        """The capacity: where the percentile of the sojourn is the limit."""
        return _load(percentile, limit_s / self.service_s) / self.service_s

    def requests(self, ask: Ask, rng: np.random.Generator, seconds: float) -> Requests:
        """What it does with a load."""
        service_s = self.service_s * float(np.exp(rng.normal(0, self.noise)))
        if ask.over == "concurrency":
            return single_server(np.full(int(seconds / service_s) + 2, service_s), int(ask.level))
        count = int(1.1 * seconds * ask.level) + 300
        gaps = rng.exponential(1 / ask.level, count) if self.random else np.full(count, 1 / ask.level)
        arrivals = np.cumsum(gaps)
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
    """A load of the search, as long as the engine would keep it up."""
    settings, judge = probe_settings(EXPLORE, ask, load, 0, number), judge_of(ask, load, 0, number)
    asked_per_s = ask.level if ask.over == "rate" else None
    requests = server.requests(ask, np.random.default_rng([seed, number]), settings.deadline_s)
    decision, series = _stopped(requests, settings, _rule(settings, judge, asked_per_s))
    assert settings.limit is not None
    counted = tally(series.within(decision.window), settings.limit, asked_per_s, decision.warmup.steady)
    return replace(judge(counted), elapsed_s=decision.window.end_ns / 1e9)


def _rule(settings: MeasureSettings, judge: Judge, asked_per_s: float | None) -> Rule:
    if settings.windows is not None:
        return decide_by_windows
    return partial(decide_by_verdict, judge=judge, asked_per_s=asked_per_s)


def _stopped(requests: Requests, settings: MeasureSettings, rule: Rule) -> tuple[Decision, Series]:
    """As `Watch` does it: asks when a look is due, with everything until then."""
    look_ns = max(first_look_ns(settings), SLICE_NS)
    while True:
        series = columns(requests, look_ns / 1e9, SLICE_NS)
        decision = rule(series, settings, 1)
        if decision.stop:
            return decision, series
        look_ns = max(decision.next_look_ns, look_ns + SLICE_NS)
