"""Row 19 with fewer seeds: real strategies and verdicts on a simulated M/D/1 server, against the closed form."""

from __future__ import annotations

import numpy as np
import pytest

from runner.measure.selftest.simulate import columns, open_loop, slices
from runner.measure.selftest.theory import md1, md1_load
from runner.measure.series import Series
from runner.workflow.selftest import HIGHEST, LOWEST, claims, limited
from runner.workflow.virtual_search import MD1, search

SEARCHES = 6
STEPS = {"range": {"min": "500/s"}, "step": "5/s"}


def test_answers_are_just_below_the_truth() -> None:
    found = claims(MD1(), SEARCHES)
    assert (found.within, found.over, found.unanswered) == (1.0, 0.0, 0)
    assert LOWEST < float(np.mean(found.shares)) < 1.0 < HIGHEST


def test_a_server_that_differs_from_probe_to_probe_is_not_overclaimed_either() -> None:
    assert claims(MD1(noise=0.005), 3).over == 0.0


def test_perf_analyzers_linear_search_takes_unlike_windows_for_the_end() -> None:
    shares = claims(MD1(), 3, limited(MD1(), strategy="pa_linear", **STEPS)).shares
    assert min(shares) < LOWEST


def test_perf_client_promises_what_only_a_closed_loop_can_hold() -> None:
    found = claims(MD1(), 1, limited(MD1(), strategy="perf_client", over="concurrency"))
    assert found.shares[0] == pytest.approx(1000 / MD1().truth_per_s(95, 0.006), rel=0.01)


def test_the_climb_of_the_tensorrt_inference_server_suite_has_no_end_where_its_pace_is_constant() -> None:
    server = MD1(random=False)
    load = limited(server, strategy="climb", range={"min": "900/s", "max": "1500/s"}, step="50/s")
    found = search(load, server, 0)
    assert (found.status, max(probe.level for probe in found.probes)) == ("no answer", 1500)


def test_the_truth_is_where_the_percentile_is_the_limit() -> None:
    assert md1(md1_load(0.95, 6.0)).p95 == pytest.approx(6.0, rel=1e-6)
    assert md1(md1_load(0.99, 10.0)).p99 == pytest.approx(10.0, rel=1e-6)


def test_columns_are_what_slices_would_be() -> None:
    rng = np.random.default_rng(5)
    requests = open_loop(np.cumsum(rng.exponential(0.01, 900)), np.full(900, 0.009))
    made, expected = columns(requests, 5.0, 200_000_000), Series.of(slices(requests, 5.0, 200_000_000))
    for name in ("start_ns", "end_ns", "ok", "sent", "in_flight", "latency_sum_ns", "latency_max_ns"):
        assert (getattr(made, name) == getattr(expected, name)).all(), name
    assert made.latency() == expected.latency()
    assert (made.cell_slice == expected.cell_slice).all()
