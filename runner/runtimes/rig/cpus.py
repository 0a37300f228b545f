"""Which processors the server and the client get, checked against those that are here."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runner.errors import RigError
from runner.results.cgroup import limits
from runner.runtimes import _supervise
from runner.runtimes.doctor.machine_facts import numa_nodes
from runner.scenario.cpu_list import format_cpus, parse_cpus
from runner.scenario.schema_rig import NumaNode, Rig

_ROOT = Path("/")


@dataclass(frozen=True)
class Placement:
    """Where a server runs; empty: wherever the system puts it."""

    cpus: tuple[int, ...] = ()
    nodes: tuple[int, ...] = ()
    """NUMA nodes that its memory comes from."""


def server_placement(rig: Rig, root: Path = _ROOT) -> Placement:
    """The processors that `rig.server_cpus` means on this machine.

    Raises:
        RigError: this machine lacks them; the message lists those there are.
    """
    where = "rig.server_cpus"
    match rig.server_cpus:
        case None:
            return Placement()
        case NumaNode(numa=node):
            nodes = numa_nodes(root)
            if node not in nodes:
                there = ", ".join(f"{number} (CPUs {cpus})" for number, cpus in nodes.items()) or "none"
                raise RigError(
                    f"{where}: this machine has no NUMA node {node}; there are {there}", hint="name one of them"
                )
            return Placement(usable(parse_cpus(nodes[node]), where, root), (node,))
        case cpus:
            return Placement(usable(cpus, where, root))


def usable(cpus: Iterable[int], where: str, root: Path = _ROOT) -> tuple[int, ...]:
    """The same processors.

    Raises:
        RigError: this machine, or the control group that we live in, lacks some.
    """
    wanted, here = tuple(cpus), present(root)
    if missing := sorted(set(wanted) - set(here)):
        raise RigError(
            f"{where}: this machine has no CPUs {format_cpus(missing)}; there are {format_cpus(here)}",
            hint=f"write {where}: {format_cpus(here)}, or a part of it",
        )
    return wanted


def present(root: Path = _ROOT) -> tuple[int, ...]:
    """Processors that are switched on and that our control group may use, whatever we are pinned to ourselves."""
    try:
        online = parse_cpus((root / "sys/devices/system/cpu/online").read_text().strip())
    except (OSError, ValueError):
        online = tuple(range(os.cpu_count() or 1))
    try:
        allowed = parse_cpus(limits(root)["cpuset"])
    except (OSError, ValueError):
        return online
    return tuple(cpu for cpu in online if cpu in allowed)


def memory_refusal(nodes: tuple[int, ...]) -> str | None:
    """Why the kernel does not let us say where memory comes from; None when it does. Containers often may not."""
    refused: list[OSError] = []

    def attempt() -> None:
        # The policy is one of the thread, which ends with this.
        try:
            _supervise.bind_memory(nodes)
        except OSError as error:
            refused.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return f"refused by the kernel ({errno.errorcode.get(refused[0].errno or 0, '?')})" if refused else None
