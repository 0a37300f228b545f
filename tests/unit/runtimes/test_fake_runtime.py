"""The fake runtime keeps the contract and plays its script."""

from __future__ import annotations

import dataclasses
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from runner.errors import ServiceError
from runner.runtimes.base import Finding, ServerSpec
from runner.runtimes.fake import FakeRuntime
from runner.services.fake import FakeServer, Script
from runner.services.kserve import KServeGrpc
from tests.contracts.runtime import RuntimeContract

ONE = {"INPUT0": np.ones((1, 1), np.float32)}


@pytest.fixture
def spec(tmp_path: Path) -> ServerSpec:
    return ServerSpec(
        repository=tmp_path, load=(), canary="identity", run_id="r", log=tmp_path / "logs" / "log", ready_timeout_s=10
    )


class TestContract(RuntimeContract):
    @pytest.fixture
    def runtime(self) -> FakeRuntime:
        return FakeRuntime()


def scripted(**script: object) -> FakeRuntime:
    return FakeRuntime(lambda: FakeServer(script=Script(**script)))  # type: ignore[arg-type]


def test_a_server_that_never_becomes_ready_runs_into_the_deadline(spec: ServerSpec) -> None:
    spec = dataclasses.replace(spec, ready_timeout_s=0.3)
    with pytest.raises(ServiceError, match=r"'identity' was not ready 0\.3 s after"), scripted(ready=False).start(spec):
        pytest.fail("never ready")


def test_a_server_that_dies_under_load_is_noticed(spec: ServerSpec) -> None:
    with (
        scripted(die_after=3).start(spec) as server,
        closing(KServeGrpc(server.endpoint.grpc, timeout_s=1)) as service,
    ):
        for _ in range(3):
            service.infer("identity", ONE)
        deadline = time.monotonic() + 5
        while service.ready("identity"):
            assert time.monotonic() < deadline
        with pytest.raises(ServiceError, match="at 127"):
            service.infer("identity", ONE)
        with pytest.raises(ServiceError, match="SIGKILL") as caught:
            server.check()
        assert any("killed" in line for line in caught.value.log_tail)


def test_a_silent_server_is_ready_and_answers_nothing(spec: ServerSpec) -> None:
    with scripted(silent=True).start(spec) as server, closing(KServeGrpc(server.endpoint.grpc)) as service:
        assert service.ready("identity")
        with pytest.raises(ServiceError, match="no answer within"):
            service.infer("identity", ONE, timeout_s=0.2)


def test_a_server_that_counts_wrongly(spec: ServerSpec) -> None:
    with scripted(miscount=2).start(spec) as server, closing(KServeGrpc(server.endpoint.grpc)) as service:
        service.infer("identity", ONE)
        assert service.statistics(["identity"])[0].success_count == 3


def test_each_start_gets_a_fresh_server_and_is_remembered(spec: ServerSpec) -> None:
    runtime = FakeRuntime()
    for _ in range(2):
        with runtime.start(spec) as server, closing(KServeGrpc(server.endpoint.grpc)) as service:
            service.infer("identity", ONE)
            assert service.statistics(["identity"])[0].success_count == 1
    assert runtime.started == [spec, spec]
    assert len({id(server.fake) for server in runtime.servers}) == 2
    runtime.sweep()
    assert runtime.sweeps == 1


def test_findings_can_be_planted() -> None:
    finding = Finding("numpy", "fail", "too new", "older")
    assert FakeRuntime(findings=[finding]).preflight() == (finding,)


def test_starting_takes_milliseconds(spec: ServerSpec) -> None:
    took = []
    for _ in range(5):
        started = time.perf_counter()
        with FakeRuntime().start(spec):
            took.append(time.perf_counter() - started)
    assert min(took) < 0.5
