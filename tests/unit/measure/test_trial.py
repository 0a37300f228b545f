"""Whole trials in virtual time: a fake engine, a service that counts what it was sent, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from runner.errors import LoadError, ServiceError
from runner.load.engine import LoadResult, Slice
from runner.load.fake import FakeEngine, constant, drifting, failing, warming
from runner.load.plan import Drawing, GrpcUnary, LoadPlan
from runner.measure import trial as trial_module
from runner.measure.ceiling import engine_ceiling_per_s
from runner.measure.trial import failed_trial, measure_case
from runner.measure.watch import TrialProgress
from runner.results.histogram import Histogram
from runner.results.records import ModelFacts, ModelStatistics, Trial
from runner.runtimes.interrupts import Stop
from runner.scenario.case import Case
from runner.scenario.schema import PeriodicLoad, Scenario
from runner.services.base import Endpoint, Route, Service
from runner.services.pipeline import Pipeline

MODELS = ("pipeline", "preprocess", "classify")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_module, "SETTLE_STEP_S", 0.0)
    monkeypatch.setattr(trial_module, "SETTLE_S", 0.05)


@dataclass
class Server:
    """Counts like a server; `lag` readings come before the last requests are counted."""

    batch: int = 8
    served: int = 0
    refused: int = 0
    lag: int = 0
    strangers: int = 0
    readings: int = 0
    offline_from: int = 10**9

    def route(self, model: str, endpoint: Endpoint) -> Route:
        return Route(kind="grpc", address=endpoint.grpc, path="/inference.GRPCInferenceService/ModelInfer")

    def statistics(self, models: Sequence[str]) -> tuple[ModelStatistics, ...]:
        self.readings += 1
        if self.readings >= self.offline_from:
            raise ServiceError("the server does not answer", hint="see its log", log_tail=["signal 11"])
        served, late = self.served, self.readings > 1 and self.readings <= 1 + self.lag
        n = served - 3 if late else served + (self.strangers if self.readings > 1 else 0)
        row = ModelStatistics("", "1", n, self.refused, n * self.batch, n, 10 * n, n, 2 * n, n, 50 * n)
        return tuple(replace(row, model=model) for model in models)


@dataclass
class Counting:
    """A fake engine whose requests reach the server's counters."""

    server: Server
    engine: FakeEngine = field(default_factory=lambda: FakeEngine(service=constant(0.02)))
    plans: list[LoadPlan] = field(default_factory=list)

    def run(
        self,
        plan: LoadPlan,
        payloads: Sequence[bytes],
        on_slices: Callable[[Sequence[Slice]], bool | None] | None = None,
    ) -> LoadResult:
        self.plans.append(plan)
        result = self.engine.run(plan, payloads, on_slices)
        self.server.served += result.ok
        self.server.refused += sum(result.failed.values())
        return result


def case(concurrency: int = 4, **measure: Any) -> Case:
    scenario = Scenario.model_validate(
        {
            "scenario": 1,
            "name": "test",
            "workload": {"model": "pipeline", "batch": 8, "timeout": "3s"},
            "load": {"kind": "concurrency", "concurrency": concurrency},
            "measure": measure,
        }
    )
    return Case("b8-c4", {"workload.batch": 8, "load.concurrency": concurrency}, scenario, "key")


def run(
    engine: FakeEngine | None = None, server: Server | None = None, /, *, point: Case | None = None, **more: Any
) -> Trial:
    server = server or Server()
    counting = Counting(server, engine or FakeEngine(service=constant(0.02)))
    return measure_case(
        point or case(),
        engine=counting,
        payloads=[b"x"],
        endpoint=Endpoint("localhost:1", "localhost:2"),
        service=cast(Service, server),
        **{"pipeline": Pipeline(MODELS), **more},
    )


def codes(trial: Trial) -> set[str]:
    return {flag.code for flag in trial.flags}


class Silent(Server):
    """Keeps no counters."""

    def statistics(self, models: Sequence[str]) -> tuple[ModelStatistics, ...]:
        return ()


def test_a_server_without_counters_is_measured_all_the_same() -> None:
    trial = run(None, Silent())
    assert (trial.state, trial.failure, trial.server) == ("ok", None, ())
    assert trial.summary is not None


def test_a_healthy_point() -> None:
    trial = run(labels={"weights": "random"})
    assert (trial.state, trial.flags, trial.failure) == ("ok", (), None)
    assert (trial.case_id, trial.model, trial.protocol, trial.batch) == ("b8-c4", "pipeline", "grpc", 8)
    assert trial.load == {"kind": "concurrency", "concurrency": 4}
    assert trial.labels == {"weights": "random"}
    assert trial.started_utc.endswith("Z")
    assert trial.elapsed_s > 0
    assert trial.summary is not None
    assert trial.counts is not None
    assert trial.summary.requests_per_s.value == pytest.approx(50, rel=0.01)
    assert trial.summary.inferences_per_s.value == pytest.approx(400, rel=0.01)
    assert trial.summary.latency_mean_ms.value == pytest.approx(80, rel=0.01)
    assert trial.summary.stop_reason == "precision reached"
    assert [m.model for m in trial.server] == list(MODELS)
    assert trial.server[0].success_count == trial.counts.ok == trial.counts.sent
    assert set(trial.histograms) == {"latency", "service", "send_lag"}
    assert Histogram.from_hdr_v2(trial.histograms["latency"]).count == trial.summary.completions


