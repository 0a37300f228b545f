"""Where runtimes keep what a later run must find again."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder(kind: str) -> Path:
    """A folder in $SCENARIO_HOME, else in the XDG state directory."""
    if home := os.environ.get("SCENARIO_HOME"):
        return Path(home).expanduser() / kind
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "scenario" / kind
