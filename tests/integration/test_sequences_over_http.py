"""Sequences over HTTP/1.1 against a real Triton, whose model `accumulate` refuses what is out of order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from runner.errors import LoadError
from runner.load.engine import LoadResult
from runner.load.native import NativeEngine
from runner.load.plan import ClosedLoop, Constant, LoadPlan, OpenLoop, Sequences
from runner.measure.transport import transport
from runner.runtimes.base import RunningServer
from runner.scenario.schema import Workload
from runner.services import connect
from runner.services.base import Service
from tests.contracts.engine import assert_books_balance
from tests.contracts.service import settled


def client(server: RunningServer, **more: Any) -> Service:
    given = {"model": "accumulate", "protocol": "http", "sequences": {}, **more}
    return connect(server.endpoint, Workload.model_validate(given))


@pytest.fixture(params=["binary", "json"])
def service(triton: RunningServer, request: pytest.FixtureRequest) -> Iterator[Service]:
    with closing(client(triton, tensors=request.param)) as service:
        yield service


def load(server: RunningServer, service: Service, values: list[float] = [1.0], **plan: Any) -> LoadResult:  # noqa: B006
    plan.setdefault("schedule", ClosedLoop(concurrency=4))
    payloads = [service.encode("accumulate", {"INPUT0": np.array([[value]], np.float32)}) for value in values]
    route = transport(service.route("accumulate", server.endpoint))
    result = NativeEngine().run(LoadPlan(transport=route, **plan), payloads)
    assert_books_balance(result)
    return result


def extra(result: LoadResult, name: str) -> int:
    return sum(int(getattr(s.extra, name)) for s in result.slices)


def succeeded(service: Service) -> int:
    return settled(service, ["accumulate"])[0].success_count


@pytest.mark.parametrize("workers", [1, 2])
def test_a_sequence_batcher_finds_every_sequence_in_order(
    triton: RunningServer, service: Service, workers: int
) -> None:
    before = succeeded(service)
    sequences = Sequences(count=4, length=6, variation=0.5, first_id=20_000)
    result = load(triton, service, max_requests=203, workers=workers, sequences=sequences)
    assert (result.ok, result.failed, result.examples) == (203, {}, {})
    assert extra(result, "sequences") >= 203 // 9
    assert succeeded(service) - before == 203 + extra(result, "closing")


def test_an_open_loop_keeps_the_order_too(triton: RunningServer, service: Service) -> None:
    schedule = OpenLoop(arrivals=Constant(rate=400), max_in_flight=100)
    sequences = Sequences(count=3, length=10, first_id=21_000)
    result = load(triton, service, schedule=schedule, max_requests=200, sequences=sequences)
    assert (result.ok, result.failed, result.dropped) == (200, {}, 0)


def test_a_broken_sequence_is_ended_and_another_begins(triton: RunningServer, service: Service) -> None:
    sequences = Sequences(count=2, length=4, variation=0, first_id=22_000)
    schedule = ClosedLoop(concurrency=2)
    result = load(triton, service, [1, 1, 1, -1], schedule=schedule, max_requests=60, sequences=sequences)
    assert result.ok + result.failed["http_500"] == 60
    assert extra(result, "sequences_failed") == result.failed["http_500"] > 0
    assert extra(result, "closing") > 0
    assert result.examples["http_500"] == "the request asked for a failure"


@pytest.mark.parametrize("first", [2**31, 2**53 + 1, 2**62])
def test_every_id_arrives_as_it_is(triton: RunningServer, service: Service, first: int) -> None:
    # Neighbours that a server would take for one, if it read them as floating-point numbers.
    sequences = Sequences(count=4, length=5, variation=0, first_id=first, id_count=2**20)
    result = load(triton, service, max_requests=40, sequences=sequences)
    assert (result.ok, result.failed, result.examples) == (40, {}, {})


def test_sequences_that_were_cut_short_leave_no_slot_behind(triton: RunningServer, service: Service) -> None:
    for _ in range(4):
        # With an unfinished sequence in a slot the next run would wait for the idle timeout of 3 s.
        result = load(triton, service, max_requests=6, sequences=Sequences(count=4, length=100, first_id=1))
        assert (result.ok, result.failed, extra(result, "closing")) == (6, {}, 4)
        assert result.elapsed_ns < 2_000_000_000


def test_messages_of_no_sequence_are_refused_before_the_load(triton: RunningServer) -> None:
    with closing(client(triton, sequences=None)) as plain, pytest.raises(LoadError, match="room for the parameters"):
        load(triton, plain, max_requests=1, sequences=Sequences(count=1, length=1))
