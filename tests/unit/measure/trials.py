"""Whole trials in virtual time: a fake engine, a service that counts what it was sent, and a user who stops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from runner.errors import ServiceError
from runner.load.engine import LoadResult, Slice
from runner.load.fake import FakeEngine, constant
from runner.load.plan import LoadPlan
from runner.measure.orders import Orders, Requests, Target
from runner.measure.trial import measure_case
from runner.results.records import ModelStatistics, Trial
from runner.runtimes.interrupts import Stop
from runner.scenario.case import Case
from runner.scenario.schema import Scenario
from runner.services.base import Endpoint, Route, Service
from runner.services.pipeline import Pipeline

MODELS = ("pipeline", "preprocess", "classify")


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


def target(server: Server, engine: Counting, **more: Any) -> Target:
    """The server with the pipeline of the tests, loaded by the engine."""
    endpoint, service = Endpoint("localhost:1", "localhost:2"), cast(Service, server)
    return Target(engine=engine, endpoint=endpoint, service=service, **{"pipeline": Pipeline(MODELS), **more})


def run(
    engine: FakeEngine | None = None,
    server: Server | None = None,
    /,
    *,
    point: Case | None = None,
    pipeline: Pipeline = Pipeline(MODELS),  # noqa: B008  # frozen
    server_check: Callable[[], None] = lambda: None,
    **orders: Any,
) -> Trial:
    server = server or Server()
    counting = Counting(server, engine or FakeEngine(service=constant(0.02)))
    measured = target(server, counting, pipeline=pipeline, server_check=server_check)
    return measure_case(point or case(), measured, Requests([b"x"]), Orders(**orders))


def codes(trial: Trial) -> set[str]:
    return {flag.code for flag in trial.flags}


class AskedAt(Stop):
    """The user asks at the n-th slice."""

    def __init__(self, slices: int) -> None:
        super().__init__()
        self.left = slices

    def asked(self) -> bool:
        self.left -= 1
        return self.left < 0
