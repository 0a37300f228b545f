"""A window counted against a limit on the latency: what a verdict on a load rests on.

Nothing that the client did not get in time is left out: late answers, failures, requests that were dropped because too
many were waiting, and requests that still had no answer although the limit had passed.
"""

from __future__ import annotations

from collections.abc import Callable

from runner.measure.intervals import inefficiency
from runner.measure.rules import LimitRule
from runner.measure.saturation import find_backlog
from runner.measure.series import Series, Window
from runner.measure.settings import MeasureSettings
from runner.measure.stopping import Decision, doubled
from runner.measure.warmup import Warmup, dropped_per_slot, floor
from runner.results.capacity import Probe, Tally
from runner.results.histogram import bucket_index

Judge = Callable[[Tally], Probe]
"""The verdict on what was counted; `unresolved` asks for a longer window."""


def tally(series: Series, rule: LimitRule, asked_per_s: float | None, steady: bool = True) -> Tally:
    """Count the slices of a window; `asked_per_s` is the rate of an open loop."""
    limit_ns = int(rule.limit_s * 1e9)
    histogram, q = series.latency(), rule.percentile / 100
    late = int(series.cell_count[series.cell_bucket > bucket_index(limit_ns)].sum())
    failed, dropped, overdue = int(series.failed.sum()), int(series.dropped.sum()), _overdue(series, limit_ns)
    quantile_ns = histogram.quantile(q) if histogram.count else 0
    in_flight_end = int(series.in_flight[-1]) if len(series) else 0
    seconds = series.seconds
    return Tally(
        window_s=seconds,
        requests=series.completions + failed + dropped + overdue,
        late=late,
        failed=failed,
        dropped=dropped,
        overdue=overdue,
        # Of its own quantile, not of the limit: there may be no late ones yet.
        tau=inefficiency(series, q, bucket_index(quantile_ns)),
        quantile_ms=quantile_ns / 1e6,
        mean_ms=series.mean_ns / 1e6 if series.completions else 0.0,
        offered_per_s=float((series.sent + series.dropped).sum()) / seconds if seconds else 0.0,
        delivered_per_s=series.completions / seconds if seconds else 0.0,
        growth=in_flight_end - series.in_flight_before,
        saturated=asked_per_s is not None and find_backlog(series).saturates(asked_per_s),
        steady=steady,
    )


def _overdue(series: Series, limit_ns: int) -> int:
    """In flight at the end, less all that were sent within the limit before it: so many at least are too old.

    Slices tell when requests were sent, not which of them were answered; first come first served makes it exact.
    """
    if not len(series):
        return 0
    recent = series.end_ns > series.end_ns[-1] - limit_ns
    return max(0, int(series.in_flight[-1]) - int(series.sent[recent].sum()))


def decide_by_verdict(
    series: Series, settings: MeasureSettings, slots: int, judge: Judge, asked_per_s: float | None
) -> Decision:
    """Stop as soon as the verdict is there; looks are at the first window and at its doublings.

    The warm-up ends at its floor: MSER-5 would cut away what made the first requests late.
    """
    rule = settings.limit
    assert rule is not None
    now_ns = int(series.end_ns[-1]) if len(series) else 0
    start_ns, cap_ns = floor(series, settings, slots), int(settings.deadline_s * 1e9)
    window = Window(min(start_ns, now_ns), now_ns)
    warmup = Warmup(window.start_ns, True, dropped_per_slot(series, window.start_ns, slots), window.start_ns)
    first_ns = int(settings.window_min_s * 1e9)
    if now_ns < min(start_ns + first_ns, cap_ns):
        return Decision(False, None, min(start_ns + first_ns, cap_ns), window, warmup)
    if judge(tally(series.within(window), rule, asked_per_s)).verdict != "unresolved":
        return Decision(True, "verdict reached", now_ns, window, warmup)
    if now_ns >= cap_ns:
        return Decision(True, "time cap", now_ns, window, warmup)
    return Decision(False, None, min(doubled(start_ns, first_ns, now_ns), cap_ns), window, warmup)
