"""Memory shared with a server on this machine, in named regions whose names say which process owns them.

A name is `scenario_shm.<namespace>.<pid>.<start time>.<run>.<random>.<part>`. So what a killed run left behind is known
as such without any other record, and nothing else is ever touched.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import re
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from runner.errors import LoadError
from runner.processes import ProcessIdentity, start_time

PREFIX = "scenario_shm"
SHARED_MEMORY = Path("/dev/shm")
Kind = Literal["system", "cuda"]


@dataclass(frozen=True)
class SharedTensor:
    """Where a tensor lies: so many bytes of a region, from an offset."""

    region: str
    offset: int
    nbytes: int
    shape: tuple[int, ...] = ()
    """With the batch dimension; not needed of an output."""


class Region(Protocol):
    """A piece of shared memory that this process owns."""

    kind: Kind
    name: str
    size: int

    @property
    def file(self) -> Path | None:
        """What it looks like to others on this machine; None of memory that is not a file."""
        ...

    def write(self, offset: int, data: bytes) -> None: ...
    def read(self, offset: int, size: int) -> bytes: ...
    def close(self) -> None:
        """Give the memory back; a second call does nothing."""
        ...


class SystemRegion:
    """A POSIX shared memory object; its key is its name with a slash before it."""

    kind: Kind = "system"

    def __init__(self, name: str, size: int, folder: Path = SHARED_MEMORY) -> None:
        self.name, self.size = name, size
        self._path = folder / name
        self._map = _map_new(self._path, size)

    @property
    def file(self) -> Path:
        """What the load engine reads."""
        return self._path

    @property
    def key(self) -> str:
        """What the server opens."""
        return f"/{self.name}"

    def write(self, offset: int, data: bytes) -> None:
        self._map[offset : offset + len(data)] = data

    def read(self, offset: int, size: int) -> bytes:
        return self._map[offset : offset + size]

    def close(self) -> None:
        self._map.close()
        self._path.unlink(missing_ok=True)


def new_names(run_id: str) -> str:
    """The beginning of the names of one point's regions, unique on this machine."""
    me = ProcessIdentity.current()
    run = re.sub(r"[^A-Za-z0-9_-]+", "-", run_id)[:48]
    return f"{PREFIX}.{_namespace(me)}.{me.pid}.{me.started}.{run}.{uuid.uuid4().hex[:8]}"


def is_abandoned(name: str) -> bool:
    """True only of a region of ours whose process is certainly gone."""
    parts = name.split(".")
    if len(parts) != 7 or parts[0] != PREFIX or not (parts[2].isdecimal() and parts[3].isdecimal()):
        return False
    # Processes of another container cannot be seen from here.
    same_namespace = parts[1] == _namespace(ProcessIdentity.current())
    return same_namespace and start_time(int(parts[2])) != int(parts[3])


def sweep_regions(folder: Path = SHARED_MEMORY) -> Sequence[str]:
    """Remove the system shared memory of dead runs; says what was removed."""
    removed = list[str]()
    for path in sorted(folder.glob(f"{PREFIX}.*")):
        if is_abandoned(path.name):
            with suppress(PermissionError):
                path.unlink(missing_ok=True)
                removed.append(f"shared memory {path.name}")
    return removed


def _namespace(process: ProcessIdentity) -> str:
    return hashlib.sha256(f"{process.boot_id} {process.pid_namespace}".encode()).hexdigest()[:8]


def _map_new(path: Path, size: int) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        # Reserved now: a page that cannot be had later ends the process that touches it, and that may be the server.
        os.posix_fallocate(descriptor, 0, size)
        return mmap.mmap(descriptor, size)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _no_room(path.parent, size, error) from error
    finally:
        os.close(descriptor)


def _no_room(folder: Path, size: int, error: OSError) -> LoadError:
    if error.errno != errno.ENOSPC:
        return LoadError(f"cannot make {size} bytes of shared memory in {folder}: {error.strerror}")
    state = os.statvfs(folder)
    return LoadError(
        f"shared memory is full: {size} more bytes are needed, {folder} has {state.f_bavail * state.f_frsize} left",
        hint="enlarge it (docker run --shm-size), or lower the concurrency, the batch or workload.output_bytes",
    )
