"""Files where the user wants them: whole or not at all, and devices and pipes are written to, never replaced."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from runner.results.files import TEMPORARY_SUFFIX, disk, sync_folder


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends without an error.

    Raises:
        RigError: the disk is full, or the place cannot be written.
    """
    if is_special(path):
        with disk(path), path.open("wb", buffering=0) as special:
            yield special
        return
    target = path.resolve()  # a link stays one
    temporary = target.with_name(f".{target.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    with disk(path):
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(target.parent)


def is_special(path: Path) -> bool:
    """For example /dev/stdout, /dev/null or a pipe."""
    return path.exists() and not path.is_file()
