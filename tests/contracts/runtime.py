"""What every `Runtime` keeps, fakes included: subclass `RuntimeContract`, provide the fixtures `runtime` and `spec`.

`spec` starts a server whose canary is a model `identity` (INPUT0 FP32 [-1] -> OUTPUT0).
"""

from __future__ import annotations

import dataclasses
import os
import socket
from contextlib import closing

import numpy as np
import pytest

from runner.errors import ServiceError
from runner.runtimes.base import Runtime, ServerSpec
from runner.services.kserve import KServeGrpc
from tests.contracts.service import settled


def answers(address: str) -> bool:
    """True when something accepts connections at host:port."""
    host, port = address.split(":")
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, int(port))) == 0


class RuntimeContract:
    """The suite; one start for all that can share it, because real servers take seconds."""

    def left(self, address: str, spec: ServerSpec) -> bool:
        """Whether a run is over at host:port; a runtime that starts no servers asks for its models instead."""
        return not answers(address)

    def test_findings_are_complete(self, runtime: Runtime) -> None:
        findings = runtime.preflight()
        assert findings
        assert all(f.check and f.detail for f in findings)
        assert all(f.remedy for f in findings if f.level == "fail")

    def test_a_started_server_serves_until_it_is_left(self, runtime: Runtime, spec: ServerSpec) -> None:
        with runtime.start(spec) as server:
            address = server.endpoint.grpc
            with closing(KServeGrpc(address)) as service:
                assert service.ready(spec.canary)
                answer = service.infer(spec.canary, {"INPUT0": np.ones((1, 2), np.float32)})
                assert answer["OUTPUT0"].tolist() == [[1, 1]]
            server.check()
            assert all(os.path.exists(f"/proc/{pid}") for pid in server.pids() or ())
            assert list(runtime.sweep()) == [], "a live server is not a leftover"
            server.check()
            with closing(KServeGrpc(address)) as service:
                [before] = settled(service, [spec.canary])
                server.reload()
                server.check()
                assert service.ready(spec.canary)
                [after] = service.statistics([spec.canary])
                assert (before.success_count, after.success_count) == (1, 0), "a model that was loaded anew has no past"
            facts = server.facts()
            assert facts["runtime"]
            assert facts["server"]
            assert all(isinstance(value, str) for value in facts.values())
            assert list(server.log_tail(1)) == list(server.log_tail(100))[-1:]
            assert spec.log.stat().st_size > 0
        assert self.left(address, spec)
        assert list(runtime.sweep()) == []

    def test_a_failing_body_stops_the_server_and_comes_back_as_itself(self, runtime: Runtime, spec: ServerSpec) -> None:
        addresses = []

        def fail() -> None:
            with runtime.start(spec) as server:
                addresses.append(server.endpoint.grpc)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert self.left(addresses[0], spec)

    def test_a_canary_that_is_not_there_is_a_clear_error(self, runtime: Runtime, spec: ServerSpec) -> None:
        missing = dataclasses.replace(
            spec, load=(), canary="no_such_model", ready_timeout_s=min(1, spec.ready_timeout_s)
        )
        with pytest.raises(ServiceError, match="no_such_model") as caught, runtime.start(missing):
            pytest.fail("started without its canary")
        assert caught.value.hint
