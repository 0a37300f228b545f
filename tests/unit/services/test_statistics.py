"""Triton's own documents, as they come over HTTP and as gRPC's messages turn into JSON."""

from __future__ import annotations

from typing import Any

import pytest

from runner.results.executions import busy_ns
from runner.results.records import BatchStatistics, ModelFacts
from runner.services.statistics import facts_in, statistics_in


def duration(count: int, ns: int) -> dict[str, int]:
    return {"count": count, "ns": ns}


VERSION = {
    "name": "classify",
    "version": "1",
    "last_inference": 1764077100000,
    "inference_count": 40,
    "execution_count": 6,
    "inference_stats": {
        "success": duration(44, 900),
        "fail": duration(2, 10),
        "queue": duration(44, 100),
        "compute_input": duration(40, 20),
        "compute_infer": duration(40, 700),
        "compute_output": duration(40, 30),
        "cache_hit": duration(4, 8),
        "cache_miss": duration(40, 12),
    },
    "response_stats": {},
    "batch_stats": [
        {
            "batch_size": 8,
            "compute_input": duration(4, 3),
            "compute_infer": duration(4, 80),
            "compute_output": duration(4, 5),
        },
        {
            "batch_size": 4,
            "compute_input": duration(2, 1),
            "compute_infer": duration(2, 30),
            "compute_output": duration(2, 2),
        },
    ],
    "memory_usage": [],
}


def as_grpc(document: Any) -> Any:
    """64-bit numbers as text, what is 0 left out."""
    if isinstance(document, dict):
        return {key: as_grpc(value) for key, value in document.items() if value not in (0, [], {}, "")}
    if isinstance(document, list):
        return [as_grpc(value) for value in document]
    return str(document) if isinstance(document, int) else document


@pytest.mark.parametrize("read", [lambda document: document, as_grpc], ids=["http", "grpc"])
def test_every_counter_is_read(read: Any) -> None:
    found = statistics_in("classify", [read(VERSION)])
    assert (found.success_count, found.failure_count, found.success_ns, found.queue_ns) == (44, 2, 900, 100)
    assert (found.inference_count, found.execution_count) == (40, 6)
    assert (found.compute_input_ns, found.compute_infer_ns, found.compute_output_ns) == (20, 700, 30)
    assert (found.cache_hit_count, found.cache_hit_ns, found.cache_miss_count, found.cache_miss_ns) == (4, 8, 40, 12)
    assert found.batches == (BatchStatistics(4, 2, 1, 30, 2), BatchStatistics(8, 4, 3, 80, 5))
    assert busy_ns(found) == 121


def test_versions_are_added_up() -> None:
    second = {**VERSION, "version": "10", "batch_stats": VERSION["batch_stats"][:1]}  # type: ignore[index]
    found = statistics_in("classify", [second, VERSION])
    assert found.version == "1,10"
    assert found.success_count == 88
    assert found.batches == (BatchStatistics(4, 2, 1, 30, 2), BatchStatistics(8, 8, 6, 160, 10))


def test_a_server_that_says_little_is_read_too() -> None:
    found = statistics_in("m", [{"version": "1", "inference_stats": {}}])
    assert (found.success_count, found.batches) == (0, ())
    assert statistics_in("m", []).version == ""


@pytest.mark.parametrize("read", [lambda document: document, as_grpc], ids=["http", "grpc"])
def test_facts_of_a_configuration(read: Any) -> None:
    config = {
        "backend": "tensorrt",
        "platform": "tensorrt_plan",
        "max_batch_size": 64,
        "instance_group": [
            {"kind": "KIND_GPU", "count": 2, "gpus": [0, 1, 2]},
            {"kind": "KIND_CPU", "count": 1, "gpus": []},
            {"kind": "KIND_GPU", "count": 4, "gpus": [0], "passive": True},
        ],
        "dynamic_batching": {"max_queue_delay_microseconds": 500, "preserve_ordering": False},
    }
    assert facts_in("m", read(config)) == ModelFacts("m", "tensorrt", 64, 7, on_gpu=True, max_queue_delay_us=500)


def test_facts_of_an_ensemble() -> None:
    assert facts_in("m", {"platform": "ensemble", "max_batch_size": 8, "backend": ""}) == ModelFacts("m", "ensemble", 8)


def test_dynamic_batching_without_a_delay_is_dynamic_batching() -> None:
    assert facts_in("m", {"dynamic_batching": {}}).max_queue_delay_us == 0
