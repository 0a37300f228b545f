"""Pass, fail, or not told yet."""

from __future__ import annotations

from typing import Any

import pytest

from runner.tune.capacity.verdict import confident, falls_behind, fewest_requests, judged, together
from tests.unit.tune.oracle import tally


@pytest.mark.parametrize(
    ("counted", "verdict"),
    [
        # A 5 % quantile of binomial(1000, 5 %) is 39: so many pass, one more is not told. The 95 % quantile is 62.
        ({"late": 38}, "pass"),
        ({"late": 39}, "unresolved"),
        ({"late": 50}, "unresolved"),
        ({"late": 63}, "fail"),
        ({"late": 20, "failed": 20, "dropped": 15, "overdue": 8}, "fail"),
        ({"late": 38, "tau": 10.0}, "unresolved"),
        ({"late": 63, "tau": 10.0}, "unresolved"),
        ({"requests": 59}, "pass"),
        ({"requests": 58}, "unresolved"),
        ({"requests": 0}, "unresolved"),
    ],
)
def test_a_binomial_test_of_independent_requests(counted: dict[str, Any], verdict: str) -> None:
    assert confident(tally(**counted), 95)[0] == verdict


def test_looks_before_the_last_one_decide_at_one_per_cent() -> None:
    assert judged(tally(late=38), "verdict", 95, 100, last=False)[0] == "unresolved"
    assert judged(tally(late=34), "verdict", 95, 100, last=False)[0] == "pass"
    assert judged(tally(late=63), "verdict", 95, 100, last=False)[0] == "unresolved"


@pytest.mark.parametrize(
    ("counted", "behind"),
    [
        ({"growth": 20}, False),
        ({"growth": 70}, True),
        ({"growth": 40, "saturated": True}, True),
        ({"growth": 1, "saturated": True}, False),
        # Ten requests in ten seconds: five of them in flight at the end are no backlog yet.
        ({"growth": 5, "offered_per_s": 1.0}, False),
    ],
)
def test_a_load_that_is_not_kept_up_with_fails_although_nothing_is_late_yet(
    counted: dict[str, Any], behind: bool
) -> None:
    assert falls_behind(tally(**counted)) == behind
    assert (confident(tally(**counted), 95)[0] == "fail") == behind


def test_windows_that_are_unresolved_alone_may_pass_together() -> None:
    one = tally(late=40)
    assert confident(one, 95)[0] == "unresolved"
    assert together([one, one], 95)[0] == "pass"
    assert together([one, tally(late=60)], 95)[0] == "unresolved"


@pytest.mark.parametrize(("percentile", "requests"), [(50, 5), (95, 59), (99, 299), (99.9, 2995)])
def test_so_many_requests_without_a_miss_pass(percentile: float, requests: int) -> None:
    assert fewest_requests(percentile) == requests


def test_older_tools_believe_one_window() -> None:
    assert judged(tally(quantile_ms=99.9), "observed", 95, 100)[0] == "pass"
    assert judged(tally(quantile_ms=100.1), "observed", 95, 100)[0] == "fail"
    assert judged(tally(mean_ms=99, quantile_ms=500), "stable mean", 95, 100)[0] == "pass"


def test_perf_analyzer_takes_unstable_for_over_the_limit_and_the_limit_itself_too() -> None:
    assert judged(tally(steady=False, quantile_ms=1.0), "stable percentile", 95, 100)[0] == "fail"
    assert judged(tally(quantile_ms=99.9), "stable percentile", 95, 100)[0] == "pass"
    assert judged(tally(quantile_ms=100.0), "stable percentile", 95, 100)[0] == "fail"


def test_without_a_limit_nothing_misses() -> None:
    assert judged(tally(late=1000), "observed", 95, None)[0] == "pass"
