"""The violation budget of a soak: so many windows may miss the objective, one more ends it.

One window at a time is counted, so a soak may go on for ever.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from runner.load.engine import Slice
from runner.measure.rules import SloRule
from runner.results.histogram import bucket_index
from runner.results.slo import SloOutcome

ROUNDING = 1e-12
"""1 - 0.9 is a little less than a tenth."""


@dataclass
class _Window:
    end_ns: int
    requests: int = 0
    missed: int = 0
    waiting: bool = False
    """Requests were in flight all the time."""

    @property
    def share(self) -> float:
        """Of missed requests; all of them where some waited and none had an outcome."""
        if not self.requests:
            return 1.0 if self.waiting else 0.0
        return self.missed / self.requests


class ViolationBudget:
    """Told of every closed slice; `exhausted` is a sentence as soon as there is nothing left."""

    def __init__(self, rule: SloRule, warmup_s: float) -> None:
        self.rule = rule
        self.exhausted: str | None = None
        self.windows = self.violated = self.requests = self.missed = 0
        self.worst = 0.0
        self._limit_bucket = bucket_index(int(rule.limit_s * 1e9))
        self._start_ns = int(warmup_s * 1e9)
        self._open = self._next(self._start_ns)

    def add(self, slices: Iterable[Slice]) -> None:
        """Count what happened; slices of the warm-up are left out, what comes after the end too."""
        for slice_ in slices:
            if slice_.start_ns >= self._start_ns and self.exhausted is None:
                self._count(slice_)
                if slice_.end_ns >= self._open.end_ns:
                    self._close(slice_.end_ns)

    @property
    def allowed(self) -> int:
        """Windows that may be violated so far: a number, or a share of those that are over, at least one."""
        rule = self.rule
        if rule.budget_windows is not None:
            return rule.budget_windows
        return max(1, math.floor((rule.budget_share or 0.0) * self.windows)) if rule.budget_share else 0

    def outcome(self) -> SloOutcome:
        """As a trial keeps it."""
        return SloOutcome(
            percentile=self.rule.percentile,
            limit_ms=self.rule.limit_s * 1e3,
            window_s=self.rule.window_s,
            windows=self.windows,
            violated=self.violated,
            allowed=self.allowed,
            requests=self.requests,
            missed=self.missed,
            worst=self.worst,
            exhausted=self.exhausted,
        )

    def _next(self, start_ns: int) -> _Window:
        return _Window(start_ns + int(self.rule.window_s * 1e9), waiting=True)

    def _count(self, slice_: Slice) -> None:
        late = int(slice_.latency.counts[slice_.latency.indices > self._limit_bucket].sum())
        failed = sum(slice_.failed.values())
        window = self._open
        window.requests += slice_.ok + failed + slice_.dropped
        window.missed += late + failed + slice_.dropped
        window.waiting = window.waiting and slice_.in_flight > 0

    def _close(self, now_ns: int) -> None:
        window, self._open = self._open, self._next(self._open.end_ns)
        self.windows += 1
        self.requests += window.requests
        self.missed += window.missed
        self.worst = max(self.worst, window.share)
        if window.share > 1 - self.rule.percentile / 100 + ROUNDING:
            self.violated += 1
        if self.violated > self.allowed:
            self.exhausted = self._sentence(now_ns)

    def _sentence(self, now_ns: int) -> str:
        rule = self.rule
        return (
            f"{self.violated} of {self.windows} windows of {rule.window_s:g} s missed p{rule.percentile:g} ≤ "
            f"{rule.limit_s * 1e3:g} ms, {self.allowed} may; the soak ended after {now_ns / 1e9:.0f} s"
        )
