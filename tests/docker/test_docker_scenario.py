"""The built-in scenario in containers, as a user runs it: steps, server, sweep, a killed runner, reset."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.runtimes.docker.labels import RUN, abandoned
from runner.runtimes.host import gpu_count

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
SETTINGS = (
    "vars.images=8",
    "vars.max_batch=2",
    "matrix.axes={workload.batch: [1, 2], load.concurrency: [1, 2]}",
    # The test is of the run, not of who else uses the machine.
    "measure={profile: reference, requests: 24, telemetry: {sources: []}}",
)


class Cli:
    """`scenario … efficientnet.yaml --target TARGET` in a scratch folder with a home of its own."""

    def __init__(self, folder: Path, image: str, target: str = "docker-cpu") -> None:
        self.folder, self.home, self.target = folder, folder / "home", target
        self._options = [f"--set={each}" for each in (*SETTINGS, f"vars.image={image}")]

    def start(self, verb: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "runner", verb, "efficientnet.yaml", "--target", self.target, *self._options]
        environment = {**os.environ, "SCENARIO_HOME": str(self.home), "PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.Popen(
            [*command, *arguments],
            cwd=self.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, verb: str, *arguments: str) -> tuple[int, str]:
        process = self.start(verb, *arguments)
        out, _ = process.communicate(timeout=300)
        return process.returncode, out

    def runs(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "runs").glob("*")) if (self.folder / "runs").exists() else []


def is_running(containers: list[Any]) -> bool:
    """Not merely made: where a limit is refused the first one never runs and is replaced."""
    return any(container.status == "running" for container in containers)


def wait_for(condition: Callable[[], Any], seconds: float = 240) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def without_owner(client: Any) -> set[str]:
    """Containers of runs that have ended."""
    found = client.containers.list(all=True, filters={"label": RUN}, ignore_removed=True)
    return {container.id for container in found if abandoned(container.labels)}


def test_the_whole_scenario_in_containers(tmp_path: Path, image: str, client: Any, containers_of: Any) -> None:
    cli = Cli(tmp_path, image)
    # Somebody else's on this machine: of a test that was killed, say.
    foreign = without_owner(client)
    killed = cli.start("run")
    assert killed.stdout is not None
    try:
        [run_id] = wait_for(cli.runs)
        wait_for(lambda: is_running(containers_of(run_id)) or killed.poll() is not None)
    finally:
        killed.send_signal(signal.SIGKILL)
        said = killed.communicate()[0]
    assert "setup onnx: built" in said
    [orphan] = containers_of(run_id)
    assert orphan.attrs["HostConfig"]["ReadonlyRootfs"] is True

    status, said = cli.run("run")
    assert status == 0, said
    assert containers_of(run_id) == [], "the next run removes what the dead one left"
    assert f"setup {image}: reused" in said
    assert "setup onnx: reused (same inputs)" in said
    [directory] = [tmp_path / "runs" / name for name in cli.runs() if name != run_id]
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["server"]["runtime"] == "docker"
    assert manifest["server"]["image_id"] == client.images.get(image).id
    assert manifest["labels"]["weights"] == "random"
    assert "successfully loaded 'efficientnet'" in (directory / "logs" / "server-1.log").read_text()
    logs = next(cli.home.glob("scenarios/*/logs"))
    assert "docker run --rm --init " in (logs / "onnx.reproduce.sh").read_text()
    assert "--network none" in (logs / "onnx.log").read_text()

    status, said = cli.run("reset")
    assert status == 0, said
    assert not list(cli.home.glob("scenarios/*"))
    assert containers_of(directory.name) == []
    assert client.images.get(image), "setup did not pull it, so reset leaves it"
    assert without_owner(client) <= foreign


def test_gpus_where_there_are_none_end_the_run_with_exit_code_3(tmp_path: Path, image: str, containers_of: Any) -> None:
    cli = Cli(tmp_path, image)
    status, said = cli.run("run", "--set=targets.docker-cpu.launch.gpus=all")
    assert status == 3, said
    assert "launch.gpus asks for all GPUs" in said
    assert "NVIDIA Container Toolkit" in said
    assert [containers_of(name) for name in cli.runs()] == [[]]
    status, said = cli.run("doctor", "--set=targets.docker-cpu.launch.gpus=all")
    assert status == 3, said
    assert "fail  GPUs for containers: launch.gpus asks for all GPUs; no NVIDIA GPU is visible here\n" in said
    assert "-> install the NVIDIA driver" in said


def test_the_gpu_target_without_a_gpu_ends_before_anything_is_pulled_or_built(tmp_path: Path, image: str) -> None:
    if gpu_count():
        pytest.skip("this machine has a GPU")
    cli = Cli(tmp_path, image, target="gpu")
    status, said = cli.run("run")
    assert status == 3, said
    assert "target 'gpu' cannot run on this machine: 1 NVIDIA GPU needed, none found" in said
    assert "--target cpu or docker-cpu" in said
    assert cli.runs() == []
    assert not cli.home.exists()
    status, said = cli.run("plan")
    assert status == 0, said
    assert "onnx             would build" in said
