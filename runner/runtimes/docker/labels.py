"""Whose a container is, written on it: what dead runs left is found by its labels, and nothing else is touched.

The owner is (machine, boot, pid namespace, pid, start time). The machine is needed because an engine may serve several:
a boot that is not ours may be one of theirs.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runner.processes import ProcessIdentity
from runner.runtimes import ownership
from runner.runtimes.command import shm_prefix
from runner.runtimes.docker.containers import remove
from runner.runtimes.docker.engine import as_rig_errors

PREFIX = "scenario-runner"
OWNER, RUN, ROLE, MACHINE = f"{PREFIX}.owner", f"{PREFIX}.run", f"{PREFIX}.role", f"{PREFIX}.machine"


def labels(run_id: str, role: str) -> dict[str, str]:
    """For every container that this process makes; `role` is `server` or `step`."""
    owner = json.dumps(asdict(ProcessIdentity.current()), sort_keys=True)
    return {OWNER: owner, RUN: run_id, ROLE: role, MACHINE: this_machine()}


def sweep(client: Any) -> list[str]:
    """Remove the containers of dead runs of this machine; says what was removed."""
    return [line for container in _ours(client) for line in _removed(client, container)]


def abandoned(found: Mapping[str, str]) -> bool:
    """Whether the labels name an owner that is certainly dead."""
    try:
        owner = ProcessIdentity(**json.loads(found[OWNER]))
    except (KeyError, ValueError, TypeError):
        return False
    same_boot = owner.boot_id == ProcessIdentity.current().boot_id
    return not owner.may_live() and (same_boot or found.get(MACHINE) == this_machine())


def this_machine() -> str:
    """Tells machines apart without saying what they are."""
    try:
        known = Path("/etc/machine-id").read_text().strip()
    except OSError:
        known = ""
    return hashlib.sha256((known or platform.node()).encode()).hexdigest()[:16]


def _ours(client: Any) -> Iterator[dict[str, Any]]:
    with as_rig_errors("list the containers of earlier runs"):
        every = client.api.containers(all=True, filters={"label": OWNER})
    yield from (container for container in every if abandoned(container.get("Labels") or {}))


def _removed(client: Any, container: dict[str, Any]) -> Iterator[str]:
    name = str(next(iter(container.get("Names") or ()), container["Id"])).lstrip("/")
    remove(client, container["Id"])
    yield f"container {name} ({container.get('State', 'unknown')})"
    # Of a server that shared this machine's memory.
    yield from (f"shared memory {segment}" for segment in ownership.remove_shared_memory(shm_prefix(name)))
