"""Readers of what `machine` judges."""

from __future__ import annotations

import ctypes
import resource
from collections.abc import Iterator
from pathlib import Path

from runner.results.cpu_facts import cpu_facts
from runner.results.facts import fact
from runner.runtimes.doctor import machine
from runner.runtimes.findings import Finding

_TIMEX_BYTES, _STATUS_AT = 256, 40
"""Of `struct timex` on 64-bit Linux: more than its size, and where its status word lies."""


def findings(*, pinned: bool, gpus: bool, root: Path = Path("/")) -> Iterator[Finding]:
    """All checks.

    Args:
        pinned: The target says on which processors the server runs.
        gpus: The server copies to GPUs, without a container's limits.
        root: Where /proc and /sys are.
    """
    facts = fact(lambda: cpu_facts(root))
    yield machine.governor(facts.get("governor", facts))
    yield machine.numa(numa_nodes(root), pinned)
    yield machine.open_files(*resource.getrlimit(resource.RLIMIT_NOFILE))
    if gpus:
        yield machine.locked_memory(resource.getrlimit(resource.RLIMIT_MEMLOCK)[0])
    yield machine.clock(clock_status())


def numa_nodes(root: Path = Path("/")) -> dict[int, str]:
    """Node -> list of its CPUs, as the kernel writes it; nodes without CPUs left out."""
    found = sorted((root / "sys/devices/system/node").glob("node[0-9]*"), key=lambda path: int(path.name[4:]))
    lists = {int(path.name[4:]): (path / "cpulist").read_text().strip() for path in found}
    return {node: cpus for node, cpus in lists.items() if cpus}


def clock_status() -> int | None:
    """Status bits of adjtimex(2), which only reads when no mode is given."""
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
    try:
        asked = ctypes.CDLL(None).adjtimex(buffer)
    except (OSError, AttributeError):
        return None
    return None if asked < 0 else ctypes.c_int.from_buffer(buffer, _STATUS_AT).value
