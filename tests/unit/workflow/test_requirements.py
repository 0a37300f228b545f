"""A target whose needs this machine does not meet is refused before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runner.errors import RigError
from runner.runtimes import host
from runner.runtimes.doctor import engines
from runner.runtimes.doctor.engines import Answer
from runner.scenario.loading import LoadedScenario, load_scenario
from runner.workflow import RunOptions, run_scenario, setup_scenario
from runner.workflow.against import run_against
from runner.workflow.contract import Silent

FILE = """scenario: 1
name: rigs
targets:
  big: {requires: {gpus: 2, docker: true}}
  small: {requires: {docker: true}}
setup: {x: {kind: script, script: SCRIPT, always: true}}
workload: {model: m}
"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], LoadedScenario]:
    (tmp_path / "script.py").write_text("raise SystemExit('it ran')")
    path = tmp_path / "rigs.yaml"
    path.write_text(FILE.replace("SCRIPT", str(tmp_path / "script.py")))
    return lambda target: load_scenario(path, target=target, env={})


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One GPU, and a Docker engine."""
    monkeypatch.setattr(host, "gpu_count", lambda: 1)
    monkeypatch.setattr(engines, "look", lambda: (Answer("unix:///engine.sock", "answers"),))


def test_a_run_ends_before_it_begins(load: Callable[[str], LoadedScenario], tmp_path: Path) -> None:
    options = RunOptions(output_dir=tmp_path / "runs", home=tmp_path / "home")
    missing = r"target 'big' cannot run on this machine: 2 NVIDIA GPUs needed, 1 found"
    for verb in (
        lambda: run_scenario(load("big"), options),
        lambda: setup_scenario(load("big"), options, Silent()),
        lambda: run_against(load("small"), load("big"), options),
    ):
        with pytest.raises(RigError, match=missing) as caught:
            verb()
        assert caught.value.hint == "this machine can run --target small"
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "home").exists()


def test_where_nothing_can_run_the_hint_says_so(
    load: Callable[[str], LoadedScenario], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "look", lambda: (Answer("unix:///engine.sock", "absent", "no such file"),))
    with pytest.raises(RigError, match="a Docker engine is needed") as caught:
        setup_scenario(load("small"), RunOptions(home=tmp_path / "home"), Silent())
    assert caught.value.hint == "no target of this file can run here"
