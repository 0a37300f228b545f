from __future__ import annotations

from dataclasses import replace

import pytest

from runner.results.records import BatchStatistics, ModelStatistics
from runner.results.stages import compute_shares, difference, stage_table, went_backwards

MS = 1_000_000


def statistics(model: str, requests: int, **times_ms: float) -> ModelStatistics:
    """Counters of a model whose every request took these milliseconds."""
    return ModelStatistics(
        model=model,
        version="1",
        success_count=requests,
        failure_count=0,
        inference_count=8 * requests,
        execution_count=requests // 2,
        **{f"{name}_ns": int(times_ms.get(name, 0) * MS * requests) for name in NAMES},
    )


NAMES = ("queue", "compute_input", "compute_infer", "compute_output", "success")
ENSEMBLE = statistics("pipeline", 100, success=20)
PREPROCESS = statistics("preprocess", 100, queue=2, compute_input=0.5, compute_infer=3, compute_output=0.5, success=6)
CLASSIFY = statistics("classify", 100, queue=1, compute_input=1, compute_infer=10, compute_output=1, success=13)


def test_differences_are_per_model_and_version() -> None:
    later = (replace(CLASSIFY, success_count=150), replace(PREPROCESS, version="2"))
    first, second = difference((PREPROCESS, CLASSIFY), later)
    assert (first.model, first.success_count, first.queue_ns) == ("classify", 50, 0)
    assert second == later[1]


def test_differences_are_per_batch_size() -> None:
    early = replace(CLASSIFY, batches=(BatchStatistics(1, 5, 1, 10, 1), BatchStatistics(8, 2, 3, 40, 3)))
    late = replace(
        CLASSIFY, batches=(*early.batches[:1], BatchStatistics(4, 3, 1, 9, 1), BatchStatistics(8, 6, 9, 90, 9))
    )
    (did,) = difference((early,), (late,))
    assert did.batches == (BatchStatistics(4, 3, 1, 9, 1), BatchStatistics(8, 4, 6, 50, 6))


def test_counters_that_went_backwards_name_their_models() -> None:
    delta = difference((ENSEMBLE, CLASSIFY), (ENSEMBLE, replace(CLASSIFY, queue_ns=0)))
    assert went_backwards(delta) == ("classify",)
    assert went_backwards(difference((ENSEMBLE,), (ENSEMBLE,))) == ()


def test_stages_of_an_ensemble_add_up() -> None:
    table = stage_table((ENSEMBLE, PREPROCESS, CLASSIFY))
    assert table is not None
    assert (table.called, [s.model for s in table.steps]) == ("pipeline", ["preprocess", "classify"])
    assert (table.server_ms, table.queue_ms, table.compute_ms, table.overhead_ms) == (20, 3, 16, pytest.approx(1))
    assert table.server_ms == pytest.approx(table.queue_ms + table.compute_ms + table.overhead_ms)
    preprocess = table.steps[0]
    assert (preprocess.compute_ms, preprocess.compute_share) == (4, 0.25)
    assert preprocess.queue_share == pytest.approx(2 / 3)
    assert (preprocess.executions, preprocess.mean_batch) == (50, 16)


def test_overlapping_steps_have_negative_overhead() -> None:
    table = stage_table((replace(ENSEMBLE, success_ns=100 * 15 * MS), PREPROCESS, CLASSIFY))
    assert table is not None
    assert table.overhead_ms == pytest.approx(-4)


def test_a_step_that_runs_twice_per_request_counts_twice() -> None:
    twice = replace(statistics("classify", 200, compute_infer=5), inference_count=1600)
    table = stage_table((ENSEMBLE, twice))
    assert table is not None
    assert (table.steps[0].compute_infer_ms, table.compute_ms) == (5, 10)


def test_a_single_model_is_its_own_step() -> None:
    table = stage_table((CLASSIFY,))
    assert table is not None
    assert [s.model for s in table.steps] == ["classify"]
    assert table.steps[0].compute_share == 1


def test_the_share_of_preprocessing_in_server_time() -> None:
    assert compute_shares((ENSEMBLE, PREPROCESS, CLASSIFY)) == {"preprocess": 0.25, "classify": 0.75}


def test_nothing_measured_has_no_stages() -> None:
    idle = statistics("idle", 0)
    assert stage_table(()) is None
    assert stage_table((idle,)) is None
    assert compute_shares((idle,)) == {}
    table = stage_table((ENSEMBLE, idle))
    assert table is not None
    step = table.steps[0]
    assert (step.mean_batch, step.compute_share, step.queue_share, step.queue_ms) == (None, None, None, 0)