def test_models_that_code_calls_are_kept_apart_from_those_of_the_pipeline() -> None:
    facts = tuple(ModelFacts(name, "python", instances=1) for name in (*MODELS, "called"))
    trial = run(pipeline=Pipeline(MODELS, ("called",), facts))
    assert [m.model for m in trial.server] == list(MODELS)
    assert [(m.model, m.success_count) for m in trial.bls] == [("called", trial.server[0].success_count)]
    assert trial.facts == facts


def test_the_plan_is_the_scenarios() -> None:
    server = Server()
    counting = Counting(server)
    measure_case(
        case(concurrency=2, drain="2s", seed=5),
        engine=counting,
        payloads=[b"x"],
        drawing=Drawing(order="shuffle"),
        endpoint=Endpoint("localhost:1", "localhost:2"),
        service=cast(Service, server),
        pipeline=Pipeline(MODELS),
    )
    plan = counting.plans[0]
    assert plan.transport == GrpcUnary(endpoint="localhost:2", method="/inference.GRPCInferenceService/ModelInfer")
    assert (plan.schedule.concurrency, plan.order, plan.seed) == (2, "shuffle", 5)
    assert (plan.request_timeout_ns, plan.drain_timeout_ns) == (3_000_000_000, 2_000_000_000)
    assert plan.max_duration_ns == 27_000_000_000
    assert plan.max_requests is None


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


def test_the_server_may_count_a_little_late() -> None:
    assert run(None, Server(lag=2)).state == "ok"


def test_somebody_else_on_the_server_is_found() -> None:
    trial = run(None, Server(strangers=2))
    assert (trial.state, codes(trial)) == ("invalid", {"mismatch_server_count"})


def test_another_batch_than_the_label_says_is_found() -> None:
    assert codes(run(None, Server(batch=4))) == {"mismatch_server_count"}


def test_a_few_errors_are_counted_and_flagged() -> None:
    trial = run(FakeEngine(service=constant(0.02), verdict=failing(0.02, "UNAVAILABLE")))
    assert trial.counts is not None
    assert trial.summary is not None
    assert trial.counts.failed["UNAVAILABLE"] > 0
    assert trial.summary.failures > 0
    assert trial.errors == {"UNAVAILABLE": "scripted UNAVAILABLE"}
    assert (trial.state, codes(trial)) == ("invalid", {"errors"})


def test_too_many_errors_stop_the_point_early() -> None:
    trial = run(FakeEngine(service=constant(0.02), verdict=failing(0.3)))
    assert trial.summary is not None
    assert trial.counts is not None
    assert trial.counts.sent < 100
    assert trial.summary.stop_reason == "too many errors"
    assert {"aborted", "errors"} <= codes(trial)
    assert trial.state == "invalid"


def test_a_point_with_errors_only_is_failed_and_says_which() -> None:
    trial = run(FakeEngine(service=constant(0.02), verdict=failing(1.0, "INVALID_ARGUMENT")))
    assert (trial.state, trial.summary, trial.flags) == ("failed", None, ())
    assert trial.failure is not None
    assert "INVALID_ARGUMENT" in trial.failure
    assert "scripted INVALID_ARGUMENT" in trial.failure
    assert trial.counts is not None
    assert trial.counts.ok == 0


def test_a_server_that_never_answers_is_failed_at_the_cap() -> None:
    slow = case(window={"max": "3s"}, warmup={"min_time": "0s"}, drain="1s")
    scenario = slow.scenario.model_copy(
        update={"workload": slow.scenario.workload.model_copy(update={"timeout": 600.0})}
    )
    trial = run(FakeEngine(service=constant(3600)), point=replace(slow, scenario=scenario))
    assert trial.state == "failed"
    assert trial.failure is not None
    assert "no request was answered within 3 s" in trial.failure
    assert trial.counts is not None
    assert trial.counts.unfinished == 4


class Dies:
    """A server check that fails from the n-th call on."""

    def __init__(self, at: int) -> None:
        self.calls, self.at = 0, at

    def __call__(self) -> None:
        self.calls += 1
        if self.calls >= self.at:
            raise ServiceError("the server ended with signal 9", hint="see its log", log_tail=["last", "words"])


def test_a_server_that_dies_ends_the_point_at_the_next_check() -> None:
    trial = run(server_check=Dies(at=3))
    assert trial.state == "failed"
    assert trial.counts is not None
    assert trial.counts.ok == pytest.approx(150, abs=5)
    assert trial.failure == "the server ended with signal 9; see its log\n  last\n  words"


