"""One process at a time, told by the kernel, and by name where the kernel cannot."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from runner import processes
from runner.locks import LockedError, describe, holder, is_locked, locked
from runner.processes import ProcessIdentity


def test_a_process_is_told_by_boot_pid_and_start() -> None:
    me = ProcessIdentity.current()
    assert me.may_live()
    assert not replace(me, started=me.started + 1).may_live()
    assert not replace(me, boot_id="another boot").may_live()
    assert not replace(me, pid=2**22 + 1).may_live()


def test_a_pid_of_another_container_cannot_be_called_dead() -> None:
    assert replace(ProcessIdentity.current(), pid_namespace="pid:[1]", started=1).may_live()


def test_a_dead_child_that_nobody_waited_for_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"], stdout=subprocess.DEVNULL)
    try:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert processes.start_time(child.pid) is None
    finally:
        child.wait()


def test_the_holder_is_named_while_it_holds(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert not is_locked(lock)
    assert not lock.exists()
    with locked(lock):
        assert holder(lock) == ProcessIdentity.current()
        assert is_locked(lock)
        with pytest.raises(LockedError, match=f"locked by process {os.getpid()}"), locked(lock):
            pass
    assert not is_locked(lock)
    assert holder(lock) is None


def test_an_error_inside_gives_the_lock_back(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with pytest.raises(KeyboardInterrupt), locked(lock):
        raise KeyboardInterrupt
    assert holder(lock) is None


def test_what_a_dead_owner_wrote_does_not_bind(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text(json.dumps(asdict(replace(ProcessIdentity.current(), started=1))))
    with locked(lock):
        assert holder(lock) == ProcessIdentity.current()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}'])
def test_an_unreadable_lock_file_is_nobodys(tmp_path: Path, content: str) -> None:
    lock = tmp_path / "lock"
    lock.write_text(content)
    assert holder(lock) is None
    with locked(lock):
        pass


def test_where_the_file_system_cannot_lock_the_identity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    lock = tmp_path / "lock"
    with locked(lock), pytest.raises(LockedError, match=f"process {os.getpid()}"), locked(lock):
        pass
    with locked(lock):
        pass


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("not a lock")
    (tmp_path / "lock").symlink_to("precious")
    with pytest.raises(OSError, match="symbolic links"), locked(tmp_path / "lock"):
        pass
    assert (tmp_path / "precious").read_text() == "not a lock"


def test_a_holder_that_cannot_be_named_is_still_respected(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(LockedError, match="another process"), locked(lock):
            pass
        assert describe(holder(lock)) == "another process"
    finally:
        os.close(descriptor)


def test_a_patient_caller_is_told_once_and_waits(tmp_path: Path) -> None:
    lock, told = tmp_path / "lock", list[str]()
    held, give_back = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(lock):
            held.set()
            give_back.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    threading.Timer(0.5, give_back.set).start()
    with locked(lock, on_wait=told.append):
        assert give_back.is_set()
    thread.join()
    assert told == [f"process {os.getpid()}"]


def test_a_lock_file_removed_while_we_waited_is_not_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, flock, calls = tmp_path / "lock", fcntl.flock, list[int]()

    def removed_once(descriptor: int, operation: int) -> None:
        flock(descriptor, operation)
        calls.append(operation)
        if len(calls) == 1:
            lock.unlink()

    monkeypatch.setattr(fcntl, "flock", removed_once)
    with locked(lock):
        assert len(calls) == 2
        assert lock.exists()


def test_without_a_boot_id_there_is_still_an_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(self: Path) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", nothing)
    assert ProcessIdentity.current().boot_id == "unknown"


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    hold = "import sys, time; from pathlib import Path; from runner.locks import locked\n"
    hold += "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", hold, str(lock)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert is_locked(lock)
        process.kill()
    with locked(lock):
        assert holder(lock) == ProcessIdentity.current()
