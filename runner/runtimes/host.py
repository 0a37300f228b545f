"""What this machine has, for a target's `requires`; looks only, never fails, never loads a driver into being."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from runner.results.nvml import NvmlError, session
from runner.runtimes.doctor import engines, needs

if TYPE_CHECKING:
    from runner.runtimes.findings import Finding
    from runner.scenario.schema import Requires


def satisfied(requires: Requires, state: Path | None = None) -> list[str]:
    """Why this machine does not meet the needs, one sentence each; empty when it does.

    `state` is where state would be kept, for the free space; by default where it is kept without another wish.
    """
    return [finding.detail for finding in findings(requires, state) if finding.level == "fail"]


def findings(requires: Requires, state: Path | None = None) -> Iterator[Finding]:
    """Every need of a target, met or not; only what is needed is looked at."""
    if requires.gpus:
        yield needs.gpus(requires.gpus, gpu_count())
    if requires.docker:
        yield engines.engine(engines.look())
    if requires.disk is not None:
        home = state or state_home()
        yield needs.disk(free_bytes(home), home, requires.disk)


def gpu_count() -> int:
    """NVIDIA GPUs: what the driver's library says; without it, the devices that the kernel shows."""
    counted = _nvml_count()
    if counted is not None:
        return counted
    listed = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    return listed or len([device for device in Path("/dev").glob("nvidia[0-9]*") if device.name[6:].isdigit()])


def state_home() -> Path:
    """Where all state is kept: `$SCENARIO_HOME`, else the XDG state directory."""
    if home := os.environ.get("SCENARIO_HOME"):
        return Path(home).expanduser().absolute()
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state).absolute() / "scenario"


def free_bytes(path: Path) -> int:
    """Free space on the file system that would hold `path`, which need not exist yet."""
    existing = next(candidate for candidate in (path.absolute(), *path.absolute().parents) if candidate.exists())
    return shutil.disk_usage(existing).free


def _nvml_count() -> int | None:
    try:
        with session(lambda name: ctypes.CDLL(name)) as nvml:
            return nvml.uint("nvmlDeviceGetCount_v2")
    except (NvmlError, AttributeError):
        return None
