"""What a target `requires`, as findings."""

from __future__ import annotations

from pathlib import Path

from runner.runtimes.findings import Finding

GIB = 2**30
LOW_DISK_BYTES = 2 * GIB
"""Below so much free space a run may well end for want of it."""


def gpus(wanted: int, found: int) -> Finding:
    """NVIDIA GPUs that the driver shows, against those that are needed."""
    if found >= wanted:
        return Finding("GPUs", "ok", f"{found} found, {wanted} needed")
    return Finding(
        "GPUs",
        "fail",
        f"{wanted} NVIDIA GPU{'s' * (wanted > 1)} needed, {found or 'none'} found",
        "install the NVIDIA driver (`nvidia-smi` must list the GPUs), or choose a target that needs none",
    )


def disk(free: int, where: Path, wanted: int | None = None) -> Finding:
    """Free bytes of the file system that holds `where`, against what is needed."""
    if wanted is not None and free < wanted:
        detail = f"{wanted / GIB:.1f} GiB of free disk needed, {free / GIB:.1f} GiB found"
        return Finding("disk", "fail", detail, f"make room at {where}, or set SCENARIO_HOME to a larger disk")
    detail = f"{free / GIB:.1f} GiB free at {where}"
    if free < LOW_DISK_BYTES:
        return Finding("disk", "warn", detail, "make room: `scenario reset`, or set SCENARIO_HOME to a larger disk")
    return Finding("disk", "ok", detail)
