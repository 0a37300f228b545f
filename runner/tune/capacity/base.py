"""A capacity search as a state machine: it is asked for a load, told what became of it, and in the end has an answer.

No clock, no network, no chance: what is asked next follows from what was told. So a search that was killed goes on by
telling a fresh one everything that is in the journal. A strategy is a generator: it yields the loads that it wants
tried, is sent the probes that they became, and returns how it ended.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

from runner.results.capacity import Attempt, Over, Probe, Stage, Status
from runner.scenario.schema import SlaLoad
from runner.tune.capacity.isotonic import audit
from runner.tune.capacity.verdict import Rule


@dataclass(frozen=True)
class Ask:
    """A load that is to be tried."""

    stage: Stage
    over: Over
    level: float
    rule: Rule
    first_s: float
    """Length of the window at the first look."""
    max_s: float
    """By then it is judged."""
    fresh_server: bool = False
    """On a server that was started anew."""

    def is_last(self, window_s: float) -> bool:
        """No look comes after that of a window of this length."""
        return window_s > 0.9 * self.max_s


@dataclass(frozen=True)
class Ending:
    """How a strategy ended."""

    status: Status
    reason: str
    level: float | None = None
    high: float | None = None
    per_s: float | None = None
    second_opinion: float | None = None


Steps = Generator[Ask, Probe, Ending]
Tried = Generator[Ask, Probe, Probe]


@dataclass
class Log:
    """What was tried so far, and whether the budget leaves more."""

    load: SlaLoad
    probes: list[Probe] = field(default_factory=list)

    @property
    def spent(self) -> str | None:
        """Which limit of the budget is reached, in words; None while there is some left."""
        budget, load_s = self.load.budget, sum(probe.elapsed_s for probe in self.probes)
        if len(self.probes) >= budget.probes:
            return f"load.budget.probes: {budget.probes} loads were tried"
        if budget.time is not None and load_s >= budget.time:
            return f"load.budget.time: {load_s:.0f} s of load were spent"
        return None

    def tried(self, ask: Ask) -> Tried:
        """Try a load, once again if the first time says nothing about the server."""
        probe = yield ask
        if probe.verdict == "invalid":
            probe = yield ask
        return probe


Strategy = Callable[[SlaLoad, Log], Steps]


class Search:
    """One attempt, driven from outside."""

    def __init__(self, load: SlaLoad, strategy: Strategy) -> None:
        self._log = Log(load)
        self._steps = strategy(load, self._log)
        self._ending: Ending | None = None
        self._pending: Ask | None = next(self._steps)

    def ask(self) -> Ask | None:
        """The load to try next, the same until it was told; None when the search is over."""
        return self._pending

    def tell(self, probe: Probe) -> None:
        """What became of the load that was asked for."""
        assert self._pending is not None, "nothing was asked"
        self._log.probes.append(probe)
        try:
            self._pending = self._steps.send(probe)
        except StopIteration as stop:
            self._ending, self._pending = stop.value, None

    @property
    def number(self) -> int:
        """Of the next probe."""
        return len(self._log.probes)

    @property
    def probes(self) -> Sequence[Probe]:
        """Everything that was told."""
        return tuple(self._log.probes)

    def attempt(self) -> Attempt:
        """The answer; only when nothing is asked any more."""
        ending, probes = self._ending, self._log.probes
        assert ending is not None, "the search is not over"
        levels = [probe for probe in probes if probe.over == self._log.load.over and probe.stage not in _ASIDE]
        return Attempt(
            status=ending.status,
            reason=ending.reason,
            level=ending.level,
            high=ending.high,
            per_s=ending.per_s,
            probes=tuple(probes),
            unresolved=tuple(sorted({probe.level for probe in levels if probe.verdict == "unresolved"})),
            audit=None if ending.status == "hint" else audit(levels),
            second_opinion=ending.second_opinion,
        )


_ASIDE = ("saturate",)
"""Stages that look for something else than the limit."""


def replay(search: Search, recorded: Sequence[Probe]) -> int:
    """Tell a fresh search what a killed one had finished; returns how many of them it would have asked for itself."""
    for count, probe in enumerate(recorded):
        ask = search.ask()
        if ask is None or (ask.stage, ask.over, ask.level) != (probe.stage, probe.over, probe.level):
            return count
        search.tell(probe)
    return len(recorded)


def readable(level: float) -> float:
    """A rate with five digits: what is asked for is what can be written down."""
    return float(f"{level:.5g}")
