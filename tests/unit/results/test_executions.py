from __future__ import annotations

from dataclasses import replace

import pytest

from runner.results.executions import busy_ns, execution_ms, mean_batch, utilisation, working
from tests.unit.results.pipelines import counters, facts, pipeline_trial

BATCHED = counters("classify", infer=40, batch=8)


def test_a_batchs_time_counts_once() -> None:
    """1000 requests, 8 at a time, 40 ms each time: 5 s of work, although the requests saw 40 s together."""
    assert BATCHED.compute_infer_ns == 40_000_000_000
    assert busy_ns(BATCHED) == 5_000_000_000
    assert execution_ms(BATCHED) == 40
    assert mean_batch(BATCHED) == 8


@pytest.mark.parametrize(("instances", "expected"), [(1, 0.5), (2, 0.25)])
def test_utilisation_is_shared_by_the_instances(instances: int, expected: float) -> None:
    point = pipeline_trial(BATCHED, server_ms=40, elapsed_s=10.0, facts=(facts("classify", instances=instances),))
    assert utilisation(point, BATCHED) == expected


def test_what_is_not_known_is_none() -> None:
    point = pipeline_trial(BATCHED, server_ms=40, facts=(facts("classify"),))
    assert utilisation(replace(point, facts=()), BATCHED) is None
    assert utilisation(replace(point, facts=(facts("classify", instances=None),)), BATCHED) is None
    assert utilisation(replace(point, whole=None), BATCHED) is None
    assert utilisation(point, replace(BATCHED, batches=())) is None
    assert execution_ms(replace(BATCHED, batches=())) is None
    assert mean_batch(counters("idle", requests=0)) is None


def test_the_models_that_work() -> None:
    point = pipeline_trial(BATCHED, server_ms=40, bls=(counters("inner"),))
    assert [m.model for m in working(point)] == ["classify", "inner"]
    alone = replace(point, server=(BATCHED,), bls=())
    assert [m.model for m in working(alone)] == ["classify"]
