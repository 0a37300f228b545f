from __future__ import annotations

import re

import pytest

from runner.results.metric import Metric
from runner.results.metrics import METRICS, compute_share, model_metrics, percentile, percentile_name
from runner.results.records import (
    Counts,
    Distribution,
    SequenceSummary,
    SeriesSummary,
    StreamSummary,
    TimeSplit,
    Trial,
)
from runner.results.telemetry_metrics import gpu_metrics, series_metrics
from tests.unit.results.sample_run import CASES, FACTS, WHOLE, failed, invalid, summary, trial

BY_KEY = {metric.key: metric for metric in METRICS}
UNIT_ENDING = {"ms": "_ms", "us": "_us", "s": "_s", "1/s": "_per_s"}


def gauge(mean: float) -> SeriesSummary:
    return SeriesSummary("gauge", "", 10, mean=mean, min=mean / 2, max=2 * mean, first=mean / 2, last=mean)


def counter(delta: float) -> SeriesSummary:
    return SeriesSummary("counter", "", 10, delta=delta, per_s=delta / 10, whole=delta + 1)


TELEMETRY = {
    "host.cpu_busy_s": counter(20),
    "host.client_cpu_s": counter(2),
    "host.server_cpu_s": counter(16),
    "host.cpu_steal_s": counter(1),
    "host.cpu_total_s": counter(40),
    "host.memory_used_bytes": gauge(2**30),
    **{
        f"gpu{index}.{name}": series
        for index in (0, 1)
        for name, series in {
            "energy_j": counter(3000 + 1000 * index),
            "power_w": gauge(300 + 100 * index),
            "utilization": gauge(0.5 + 0.25 * index),
            "memory_used_bytes": gauge(2**30),
            "memory_total_bytes": gauge(2**35),
            "temperature_c": gauge(30 + index),
            "sm_clock_mhz": gauge(1500),
        }.items()
    },
}
ALL = [
    *METRICS,
    *percentile(99.9),
    compute_share("m"),
    *model_metrics("m"),
    *gpu_metrics(0),
    *series_metrics("nv_x", "counter"),
]


@pytest.mark.parametrize("metric", ALL, ids=lambda m: m.key)
def test_a_declaration_is_complete(metric: Metric) -> None:
    assert metric.formula
    ending = UNIT_ENDING.get(metric.unit)
    assert ending is None or ending in metric.key
    assert metric.cells(None) == dict.fromkeys(metric.columns)
    assert metric.cells(failed(CASES[0], "died"))[metric.key] is None


def test_keys_are_unique() -> None:
    assert len(BY_KEY) == len(METRICS)


def value(key: str, of: Trial) -> object:
    return BY_KEY[key].cells(of)[key]


def test_every_metric_of_a_full_trial_has_a_value() -> None:
    times = Distribution(count=8, mean_ms=1.0, p50_ms=1.0, p90_ms=2.0, p95_ms=3.0, p99_ms=4.0, max_ms=5.0)
    full = trial(
        CASES[0],
        whole=WHOLE,
        facts=FACTS,
        summary=summary(
            offered_per_s=100.0,
            time_split=TimeSplit(0.0, 0.5, 9.0, 0.5),
            sequences=SequenceSummary(completed=8, failed=1, per_s=0.8, latency=times),
            stream=StreamSummary(responses=16, per_s=1.6, per_request=2.0, first=times, between=times, last=times),
        ),
        telemetry=TELEMETRY,
    )
    assert [key for key in BY_KEY if value(key, full) is None] == []


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("requests_sent", 1203),
        ("requests_failed", 3),
        ("error_rate", 3 / 1203),
        ("inferences_per_s", 800.0),
        ("server_success_count", 1200),
        ("server_request_us", 9000.0),
        ("server_queue_us", 800.0),
        ("server_compute_input_us", 20.0),
        ("server_compute_infer_us", 7970.0),
        ("server_compute_output_us", 10.0),
        ("server_overhead_us", pytest.approx(200.0)),
    ],
)
def test_values(key: str, expected: object) -> None:
    assert value(key, invalid(CASES[2])) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("host_cpu_busy", 0.5),
        ("host_cpu_foreign", pytest.approx(0.05)),
        ("host_cpu_steal", 0.025),
        ("host_memory_used_max_bytes", 2**31),
        ("gpu_energy_j", 7000),
        ("gpu_energy_per_inference_j", 7.0),  # 100 inferences/s for 10 s
        ("gpu_energy_method", "counter"),
        ("gpu_energy_error", pytest.approx(0.02)),
        ("gpu_power_w", 700),
        ("gpu_utilization", 0.625),
        ("gpu_memory_used_max_bytes", 2**32),
        ("gpu_memory_total_bytes", 2**37),
        ("gpu_temperature_max_c", 62),
    ],
)
def test_values_of_telemetry(key: str, expected: object) -> None:
    assert value(key, trial(CASES[0], telemetry=TELEMETRY)) == expected
    assert value(key, trial(CASES[0])) is None


