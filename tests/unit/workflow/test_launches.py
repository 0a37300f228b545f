"""The launch of a target decides which runtime serves, what it is told, and what reset sweeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runner.errors import UsageError
from runner.runtimes.choosing import runtime_for
from runner.runtimes.docker import DockerRuntime
from runner.runtimes.embedded import EmbeddedRuntime
from runner.scenario.case import launch_of
from runner.scenario.loading import LoadedScenario, load_scenario
from runner.scenario.matrix import expand
from runner.scenario.schema import DockerLaunch, EmbeddedLaunch
from runner.setup.base import Artifact, Prepared
from runner.workflow.serving import _artifacts_told_of
from runner.workflow.verbs import checked_cases, default_rooms, reset_scenario

FILE = """scenario: 1
name: launches
targets:
  here: {launch: {kind: embedded}}
  box: {launch: {kind: docker, image: triton, shm_size: 1GiB}}
repository:
  models:
    m: {from: MODEL, args: {table: "${setup.table}"}, files: {1/x: "${setup.other}"}}
setup:
  table: {kind: script, script: SCRIPT}
  other: {kind: script, script: SCRIPT}
workload: {model: m}
"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., LoadedScenario]:
    (tmp_path / "model").mkdir()
    (tmp_path / "script.py").write_text("")
    path = tmp_path / "launches.yaml"
    path.write_text(FILE.replace("MODEL", str(tmp_path / "model")).replace("SCRIPT", str(tmp_path / "script.py")))
    return lambda target, *overrides: load_scenario(path, target=target, set_=overrides, env={})


def test_the_runtime_follows_the_launch(load: Callable[..., LoadedScenario]) -> None:
    assert isinstance(default_rooms(load("here")).runtime, EmbeddedRuntime)
    assert isinstance(default_rooms(load("box")).runtime, DockerRuntime)
    assert isinstance(runtime_for(EmbeddedLaunch()), EmbeddedRuntime)
    assert launch_of(load("box").scenario) == DockerLaunch(kind="docker", image="triton")


def test_an_axis_may_change_a_launch_but_not_its_kind(load: Callable[..., LoadedScenario]) -> None:
    loaded = load("box", "matrix.axes={targets.box.launch.cpuset: ['0', 0-1]}")
    cases = checked_cases(loaded)
    assert [launch_of(case.scenario).cpuset for case in cases] == ["0", "0-1"]  # type: ignore[union-attr]
    assert len({case.server_key for case in cases}) == 2, "each needs a server of its own"
    swept = load("here", "matrix.axes={targets.here.launch: [{kind: embedded}, {kind: docker, image: triton}]}")
    assert len(expand(swept)) == 2
    with pytest.raises(UsageError, match="cannot change the kind of a launch"):
        checked_cases(swept)


def test_memory_that_a_container_cannot_see_is_refused_before_anything_starts(
    load: Callable[..., LoadedScenario],
) -> None:
    shared = "workload.shared_memory=system"
    with pytest.raises(UsageError, match="has memory of its own") as caught:
        checked_cases(load("box", shared))
    assert "ipc: host" in (caught.value.hint or "")
    assert checked_cases(load("box", shared, "targets.box.launch.ipc=host"))
    assert checked_cases(load("here", shared))


def test_a_container_sees_the_artifacts_that_its_models_are_told_of(
    load: Callable[..., LoadedScenario], tmp_path: Path
) -> None:
    made = {name: Artifact(tmp_path / name, "digest") for name in ("table", "other")}
    prepared = Prepared(tmp_path, made, (), {})
    assert _artifacts_told_of(load("box").scenario, prepared) == (tmp_path / "table",), "files are in the repository"


@pytest.mark.parametrize(("target", "failed"), [("here", []), ("box", ["leftover"])])
def test_an_engine_that_does_not_answer_keeps_reset_from_nothing(
    load: Callable[..., LoadedScenario], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, failed: list[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    monkeypatch.setenv("SCENARIO_HOME", str(tmp_path / "home"))
    removals = reset_scenario(load(target), home=tmp_path / "home")
    assert [removal.kind for removal in removals if removal.status == "failed"] == failed
