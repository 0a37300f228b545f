"""Who owns a server's private files, so that the leftovers of dead runs can be removed and nothing else.

An owner is (boot, pid namespace, pid, start time): a bare pid comes back within minutes on a busy machine.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from runner.processes import ProcessIdentity

OWNER_FILE = "owner.json"
MARKER = "SCENARIO_SERVER"
"""Environment variable that a server and everything below it carry; its value is the server's identity."""
SHARED_MEMORY = Path("/dev/shm")
_HALF_MADE_S = 3600.0
_END_WAIT_S = 5.0


def write_owner(directory: Path) -> None:
    """Declare a directory ours."""
    (directory / OWNER_FILE).write_text(json.dumps(asdict(ProcessIdentity.current())), encoding="utf-8")


def abandoned(root: Path) -> Iterator[Path]:
    """Directories below `root` whose owner is certainly gone."""
    for directory in sorted(root.iterdir()) if root.is_dir() else ():
        if directory.is_dir() and not _may_be_used(directory):
            yield directory


def remove_leftovers(directory: Path, prefix: str) -> list[str]:
    """End the processes of a server, remove its shared memory and its directory; says what was removed."""
    removed = [f"process {pid} of {directory.name}" for pid in end_processes(directory.name)]
    removed += [f"shared memory {name}" for name in remove_shared_memory(prefix)]
    if directory.exists():
        shutil.rmtree(directory, ignore_errors=True)
        removed.append(f"directory {directory}")
    return removed


def remove_shared_memory(prefix: str) -> list[str]:
    """Unlink the segments whose names start with `prefix`."""
    removed = []
    for segment in sorted(SHARED_MEMORY.glob(f"{prefix}*")):
        segment.unlink(missing_ok=True)
        removed.append(segment.name)
    return removed


def end_processes(identity: str) -> list[int]:
    """Kill whatever carries the marker of a server and wait until it is gone."""
    ended = marked_processes(identity)
    for pid in ended:
        _kill(pid)
    deadline = time.monotonic() + _END_WAIT_S
    while marked_processes(identity) and time.monotonic() < deadline:
        time.sleep(0.02)
    return ended


def marked_processes(identity: str) -> list[int]:
    """Living processes that carry the marker of a server."""
    entry = f"{MARKER}={identity}".encode()
    return [pid for pid in _pids() if entry in _environment(pid)]


def _may_be_used(directory: Path) -> bool:
    try:
        return ProcessIdentity(**json.loads((directory / OWNER_FILE).read_text(encoding="utf-8"))).may_live()
    except (OSError, ValueError, TypeError):
        # Half made: perhaps by a run that is starting right now.
        return time.time() - directory.stat().st_mtime < _HALF_MADE_S


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
