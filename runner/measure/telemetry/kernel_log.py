"""Xid errors: what the GPU driver reports in the kernel's log, where we may read it."""

from __future__ import annotations

import os
import re
from pathlib import Path

_XID = re.compile(rb"NVRM: Xid \(")
_LONGEST = 8192


class XidLog:
    """Counts the Xid messages since it was opened."""

    def __init__(self, path: Path = Path("/dev/kmsg")) -> None:
        self.count = 0
        self._descriptor: int | None = None
        self.absent: str | None = None
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._descriptor, 0, os.SEEK_END)
        except OSError as error:
            self.absent = f"{path}: {error.strerror}"

    def read(self) -> int | None:
        """How many so far; None where the log cannot be read."""
        while self._descriptor is not None:
            try:
                record = os.read(self._descriptor, _LONGEST)
            except BlockingIOError:
                break
            except BrokenPipeError:
                continue  # older messages were overwritten before we came
            except OSError as error:
                self.absent = error.strerror
                self.close()
                break
            if not record:
                break
            self.count += len(_XID.findall(record))
        return None if self.absent else self.count

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