def test_failing_requests_make_it_look_at_the_server_at_once() -> None:
    check = Dies(at=4)
    trial = run(FakeEngine(service=constant(0.02), dies_at_s=2.55), server_check=check)
    assert trial.state == "failed"
    assert check.calls == 4


def test_a_server_found_dead_afterwards_explains_the_failures() -> None:
    trial = run(FakeEngine(service=constant(0.02), verdict=failing(1.0)), server_check=Dies(at=2))
    assert trial.failure is not None
    assert trial.failure.startswith("the server ended")
    assert trial.counts is not None
    assert trial.errors


@pytest.mark.parametrize("reading", [1, 2])
def test_statistics_that_cannot_be_read_fail_the_point(reading: int) -> None:
    trial = run(None, Server(offline_from=reading))
    assert trial.state == "failed"
    assert trial.failure is not None
    assert trial.failure.startswith("the server does not answer; see its log")


def test_a_refused_connection_fails_the_point() -> None:
    class Refused(FakeEngine):
        def run(self, plan: LoadPlan, payloads: Sequence[bytes], on_slices: Any = None) -> LoadResult:
            raise LoadError("nothing listens on localhost:2")

    trial = run(Refused())
    assert (trial.state, trial.failure) == ("failed", "nothing listens on localhost:2")


def test_ctrl_c_comes_through() -> None:
    def interrupt(_: TrialProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(on_progress=interrupt)


def test_progress_goes_through_warmup_to_measuring() -> None:
    seen: list[TrialProgress] = []
    run(on_progress=seen.append)
    assert [p.phase for p in seen[:3]] == ["warm-up"] * 3
    assert seen[-1].phase == "measuring"
    last = seen[-1]
    assert last.requests_per_s == pytest.approx(50, rel=0.05)
    assert last.inferences_per_s == 8 * last.requests_per_s
    assert last.p50_ms == pytest.approx(80, rel=0.01)
    assert (last.in_flight, last.failed, last.deadline_s) == (4, 0, 22)
    assert [p.completions for p in seen] == sorted(p.completions for p in seen)


def test_an_engine_that_stops_early_gives_an_aborted_point() -> None:
    class Short(FakeEngine):
        def run(self, plan: LoadPlan, payloads: Sequence[bytes], on_slices: Any = None) -> LoadResult:
            return super().run(replace(plan, max_duration_ns=1_000_000_000), payloads, on_slices)

    trial = run(Short(service=constant(0.02)))
    assert "aborted" in codes(trial)
    assert trial.summary is not None
    assert trial.summary.window_s == pytest.approx(1.0)


def test_a_known_ceiling_is_used() -> None:
    trial = run(ceiling_per_s=60.0)
    assert codes(trial) == {"client_limited"}
    assert engine_ceiling_per_s(FakeEngine(service=constant(0.001)), 4, seconds=1.0) == pytest.approx(1000, rel=0.02)


def test_a_case_that_never_got_a_load() -> None:
    trial = failed_trial(case(), ServiceError("no such model", hint="check workload.model"), {"weights": "random"})
    assert (trial.state, trial.failure) == ("failed", "no such model; check workload.model")
    assert trial.labels == {"weights": "random"}


WINDOWS = {"kind": "windows", "interval": "2s", "trials": 5}


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


class AskedAt(Stop):
    """The user asks at the n-th slice."""

    def __init__(self, slices: int) -> None:
        super().__init__()
        self.left = slices

    def asked(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_a_soak_goes_on_until_the_user_stops_it() -> None:
    server = Server()
    counting = Counting(server)
    trial = measure_case(
        case(soak=True),
        engine=counting,
        payloads=[b"x"],
        endpoint=Endpoint("localhost:1", "localhost:2"),
        service=cast(Service, server),
        pipeline=Pipeline(MODELS),
        stop=AskedAt(1200),
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


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        ({}, (1, 0, 0, ())),
        ({"connections": 3}, (3, 0, 0, ())),
        ({"streams_per_connection": 6}, (0, 6, 0, ())),
        ({"connections": 2, "streams_per_connection": 6, "workers": 2, "pin_cpus": [4, 5]}, (2, 6, 2, (4, 5))),
    ],
)
def test_the_client_is_as_the_scenario_says(load: dict[str, Any], expected: tuple[Any, ...]) -> None:
    server = Server()
    counting = Counting(server)
    scenario = Scenario.model_validate(
        {
            "scenario": 1,
            "name": "test",
            "workload": {"model": "pipeline"},
            "load": {"concurrency": 8, **load},
        }
    )
    measure_case(
        Case("x", {}, scenario, "key"),
        engine=counting,
        payloads=[b"x"],
        endpoint=Endpoint("localhost:1", "localhost:2"),
        service=cast(Service, server),
        pipeline=Pipeline(MODELS),
    )
    plan = counting.plans[0]
    assert isinstance(plan.transport, GrpcUnary)
    assert (plan.transport.connections, plan.transport.max_streams, plan.workers, plan.pin_cpus) == expected
