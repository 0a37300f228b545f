"""Three windows alike: perf_analyzer's stop rule, as pure functions of closed slices.

From its third window on, perf_analyzer calls a level stable when of the last three windows the largest throughput is at
most 1 + s times the smallest, and likewise the mean latency or one percentile of it; then it merges the three. Such a
rule says nothing about the precision of the result and lets a steady drift of 0.5 % per second pass. It is here to
compare with numbers that were made that way. Two of its habits are left out: a point that never becomes stable is kept,
with a flag, and latency is never ignored (with `--async` it is, after the last trial).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runner.measure.series import Series, Window
from runner.measure.settings import MeasureSettings, WindowsRule
from runner.measure.stopping import Decision, Spread, StopReason
from runner.measure.warmup import Warmup, dropped_per_slot, floor

ALIKE = 3
"""So many windows in a row."""
LONGEST_SLICE_NS = 100_000_000


def decide_by_windows(series: Series, settings: MeasureSettings, slots: int) -> Decision:
    """Stop at the first three neighbouring windows that are alike, or after the last trial."""
    rule = settings.windows
    assert rule is not None
    now_ns = int(series.end_ns[-1]) if len(series) else 0
    start_ns = floor(series, settings, slots)
    windows = closed_windows(series, rule, start_ns)
    triples = [windows[first : first + ALIKE] for first in range(len(windows) - ALIKE + 1)]
    apart = [disagreement(series, triple, rule.percentile) for triple in triples]
    for triple, found in zip(triples, apart, strict=True):
        if found.share <= rule.within:
            return _stopped("three windows alike", series, triple, slots, now_ns)
    if len(windows) == rule.trials:
        last = apart[-1] if apart else None
        return _stopped("windows never alike", series, windows[-ALIKE:], slots, now_ns, last, steady=False)
    if now_ns >= int(settings.deadline_s * 1e9):
        rest = windows[-ALIKE:] or [Window(min(start_ns, now_ns), now_ns)]
        return _stopped("time cap", series, rest, slots, now_ns, apart[-1] if apart else None, steady=False)
    last_ns = windows[-1].end_ns if windows else start_ns
    next_ns = now_ns + 1 if rule.requests is not None else max(last_ns + int(rule.interval_s * 1e9), now_ns + 1)
    next_ns = min(next_ns, int(settings.deadline_s * 1e9))
    return Decision(False, None, next_ns, Window(min(start_ns, now_ns), now_ns), Warmup(start_ns, True, 0.0))


def closed_windows(series: Series, rule: WindowsRule, start_ns: int) -> list[Window]:
    """The windows that have ended, at most as many as there are trials; their edges are edges of slices."""
    found: list[Window] = []
    while len(found) < rule.trials:
        begin_ns = found[-1].end_ns if found else start_ns
        end_ns = _end_of(series, rule, begin_ns, start_ns, len(found) + 1)
        if end_ns is None:
            break
        found.append(Window(begin_ns, end_ns))
    return found


def _end_of(series: Series, rule: WindowsRule, begin_ns: int, start_ns: int, number: int) -> int | None:
    """End of the window that begins at `begin_ns`; None while it is open. By time, errors of rounding do not add up."""
    if rule.requests is None:
        due_ns = max(start_ns + round(number * rule.interval_s * 1e9), begin_ns + 1)
        position = int(np.searchsorted(series.end_ns, due_ns))
    else:
        answered = np.cumsum(np.where(series.end_ns > begin_ns, series.ok, 0))
        position = int(np.searchsorted(answered, rule.requests))
    return int(series.end_ns[position]) if position < len(series) else None


def disagreement(series: Series, windows: Sequence[Window], percentile: float | None) -> Spread:
    """The larger spread of throughput and latency over some windows."""
    parts = [series.within(window) for window in windows]
    rates = [part.completions / window.seconds for part, window in zip(parts, windows, strict=True)]
    if not all(rates):
        return Spread("throughput", float("inf"))
    if percentile is None:
        name, latencies = "mean latency", [part.mean_ns for part in parts]
    else:
        name, latencies = f"p{percentile:g}", [float(part.latency().quantile(percentile / 100)) for part in parts]
    found = [Spread("throughput", max(rates) / min(rates) - 1)]
    found.append(Spread(name, max(latencies) / min(latencies) - 1))
    return max(found, key=lambda each: each.share)


def _stopped(
    reason: StopReason,
    series: Series,
    windows: Sequence[Window],
    slots: int,
    now_ns: int,
    apart: Spread | None = None,
    *,
    steady: bool | None = None,
) -> Decision:
    """Measured are the windows together; everything before them counts as warm-up."""
    window = Window(windows[0].start_ns, windows[-1].end_ns)
    is_steady = apart is None if steady is None else steady
    warmup = Warmup(window.start_ns, is_steady, dropped_per_slot(series, window.start_ns, slots))
    return Decision(True, reason, now_ns, window, warmup, apart)


def slice_ns(rule: WindowsRule) -> int:
    """Length of the engine's slices: the interval halved until it is short, so that windows end where slices do.

    Slices of a long run are joined in pairs, which keeps such edges.
    """
    length = round(rule.interval_s * 1e9)
    while length > LONGEST_SLICE_NS:
        length = -(-length // 2)
    return length
