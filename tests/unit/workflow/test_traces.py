"""`server.trace` reaches the server, the manifest, every number and the report; two settings are two servers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runner.load.native import NativeEngine
from runner.report.console import console_table
from runner.results.rigs import differences
from runner.runtimes.base import ServerSpec
from runner.runtimes.fake import FakeRuntime
from runner.scenario.loading import LoadedScenario
from runner.services.kserve import connect
from runner.workflow import Outcome, Rooms, RunOptions, run_scenario
from runner.workflow.serving import _fresh as fresh
from tests.unit.scenario_files import loader
from tests.unit.test_workflow import FILE

ONE = "matrix.axes={workload.batch: [1]}"


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., LoadedScenario]:
    return loader(tmp_path / "fake.yaml", FILE)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[Outcome, list[ServerSpec]]]:
    """Measure; returns what the servers were told, too."""

    def measure(loaded: LoadedScenario) -> tuple[Outcome, list[ServerSpec]]:
        runtime = FakeRuntime()
        options = RunOptions(output_dir=tmp_path / "runs", home=tmp_path / "home")
        return run_scenario(loaded, options, rooms=Rooms(runtime, NativeEngine(), connect)), runtime.started

    return measure


def test_that_a_server_traces_belongs_to_every_number(
    loaded: Callable[..., LoadedScenario], run: Callable[..., tuple[Outcome, list[ServerSpec]]]
) -> None:
    trace = "server.trace={level: [timestamps, tensors], rate: 5}"
    outcome, [spec] = run(loaded(ONE, trace))
    [trial] = outcome.run.trials.values()
    assert trial.labels["trace"] == "timestamps+tensors, 1 in 5"
    assert spec.trace is not None
    assert spec.traces == outcome.directory / "traces" / "server-1.json"
    assert "trace: timestamps+tensors, 1 in 5" in console_table(outcome.run)
    plain, [untraced] = run(loaded(ONE))
    assert (untraced.trace, untraced.traces) == (None, None)
    found = differences(plain.run, outcome.run)
    assert any("labels.trace" in line for line in found.served)
    assert any("server.trace" in line for line in found.scenario)


def test_points_that_are_traced_otherwise_have_servers_of_their_own(
    loaded: Callable[..., LoadedScenario], run: Callable[..., tuple[Outcome, list[ServerSpec]]]
) -> None:
    axis = "matrix.axes={server.trace: [null, {rate: 1}, {level: 'off'}]}"
    outcome, specs = run(loaded(axis))
    assert sorted(spec.traces.name if spec.traces else "" for spec in specs)[:2] == ["", ""]
    assert len(specs) == 3
    labels = sorted(trial.labels.get("trace", "") for trial in outcome.run.trials.values())
    assert labels == ["", "", "timestamps, 1 in 1"]


def test_a_resumed_run_keeps_the_traces_that_it_has(tmp_path: Path) -> None:
    """It counts its servers anew."""
    assert fresh(tmp_path, 1) == tmp_path / "server-1.json"
    (tmp_path / "server-1.json.0").touch()
    assert fresh(tmp_path, 1) == tmp_path / "server-1-2.json"
    assert fresh(tmp_path, 2) == tmp_path / "server-2.json"
