"""The client's side of a whole load: what the server's counters, read before and after it, have to be held against;
and its slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from runner.load.engine import LoadResult, Slice
from runner.measure.extras import time_split
from runner.measure.series import Window
from runner.measure.settings import MeasureSettings
from runner.results.records import WholeLoad


def whole_load(result: LoadResult) -> WholeLoad | None:
    """Means over every success of a load; None without one, and where the engine does not split latencies."""
    slices = result.slices
    ok = sum(s.ok for s in slices)
    split = time_split(slices, Window(0, slices[-1].end_ns)) if slices else None
    if not ok or split is None:
        return None
    # Waiting for answers that never come is not part of the load.
    last_ns = max(s.end_ns for s in slices if s.ok or s.failed)
    return WholeLoad(
        elapsed_s=min(last_ns, result.elapsed_ns) / 1e9,
        completions=ok,
        latency_mean_ms=sum(s.latency_sum_ns for s in slices) / ok / 1e6,
        time_split=split,
        bytes_sent=sum(s.bytes_sent for s in slices),
        bytes_received=sum(s.bytes_received for s in slices),
        started_unix_ns=result.started_unix_ns,
    )


def closed_slices(result: LoadResult, settings: MeasureSettings) -> Sequence[Slice]:
    """Every slice; where everything is measured the last one ends with the last answer.

    Elsewhere one of no length holds what happened at the very edge of the one before, which belongs to no window there.
    """
    if not result.slices:
        return result.slices
    last = result.slices[-1]
    if not settings.measures_all:
        behind = (replace(last, end_ns=last.end_ns + 1),) if last.start_ns == last.end_ns else (last,)
        return (*result.slices[:-1], *behind)
    if last.start_ns < result.elapsed_ns < last.end_ns:
        return (*result.slices[:-1], replace(last, end_ns=result.elapsed_ns))
    return result.slices
