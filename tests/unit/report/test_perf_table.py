"""Where each number of the CSV comes from, in cases that can be worked out by hand."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.report.perf import write
from runner.results.perf_wishes import PerfWishes
from runner.results.records import Estimate, Percentile, SeriesSummary
from tests.unit.report.perf_runs import ENSEMBLE, PLAIN, SPLIT, cached, level, measured, run_of, stream, whole
from tests.unit.results.sample_run import failed, histogram, model


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def table(tmp_path: Path, *trials: Any, **wishes: Any) -> list[dict[str, str]]:
    """The rows of a run of these trials."""
    cases = [level(each.load["concurrency"]) for each in trials]
    write(run_of(tmp_path, cases, trials), PerfWishes(csv=tmp_path / "x.csv", **wishes))
    return rows(tmp_path / "x.csv")


def one(tmp_path: Path, wishes: dict[str, Any] | None = None, **changes: Any) -> dict[str, str]:
    (row,) = table(tmp_path, measured(level(1), **changes), **(wishes or {}))
    return row


def test_a_row_adds_up_to_the_mean_latency(tmp_path: Path) -> None:
    row = one(tmp_path, {"verbose_csv": True}, server=ENSEMBLE)
    # 10 ms: sent in 0.125, read in 0.25; of 9 ms in the server the steps explain 8.8, the network has what is left.
    expected = {"Client Send": "125", "Network+Server Send/Recv": "825", "Server Queue": "800", "Client Recv": "250"}
    computed = {"Server Compute Input": "20", "Server Compute Infer": "7970", "Server Compute Output": "10"}
    assert expected | computed == {name: row[name] for name in expected | computed}
    assert sum(map(int, (expected | computed).values())) == int(row["Avg latency"]) == 10_000
    assert (row["request/response"], row["response wait"]) == ("375", "9625")


def test_it_adds_up_where_the_server_claims_more_than_the_client_waited(tmp_path: Path) -> None:
    split = replace(SPLIT, wait_ms=8.9)
    shorter = replace(whole(split), latency_mean_ms=9.275)
    row = one(tmp_path, server=ENSEMBLE, whole=shorter, time_split=split, latency_mean_ms=Estimate(9.275))
    assert row["Network+Server Send/Recv"] == "100"


def test_the_queues_of_an_ensemble_are_not_hidden_in_the_network(tmp_path: Path) -> None:
    """perf_analyzer shows an ensemble's own queue, which is 0, and adds those of its steps to the network."""
    assert one(tmp_path, server=ENSEMBLE)["Server Queue"] == "800"


