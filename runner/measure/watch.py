"""The engine's callback during a trial: collects slices, asks the stop rule when a look is due, reports progress."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from runner.errors import ServiceError
from runner.load.engine import LoadResult, Slice
from runner.load.history import History
from runner.measure.series import Series, Window
from runner.measure.settings import MeasureSettings
from runner.measure.slo import ViolationBudget
from runner.measure.stopping import Decision, Spread, StopReason, decide, first_look_ns, too_many_errors
from runner.measure.warmup import Warmup, find_warmup
from runner.measure.windows import decide_by_windows
from runner.results.histogram import Histogram

CHECK_EVERY_NS = 1_000_000_000
"""How often the server is asked whether it lives; at once when requests fail."""
PROGRESS_EVERY_NS = 200_000_000
RECENT_SLICES = 10
"""Progress shows the last second."""


@dataclass(frozen=True, kw_only=True)
class TrialProgress:
    """Where a trial stands; rates and latency are of the last second."""

    phase: Literal["warm-up", "measuring"]
    elapsed_s: float
    deadline_s: float
    """The trial stops sending no later than this."""
    completions: int
    failed: int
    in_flight: int
    requests_per_s: float
    inferences_per_s: float
    p50_ms: float
    """0 while nothing has completed."""
    violated: tuple[int, int] | None = None
    """Of a soak with an objective: windows that missed it, of how many."""


OnProgress = Callable[[TrialProgress], None]
Rule = Callable[[Series, MeasureSettings, int], Decision]
"""When to stop, from the slices so far and the requests kept in flight."""


class Watch:
    """Called by the engine with the slices that closed; returns True to stop."""

    def __init__(
        self,
        settings: MeasureSettings,
        slots: int,
        batch: int,
        server_check: Callable[[], None],
        on_progress: OnProgress | None = None,
        stop_asked: Callable[[], bool] = lambda: False,
        rule: Rule | None = None,
    ) -> None:
        self.stop_asked = stop_asked
        self.settings, self.slots, self.batch = settings, slots, batch
        self.server_check, self.on_progress = server_check, on_progress
        self.history = History()
        self.later: list[Slice] = []
        """Closed after the decision to stop: joining them to earlier ones would move the window's edges."""
        self.recent: deque[Slice] = deque(maxlen=RECENT_SLICES)
        self._stopped = False
        self.ok = self.failed = 0
        self.reason: StopReason = "plan ended"
        self.aborted: str | None = None
        self.death: ServiceError | None = None
        """What the server check said when it found the server gone."""
        self.warmup = Warmup(0, True, 0.0)
        self.apart: Spread | None = None
        """Why windows that should be alike are not."""
        self._decide = rule or (decide if settings.windows is None else decide_by_windows)
        self.slo = None if settings.slo is None else ViolationBudget(settings.slo, settings.warmup_min_s)
        self._window: Window | None = None
        self._next_look_ns = first_look_ns(settings)
        self._next_check_ns = CHECK_EVERY_NS
        self._next_progress_ns = 0

    def __call__(self, slices: Sequence[Slice]) -> bool:
        if not slices:
            return False
        if self._stopped:
            self.later.extend(slices)
        else:
            self.history.extend(slices)
        self.recent.extend(slices)
        if self.slo is not None:
            self.slo.add(slices)
        self.ok += sum(s.ok for s in slices)
        newly_failed = sum(sum(s.failed.values()) for s in slices)
        self.failed += newly_failed
        now_ns = slices[-1].end_ns
        if newly_failed or now_ns >= self._next_check_ns:
            self._next_check_ns = now_ns + CHECK_EVERY_NS
            if self._server_is_gone():
                return True
        self._show(now_ns)
        self._stopped = self._stop(now_ns) or self._stopped
        return self._stopped

    def whole(self, result: LoadResult) -> LoadResult:
        """The result with every slice of the run."""
        return replace(result, slices=(*self.history.slices, *self.later, *result.slices))

    def _server_is_gone(self) -> bool:
        # Kept instead of raised: an exception would end the load without its counts and first messages.
        try:
            self.server_check()
        except ServiceError as error:
            self.death = error
        return self.death is not None

    def window(self, result: LoadResult) -> Window:
        """What was measured: the stop rule's window, or everything for a fixed number of requests."""
        if self._window is not None:
            return self._window
        if self.settings.measures_all:
            return self._everything(result)
        sent = Series.of([s for s in result.slices if s.end_ns <= result.stopped_ns] or result.slices)
        self.warmup = find_warmup(sent, self.settings, self.slots)
        if not self.settings.soak:
            self.aborted = self.aborted or "the load ended before the stop rule said so"
        return self._shortened(sent)

    def _everything(self, result: LoadResult) -> Window:
        """First send to last answer; with unanswered requests the end of the last slice that holds an outcome."""
        wanted = (self.settings.requests or 0) + self.settings.warmup_requests
        if result.sent + result.dropped < wanted and self.aborted is None:
            took_s = result.stopped_ns / 1e9
            self.aborted = f"{result.sent} of {wanted} requests were sent in {took_s:.3g} s"
        if not self.aborted:
            at_cap = self.settings.requests is None and result.stopped_ns >= int(self.settings.deadline_s * 1e9)
            self.reason = "time cap" if at_cap else "all requests answered"
        answered = [s.end_ns for s in result.slices if s.ok or s.failed]
        last_ns = answered[-1] if answered else result.elapsed_ns
        end_ns = min(last_ns, result.elapsed_ns)
        if self.settings.warmup_requests:
            self.warmup = find_warmup(Series.of(result.slices), self.settings, self.slots)
        return Window(min(self.warmup.end_ns, end_ns), end_ns)

    def _shortened(self, series: Series) -> Window:
        """The window of a trial that ended too early; without its warm-up as far as anything is left then."""
        end_ns = int(series.end_ns[-1]) if len(series) else 0
        start_ns = self.warmup.end_ns
        if start_ns >= end_ns or not series.within(Window(start_ns, end_ns)).completions:
            self.warmup = Warmup(0, False, 0.0)
            start_ns = 0
        return Window(start_ns, end_ns)

    def _stop(self, now_ns: int) -> bool:
        if self._stopped:
            return True
        if self.stop_asked():
            self.reason = "stopped by the user"
            self.aborted = None if self.settings.soak else "the user stopped it"
            return True
        # An objective counts failures as misses, and its budget says how many there may be.
        if self.slo is None and too_many_errors(self.ok, self.failed, self.settings):
            self.reason = "too many errors"
            share, limit = self.failed / (self.ok + self.failed), self.settings.max_error_rate
            self.aborted = f"{share:.1%} of the requests failed (measure.max_error_rate {limit:.1%})"
            return True
        if self.settings.soak:
            return self._soaked(now_ns)
        if self.settings.measures_all or now_ns < self._next_look_ns:
            return False
        decision = self._decide(Series.of(self.history.slices), self.settings, self.slots)
        self.warmup, self._next_look_ns = decision.warmup, decision.next_look_ns
        if decision.stop and decision.reason is not None:
            self.reason, self._window, self.apart = decision.reason, decision.window, decision.apart
        return decision.stop

    def _soaked(self, now_ns: int) -> bool:
        """Whether the time that the scenario gives a soak is over, or its violation budget."""
        if self.slo is not None and self.slo.exhausted is not None:
            self.reason = "violation budget exhausted"
            return True
        if now_ns < int(self.settings.deadline_s * 1e9):
            return False
        self.reason = "time cap"
        return True

    def _show(self, now_ns: int) -> None:
        if self.on_progress is None or now_ns < self._next_progress_ns:
            return
        self._next_progress_ns = now_ns + PROGRESS_EVERY_NS
        recent = self.recent
        seconds = (recent[-1].end_ns - recent[0].start_ns) / 1e9
        rate = sum(s.ok for s in recent) / seconds if seconds > 0 else 0.0
        items = sum(s.items or s.ok * self.batch for s in recent) / seconds if seconds > 0 else 0.0
        latency = Histogram.merged(s.latency for s in recent)
        warm_ns = int(self.settings.warmup_min_s * 1e9)
        self.on_progress(
            TrialProgress(
                phase="measuring" if now_ns > warm_ns else "warm-up",
                elapsed_s=now_ns / 1e9,
                deadline_s=self.settings.deadline_s,
                completions=self.ok,
                failed=self.failed,
                in_flight=recent[-1].in_flight,
                requests_per_s=rate,
                inferences_per_s=items,
                p50_ms=latency.quantile(0.5) / 1e6 if latency.count else 0.0,
                violated=None if self.slo is None else (self.slo.violated, self.slo.windows),
            )
        )
