"""An engine in virtual time: the same protocol and bookkeeping, a scripted service, and no waiting."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from runner.errors import LoadError
from runner.load.engine import Adjust, LoadResult, OnSlices, Slice, checked_concurrency
from runner.load.plan import Arrivals, Constant, Gamma, Intervals, LoadPlan, OpenLoop, Periodic, Poisson, Replay
from runner.load.plan import ClosedLoop as Closed
from runner.results.histogram import Histogram

Draw = Callable[[float, random.Random], float]
"""Seconds of service for a request that a server begins at this many seconds."""
Verdict = Callable[[float, random.Random], str | None]
"""Failure code of a request sent at this many seconds, or None for success."""

STARTED_UNIX_NS = 1_700_000_000_000_000_000
_SECOND = 1_000_000_000
_REFUSED_AFTER_NS = 100_000_000


def constant(seconds: float) -> Draw:
    """Every request takes this long."""
    return lambda _now, _random: seconds


def exponential(mean_s: float) -> Draw:
    """Exponential service times: with one server, an M/M/1 queue under open load."""
    return lambda _now, random_: random_.expovariate(1 / mean_s)


def drifting(seconds: float, per_second: float) -> Draw:
    """Service that starts at `seconds` and grows by the share `per_second` of it every second."""
    return lambda now, _random: seconds * (1 + per_second * now)


def warming(seconds: float, factor: float, until_s: float) -> Draw:
    """Service that takes `factor` times as long until `until_s`."""
    return lambda now, _random: seconds * (factor if now < until_s else 1)


def failing(share: float, code: str = "unavailable") -> Verdict:
    """This share of the requests fails with `code`."""
    return lambda _now, random_: code if random_.random() < share else None


@dataclass(frozen=True, kw_only=True)
class FakeEngine:
    """A load on `servers` first-come-first-served servers; the same seed gives the same run."""

    service: Draw = field(default_factory=lambda: constant(0.01))
    servers: int = 1
    verdict: Verdict = lambda _now, _random: None
    dies_at_s: float | None = None
    """From then on the service is gone: what is in flight is lost, what follows is refused."""
    overhead_ns: int = 0
    """Client time added to every request."""
    seed: int = 0

    def run(self, plan: LoadPlan, payloads: Sequence[bytes], on_slices: OnSlices | None = None) -> LoadResult:
        """Simulate the plan; as `Engine.run`."""
        if not payloads:
            raise LoadError("the load plan is not valid: payloads: expected at least one")
        if isinstance(plan.schedule, Closed) and plan.schedule.concurrency < 1:
            raise LoadError(f"the load plan is not valid: schedule.concurrency: got {plan.schedule.concurrency}")
        return _Run(self, plan, on_slices).result()


def _offsets(arrivals: Arrivals, random_: random.Random) -> Iterator[int]:
    """Send times in nanoseconds; same law as the native engine's, other numbers."""
    match arrivals:
        case Constant(rate=rate):
            return (int(n * _SECOND / rate) for n in itertools.count())
        case Intervals(gaps_ns=gaps):
            return itertools.accumulate(itertools.cycle(gaps), initial=0)
        case Replay(offsets_ns=offsets):
            return iter(offsets)
        case Poisson(rate=rate):
            gaps_s = (random_.expovariate(rate) for _ in itertools.count())
        case Gamma(rate=rate, cv=cv):
            gaps_s = (random_.gammavariate(cv**-2, cv**2 / rate) for _ in itertools.count())
    return (int(at * _SECOND) for at in itertools.accumulate(gaps_s))


def _most_in_flight(load: Closed | Periodic | OpenLoop) -> int:
    match load:
        case Closed(concurrency=limit) | Periodic(start=limit) | OpenLoop(max_in_flight=limit):
            return limit


