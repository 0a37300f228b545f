"""A real load on an ensemble in perf_analyzer's forms: its columns, its schema, and a throughput that is one."""

from __future__ import annotations

import csv
import json
import re
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.load.native import NativeEngine
from runner.measure.orders import Orders, Requests, Target
from runner.measure.trial import measure_case
from runner.report.perf import write
from runner.results.directory import RunDirectory
from runner.results.perf_wishes import PerfWishes
from runner.results.records import Trial
from runner.results.run import Run
from runner.runtimes.base import RunningServer
from runner.scenario.case import Case
from runner.scenario.schema import Scenario
from runner.services import connect
from runner.services.pipeline import read_pipeline
from tests.contracts.service import settled

CAPTURED = Path(__file__).parents[1] / "unit" / "report" / "perf_captured"
REQUESTS = 60


def case_of(concurrency: int) -> Case:
    described = {
        "scenario": 1,
        "name": "chain",
        "workload": {"model": "chain", "protocol": "http"},
        "load": {"kind": "concurrency", "concurrency": concurrency},
        "measure": {"requests": REQUESTS, "records": "full"},
    }
    return Case(f"c{concurrency}", {}, Scenario.model_validate(described), "key")


def measured(server: RunningServer, case: Case, records: Path) -> Trial:
    with closing(connect(server.endpoint, case.scenario.workload)) as service:
        pipeline = read_pipeline(service, service.metadata("chain"))
        settled(service, pipeline.models)
        return measure_case(
            case,
            Target(engine=NativeEngine(), endpoint=server.endpoint, service=service, pipeline=pipeline),
            Requests([service.encode("chain", {"INPUT0": np.ones((1, 4), np.float32)})]),
            Orders(records=records),
        )


@pytest.fixture
def run(triton: RunningServer, tmp_path: Path) -> Run:
    directory = RunDirectory.create(tmp_path / "runs", "chain", "0" * 64, datetime.now(UTC))
    cases = [case_of(1), case_of(2)]
    with directory.writer() as writer:
        writer.write_resolved(f"measure: {{requests: {REQUESTS}}}\n")
        writer.begin(cases)
        for case in cases:
            writer.append(measured(triton, case, directory.path / "records" / f"{case.id}.bin"))
        writer.finish("complete")
    return directory.load()


def rows(path: Path) -> tuple[str, list[dict[str, str]]]:
    header, *_ = path.read_text().splitlines()
    with path.open(newline="") as file:
        return header, list(csv.DictReader(file))


def test_a_real_load_in_all_forms(run: Run, tmp_path: Path) -> None:
    path, export = tmp_path / "ensemble.csv", tmp_path / "export.json"
    wishes = PerfWishes(csv=path, profile_export=export, verbose_csv=True, collect_metrics=True)
    text = write(run, wishes)
    experiments = json.loads(export.read_text())["experiments"]
    assert [(e["experiment"]["value"], len(e["requests"])) for e in experiments] == [(1, REQUESTS), (2, REQUESTS)]
    for experiment, printed in zip(experiments, re.findall(r" Throughput: ([\d.]+) infer/sec", text), strict=True):
        # perf_analyzer would print at most 60 a second here, whatever the model does.
        assert float(printed) == pytest.approx(REQUESTS / seconds(experiment["requests"]), rel=0.01)
    for name in ("ensemble.csv", "identity_v1.ensemble.csv", "sleepy_v1.ensemble.csv"):
        header, found = rows(tmp_path / name)
        assert header == rows(CAPTURED / name)[0]
        assert {row["Concurrency"] for row in found} == {"1", "2"}
    assert int(rows(tmp_path / "sleepy_v1.ensemble.csv")[1][0]["Server Compute Infer"]) > 10_000
    assert text.count(f"Successful request count: {REQUESTS}\n") == 2 * 3
    assert [adds_up(row) for row in rows(path)[1]] == [True, True]


def seconds(requests: list[dict[str, Any]]) -> float:
    """First send to last response; they are of now."""
    first = min(request["timestamp"] for request in requests)
    last = max(max(request["response_timestamps"]) for request in requests)
    assert time.time() - 120 < first / 1e9 < last / 1e9 < time.time()
    return float(last - first) / 1e9


def adds_up(row: dict[str, str]) -> bool:
    """Here the window is the whole load, so the parts are of the same requests as the mean."""
    parts = [int(row[name]) for name in row if name.startswith(("Client", "Network", "Server"))]
    return abs(sum(parts) - int(row["Avg latency"])) <= len(parts)
