"""The answer of a capacity search in one sentence."""

from __future__ import annotations

from runner.results.capacity import Capacity, Over


def capacity_sentence(capacity: Capacity) -> str:
    """For example `capacity 365.6/s (bracket to 372.2/s) at p95 ≤ 12 ms: …`."""
    if capacity.status == "hint":
        return f"knee at {level_text(capacity.level, capacity.over)}{_per_s(capacity)}: {capacity.reason}"
    limit = f"p{capacity.percentile:g} ≤ {capacity.limit_ms or 0:g} ms"
    if capacity.level is None:
        return f"{capacity.status} at {limit}: {capacity.reason}"
    least = "at least " if capacity.status == "at least" else ""
    return f"capacity {least}{level_text(capacity.level, capacity.over)}{_per_s(capacity)}{_range(capacity)} at {limit}"


def level_text(level: float | None, over: Over) -> str:
    """`365.6/s`, or `16 in flight`."""
    if level is None:
        return "–"
    return f"{level:.5g}/s" if over == "rate" else f"{level:.0f} in flight"


def _per_s(capacity: Capacity) -> str:
    """What the requests in flight bring; of a rate it is the rate."""
    known = capacity.per_s is not None and capacity.over == "concurrency"
    return f" ({capacity.per_s:.5g} requests/s)" if known else ""


def _range(capacity: Capacity) -> str:
    several = len(capacity.attempts) > 1
    low, high = (level_text(each, capacity.over) for each in (capacity.low, capacity.high))
    if several:
        return f", {len(capacity.attempts)} searches between {low} and {high}"
    return f", bracket up to {high}" if capacity.high is not None else ""
