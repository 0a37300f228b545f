"""Row 17 of the validation table: do intervals hold the closed form of queues as often as they promise?"""

from __future__ import annotations

import pytest

from runner.measure.selftest.theory import daley_requests, md1, mm1, mmc, stall_mean_s, stall_quantile_s
from runner.measure.selftest.virtual import BARS, QUEUES, Queueing, coverage

pytestmark = pytest.mark.no_cover
"""Hundreds of simulated trials: tracing them would double their time and cover nothing new."""


@pytest.mark.parametrize("queue", QUEUES, ids=lambda queue: queue.name)
def test_intervals_of_queues_cover(queue: Queueing) -> None:
    covered = coverage(queue)
    for what, share in covered.items():
        low, high = BARS[what]
        assert low <= share <= high, covered


def test_the_closed_forms_are_the_published_ones() -> None:
    for load, published in {
        0.5: (1.5, 1.0, 3.051, 4.336),
        0.7: (2.167, 1.73, 5.103, 7.485),
        0.8: (3.0, 2.276, 7.62, 11.356),
        0.9: (5.5, 4.013, 15.13, 22.90),
    }.items():
        exact = md1(load)
        assert (exact.mean, exact.p50, exact.p95, exact.p99) == pytest.approx(published, rel=4e-4)
    assert mm1(0.9).p99 == pytest.approx(46.05, rel=1e-3)
    for servers, load, mean, p95, p99 in ((2, 0.9, 5.263, 15.30, 23.34), (4, 0.5, 1.087, 3.15, 4.764)):
        exact = mmc(load, servers)
        assert (exact.mean, exact.p95, exact.p99) == pytest.approx((mean, p95, p99), rel=1e-3)
    assert [round(daley_requests(load) / 1e3) for load in (0.5, 0.7, 0.8, 0.9)] == [45, 95, 190, 681]
    assert (stall_mean_s(1, 10), stall_quantile_s(0.95, 1, 10)) == pytest.approx((0.05, 0.5))
    assert stall_quantile_s(0.5, 1, 10) == 0


def test_where_a_server_drains_as_fast_as_it_serves_the_form_has_a_limit() -> None:
    """M/M/2 at 0.5: c (1 - load) is 1, where the general form divides by nothing."""
    assert mmc(0.5, 2).p95 == pytest.approx(mmc(0.500001, 2).p95, rel=1e-4)