class _Ramp:
    """Steps of a periodic load, by the number of outcomes: slots of a simulated queue take turns."""

    def __init__(self, load: Periodic) -> None:
        self.load, self.outcomes = load, 0

    def limit_after_outcome(self, limit: int) -> int | None:
        """Requests in flight after one more outcome; None when the last step is over."""
        self.outcomes += 1
        if self.outcomes < limit * self.load.request_period:
            return limit
        self.outcomes = 0
        return None if limit >= self.load.end else min(limit + self.load.step, self.load.end)


class _Run:
    def __init__(self, engine: FakeEngine, plan: LoadPlan, on_slices: OnSlices | None) -> None:
        self.engine, self.plan, self.on_slices = engine, plan, on_slices
        self.random = random.Random(f"{engine.seed}/{plan.seed}")
        self.free_at = [0] * engine.servers
        self.pending: list[tuple[int, int, int, str | None]] = []
        self.order = itertools.count()
        self.recorder = _Recorder(plan.slice_ns)
        self.shown = 0
        self.stop_at = plan.max_duration_ns
        self.stopped_ns: int | None = None
        self.dies_ns = None if engine.dies_at_s is None else round(engine.dies_at_s * _SECOND)
        load = plan.schedule
        self.limit = _most_in_flight(load)
        self.ramp = _Ramp(load) if isinstance(load, Periodic) else None
        self.offsets = _offsets(load.arrivals, self.random) if isinstance(load, OpenLoop) else None
        self.due = None if self.offsets is None else next(self.offsets, None)

    def result(self) -> LoadResult:
        while self._step():
            pass
        return self._ended()

    def _step(self) -> bool:
        """Let the next thing happen, an outcome before a send of the same moment; False when nothing more does."""
        send_at = self._send_at()
        done_at = self.pending[0][0] if self.pending else None
        at = min((each for each in (done_at, send_at) if each is not None), default=None)
        if at is None or not self._reaches(at):
            return False
        self._until(at)
        if at == done_at:
            at, _, sent, code = heapq.heappop(self.pending)
            self.recorder.finished(at, at - sent, code)
            self._climb(at)
        elif self.stopped_ns is None:
            self._send(at)
        return True

    def _climb(self, at: int) -> None:
        if self.ramp is not None and self.stopped_ns is None:
            limit = self.ramp.limit_after_outcome(self.limit)
            if limit is None:
                self._stop(at)
            else:
                self.limit = limit

    def _send_at(self) -> int | None:
        if self.stopped_ns is not None:
            return None
        if self.offsets is not None:
            return self.due
        return self.recorder.now if len(self.pending) < self.limit else None

    def _reaches(self, at: int) -> bool:
        """Stop first where the plan's duration ends before `at`; False if the drain is over before it."""
        if self.stopped_ns is None and self.stop_at is not None and at >= self.stop_at:
            self._until(self.stop_at)
            self._stop(self.stop_at)
        return self.stopped_ns is None or at <= self.stopped_ns + self.plan.drain_timeout_ns

    def _until(self, now: int) -> None:
        for slice_ in self.recorder.close_until(now):
            answer = self._show(slice_)
            if isinstance(answer, Adjust):
                self.limit = checked_concurrency(self.plan, answer)
            elif answer:
                self._stop(slice_.end_ns)

    def _show(self, slice_: Slice) -> bool | Adjust | None:
        if self.on_slices is None:
            return None
        self.shown += 1
        return self.on_slices([slice_])

    def _stop(self, at: int) -> None:
        if self.stopped_ns is None:
            self.stopped_ns = at

    def _send(self, now: int) -> None:
        if len(self.pending) < self.limit:
            self.recorder.sent(now)
            heapq.heappush(self.pending, self._request(now))
        else:
            self.recorder.dropped += 1
            self.recorder.total_dropped += 1
        if self.offsets is not None:
            self.due = next(self.offsets, None)
        if self.recorder.total_sent + self.recorder.total_dropped == self.plan.max_requests or self._is_exhausted():
            self._stop(now)

    def _is_exhausted(self) -> bool:
        return self.offsets is not None and self.due is None

    def _request(self, now: int) -> tuple[int, int, int, str | None]:
        """The outcome of a request sent now, which first come first served decides at once."""
        done, code = self._outcome(now)
        timeout = now + self.plan.request_timeout_ns
        if done > timeout:
            done, code = timeout, "timeout"
        return done, next(self.order), now, code

    def _outcome(self, now: int) -> tuple[int, str | None]:
        dies = self.dies_ns
        if dies is not None and now >= dies:
            return now + _REFUSED_AFTER_NS, "connect_refused"
        begin = max(now, heapq.heappop(self.free_at))
        done = begin + max(1, round(self.engine.service(begin / _SECOND, self.random) * _SECOND))
        heapq.heappush(self.free_at, done)
        if dies is not None and done > dies:
            return dies, "connection_lost"
        return done + self.engine.overhead_ns, self.engine.verdict(now / _SECOND, self.random)

    def _ended(self) -> LoadResult:
        recorder = self.recorder
        stopped = recorder.now if self.stopped_ns is None else self.stopped_ns
        end = stopped + self.plan.drain_timeout_ns if self.pending else max(recorder.now, stopped)
        for slice_ in recorder.close_until(end):
            self._show(slice_)
        recorder.close(end)
        return LoadResult(
            started_unix_ns=STARTED_UNIX_NS,
            elapsed_ns=end,
            stopped_ns=stopped,
            slices=tuple(recorder.slices[self.shown :]),
            sent=recorder.total_sent,
            ok=sum(s.ok for s in recorder.slices),
            failed=dict(sum((Counter(s.failed) for s in recorder.slices), Counter[str]())),
            dropped=recorder.total_dropped,
            unfinished=len(self.pending),
            examples={code: f"scripted {code}" for s in recorder.slices for code in s.failed},
            reconnects=0,
            workers=1,
        )


