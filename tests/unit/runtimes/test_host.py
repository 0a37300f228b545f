"""What this machine has."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from runner.runtimes import host
from runner.runtimes.doctor import engines
from runner.runtimes.doctor.engines import Answer
from runner.scenario.schema import Requires


def requires(**needs: object) -> Requires:
    return Requires.model_validate(needs)


def test_nothing_needed_is_always_there() -> None:
    assert host.satisfied(requires()) == []


def test_every_need_that_is_not_met_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(host, "gpu_count", lambda: 0)
    monkeypatch.setattr(engines, "look", lambda: (Answer("unix:///s", "denied", "Permission denied"),))
    monkeypatch.setattr(host, "free_bytes", lambda path: 2**30)
    assert host.satisfied(requires(gpus=2, docker=True, disk="4GiB"), tmp_path) == [
        "2 NVIDIA GPUs needed, none found",
        "a Docker engine is needed, none answers (unix:///s: Permission denied)",
        "4.0 GiB of free disk needed, 1.0 GiB found",
    ]
    assert all(finding.remedy for finding in host.findings(requires(gpus=2, docker=True, disk="4GiB"), tmp_path))
    monkeypatch.setattr(host, "gpu_count", lambda: 2)
    monkeypatch.setattr(engines, "look", lambda: (Answer("unix:///s", "answers"),))
    assert host.satisfied(requires(gpus=2, docker=True, disk="1GiB"), tmp_path) == []
    assert host.satisfied(requires(gpus=3)) == ["3 NVIDIA GPUs needed, 2 found"]


def test_free_disk_is_that_of_the_state_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Path] = []
    monkeypatch.setenv("SCENARIO_HOME", str(tmp_path))
    monkeypatch.setattr(host, "free_bytes", lambda path: asked.append(path) or 2**40)
    assert host.satisfied(requires(disk="1GiB")) == []
    assert asked == [tmp_path]


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


def test_free_space_of_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    assert host.free_bytes(tmp_path / "a" / "b") > 0
