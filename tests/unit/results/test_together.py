from __future__ import annotations

from dataclasses import replace

import pytest

from runner.results.diagnosis import diagnose
from runner.results.records import BatchStatistics, TimeSplit
from runner.results.repeats import pooled
from runner.results.together import loads_together, models_together
from tests.unit.results.pipelines import REQUESTS, counters, facts, load, pipeline_trial
from tests.unit.results.sample_run import CASES


def test_counters_add_up_per_model_and_per_batch_size() -> None:
    one, other = counters("a", infer=2, batch=1), counters("a", infer=10, batch=8)
    both, alone = models_together([one, counters("b"), other])
    assert (both.model, both.success_count, alone.model) == ("a", 2 * REQUESTS, "b")
    assert both.compute_infer_ns == 12_000_000 * REQUESTS
    assert both.batches == (*one.batches, *other.batches)
    (twice,) = models_together([one, one])
    assert twice.batches == (BatchStatistics(1, 2 * REQUESTS, 0, 4_000_000 * REQUESTS, 0),)


def test_means_of_loads_weigh_their_requests() -> None:
    short = replace(load(10.0, 1.0), completions=100, time_split=TimeSplit(1.0, 0.0, 9.0, 0.0))
    long = replace(load(20.0, 3.0), completions=300, time_split=TimeSplit(0.0, 0.0, 18.0, 2.0))
    together = loads_together([short, long])
    assert together is not None
    assert (together.elapsed_s, together.completions, together.latency_mean_ms) == (4.0, 400, pytest.approx(17.5))
    assert together.time_split == TimeSplit(0.25, 0.0, 15.75, 1.5)
    assert loads_together([]) is None


def test_repeats_of_a_point_have_a_diagnosis_of_their_own() -> None:
    known = (facts("preprocess"), facts("classify"))
    models = (counters("preprocess", infer=5), counters("classify", queue=105, infer=40))
    one = pipeline_trial(*models, server_ms=150, elapsed_s=40.4, facts=known)
    together, _ = pooled(replace(CASES[0], repeats=2), [one, replace(one, repeat=1)])
    single, both = diagnose(one), diagnose(together)
    assert together.server[0].success_count == 2 * REQUESTS
    assert single is not None
    assert single == both
