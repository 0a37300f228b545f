"""Container engines: every way to be there, and to be not there."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.runtimes.doctor import engines
from runner.runtimes.doctor.engines import Answer, Place, ask_command, engine, look, ping


@pytest.fixture
def listening(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A socket that answers one ping with the bytes of the parameter."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        thread = threading.Thread(target=_answer, args=(listener, request.param))
        thread.start()
        yield f"unix://{path}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _answer(listener: socket.socket, answer: bytes) -> None:
    try:
        connection, _ = listener.accept()
    except OSError:
        return
    with connection:
        connection.recv(1024)
        connection.sendall(answer)


@pytest.mark.parametrize(
    ("listening", "state", "said"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n", "answers", ""),
        (b"HTTP/1.0 500 Oops\r\n\r\n", "silent", "HTTP/1.0 500 Oops"),
        (b"", "silent", "it closed the connection"),
    ],
    indirect=["listening"],
)
def test_an_engine_is_asked_at_its_socket(listening: str, state: str, said: str) -> None:
    [answer] = look({"DOCKER_HOST": listening})
    assert (answer.address, answer.state, answer.said) == (listening, state, said)


def test_a_socket_that_is_not_there_one_that_nobody_serves_and_one_that_never_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ping(f"unix://{tmp_path}/none").state == "absent"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        assert ping(f"unix://{tmp_path}/s").state == "stopped"
        listener.listen()
        monkeypatch.setattr(engines, "_ANSWER_TIMEOUT_S", 0.01)
        assert ping(f"unix://{tmp_path}/s") == Answer(f"unix://{tmp_path}/s", "silent", "timed out")


def test_a_socket_that_is_not_for_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert ping("unix:///var/run/docker.sock").state == "denied"


def command(folder: Path, script: str) -> None:
    path = folder / "docker"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "state"),
    [
        ("exit 0", "answers"),
        ("exit 1", "silent"),
        ("echo 'Cannot connect to the Docker daemon at tcp://x' >&2; exit 1", "stopped"),
        ("echo 'permission denied while trying to connect' >&2; exit 1", "denied"),
    ],
)
def test_other_hosts_are_left_to_the_command_line(
    script: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    [answer] = look({"DOCKER_HOST": "ssh://somewhere"})
    assert (answer.address, answer.state) == ("ssh://somewhere", state)


def test_a_command_line_that_is_not_there_or_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ask_command("docker").state == "absent"
    command(tmp_path, "exit 0")

    def hang(*arguments: object, **options: object) -> None:
        raise subprocess.TimeoutExpired("docker", 1)

    monkeypatch.setattr(subprocess, "run", hang)
    assert ask_command("docker").state == "silent"


def test_without_a_wish_all_places_are_tried_and_the_command_line_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "DOCKER_SOCKET", str(tmp_path / "none"))
    monkeypatch.setattr(engines, "places", lambda environment: [Place(f"unix://{tmp_path}/{n}") for n in "ab"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [answer.address for answer in look({})] == [f"unix://{tmp_path}/a", f"unix://{tmp_path}/b", "docker"]
    command(tmp_path, "exit 0")
    assert engine(look({})).detail == "answers at docker"


SOCKET = "unix:///var/run/docker.sock"


@pytest.mark.parametrize(
    ("state", "remedy"),
    [
        ("denied", "be allowed to use /var/run/docker.sock: sudo usermod -aG docker $USER"),
        ("stopped", "start it: systemctl start docker"),
        ("absent", "start it: systemctl start docker"),
        ("silent", "see why it does not answer: journalctl -u docker"),
    ],
)
def test_each_fault_has_a_remedy_of_its_own(state: engines.State, remedy: str) -> None:
    finding = engine([Answer(SOCKET, state, "its words"), Answer("docker", "absent", "no `docker` command")])
    assert finding.level == "fail"
    assert f"({SOCKET}: its words; docker: no `docker` command)" in finding.detail
    assert (finding.remedy or "").startswith(remedy)
