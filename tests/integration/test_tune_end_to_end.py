"""`scenario tune` as a user runs it: a process of its own, a real Triton; killed, trapped, and confirmed."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.integration.command import Cli, wait_for

MODELS = Path(__file__).parent / "resources" / "models"
FILE = """scenario: 1
name: traps
repository: {models: {sleepy: {from: good, args: {delay_ms: 20}}}}
server: {ready: {timeout: 20s}}
workload:
  model: sleepy
  timeout: 400ms
  input: {INPUT0: {generate: random, shape: [4]}}
  validate: {every: 1}
load: {concurrency: 2}
measure:
  warmup: {min_time: 100ms, min_requests_per_slot: 1}
  window: {min: 400ms, max: 400ms}
  drain: 500ms
  telemetry: {sources: []}  # these tests are of the study, not of who else uses the machine
tune:
  space: {load.concurrency: {int: [1, 12]}}
  strategy: {kind: random, seed: 3}
  budget: {trials: 6}
  screen: null
  confirm: null
"""
ANSWER = '"OUTPUT0", given.as_numpy()'


class Folder(Cli):
    """Beside models that misbehave."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "traps.yaml").write_text(FILE)
        source = (MODELS / "sleepy" / "1" / "model.py").read_text()
        assert ANSWER in source
        self._model("good", source)
        self._model("broken", "raise RuntimeError('no such weights')\n")
        self._model("hanging", source.replace("time.sleep(", "time.sleep(5 + "))
        self._model("quick", source.replace("time.sleep(", "time.sleep(0 * "))
        self._model("wrong", source.replace(ANSWER, f"{ANSWER} + 1"))

    def _model(self, name: str, source: str) -> None:
        model = shutil.copytree(MODELS / "sleepy", self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        (model / "1" / "model.py").write_text(source)

    def directories(self) -> list[Path]:
        return sorted((self.folder / "runs").iterdir()) if (self.folder / "runs").is_dir() else []

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Whole lines of the only journal."""
        return [event for event in self.journal() if event["kind"] == kind]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_killed_study_goes_on_with_what_is_missing(folder: Folder) -> None:
    process = folder.start("tune", "traps.yaml", "--progress", "none")
    wait_for(lambda: len(folder.events("observed")) >= 2, "two finished points", seconds=60)
    process.kill()
    process.communicate()
    finished = folder.events("observed")
    assert 2 <= len(finished) < 6
    proposed = [event["point"] for event in folder.events("proposed")]
    done = folder.run("tune", "traps.yaml", "--resume", "--progress", "plain")
    assert done.returncode == 0, done.stderr
    assert f"resumed: {len(finished)} points finished already" in done.stderr
    observed = folder.events("observed")
    assert observed[: len(finished)] == finished, "what was finished is kept, and not done again"
    assert sorted(event["number"] for event in observed) == list(range(6))
    assert [event["point"] for event in sorted(observed, key=lambda e: e["number"])] == proposed
    measured = [event["case_id"] for event in folder.events("trial") if not event["anchor"] and event["state"] == "ok"]
    assert sorted(measured) == sorted(event["case_id"] for event in observed), "each point has one measurement"
    assert folder.run("verify", folder.directories()[0].name).returncode == 0
    _extended(folder, observed)


def _extended(folder: Folder, observed: list[dict[str, Any]]) -> None:
    """The same study with a larger budget: two points more in the same directory."""
    done = folder.run("tune", "traps.yaml", "--resume", "--set", "tune.budget.trials=8", "--progress", "plain")
    assert done.returncode == 0, done.stderr
    assert "resumed: 6 points finished already" in done.stderr
    assert folder.events("observed")[:6] == observed
    assert len(folder.events("observed")) == 8
    assert len(folder.directories()) == 1
    assert folder.run("verify", folder.directories()[0].name).returncode == 0
    refused = folder.run(
        "tune", "traps.yaml", "--resume", "--set", "tune.budget.trials=9", "--set", "load.concurrency=3"
    )
    assert refused.returncode == 2, refused.stderr
    assert "load.concurrency: 2 -> 3" in refused.stderr


def test_traps_on_a_real_server_are_recorded_and_the_study_goes_on(folder: Folder) -> None:
    done = folder.run(
        "tune",
        "traps.yaml",
        *("--set", "tune.space={repository.models.sleepy.from: [broken, hanging, wrong, quick]}"),
        *("--set", "tune.strategy.kind=grid"),
    )
    assert done.returncode == 0, done.stderr
    with (folder.directories()[0] / "trials.csv").open(newline="") as file:
        rows = {Path(row["repository.models.sleepy.from"]).name: row for row in csv.DictReader(file)}
    outcomes = {name: row["outcome"] for name, row in rows.items()}
    assert outcomes == {
        "good": "measured", "broken": "failed", "hanging": "failed", "wrong": "failed", "quick": "measured",
    }  # fmt: skip
    assert "no such weights" in rows["broken"]["reason"]
    assert "timeout" in rows["hanging"]["reason"]
    assert "wrong_output" in rows["wrong"]["reason"]
    assert rows["quick"]["on_front"] == "true"
    assert "no such weights" in done.stdout
