"""Owners of private files, and the removal of what dead ones left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.runtimes import ownership


@pytest.fixture
def identity() -> str:
    return f"scenario-test-{uuid.uuid4().hex}"


@pytest.fixture
def sleeper(identity: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with the marker, and a child of it."""
    program = "import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', 'input()'])"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", program], stdin=subprocess.PIPE, env=os.environ | {ownership.MARKER: identity}
    ) as process:
        deadline = time.monotonic() + 10
        while len(ownership.marked_processes(identity)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        yield process
        process.kill()


def test_only_directories_of_dead_owners_are_abandoned(tmp_path: Path) -> None:
    for name in ("live", "dead", "torn", "new", "old"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("")
    ownership.write_owner(tmp_path / "live")
    ownership.write_owner(tmp_path / "dead")
    owner = json.loads((tmp_path / "dead" / ownership.OWNER_FILE).read_text())
    (tmp_path / "dead" / ownership.OWNER_FILE).write_text(json.dumps(owner | {"started": 1}))
    (tmp_path / "torn" / ownership.OWNER_FILE).write_text('{"pid": ')
    os.utime(tmp_path / "old", (0, 0))
    assert [directory.name for directory in ownership.abandoned(tmp_path)] == ["dead", "old"]
    assert list(ownership.abandoned(tmp_path / "none")) == []


def test_processes_are_found_by_their_marker_with_their_children(
    sleeper: subprocess.Popen[bytes], identity: str
) -> None:
    assert sleeper.pid in ownership.marked_processes(identity)
    assert len(ownership.marked_processes(identity)) == 2
    assert ownership.marked_processes(identity[:-1]) == []


def test_leftovers_are_removed_and_named(
    sleeper: subprocess.Popen[bytes], identity: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "shm"
    memory.mkdir()
    monkeypatch.setattr(ownership, "SHARED_MEMORY", memory)
    for name in (f"{identity}_1", f"{identity}_2", f"{identity}x_3", "other"):
        (memory / name).write_text("")
    directory = tmp_path / identity
    directory.mkdir()
    (directory / "file").write_text("")
    removed = ownership.remove_leftovers(directory, f"{identity}_")
    assert sorted(line.split()[0] for line in removed) == ["directory", "process", "process", "shared", "shared"]
    assert sorted(entry.name for entry in memory.iterdir()) == sorted([f"{identity}x_3", "other"])
    assert ownership.marked_processes(identity) == []
    assert sleeper.wait(5) != 0
    assert ownership.remove_leftovers(directory, f"{identity}_") == []


def test_a_process_that_ends_by_itself_meanwhile_is_no_error(identity: str) -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    ownership._kill(process.pid)
    assert ownership.end_processes(identity) == []