class _Recorder:
    """Slices with absolute edges, as the native engine's workers keep them."""

    def __init__(self, slice_ns: int) -> None:
        self.slice_ns = slice_ns
        self.slices: list[Slice] = []
        self.now = 0
        self.in_flight = 0
        self.total_sent = self.total_dropped = 0
        self._open()

    def _open(self) -> None:
        self.start, self.in_slice, self.in_flight_ns, self.dropped = self.now, 0, 0, 0
        self.latencies: list[int] = []
        self.failed: Counter[str] = Counter()

    def _advance(self, now: int) -> None:
        self.in_flight_ns += self.in_flight * (now - self.now)
        self.now = now

    def sent(self, now: int) -> None:
        self._advance(now)
        self.in_flight += 1
        self.in_slice += 1
        self.total_sent += 1

    def finished(self, now: int, latency_ns: int, code: str | None) -> None:
        self._advance(now)
        self.in_flight -= 1
        if code is None:
            self.latencies.append(latency_ns)
        else:
            self.failed[code] += 1

    def close_until(self, now: int) -> list[Slice]:
        first = len(self.slices)
        while now >= self.start + self.slice_ns:
            self.close(self.start + self.slice_ns)
        return self.slices[first:]

    def close(self, at: int) -> None:
        self._advance(at)
        latency = Histogram.from_values(self.latencies)
        self.slices.append(
            Slice(
                start_ns=self.start,
                end_ns=at,
                sent=self.in_slice,
                ok=len(self.latencies),
                failed=dict(self.failed),
                dropped=self.dropped,
                in_flight=self.in_flight,
                in_flight_ns=self.in_flight_ns,
                latency_sum_ns=sum(self.latencies),
                latency_max_ns=max(self.latencies, default=0),
                bytes_sent=0,
                bytes_received=0,
                cpu_ns=0,
                stall_max_ns=0,
                latency=latency,
                service=latency,
                send_lag=Histogram.from_values([0] * len(self.latencies)),
            )
        )
        self._open()
