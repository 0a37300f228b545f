"""What every `Engine` keeps: subclass `EngineContract`, provide the fixtures `engine` and `plan`.

`plan` keeps four requests in flight on a service that answers within a second; it sets neither a count nor a duration.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from runner.errors import LoadError
from runner.load.engine import Adjust, Engine, LoadResult, Slice
from runner.load.plan import ClosedLoop, Constant, LoadPlan, OpenLoop, Periodic
from runner.results.histogram import Histogram

PAYLOADS = [b"first", b"second"]
PATIENCE = 300
"""Slices, of 0.1 s, that something may take on a busy machine."""


def assert_books_balance(result: LoadResult) -> None:
    """Nothing is counted twice and nothing is lost, in the totals as in the slices."""
    slices = result.slices
    assert result.sent == result.ok + sum(result.failed.values()) + result.unfinished
    assert result.sent == sum(s.sent for s in slices)
    assert result.ok == sum(s.ok for s in slices)
    assert result.dropped == sum(s.dropped for s in slices)
    assert sum(result.failed.values()) == sum(sum(s.failed.values()) for s in slices)
    assert set(result.examples) == set(result.failed)
    assert slices[-1].in_flight == result.unfinished
    for slice_ in slices:
        assert slice_.ok == slice_.latency.count == slice_.service.count == slice_.send_lag.count


def assert_slices_tile_the_run(result: LoadResult, slice_ns: int) -> None:
    """Absolute edges, no gap, no overlap, and only the last slice shorter."""
    for number, slice_ in enumerate(result.slices):
        assert slice_.start_ns == number * slice_ns
        assert slice_.end_ns == min((number + 1) * slice_ns, result.elapsed_ns)
    assert result.slices[-1].end_ns == result.elapsed_ns
    assert result.stopped_ns <= result.elapsed_ns


def replaced_by_open(plan: LoadPlan) -> LoadPlan:
    load = OpenLoop(arrivals=Constant(rate=100))
    return dataclasses.replace(plan, schedule=load, max_duration_ns=3_000_000_000)


class EngineContract:
    """The suite."""

    def test_a_request_count_is_kept_exactly(self, engine: Engine, plan: LoadPlan) -> None:
        result = engine.run(dataclasses.replace(plan, max_requests=50), PAYLOADS)
        assert (result.sent, result.ok, result.failed, result.unfinished) == (50, 50, {}, 0)
        assert_books_balance(result)
        assert_slices_tile_the_run(result, plan.slice_ns)

    def test_a_duration_ends_the_sending(self, engine: Engine, plan: LoadPlan) -> None:
        result = engine.run(dataclasses.replace(plan, max_duration_ns=520_000_000), PAYLOADS)
        assert result.stopped_ns == 520_000_000
        assert result.ok > 0
        assert_books_balance(result)
        assert_slices_tile_the_run(result, plan.slice_ns)

    def test_true_from_the_callback_stops_the_load(self, engine: Engine, plan: LoadPlan) -> None:
        seen: list[Slice] = []

        def on_slices(fresh: Sequence[Slice]) -> bool:
            seen.extend(fresh)
            return len(seen) >= 3

        result = engine.run(plan, PAYLOADS, on_slices)
        result = dataclasses.replace(result, slices=(*seen, *result.slices))
        assert [s.start_ns for s in seen] == [n * plan.slice_ns for n in range(len(seen))]
        assert result.stopped_ns >= 3 * plan.slice_ns
        assert sum(s.sent for s in result.slices if s.start_ns >= result.stopped_ns) == 0
        assert_books_balance(result)
        assert_slices_tile_the_run(result, plan.slice_ns)

    def test_the_concurrency_may_change_while_it_runs(self, engine: Engine, plan: LoadPlan) -> None:
        """Each is waited for: on a busy machine the load may stand still for a while."""
        between = {4: (2.01, 4.01), 9: (4.01, 9.01), 2: (0.0, 2.01)}
        coming, seen = list(between), 0

        def on_slices(fresh: Sequence[Slice]) -> bool | Adjust:
            nonlocal seen
            seen += len(fresh)
            for slice_ in fresh if coming else ():
                low, high = between[coming[0]]
                if low < slice_.in_flight_ns / (slice_.end_ns - slice_.start_ns) <= high:
                    del coming[0]
                    break
            return Adjust(coming[0]) if coming and seen < PATIENCE else True

        engine.run(plan, PAYLOADS, on_slices)
        assert coming == [], f"not reached in {seen} slices"

    def test_only_a_closed_loop_has_a_concurrency_to_change(self, engine: Engine, plan: LoadPlan) -> None:
        with pytest.raises(LoadError, match="only a closed loop"):
            engine.run(replaced_by_open(plan), PAYLOADS, lambda _fresh: Adjust(3))

    def test_a_periodic_load_ends_with_its_last_step(self, engine: Engine, plan: LoadPlan) -> None:
        load = Periodic(start=1, end=5, step=2, request_period=10)
        result = engine.run(dataclasses.replace(plan, schedule=load), PAYLOADS)
        assert_books_balance(result)
        assert result.ok >= 10 * (1 + 3 + 5) - 4
        assert max(s.in_flight for s in result.slices) <= 5

    def test_an_exception_of_the_callback_comes_back_as_itself(self, engine: Engine, plan: LoadPlan) -> None:
        mine = ZeroDivisionError("mine")

        def on_slices(_fresh: Sequence[Slice]) -> bool:
            raise mine

        with pytest.raises(ZeroDivisionError) as caught:
            engine.run(plan, PAYLOADS, on_slices)
        assert caught.value is mine

    def test_the_concurrency_is_kept(self, engine: Engine, plan: LoadPlan) -> None:
        result = engine.run(dataclasses.replace(plan, max_duration_ns=520_000_000), PAYLOADS)
        assert all(s.in_flight <= 4 for s in result.slices)
        assert all(s.in_flight_ns <= 4 * (s.end_ns - s.start_ns) for s in result.slices)
        assert max(s.in_flight_ns / (s.end_ns - s.start_ns) for s in result.slices) > 0

    def test_littles_law_holds_over_a_whole_run(self, engine: Engine, plan: LoadPlan) -> None:
        result = engine.run(dataclasses.replace(plan, max_requests=400), PAYLOADS)
        assert sum(s.in_flight_ns for s in result.slices) == sum(s.latency_sum_ns for s in result.slices)

    def test_the_maximum_is_in_the_top_bucket(self, engine: Engine, plan: LoadPlan) -> None:
        result = engine.run(dataclasses.replace(plan, max_requests=100), PAYLOADS)
        exact = max(s.latency_max_ns for s in result.slices)
        assert Histogram.merged(s.latency for s in result.slices).max_ns == pytest.approx(exact, rel=1e-3)

    def test_nonsense_is_refused(self, engine: Engine, plan: LoadPlan) -> None:
        with pytest.raises(LoadError, match=r"schedule\.concurrency"):
            engine.run(dataclasses.replace(plan, schedule=ClosedLoop(concurrency=0)), PAYLOADS)
        with pytest.raises(LoadError, match="payloads"):
            engine.run(plan, [])
