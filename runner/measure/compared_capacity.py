"""Two capacity searches against each other, by the loads that passed and failed beyond chance.

An answer has no interval of its own: it is a load that was confirmed, and the next one that was tried above it was
too much or was not told. What is known of the true capacity lies between the lowest answer and the lowest load above
that failed. Rates and latencies at the answers are not compared: they belong to different loads.
"""

from __future__ import annotations

from dataclasses import dataclass

from runner.results.capacity import Attempt, Capacity, Over
from runner.results.comparison import Contrast
from runner.results.contrasts import Effect, judge_within_run
from runner.results.records import Estimate

BY_VERDICTS = "bracket"
"""The strategy whose loads pass and fail beyond chance; the others believe single windows, as their tools do."""
_NOTE = "from the loads that passed and failed"


@dataclass(frozen=True)
class _Known:
    """Where the capacity lies, as far as the searches of one side tell."""

    level: float
    low: float
    high: float | None
    """None: no load above some answer failed beyond chance."""

    @classmethod
    def of(cls, capacity: Capacity) -> _Known:
        answers = [attempt for attempt in capacity.attempts if attempt.level is not None]
        assert capacity.level is not None
        lows = [attempt.level for attempt in answers if attempt.level is not None]
        failed = [_lowest_failed(attempt, capacity.over) for attempt in answers]
        known = [level for level in failed if level is not None]
        return cls(capacity.level, min(lows), max(known) if known and len(known) == len(failed) else None)


def _lowest_failed(attempt: Attempt, over: Over) -> float | None:
    """The lowest load above the answer that failed; one without a verdict may well be carried."""
    levels = [probe.level for probe in attempt.probes if probe.over == over and probe.verdict == "fail"]
    return min((level for level in levels if attempt.level is not None and level > attempt.level), default=None)


def why_not_compared(a: Capacity | None, b: Capacity | None) -> str | None:
    """Why two answers say nothing about each other, one of which may be no search; None where they do."""
    if a is None or b is None:
        return f"{'B' if a is None else 'A'} is a search for a capacity, {'A' if a is None else 'B'} is a given load"
    asked = [_question(each) for each in (a, b)]
    if asked[0] != asked[1]:
        return f"other limits: {asked[0]} | {asked[1]}"
    if a.limit_ms is None:
        return "a knee is a hint, and no number to compare"
    strange = {each.strategy for each in (a, b)} - {BY_VERDICTS}
    if strange:
        return f"{', '.join(sorted(strange))}: its loads do not pass and fail beyond chance; search by {BY_VERDICTS}"
    unanswered = [f"{name} {each.status}: {each.reason}" for name, each in (("A", a), ("B", b)) if each.level is None]
    return " · ".join(unanswered) or None


def _question(capacity: Capacity) -> str:
    limit = "a knee" if capacity.limit_ms is None else f"p{capacity.percentile:g} ≤ {capacity.limit_ms:g} ms"
    return f"{limit} over {capacity.over}"


def capacity_contrast(a: Capacity, b: Capacity, margin: float) -> Contrast:
    """The one metric of a search, with what is known of it on both sides; both have an answer to the same question."""
    one, other = _Known.of(a), _Known.of(b)
    change = Estimate(
        one.level / other.level - 1,
        None if other.high is None else one.low / other.high - 1,
        None if one.high is None else one.high / other.low - 1,
    )
    verdict = judge_within_run(Effect(change.value, change.low, change.high), margin)
    key, unit = ("capacity_per_s", "1/s") if a.over == "rate" else ("capacity_concurrency", "requests")
    return Contrast(key, unit, "max", one.level, other.level, change, verdict, certain=False, note=_NOTE)
