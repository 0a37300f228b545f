"""Files that survive a crash: whole files appear at once, and a full disk is a sentence, not a traceback."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from runner.errors import RigError

TEMPORARY_SUFFIX = ".part"


def write_atomic(path: Path, data: bytes) -> Path:
    """Replace `path` by `data`: after a crash there is the old file or the new one, never a mixture."""
    with disk(path), replacing(path) as file:
        file.write(data)
    return path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path`, on disk, when the block ends without an error.

    Raises:
        OSError: it cannot be written; what stood at `path` is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte; the kernel may take fewer at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems sync names by themselves
            raise
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> Path:
    """Create a folder with its parents; the names survive a power cut."""
    with disk(path):
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            sync_folder(folder.parent)
    return path


def sweep_temporaries(folder: Path) -> None:
    """Remove what a writer that was killed left half written."""
    for leftover in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        leftover.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turn an OSError about `path` into an error that says what to do."""
    try:
        yield
    except OSError as error:
        raise _explained(path, error) from error


def _explained(path: Path, error: OSError) -> RigError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = "disk quota reached" if error.errno == errno.EDQUOT else "no space left"
        return RigError(
            f"cannot write {path}: {what} ({_free(path)}); everything written before is intact",
            hint="free some space, then continue with `scenario run --resume`, or use --output-dir on another disk",
        )
    return RigError(
        f"cannot write {path}: {os.strerror(error.errno) if error.errno else error}",
        hint="check owner and permissions of the folder, or choose another one with --output-dir",
    )


def _free(path: Path) -> str:
    existing = next((folder for folder in (path, *path.parents) if folder.exists()), Path("/"))
    try:
        return f"{shutil.disk_usage(existing).free / 2**20:.1f} MiB free"
    except OSError as error:
        return f"free space unknown: {error.strerror}"
