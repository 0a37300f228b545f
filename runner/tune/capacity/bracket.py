"""The search that is recommended: bracket the highest load that meets the limit, narrow the bracket, confirm its end.

1. One request at a time: if even that misses the limit, nothing will meet it.
2. A closed loop that grows until more requests in flight bring no more: what the server can do at all.
3. A coarse sweep below that, because a limit need not be missed from some load on: with dynamic batching a request
   waits for company at low rates.
4. Bisection on the logarithm between the highest load that passed and the lowest one above it that did not. What is
   unresolved counts as not passed.
5. The lower end, again, on a fresh server with other arrivals: no run of it may fail, and all together must pass.

A search over requests in flight doubles them instead of 2 and 3, and bisects whole numbers.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Generator, Sequence
from dataclasses import replace

from runner.results.capacity import Probe, Stage, Tally
from runner.scenario.schema import SlaLoad
from runner.tune.capacity.base import Ask, Ending, Log, Steps, readable
from runner.tune.capacity.verdict import fewest_requests, together

SWEEP = (0.2, 0.4, 0.6, 0.8, 0.95)
"""Shares of what the server can do at all."""
GAIN = 1.03
"""Doubled requests in flight that bring less than this have saturated the server."""
MOST_SLOTS = 4096
STEPS_DOWN = 3
"""So often a load that was not confirmed is replaced by one that is smaller by the resolution."""


def bracket(load: SlaLoad, log: Log) -> Steps:
    """Over the rate of an open loop, or the requests in flight of a closed one."""
    search = _OverRate(load, log) if load.over == "rate" else _OverConcurrency(load, log)
    alone = yield from log.tried(search.alone())
    if alone.verdict == "invalid":
        return Ending("no answer", f"one request at a time could not be measured: {alone.reason}")
    if alone.verdict == "fail":
        return Ending("infeasible", f"one request at a time misses the limit already: {alone.reason}", high=alone.level)
    low = yield from search.enclosed()
    if isinstance(low, Ending):
        return low
    high = search.next_above(low)
    while high is not None and log.spent is None and (middle := search.middle(low, high)) is not None:
        probe = yield from log.tried(search.ask("bisect", middle))
        low, high = (middle, high) if probe.verdict == "pass" else (low, middle)
    return (yield from _confirmed(search, low, high))


class _Bracket:
    """What both kinds of search do alike."""

    def __init__(self, load: SlaLoad, log: Log) -> None:
        self.load, self.log = load, log

    def ask(self, stage: Stage, level: float) -> Ask:
        return Ask(stage, self.load.over, level, "verdict", self.load.probe.first, self.load.probe.max)

    def alone(self) -> Ask:
        probe = self.load.probe
        return Ask("alone", "concurrency", 1, "verdict", probe.first, probe.max, fresh_server=True)

    def confirmation(self, level: float, first: bool) -> Ask:
        window = self.load.confirm.window
        longest = max(window, self.load.probe.max)
        return Ask("confirm", self.load.over, level, "verdict", window, longest, fresh_server=first)

    def probes(self) -> Sequence[Probe]:
        """Of loads of the kind that is searched."""
        return [p for p in self.log.probes if p.over == self.load.over and p.stage != "saturate"]

    def highest_passed(self) -> float | None:
        return max((p.level for p in self.probes() if p.verdict == "pass"), default=None)

    def next_above(self, low: float) -> float | None:
        """The lowest load above it that did not pass."""
        return min((p.level for p in self.probes() if p.verdict != "pass" and p.level > low), default=None)

    def tried(self, stage: Stage, level: float) -> Generator[Ask, Probe, bool]:
        """Whether it passed."""
        probe = yield from self.log.tried(self.ask(stage, level))
        return probe.verdict == "pass"

    def raised(self, low: float, grow: float) -> Generator[Ask, Probe, float]:
        """Raise a load that passes until one does not, ever faster, as far as the range goes."""
        most = self.load.range.max or math.inf
        while low < most and self.log.spent is None:
            level = self.rounded(min(low * grow, most))
            if not (yield from self.tried("raise", level)):
                break
            low, grow = level, min(grow * grow, 2.0)
        return low

    def rounded(self, level: float) -> float:
        return readable(level)


class _OverRate(_Bracket):
    def enclosed(self) -> Generator[Ask, Probe, float | Ending]:
        """The highest rate that passed, once everything is known that says where to look."""
        most = yield from self._saturated()
        if most is None:
            return Ending("no answer", "no load could be measured that would saturate the server")
        least = self.load.range.min or 0.0
        top = min(most, self.load.range.max or math.inf)
        levels = sorted({self.rounded(max(share * top, least)) for share in SWEEP})
        for level in levels:
            if level <= top and self.log.spent is None:
                yield from self.tried("sweep", level)
        low = self.highest_passed()
        if low is None:
            return (yield from self._lowered(levels[0]))
        return low if self.next_above(low) is not None else (yield from self.raised(low, 1.1))

    def _saturated(self) -> Generator[Ask, Probe, float | None]:
        """Requests per second of a closed loop that brings no more when it is doubled."""
        slots, best, window_s = 2, 0.0, self.load.probe.first
        while slots <= MOST_SLOTS and self.log.spent is None:
            probe = yield Ask("saturate", "concurrency", slots, "observed", window_s, window_s)
            rate = probe.tally.delivered_per_s if probe.tally is not None else 0.0
            if rate <= GAIN * best:
                break
            best, slots = max(best, rate), 2 * slots
        return best or None

    def _lowered(self, level: float) -> Generator[Ask, Probe, float | Ending]:
        """Halve the rate until one passes, or until a probe could not hold enough requests to tell."""
        fewest = fewest_requests(self.load.percentile) / self.load.probe.max
        least = self.rounded(max(self.load.range.min or 0.0, fewest))
        while level > least and self.log.spent is None:
            level = self.rounded(max(level / 2, least))
            if (yield from self.tried("lower", level)):
                return level
        words = self.log.spent or f"one request at a time meets the limit, but no rate down to {level:g}/s does"
        return Ending("infeasible", words, high=level)

    def middle(self, low: float, high: float) -> float | None:
        """Between both on the logarithm; None where they are close enough."""
        if high <= low * (1 + self.load.resolution):
            return None
        middle = self.rounded(math.sqrt(low * high))
        return middle if low < middle < high else None

    def below(self, level: float) -> float:
        return self.rounded(level * (1 - self.load.resolution))


class _OverConcurrency(_Bracket):
    def alone(self) -> Ask:
        return replace(super().alone(), level=int(self.load.range.min or 1))

    def enclosed(self) -> Generator[Ask, Probe, float | Ending]:
        """The highest number that passed before one did not."""
        low = self.highest_passed()
        if low is None:
            return Ending("no answer", "no verdict on one request at a time was reached; raise load.probe.max")
        return (yield from self.raised(low, 2.0))

    def middle(self, low: float, high: float) -> float | None:
        close = high - low <= max(1, self.load.resolution * low)
        return None if close else (int(low) + int(high)) // 2

    def below(self, level: float) -> float:
        return max(1, min(int(level) - 1, int(level * (1 - self.load.resolution))))

    def rounded(self, level: float) -> float:
        return int(level)


def _confirmed(search: _OverRate | _OverConcurrency, low: float, high: float | None) -> Steps:
    """The load that stands the confirmation, at most three steps below the one that was found."""
    found = low
    for _ in range(1 + STEPS_DOWN):
        stood = yield from _stood(search, low)
        if stood:
            return _ending(search, low, high, statistics.fmean(stood))
        low, high = search.below(low), low
    words = f"{found:g} passed in the search, but neither it nor {STEPS_DOWN} smaller loads stood the confirmation"
    return Ending("unconfirmed", words, high=high)


def _stood(search: _OverRate | _OverConcurrency, level: float) -> Generator[Ask, Probe, list[float]]:
    """Answers per second of the confirming probes, if none of them fails and all together pass; else none.

    To ask that each passes alone would throw away what the others know, and understate the capacity.
    """
    tallies: list[Tally] = []
    for number in range(search.load.confirm.repeats):
        probe = yield from search.log.tried(search.confirmation(level, number == 0))
        if probe.verdict not in ("pass", "unresolved") or probe.tally is None:
            return []
        tallies.append(probe.tally)
    verdict, _ = together(tallies, search.load.percentile)
    return [tally.delivered_per_s for tally in tallies] if verdict == "pass" else []


def _ending(search: _OverRate | _OverConcurrency, low: float, high: float | None, per_s: float) -> Ending:
    spent = search.log.spent
    if high is None:
        end = (
            f"the range ends at {search.load.range.max:g}" if low == search.load.range.max else spent or "nothing more"
        )
        return Ending("at least", f"the limit is still met where the search ended: {end}", low, None, per_s)
    stopper = next((p for p in reversed(search.probes()) if p.level == high and p.verdict != "pass"), None)
    if stopper is not None and stopper.verdict == "invalid":
        return Ending("at least", f"above, nothing could be measured: {stopper.reason}", low, high, per_s)
    words = f"{low:g} passed and was confirmed, {high:g} did not pass"
    if spent and search.middle(low, high) is not None:
        words += f"; the search ended early, {spent}"
    return Ending("found", words, low, high, per_s)
