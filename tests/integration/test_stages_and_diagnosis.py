"""Slowness that is planted in a real Triton is found: the table adds up, and the diagnosis names the right model."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
import pytest

from runner.load.native import NativeEngine
from runner.measure.orders import Requests, Target
from runner.measure.trial import measure_case
from runner.results.breakdown import TOLERANCE, Breakdown, breakdown
from runner.results.diagnosis import Diagnosis, diagnose
from runner.results.executions import statistics_of, utilisation
from runner.results.records import Trial
from runner.runtimes.base import RunningServer
from runner.scenario.case import Case
from runner.scenario.schema import Scenario
from runner.services import connect
from runner.services.kserve import KServeGrpc
from runner.services.kserve_http import KServeHttp
from runner.services.pipeline import read_pipeline
from tests.contracts.service import settled


def measured(server: RunningServer, model: str, concurrency: int, *, length: int = 4, **workload: Any) -> Trial:
    """About two seconds of load on one of the shared server's models."""
    scenario = Scenario.model_validate(
        {
            "scenario": 1,
            "name": "planted",
            "workload": {"model": model, **workload},
            "load": {"kind": "concurrency", "concurrency": concurrency},
            "measure": {"warmup": {"min_time": "300ms"}, "window": {"min": "1500ms", "max": "1500ms"}},
        }
    )
    with closing(connect(server.endpoint, scenario.workload)) as service:
        pipeline = read_pipeline(service, service.metadata(model), scenario.workload.bls_models)
        settled(service, (*pipeline.models, *pipeline.bls))
        return measure_case(
            Case("planted", {}, scenario, "key"),
            Target(engine=NativeEngine(), endpoint=server.endpoint, service=service, pipeline=pipeline),
            Requests([service.encode(model, {"INPUT0": np.ones((1, length), np.float32)})]),
        )


def explained(trial: Trial) -> tuple[Breakdown, Diagnosis]:
    assert trial.failure is None
    table, diagnosis = breakdown(trial), diagnose(trial)
    assert table is not None
    assert diagnosis is not None
    assert trial.counts is not None
    assert trial.whole is not None
    assert trial.whole.completions == trial.counts.ok == trial.server[0].success_count
    return table, diagnosis


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize(
    ("model", "concurrency", "kind"),
    [
        pytest.param("backwards", 4, "preprocess", id="slow preprocess"),
        pytest.param("backwards", 1, "preprocess", id="slow preprocess, one request"),
        pytest.param("chain", 3, "compute", id="slow model"),
        pytest.param("chain", 1, "compute", id="slow model, one request"),
        pytest.param("chain", 12, "queue", id="one instance"),
    ],
)
def test_planted_slowness(triton: RunningServer, model: str, concurrency: int, kind: str, protocol: str) -> None:
    if protocol == "http" and concurrency == 1:
        pytest.skip("the same counters as with more requests in flight")
    trial = measured(triton, model, concurrency, protocol=protocol)
    table, diagnosis = explained(trial)
    assert abs(table.residual_share) <= TOLERANCE
    assert (diagnosis.kind, diagnosis.model) == (kind, "sleepy"), diagnosis.text
    assert "sleepy.config.instance_group" in diagnosis.text or concurrency == 1
    assert table.sum_ms("server", model="sleepy", stages=("compute_infer",)) >= 10


def test_a_model_that_does_nothing_is_a_matter_of_transport(triton: RunningServer) -> None:
    # Numbers as text: whatever else this machine does, parsing them outweighs a copy of 160 kB inside the model.
    table, diagnosis = explained(measured(triton, "identity", 1, length=40_000, protocol="http", tensors="json"))
    assert diagnosis.kind == "transport", diagnosis.text
    assert table.residual_ms == pytest.approx(0, abs=TOLERANCE * table.total_ms)
    assert "workload.shared_memory" in diagnosis.text


def test_executions_are_those_of_the_load(triton: RunningServer) -> None:
    trial = measured(triton, "chain", 2)
    sleepy = statistics_of(trial, "sleepy")
    assert sleepy is not None
    assert trial.whole is not None
    assert [(batch.size, batch.count) for batch in sleepy.batches] == [(1, sleepy.execution_count)]
    busy = utilisation(trial, sleepy)
    assert busy is not None
    assert sleepy.execution_count * 0.01 / trial.whole.elapsed_s <= busy <= 1


def test_calls_of_code_are_seen_when_they_are_named(triton: RunningServer) -> None:
    """`caller` waits for `sleepy`: nothing but the scenario says so."""
    trial = measured(triton, "caller", 4, bls_models=["sleepy"])
    table, diagnosis = explained(trial)
    assert [m.model for m in trial.bls] == ["sleepy"]
    assert trial.bls[0].success_count == trial.server[0].success_count
    called_ms = table.sum_ms("inside", model="sleepy")
    assert 10 <= called_ms <= table.sum_ms("server", model="caller", stages=("compute_infer",))
    assert (diagnosis.kind, diagnosis.model) == ("compute", "sleepy"), diagnosis.text
    assert diagnose(measured(triton, "caller", 4)).model == "caller"  # type: ignore[union-attr]


def test_facts_are_the_same_over_both_protocols(triton: RunningServer, kserve: KServeGrpc) -> None:
    with closing(KServeHttp(triton.endpoint.http)) as http:
        for model in ("nested", "sleepy", "caller", "accumulate"):
            assert http.metadata(model).facts == kserve.metadata(model).facts, model
        assert http.statistics(["chain"])[0].batches == kserve.statistics(["chain"])[0].batches
    facts = kserve.metadata("caller").facts
    assert facts is not None
    assert (facts.backend, facts.instances, facts.on_gpu, facts.max_batch_size) == ("python", 2, False, 8)
