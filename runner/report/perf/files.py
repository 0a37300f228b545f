"""Files where the user wants them: whole or not at all, and devices and pipes are written to, never replaced."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from runner.results.files import disk, replacing


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
    with disk(path), replacing(target) as file:
        yield file


def is_special(path: Path) -> bool:
    """For example /dev/stdout, /dev/null or a pipe."""
    return path.exists() and not path.is_file()
