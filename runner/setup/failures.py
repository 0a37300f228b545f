"""Turns what the operating system says into what the user can do."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from runner.errors import SetupError

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than is allowed here",
}


def disk_problem(error: OSError, where: str, path: Path) -> SetupError | None:
    """A SetupError if the error means that there is no room to write, else None."""
    if error.errno not in _FULL:
        return None
    return SetupError(
        f"{where}: {_FULL[error.errno]} ({free_text(path)} free at {path})",
        hint="free some space, raise the limit, or set SCENARIO_HOME to a folder on a larger disk; then run again",
    )


def os_problem(error: OSError, where: str, path: Path) -> SetupError:
    """A SetupError for any failed system call."""
    name = error.filename or path
    return disk_problem(error, where, path) or SetupError(
        f"{where}: {name}: {error.strerror or error}", hint=f"check that {name} exists and may be read and written"
    )


def free_bytes(path: Path) -> int:
    """Free space where `path` is, or would be."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def free_text(path: Path) -> str:
    return size_text(free_bytes(path))


def size_text(count: float) -> str:
    """For people: 1536 -> "1.5 KiB"."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
