from __future__ import annotations

from dataclasses import replace

import pytest

from runner.results.breakdown import breakdown
from runner.results.records import StreamSummary, TimeSplit
from tests.unit.results.pipelines import REQUESTS, counters, load, pipeline_trial
from tests.unit.results.sample_run import CASES, summary, trial

PREPROCESS = counters("preprocess", queue=1, infer=4)
CLASSIFY = counters("classify", queue=3, infer=10)
CLIENT = load(20.0, 10.0, time_split=TimeSplit(0.25, 0.5, 19.0, 0.25))


def test_rows_of_both_clocks_add_up_to_the_clients_mean() -> None:
    table = breakdown(pipeline_trial(PREPROCESS, CLASSIFY, server_ms=18.5, whole=CLIENT))
    assert table is not None
    assert [(p.where, p.model, p.stage, round(p.ms, 6)) for p in table.parts] == [
        ("client", "", "queue", 0.25),
        ("client", "", "write", 0.5),
        ("client", "", "read", 0.25),
        ("network", "", "network", 0.5),
        ("server", "preprocess", "queue", 1),
        ("server", "preprocess", "compute_input", 0),
        ("server", "preprocess", "compute_infer", 4),
        ("server", "preprocess", "compute_output", 0),
        ("server", "classify", "queue", 3),
        ("server", "classify", "compute_input", 0),
        ("server", "classify", "compute_infer", 10),
        ("server", "classify", "compute_output", 0),
        ("server", "", "scheduling", 0.5),
    ]
    assert sum(part.ms for part in table.parts) == pytest.approx(table.total_ms) == 20
    assert table.residual_ms == pytest.approx(0)
    assert table.measured_share == pytest.approx(0.975)


def test_a_server_that_claims_more_than_the_client_waited_is_a_residual_not_a_network() -> None:
    table = breakdown(pipeline_trial(PREPROCESS, CLASSIFY, server_ms=21, whole=CLIENT))
    assert table is not None
    assert table.sum_ms("network") == 0
    assert table.residual_ms == pytest.approx(-2)
    assert table.residual_share == pytest.approx(-0.1)


def test_models_beside_each_other_are_printed_as_overlap_not_clamped() -> None:
    table = breakdown(pipeline_trial(PREPROCESS, CLASSIFY, server_ms=14, latency_ms=15))
    assert table is not None
    assert table.sum_ms("server", stages=("overlap",)) == pytest.approx(-4)
    assert table.sum_ms("server") == pytest.approx(14)
    assert table.residual_ms == pytest.approx(0)


def test_a_model_that_runs_twice_for_a_request_counts_twice() -> None:
    twice = counters("classify", infer=5, requests=2 * REQUESTS)
    table = breakdown(pipeline_trial(twice, server_ms=10))
    assert table is not None
    assert table.sum_ms("server", model="classify") == 10


def test_the_window_stands_beside_the_whole_load() -> None:
    """The server's counters hold the warm-up, so the client's mean of the table must hold it too."""
    slow_start = pipeline_trial(CLASSIFY, server_ms=13, latency_ms=13, summary=summary(mean_ms=10.0))
    table = breakdown(slow_start)
    assert table is not None
    assert (table.total_ms, table.reported_ms) == (13, 10)
    assert table.residual_ms == pytest.approx(0)
    assert table.window_share == pytest.approx(-3 / 13)


def test_calls_of_code_are_shown_but_not_added() -> None:
    caller = counters("caller", infer=12)
    inner = counters("inner", queue=2, infer=8)
    table = breakdown(pipeline_trial(caller, server_ms=12, bls=(inner,)))
    assert table is not None
    assert table.sum_ms("inside", model="inner") == 10
    assert table.sum_ms("server") == 12


def test_a_model_called_alone_is_its_own_stage() -> None:
    alone = pipeline_trial(server_ms=0, latency_ms=14, server=(counters("classify", queue=3, infer=10, total=13.5),))
    table = breakdown(alone)
    assert table is not None
    assert table.sum_ms("server", model="classify") == 13
    assert table.sum_ms("server", stages=("scheduling",)) == pytest.approx(0.5)
    assert table.sum_ms("network") == pytest.approx(0.5)


def test_the_cache_is_a_row_where_it_was_used() -> None:
    cached = replace(CLASSIFY, cache_hit_count=10, cache_hit_ns=REQUESTS * 500_000, cache_miss_ns=REQUESTS * 500_000)
    table = breakdown(pipeline_trial(cached, server_ms=14))
    assert table is not None
    assert table.sum_ms("server", stages=("cache",)) == 1
    assert table.residual_ms == pytest.approx(0)
    whole_pipeline = pipeline_trial(CLASSIFY, server_ms=14)
    ensemble = replace(whole_pipeline.server[0], cache_hit_ns=REQUESTS * 1_000_000)
    table = breakdown(replace(whole_pipeline, server=(ensemble, CLASSIFY)))
    assert table is not None
    assert table.sum_ms("server", model="pipeline", stages=("cache",)) == 1


def test_a_stream_is_read_while_the_model_answers() -> None:
    split = TimeSplit(0.0, 0.0, 5.0, 9.0)
    stream = StreamSummary(responses=1, per_s=1.0, per_request=2.0, first=None, between=None, last=None)
    table = breakdown(
        pipeline_trial(
            CLASSIFY, server_ms=13, whole=load(14.0, 10.0, time_split=split), summary=summary(14.0, stream=stream)
        )
    )
    assert table is not None
    assert table.sum_ms("client") == 0
    assert table.sum_ms("network") == pytest.approx(1)


def test_no_table_without_both_clocks() -> None:
    assert breakdown(trial(CASES[0])) is None
    assert breakdown(pipeline_trial(CLASSIFY, server_ms=13, server=())) is None
    assert breakdown(pipeline_trial(CLASSIFY, server_ms=13, summary=None)) is None
    assert breakdown(pipeline_trial(CLASSIFY, server_ms=13, server=(counters("pipeline", requests=0),))) is None
