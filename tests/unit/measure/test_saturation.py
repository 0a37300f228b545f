"""Whether a server keeps up with an open loop: what the flag rates of `test_flag_rates` do not reach."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runner.measure.saturation import Backlog, find_backlog
from runner.measure.series import Series
from tests.unit.measure.simulate import open_loop, slices


def test_a_load_that_ends_with_a_slice_leaves_nothing_of_the_last_one() -> None:
    random = np.random.default_rng(0)
    arrivals = np.arange(0, 2.5, 0.02)
    found = slices(open_loop(arrivals, random.exponential(0.01, len(arrivals))), 2.5)
    assert len(found) == 25, "one slice in the last of 20 parts"
    found[-1] = replace(found[-1], end_ns=found[-1].start_ns)
    with np.errstate(all="raise"):
        assert find_backlog(Series.of(found)) == Backlog()


def test_a_queue_that_grows_answers_fewer_than_are_asked_for() -> None:
    arrivals = np.arange(0, 30, 0.02)
    slow = find_backlog(Series.of(slices(open_loop(arrivals, np.full(len(arrivals), 0.022)), 30.0)))
    quick = find_backlog(Series.of(slices(open_loop(arrivals, np.full(len(arrivals), 0.01)), 30.0)))
    assert slow.saturates(50.0)
    assert slow.answered_at_most_per_s == pytest.approx(1 / 0.022, rel=0.03)
    assert not quick.saturates(50.0)