def test_one_gpu_and_one_series_have_columns_of_their_own() -> None:
    of = trial(CASES[0], telemetry={**TELEMETRY, "nv_x": counter(50), "nv_y": gauge(3)})
    cells = {key: cell for index in (0, 1) for metric in gpu_metrics(index) for key, cell in metric.cells(of).items()}
    assert (cells["gpu0_energy_j"], cells["gpu1_energy_j"], cells["gpu1_power_w"]) == (3000, 4000, 400)
    assert (cells["gpu0_sm_clock_mhz"], cells["gpu0_jpeg_utilization"]) == (1500, None)
    cells = {key: cell for m in series_metrics("nv_x", "counter") for key, cell in m.cells(of).items()}
    assert cells == {"nv_x.delta": 50, "nv_x.per_s": 5}
    cells = {key: cell for m in series_metrics("nv_y", "gauge") for key, cell in m.cells(of).items()}
    assert cells == {"nv_y.mean": 3, "nv_y.max": 6}


def test_where_one_gpu_has_no_counter_the_sum_is_of_power() -> None:
    blind = {**TELEMETRY, "gpu1.energy_j": SeriesSummary("counter", "J", 10)}
    of = trial(CASES[0], telemetry=blind)
    assert [value(f"gpu_energy_{key}", of) for key in ("j", "method", "error")] == [7000, "power", None]


def test_intervals_become_three_columns() -> None:
    assert BY_KEY["latency_mean_ms"].cells(trial(CASES[0])) == {
        "latency_mean_ms": 10.0,
        "latency_mean_ms_low": 9.5,
        "latency_mean_ms_high": 10.5,
    }


def test_a_percentile_without_an_upper_bound_is_marked() -> None:
    value99, supported99 = percentile(99.0)
    assert value99.cells(trial(CASES[0])) == {
        "latency_p99_ms": 30.0,
        "latency_p99_ms_low": 26.0,
        "latency_p99_ms_high": None,
    }
    assert supported99.cells(trial(CASES[0])) == {"latency_p99_supported": False}
    assert percentile(95.0)[1].cells(trial(CASES[0])) == {"latency_p95_supported": True}
    assert percentile(99.9)[0].cells(trial(CASES[0]))["latency_p99.9_ms"] is None


def test_percentile_names() -> None:
    assert [percentile_name(q) for q in (50, 99.0, 99.9, 99.99)] == ["p50", "p99", "p99.9", "p99.99"]


def test_shares_of_computation_sum_to_one() -> None:
    shares = [compute_share(name).extract(trial(CASES[0])) for name in ("preprocess", "classify")]
    assert shares == [0.25, 0.75]
    assert compute_share("nobody").extract(trial(CASES[0])) is None


def test_what_each_model_did() -> None:
    full = trial(CASES[0], whole=WHOLE, facts=FACTS)
    assert [metric.extract(full) for metric in model_metrics("preprocess")] == [600, 2.0, pytest.approx(0.1)]
    assert [metric.extract(full) for metric in model_metrics("classify")] == [600, 2.0, pytest.approx(0.15)]
    assert [metric.extract(full) for metric in model_metrics("tiny")] == [None, None, None]


def test_the_rows_of_the_whole_load_add_up() -> None:
    full = trial(CASES[0], whole=WHOLE)
    rows = [value(f"load_{name}_ms", full) for name in ("client", "network", "server", "residual")]
    assert rows == [0.375, 0.625, 9.0, pytest.approx(0)]
    assert value("load_latency_mean_ms", full) == 10.0
    assert value("load_measured_share", full) == pytest.approx(0.9375)


def test_a_model_without_an_ensemble_is_its_own_stage() -> None:
    alone = trial(CASES[0], server=trial(CASES[0]).server[1:2])
    assert value("server_queue_us", alone) == 500.0
    assert compute_share("preprocess").extract(alone) == 1.0


def test_nothing_answered_is_no_error_rate_and_no_division() -> None:
    nothing = trial(CASES[0], counts=Counts(5, 0, {}, 0, 5), server=())
    assert value("error_rate", nothing) is None
    assert value("server_queue_us", nothing) is None
    assert value("server_overhead_us", nothing) is None


def test_formulas_name_only_columns_that_exist() -> None:
    words = {word for metric in METRICS for word in re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", metric.formula)}
    known = set(BY_KEY) | {"mismatch_server_count", "compute_input", "compute_infer", "compute_output"}
    assert words <= known
