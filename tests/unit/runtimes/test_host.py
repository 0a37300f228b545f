"""What this machine has."""

from __future__ import annotations

import ctypes
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.runtimes import host
from runner.scenario.schema import Requires


def requires(**needs: object) -> Requires:
    return Requires.model_validate(needs)


def test_nothing_needed_is_always_there() -> None:
    assert host.satisfied(requires()) == []


def test_every_need_that_is_not_met_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(host, "gpu_count", lambda: 0)
    monkeypatch.setattr(host, "docker_available", lambda: False)
    monkeypatch.setattr(host, "free_bytes", lambda path: 2**30)
    assert host.satisfied(requires(gpus=2, docker=True, disk="4GiB"), tmp_path) == [
        "2 NVIDIA GPUs needed, none found",
        "a Docker engine is needed, none answers",
        "4.0 GiB of free disk needed, 1.0 GiB found",
    ]
    monkeypatch.setattr(host, "gpu_count", lambda: 2)
    monkeypatch.setattr(host, "docker_available", lambda: True)
    assert host.satisfied(requires(gpus=2, docker=True, disk="1GiB"), tmp_path) == []
    assert host.satisfied(requires(gpus=3)) == ["3 NVIDIA GPUs needed, 2 found"]


class _Nvml:
    """The four functions that are used of the driver's library."""

    def __init__(self, init: int = 0, count: int = 3, status: int = 0) -> None:
        self._init, self._count, self._status = init, count, status

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return self._init

    def nvmlDeviceGetCount_v2(self, result: object) -> int:  # noqa: N802
        result._obj.value = self._count  # type: ignore[attr-defined]
        return self._status

    def nvmlShutdown(self) -> int:  # noqa: N802
        return 0


def test_gpus_are_counted_by_the_drivers_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: _Nvml())
    assert host.gpu_count() == 3


@pytest.mark.parametrize("library", [_Nvml(init=9), _Nvml(status=1), object()])
def test_a_library_that_does_not_answer_leaves_the_devices(library: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    seen: list[str] = []

    def glob(path: Path, pattern: str) -> list[Path]:
        seen.append(str(path))
        return [Path("/dev/nvidia0"), Path("/dev/nvidia1")] if str(path) == "/dev" else []

    monkeypatch.setattr(Path, "glob", glob)
    assert host.gpu_count() == 2
    assert seen == ["/proc/driver/nvidia/gpus", "/dev"]


def test_without_library_and_devices_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    monkeypatch.setattr(Path, "glob", lambda path, pattern: [])
    assert host.gpu_count() == 0


@pytest.fixture
def engine(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A socket that answers one ping as a Docker engine does."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        thread = threading.Thread(target=_answer, args=(listener, request.param))
        thread.start()
        yield path
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _answer(listener: socket.socket, status: bytes) -> None:
    try:
        connection, _ = listener.accept()
    except OSError:
        return
    with connection:
        connection.recv(1024)
        connection.sendall(b"HTTP/1.0 " + status + b"\r\n\r\n")


@pytest.mark.parametrize(("engine", "there"), [(b"200 OK", True), (b"500 Oops", False)], indirect=["engine"])
def test_an_engine_is_asked_at_its_socket(engine: str, there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{engine}")
    assert host.docker_available() is there


def test_an_engine_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    assert host.docker_available() is False


def test_other_hosts_are_left_to_the_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = tmp_path / "docker"
    monkeypatch.setenv("DOCKER_HOST", "ssh://somewhere")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for status in (0, 1):
        command.write_text(f"#!/bin/sh\nexit {status}\n")
        command.chmod(0o755)
        assert host.docker_available() is (status == 0)

    def hang(*arguments: object, **options: object) -> None:
        raise subprocess.TimeoutExpired("docker", 1)

    monkeypatch.setattr(subprocess, "run", hang)
    assert host.docker_available() is False


def test_without_socket_and_command_line_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(host, "_DOCKER_SOCKET", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert host.docker_available() is False


def test_free_space_of_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    assert host.free_bytes(tmp_path / "a" / "b") > 0