def test_composing_models_have_files_beside_the_requested_one(tmp_path: Path) -> None:
    """perf_analyzer puts the model before the whole path, `sleepy_v1./folder/x.csv`, and loses the file."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    run = run_of(tmp_path, [level(1)], [measured(level(1), server=(*ENSEMBLE[:2], twice(ENSEMBLE[2])))])
    write(run, PerfWishes(csv=folder / "x.csv"))
    assert {file.name for file in folder.iterdir()} == {"x.csv", "identity_v1.x.csv", "sleepy_v1.x.csv"}
    (row,) = rows(folder / "sleepy_v1.x.csv")
    # It ran twice for each request; its times are per run.
    assert (row["Inferences/Second"], row["Server Queue"], row["Server Compute Infer"]) == ("200", "300", "5985")
    assert (row["Client Send"], row["Network+Server Send/Recv"], row["Client Recv"]) == ("0", "0", "0")


def twice(statistics: Any) -> Any:
    return model(statistics.model, 300, 5985, success=2 * statistics.success_count)


def test_models_called_by_code_have_files_too(tmp_path: Path) -> None:
    one(tmp_path, bls=(model("inner", 100, 1000),))
    assert rows(tmp_path / "inner_v1.x.csv")[0]["Server Compute Infer"] == "1000"


def test_rows_ascend_by_throughput(tmp_path: Path) -> None:
    rates = {1: 30.0, 2: 123.456789, 4: 9.5}
    found = table(tmp_path, *(measured(level(c), inferences_per_s=Estimate(rate)) for c, rate in rates.items()))
    assert [(row["Concurrency"], row["Inferences/Second"]) for row in found] == [
        ("4", "9.5"),
        ("1", "30"),
        ("2", "123.457"),
    ]


@pytest.mark.parametrize("wanted", [97.0, 99.9])
def test_the_asked_percentile_stands_in_numeric_order(tmp_path: Path, wanted: float) -> None:
    """perf_analyzer takes whole percents only and turns 99.9 into 99 without a word."""
    latencies = {"latency": histogram(*(float(ms) for ms in range(1, 1001)))}
    row = one(tmp_path, {"percentile": wanted, "verbose_csv": True}, histograms=latencies)
    names = [name for name in row if name.startswith("p") and name.endswith(" latency")]
    assert names == [f"p{q:g} latency" for q in sorted([50, 90, 95, 99, wanted])]
    assert int(row[f"p{wanted:g} latency"]) == pytest.approx(wanted * 10_000, rel=0.001)
    assert "Avg latency" not in row


def test_a_reported_percentile_is_taken_as_it_was_reported(tmp_path: Path) -> None:
    row = one(tmp_path, percentiles=(Percentile(99.0, Estimate(30.0004), 250.0),))
    assert row["p99 latency"] == "30000"


def test_responses_of_a_decoupled_model_are_counted(tmp_path: Path) -> None:
    row = one(tmp_path, stream=stream(3.0))
    assert (row["Inferences/Second"], row["Response Throughput"]) == ("100", "300")
    # It is read while the model answers: nothing of that time is the client's.
    assert (row["Client Send"], row["Client Recv"]) == ("125", "0")


def test_a_stream_with_one_answer_each_is_not_decoupled(tmp_path: Path) -> None:
    assert "Response Throughput" not in one(tmp_path, stream=stream(1.0))


def test_a_cache_is_a_part_of_the_latency(tmp_path: Path) -> None:
    row = one(tmp_path, server=(cached(PLAIN[0]),))
    # 300 hits of 0.2 ms and 900 misses of 0.1 ms over 1200 requests; the rest of the server's 8.5 ms is smaller by it.
    assert (row["Server Cache Hit"], row["Server Cache Miss"]) == ("50", "75")
    parts = [name for name in row if name.startswith(("Client", "Network", "Server"))]
    assert sum(int(row[name]) for name in parts) == 10_000


def test_gpus_are_listed_by_their_identifier(tmp_path: Path) -> None:
    gauge = SeriesSummary("gauge", "", 10, mean=0.5, max=85e9, first=85_899_345_920.0)
    names = ("utilization", "power_usage", "memory_used_bytes", "memory_total_bytes")
    series = {f'nv_gpu_{name}{{gpu_uuid="GPU-{gpu}"}}': gauge for name in names for gpu in "ab"}
    row = one(tmp_path, {"verbose_csv": True, "collect_metrics": True}, telemetry=series)
    assert row["Avg GPU Utilization"] == "GPU-a:0.5;GPU-b:0.5;"
    assert row["Total GPU Memory"] == "GPU-a:85899345920;GPU-b:85899345920;"


def test_without_statistics_of_the_server_its_columns_are_left_out(tmp_path: Path) -> None:
    row = one(tmp_path, server=(), whole=None)
    assert not [name for name in row if "Server" in name]
    assert row["Client Send"] == "125"


def test_a_failed_level_has_no_row_and_a_run_without_numbers_a_header(tmp_path: Path) -> None:
    assert table(tmp_path, failed(level(1), "gone"), measured(level(2)))[0]["Concurrency"] == "2"
    other = tmp_path / "other"
    other.mkdir()
    write(run_of(other, [level(1)], [failed(level(1), "gone")]), PerfWishes(csv=tmp_path / "none.csv"))
    (header,) = (tmp_path / "none.csv").read_text().splitlines()
    assert header.startswith("Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,")


def test_what_the_client_waited_before_it_sent_is_not_the_network(tmp_path: Path) -> None:
    late = measured(level(1), server=PLAIN)
    assert late.whole is not None
    split = replace(late.whole.time_split, queue_ms=5.0)
    waited = replace(late.whole, latency_mean_ms=15.0, time_split=split)
    rows_ = table(tmp_path, late, measured(level(2), whole=waited))
    assert rows_[0]["Network+Server Send/Recv"] == rows_[1]["Network+Server Send/Recv"] == "1125"
