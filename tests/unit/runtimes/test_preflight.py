"""Every check says what it found and what mends it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.runtimes import preflight
from runner.runtimes.base import Finding
from runner.runtimes.preflight import Wheel


@pytest.fixture
def wheel(tmp_path: Path) -> Wheel:
    wheel = Wheel(tmp_path / "tritonserver", "0.7.0")
    for file in (wheel.program, wheel.stub, wheel.backend / "libtriton_python.so"):
        file.parent.mkdir(parents=True)
        script(file, "echo 'Expected 9 arguments, found 1 arguments.' >&2; exit 1")
    return wheel


def script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def failed(finding: Finding, detail: str, remedy: str) -> bool:
    assert finding.level == "fail"
    assert detail in finding.detail
    assert remedy in (finding.remedy or "")
    return True


def test_supported_pythons() -> None:
    assert [preflight.python_version((3, minor)).level for minor in (9, 10, 11, 12, 13)] == [
        "fail", "ok", "ok", "ok", "fail"
    ]  # fmt: skip
    assert failed(preflight.python_version((3, 13)), "Python 3.13", "3.11 or 3.12")


def test_supported_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    assert preflight.glibc((2, 35)).level == "ok"
    assert failed(preflight.glibc((2, 34)), "glibc 2.34", "Debian 12")
    assert failed(preflight.glibc(None), "not a glibc system", "another target")
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.31")
    assert preflight._glibc() == (2, 31)
    monkeypatch.setattr(os, "confstr", lambda name: None)
    assert preflight._glibc() is None


def test_a_missing_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert failed(preflight.wheel_present(None), "not installed", "pip install")
    monkeypatch.setattr(preflight.importlib.util, "find_spec", lambda name: None)
    assert preflight.find_wheel() is None
    checks = [finding.check for finding in preflight.findings(None, tmp_path)]
    assert "nvidia-pytriton" in checks
    assert "libpython" not in checks


def test_missing_and_unexecutable_files(wheel: Wheel) -> None:
    assert preflight.executables(wheel).level == "ok"
    wheel.stub.chmod(0o644)
    assert failed(preflight.executables(wheel), "cannot be executed", "chmod +x")
    wheel.program.unlink()
    assert failed(preflight.executables(wheel), "tritonserver is missing", "--force-reinstall")


def test_a_stub_that_complains_about_its_arguments_is_fine(wheel: Wheel) -> None:
    assert preflight.stub_starts(wheel).level == "ok"


def test_a_stub_without_libpython(wheel: Wheel) -> None:
    script(wheel.stub, "exit 127")
    version = ".".join(map(str, sys.version_info[:2]))
    assert failed(
        preflight.stub_starts(wheel), f"libpython{version}.so.1.0 is missing", f"apt install libpython{version}"
    )


def test_a_stub_that_is_broken_otherwise(wheel: Wheel, monkeypatch: pytest.MonkeyPatch) -> None:
    script(wheel.stub, "echo 'illegal instruction' >&2; exit 3")
    assert failed(preflight.stub_starts(wheel), "status 3: illegal instruction", "pip install")
    script(wheel.stub, "sleep 60")
    monkeypatch.setattr(preflight, "_PROBE_TIMEOUT_S", 0.1)
    assert failed(preflight.stub_starts(wheel), "does not start", "--force-reinstall")
    wheel.stub.unlink()
    assert failed(preflight.stub_starts(wheel), "does not start", "--force-reinstall")


@pytest.mark.parametrize(("version", "level"), [("1.26.4", "ok"), ("2.0.0", "fail"), ("2.4.6", "fail"), (None, "fail")])
def test_numpy_below_2(version: str | None, level: str) -> None:
    finding = preflight.judge_numpy(version, "pip install 'numpy<2'")
    assert finding.level == level
    if level == "fail":
        assert "numpy" in (finding.remedy or "")


def interpreter(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    script(folder / "python3", body)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))


def test_the_interpreter_beside_ours_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = ".".join(map(str, sys.version_info[:2]))
    interpreter(tmp_path, monkeypatch, f"""echo '["{ours}.1", "2.4.6"]'""")
    assert failed(
        preflight.numpy_version(), "numpy 2.4.6: this server would silently read wrong tensors", "numpy>=1.26,<2"
    )
    interpreter(tmp_path, monkeypatch, f"""echo '["{ours}.1", "1.26.0"]'""")
    assert preflight.numpy_version() == Finding("numpy", "ok", "1.26.0")
    interpreter(tmp_path, monkeypatch, """echo '["2.7.18", "1.16.0"]'""")
    assert failed(preflight.numpy_version(), f"is 2.7.18, not {ours}", "virtual environment")
    interpreter(tmp_path, monkeypatch, "exit 1")
    assert failed(preflight.numpy_version(), "cannot be asked", "virtual environment")


def test_our_own_interpreter_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy

    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    found = preflight.probe_interpreter()
    assert (found.python, found.numpy) == (sys.version.split()[0], numpy.__version__)


@pytest.mark.parametrize(("mebibytes", "level"), [(None, "fail"), (8, "fail"), (64, "warn"), (1024, "ok")])
def test_room_in_shared_memory(mebibytes: int | None, level: str) -> None:
    finding = preflight.shared_memory(None if mebibytes is None else mebibytes * 2**20)
    assert finding.level == level
    assert (finding.remedy is None) == (level == "ok")


def test_free_shared_memory(tmp_path: Path) -> None:
    assert (preflight.free_shared_memory(str(tmp_path)) or 0) > 0
    assert preflight.free_shared_memory(str(tmp_path / "none")) is None


def test_the_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert preflight.state_folder(tmp_path / "not" / "yet").level == "ok"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert failed(preflight.state_folder(tmp_path), "not writable", "SCENARIO_HOME")
    monkeypatch.undo()

    class Noexec:
        f_flag = os.ST_NOEXEC

    monkeypatch.setattr(os, "statvfs", lambda path: Noexec)
    assert failed(preflight.state_folder(tmp_path), "noexec", "another file system")


def test_the_stub_is_found_for_the_running_python(wheel: Wheel) -> None:
    assert wheel.stub.parent.name == ".".join(map(str, sys.version_info[:2]))
    assert subprocess.run([wheel.stub], capture_output=True, check=False).returncode == 1
