"""Which process is meant: a bare pid comes back within minutes on a busy machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessIdentity:
    """One process, told apart from every other one that this machine ever runs."""

    boot_id: str
    pid_namespace: str
    pid: int
    started: int
    """Clock ticks from boot to its start."""

    @staticmethod
    def current() -> ProcessIdentity:
        """The calling process."""
        return ProcessIdentity(_boot_id(), _pid_namespace(), os.getpid(), start_time(os.getpid()) or 0)

    def may_live(self) -> bool:
        """False only when it is certain that the process is gone; another container's pids cannot be seen from here."""
        if self.boot_id != _boot_id():
            return False
        return self.pid_namespace != _pid_namespace() or start_time(self.pid) == self.started


def same_boot(process: ProcessIdentity) -> bool:
    """Whether the machine has not been restarted since the process was started."""
    return process.boot_id == _boot_id()


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when it is gone or a zombie."""
    try:
        # The command name is in parentheses and may hold any character, ")" included: count from the last one.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return "unknown"
