"""The little program that ties a server to its runner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.runtimes import _supervise

ARGV = [sys.executable, "-I", "-S", _supervise.__file__]


def test_it_becomes_the_program_with_its_arguments_and_status() -> None:
    done = subprocess.run(
        [*ARGV, str(os.getpid()), "/bin/sh", "-c", 'echo "$0 $1"; exit 5', "a", "b c"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("a b c\n", 5)


def test_the_program_and_what_it_starts_run_where_they_were_told() -> None:
    cpu = max(os.sched_getaffinity(0))
    script = "grep Cpus_allowed_list /proc/self/status; sh -c 'grep Cpus_allowed_list /proc/self/status'"
    done = subprocess.run(
        [*ARGV, str(os.getpid()), f"--cpus={cpu}", "/bin/sh", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"Cpus_allowed_list:\t{cpu}\n" * 2


def test_memory_comes_from_the_nodes_that_were_told() -> None:
    script = "grep -c bind:0 /proc/self/numa_maps"
    done = subprocess.run(
        [*ARGV, str(os.getpid()), "--memory=0", "/bin/sh", "-c", script], capture_output=True, text=True, check=False
    )
    if "Operation not permitted" in done.stderr or not Path("/proc/self/numa_maps").exists():
        pytest.skip("this kernel, or the container around us, does not let us say where memory comes from")
    assert int(done.stdout) > 0, done.stderr


def test_a_machine_whose_system_call_is_not_known_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_supervise.platform, "machine", lambda: "riscv64")
    with pytest.raises(OSError, match="not known how"):
        _supervise.bind_memory([0])


def test_it_refuses_when_its_parent_is_gone_already() -> None:
    done = subprocess.run([*ARGV, "999999999", "/bin/true"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "the runner ended before the server began\n")


def test_the_program_dies_with_a_killed_parent(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    program = (
        "import os, subprocess, sys, time\n"
        f"subprocess.Popen([*{ARGV!r}, str(os.getpid()), '/bin/sh', '-c', 'echo $$ > {pid_file}; exec sleep 600'],"
        " start_new_session=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    pid = int(_soon(lambda: pid_file.exists() and pid_file.read_text().strip()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _soon(lambda: not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text())


def _soon(condition):  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 10
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return value


def test_a_kernel_that_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def prctl(self, *arguments: int) -> int:
            return -1

    monkeypatch.setattr(_supervise.ctypes, "CDLL", lambda name, use_errno: Refusing())
    with pytest.raises(SystemExit, match="cannot tie the server to the runner"):
        _supervise.main(["x", "1", "/bin/true"])
