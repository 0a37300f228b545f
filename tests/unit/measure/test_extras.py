"""Streams, sequences, compared answers and time parts: from the scenario to the plan, and from slices to numbers."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from runner.load.engine import Extra, Slice
from runner.load.fake import FakeEngine, constant
from runner.load.plan import (
    Argmax,
    ClosedLoop,
    Digest,
    Exact,
    GrpcUnary,
    LoadPlan,
    NullTransport,
    SharedOutputs,
    Tolerance,
)
from runner.load.references import References
from runner.measure.extras import plan_extras, sequences_of
from runner.measure.series import Window
from runner.measure.settings import EXPLORE
from runner.measure.summary import Findings, summarise
from runner.measure.transport import transport
from runner.results.codec import decode, encode
from runner.results.histogram import Histogram
from runner.results.metrics import EXTRA, METRICS
from runner.results.records import Summary, Trial
from runner.scenario.schema import Scenario
from runner.services.answers import encoded_answer, framed
from runner.services.base import Endpoint, TensorSpec
from runner.services.fake import FakeService

MS = 1_000_000
WINDOW = Window(1_000_000_000, 3_000_000_000)


def scenario(**workload: Any) -> Scenario:
    return Scenario.model_validate(
        {"scenario": 1, "name": "x", "workload": {"model": "identity", **workload}, "load": {"concurrency": 6}}
    )


def slices(**extra: Any) -> list[Slice]:
    plan = LoadPlan(
        transport=NullTransport(), schedule=ClosedLoop(concurrency=2), max_duration_ns=3_000_000_000, slice_ns=100 * MS
    )
    return [replace(s, extra=Extra(**extra)) for s in FakeEngine(service=constant(0.02)).run(plan, [b"x"]).slices]


def findings(**extra: Any) -> Findings:
    return summarise(slices(**extra), WINDOW, batch=1, workers=1, settings=EXPLORE)


def values(summary: Summary) -> dict[str, Any]:
    trial = Trial("c", {}, "m", "grpc", 1, {}, "ok", "", 0.0, summary=summary)
    return {metric.key: metric.extract(trial) for _, metrics in EXTRA for metric in metrics}


def test_plain_workloads_ask_for_nothing() -> None:
    plain = scenario()
    extras = plan_extras(plain.workload, plain.load, FakeService(), [b"x"], None)
    assert extras == {"sequences": None, "validate": None, "records": None}


def test_streams_use_the_other_method() -> None:
    streaming = scenario(streaming=True)
    route = FakeService().stream_route("m", Endpoint("h:1", "g:2"))
    found = transport(route, streaming=streaming.workload.streaming)
    assert isinstance(found, GrpcUnary)
    assert (found.endpoint, found.method, found.streaming) == ("g:2", FakeService.grpc_stream_method, True)


def test_as_many_sequences_as_requests_in_flight_unless_the_scenario_says_else() -> None:
    asked = scenario(sequences={"length": 7, "variation": "10%", "first_id": 5, "ids": 4})
    found = sequences_of(asked.workload, asked.load)
    assert found is not None
    assert (found.count, found.length, found.variation, found.first_id, found.id_count) == (6, 7, 0.1, 5, 6)
    asked = scenario(sequences={"count": 9})
    found = sequences_of(asked.workload, asked.load)
    assert found is not None
    assert (found.count, found.length) == (9, 20)


def test_a_sequence_is_as_long_as_its_stream_unless_the_scenario_says_else() -> None:
    asked, own = scenario(sequences={}), scenario(sequences={"length": 7})
    for given, length in ((asked, 0), (own, 7)):
        found = sequences_of(given.workload, given.load, streams=(3, 1))
        assert found is not None
        assert found.length == length


@pytest.mark.parametrize(
    ("mode", "compare"),
    [("exact", Exact()), ("argmax", Argmax()), ("tolerance", Tolerance(rtol=0.5, atol=0.25))],
)
def test_reference_answers_are_recorded_before_the_load(mode: str, compare: Any, tmp_path: Path) -> None:
    asked = scenario(validate={"mode": mode, "every": 3, "rtol": 0.5, "atol": 0.25})
    extras = plan_extras(asked.workload, asked.load, FakeService(), [b"a", b"b"], tmp_path / "r.bin")
    validate = extras["validate"]
    expected = (b"\0\0\0\0\1a", b"\0\0\0\0\1b")
    assert (validate.expected, validate.every, validate.compare) == (expected, 3, compare)
    plan = LoadPlan(transport=NullTransport(), schedule=ClosedLoop(concurrency=1), **extras)
    assert '"records":true' in plan.to_json()
    assert "expected" not in plan.to_json()


def test_of_digests_no_answer_is_kept() -> None:
    outputs = {"OUT": np.arange(1000, dtype=np.float32)}
    known = [TensorSpec("OUT", "FP32", (1000,))]
    answer = encoded_answer(known, outputs)
    asked = scenario(validate={"mode": "digest"})
    validate = plan_extras(asked.workload, asked.load, FakeService(), [answer], None)["validate"]
    (expected,) = validate.expected
    assert len(expected) < 100
    assert hashlib.sha256(outputs["OUT"].tobytes()).digest() in expected
    assert (validate.compare, validate.shared) == (Digest(), None)


def test_references_from_files_and_from_shared_memory_take_the_place_of_recorded_ones() -> None:
    asked = scenario(validate={})
    given = References(answers=(b"x", b"y"))
    validate = plan_extras(asked.workload, asked.load, FakeService(), [b"a", b"b"], None, given)["validate"]
    assert validate.expected == (framed([b"x"]), framed([b"y"]))
    shared = SharedOutputs(regions=("r0", "r1"), outputs=())
    given = References(requests=lambda: iter([b"plain"]), shared=shared)
    validate = plan_extras(asked.workload, asked.load, FakeService(), [b"a", b"b"], None, given)["validate"]
    assert (validate.expected, validate.shared) == ((framed([b"plain"]),), shared)


@pytest.mark.parametrize(
    ("workload", "message"),
    [
        ({"sequences": {}, "batch": 2}, "sequence batchers take one item"),
        ({"sequences": {}, "validate": {}}, "stateful models differ"),
        ({"sequences": {"count": 5, "ids": 4}}, "at least the `count` of 5"),
    ],
)
def test_what_does_not_go_together_is_refused(workload: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        scenario(**workload)


def test_an_engine_that_does_not_say_gives_no_numbers() -> None:
    summary = findings().summary
    assert (summary.time_split, summary.sequences, summary.stream) == (None, None, None)
    assert set(values(summary).values()) == {None}


def test_the_parts_are_means_over_successes() -> None:
    # 2 slots, 20 ms each: 10 answers per slice.
    summary = findings(queue_ns=10 * MS, write_ns=20 * MS, wait_ns=60 * MS, read_ns=10 * MS).summary
    per_slice = summary.completions / 20
    found = values(summary)
    assert found["response_wait_ms"] == pytest.approx(60 / per_slice)
    assert sum(
        found[f"{part}_ms"] for part in ("client_queue", "request_write", "response_wait", "response_read")
    ) == pytest.approx(100 / per_slice)


def test_sequences_are_counted_and_timed_beside_requests() -> None:
    latency = Histogram.from_values([100 * MS, 300 * MS])
    found = findings(sequences=2, sequences_failed=1, histograms={"sequence_latency": latency})
    metrics = values(found.summary)
    assert (metrics["sequences"], metrics["sequences_failed"], metrics["sequences_per_s"]) == (40, 20, 20.0)
    assert metrics["sequence_latency_mean_ms"] == pytest.approx(200, rel=0.001)
    assert found.histograms["sequence_latency"].count == 40
    assert decode(Summary, encode(found.summary)) == found.summary


def test_responses_are_counted_and_timed() -> None:
    histograms = {
        "responses_per_request": Histogram.from_values([3, 5]),
        "first_response": Histogram.from_values([10 * MS, 10 * MS]),
        "inter_response": Histogram.from_values([2 * MS] * 6),
        "last_response": Histogram.from_values([14 * MS, 18 * MS]),
    }
    metrics = values(findings(responses=8, histograms=histograms).summary)
    assert (metrics["responses_per_s"], metrics["responses_per_request"]) == (80.0, 4.0)
    assert metrics["first_response_p99_ms"] == pytest.approx(10, rel=0.001)
    assert metrics["inter_response_mean_ms"] == pytest.approx(2, rel=0.001)
    assert metrics["last_response_p50_ms"] == pytest.approx(14, rel=0.001)


def test_every_metric_is_declared_once() -> None:
    keys = [metric.key for _, metrics in EXTRA for metric in metrics]
    assert len(set(keys)) == len(keys)
    assert set(keys) <= {metric.key for metric in METRICS}
