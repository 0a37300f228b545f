from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from runner.load.engine import Extra, Slice
from runner.load.fake import FakeEngine, exponential, failing
from runner.load.history import MOST_SLICES, History
from runner.load.plan import ClosedLoop, LoadPlan, NullTransport
from runner.results.histogram import Histogram

SUMS = ("sent", "ok", "dropped", "in_flight_ns", "latency_sum_ns", "bytes_sent", "bytes_received", "cpu_ns")


def slices() -> tuple[Slice, ...]:
    plan = LoadPlan(
        transport=NullTransport(),
        schedule=ClosedLoop(concurrency=3),
        max_duration_ns=30_000_000_000,
        slice_ns=50_000_000,
    )
    engine = FakeEngine(service=exponential(0.01), servers=2, verdict=failing(0.01))
    return tuple(replace(s, dropped=n % 3, cpu_ns=n) for n, s in enumerate(engine.run(plan, [b"x"]).slices))


ALL = slices()


@pytest.mark.parametrize("count", [1, 7, 16, 17, 33, 100, len(ALL)])
@pytest.mark.parametrize("chunk", [1, 5])
def test_nothing_is_lost_and_little_is_kept(count: int, chunk: int) -> None:
    history = History(most=16)
    for start in range(0, count, chunk):
        history.extend(ALL[start : min(start + chunk, count)])
    held, given = history.slices, ALL[:count]
    assert len(held) <= 16
    for name in SUMS:
        assert sum(getattr(s, name) for s in held) == sum(getattr(s, name) for s in given)
    for name in ("latency", "service", "send_lag"):
        assert Histogram.merged(getattr(s, name) for s in held) == Histogram.merged(getattr(s, name) for s in given)
    assert sum(s.failed.get("unavailable", 0) for s in held) == sum(s.failed.get("unavailable", 0) for s in given)
    assert max(s.latency_max_ns for s in held) == max(s.latency_max_ns for s in given)
    assert held[-1].in_flight == given[-1].in_flight


@pytest.mark.parametrize("count", [16, 17, 40, 100, 599])
def test_slices_tile_the_time_and_are_of_one_length_but_the_last(count: int) -> None:
    history = History(most=16)
    history.extend(ALL[:count])
    held = history.slices
    assert (held[0].start_ns, held[-1].end_ns) == (0, ALL[count - 1].end_ns)
    assert all(a.end_ns == b.start_ns for a, b in pairwise(held))
    assert len({s.end_ns - s.start_ns for s in held[:-1]}) <= 1
    assert len(held) == count if count <= 16 else len(held) > 8


def test_latency_and_service_stay_one_object() -> None:
    history = History(most=2)
    history.extend(ALL[:9])
    assert all(s.service is s.latency for s in history.slices)


def test_what_streams_and_sequences_add_is_joined_beyond_the_usual_limit() -> None:
    def extra(n: int) -> Extra:
        some = {"first_response": Histogram.from_values([n + 1])} if n % 3 else {}
        return Extra(
            responses=n,
            sequences=1,
            closing=n % 2,
            queue_ns=n,
            histograms={**some, "responses_per_request": Histogram.from_values([n % 7])},
        )

    given = [replace(s, extra=extra(n)) for n, s in enumerate(ALL)]
    assert len(given) > 2 * MOST_SLICES
    history = History()
    history.extend(given)
    assert len(history.slices) <= MOST_SLICES
    for name in ("responses", "sequences", "closing", "queue_ns"):
        assert sum(getattr(s.extra, name) for s in history.slices) == sum(getattr(s.extra, name) for s in given)
    for name in ("first_response", "responses_per_request"):
        held, all_ = (
            Histogram.merged(s.extra.histograms[name] for s in slices_ if name in s.extra.histograms)
            for slices_ in (history.slices, given)
        )
        assert held == all_
