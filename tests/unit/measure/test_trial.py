"""What a trial says of a healthy point: numbers, counters, the plan of its load, its progress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from runner.load.fake import FakeEngine, constant
from runner.load.plan import Drawing, GrpcUnary
from runner.measure.ceiling import engine_ceiling_per_s
from runner.measure.orders import Requests
from runner.measure.trial import measure_case
from runner.measure.watch import TrialProgress
from runner.results.histogram import Histogram
from runner.results.records import ModelFacts, ModelStatistics
from runner.scenario.case import Case
from runner.scenario.schema import Scenario
from runner.services.pipeline import Pipeline
from tests.unit.measure.trials import MODELS, Counting, Server, case, codes, run, target

pytestmark = pytest.mark.usefixtures("no_waiting")


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
        target(server, counting),
        Requests([b"x"], Drawing(order="shuffle")),
    )
    plan = counting.plans[0]
    assert plan.transport == GrpcUnary(endpoint="localhost:2", method="/inference.GRPCInferenceService/ModelInfer")
    assert (plan.schedule.concurrency, plan.order, plan.seed) == (2, "shuffle", 5)
    assert (plan.request_timeout_ns, plan.drain_timeout_ns) == (3_000_000_000, 2_000_000_000)
    assert plan.max_duration_ns == 27_000_000_000
    assert plan.max_requests is None


def test_the_server_may_count_a_little_late() -> None:
    assert run(None, Server(lag=2)).state == "ok"


def test_somebody_else_on_the_server_is_found() -> None:
    trial = run(None, Server(strangers=2))
    assert (trial.state, codes(trial)) == ("invalid", {"mismatch_server_count"})


def test_another_batch_than_the_label_says_is_found() -> None:
    assert codes(run(None, Server(batch=4))) == {"mismatch_server_count"}


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


def test_a_known_ceiling_is_used() -> None:
    trial = run(ceiling_per_s=60.0)
    assert codes(trial) == {"client_limited"}
    assert engine_ceiling_per_s(FakeEngine(service=constant(0.001)), 4, seconds=1.0) == pytest.approx(1000, rel=0.02)


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
        target(server, counting),
        Requests([b"x"]),
    )
    plan = counting.plans[0]
    assert isinstance(plan.transport, GrpcUnary)
    assert (plan.transport.connections, plan.transport.max_streams, plan.workers, plan.pin_cpus) == expected
