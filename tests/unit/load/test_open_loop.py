"""Open loads in real time on the null transport; the queueing itself is proved in virtual time by `cargo test`."""

from __future__ import annotations

import pytest

from runner.errors import LoadError
from runner.load.engine import LoadResult
from runner.load.native import NativeEngine
from runner.load.plan import Constant, Gamma, Intervals, LoadPlan, NullTransport, OpenLoop, Poisson, Replay
from runner.results.histogram import Histogram
from tests.contracts.engine import assert_books_balance, assert_slices_tile_the_run

SECOND = 1_000_000_000


def run(load: OpenLoop, **changes: int) -> LoadResult:
    result = NativeEngine().run(LoadPlan(transport=NullTransport(), schedule=load, **changes), [b"x"])
    assert_books_balance(result)
    assert_slices_tile_the_run(result, 100_000_000)
    return result


@pytest.mark.parametrize("workers", [1, 2])
def test_a_constant_rate_is_offered_exactly(workers: int) -> None:
    result = run(OpenLoop(arrivals=Constant(rate=2000)), max_duration_ns=SECOND // 2, workers=workers)
    assert result.sent == pytest.approx(1000, abs=2)


def test_latency_counts_from_the_intended_time() -> None:
    result = run(OpenLoop(arrivals=Constant(rate=500)), max_duration_ns=SECOND // 2)
    latency, service, lag = (
        Histogram.merged(getattr(s, name) for s in result.slices) for name in ("latency", "service", "send_lag")
    )
    assert lag.max_ns > 0
    assert latency.mean_ns == pytest.approx(service.mean_ns + lag.mean_ns, rel=0.01, abs=2)


@pytest.mark.parametrize("arrivals", [Poisson(rate=4000), Gamma(rate=4000, cv=0.5)])
def test_random_arrivals_depend_on_the_seed_alone(arrivals: Poisson | Gamma) -> None:
    def sent(seed: int, workers: int) -> int:
        return run(OpenLoop(arrivals=arrivals), max_duration_ns=SECOND // 4, seed=seed, workers=workers).sent

    assert sent(1, 1) == pytest.approx(1000, abs=150)
    assert sent(1, 1) == pytest.approx(sent(1, 2), abs=2)


def test_intervals_repeat_and_a_replay_ends_by_itself() -> None:
    repeated = run(OpenLoop(arrivals=Intervals(gaps_ns=(10_000_000, 30_000_000))), max_duration_ns=190_000_000)
    assert repeated.sent == 10
    replayed = run(OpenLoop(arrivals=Replay(offsets_ns=(0, 50_000_000, 60_000_000))))
    assert (replayed.sent, replayed.ok) == (3, 3)
    assert 60_000_000 <= replayed.stopped_ns < 300_000_000


def test_nonsense_is_refused_by_path() -> None:
    with pytest.raises(LoadError, match=r"schedule\.arrivals\.rate: expected a number above 0"):
        run(OpenLoop(arrivals=Poisson(rate=0)))
