"""Settings of the machine in the undo ledger: what a killed run left in force is taken back by reset."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from runner.runtimes.rig import restore_entry
from runner.setup.ledger import Entry
from runner.setup.reset import Removal, Status

_STATUS: dict[str, Status] = {"gone": "already gone", "in use": "refused", "failed": "failed"}


def undo_setting(entry: Entry, dry_run: bool, load: Callable[[str], Any] = ctypes.CDLL) -> Removal:
    """Take a setting back, unless the run that made it still lives."""
    restored = restore_entry(entry, load, dry_run=dry_run)
    done: Status = "would restore" if dry_run else "restored"
    return Removal(entry.kind, entry.path, 0, _STATUS.get(restored.outcome, done), restored.text)
