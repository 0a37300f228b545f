"""The cases that the rules have to tell apart: each is a pipeline with one thing planted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runner.results.diagnosis import Diagnosis, diagnose
from runner.results.records import ModelFacts, StreamSummary, TimeSplit, Trial
from tests.unit.results.pipelines import counters, facts, load, pipeline_trial
from tests.unit.results.sample_run import CASES, summary, trial

CPU = (facts("preprocess"), facts("classify"))
GPU = (facts("preprocess", "dali", on_gpu=True), facts("classify", "tensorrt", on_gpu=True))


def found(point: Trial) -> Diagnosis:
    diagnosis = diagnose(point)
    assert diagnosis is not None
    return diagnosis


def verdict(point: Trial) -> tuple[str, str]:
    diagnosis = found(point)
    return diagnosis.kind, diagnosis.model


# --- planted in a pipeline ----------------------------------------------------------------------------------------


def test_slow_preprocess() -> None:
    """4 in flight, one instance that takes 40 ms: 25 requests/s."""
    slow = (counters("preprocess", queue=105, infer=40), counters("classify", infer=14))
    diagnosis = found(pipeline_trial(*slow, server_ms=160, elapsed_s=40.4, facts=CPU))
    assert (diagnosis.kind, diagnosis.model, diagnosis.label) == ("preprocess", "preprocess", "preprocess-bound")
    assert diagnosis.sentence == (
        "preprocess computes 40 ms of a request's 160 ms (25%), after 105 ms in its queue; "
        "its one instance is busy 99% of the time with executions of 40 ms for 1 inference"
    )
    assert "repository.models.preprocess.args.num_threads" in diagnosis.text
    assert "repository.models.preprocess.config.instance_group" in diagnosis.text


def test_slow_preprocess_is_named_however_deep_its_queue_is() -> None:
    slow = (counters("preprocess", queue=600, infer=40), counters("classify", infer=14))
    assert verdict(pipeline_trial(*slow, server_ms=655, elapsed_s=40.4, facts=CPU)) == ("preprocess", "preprocess")


def test_slow_model() -> None:
    slow = (counters("preprocess", infer=5), counters("classify", queue=105, infer=40))
    diagnosis = found(pipeline_trial(*slow, server_ms=150, elapsed_s=40.4, facts=CPU))
    assert (diagnosis.kind, diagnosis.model, diagnosis.label) == ("compute", "classify", "compute-bound")
    assert "busy 99%" in diagnosis.sentence


def test_slow_model_on_a_gpu() -> None:
    slow = (counters("preprocess", infer=5, batch=8), counters("classify", queue=30, infer=40, batch=8))
    diagnosis = found(pipeline_trial(*slow, server_ms=75, elapsed_s=5.2, facts=GPU))
    assert (diagnosis.kind, diagnosis.label) == ("compute", "GPU-bound")
    assert "for 8 inferences" in diagnosis.sentence
    assert "smaller precision" in diagnosis.knobs[0]


@pytest.mark.parametrize(("model", "kind"), [("preprocess", "preprocess"), ("classify", "compute")])
def test_one_request_at_a_time_never_fills_an_instance(model: str, kind: str) -> None:
    """Closed loop of one: 20 ms of 34 ms in one model, whose instance is idle for the rest."""
    times = {"preprocess": 7.0, "classify": 7.0, model: 20.0}
    models = [counters(name, infer=ms) for name, ms in times.items()]
    diagnosis = found(pipeline_trial(*models, server_ms=28, latency_ms=30, elapsed_s=30.0, facts=CPU))
    assert (diagnosis.kind, diagnosis.model) == (kind, model)
    assert "busy 67%" in diagnosis.sentence
    assert "load.concurrency" in diagnosis.text


def test_one_instance_for_many_requests() -> None:
    """16 in flight, a model of 5 ms, one instance: it is the queue that a request spends its time in."""
    crowded = (counters("preprocess", infer=2), counters("classify", queue=71, infer=5))
    diagnosis = found(pipeline_trial(*crowded, server_ms=78, elapsed_s=5.2, facts=CPU))
    assert (diagnosis.kind, diagnosis.model, diagnosis.label) == ("queue", "classify", "queue-bound")
    assert diagnosis.sentence == (
        "a request waits 71 ms of its 78 ms (91%) for classify, which computes it in 5 ms; "
        "its one instance is busy 96% of the time with executions of 5 ms for 1 inference"
    )
    assert diagnosis.knobs[0].startswith("raise the count in repository.models.classify.config.instance_group (now 1)")
    assert "dynamic_batching" in diagnosis.knobs[1]


def test_few_requests_before_a_busy_instance_are_what_keeps_it_busy() -> None:
    """4 in flight at most: three times its computation is no queue to speak of."""
    busy = (counters("preprocess", infer=1), counters("classify", queue=60, infer=20))
    diagnosis = found(pipeline_trial(*busy, server_ms=81, elapsed_s=20.4, facts=CPU))
    assert (diagnosis.kind, diagnosis.model) == ("compute", "classify")
    assert "dynamic_batching" in diagnosis.knobs[0]
    assert "instance_group" in diagnosis.knobs[1]


def test_more_instances_are_counted() -> None:
    two = (facts("preprocess"), facts("classify", instances=2))
    crowded = (counters("preprocess", infer=2), counters("classify", queue=71, infer=10))
    assert (
        "its 2 instances are busy 96%" in found(pipeline_trial(*crowded, server_ms=83, elapsed_s=5.2, facts=two)).text
    )


def test_a_busy_instance_that_nobody_waits_for_does_not_limit() -> None:
    """One request at a time: what it spends its time with is the better answer, here getting its tensors moved."""
    copied = replace(counters("identity", infer=3, total=8), compute_output_ns=4_000_000_000)
    alone = replace(copied, batches=tuple(replace(b, compute_output_ns=4_000_000_000) for b in copied.batches))
    point = pipeline_trial(server_ms=0, server=(alone,), latency_ms=9, elapsed_s=9.0, facts=(facts("identity"),))
    assert verdict(point) == ("transport", "")
    assert "1 ms between client and server, 4 ms into and out of models" in found(point).sentence


# --- nothing is busy ----------------------------------------------------------------------------------------------


def test_a_batcher_that_waits_for_company() -> None:
    held = replace(CPU[1], max_queue_delay_us=50_000)
    models = (counters("preprocess", infer=1), counters("classify", queue=48, infer=5))
    diagnosis = found(pipeline_trial(*models, server_ms=54, elapsed_s=60.0, facts=(CPU[0], held)))
    assert (diagnosis.kind, diagnosis.model) == ("queue", "classify")
    address = "repository.models.classify.config.dynamic_batching.max_queue_delay_microseconds"
    assert diagnosis.knobs[0] == f"lower {address} (now 50000)"


def test_identity_is_transport() -> None:
    """600 kB there and back; the model does nothing."""
    whole = load(
        1.0, 10.0, time_split=TimeSplit(0.0, 0.3, 0.5, 0.2), bytes_sent=600_000_000, bytes_received=600_000_000
    )
    models = (counters("identity", infer=0.2, total=0.25),)
    diagnosis = found(pipeline_trial(server_ms=0, server=models, facts=(facts("identity"),), whole=whole))
    assert (diagnosis.kind, diagnosis.model) == ("transport", "")
    assert "0.75 ms of its 1 ms (75%)" in diagnosis.sentence
    assert "1.2 MB" in diagnosis.sentence
    assert "workload.shared_memory: system" in diagnosis.text


def test_http_has_knobs_of_its_own_and_small_messages_gain_nothing_from_shared_memory() -> None:
    point = pipeline_trial(
        server_ms=0, server=(counters("m", infer=0.1),), latency_ms=1, facts=(facts("m"),), protocol="http"
    )
    assert verdict(point) == ("transport", "")
    assert "workload.protocol: grpc" in found(point).knobs[0]
    assert "shared_memory" not in found(point).text
    assert "protocol" not in found(replace(point, protocol="grpc")).text


def test_a_busy_client() -> None:
    point = pipeline_trial(counters("classify", infer=5), server_ms=5, elapsed_s=5.0, facts=CPU)
    busy = replace(point, summary=summary(mean_ms=5, client_cpu_fraction=0.97))
    assert verdict(busy) == ("client", "")
    assert "97%" in found(busy).sentence


def test_requests_that_wait_in_the_client() -> None:
    whole = load(30.0, 60.0, time_split=TimeSplit(20.0, 0.0, 10.0, 0.0))
    diagnosis = found(pipeline_trial(counters("classify", infer=9), server_ms=9, whole=whole, facts=CPU))
    assert diagnosis.kind == "client"
    assert "load.max_in_flight" in diagnosis.knobs[0]


def test_no_part_that_leads_is_said_so() -> None:
    models = (counters("preprocess", infer=5), counters("classify", infer=5))
    diagnosis = found(pipeline_trial(*models, server_ms=10, latency_ms=14, elapsed_s=60.0, facts=CPU))
    assert (diagnosis.kind, diagnosis.knobs) == ("undecided", ())
    assert diagnosis.text == diagnosis.sentence
    near = (counters("preprocess", infer=5), counters("classify", infer=5.2))
    assert verdict(pipeline_trial(*near, server_ms=10.2, elapsed_s=60.0, facts=CPU))[0] == "undecided"


def test_time_between_the_models_is_no_models_fault() -> None:
    models = (counters("preprocess", infer=1), counters("classify", infer=1))
    diagnosis = found(pipeline_trial(*models, server_ms=20, elapsed_s=60.0, facts=CPU))
    assert diagnosis.kind == "undecided"
    assert "neither queue nor computation" in diagnosis.sentence


def test_counters_of_decoupled_models_are_not_trusted_with_transport() -> None:
    stream = StreamSummary(responses=1, per_s=1.0, per_request=2.0, first=None, between=None, last=None)
    point = pipeline_trial(counters("m", infer=1), server_ms=1, latency_ms=9, facts=(facts("m"),))
    assert verdict(point)[0] == "transport"
    assert verdict(replace(point, summary=summary(mean_ms=9, stream=stream)))[0] == "undecided"


# --- calls of code ------------------------------------------------------------------------------------------------


def test_a_called_model_limits_its_caller() -> None:
    """Requests wait for the caller, which is busy all the time: waiting for the one it calls."""
    inner = (counters("decode", infer=2), counters("network", infer=60))
    known = (facts("caller"), facts("decode"), facts("network", "onnxruntime"))
    alone = (counters("caller", queue=190, infer=63),)
    busy = pipeline_trial(server_ms=0, server=alone, bls=inner, facts=known, latency_ms=255, elapsed_s=64.0)
    assert verdict(busy) == ("compute", "network")
    decoding = (counters("decode", infer=60), counters("network", infer=2))
    assert verdict(replace(busy, bls=decoding)) == ("preprocess", "decode")
    assert verdict(replace(busy, bls=())) == ("compute", "caller")


def test_a_callers_own_time_is_what_its_calls_leave() -> None:
    inner = (counters("network", infer=10),)
    known = (facts("caller", instances=4), facts("network", "onnxruntime", instances=4))
    point = pipeline_trial(server_ms=0, server=(counters("caller", infer=50),), bls=inner, facts=known, latency_ms=51)
    quiet = replace(point, whole=load(51.0, 60.0))
    assert verdict(quiet) == ("compute", "caller")
    assert verdict(replace(quiet, bls=(counters("network", infer=45),))) == ("compute", "network")


# --- what is not known --------------------------------------------------------------------------------------------


def test_without_facts_only_the_time_speaks() -> None:
    slow = (counters("preprocess", infer=5), counters("classify", infer=40))
    diagnosis = found(pipeline_trial(*slow, server_ms=45, elapsed_s=40.0))
    assert (diagnosis.kind, diagnosis.model) == ("compute", "classify")
    assert "busy" not in diagnosis.sentence
    assert "now" not in diagnosis.text


def test_nothing_to_say_without_a_table() -> None:
    assert diagnose(trial(CASES[0])) is None
    assert diagnose(trial(CASES[0], facts=(ModelFacts("tiny"),))) is None
