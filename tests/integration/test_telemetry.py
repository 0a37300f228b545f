"""A real Triton, a real load, and what was sampled beside it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.load.native import NativeEngine
from runner.measure.telemetry.collect import TelemetryRoom
from runner.results.records import Trial
from runner.runtimes.embedded import EmbeddedRuntime
from runner.scenario.loading import load_scenario
from runner.services import connect
from runner.workflow import Outcome, Rooms, RunOptions, run_scenario

SLEEPY = Path(__file__).parent / "resources" / "models" / "sleepy"
COUNT = 'nv_inference_request_success{model="sleepy",version="1"}'


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Two points of about 4 s with samples every 100 ms."""
    folder = tmp_path_factory.mktemp("telemetry")
    scenario = {
        "scenario": 1,
        "name": "telemetry",
        "repository": {"models": {"sleepy": {"from": str(SLEEPY), "args": {"delay_ms": 5}}}},
        "workload": {"model": "sleepy", "input": {"INPUT0": {"generate": "random", "shape": [4]}}},
        "measure": {
            "warmup": {"min_time": "500ms", "min_requests_per_slot": 2},
            "window": {"min": "2s", "max": "3s"},
            "telemetry": {"period": "100ms", "series": ["nv_inference_request_success"]},
        },
        "matrix": {"axes": {"load.concurrency": [1, 2]}},
    }
    (folder / "s.yaml").write_text(yaml.safe_dump(scenario))
    rooms = Rooms(EmbeddedRuntime(folder / "state"), NativeEngine(), connect, TelemetryRoom())
    options = RunOptions(output_dir=folder / "runs", home=folder / "home")
    return run_scenario(load_scenario(folder / "s.yaml", env={}), options, rooms=rooms)


def trials(outcome: Outcome) -> list[Trial]:
    found = [trial for point in outcome.run.points() if (trial := point.trial)]
    assert len(found) == 2
    return found


def test_the_exported_counter_grew_by_exactly_what_the_client_counted(outcome: Outcome) -> None:
    for trial in trials(outcome):
        assert trial.counts is not None
        assert trial.telemetry[COUNT].whole == trial.counts.ok > 100
        assert trial.telemetry[COUNT].asked


def test_growth_over_the_window_is_the_throughput_of_the_window(outcome: Outcome) -> None:
    for trial in trials(outcome):
        assert trial.summary is not None
        per_s, samples = trial.telemetry[COUNT].per_s, trial.telemetry[COUNT].samples
        assert per_s == pytest.approx(trial.summary.requests_per_s.value, rel=0.1)
        assert samples >= 10


def test_the_processes_of_server_and_client_are_told_from_others(outcome: Outcome) -> None:
    for trial in trials(outcome):
        server, client = (trial.telemetry[f"host.{name}_cpu_s"].delta for name in ("server", "client"))
        busy = trial.telemetry["host.cpu_busy_s"].delta
        assert server is not None
        assert client is not None
        assert busy is not None
        assert 0 < server < busy + 0.2
        assert 0 < client < busy + 0.2


def test_without_a_gpu_the_reason_is_kept_and_nothing_is_flagged_for_it(outcome: Outcome) -> None:
    for trial in trials(outcome):
        if not any(name.startswith("gpu0.") for name in trial.telemetry):
            assert "NVIDIA" in trial.telemetry_absent["gpu"]
        assert not [flag for flag in trial.flags if flag.code == "telemetry_gap" and "gpu" in flag.message.lower()]


def test_tables_have_the_machine_and_the_named_series(outcome: Outcome) -> None:
    document: dict[str, Any] = json.loads((outcome.directory / "points.json").read_text())
    with (outcome.directory / "points.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, point, trial in zip(rows, document["points"], trials(outcome), strict=True):
        assert float(row[f"{COUNT}.per_s"]) == trial.telemetry[COUNT].per_s == point[f"{COUNT}.per_s"]
        assert 0 < float(row["host_cpu_server"]) <= float(row["host_cpu_busy"]) + 0.05
        assert point["telemetry"][COUNT]["whole"] == trial.counts.ok  # type: ignore[union-attr]
        assert point["telemetry_absent"] == trial.telemetry_absent


def test_every_sample_is_in_a_file_of_the_run(outcome: Outcome) -> None:
    for trial in trials(outcome):
        with (outcome.directory / "telemetry" / f"{trial.case_id}.csv").open(newline="") as file:
            counts = [
                (float(row["t_s"]), float(row["value"])) for row in csv.DictReader(file) if row["series"] == COUNT
            ]
        assert counts[0][0] < 0
        assert trial.counts is not None
        assert counts[-1][1] - counts[0][1] == trial.counts.ok
        assert counts == sorted(counts)
