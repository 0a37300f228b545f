"""Where runtimes keep what must outlive their process."""

from __future__ import annotations

from pathlib import Path

from runner.runtimes.host import state_home


def state_folder(kind: str) -> Path:
    """Of one kind of runtime, beside all other state."""
    return state_home() / kind
