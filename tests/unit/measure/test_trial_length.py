"""Which part of a load is measured, and what ends it: warm-up, a fixed number, windows, soaks, a user who stops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from runner.load.engine import LoadResult
from runner.load.fake import FakeEngine, constant, drifting, warming
from runner.load.plan import LoadPlan
from runner.measure.orders import Orders, Requests
from runner.measure.trial import measure_case
from runner.scenario.schema import PeriodicLoad
from tests.unit.measure.trials import AskedAt, Counting, Server, case, codes, run, target

pytestmark = pytest.mark.usefixtures("no_waiting")
WINDOWS = {"kind": "windows", "interval": "2s", "trials": 5}


def test_a_slow_start_is_dropped() -> None:
    trial = run(FakeEngine(service=warming(0.02, 3, 4.0)))
    assert trial.summary is not None
    assert trial.summary.warmup_s >= 4
    assert trial.summary.requests_per_s.value == pytest.approx(50, rel=0.01)


def test_a_drifting_server_is_flagged() -> None:
    trial = run(FakeEngine(service=drifting(0.02, 0.005)))
    assert codes(trial) & {"trend", "unsteady"}
    assert trial.summary is not None
    assert not trial.summary.steady


def test_a_fixed_number_of_requests_is_timed_from_the_end_of_its_warm_up() -> None:
    trial = run(point=case(requests=50, warmup={"requests": 14}))
    assert trial.summary is not None
    assert trial.counts is not None
    assert (trial.counts.sent, trial.summary.completions) == (64, 50)
    # The window begins where a slice of 20 ms does.
    assert trial.summary.window_s == pytest.approx(1.0, abs=0.021)
    assert trial.summary.warmup_s == pytest.approx(0.28, abs=0.021)
    assert "cold" not in codes(trial)


def test_what_happens_at_the_very_end_of_the_window_is_not_in_it() -> None:
    """Ten milliseconds divide a slice: the last answer comes as the load stops, in a slice of no length."""
    trial = run(
        FakeEngine(service=constant(0.01)),
        point=case(1, window={"min": "2s", "max": "2s"}, warmup={"min_time": "200ms", "min_requests_per_slot": 0}),
    )
    assert trial.summary is not None
    assert trial.summary.completions == 200
    assert trial.summary.requests_per_s.low is not None
    assert trial.counts is not None
    assert trial.counts.ok == trial.counts.sent


def test_a_fixed_number_of_requests_is_timed_from_first_send_to_last_answer() -> None:
    """The reference profile: 64 requests, one server, 20 ms each: 1.28 s, not 2 s."""
    trial = run(point=case(profile="reference"))
    assert trial.summary is not None
    assert trial.counts is not None
    assert (trial.counts.sent, trial.counts.ok, trial.summary.completions) == (64, 64, 64)
    assert trial.summary.window_s == pytest.approx(1.28)
    assert trial.summary.requests_per_s.value == pytest.approx(50)
    assert trial.summary.stop_reason == "all requests answered"
    assert (trial.summary.warmup_s, trial.summary.littles_law_error) == (0, pytest.approx(0, abs=1e-6))
    assert codes(trial) == {"cold"}
    assert trial.state == "ok"
    p99 = trial.summary.percentiles[-1]
    assert (p99.q, p99.estimate.high) == (99, None)


def test_a_last_slice_that_is_longer_than_the_load_is_clamped() -> None:
    class Rounded(FakeEngine):
        """Its last slice runs on to the next edge, as if slices had fixed lengths."""

        def run(self, plan: LoadPlan, payloads: Sequence[bytes], on_slices: Any = None) -> LoadResult:
            result = super().run(plan, payloads, on_slices)
            last = result.slices[-1]
            longer = replace(last, end_ns=last.start_ns + 20_000_000)
            return replace(result, slices=(*result.slices[:-1], longer))

    trial = run(Rounded(service=constant(0.033)), point=case(profile="reference"))
    assert trial.summary is not None
    assert trial.summary.window_s == pytest.approx(64 * 0.033)
    assert trial.summary.completions == 64


def test_a_fixed_number_that_does_not_end_in_time_is_aborted() -> None:
    trial = run(point=case(requests=1000, window={"max": "5s"}))
    assert trial.summary is not None
    assert trial.summary.stop_reason == "plan ended"
    assert (trial.state, codes(trial)) == ("invalid", {"aborted", "cold"})
    assert "requests were sent in 5 s" in trial.flags[-1].message


def test_an_engine_that_stops_early_gives_an_aborted_point() -> None:
    class Short(FakeEngine):
        def run(self, plan: LoadPlan, payloads: Sequence[bytes], on_slices: Any = None) -> LoadResult:
            return super().run(replace(plan, max_duration_ns=1_000_000_000), payloads, on_slices)

    trial = run(Short(service=constant(0.02)))
    assert "aborted" in codes(trial)
    assert trial.summary is not None
    assert trial.summary.window_s == pytest.approx(1.0)


def test_three_windows_alike_end_a_trial() -> None:
    trial = run(point=case(stability=WINDOWS))
    assert trial.summary is not None
    assert trial.summary.stop_reason == "three windows alike"
    assert (trial.summary.warmup_s, trial.summary.window_s) == (0, 6)
    assert trial.state == "ok"
    assert codes(trial) == {"cold"}


def test_windows_that_are_never_alike_are_kept_with_their_flag() -> None:
    trial = run(FakeEngine(service=drifting(0.02, 0.3)), point=case(stability=WINDOWS))
    assert trial.summary is not None
    assert trial.summary.stop_reason == "windows never alike"
    assert (trial.summary.warmup_s, trial.summary.window_s) == (4, 6)
    flag = next(flag for flag in trial.flags if flag.code == "unsteady")
    assert flag.consequence == "informs"
    assert flag.limit == 0.1
    assert flag.value is not None
    assert flag.value > 0.1
    assert trial.state == "ok", "the number stands, and says of itself that it moved"


def test_a_load_that_ends_by_itself_has_no_windows() -> None:
    scenario = case(stability=WINDOWS).scenario
    load = PeriodicLoad.model_validate({"kind": "periodic", "start": 1, "end": 3, "step": 1, "request_period": 10})
    point = replace(case(), scenario=scenario.model_copy(update={"load": load}))
    trial = run(point=point)
    assert trial.summary is not None
    assert trial.summary.stop_reason == "all requests answered"


def test_the_first_wave_of_a_fixed_number_is_told_apart() -> None:
    trial = run(FakeEngine(service=warming(0.02, 5, 0.4)), point=case(profile="reference"))
    assert trial.summary is not None
    wave = trial.summary.first_wave
    assert wave is not None
    assert wave.requests + wave.rest == 64
    assert 4 <= wave.requests <= 6, "a slice is not divided"
    assert wave.rest_mean_ms is not None
    assert wave.mean_ms > 1.5 * wave.rest_mean_ms
    assert run().summary.first_wave is None  # type: ignore[union-attr]


# --- soaks and a user who stops -----------------------------------------------------------------------------------


def test_a_soak_goes_on_until_the_user_stops_it() -> None:
    server = Server()
    counting = Counting(server)
    trial = measure_case(
        case(soak=True),
        target(server, counting),
        Requests([b"x"]),
        Orders(stop=AskedAt(1200)),
    )
    assert counting.plans[0].max_duration_ns is not None
    assert counting.plans[0].max_duration_ns > 10**17
    assert trial.summary is not None
    assert (trial.state, trial.summary.stop_reason, codes(trial)) == ("ok", "stopped by the user", set())
    # 1,200 slices of 0.1 s, the drain not counted; the warm-up is dropped by the rule as everywhere.
    assert trial.summary.warmup_s + trial.summary.window_s == pytest.approx(120, abs=1)
    assert trial.summary.requests_per_s.value == pytest.approx(50, rel=0.01)


def test_a_soak_ends_with_the_time_that_it_is_given() -> None:
    trial = run(point=case(soak=True, window={"max": "100s"}))
    assert trial.summary is not None
    assert (trial.state, trial.summary.stop_reason) == ("ok", "time cap")
    assert trial.summary.window_s == pytest.approx(100, abs=1)


def test_a_soak_that_is_stopped_in_its_warm_up_keeps_what_there_is() -> None:
    trial = run(point=case(soak=True), stop=AskedAt(10))
    assert trial.summary is not None
    assert trial.summary.stop_reason == "stopped by the user"
    assert (trial.summary.warmup_s, trial.summary.steady) == (0, False)
    assert codes(trial) >= {"unsteady"}


def test_any_other_point_that_the_user_stops_is_interrupted_and_keeps_its_numbers() -> None:
    for point in (case(), case(profile="reference")):
        trial = run(point=point, stop=AskedAt(50 if point.scenario.measure.profile == "explore" else 20))
        assert trial.summary is not None
        assert (trial.state, trial.summary.stop_reason) == ("interrupted", "stopped by the user")
        assert "aborted" in codes(trial)
        assert any("the user stopped it" in flag.message for flag in trial.flags)
