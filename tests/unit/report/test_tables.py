"""points, stages and combined: exact bytes for a small run, and agreement among the three."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.report import combined_csv, console_table, points_csv, points_json, stages_csv
from runner.report.combined import percentile_ms
from runner.report.tabular import cell_text, csv_bytes
from runner.results.metrics import STAGES
from runner.results.records import Estimate, Percentile, TimeSplit
from runner.results.run import PlannedCase, Run
from tests.unit.results.sample_run import CASES, create, histogram, small_run, summary, trial

EXPECTED = Path(__file__).with_name("expected")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return small_run(tmp_path_factory.mktemp("runs")).load()


def rows(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("points.csv", points_csv),
        ("stages.csv", stages_csv),
        ("combined.csv", combined_csv),
        ("points.json", points_json),
        ("console.txt", lambda run: console_table(run).encode()),
    ],
)
def test_a_small_run_gives_exactly_these_bytes(run: Run, name: str, table: Any) -> None:
    assert table(run).decode() == (EXPECTED / name).read_bytes().decode()


def test_every_point_has_a_row_in_matrix_order(run: Run) -> None:
    ids = [case.case_id for case in CASES]
    assert [row["case_id"] for row in rows(points_csv(run))] == ids
    assert [point["case_id"] for point in json.loads(points_json(run))["points"]] == ids
    batches = [(row["Batch size"], row["Concurrency"]) for row in rows(combined_csv(run))]
    assert batches == [(str(case.batch), str(case.load["concurrency"])) for case in CASES]


def flat_diagnosis(found: dict[str, Any] | None) -> dict[str, Any]:
    """Sentence and knobs are one cell in CSV."""
    if found is None:
        return dict.fromkeys(("diagnosis", "diagnosis_model", "diagnosis_text"))
    text = f"{found['sentence']}: {', or '.join(found['knobs'])}"
    return {"diagnosis": found["kind"], "diagnosis_model": found["model"], "diagnosis_text": text}


def test_csv_and_json_hold_the_same_values(run: Run) -> None:
    for row, point in zip(rows(points_csv(run)), json.loads(points_json(run))["points"], strict=True):
        flat = {**point, **point["parameters"], "load": point["load"]["kind"]}
        flat["flags"] = ";".join(flag["code"] for flag in point["flags"])
        for key in ("failed_by_code", "labels"):
            flat[key] = ";".join(f"{name}={value}" for name, value in point[key].items())
        flat |= flat_diagnosis(point["diagnosis"])
        assert row == {key: cell_text(flat[key]) for key in row}


def test_combined_agrees_with_points_to_its_precision(run: Run) -> None:
    for point, row in zip(rows(points_csv(run)), rows(combined_csv(run)), strict=True):
        if not point["inferences_per_s"]:
            assert set(row.values()) == {row[""], row["Batch size"], row["Concurrency"], ""}
            continue
        assert float(row["Inferences/Second"]) == pytest.approx(float(point["inferences_per_s"]), rel=5e-6)
        assert int(row["Avg latency"]) == round(float(point["latency_mean_ms"]) * 1000)
        for q in (50, 95, 99):
            assert int(row[f"p{q} latency"]) == round(float(point[f"latency_p{q}_ms"]) * 1000)
        for name, column in (
            ("queue", "Server Queue"),
            ("compute_input", "Server Compute Input"),
            ("compute_infer", "Server Compute Infer"),
            ("compute_output", "Server Compute Output"),
        ):
            assert int(row[column]) == round(float(point[f"server_{name}_us"]))


def test_stages_add_up_to_the_server_columns_of_points(run: Run) -> None:
    stages = [row for row in rows(stages_csv(run)) if row["role"] == "composing"]
    for point in rows(points_csv(run)):
        own = [row for row in stages if row["case_id"] == point["case_id"]]
        if not own:
            assert point["server_queue_us"] == ""
            continue
        for name, _ in STAGES:
            assert sum(float(row[f"{name}_us"]) for row in own) == pytest.approx(float(point[f"server_{name}_us"]))
        assert sum(float(row["compute_share"]) for row in own) == pytest.approx(1)
        assert {row["model"]: row["compute_share"] for row in own} == {
            model: point[f"server_compute_share.{model}"] for model in ("preprocess", "classify")
        }


def test_combined_rows_add_up(run: Run) -> None:
    parts = ["Network+Server Send/Recv", "Server Queue", "Server Compute Input", "Server Compute Infer"]
    for row in rows(combined_csv(run))[:3]:
        assert sum(int(row[part]) for part in [*parts, "Server Compute Output"]) == int(row["Avg latency"])


def test_combined_has_the_columns_of_the_reference_benchmark_and_no_other(run: Run) -> None:
    assert combined_csv(run).split(b"\n")[0].decode() == (
        ",Batch size,Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,"
        "Server Compute Input,Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency,"
        "p95 latency,p99 latency,Avg latency,request/response,response wait,Avg GPU Utilization,"
        "Avg GPU Power Usage,Max GPU Memory Usage,Total GPU Memory"
    )


# --- special points -----------------------------------------------------------------------------------------------


def one(tmp_path: Path, case: PlannedCase = CASES[0], **changes: Any) -> Run:
    directory = create(tmp_path)
    with directory.writer() as writer:
        writer.begin([case])
        writer.append(trial(case, **changes))
    return directory.load()


def test_percentiles_that_are_not_reported_come_from_the_histogram(tmp_path: Path) -> None:
    only = summary(percentiles=(Percentile(99.9, Estimate(50.0, None, None), 10.0),))
    run = one(tmp_path, summary=only, histograms={"latency": histogram(*range(1, 101))})
    row = rows(combined_csv(run))[0]
    for q in (50, 90, 95, 99):
        assert int(row[f"p{q} latency"]) == pytest.approx(q * 1000, rel=1e-3)
    point = rows(points_csv(run))[0]
    assert (point["latency_p99.9_ms"], point["latency_p99.9_supported"]) == ("50.0", "false")
    assert "latency_p99_ms" not in point


def test_without_a_histogram_such_a_percentile_is_empty(tmp_path: Path) -> None:
    run = one(tmp_path, summary=summary(percentiles=()), histograms={})
    assert rows(combined_csv(run))[0]["p99 latency"] == ""
    assert percentile_ms(run.trials["b1-c1"], 99) is None


def test_without_server_statistics_the_network_is_unknown(tmp_path: Path) -> None:
    run = one(tmp_path, server=())
    row = rows(combined_csv(run))[0]
    assert (row["Server Queue"], row["Network+Server Send/Recv"], row["Avg latency"]) == ("", "", "10000")
    assert rows(stages_csv(run)) == []


def test_a_server_mean_above_the_client_mean_does_not_make_the_network_negative(tmp_path: Path) -> None:
    row = rows(combined_csv(one(tmp_path, summary=summary(mean_ms=5.0))))[0]
    assert row["Network+Server Send/Recv"] == "0"


@pytest.mark.parametrize(
    ("rate", "text"), [(4233.3249, "4233.32"), (100.0, "100"), (18.04271, "18.0427"), (1_234_567.8, "1234568")]
)
def test_rates_look_as_in_the_reference(tmp_path: Path, rate: float, text: str) -> None:
    assert rows(combined_csv(one(tmp_path, summary=summary(rate=rate))))[0]["Inferences/Second"] == text


def test_a_model_called_alone_is_its_own_stage(tmp_path: Path) -> None:
    run = one(tmp_path, server=trial(CASES[0]).server[1:2])
    stage = rows(stages_csv(run))[0]
    assert (stage["role"], stage["queue_us"], stage["compute_share"]) == ("model", "500.0", "1.0")
    assert rows(combined_csv(run))[0]["Server Queue"] == "500"


def test_a_run_without_points_is_only_a_header(tmp_path: Path) -> None:
    directory = create(tmp_path)
    with directory.writer() as writer:
        writer.begin([])
    run = directory.load()
    assert points_csv(run).count(b"\r\n") == combined_csv(run).count(b"\n") == stages_csv(run).count(b"\r\n") == 1
    assert json.loads(points_json(run))["points"] == []
    assert "0 points" in console_table(run)


# --- cells --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (-5, "-5"),
        (1e-9, "1e-09"),
        (0.1 + 0.2, "0.30000000000000004"),
        ("plain", "plain"),
        ("=1+1", "'=1+1"),
        ("-x", "'-x"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ([1, "ä"], '[1,"ä"]'),
        ({"a": None}, '{"a":null}'),
    ],
)
def test_cells(value: Any, text: str) -> None:
    assert cell_text(value) == text


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_any_text_survives_csv(texts: list[str]) -> None:
    data = csv_bytes([str(number) for number in range(len(texts))], [dict(enumerate(texts))])  # type: ignore[misc]
    assert len(list(csv.reader(io.StringIO(data.decode(), newline="")))) == 2
    named = csv_bytes(["x"], [{"x": f"a{text}"} for text in texts])
    assert [row["x"] for row in rows(named)] == [f"a{text}" for text in texts]


def test_client_times_fill_the_columns_of_the_reference_benchmark(tmp_path: Path) -> None:
    split = TimeSplit(queue_ms=0.0, write_ms=0.25, wait_ms=9.5, read_ms=0.25)
    directory = create(tmp_path)
    with directory.writer() as writer:
        writer.begin(CASES[:1])
        writer.append(trial(CASES[0], summary=summary(time_split=split)))
    run = directory.load()
    (row,) = rows(combined_csv(run))
    assert (row["Client Send"], row["Client Recv"], row["response wait"]) == ("250", "250", "9500")
    parts = ["Client Send", "Client Recv", *(name for name in row if "Server" in name)]
    assert sum(int(row[name]) for name in parts) == int(row["Avg latency"])
    (point,) = rows(points_csv(run))
    assert (point["request_write_ms"], point["response_read_ms"]) == ("0.25", "0.25")
