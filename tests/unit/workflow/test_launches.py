"""The launch of a target decides which runtime serves, what it is told, and what reset sweeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runner.errors import UsageError
from runner.runtimes.choosing import runtime_for
from runner.runtimes.docker import DockerRuntime
from runner.runtimes.embedded import EmbeddedRuntime
from runner.runtimes.remote import RemoteRuntime
from runner.runtimes.remote.ledger import ChangeLedger, Changes
from runner.scenario.case import launch_of
from runner.scenario.loading import LoadedScenario, load_scenario
from runner.scenario.matrix import expand
from runner.scenario.schema import DockerLaunch, EmbeddedLaunch
from runner.setup.base import Artifact, Prepared
from runner.workflow.against import run_against
from runner.workflow.contract import RunOptions, Silent
from runner.workflow.serving import _artifacts_told_of
from runner.workflow.verbs import checked_cases, default_rooms, plan_scenario, reset_scenario, setup_scenario

FILE = """scenario: 1
name: launches
targets:
  here: {launch: {kind: embedded}}
  box: {launch: {kind: docker, image: triton, shm_size: 1GiB}}
  far: {launch: {kind: remote, url: triton.lan}}
repository:
  models:
    m: {from: MODEL, args: {table: "${setup.table}"}, files: {1/x: "${setup.other}"}}
setup:
  table: {kind: script, script: SCRIPT}
  other: {kind: script, script: SCRIPT}
workload: {model: m}
"""
HTTP_ONLY = ("targets.far.launch={kind: remote, http: 'h:8000'}", "workload.protocol=http")


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., LoadedScenario]:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.pbtxt").touch()
    (tmp_path / "script.py").write_text("")
    path = tmp_path / "launches.yaml"
    path.write_text(FILE.replace("MODEL", str(tmp_path / "model")).replace("SCRIPT", str(tmp_path / "script.py")))
    return lambda target, *overrides: load_scenario(path, target=target, set_=overrides, env={})


def test_the_runtime_follows_the_launch(load: Callable[..., LoadedScenario]) -> None:
    assert isinstance(default_rooms(load("here")).runtime, EmbeddedRuntime)
    assert isinstance(default_rooms(load("box")).runtime, DockerRuntime)
    assert isinstance(default_rooms(load("far")).runtime, RemoteRuntime)
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


# --- remote targets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["targets.far.launch.url=h:8001", "workload.protocol=http"], "no such address"),
        (["workload.shared_memory=system"], "the server at triton.lan:8001 is elsewhere"),
        ([*HTTP_ONLY, "workload.shared_memory=system"], "the server at h:8000 is elsewhere"),
        ([*HTTP_ONLY, "targets.far.launch.grpc=localhost:8001", "workload.shared_memory=cuda"], "h:8000 is elsewhere"),
        (["server.isolation.between_points=restart"], "not started from here"),
        (["server.isolation.between_points=reload"], "may not load models"),
        (["server.isolation.between_repeats=reload"], "may not load models"),
        (["matrix.axes={server.flags.log-verbose: [0, 1]}"], "differ in `server.flags`"),
        (["matrix.axes={repository.models.m.config.max_batch_size: [4, 8]}"], "differ in `repository`"),
        (["matrix.axes={setup.table.args.rows: [1, 2]}"], "differ in `setup`"),
        (["matrix.axes={server.load: [[m], []]}"], "differ in `server.load`"),
    ],
)
def test_what_a_remote_server_would_not_follow_is_refused(
    load: Callable[..., LoadedScenario], settings: list[str], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        checked_cases(load("far", *settings))
    assert caught.value.hint
    if words.startswith("differ"):
        assert checked_cases(load("here", *settings))


def test_what_a_remote_server_does_follow_is_measured(load: Callable[..., LoadedScenario]) -> None:
    control = "targets.far.launch.model_control=allowed"
    assert len(checked_cases(load("far", control, "matrix.axes={server.load: [[m], []]}"))) == 2
    assert checked_cases(load("far", control, "server.isolation.between_points=reload"))
    assert checked_cases(load("far", "workload.shared_memory=system", "targets.far.launch.url=localhost"))
    servers = "matrix.axes={s: {zip: {targets.far.launch.url: [a, b], server.flags.log-verbose: [0, 1]}}}"
    cases = checked_cases(load("far", servers))
    assert [launch_of(case.scenario).url for case in cases] == ["a", "b"]  # type: ignore[union-attr]
    fed = ["workload.data=${setup.table}", "matrix.axes={setup.table.args.rows: [1, 2]}"]
    assert len(checked_cases(load("far", *fed))) == 2, "what is sent is made here"


def test_two_sides_of_a_comparison_cannot_differ_by_name_only(
    load: Callable[..., LoadedScenario], tmp_path: Path
) -> None:
    sides = load("far"), load("far", "server.flags.log-verbose=1")
    with pytest.raises(UsageError, match=r"differ in `server\.flags`"):
        run_against(*sides, RunOptions(output_dir=tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_setup_for_a_remote_server_makes_only_what_is_sent(load: Callable[..., LoadedScenario], tmp_path: Path) -> None:
    options = RunOptions(home=tmp_path / "home")
    loaded = load("far", "server.flags.log-verbose=1")
    (prepared,) = setup_scenario(loaded, options, Silent())
    assert prepared.artifacts == {}
    assert not list((tmp_path / "home").rglob("config.pbtxt"))
    planned = {report.name: report for report in plan_scenario(loaded, options).setup}
    assert {name: report.action for name, report in planned.items()} == dict.fromkeys(
        ("table", "other", "repository", "server.flags"), "not needed"
    )
    assert "a remote server is not set up from here" in planned["table"].reason
    fed = plan_scenario(load("far", "workload.data=${setup.table}"), options).setup
    assert next(report.action for report in fed if report.name == "table") == "would build"


def test_reset_says_when_a_server_that_holds_models_cannot_be_reached(
    load: Callable[..., LoadedScenario], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENARIO_HOME", str(tmp_path / "home"))
    loaded = load("here", "targets.far.launch.url=127.0.0.1:9")
    assert not [removal for removal in reset_scenario(loaded) if removal.path == Path("remote")], "nothing is asked"
    ledger = ChangeLedger(tmp_path / "home" / "remote", "127.0.0.1:9")
    with ledger.held():
        ledger.write(Changes(("m",)))
    (removal,) = [removal for removal in reset_scenario(loaded) if removal.path == Path("remote")]
    assert removal.status == "failed"
    assert "127.0.0.1:9" in removal.reason
