from __future__ import annotations

from typing import Any

import pytest

from runner.load.engine import Extra, LoadResult, Slice
from runner.measure.whole import whole_load
from runner.results.histogram import Histogram
from runner.results.records import TimeSplit

MS = 1_000_000
NOTHING = Histogram.from_values(())


def cut(start_ms: int, ok: int, latency_ms: float, **changes: Any) -> Slice:
    """100 ms in which so many requests ended, each after this long: a tenth of it in every part but the wait."""
    each = int(latency_ms * MS * ok / 10)
    fields: dict[str, Any] = {
        "start_ns": start_ms * MS,
        "end_ns": (start_ms + 100) * MS,
        "sent": ok,
        "ok": ok,
        "failed": {},
        "dropped": 0,
        "in_flight": 1,
        "in_flight_ns": 100 * MS,
        "latency_sum_ns": 10 * each,
        "latency_max_ns": int(latency_ms * MS),
        "bytes_sent": 1000 * ok,
        "bytes_received": 10 * ok,
        "cpu_ns": 0,
        "stall_max_ns": 0,
        "latency": NOTHING,
        "service": NOTHING,
        "send_lag": NOTHING,
        "extra": Extra(queue_ns=each, write_ns=each, wait_ns=7 * each, read_ns=each),
    }
    return Slice(**(fields | changes))


def result(*slices: Slice, elapsed_ms: int = 300) -> LoadResult:
    ok = sum(s.ok for s in slices)
    return LoadResult(
        started_unix_ns=1_700_000_000_000_000_001,
        elapsed_ns=elapsed_ms * MS,
        stopped_ns=elapsed_ms * MS,
        slices=slices,
        sent=ok,
        ok=ok,
        failed={},
        dropped=0,
        unfinished=0,
        examples={},
        reconnects=0,
        workers=1,
    )


def test_warm_up_and_drain_are_in_it() -> None:
    found = whole_load(result(cut(0, 10, 50), cut(100, 30, 10), cut(200, 10, 20)))
    assert found is not None
    assert (found.completions, found.elapsed_s, found.latency_mean_ms) == (50, 0.3, pytest.approx(20))
    assert found.time_split == TimeSplit(*map(pytest.approx, (2, 2, 14, 2)))
    assert (found.bytes_sent, found.bytes_received) == (50_000, 500)
    assert found.started_unix_ns == 1_700_000_000_000_000_001


def test_waiting_for_what_never_comes_is_no_load() -> None:
    found = whole_load(result(cut(0, 10, 50), cut(100, 0, 0, failed={"timeout": 1}), cut(200, 0, 0), elapsed_ms=10_000))
    assert found is not None
    assert found.elapsed_s == 0.2


def test_the_last_slice_may_be_longer_than_the_load() -> None:
    found = whole_load(result(cut(0, 10, 50), elapsed_ms=70))
    assert found is not None
    assert found.elapsed_s == 0.07


def test_none_without_successes_or_parts() -> None:
    assert whole_load(result()) is None
    assert whole_load(result(cut(0, 0, 0))) is None
    assert whole_load(result(cut(0, 10, 50, extra=Extra()))) is None
