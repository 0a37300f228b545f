"""The journal: one JSON line per event, appended and fsynced, so that a killed run has lost at most one line.

A line counts once its newline is on disk. A last line that was cut short is what a kill or a power cut leaves: it is
reported and ignored, and removed before anything is appended. Damage anywhere else is an error that names the line.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from runner.errors import RigError
from runner.results.codec import Json
from runner.results.files import disk, sync_folder, write_all

SCHEMA: Final = 1
"""Version of the journal, of manifest.json and of points.json."""


@dataclass(frozen=True)
class Entry:
    """One line."""

    line: int
    """Counted from 1."""
    kind: str
    body: dict[str, Any]
    """Everything but `kind`."""


@dataclass(frozen=True)
class JournalContent:
    """What a journal holds."""

    entries: tuple[Entry, ...]
    intact_bytes: int
    """Length up to and including the last whole line."""
    torn: str | None = None
    """What is behind it, in words, when the writer was killed in the middle of a line."""


class JournalWriter:
    """Appends to a journal; the only writer of it, see `owner`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        created = not path.exists()
        with disk(path):
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            if created:
                sync_folder(path.parent)

    def append(self, kind: str, body: dict[str, Json]) -> None:
        """Write one line and wait until it is on disk; a line that does not fit is taken back entirely."""
        line = json.dumps({"kind": kind, **body}, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"
        before = os.fstat(self._descriptor).st_size
        with disk(self.path):
            try:
                write_all(self._descriptor, line)
                os.fsync(self._descriptor)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, before)
                raise

    def truncate(self, length: int) -> None:
        """Cut off a torn last line."""
        with disk(self.path):
            os.ftruncate(self._descriptor, length)
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Give the file back; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def read_journal(path: Path) -> JournalContent:
    """Every whole line of the journal at `path`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RigError(f"cannot read {path}: {error.strerror}", hint="is this a run directory?") from error
    entries: list[Entry] = []
    intact = 0
    *lines, _unfinished = data.split(b"\n")
    for number, raw in enumerate(lines, start=1):
        entry = _entry(path, number, raw, last=intact + len(raw) + 1 == len(data))
        if entry is None:
            break
        entries.append(entry)
        intact += len(raw) + 1
    return JournalContent(tuple(entries), intact, _torn(len(entries) + 1, len(data) - intact))


def _entry(path: Path, number: int, raw: bytes, last: bool) -> Entry | None:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        if last and isinstance(error, ValueError):
            return None  # a power cut can leave the end of a line without its beginning
        raise _damaged(path, number, f"is not JSON ({error})") from error
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        raise _damaged(path, number, 'is not an object with a "kind"')
    return Entry(number, value.pop("kind"), value)


def _damaged(path: Path, number: int, what: str) -> RigError:
    return RigError(
        f"{path}, line {number}: {what}; this is not what a killed run leaves behind",
        hint="restore the file from a copy, or delete that one line: its point will be measured again on resume",
    )


def _torn(line: int, size: int) -> str | None:
    return f"line {line} was cut short after {size} bytes and is ignored" if size else None
