"""What a scripted server does with its requests: a queue in virtual time, without sockets or clocks of its own."""

from __future__ import annotations

import heapq
import itertools
import json
import random
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Literal

Outcome = Literal["ok", "wrong", "error", "lost"]


@dataclass(frozen=True, kw_only=True)
class Script:
    """Service times in seconds, counted from the first arrival; the same seed gives the same times."""

    service: Literal["constant", "exponential"] = "constant"
    mean_s: float = 0.02
    servers: int = 1
    """Requests served at a time, first come first served; 0: as many as come."""
    batch: int = 1
    """Most requests that a server takes together; `mean_s` is for each batch, `item_s` for each request in it."""
    item_s: float = 0.0
    stall_every_s: float = 0.0
    stall_s: float = 0.0
    """Frozen for the last so many seconds of every period: nothing is answered then."""
    slow_until_s: float = 0.0
    slow_factor: float = 1.0
    drift_per_s: float = 0.0
    step_at_s: float = 0.0
    step_factor: float = 1.0
    """Service takes so many times as long from `step_at_s` on."""
    error_every: int = 0
    """Every so many-th request is refused; 0: none."""
    lost_every: int = 0
    """Every so many-th is never answered."""
    wrong_every: int = 0
    """Every so many-th gets another answer than the expected one."""
    seed: int = 0

    def to_json(self) -> str:
        """For the command line of the server's process."""
        return json.dumps(asdict(self))

    def outcome(self, number: int) -> Outcome:
        """What becomes of request `number`, counted from 1."""
        every: tuple[tuple[int, Outcome], ...] = (
            (self.lost_every, "lost"),
            (self.error_every, "error"),
            (self.wrong_every, "wrong"),
        )
        return next((outcome for n, outcome in every if n and number % n == 0), "ok")


@dataclass(order=True)
class _Answer:
    at_s: float
    order: int
    token: object = field(compare=False)
    outcome: Outcome = field(compare=False)


class Queue:
    """Takes arrivals, says when answers are due. All deadlines are absolute: lateness never adds up."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.random = random.Random(script.seed)
        self.began_s: float | None = None
        self.free = [0.0] * script.servers
        self.waiting: deque[tuple[float, int, object]] = deque()
        self.answers: list[_Answer] = []
        self.counts: dict[Outcome, int] = {"ok": 0, "wrong": 0, "error": 0, "lost": 0}
        self.batches = 0
        self._numbers = itertools.count(1)
        self._order = itertools.count()

    def arrive(self, now_s: float, token: object) -> None:
        """A request is here."""
        if self.began_s is None:
            self.began_s = now_s
            self.free = [now_s] * len(self.free)
        self.waiting.append((now_s, next(self._numbers), token))
        self._start(now_s)

    def next_s(self) -> float | None:
        """When something is due: an answer, or a server that takes the next batch."""
        due = [self.answers[0].at_s] if self.answers else []
        if self.waiting and self.free:
            due.append(max(self.free[0], self.waiting[0][0]))
        return min(due, default=None)

    def take(self, now_s: float) -> list[tuple[float, object, Outcome]]:
        """Everything that was due by now, with its time."""
        self._start(now_s)
        taken = []
        while self.answers and self.answers[0].at_s <= now_s:
            answer = heapq.heappop(self.answers)
            self.counts[answer.outcome] += 1
            taken.append((answer.at_s, answer.token, answer.outcome))
        return taken

    def _start(self, now_s: float) -> None:
        while self.waiting:
            if not self.free:
                self._serve(self.waiting[0][0], 1)
                continue
            begin = max(self.free[0], self.waiting[0][0])
            if begin > now_s and self.script.batch > 1:
                return  # more may come until then
            ready = sum(1 for arrived, _, _ in itertools.islice(self.waiting, self.script.batch) if arrived <= begin)
            heapq.heapreplace(self.free, self._serve(begin, ready))

    def _serve(self, begin_s: float, count: int) -> float:
        """Serve the next `count` together; when they are done."""
        done = self._thawed(begin_s + self._service_s(begin_s, count))
        self.batches += 1
        for _ in range(count):
            _, number, token = self.waiting.popleft()
            heapq.heappush(self.answers, _Answer(done, next(self._order), token, self.script.outcome(number)))
        return done

    def _service_s(self, begin_s: float, count: int) -> float:
        script, since = self.script, begin_s - (self.began_s or 0.0)
        each = script.mean_s + script.item_s * count
        if script.service == "exponential":
            each *= self.random.expovariate(1.0)
        if since < script.slow_until_s:
            each *= script.slow_factor
        if script.step_at_s and since >= script.step_at_s:
            each *= script.step_factor
        return each * (1 + script.drift_per_s * since)

    def _thawed(self, at_s: float) -> float:
        script = self.script
        if not script.stall_every_s:
            return at_s
        phase = (at_s - (self.began_s or 0.0)) % script.stall_every_s
        return at_s if phase < script.stall_every_s - script.stall_s else at_s + script.stall_every_s - phase
