from __future__ import annotations

import pytest

from runner.load.engine import Engine
from runner.load.fake import FakeEngine, constant, drifting, exponential, failing, warming
from runner.load.plan import (
    Arrivals,
    ClosedLoop,
    Constant,
    Gamma,
    Intervals,
    LoadPlan,
    NullTransport,
    OpenLoop,
    Poisson,
    Replay,
)
from runner.results.histogram import Histogram
from tests.contracts.engine import EngineContract, assert_books_balance, assert_slices_tile_the_run

SECOND = 1_000_000_000


def plan(concurrency: int = 4, **changes: int) -> LoadPlan:
    return LoadPlan(transport=NullTransport(), schedule=ClosedLoop(concurrency=concurrency), **changes)


class TestContract(EngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return FakeEngine(service=constant(0.001), servers=2)

    @pytest.fixture
    def plan(self) -> LoadPlan:
        return plan()


@pytest.mark.parametrize(("servers", "concurrency"), [(1, 1), (1, 4), (4, 2), (4, 16)])
def test_constant_service_gives_the_textbook_throughput_and_latency(servers: int, concurrency: int) -> None:
    engine = FakeEngine(service=constant(0.01), servers=servers)
    result = engine.run(plan(concurrency, max_duration_ns=20 * SECOND), [b"x"])
    assert result.ok / (result.elapsed_ns / SECOND) == pytest.approx(min(servers, concurrency) / 0.01, rel=0.01)
    median = Histogram.merged(s.latency for s in result.slices).quantile(0.5)
    assert median / SECOND == pytest.approx(0.01 * max(1, concurrency / servers), rel=0.002)


def test_the_same_seed_gives_the_same_run_and_another_does_not() -> None:
    def run(seed: int) -> object:
        return FakeEngine(service=exponential(0.01), seed=seed).run(plan(max_requests=200), [b"x"])

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_scripted_failures_are_counted_and_never_timed() -> None:
    result = FakeEngine(verdict=failing(0.25, "resource_exhausted")).run(plan(max_requests=1000), [b"x"])
    assert result.failed["resource_exhausted"] == pytest.approx(250, abs=60)
    assert result.examples.keys() == {"resource_exhausted"}
    assert_books_balance(result)


def test_a_dead_service_loses_what_is_in_flight_and_refuses_the_rest() -> None:
    result = FakeEngine(dies_at_s=0.5, servers=4).run(plan(max_duration_ns=SECOND), [b"x"])
    assert result.failed.keys() <= {"connection_lost", "connect_refused"}
    assert result.failed["connect_refused"] == 4 * 5
    assert_books_balance(result)


def test_slow_answers_time_out_and_unanswered_ones_stay_unfinished() -> None:
    slow = FakeEngine(service=constant(2.0), servers=4)
    timed_out = slow.run(plan(max_requests=4, request_timeout_ns=SECOND), [b"x"])
    assert (timed_out.failed, timed_out.elapsed_ns) == ({"timeout": 4}, SECOND)
    censored = slow.run(plan(max_duration_ns=SECOND, drain_timeout_ns=SECOND // 2), [b"x"])
    assert (censored.unfinished, censored.elapsed_ns) == (4, 3 * SECOND // 2)
    assert_books_balance(censored)
    assert_slices_tile_the_run(censored, 100_000_000)


def test_drift_and_warm_up_show_in_the_slices() -> None:
    drift = FakeEngine(service=drifting(0.01, 0.1)).run(plan(1, max_duration_ns=10 * SECOND), [b"x"]).slices
    assert drift[-2].latency_max_ns > 1.8 * drift[0].latency_max_ns
    warm = FakeEngine(service=warming(0.01, 3, 1.0)).run(plan(1, max_duration_ns=2 * SECOND), [b"x"]).slices
    assert (warm[0].latency_max_ns, warm[-2].latency_max_ns) == (30_000_000, 10_000_000)


def open_plan(arrivals: Arrivals, max_in_flight: int = 100_000, **changes: int) -> LoadPlan:
    load = OpenLoop(arrivals=arrivals, max_in_flight=max_in_flight)
    return LoadPlan(transport=NullTransport(), schedule=load, **changes)


def test_an_open_load_on_one_server_is_the_textbook_queue() -> None:
    engine = FakeEngine(service=exponential(0.001))
    result = engine.run(open_plan(Poisson(rate=500), max_requests=40_000), [b"x"])
    mean_s = sum(s.latency_sum_ns for s in result.slices) / result.ok / SECOND
    assert mean_s == pytest.approx(0.002, rel=0.1)
    assert_books_balance(result)
    assert_slices_tile_the_run(result, 100_000_000)


@pytest.mark.parametrize("arrivals", [Constant(rate=100), Poisson(rate=100), Gamma(rate=100, cv=0.5)])
def test_the_offered_rate_is_the_asked_one(arrivals: Arrivals) -> None:
    result = FakeEngine(service=constant(0.001)).run(open_plan(arrivals, max_duration_ns=50 * SECOND), [b"x"])
    assert result.sent == pytest.approx(5000, rel=0.05)


def test_what_may_not_be_sent_is_dropped() -> None:
    engine = FakeEngine(service=constant(0.01))
    result = engine.run(open_plan(Constant(rate=200), 5, max_duration_ns=10 * SECOND), [b"x"])
    assert result.dropped == pytest.approx(1000, abs=10)
    assert_books_balance(result)


def test_given_times_are_kept() -> None:
    engine = FakeEngine(service=constant(0.001))
    replayed = engine.run(open_plan(Replay(offsets_ns=(0, 5_000_000, SECOND))), [b"x"])
    assert (replayed.sent, replayed.stopped_ns, replayed.elapsed_ns) == (3, SECOND, SECOND + 1_000_000)
    repeated = engine.run(open_plan(Intervals(gaps_ns=(1_000_000, 2_000_000)), max_duration_ns=SECOND), [b"x"])
    assert repeated.sent == 667
