"""The native engine against a real Triton: what it counts is what the server counts."""

from __future__ import annotations

import struct
from contextlib import closing

import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.grpc import service_pb2 as pb

from runner.load.engine import LoadResult
from runner.load.native import NativeEngine
from runner.load.plan import ClosedLoop, GrpcUnary, LoadPlan
from runner.results.histogram import Histogram
from runner.runtimes.base import RunningServer
from runner.services.kserve import KServeGrpc
from tests.contracts.engine import assert_books_balance
from tests.contracts.service import settled

METHOD = "/inference.GRPCInferenceService/ModelInfer"


def request(model: str, count: int = 16, fail: int | None = None) -> bytes:
    message = pb.ModelInferRequest(model_name=model)
    message.inputs.add(name="INPUT0", datatype="FP32", shape=[1, count])
    message.raw_input_contents.append(struct.pack(f"<{count}f", *([0.5] * count)))
    if fail is not None:
        message.inputs.add(name="FAIL", datatype="INT32", shape=[1, 1])
        message.raw_input_contents.append(struct.pack("<i", fail))
    return message.SerializeToString()


def succeeded(server: RunningServer, model: str) -> int:
    """As another client reads it."""
    with closing(KServeGrpc(server.endpoint.grpc)) as service:
        settled(service, [model])
    with closing(InferenceServerClient(server.endpoint.grpc)) as client:
        (statistics,) = client.get_inference_statistics(model).model_stats
        return int(statistics.inference_stats.success.count)


def load(server: RunningServer, payloads: list[bytes], concurrency: int = 4, **changes: int) -> LoadResult:
    transport = GrpcUnary(endpoint=server.endpoint.grpc, method=METHOD)
    plan = LoadPlan(transport=transport, schedule=ClosedLoop(concurrency=concurrency), **changes)
    result = NativeEngine().run(plan, payloads)
    assert_books_balance(result)
    return result


@pytest.mark.parametrize(("concurrency", "workers"), [(1, 1), (32, 1), (32, 2)])
def test_the_server_counts_the_same(triton: RunningServer, concurrency: int, workers: int) -> None:
    before = succeeded(triton, "identity")
    result = load(
        triton, [request("identity", 8), request("identity", 16)], concurrency, max_requests=500, workers=workers
    )
    assert (result.ok, result.failed) == (500, {})
    assert succeeded(triton, "identity") - before == 500


def test_a_duration_counts_the_same_too(triton: RunningServer) -> None:
    before = succeeded(triton, "identity")
    result = load(triton, [request("identity")], 8, max_duration_ns=500_000_000)
    assert (result.unfinished, result.failed) == (0, {})
    assert succeeded(triton, "identity") - before == result.ok > 50


def test_latency_contains_the_service_time(triton: RunningServer) -> None:
    result = load(triton, [request("sleepy")], 1, max_requests=20)
    latency = Histogram.merged(s.latency for s in result.slices)
    assert latency.min_ns >= 10_000_000
    assert latency.quantile(0.5) < 200_000_000


def test_large_messages_pass_both_ways(triton: RunningServer) -> None:
    result = load(triton, [request("identity", 1_500_000)], 2, max_requests=6)
    assert (result.ok, result.failed) == (6, {})
    assert min(sum(s.bytes_sent for s in result.slices), sum(s.bytes_received for s in result.slices)) > 6 * 6_000_000


def test_errors_of_the_server_are_counted_with_their_message(triton: RunningServer) -> None:
    result = load(triton, [request("no_such_model")], 2, max_requests=20)
    assert list(result.failed.values()) == [20]
    (code, message), *rest = result.examples.items()
    assert code in {"not_found", "unavailable"}
    assert "no_such_model" in message
    assert not rest


def test_some_requests_may_fail_and_the_rest_is_timed(triton: RunningServer) -> None:
    result = load(triton, [request("sleepy"), request("sleepy", fail=1)], 2, max_requests=20)
    assert (result.ok, sum(result.failed.values())) == (10, 10)
    assert len(result.examples) == 1


def test_an_unknown_method_is_unimplemented(triton: RunningServer) -> None:
    transport = GrpcUnary(endpoint=triton.endpoint.grpc, method="/inference.GRPCInferenceService/NoSuchMethod")
    plan = LoadPlan(transport=transport, schedule=ClosedLoop(concurrency=1), max_requests=3)
    assert NativeEngine().run(plan, [b""]).failed == {"unimplemented": 3}


def test_metadata_is_accepted(triton: RunningServer) -> None:
    pairs = (("x-request-id", "a b c"), ("authorization", "Bearer " + "x" * 5000))
    transport = GrpcUnary(endpoint=triton.endpoint.grpc, method=METHOD, metadata=pairs, connections=2)
    plan = LoadPlan(transport=transport, schedule=ClosedLoop(concurrency=8), max_requests=100)
    result = NativeEngine().run(plan, [request("identity")])
    assert (result.ok, result.failed) == (100, {})
