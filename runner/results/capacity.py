"""What is kept of a capacity search: every load that was tried, what it counted, what was made of it, the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Over = Literal["rate", "concurrency"]
"""What a level counts: requests per second of an open loop, or requests in flight of a closed one."""
Stage = Literal["alone", "saturate", "sweep", "raise", "lower", "bisect", "confirm", "climb", "ladder"]
"""alone: one request in flight · saturate: how much it can do at all · sweep: the shape · raise and lower: where no end
of the bracket is known · bisect · confirm · climb: other strategies · ladder: for the knee."""
Verdict = Literal["pass", "fail", "unresolved", "invalid"]
"""pass and fail: beyond chance · unresolved: not told by the end · invalid: says nothing about the server."""
Status = Literal["found", "at least", "infeasible", "unconfirmed", "no answer", "hint"]
"""found: confirmed, with a miss above it · at least: confirmed, nothing above it was tried · infeasible: missed by one
request at a time, or everywhere · unconfirmed: nothing stood the confirmation · no answer: the tool's own rule ended
without one · hint: a knee."""


@dataclass(frozen=True)
class Tally:
    """A window counted against a limit; requests that never got an answer in time are in it."""

    window_s: float
    requests: int
    """Answered, failed, dropped and overdue."""
    late: int
    """Answered after the limit."""
    failed: int
    dropped: int
    overdue: int
    """Still in flight when the window ended, and older than the limit by then; a lower bound."""
    tau: float
    """Requests that carry the information of one, from the correlation of those above their own quantile."""
    quantile_ms: float
    """The percentile of the limit, as observed among the answered ones."""
    mean_ms: float
    offered_per_s: float
    """Requests due in the window, dropped ones included, per second."""
    delivered_per_s: float
    """Successful answers per second."""
    growth: int
    """Requests in flight at the end minus those at the start."""
    saturated: bool
    """Fewer answers than asked for beyond chance, and a growing queue."""
    steady: bool = True
    """False where the rule that ended the load looked for likeness and found none."""

    @property
    def missed(self) -> int:
        """Requests that were not answered within the limit."""
        return self.late + self.failed + self.dropped + self.overdue


@dataclass(frozen=True)
class Probe:
    """One load of a search, and the verdict on it."""

    attempt: int
    number: int
    """In its attempt, from 0."""
    stage: Stage
    over: Over
    level: float
    """Requests per second, or requests in flight."""
    verdict: Verdict
    reason: str
    tally: Tally | None
    """None where nothing could be measured."""
    elapsed_s: float = 0.0
    """Of the whole trial."""


@dataclass(frozen=True)
class Audit:
    """Do the shares of late requests rise with the load, as they should? Isotonic regression over the probes."""

    monotone: bool
    worst: float
    """Largest difference between an observed share and the rising curve closest to all of them."""
    at: float | None = None
    """Level of that difference."""


@dataclass(frozen=True)
class Attempt:
    """One independent search."""

    status: Status
    reason: str
    """One sentence: how it ended."""
    level: float | None
    """The answer: the lower end of the confirmed bracket."""
    high: float | None
    """The lowest level above it that did not pass; None where there is none."""
    per_s: float | None
    """Successful answers per second at `level`."""
    probes: tuple[Probe, ...]
    unresolved: tuple[float, ...] = ()
    """Levels on which no verdict was reached; they count as not passed."""
    audit: Audit | None = None
    second_opinion: float | None = None
    """Of a knee: the level that Kneedle picks; None where it finds none."""

    @property
    def load_s(self) -> float:
        """Time that the probes took."""
        return sum(probe.elapsed_s for probe in self.probes)


@dataclass(frozen=True)
class Capacity:
    """The answer of a case that is measured by a search."""

    over: Over
    strategy: str
    percentile: float
    limit_ms: float | None
    """None: without a limit, a knee."""
    status: Status
    reason: str
    level: float | None
    """Median of the attempts' answers (of an even number the lower one of the middle): a level that was confirmed."""
    low: float | None
    high: float | None
    """Range: the lowest answer, and the highest end of a bracket."""
    per_s: float | None
    """Successful answers per second at `level`."""
    attempts: tuple[Attempt, ...]
