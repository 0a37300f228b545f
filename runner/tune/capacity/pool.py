"""Independent searches as one answer: the median of what they found, and its range."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median_low

from runner.results.capacity import Attempt, Capacity
from runner.scenario.schema import SlaLoad


def pooled(load: SlaLoad, attempts: Sequence[Attempt]) -> Capacity:
    """Of at least one attempt. An answer needs at least half of the searches to have one."""
    answered = [attempt for attempt in attempts if attempt.level is not None]
    enough = 2 * len(answered) >= len(attempts) and bool(answered)
    chosen = representative(answered) if enough else _first_without(attempts)
    highs = [attempt.high for attempt in answered if attempt.high is not None]
    levels = [attempt.level for attempt in answered if attempt.level is not None]
    others = (
        f" ({len(answered)} of {len(attempts)} searches have an answer)" if len(answered) < len(attempts) > 1 else ""
    )
    return Capacity(
        over="concurrency" if load.latency is None else load.over,
        strategy="knee" if load.latency is None else load.strategy,
        percentile=load.percentile,
        limit_ms=None if load.latency is None else load.latency * 1e3,
        status=chosen.status,
        reason=chosen.reason + others,
        level=chosen.level if enough else None,
        low=min(levels) if enough else None,
        high=max(highs) if enough and highs else None,
        per_s=chosen.per_s if enough else None,
        attempts=tuple(attempts),
    )


def representative(answered: Sequence[Attempt]) -> Attempt:
    """The search whose answer is the median; of an even number the lower one of the middle: it was confirmed."""
    middle = median_low(attempt.level for attempt in answered if attempt.level is not None)
    return next(attempt for attempt in answered if attempt.level == middle)


def _first_without(attempts: Sequence[Attempt]) -> Attempt:
    return next(attempt for attempt in attempts if attempt.level is None)
