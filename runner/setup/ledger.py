"""The undo ledger: what setup made outside the sources, written down before it is made.

One JSON line per event: `intend` (about to make), `done` (made), `undone` (removed). An intent without `done` is what a
killed setup leaves, and is undone like any other. Each line is on disk before the effect happens.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from runner.results.files import sync_folder, write_all


@dataclass(frozen=True)
class Entry:
    """One effect that reset has to undo."""

    kind: str
    """`directory` a tree of ours · `file` · `download` in the shared cache · `parent` a folder, removed once empty ·
    `image` of a container engine · `persistence`, `power`, `clocks`, `memory_clocks` of a GPU."""
    path: Path
    group: str
    """What `--keep` names: downloads, artifacts, repository, logs, state; rig for settings of the machine."""
    done: bool
    before: str = ""
    """What was in force before, for effects that are changes; who undoes them knows how it is written."""


class Ledger:
    """Append-only; several processes may append, because each event is one write."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def intend(self, kind: str, path: Path, *, group: str, before: str = "") -> None:
        self._append("intend", kind, path, group, before)

    def done(self, kind: str, path: Path, *, group: str) -> None:
        self._append("done", kind, path, group)

    def undone(self, kind: str, path: Path, *, group: str) -> None:
        self._append("undone", kind, path, group)

    @contextmanager
    def effect(self, kind: str, path: Path, *, group: str) -> Iterator[None]:
        """Around whatever makes `path`; a failure leaves the intent, because something may exist already."""
        self.intend(kind, path, group=group)
        yield
        self.done(kind, path, group=group)

    def entries(self) -> tuple[Entry, ...]:
        """Effects that still stand, in the order in which they were first intended."""
        standing: dict[tuple[str, Path], Entry] = {}
        for event in self._events():
            entry = Entry(
                event["kind"], Path(event["path"]), event["group"], event["event"] == "done", event.get("before", "")
            )
            key = entry.kind, entry.path
            if event["event"] == "undone":
                standing.pop(key, None)
            else:
                # Of several changes the first one knows what was there before all of them.
                known = standing.get(key)
                standing[key] = replace(entry, before=known.before) if known and known.before else entry
        return tuple(standing.values())

    def _append(self, event: str, kind: str, path: Path, group: str, before: str = "") -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        record = {"event": event, "kind": kind, "path": str(path), "group": group, "at": at}
        record |= {"before": before} if before else {}
        # A kill can tear the last line; starting on a fresh one keeps the damage to that line.
        line = ("" if self._ends_clean() else "\n") + json.dumps(record) + "\n"
        created = not self.path.exists()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            write_all(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if created:
            sync_folder(self.path.parent)

    def _ends_clean(self) -> bool:
        try:
            with self.path.open("rb") as file:
                if file.seek(0, os.SEEK_END) == 0:
                    return True
                file.seek(-1, os.SEEK_END)
                return file.read(1) == b"\n"
        except FileNotFoundError:
            return True

    def _events(self) -> Iterator[dict[str, str]]:
        try:
            lines = self.path.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            try:
                event = json.loads(line)
                if {"event", "kind", "path", "group"} <= event.keys():
                    yield event
            except (ValueError, AttributeError):
                continue
