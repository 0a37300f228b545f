"""Sequences, streams and output validation of the native engine against a real Triton."""

from __future__ import annotations

import struct
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from runner.load.engine import LoadResult
from runner.load.native import NativeEngine
from runner.load.plan import Argmax, ClosedLoop, Constant, Exact, GrpcUnary, LoadPlan, OpenLoop, Sequences, Validate
from runner.results.histogram import Histogram
from runner.results.request_records import latency_ns, read_records, status_name
from runner.runtimes.base import RunningServer
from runner.services.answers import framed
from runner.services.kserve import KServeGrpc
from tests.contracts.engine import assert_books_balance
from tests.contracts.service import settled


def request(model: str, datatype: str, value: bytes, **more: tuple[str, bytes]) -> bytes:
    message = pb.ModelInferRequest(model_name=model)
    for name, (kind, raw) in {"INPUT0": (datatype, value), **more}.items():
        message.inputs.add(name=name, datatype=kind, shape=[1, len(raw) // 4])
        message.raw_input_contents.append(raw)
    return bytes(message.SerializeToString())


def added(value: float) -> bytes:
    return request("accumulate", "FP32", struct.pack("<f", value))


def repeated(count: int, delay_ms: float = 0.0, final: bool = True) -> bytes:
    message = request("repeat", "INT32", struct.pack("<i", count), DELAY_MS=("FP32", struct.pack("<f", delay_ms)))
    marker = pb.ModelInferRequest()
    marker.parameters["triton_enable_empty_final_response"].bool_param = final
    return message + bytes(marker.SerializeToString())


def load(server: RunningServer, payloads: list[bytes], *, streaming: bool = False, **plan: Any) -> LoadResult:
    method = KServeGrpc.grpc_stream_method if streaming else KServeGrpc.grpc_method
    transport = GrpcUnary(endpoint=server.endpoint.grpc, method=method, streaming=streaming)
    plan.setdefault("schedule", ClosedLoop(concurrency=4))
    result = NativeEngine().run(LoadPlan(transport=transport, **plan), payloads)
    assert_books_balance(result)
    return result


def extra(result: LoadResult, name: str) -> int:
    return sum(int(getattr(s.extra, name)) for s in result.slices)


def merged(result: LoadResult, name: str) -> Histogram:
    return Histogram.merged(s.extra.histograms[name] for s in result.slices if name in s.extra.histograms)


def succeeded(server: RunningServer, model: str) -> int:
    with closing(KServeGrpc(server.endpoint.grpc)) as service:
        return settled(service, [model])[0].success_count


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_sequence_batcher_finds_every_sequence_in_order(triton: RunningServer, streaming: bool, workers: int) -> None:
    before = succeeded(triton, "accumulate")
    sequences = Sequences(count=4, length=6, variation=0.5, first_id=1000)
    result = load(triton, [added(1)], streaming=streaming, max_requests=203, workers=workers, sequences=sequences)
    assert (result.ok, result.failed, result.examples) == (203, {}, {})
    completed, closed = extra(result, "sequences"), extra(result, "closing")
    assert completed >= 203 // 9
    assert merged(result, "sequence_latency").count == completed
    assert succeeded(triton, "accumulate") - before == 203 + closed


def test_sequences_that_were_cut_short_leave_no_slot_behind(triton: RunningServer) -> None:
    for _ in range(4):
        # With an unfinished sequence in a slot the next run would wait for the idle timeout of 3 s.
        result = load(triton, [added(1)], max_requests=6, sequences=Sequences(count=4, length=100, first_id=1))
        assert (result.ok, result.failed, extra(result, "closing")) == (6, {}, 4)
        assert result.elapsed_ns < 2_000_000_000


def test_a_broken_sequence_is_told_apart_and_another_begins(triton: RunningServer) -> None:
    payloads = [added(1), added(1), added(-1)]
    sequences = Sequences(count=1, length=4, variation=0, first_id=5000)
    result = load(triton, payloads, schedule=ClosedLoop(concurrency=1), max_requests=30, sequences=sequences)
    assert result.ok + sum(result.failed.values()) == 30
    assert extra(result, "sequences_failed") > 0
    assert "asked for a failure" in " ".join(result.examples.values())
    assert "without a start" not in " ".join(result.examples.values())


def test_an_open_loop_keeps_the_order_too(triton: RunningServer) -> None:
    schedule = OpenLoop(arrivals=Constant(rate=400), max_in_flight=100)
    sequences = Sequences(count=3, length=10, first_id=9000)
    result = load(triton, [added(1)], schedule=schedule, max_requests=200, sequences=sequences)
    assert (result.ok, result.failed, result.dropped) == (200, {}, 0)


def test_decoupled_responses_are_counted_and_timed(triton: RunningServer) -> None:
    before = succeeded(triton, "repeat")
    result = load(triton, [repeated(3, 5), repeated(1, 5), repeated(0)], streaming=True, max_requests=90)
    assert (result.ok, result.failed) == (90, {})
    assert extra(result, "responses") == 30 * 4
    per_request = merged(result, "responses_per_request")
    assert (per_request.count, per_request.rank_value(30), per_request.rank_value(90)) == (90, 0, 3)
    assert merged(result, "first_response").count == 60
    gaps = merged(result, "inter_response")
    assert gaps.count == 60
    assert gaps.quantile(0.5) >= 4_000_000
    assert merged(result, "last_response").quantile(0.99) > merged(result, "first_response").quantile(0.5)
    assert succeeded(triton, "repeat") - before == 90


def test_without_empty_finals_a_request_without_a_marker_would_hang_so_we_ask_for_them(triton: RunningServer) -> None:
    result = load(
        triton,
        [repeated(2, final=False)],
        streaming=True,
        max_requests=2,
        schedule=ClosedLoop(concurrency=1),
        request_timeout_ns=300_000_000,
    )
    assert result.failed == {"timeout": 2}


def test_errors_of_the_stream_belong_to_their_request(triton: RunningServer) -> None:
    result = load(triton, [repeated(2), repeated(-1)], streaming=True, max_requests=20)
    assert (result.ok, sum(result.failed.values())) == (10, 10)
    assert "asked for a failure" in next(iter(result.examples.values()))
    result = load(triton, [request("no_such_model", "FP32", bytes(4))], streaming=True, max_requests=5)
    assert sum(result.failed.values()) == 5
    assert "no_such_model" in next(iter(result.examples.values()))


def test_a_model_that_is_not_decoupled_answers_once_on_a_stream(triton: RunningServer) -> None:
    result = load(triton, [request("identity", "FP32", bytes(64))], streaming=True, max_requests=300)
    assert (result.ok, result.failed, extra(result, "responses")) == (300, {}, 300)


def identity(values: list[float]) -> bytes:
    return request("identity", "FP32", struct.pack(f"<{len(values)}f", *values))


def test_answers_are_compared_with_recorded_ones(triton: RunningServer, kserve: KServeGrpc) -> None:
    payloads = [identity([1, 2, 3]), identity([4, 5, 6])]
    expected = tuple(framed(kserve.replies("identity", message)) for message in payloads)
    result = load(triton, payloads, max_requests=100, validate=Validate(expected=expected))
    assert (result.ok, result.failed) == (100, {})
    swapped = Validate(expected=expected[::-1], compare=Exact())
    result = load(triton, payloads, max_requests=100, validate=swapped)
    assert result.failed == {"wrong_output": 100}
    assert "output OUTPUT0[0] expected" in result.examples["wrong_output"]
    # The largest element is in the same place.
    result = load(triton, payloads, max_requests=100, validate=Validate(expected=expected[::-1], compare=Argmax()))
    assert (result.ok, result.failed) == (100, {})


def test_records_agree_with_the_histograms(triton: RunningServer, tmp_path: Path) -> None:
    path = tmp_path / "records" / "all.bin"
    payloads = [identity([1.0] * 20_000), identity([2.0])]
    result = load(triton, payloads, max_requests=200, records=str(path), workers=2)
    records = read_records(path)
    assert len(records) == 200
    assert {status_name(status) for status in records["status"]} == {"ok"}
    assert set(records["worker"]) == {0, 1}
    assert int(latency_ns(records).sum()) == sum(s.latency_sum_ns for s in result.slices)
    assert (np.diff([records[name] for name in ("intended_ns", "sent_ns", "first_ns", "done_ns")], axis=0) >= 0).all()
    parts = [extra(result, f"{part}_ns") for part in ("queue", "write", "wait", "read")]
    assert sum(parts) == sum(s.latency_sum_ns for s in result.slices)
    assert parts[1] > 0
