"""The engine of this machine chosen by a context that the docker command made."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from runner.cli.main import invoke
from runner.runtimes.docker.engine import connect
from runner.runtimes.doctor.engines import look

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(shutil.which("docker") is None, reason="contexts are made by the docker command"),
]
SCENARIO = """scenario: 1
name: here
targets: {only: {requires: {docker: true}, launch: {kind: docker, image: nobody-has-this}}}
repository: {models: {m: {from: model}}}
workload: {model: m}
"""


@pytest.fixture
def context(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A context in a folder of its own that points to the engine that answers here, not yet chosen."""
    address = client.api.base_url.replace("http+docker://localhost", f"unix://{_socket()}")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    _docker("context", "create", "mine", "--docker", f"host={address}")
    return "mine"


def _socket() -> str:
    [answer] = [answer for answer in look() if answer.state == "answers"]
    return answer.address.removeprefix("unix://")


def _docker(*arguments: str) -> None:
    subprocess.run(["docker", *arguments], check=True, capture_output=True, env=dict(os.environ))


def test_the_chosen_context_is_connected_to(context: str, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _docker("context", "use", context)
    [answer] = look()
    assert (answer.state, answer.context) == ("answers", context)
    assert connect().info()["ID"] == client.info()["ID"]
    monkeypatch.setenv("DOCKER_CONTEXT", "gone")
    assert [answer.state for answer in look()] == ["unknown"]


def test_doctor_names_the_context(
    context: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here.yaml").write_text(SCENARIO)
    (tmp_path / "model").mkdir()
    monkeypatch.setenv("DOCKER_CONTEXT", context)
    assert invoke(["doctor", str(tmp_path / "here.yaml"), "--json"]) == 0
    found = [each for each in json.loads(capsys.readouterr().out)["findings"] if each["check"] == "container engine"]
    assert {each["level"] for each in found} == {"ok"}
    assert all(f"context {context}" in each["detail"] for each in found)
