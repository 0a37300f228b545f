"""One process at a time: run directories while they are written, state directories while they are prepared or reset.

The kernel's file lock decides, because it ends with its holder however that dies. The record in the file names the
holder, and stands in for the kernel where the file system cannot lock.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from runner.processes import ProcessIdentity

_POLL_S = 0.2
_BUSY = (errno.EWOULDBLOCK, errno.EACCES)


class LockedError(Exception):
    """Somebody else holds the lock; `holder` is None where the holder left no name."""

    def __init__(self, path: Path, holder: ProcessIdentity | None) -> None:
        super().__init__(f"{path} is locked by {describe(holder)}")
        self.holder = holder


def describe(holder: ProcessIdentity | None) -> str:
    """The holder in words."""
    return f"process {holder.pid}" if holder else "another process"


@contextmanager
def locked(path: Path, *, on_wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock file at `path`; what a dead holder left is taken over.

    With `on_wait` a live holder is waited for, after telling who it is.

    Raises:
        LockedError: another live process holds it, and there is no `on_wait`.
        OSError: the file cannot be made or written.
    """
    descriptor = _patiently(path, on_wait)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(ProcessIdentity.current())).encode(), 0)
        yield
    finally:
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether a live process holds the lock at `path`."""
    try:
        os.close(_acquire(path, create=False))
    except LockedError:
        return True
    except OSError:
        return False
    return False


def holder(path: Path) -> ProcessIdentity | None:
    """Who holds the lock at `path`, if somebody does and left a name."""
    try:
        os.close(_acquire(path, create=False))
    except LockedError as error:
        return error.holder
    except OSError:
        return None
    return None


def _patiently(path: Path, on_wait: Callable[[str], None] | None) -> int:
    told = False
    while True:
        try:
            return _acquire(path)
        except LockedError as error:
            if on_wait is None:
                raise
            if not told:
                on_wait(describe(error.holder))
            told = True
        time.sleep(_POLL_S)


def _acquire(path: Path, *, create: bool = True) -> int:
    """A descriptor that holds the lock."""
    while True:
        # Never through a link: some locks lie in folders where everybody may make one, and a lock file is emptied.
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        descriptor = os.open(path, flags, 0o644)
        try:
            _lock(descriptor, path)
            # The file may have been removed between our open and our lock: then the lock guards nothing.
            if _same_file(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        found = _read(descriptor)
        if error.errno in _BUSY or (found is not None and found.may_live()):
            raise LockedError(path, found) from error


def _read(descriptor: int) -> ProcessIdentity | None:
    try:
        return ProcessIdentity(**json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError):
        return None


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
