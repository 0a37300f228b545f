"""When a trial has seen enough: looks at doubling times, between a floor and a cap; always with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from runner.measure.drift import SUSPICION, find_fall, may_still_move
from runner.measure.intervals import BatchMeans, batch_count, half_width, mean_latency, percentile, throughput
from runner.measure.series import Series, Window
from runner.measure.settings import MeasureSettings
from runner.measure.warmup import Warmup, find_warmup, floor

StopReason = Literal[
    "precision reached",
    "three windows alike",
    "windows never alike",
    "verdict reached",
    "violation budget exhausted",
    "time cap",
    "all requests answered",
    "too many errors",
    "plan ended",
    "stopped by the user",
]
MIN_OUTCOMES_FOR_ABORT = 100
"""Until so many outcomes are in, the error budget is that of so many: two early failures are not yet a rate."""
MIN_COMPLETIONS = 40
"""Below that no half-width is believed: ten batches of four."""


@dataclass(frozen=True)
class Spread:
    """What differs most between windows; `share` is largest / smallest - 1, infinite when one is 0."""

    what: str
    share: float


@dataclass(frozen=True)
class Decision:
    """Stop or go on; `next_look_ns` is when it makes sense to ask again."""

    stop: bool
    reason: StopReason | None
    next_look_ns: int
    window: Window
    warmup: Warmup
    apart: Spread | None = None
    """Why windows that should be alike are not."""


def first_look_ns(settings: MeasureSettings) -> int:
    """No earlier than this is there anything to decide."""
    if settings.windows is not None:
        return int(settings.warmup_min_s * 1e9)
    return int((settings.warmup_min_s + min(settings.window_min_s, settings.window_max_s)) * 1e9)


def decide(series: Series, settings: MeasureSettings, slots: int) -> Decision:
    """Judge the window so far; `slots` is the number of requests kept in flight.

    Looks are at the floor of the window and at its doublings, because every look costs the interval coverage.
    """
    now_ns = int(series.end_ns[-1]) if len(series) else 0
    cap_ns = int(settings.deadline_s * 1e9)
    warmup = find_warmup(series, settings, slots)
    window = Window(min(warmup.end_ns, now_ns), now_ns)
    floor_ns = int(settings.window_min_s * 1e9)

    def go_on(next_look_ns: int) -> Decision:
        return Decision(False, None, min(next_look_ns, cap_ns), window, warmup)

    if now_ns >= cap_ns:
        return Decision(True, "time cap", now_ns, window, warmup)
    if now_ns - warmup.end_ns < floor_ns:
        return go_on(max(warmup.end_ns + floor_ns, now_ns + 1))
    inner = series.within(window)
    if warmup.steady and good_enough(inner, window, settings) and not _fell(series, warmup, window):
        return Decision(True, "precision reached", now_ns, window, warmup)
    return go_on(doubled(floor(series, settings, slots), floor_ns, now_ns))


def _fell(series: Series, warmup: Warmup, window: Window) -> bool:
    """What MSER-5 cut away seems to have been faster than the rest, so it was no warm-up: a longer window will tell."""
    if warmup.floor_ns is None or warmup.end_ns <= warmup.floor_ns:
        return False
    return find_fall(series.within(Window(warmup.floor_ns, window.end_ns)), SUSPICION).found


def doubled(start_ns: int, step_ns: int, now_ns: int) -> int:
    """The next look: the first doubling of the step that lies behind `now_ns`."""
    step = max(step_ns, 1)
    while start_ns + step <= now_ns:
        step *= 2
    return start_ns + step


def good_enough(window_series: Series, window: Window, settings: MeasureSettings) -> bool:
    """Every half-width that was asked for is reached at the stop rule's confidence, and nothing seems to drift."""
    if window_series.completions < max(MIN_COMPLETIONS, settings.fewest_completions):
        return False
    if batch_count(window_series) < settings.window_min_batches:
        return False
    if not precise(window_series, window, settings, settings.stop_confidence):
        return False
    return not may_still_move(window_series, settings.window_max_s)


def precise(window_series: Series, window: Window, settings: MeasureSettings, confidence: float) -> bool:
    """Every relative half-width that was asked for is reached."""
    if not window_series.completions:
        return False
    means: list[tuple[float | None, BatchMeans]] = [
        (settings.throughput, throughput(window_series, window.seconds, confidence)),
        (settings.mean, mean_latency(window_series, confidence)),
    ]
    if any(limit is not None and not (m.reliable and half_width(m.estimate) <= limit) for limit, m in means):
        return False
    latency = window_series.latency()
    return all(
        half_width(percentile(window_series, q, confidence, latency).estimate) <= limit
        for q, limit in settings.percentile_precision.items()
    )


def too_many_errors(ok: int, failed: int, settings: MeasureSettings) -> bool:
    """More failures than `max_error_rate` allows of all outcomes so far, or of the first hundred."""
    return failed > math.floor(settings.max_error_rate * max(ok + failed, MIN_OUTCOMES_FOR_ABORT))
