"""The machine around the GPUs: processors, memory, limits, clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.runtimes.findings import Finding

FEW_FILES = 4096
"""Over HTTP each request in flight has a connection of its own, here and in the server."""
UNLIMITED = -1
_UNSYNCHRONISED = 0x40
"""STA_UNSYNC of adjtimex(2)."""


def governor(found: str | Mapping[str, Any]) -> Finding:
    """Frequency governors; a mapping without `absent` counts CPUs by governor."""
    if isinstance(found, Mapping) and "absent" in found:
        return Finding("CPU governor", "ok", f"not to be set here ({found['absent']})")
    text = found if isinstance(found, str) else ", ".join(f"{name} on {count}" for name, count in found.items())
    if text == "performance":
        return Finding("CPU governor", "ok", text)
    remedy = "sudo cpupower frequency-set -g performance"
    return Finding("CPU governor", "warn", f"{text}: clocks follow the load, so latencies depend on it", remedy)


def numa(nodes: Mapping[int, str], pinned: bool = False) -> Finding:
    """Node -> its CPUs; without pinning a server may run on one node and have its memory on another."""
    if len(nodes) < 2:
        return Finding("NUMA", "ok", "one node")
    detail = ", ".join(f"node {node}: CPUs {cpus}" for node, cpus in nodes.items())
    if pinned:
        return Finding("NUMA", "ok", f"{detail}; the server is pinned")
    remedy = "pin the server in the target: `rig: {server_cpus: {numa: 0}}`, with the node that is near the GPU"
    return Finding("NUMA", "warn", f"{detail}; the server may run on any", remedy)


def open_files(soft: int, hard: int) -> Finding:
    detail = f"{_limit(soft)} (at most {_limit(hard)})"
    if soft == UNLIMITED or soft >= FEW_FILES:
        return Finding("open files", "ok", detail)
    wanted = FEW_FILES if hard in (UNLIMITED,) or hard >= FEW_FILES else hard
    return Finding(
        "open files", "warn", f"{detail}: each connection is one", f"ulimit -n {max(wanted, soft)} in this shell"
    )


def locked_memory(soft: int) -> Finding:
    """What a server without a container may pin for copies to a GPU."""
    if soft == UNLIMITED or soft >= 2**30:
        return Finding("locked memory", "ok", _limit(soft))
    remedy = "ulimit -l unlimited (root, or `memlock` in /etc/security/limits.conf)"
    return Finding(
        "locked memory", "warn", f"{soft // 1024} KiB: buffers for copies to a GPU may not be pinned", remedy
    )


def clock(status: int | None) -> Finding:
    """Status bits of the kernel's clock; None where it cannot be asked."""
    if status is None:
        return Finding("clock", "ok", "the kernel does not tell whether it is synchronised")
    if status & _UNSYNCHRONISED:
        detail = "not synchronised: times of day in results may not fit other machines' (durations are not concerned)"
        return Finding("clock", "warn", detail, "sudo timedatectl set-ntp true")
    return Finding("clock", "ok", "synchronised")


def _limit(value: int) -> str:
    return "unlimited" if value == UNLIMITED else str(value)
